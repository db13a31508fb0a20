package handshake_test

import (
	"encoding/binary"
	"testing"

	"github.com/mooring-iot/mooring/internal/handshake"
	"github.com/mooring-iot/mooring/internal/pki/oddcert"
)

// FuzzGlimpseChain reads whatever a client may have sent in plain text.
func FuzzGlimpseChain(f *testing.F) {
	for _, kind := range oddcert.Kinds() {
		der, _, err := oddcert.Make(kind, "sensor_7")
		must(f, err)
		f.Add(certificateFlight(der))
		f.Add(certificateFlight(der)[:100])
	}
	f.Fuzz(func(t *testing.T, flight []byte) {
		e, name := handshake.GlimpseChain(flight)
		if len(e.Chain) > e.Presented || len(e.Chain) > 10 || (name != "" && e.Presented == 0) {
			t.Errorf("%d certificates of %d, name %q", len(e.Chain), e.Presented, name)
		}
	})
}

// certificateFlight is a TLS record with one certificate message.
func certificateFlight(der []byte) []byte {
	uint24 := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n))[1:] } //nolint:gosec // short
	list := append(uint24(len(der)), der...)
	body := append(uint24(len(list)), list...)
	message := append([]byte{11}, append(uint24(len(body)), body...)...)
	return append([]byte{22, 3, 3, byte(len(message) >> 8), byte(len(message))}, message...) //nolint:gosec // short
}
