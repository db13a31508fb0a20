package enroll

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Warnings says why a stored enrollment may not admit the devices that it is meant for,
// although it was accepted: one sentence each, which begins with the member. It fails
// never: what storage does not answer is left out.
func (s *Service) Warnings(ctx context.Context, e dps.Enrollment) []string {
	return slices.Concat(s.attestationWarnings(ctx, e), s.hubWarnings(ctx, e), s.collisions(ctx, e))
}

// hubWarnings says that a registration finds no hub.
func (s *Service) hubWarnings(ctx context.Context, e dps.Enrollment) []string {
	hubs, err := s.store.Hubs(ctx, e.Instance)
	if err != nil {
		return nil
	}
	var all []string
	linked := func(name dps.HostName) bool {
		return slices.ContainsFunc(hubs, func(h dps.LinkedHub) bool { return h.HostName.Equal(name) })
	}
	named := e.Placement.IotHubs
	for _, name := range named {
		if !linked(name) {
			all = append(all, fmt.Sprintf("iotHubs: the hub %s is not linked; registrations fail until it is", name))
		}
	}
	if name := e.Placement.HubHostName; len(named) == 0 && name != "" {
		if !linked(name) {
			all = append(all, fmt.Sprintf("iotHubHostName: the hub %s is not linked; registrations fail until it is", name))
		}
		return all
	}
	if e.Placement.Policy != dps.Static || len(named) == 1 {
		return all
	}
	candidates := len(named)
	if candidates == 0 {
		candidates = len(slices.DeleteFunc(slices.Clone(hubs), func(h dps.LinkedHub) bool { return !h.ApplyPolicy }))
	}
	if candidates != 1 {
		all = append(all, fmt.Sprintf("iotHubs: static allocation needs exactly one hub, and there are %d to choose from; "+
			"registrations fail until iotHubs names one", candidates))
	}
	return all
}

func (s *Service) attestationWarnings(ctx context.Context, e dps.Enrollment) []string {
	x := e.Attestation.X509
	if x == nil {
		return nil
	}
	if x.ByReference() {
		return s.referenceWarnings(ctx, e)
	}
	member := "attestation.x509.clientCertificates."
	if e.Ref.Kind == dps.Group {
		member = "attestation.x509.signingCertificates."
	}
	var all []string
	for _, slot := range []struct {
		name string
		cert *dps.Certificate
	}{{"primary", x.Primary}, {"secondary", x.Secondary}} {
		if slot.cert != nil {
			all = append(all, s.certificateWarnings(e.Ref, member+slot.name, *slot.cert)...)
		}
	}
	return all
}

func (s *Service) certificateWarnings(ref dps.EntryRef, member string, c dps.Certificate) []string {
	parsed, err := c.Parse()
	if err != nil {
		return nil // every stored certificate was parsed when it was written
	}
	var all []string
	if ref.Kind == dps.Individual {
		all = nameWarnings(ref, member, parsed)
	} else if problem := dps.SignerProblem(parsed); problem != "" {
		all = []string{fmt.Sprintf("%s: the certificate %s; devices that it signed are refused", member, problem)}
	}
	return append(all, timeWarnings(member, parsed, s.now())...)
}

// nameWarnings says that a device's certificate is not for the registration ID.
func nameWarnings(ref dps.EntryRef, member string, c *x509.Certificate) []string {
	names := dps.CommonNames(c)
	switch {
	case len(names) == 1 && len(names[0]) == len(ref.ID) && strings.EqualFold(names[0], ref.ID):
		return nil
	case len(names) > 1:
		return []string{fmt.Sprintf("%s: the certificate has %d common names, and a device with it is refused; "+
			"issue it with %q as its only common name", member, len(names), ref.ID)}
	case len(names) == 0:
		return []string{fmt.Sprintf("%s: the certificate has no common name, and a device with it is refused; "+
			"issue it with the common name %q", member, ref.ID)}
	}
	return []string{fmt.Sprintf("%s: the certificate's common name %q is not the registration ID %q, and a device with it is refused; "+
		"use a certificate with the common name %q, or enroll the device as its common name", member, names[0], ref.ID, ref.ID)}
}

// timeWarnings says that a certificate is not valid now.
func timeWarnings(member string, c *x509.Certificate, now time.Time) []string {
	switch {
	case now.After(c.NotAfter):
		return []string{fmt.Sprintf("%s: the certificate expired at %s; devices that need it are refused", member, utc(c.NotAfter))}
	case now.Before(c.NotBefore):
		return []string{fmt.Sprintf("%s: the certificate is not valid before %s; devices that need it are refused until then",
			member, utc(c.NotBefore))}
	}
	return nil
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// referenceWarnings says what is wrong with the CA certificates that an enrollment names.
func (s *Service) referenceWarnings(ctx context.Context, e dps.Enrollment) []string {
	var all []string
	for _, ref := range references(*e.Attestation.X509) {
		c, err := s.store.CACertificate(ctx, e.Instance, ref.name)
		if err != nil {
			continue
		}
		if !c.Verified {
			all = append(all, fmt.Sprintf("%s: the CA certificate %s is not verified; "+
				"devices are refused until possession of its key is proved", ref.member, c.Name))
		}
		for _, text := range s.CAWarnings(c) {
			all = append(all, ref.member+": the CA certificate "+string(c.Name)+strings.TrimPrefix(text, "certificate: the certificate"))
		}
	}
	return all
}

// CAWarnings says why a CA certificate may not let the devices in that it signed, as
// Warnings does.
func (s *Service) CAWarnings(c dps.CACertificate) []string {
	parsed, err := c.Certificate.Parse()
	if err != nil {
		return nil
	}
	var all []string
	if problem := dps.SignerProblem(parsed); problem != "" {
		all = []string{"certificate: the certificate " + problem + "; devices that it signed are refused"}
	}
	return append(all, timeWarnings("certificate", parsed, s.now())...)
}

// reference is a member of an attestation that names a CA certificate.
type reference struct {
	member string
	name   dps.CAName
}

func references(x dps.X509Attestation) []reference {
	var all []reference
	if x.CAPrimary != "" {
		all = append(all, reference{"attestation.x509.caReferences.primary", x.CAPrimary})
	}
	if x.CASecondary != "" {
		all = append(all, reference{"attestation.x509.caReferences.secondary", x.CASecondary})
	}
	return all
}

// signers remembers why CA certificates cannot sign, by dps.CAName.Key: "" where one can,
// or where there is none of that name.
type signers map[string]string

// referred looks up the CA certificates that drafts refer to.
func (s *Service) referred(ctx context.Context, drafts ...dps.EnrollmentDraft) (signers, error) {
	found := make(signers)
	for _, d := range drafts {
		if d.Attestation.X509 == nil {
			continue
		}
		for _, ref := range references(*d.Attestation.X509) {
			if _, known := found[ref.name.Key()]; known {
				continue
			}
			c, err := s.storedCA(ctx, d.Instance, ref.name)
			if err != nil {
				return nil, err
			}
			found[ref.name.Key()] = ""
			if c != nil {
				found[ref.name.Key()] = refusedSigner(c.Certificate)
			}
		}
	}
	return found, nil
}

// refusedSigner says why a certificate cannot be that of a signer; "" if it can, or if
// only a warning is due.
func refusedSigner(c dps.Certificate) string {
	parsed, err := c.Parse()
	if err != nil || dps.SaysNothing(parsed) {
		return ""
	}
	return dps.SignerProblem(parsed)
}

// check refuses new certificates and references that can never let a device in, because
// the certificate is not that of a CA. What is stored already stays.
func (found signers) check(draft dps.EnrollmentDraft, stored *dps.Enrollment) error {
	x := draft.Attestation.X509
	if x == nil {
		return nil
	}
	for _, ref := range references(*x) {
		if problem := found[ref.name.Key()]; problem != "" && !storedReference(stored, ref.name) {
			return dps.Invalidf(ref.member, "the CA certificate %s %s; no device could register", ref.name, problem)
		}
	}
	if draft.Ref.Kind != dps.Group {
		return nil
	}
	for _, slot := range []struct {
		name string
		cert *dps.Certificate
	}{{"primary", x.Primary}, {"secondary", x.Secondary}} {
		if slot.cert == nil || storedCertificate(stored, *slot.cert) {
			continue
		}
		if problem := refusedSigner(*slot.cert); problem != "" {
			return dps.Invalidf("attestation.x509.signingCertificates."+slot.name+".certificate", "%s; no device could register. "+
				"Send the certificate of the CA that signs the devices", problem)
		}
	}
	return nil
}

func storedReference(stored *dps.Enrollment, name dps.CAName) bool {
	return stored != nil && stored.Attestation.X509 != nil && stored.Attestation.X509.Refers(name)
}

func storedCertificate(stored *dps.Enrollment, c dps.Certificate) bool {
	return stored != nil && stored.Attestation.X509 != nil && stored.Attestation.X509.Holds(c.Thumbprint())
}
