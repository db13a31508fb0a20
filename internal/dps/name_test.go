package dps_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// attr is one attribute of a name with its string type.
type attr struct {
	kind  asn1.ObjectIdentifier
	tag   int
	value string
}

var (
	oidCN    = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidO     = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidEmail = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
)

// rawName returns the DER of a name; each argument is one relative distinguished name.
func rawName(t testing.TB, parts ...[]attr) []byte {
	t.Helper()
	var name pkix.RDNSequence
	for _, part := range parts {
		var set pkix.RelativeDistinguishedNameSET
		for _, a := range part {
			set = append(set, pkix.AttributeTypeAndValue{Type: a.kind, Value: asn1.RawValue{Tag: a.tag, Bytes: []byte(a.value)}})
		}
		name = append(name, set)
	}
	raw, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func cn(t testing.TB, tag int, value string) []byte { return rawName(t, []attr{{oidCN, tag, value}}) }

func TestEqualNames(t *testing.T) {
	const utf8String, printable, t61, ia5, bmp, universal = 12, 19, 20, 22, 30, 28
	for name, pair := range map[string][2][]byte{
		"string types": {cn(t, utf8String, "Plant"), cn(t, printable, "Plant")},
		"T61String":    {cn(t, utf8String, "M\u00fcller"), cn(t, t61, "M\xfcller")},
		"BMPString":    {cn(t, utf8String, "M\u00fc"), cn(t, bmp, "\x00M\x00\xfc")},
		"UniversalString": {
			cn(t, utf8String, "M\u00fc"),
			cn(t, universal, "\x00\x00\x00M\x00\x00\x00\xfc"),
		},
		"IA5String":           {cn(t, ia5, "plant"), cn(t, printable, "PLANT")},
		"case":                {cn(t, printable, "Plant CA"), cn(t, printable, "PLANT ca")},
		"case beyond ASCII":   {cn(t, utf8String, "STRASSE \u00c9"), cn(t, utf8String, "stra\u00dfe e\u0301")},
		"spaces":              {cn(t, printable, "Plant CA"), cn(t, printable, "  Plant   CA ")},
		"order within a part": {rawName(t, []attr{{oidCN, 12, "a"}, {oidO, 12, "b"}}), rawName(t, []attr{{oidO, 12, "b"}, {oidCN, 12, "a"}})},
		"host of an email":    {rawName(t, []attr{{oidEmail, 22, "Ada@EXAMPLE.org"}}), rawName(t, []attr{{oidEmail, 22, "Ada@example.org"}})},
		"empty":               {rawName(t), rawName(t)},
	} {
		if dps.NameKey(pair[0]) != dps.NameKey(pair[1]) {
			t.Errorf("%s: %x and %x differ", name, pair[0], pair[1])
		}
	}
}

func TestDifferentNames(t *testing.T) {
	different := map[string][]byte{
		"plain": cn(t, 12, "plant"), "another": cn(t, 12, "plants"), "no space": cn(t, 12, "pl ant"),
		"empty": rawName(t), "empty value": cn(t, 12, ""),
		"another attribute": rawName(t, []attr{{oidO, 12, "plant"}}),
		"two parts":         rawName(t, []attr{{oidO, 12, "a"}}, []attr{{oidCN, 12, "b"}}),
		"other order":       rawName(t, []attr{{oidCN, 12, "b"}}, []attr{{oidO, 12, "a"}}),
		"one part":          rawName(t, []attr{{oidO, 12, "a"}, {oidCN, 12, "b"}}),
		"email":             rawName(t, []attr{{oidEmail, 22, "Ada@example.org"}}),
		"email, other case": rawName(t, []attr{{oidEmail, 22, "ada@example.org"}}),
		"no text":           cn(t, asn1.TagInteger, "plant"),
		"odd BMPString":     cn(t, 30, "abc"),
		"no name":           {5, 0},
		"garbage":           []byte("garbage"),
		"nothing":           nil,
	}
	for a, x := range different {
		for b, y := range different {
			if a != b && dps.NameKey(x) == dps.NameKey(y) {
				t.Errorf("%s and %s are equal", a, b)
			}
		}
	}
}

func FuzzNameKey(f *testing.F) {
	f.Add(rawName(f, []attr{{oidO, 12, "a"}, {oidCN, 30, "\x00b"}}, []attr{{oidEmail, 22, "c@d"}}))
	f.Add(cn(f, 28, "\x00\x00\x00a"))
	f.Add([]byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if dps.NameKey(raw) != dps.NameKey(append([]byte(nil), raw...)) {
			t.Error("a name differs from itself")
		}
		if _, ok := dps.NameParts(raw); ok && dps.NameKey(raw) == "" && len(raw) != 2 {
			t.Errorf("%x has an empty key", raw)
		}
	})
}

func BenchmarkNameKey(b *testing.B) {
	raw := rawName(b, []attr{{oidO, 19, "Contoso"}}, []attr{{oidCN, 12, "Plant CA 1"}})
	for b.Loop() {
		dps.NameKey(raw)
	}
}
