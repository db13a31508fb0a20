package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/mooring-iot/mooring/wire"
)

// print shows one enrollment to a program or to a person.
func (o *enrollmentOptions) print(e *env, r *wire.Enrollment) error {
	if o.json {
		return printJSON(e, r)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	line := liner(w)
	line("Enrollment ID", idOf(r))
	line("Status", r.ProvisioningStatus.Value)
	printAttestation(line, r)
	line("Device ID", r.DeviceID)
	if s := r.RegistrationState; s != nil {
		line("Registration", strings.TrimSpace(s.Status+" "+s.AssignedHub))
	}
	printPlacement(line, r)
	if r.Capabilities != nil {
		line("Edge device", yesNo(r.Capabilities.IotEdge))
	}
	line("Initial twin", compactJSON(r.InitialTwin))
	line("Device information", compactJSON(r.OptionalDeviceInformation))
	line("Created", shortTime(r.CreatedDateTimeUTC))
	line("Updated", shortTime(r.LastUpdatedDateTimeUTC))
	line("ETag", r.ETag)
	return w.Flush()
}

// liner returns a function that prints a name and a value, unless there is no value.
func liner(w *tabwriter.Writer) func(name, value string) {
	return func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
}

func printAttestation(line func(name, value string), r *wire.Enrollment) {
	line("Attestation", attestationText(r))
	a := r.Attestation
	switch {
	case a == nil:
	case a.SymmetricKey != nil:
		line("Primary key", a.SymmetricKey.PrimaryKey)
		line("Secondary key", a.SymmetricKey.SecondaryKey)
	case a.TPM != nil:
		line("Endorsement key", a.TPM.EndorsementKey)
		line("Storage root key", a.TPM.StorageRootKey)
	case a.X509 != nil && a.X509.CAReferences != nil:
		line("CA certificate", a.X509.CAReferences.Primary)
		line("Secondary CA certificate", a.X509.CAReferences.Secondary)
	case a.X509 != nil:
		pair := certificatesOf(a.X509)
		line("Certificate", certificateText(pair.Primary))
		line("Secondary certificate", certificateText(pair.Secondary))
	}
}

// attestationText names how devices prove themselves, with the kind of certificates.
func attestationText(r *wire.Enrollment) string {
	if r.Attestation == nil {
		return ""
	}
	if x := r.Attestation.X509; x != nil && x.CAReferences != nil {
		return r.Attestation.Type + " (CA)"
	}
	return r.Attestation.Type
}

func certificateText(c *wire.Certificate) string {
	if c == nil || c.Info == nil {
		return ""
	}
	return fmt.Sprintf("%s, until %s, SHA-256 %s", c.Info.SubjectName, shortTime(c.Info.NotAfterUTC), c.Info.SHA256Thumbprint)
}

func printPlacement(line func(name, value string), r *wire.Enrollment) {
	line("Allocation", r.AllocationPolicy)
	line("Hubs", strings.Join(append(r.IotHubs[:len(r.IotHubs):len(r.IotHubs)], nonEmpty(r.IotHubHostName)...), ", "))
	if c := r.CustomAllocationDefinition; c != nil {
		line("Webhook", fmt.Sprintf("%s (api-version %s)", c.WebhookURL, c.APIVersion))
	}
	if p := r.ReprovisionPolicy; p != nil {
		line("Reprovisioning", reprovisionText(p))
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// reprovisionText names a policy as the flag does.
func reprovisionText(p *wire.ReprovisionPolicy) string {
	update := p.UpdateHubAssignment == nil || *p.UpdateHubAssignment
	migrate := p.MigrateDeviceData == nil || *p.MigrateDeviceData
	switch {
	case !update:
		return "never"
	case migrate:
		return "reprovisionandmigratedata"
	default:
		return "reprovisionandresetdata"
	}
}

// hideKeys takes the symmetric keys out of an enrollment.
func hideKeys(r *wire.Enrollment) {
	if r.Attestation != nil {
		r.Attestation.SymmetricKey = nil
	}
}

func idOf(r *wire.Enrollment) string {
	if r.EnrollmentGroupID != "" {
		return r.EnrollmentGroupID
	}
	return r.RegistrationID
}

// shortTime cuts a time of the wire to whole seconds.
func shortTime(t string) string {
	whole, _, cut := strings.Cut(t, ".")
	if cut {
		return whole + "Z"
	}
	return t
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
