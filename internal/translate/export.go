package translate

import (
	"encoding/base64"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// Export writes an enrollment as export files have it: without version and times,
// with certificates whole, as base64 of their DER. Only with keys are symmetric keys
// there, and the query of a webhook's URL, which may hold one.
func Export(e dps.Enrollment, withKeys bool) (wire.Enrollment, error) {
	certificates := e.Attestation.X509
	e.Attestation.X509 = nil
	out, err := Enrollment(e, withKeys)
	if err != nil {
		return out, err
	}
	out.ETag, out.CreatedDateTimeUTC, out.LastUpdatedDateTimeUTC = "", "", ""
	if certificates != nil {
		out.Attestation.X509 = x509Whole(e.Ref.Kind, *certificates)
	}
	if c := e.Placement.Custom; c != nil && withKeys {
		out.CustomAllocationDefinition.WebhookURL = c.WebhookURL
	}
	return out, nil
}

func x509Whole(kind dps.EntryKind, x dps.X509Attestation) *wire.X509 {
	if x.ByReference() {
		return &wire.X509{CAReferences: &wire.CAReferences{Primary: string(x.CAPrimary), Secondary: string(x.CASecondary)}}
	}
	pair := &wire.Certificates{Primary: whole(x.Primary), Secondary: whole(x.Secondary)}
	if kind == dps.Group {
		return &wire.X509{SigningCertificates: pair}
	}
	return &wire.X509{ClientCertificates: pair}
}

func whole(c *dps.Certificate) *wire.Certificate {
	if c == nil {
		return nil
	}
	return &wire.Certificate{Certificate: base64.StdEncoding.EncodeToString(c.DER)}
}
