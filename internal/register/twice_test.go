package register_test

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// A CA certificate that is uploaded under two names is found by either.
func TestCertificateOfTwoNames(t *testing.T) {
	for _, name := range []dps.CAName{"root", "copy", "alias"} {
		w := newWorld(t)
		w.upload(t, "copy", w.root, true)
		w.upload(t, "alias", w.root, true)
		w.put(t, individual("sensor"), dps.X509Attestation{CAPrimary: name}, nil)
		if rec := w.registered(t, w.request("sensor", w.leaf(t, "sensor"))); rec.Status != dps.Assigned {
			t.Errorf("by the name %s: %+v", name, rec)
		}
	}
}
