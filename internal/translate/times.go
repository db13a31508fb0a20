package translate

import (
	"net/http"
	"strings"
	"time"
)

// serviceTime writes a time as the service API does: up to seven digits of a
// second, trailing zeros trimmed.
func serviceTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.9999999Z")
}

// deviceTime writes a time as the device API does: always seven digits.
func deviceTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

// armTime writes a time as CA certificates of the control plane have it: RFC 1123.
func armTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// equalFold is strings.EqualFold over anything that is a string.
func equalFold[S ~string](a S, b string) bool { return strings.EqualFold(string(a), b) }
