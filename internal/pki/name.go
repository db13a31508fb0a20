package pki

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxCommonName is the most characters a common name may have: ub-common-name of
// RFC 5280 appendix A.1.
const maxCommonName = 64

var (
	// registrationID is the documented form of a registration ID. It allows 128
	// characters, more than a common name can carry.
	// Source: azure-docs, articles/iot-dps/concepts-service.md.
	registrationID = regexp.MustCompile(`^[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]$`)

	// verificationCode is the form of a proof-of-possession code: 24 random bytes.
	verificationCode = regexp.MustCompile(`^[0-9A-F]{48}$`)

	// unsafeInFile are the characters that a file name made from a name does not keep.
	unsafeInFile = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// CheckCommonName reports why name cannot be the common name of a certificate of this
// kind: a device carries its registration ID, a verification the code, a CA any name.
// The error continues a sentence about the name.
func CheckCommonName(k Kind, name string) error {
	if name == "" {
		return errors.New("must not be empty")
	}
	switch k {
	case Device:
		if len(name) > maxCommonName || !registrationID.MatchString(name) {
			return errors.New("must be 1 to 64 characters (the limit of a common name) of" +
				" letters, digits and . _ : -, and end with a letter, a digit or -")
		}
	case Verification:
		if !verificationCode.MatchString(name) {
			return errors.New("must be the 48 upper-case hexadecimal digits of the verification code")
		}
	default:
		return checkAuthorityName(name)
	}
	return nil
}

// checkAuthorityName reports why a CA cannot be called name.
func checkAuthorityName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return errors.New("must be UTF-8")
	case utf8.RuneCountInString(name) > maxCommonName:
		return errors.New("must have at most 64 characters (the limit of a common name)")
	case strings.TrimSpace(name) != name:
		return errors.New("must not begin or end with a space")
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("must not contain control characters")
	}
	return nil
}

// Slug returns the beginning of the names of a certificate's files. Characters other
// than ASCII letters, digits and . _ - become a hyphen; names of CAs are in lower case,
// identifiers keep theirs. Different names can have the same slug.
func Slug(k Kind, name string) string {
	if k.isCA() {
		name = strings.ToLower(name)
	}
	s := strings.TrimLeft(unsafeInFile.ReplaceAllString(name, "-"), ".-")
	if k.isCA() {
		s = strings.TrimRight(s, ".-")
	}
	if s == "" {
		return k.String()
	}
	return s
}
