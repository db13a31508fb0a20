package dps

import "encoding/base64"

// AttestationType is how a device proves who it is.
type AttestationType string

// The attestation types, as the wire spells them.
const (
	TPM          AttestationType = "tpm"
	X509         AttestationType = "x509"
	SymmetricKey AttestationType = "symmetricKey"
)

// Attestation says what a device has to prove. Exactly the member that Type
// names is set.
type Attestation struct {
	Type         AttestationType
	TPM          *TPMAttestation
	X509         *X509Attestation
	SymmetricKey *KeyPair
}

// TPMAttestation names a TPM by its endorsement key.
type TPMAttestation struct {
	EndorsementKey string // base64 of a TPM2B_PUBLIC
	StorageRootKey string // the same, may be ""
}

// maxTPMKeyBytes bounds an endorsement or storage root key: RSA-4096 needs under 600.
const maxTPMKeyBytes = 2048

// Check reports whether the keys are base64 of a plausible size. It fails with
// Invalid; field is the path of the attestation's tpm member.
func (t TPMAttestation) Check(field string) error {
	if t.EndorsementKey == "" {
		return Invalidf(field+".endorsementKey", "is required")
	}
	if err := checkTPMKey(field+".endorsementKey", t.EndorsementKey); err != nil {
		return err
	}
	return checkTPMKey(field+".storageRootKey", t.StorageRootKey)
}

func checkTPMKey(field, key string) error {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return Invalidf(field, "must be base64")
	}
	if len(raw) > maxTPMKeyBytes {
		return Invalidf(field, "must be at most %d bytes, not %d", maxTPMKeyBytes, len(raw))
	}
	return nil
}

// X509Attestation names certificates, or CA certificates by their names; never both.
//
// Certificates are a device's own in an individual enrollment and a signer's in
// an enrollment group.
type X509Attestation struct {
	Primary, Secondary     *Certificate
	CAPrimary, CASecondary CAName
}

// ByReference reports whether the attestation names CA certificates.
func (x X509Attestation) ByReference() bool { return x.CAPrimary != "" || x.CASecondary != "" }

// Certificates returns those that are set, primary first.
func (x X509Attestation) Certificates() []Certificate {
	var all []Certificate
	for _, c := range []*Certificate{x.Primary, x.Secondary} {
		if c != nil {
			all = append(all, *c)
		}
	}
	return all
}

// CAReferences returns the names that are set, primary first, each once.
func (x X509Attestation) CAReferences() []CAName {
	var all []CAName
	if x.CAPrimary != "" {
		all = append(all, x.CAPrimary)
	}
	if x.CASecondary != "" && x.CASecondary.Key() != x.CAPrimary.Key() {
		all = append(all, x.CASecondary)
	}
	return all
}

// Holds reports whether one of the certificates has the thumbprint t.
func (x X509Attestation) Holds(t Thumbprint) bool {
	for _, c := range x.Certificates() {
		if c.Thumbprint() == t {
			return true
		}
	}
	return false
}

// Refers reports whether one of the references is to the CA certificate name.
func (x X509Attestation) Refers(name CAName) bool {
	for _, ref := range x.CAReferences() {
		if ref.Key() == name.Key() {
			return true
		}
	}
	return false
}
