package translate

import (
	"encoding/base64"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// CACertificate writes a CA certificate of the control plane; base is the resource
// ID of its instance. An outstanding code is shown only where withCode says so,
// with the certificate beside it, as the live service does.
func CACertificate(c dps.CACertificate, base string, withCode bool) (wire.CACertificate, error) {
	parsed, err := c.Certificate.Parse()
	if err != nil {
		return wire.CACertificate{}, err
	}
	subject := c.Certificate.CommonName()
	if subject == "" {
		subject = dps.DistinguishedName(parsed.RawSubject) // DPS shows only the common name; there is none, or no single one
	}
	out := wire.CACertificate{
		Properties: wire.CACertificateProperties{
			Subject: subject, Expiry: armTime(parsed.NotAfter), Thumbprint: dps.SHA1Thumbprint(c.Certificate.DER),
			IsVerified: c.Verified, Created: armTime(c.Created), Updated: armTime(c.Updated),
		},
		ID: base + "/certificates/" + string(c.Name), Name: string(c.Name), Type: wire.CertificateResourceType, ETag: string(c.ETag),
	}
	if withCode && c.Challenge != nil {
		text := base64.StdEncoding.EncodeToString(c.Certificate.DER)
		out.Properties.VerificationCode, out.Properties.Certificate = c.Challenge.Code, &text
	}
	return out, nil
}

// hubTime writes a time as hubs do.
func hubTime(t time.Time) string {
	if t.IsZero() {
		return wire.HubNever
	}
	return deviceTime(t)
}
