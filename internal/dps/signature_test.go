package dps_test

import (
	"crypto/x509"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// The algorithm of a signature is read from certificates that anybody can send.
func FuzzSignatureName(f *testing.F) {
	f.Add(selfSigned(f, "dev").DER)
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		c := &x509.Certificate{Raw: der, RawSubjectPublicKeyInfo: der}
		if dps.SignatureName(c) == "" || dps.KeyName(c) == "" {
			t.Error("an algorithm without a name")
		}
		if dps.CheckSignature(c, c) == nil {
			t.Error("a signature without a key holds")
		}
	})
}
