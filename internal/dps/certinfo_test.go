package dps_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// What the header says is what the whole certificate says.
func FuzzCertificateHeader(f *testing.F) {
	key := newKey(f)
	for _, subject := range []pkix.Name{
		{CommonName: "dev"},
		{},
		{CommonName: "Gerät", Organization: []string{"a, b", "c"}, Country: []string{"US"}},
		{CommonName: "a*b", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "x"}}},
	} {
		f.Add(issue(f, subject, nil, key).DER)
	}
	good := selfSigned(f, "dev").DER
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, der []byte) {
		whole, err := x509.ParseCertificate(der)
		h, headErr := dps.Certificate{DER: der}.Header()
		if err != nil {
			return // a header can be well where the rest is not
		}
		if headErr != nil {
			t.Fatalf("Header: %v", headErr)
		}
		from, to, validErr := h.Validity()
		serial, _ := new(big.Int).SetString(h.Serial(), 16)
		if h.Version != whole.Version || serial.CmpAbs(whole.SerialNumber) != 0 ||
			validErr != nil || !from.Equal(whole.NotBefore) || !to.Equal(whole.NotAfter) {
			t.Errorf("header %+v, certificate %d %v %v %v", h, whole.Version, whole.SerialNumber, whole.NotBefore, whole.NotAfter)
		}
		if want := dps.AnyName(whole.RawSubject); h.Subject() != want {
			t.Errorf("subject %q, want %q", h.Subject(), want)
		}
		if want := dps.AnyName(whole.RawIssuer); h.Issuer() != want {
			t.Errorf("issuer %q, want %q", h.Issuer(), want)
		}
	})
}

// Names that are read fast are written as all others.
func FuzzDistinguishedName(f *testing.F) {
	for _, name := range []pkix.Name{
		{}, {CommonName: "dev"}, {CommonName: "Gerät", Organization: []string{"a, b", " c"}, Country: []string{"US"}}, {CommonName: "a@b", SerialNumber: "1"},
	} {
		raw, err := asn1.Marshal(name.ToRDNSequence())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, raw := range []string{
		"0\x0f1\x0d0\x0b\x06\x03U\x04\x03\x0c\x04dev1", "0\x0f1\x0d0\x0b\x06\x03U\x04\x03\x1e\x04\x00a\x00b", "0\x0f1\x0d0\x0b\x06\x03U\x04\x03\x0c\x04\xff\xfe\xfd\xfc",
		"0\x0f1\x0d0\x0b\x06\x03U\x04\x03\x13\x04a_&b", "0\x0f1\x0d0\x0b\x06\x03U\x04\x83\x0c\x04dev1", "0\x00x", "0\x021\x00",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, want := dps.DistinguishedName(raw), dps.AnyName(raw); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
