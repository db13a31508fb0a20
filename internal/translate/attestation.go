package translate

import (
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// noMechanism is what DPS says when there is nothing to attest by.
// Source: azure-cli issue 19197.
const noMechanism = "TPM or X509 attestation is required."

// attestation reads the mechanism of a request into draft.
func attestation(draft *dps.EnrollmentDraft, a *wire.Attestation) error {
	if a == nil {
		return dps.Invalidf("attestation", "is required")
	}
	kind, err := attestationType(a.Type)
	if err != nil {
		return err
	}
	if err := onlyMember(kind, a); err != nil {
		return err
	}
	draft.Attestation.Type = kind
	switch kind {
	case dps.TPM:
		return tpm(draft, a.TPM)
	case dps.X509:
		return x509(draft, a.X509)
	default:
		return symmetricKey(draft, a.SymmetricKey)
	}
}

func attestationType(text string) (dps.AttestationType, error) {
	for _, t := range []dps.AttestationType{dps.TPM, dps.X509, dps.SymmetricKey} {
		if equalFold(t, text) {
			return t, nil
		}
	}
	if text == "" {
		return "", dps.Invalidf("attestation.type", "is required: tpm, x509 or symmetricKey")
	}
	return "", dps.Invalidf("attestation.type", "must be tpm, x509 or symmetricKey, not %q", clip(text))
}

// clip bounds text of a caller that an error repeats.
func clip(text string) string {
	const most = 64
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

// onlyMember refuses a second attestation beside the one that type names.
func onlyMember(kind dps.AttestationType, a *wire.Attestation) error {
	present := map[dps.AttestationType]bool{dps.TPM: a.TPM != nil, dps.X509: a.X509 != nil, dps.SymmetricKey: a.SymmetricKey != nil}
	for _, other := range []dps.AttestationType{dps.TPM, dps.X509, dps.SymmetricKey} {
		if other != kind && present[other] {
			return dps.Invalidf("attestation."+string(other), "must be absent when attestation.type is %s: an enrollment has one attestation", kind)
		}
	}
	return nil
}

func tpm(draft *dps.EnrollmentDraft, t *wire.TPM) error {
	if draft.Ref.Kind == dps.Group {
		return dps.Invalidf("attestation.type", "must be x509 or symmetricKey for an enrollment group")
	}
	if t == nil {
		return dps.Invalidf("attestation.tpm", "is required when attestation.type is tpm")
	}
	draft.Attestation.TPM = &dps.TPMAttestation{EndorsementKey: t.EndorsementKey, StorageRootKey: t.StorageRootKey}
	return draft.Attestation.TPM.Check("attestation.tpm")
}

func symmetricKey(draft *dps.EnrollmentDraft, k *wire.SymmetricKey) error {
	var pair dps.KeyPair
	if k != nil {
		var err error
		if pair.Primary, err = dps.ParseKey("attestation.symmetricKey.primaryKey", k.PrimaryKey); err != nil {
			return err
		}
		if pair.Secondary, err = dps.ParseKey("attestation.symmetricKey.secondaryKey", k.SecondaryKey); err != nil {
			return err
		}
	}
	draft.Attestation.SymmetricKey = &pair
	return nil
}

func x509(draft *dps.EnrollmentDraft, x *wire.X509) error {
	draft.Attestation.X509 = &dps.X509Attestation{}
	if x == nil {
		return dps.Invalidf("attestation.x509", "is required when attestation.type is x509")
	}
	own, field, other, otherField := x.ClientCertificates, "clientCertificates", x.SigningCertificates, "signingCertificates"
	if draft.Ref.Kind == dps.Group {
		own, field, other, otherField = other, otherField, own, field
	}
	if !emptyCertificates(other) {
		return dps.Invalidf("attestation.x509."+otherField, "is not supported for an %s; use %s or caReferences", kindName(draft.Ref.Kind), field)
	}
	if !emptyCertificates(own) && !emptyReferences(x.CAReferences) {
		return dps.Invalidf("attestation.x509.caReferences", "must be absent when %s is present: an enrollment has one of them", field)
	}
	if !emptyReferences(x.CAReferences) {
		return references(draft, *x.CAReferences)
	}
	if emptyCertificates(own) {
		return dps.Errorf(dps.Invalid, "attestation.x509: %s", noMechanism)
	}
	return certificates(draft, "attestation.x509."+field, *own)
}

func kindName(kind dps.EntryKind) string {
	if kind == dps.Group {
		return "enrollment group"
	}
	return "individual enrollment"
}

func emptyReferences(r *wire.CAReferences) bool {
	return r == nil || (r.Primary == "" && r.Secondary == "")
}

func emptyCertificates(c *wire.Certificates) bool {
	return c == nil || (emptyCertificate(c.Primary) && emptyCertificate(c.Secondary))
}

func emptyCertificate(c *wire.Certificate) bool {
	return c == nil || (c.Certificate == "" && c.Info == nil)
}

func references(draft *dps.EnrollmentDraft, r wire.CAReferences) error {
	const field = "attestation.x509.caReferences"
	var err error
	x := draft.Attestation.X509
	if x.CAPrimary, err = reference(field+".primary", r.Primary); err != nil {
		return err
	}
	x.CASecondary, err = reference(field+".secondary", r.Secondary)
	return err
}

func reference(field, name string) (dps.CAName, error) {
	if name == "" {
		return "", nil
	}
	parsed, err := dps.ParseCAName(name)
	if err != nil {
		return "", dps.Invalidf(field, "must be the name of a CA certificate: 1 to 64 letters, digits, '-', '.' or '_'")
	}
	return parsed, nil
}

func certificates(draft *dps.EnrollmentDraft, field string, c wire.Certificates) error {
	var err error
	x := draft.Attestation.X509
	if x.Primary, draft.KeepPrimary, err = certificate(field+".primary", c.Primary); err != nil {
		return err
	}
	x.Secondary, draft.KeepSecondary, err = certificate(field+".secondary", c.Secondary)
	return err
}

// certificate reads one certificate, or the thumbprint of one that is to be kept.
func certificate(field string, c *wire.Certificate) (*dps.Certificate, string, error) {
	if emptyCertificate(c) {
		return nil, "", nil
	}
	if c.Certificate == "" {
		thumbprint := c.Info.SHA256Thumbprint
		if thumbprint == "" {
			thumbprint = c.Info.SHA1Thumbprint
		}
		if thumbprint == "" {
			return nil, "", dps.Invalidf(field+".certificate", "is required, or info with the thumbprint of the stored certificate")
		}
		return nil, clip(thumbprint), nil
	}
	parsed, err := dps.ParseCertificate(field+".certificate", c.Certificate)
	if err != nil {
		return nil, "", err
	}
	return &parsed, "", nil
}

// Attestation writes the mechanism of an enrollment: certificates as descriptions,
// keys only if asked for.
func Attestation(e dps.Enrollment, withKeys bool) (wire.Attestation, error) {
	out := wire.Attestation{Type: string(e.Attestation.Type)}
	switch {
	case e.Attestation.TPM != nil:
		t := *e.Attestation.TPM
		out.TPM = &wire.TPM{EndorsementKey: t.EndorsementKey, StorageRootKey: t.StorageRootKey}
	case e.Attestation.SymmetricKey != nil:
		if withKeys {
			k := *e.Attestation.SymmetricKey
			out.SymmetricKey = &wire.SymmetricKey{PrimaryKey: k.Primary.Base64(), SecondaryKey: k.Secondary.Base64()}
		}
	case e.Attestation.X509 != nil:
		x, err := x509Out(e.Ref.Kind, *e.Attestation.X509)
		if err != nil {
			return out, err
		}
		out.X509 = &x
	}
	return out, nil
}

func x509Out(kind dps.EntryKind, x dps.X509Attestation) (wire.X509, error) {
	if x.ByReference() {
		return wire.X509{CAReferences: &wire.CAReferences{Primary: string(x.CAPrimary), Secondary: string(x.CASecondary)}}, nil
	}
	var pair wire.Certificates
	var err error
	if pair.Primary, err = certificateOut(x.Primary); err != nil {
		return wire.X509{}, err
	}
	if pair.Secondary, err = certificateOut(x.Secondary); err != nil {
		return wire.X509{}, err
	}
	if kind == dps.Group {
		return wire.X509{SigningCertificates: &pair}, nil
	}
	return wire.X509{ClientCertificates: &pair}, nil
}

func certificateOut(c *dps.Certificate) (*wire.Certificate, error) {
	if c == nil {
		return nil, nil
	}
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	return &wire.Certificate{Info: &wire.CertificateInfo{
		SubjectName: info.Subject, SHA1Thumbprint: info.SHA1, SHA256Thumbprint: info.SHA256, IssuerName: info.Issuer,
		NotBeforeUTC: serviceTime(info.NotBefore), NotAfterUTC: serviceTime(info.NotAfter),
		SerialNumber: info.Serial, Version: info.Version,
	}}, nil
}
