package sqlite_test

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
)

func selfSigned(t *testing.T) dps.Certificate {
	t.Helper()
	issued, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "Root"})
	if err != nil {
		t.Fatal(err)
	}
	return dps.Certificate{DER: issued.Certificate.Raw}
}
