package dps

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// NameKey returns a text that is the same for all DER-encoded names that are equal:
// attribute values are compared without case, without regard to leading, trailing and
// repeated spaces, and whatever string type they are encoded with. A name that cannot
// be read is equal only to itself.
//
// Equal names do not prove that one certificate issued another: that is what the
// signature is for.
// Source: RFC 5280, section 7.1; RFC 4518.
func NameKey(raw []byte) string {
	parts, ok := NameParts(raw)
	if !ok {
		return "raw:" + string(raw)
	}
	var key []byte
	for _, p := range parts {
		key = appendCounted(key, []byte(p))
	}
	return string(key)
}

// NameParts returns the relative distinguished names of a DER-encoded name, the least
// specific first, each in the form that NameKey compares. ok is false for what is no
// name.
func NameParts(raw []byte) (parts []string, ok bool) {
	rest := cryptobyte.String(raw)
	var seq cryptobyte.String
	if !rest.ReadASN1(&seq, asn1.SEQUENCE) || !rest.Empty() {
		return nil, false
	}
	for !seq.Empty() {
		var set cryptobyte.String
		if !seq.ReadASN1(&set, asn1.SET) {
			return nil, false
		}
		part, ok := namePart(set)
		if !ok {
			return nil, false
		}
		parts = append(parts, part)
	}
	return parts, true
}

// namePart returns one relative distinguished name: its attributes in sorted order.
func namePart(set cryptobyte.String) (string, bool) {
	var attributes [][]byte
	for !set.Empty() {
		var attribute, kind, value cryptobyte.String
		var tag asn1.Tag
		if !set.ReadASN1(&attribute, asn1.SEQUENCE) || !attribute.ReadASN1(&kind, asn1.OBJECT_IDENTIFIER) ||
			!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
			return "", false
		}
		attributes = append(attributes, append(appendCounted(nil, kind), comparableValue(kind, value, tag)...))
	}
	slices.SortFunc(attributes, bytes.Compare)
	var part []byte
	for _, a := range attributes {
		part = appendCounted(part, a)
	}
	return string(part), true
}

// appendCounted appends b with its length before it, so that no two lists of texts
// have the same form.
func appendCounted(to, b []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(b))), b...)
}

// oidEmailAddress is the DER of 1.2.840.113549.1.9.1.
var oidEmailAddress = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01}

// comparableValue returns an attribute's value in the form that is compared: "t" and the
// folded text, or "b" and tag and bytes of what is no text.
func comparableValue(kind, value cryptobyte.String, tag asn1.Tag) []byte {
	text, ok := decodeText(value, tag)
	if !ok {
		return append([]byte{'b', byte(tag)}, value...)
	}
	if at := strings.LastIndexByte(text, '@'); at >= 0 && bytes.Equal(kind, oidEmailAddress) {
		return []byte("t" + text[:at] + foldText(text[at:])) // RFC 5280 section 7.5: case counts before the @
	}
	return []byte("t" + foldText(text))
}

// The string types that cryptobyte has no constant for.
const (
	tagUniversalString = asn1.Tag(28)
	tagBMPString       = asn1.Tag(30)
)

// decodeText returns the text of a value of one of the string types of a name.
func decodeText(value []byte, tag asn1.Tag) (string, bool) {
	switch tag {
	case asn1.UTF8String:
		return string(value), utf8.Valid(value)
	case asn1.PrintableString, asn1.IA5String, asn1.T61String:
		return latin1(value), true
	case tagBMPString:
		if len(value)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(value)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(value[2*i:])
		}
		return string(utf16.Decode(units)), true
	case tagUniversalString:
		return utf32(value)
	default:
		return "", false
	}
}

// latin1 reads one character from each byte, as certificates in practice use T61String.
func latin1(value []byte) string {
	if isASCII(value) {
		return string(value)
	}
	runes := make([]rune, len(value))
	for i, b := range value {
		runes[i] = rune(b)
	}
	return string(runes)
}

func utf32(value []byte) (string, bool) {
	if len(value)%4 != 0 {
		return "", false
	}
	var text strings.Builder
	for ; len(value) > 0; value = value[4:] {
		r := binary.BigEndian.Uint32(value)
		if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			return "", false
		}
		text.WriteRune(rune(r))
	}
	return text.String(), true
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// foldText returns text without case, with single spaces.
func foldText(text string) string {
	if isASCII(text) {
		return strings.Join(strings.Fields(strings.ToLower(text)), " ")
	}
	folded := norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text)))
	return strings.Join(strings.Fields(folded), " ")
}
