package dps

import (
	"strings"
	"time"
)

// dateLen is the length of the date at the start of an api-version.
const dateLen = len(time.DateOnly)

// previewSuffix marks the api-version of a preview.
const previewSuffix = "-preview"

// CheckAPIVersion checks the api-version of a call: a date such as 2021-10-01, with an
// optional "-preview". Every date is accepted, because new clients send dates that no
// list knows: one later than the newest known version behaves as that version, one
// earlier than the oldest as the oldest. It fails with Invalid and names field.
func CheckAPIVersion(field, version string) error {
	if version == "" {
		return Invalidf(field, "is required; send a date such as 2021-10-01")
	}
	date := version
	if cut := len(version) - len(previewSuffix); cut > 0 && strings.EqualFold(version[cut:], previewSuffix) {
		date = version[:cut]
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return Invalidf(field, "must be a date such as 2021-10-01 or 2025-07-01-preview")
	}
	return nil
}

// APIVersionReaches reports whether an api-version has the date of first or a later one.
// A preview and the release of the same date are the same. Both have passed
// CheckAPIVersion.
func APIVersionReaches(version, first string) bool { return dateOf(version) >= dateOf(first) }

// dateOf returns the date of an api-version; dates sort as text.
func dateOf(version string) string { return version[:min(len(version), dateLen)] }
