package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// Attestation types, as the wire spells them.
const (
	x509Type         = "x509"
	tpmType          = "tpm"
	symmetricKeyType = "symmetricKey"
)

// attestationFlags are what flags say about how devices prove who they are.
type attestationFlags struct {
	kind dps.EntryKind
	typ  string // named, or what the other flags mean; "" when none is given

	certificate, secondaryCertificate string // file, after parse base64 of DER
	remove, removeSecondary           bool
	ca, secondaryCA                   string
	endorsementKey, storageRootKey    string
	primaryKey, secondaryKey          string

	given map[string]bool
}

// typeOfFlag says which attestation a flag belongs to.
var typeOfFlag = map[string]string{
	"certificate-path": x509Type, "secondary-certificate-path": x509Type,
	"remove-certificate": x509Type, "remove-secondary-certificate": x509Type,
	"ca-name": x509Type, "secondary-ca-name": x509Type,
	"endorsement-key": tpmType, "storage-root-key": tpmType,
	"primary-key": symmetricKeyType, "secondary-key": symmetricKeyType,
}

// attestationFlagNames are all flags about attestation, in the order of checks.
var attestationFlagNames = []string{
	"attestation-type", "certificate-path", "secondary-certificate-path", "remove-certificate", "remove-secondary-certificate",
	"ca-name", "secondary-ca-name", "endorsement-key", "storage-root-key", "primary-key", "secondary-key",
}

// attestationTypes are what a kind of enrollments can have.
func attestationTypes(kind dps.EntryKind) []string {
	if kind == dps.Group {
		return []string{x509Type, symmetricKeyType}
	}
	return []string{x509Type, tpmType, symmetricKeyType}
}

func (a *attestationFlags) addFlags(cmd *cobra.Command, kind dps.EntryKind) {
	a.kind = kind
	f := cmd.Flags()
	signer, types := "certificate of the device", "x509, tpm or symmetricKey"
	if kind == dps.Group {
		signer, types = "CA certificate that signs the devices", "x509 or symmetricKey"
	}
	f.StringVar(&a.typ, "attestation-type", "", "attestation type: "+types)
	f.StringVar(&a.certificate, "certificate-path", "", "file with the "+signer+", PEM or DER")
	f.StringVar(&a.secondaryCertificate, "secondary-certificate-path", "", "file with the secondary certificate")
	f.StringVar(&a.ca, "ca-name", "", "name of the CA certificate that signs devices (see 'mooring certificate')")
	f.StringVar(&a.secondaryCA, "secondary-ca-name", "", "name of the secondary CA certificate")
	if kind == dps.Individual {
		f.StringVar(&a.endorsementKey, "endorsement-key", "", "endorsement key of the device's TPM in base64, or @FILE")
		f.StringVar(&a.storageRootKey, "storage-root-key", "", "storage root key of the device's TPM in base64, or @FILE")
	}
	f.StringVar(&a.primaryKey, "primary-key", "", "primary symmetric key, base64 of 16 to 64 bytes, or @FILE (default: generated)")
	f.StringVar(&a.secondaryKey, "secondary-key", "", "secondary symmetric key, base64 of 16 to 64 bytes, or @FILE (default: generated)")
	completeWords(cmd, "attestation-type", attestationTypes(kind))
}

// parse finds out the type, checks that the flags go together, and reads files.
func (a *attestationFlags) parse(cmd *cobra.Command, kind dps.EntryKind, create bool) error {
	if err := a.parseType(cmd, kind); err != nil {
		return err
	}
	if err := a.checkX509(cmd); err != nil {
		return err
	}
	if create {
		if err := a.checkComplete(cmd, kind); err != nil {
			return err
		}
	}
	if err := a.readCertificates(cmd.ErrOrStderr()); err != nil {
		return err
	}
	return a.readKeys(cmd)
}

// parseType finds the one attestation that the flags are about.
func (a *attestationFlags) parseType(cmd *cobra.Command, kind dps.EntryKind) error {
	var from string // the flag that decided
	if a.given["attestation-type"] {
		var err error
		if a.typ, err = oneOf(cmd, "attestation-type", a.typ, attestationTypes(kind)); err != nil {
			return err
		}
		from = "attestation-type " + a.typ
	}
	for _, name := range attestationFlagNames {
		typ := typeOfFlag[name]
		switch {
		case !a.given[name] || typ == "" || typ == a.typ:
		case a.typ == "":
			a.typ, from = typ, name
		default:
			return usagef(cmd, "--%s is for %s attestation and cannot be combined with --%s", name, typ, from)
		}
	}
	return nil
}

// checkX509 refuses flags about certificates that cannot be combined.
func (a *attestationFlags) checkX509(cmd *cobra.Command) error {
	for _, pair := range [][2]string{
		{"certificate-path", "remove-certificate"},
		{"secondary-certificate-path", "remove-secondary-certificate"},
		{"certificate-path", "ca-name"},
		{"certificate-path", "secondary-ca-name"},
		{"secondary-certificate-path", "ca-name"},
		{"secondary-certificate-path", "secondary-ca-name"},
	} {
		if a.given[pair[0]] && a.given[pair[1]] {
			return usagef(cmd, "--%s and --%s cannot be combined", pair[0], pair[1])
		}
	}
	return nil
}

// checkComplete demands what a new enrollment cannot do without.
func (a *attestationFlags) checkComplete(cmd *cobra.Command, kind dps.EntryKind) error {
	switch {
	case a.typ == "" && kind == dps.Group:
		a.typ = symmetricKeyType // as az iot dps does
	case a.typ == "":
		return usagef(cmd, "--attestation-type is required: x509, tpm or symmetricKey")
	case a.typ == x509Type && a.certificate+a.secondaryCertificate+a.ca+a.secondaryCA == "":
		return usagef(cmd, "--certificate-path or --ca-name is required for x509 attestation")
	case a.typ == tpmType && a.endorsementKey == "":
		return usagef(cmd, "--endorsement-key is required for tpm attestation")
	}
	return nil
}

// readCertificates puts certificates in place of the files that hold them.
func (a *attestationFlags) readCertificates(out io.Writer) error {
	for _, f := range []flagText{{"certificate-path", &a.certificate}, {"secondary-certificate-path", &a.secondaryCertificate}} {
		if *f.value == "" {
			continue
		}
		der, err := readCertificate(out, "--"+f.name, *f.value)
		if err != nil {
			return err
		}
		*f.value = base64.StdEncoding.EncodeToString(der)
	}
	return nil
}

// readKeys reads keys from the files that hold them, and checks symmetric ones.
func (a *attestationFlags) readKeys(cmd *cobra.Command) error {
	for _, f := range []flagText{
		{"endorsement-key", &a.endorsementKey},
		{"storage-root-key", &a.storageRootKey},
		{"primary-key", &a.primaryKey},
		{"secondary-key", &a.secondaryKey},
	} {
		if !a.given[f.name] {
			continue
		}
		text, err := textOrFile("--"+f.name, *f.value)
		if err != nil {
			return err
		}
		*f.value = strings.TrimSpace(text)
		if typeOfFlag[f.name] != symmetricKeyType {
			continue
		}
		if err := checkKey(cmd, f.name, *f.value); err != nil {
			return err
		}
	}
	return nil
}

// checkKey refuses what is no symmetric key.
func checkKey(cmd *cobra.Command, flag, text string) error {
	key, err := dps.ParseKey("--"+flag, text)
	if err != nil {
		return usagef(cmd, "%s", dps.MessageOf(err))
	}
	if key.IsZero() {
		return usagef(cmd, "--%s: is empty", flag)
	}
	return nil
}

// attestationOf returns the type of attestation of an enrollment, as the wire spells it.
func attestationOf(r *wire.Enrollment) string {
	if r.Attestation == nil {
		return ""
	}
	for _, typ := range []string{x509Type, tpmType, symmetricKeyType} {
		if strings.EqualFold(typ, r.Attestation.Type) {
			return typ
		}
	}
	return r.Attestation.Type
}

// apply changes the attestation of r. It changes its type only if that was asked for.
func (a *attestationFlags) apply(r *wire.Enrollment) error {
	if a.typ == "" {
		return nil
	}
	current := attestationOf(r)
	if current != "" && current != a.typ && !a.given["attestation-type"] {
		return fmt.Errorf("the attestation type is %s; add --attestation-type %s to change it", current, a.typ)
	}
	if current != a.typ {
		r.Attestation = &wire.Attestation{Type: a.typ}
	}
	switch a.typ {
	case x509Type:
		a.applyX509(r.Attestation)
	case tpmType:
		a.applyTPM(r.Attestation)
	default:
		a.applyKeys(r.Attestation)
	}
	return nil
}

func (a *attestationFlags) applyKeys(to *wire.Attestation) {
	var keys wire.SymmetricKey
	if to.SymmetricKey != nil {
		keys = *to.SymmetricKey
	}
	if a.given["primary-key"] {
		keys.PrimaryKey = a.primaryKey
	}
	if a.given["secondary-key"] {
		keys.SecondaryKey = a.secondaryKey
	}
	to.SymmetricKey = &keys
}

func (a *attestationFlags) applyTPM(to *wire.Attestation) {
	var keys wire.TPM
	if to.TPM != nil {
		keys = *to.TPM
	}
	if a.given["endorsement-key"] {
		keys.EndorsementKey = a.endorsementKey
	}
	if a.given["storage-root-key"] {
		keys.StorageRootKey = a.storageRootKey
	}
	to.TPM = &keys
}

// applyX509 changes certificates or names of CA certificates; one takes the place of
// the other.
func (a *attestationFlags) applyX509(to *wire.Attestation) {
	var x wire.X509
	if to.X509 != nil {
		x = *to.X509
	}
	switch {
	case a.given["ca-name"] || a.given["secondary-ca-name"]:
		to.X509 = &wire.X509{CAReferences: a.references(x.CAReferences)}
	case a.given["certificate-path"] || a.given["secondary-certificate-path"] || a.remove || a.removeSecondary:
		pair := a.certificates(certificatesOf(&x))
		if a.kind == dps.Group {
			to.X509 = &wire.X509{SigningCertificates: &pair}
		} else {
			to.X509 = &wire.X509{ClientCertificates: &pair}
		}
	}
}

func (a *attestationFlags) references(now *wire.CAReferences) *wire.CAReferences {
	var refs wire.CAReferences
	if now != nil {
		refs = *now
	}
	if a.given["ca-name"] {
		refs.Primary = a.ca
	}
	if a.given["secondary-ca-name"] {
		refs.Secondary = a.secondaryCA
	}
	return &refs
}

func (a *attestationFlags) certificates(pair wire.Certificates) wire.Certificates {
	if a.remove {
		pair.Primary = nil
	}
	if a.removeSecondary {
		pair.Secondary = nil
	}
	if a.certificate != "" {
		pair.Primary = &wire.Certificate{Certificate: a.certificate}
	}
	if a.secondaryCertificate != "" {
		pair.Secondary = &wire.Certificate{Certificate: a.secondaryCertificate}
	}
	return pair
}

// certificatesOf returns the certificates of either kind of enrollment.
func certificatesOf(x *wire.X509) wire.Certificates {
	switch {
	case x.ClientCertificates != nil:
		return *x.ClientCertificates
	case x.SigningCertificates != nil:
		return *x.SigningCertificates
	default:
		return wire.Certificates{}
	}
}
