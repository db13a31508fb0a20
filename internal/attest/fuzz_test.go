package attest_test

import (
	"crypto/x509"
	"testing"

	"github.com/mooring-iot/mooring/internal/attest"
)

// Names and constraints are read from certificates that anybody can send.
func FuzzNames(f *testing.F) {
	limit, excluded, alternative := &x509.Certificate{}, &x509.Certificate{}, &x509.Certificate{}
	directoryLimit(f, true, 0)(limit)
	directoryLimit(f, true, 1)(excluded)
	otherName(f, true)(alternative)
	f.Add(alternative.ExtraExtensions[0].Value, limit.ExtraExtensions[0].Value)
	f.Add(alternative.ExtraExtensions[0].Value, excluded.ExtraExtensions[0].Value)
	f.Add([]byte{0x30, 0}, []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, san, constraints []byte) {
		if err := attest.CheckNames(san, constraints); err != nil && err.Error() == "" {
			t.Error("an error without text")
		}
	})
}
