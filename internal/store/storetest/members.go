package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

// assorted stores one record of a kind for each way to attest, and each member that can
// be left out, and returns them.
func (w *world) assorted(t *testing.T, kind dps.EntryKind) []query.Record {
	t.Helper()
	primary, secondary, alone := certificate(t, "press"), certificate(t, "press, spare"), certificate(t, "grün")
	w.upload(t, dps.CAName("Root-"+kind), certificate(t, "root"))
	w.upload(t, dps.CAName("Next-"+kind), certificate(t, "next"))
	ways := map[string]dps.Attestation{
		"keys": byKeys(), "primary": byCertificate(alone), "pair": byX509(dps.X509Attestation{Primary: &primary, Secondary: &secondary}),
		"reference": byX509(dps.X509Attestation{CAPrimary: dps.CAName("Root-" + kind), CASecondary: dps.CAName("Next-" + kind)}),
	}
	if kind == dps.Individual {
		ways["tpm"] = byTPM()
		ways["tpm2"] = dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{EndorsementKey: "AToA", StorageRootKey: "BToB"}}
	}
	var all []query.Record
	for id, way := range ways {
		e := enrollment(dps.EntryRef{Kind: kind, ID: id}, way)
		switch id {
		case "pair":
			e.Capabilities, e.Placement.IotHubs, e.Placement.HubHostName = &dps.Capabilities{
				IotEdge: true,
			}, []dps.HostName{
				"a.example.com",
			}, "b.example.com"
			e.Placement.Custom = &dps.CustomAllocation{WebhookURL: "https://hook.example.com/?code=1", APIVersion: "2021-10-01"}
		case "keys":
			e.Placement.Reprovision, e.Placement.Policy = &dps.ReprovisionPolicy{UpdateHubAssignment: true}, dps.Custom
			e.Placement.Custom = &dps.CustomAllocation{WebhookURL: "https://hook.example.com/?code=2", APIVersion: "2019-03-31"}
		case "primary":
			e.Capabilities, e.Placement.Reprovision = &dps.Capabilities{}, &dps.ReprovisionPolicy{MigrateDeviceData: true}
		}
		w.put(t, e)
		all = append(all, query.Record{Enrollment: e})
	}
	return all
}

// literals are values for conditions on a member: those of every record, and null.
func literals(all []query.Record, path []string) []string {
	found := []string{"null", "'nobody'", "true", "3"}
	for _, r := range all {
		if len(path) == 1 && path[0] == "iotHubs" {
			for _, h := range r.Enrollment.Placement.IotHubs {
				found = append(found, "'"+string(h)+"'", "'"+strings.ToUpper(string(h))+"'")
			}
		}
		value, _ := r.Member(path)
		if text, ok := value.(string); ok {
			found = append(found, "'"+strings.ReplaceAll(text, "'", "''")+"'", "'"+strings.ToLower(text)+"'")
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// attested are the members that depend on how a record attests and is placed.
func attested(certificates string) []string {
	all := []string{
		"attestation", "attestation.type", "attestation.tpm", "attestation.tpm.endorsementKey", "attestation.tpm.storageRootKey",
		"attestation.x509", "attestation.x509.caReferences", "attestation.x509.caReferences.primary", "attestation.x509.caReferences.secondary",
		"attestation.x509." + certificates, "capabilities", "capabilities.iotEdge", "iotHubs", "iotHubHostName", "allocationPolicy",
		"reprovisionPolicy", "reprovisionPolicy.updateHubAssignment", "reprovisionPolicy.migrateDeviceData",
		"customAllocationDefinition", "customAllocationDefinition.webhookUrl", "customAllocationDefinition.apiVersion",
	}
	for _, slot := range []string{"primary", "secondary"} {
		above := "attestation.x509." + certificates + "." + slot
		all = append(all, above, above+".info")
		for _, member := range []string{
			"subjectName", "issuerName", "sha1Thumbprint", "sha256Thumbprint", "serialNumber", "notBeforeUtc", "notAfterUtc", "version",
		} {
			all = append(all, above+".info."+member)
		}
	}
	return all
}

// anyMember walks the members, whatever a store keeps them as.
func anyMember(t *testing.T, w *world) {
	for kind, certificates := range map[dps.EntryKind]string{dps.Individual: "clientCertificates", dps.Group: "signingCertificates"} {
		all := w.assorted(t, kind)
		for _, member := range attested(certificates) {
			for _, literal := range literals(all, strings.Split(member, ".")) {
				conditions := []string{member + " = " + literal, member + " != " + literal, member + " <= " + literal}
				if literal[0] == '\'' {
					conditions = append(conditions, "STARTS_WITH("+member+", "+literal+")", member+" = "+literal+" AND attestation.type = 'x509'",
						fmt.Sprintf("NOT %s = %s OR %s = %s", member, literal, member, literal), "ARRAY_CONTAINS("+member+", "+literal+")")
				}
				for _, c := range conditions {
					if _, err := query.Parse("SELECT * WHERE "+c, schemaOf(kind)); err != nil {
						continue // the member cannot be compared with such a literal
					}
					q := parsed(t, "SELECT * WHERE "+c, schemaOf(kind))
					var got []string
					for _, e := range w.find(t, kind, "SELECT * WHERE "+c, 100) {
						got = append(got, e.Ref.ID)
					}
					same(t, c, got, filtered(all, q))
				}
			}
		}
	}
}

// byThumbprint finds the holder of a certificate, in its kind and instance only.
func byThumbprint(t *testing.T, w *world) {
	c, d := certificate(t, "a"), certificate(t, "b")
	held := w.put(t, enrollment(individual("Press"), byX509(dps.X509Attestation{Primary: &c, Secondary: &d})))
	other := enrollment(individual("other"), byCertificate(c))
	other.Instance = there
	w.put(t, other)
	primary := "attestation.x509.clientCertificates.primary.info.sha256Thumbprint = "
	secondary := "attestation.x509.clientCertificates.secondary.info.sha256Thumbprint = "
	for where, found := range map[string]bool{
		primary + "'" + c.Thumbprint().String() + "'":                                                                                 true,
		secondary + "'" + d.Thumbprint().String() + "'":                                                                               true,
		secondary + "'" + c.Thumbprint().String() + "'":                                                                               false,
		primary + "'" + strings.ToLower(c.Thumbprint().String()) + "'":                                                                true,
		primary + "'" + c.Thumbprint().String() + "' AND registrationId = 'PRESS'":                                                    true,
		primary + "'" + c.Thumbprint().String() + "' AND registrationId = 'x'":                                                        false,
		primary + "'" + c.Thumbprint().String() + "' AND " + secondary + "'" + d.Thumbprint().String() + "'":                          true,
		primary + "'" + c.Thumbprint().String() + "' AND " + secondary + "'" + certificate(t, "c").Thumbprint().String() + "'":        false,
		primary + "'" + certificate(t, "c").Thumbprint().String() + "' OR registrationId = 'press'":                                   true,
		"NOT " + primary + "'" + certificate(t, "c").Thumbprint().String() + "'":                                                      true,
		"STARTS_WITH(" + strings.TrimSuffix(primary, " = ") + ", '" + c.Thumbprint().String()[:10] + "') AND NOT registrationId = ''": true,
	} {
		for _, order := range orders {
			var want []dps.Enrollment
			if found {
				want = append(want, held)
			}
			same(t, where+order, w.find(t, dps.Individual, "SELECT * WHERE "+where+order, 10), want)
		}
	}
	text := strings.ReplaceAll("SELECT * WHERE "+primary, "clientC", "signingC") + "'" + c.Thumbprint().String() + "'"
	same(t, "of a group", w.find(t, dps.Group, text, 10), []dps.Enrollment(nil))
	must(t, w.DeleteEnrollment(t.Context(), here, held.Ref, held.ETag))
	same(t, "deleted", w.find(t, dps.Individual, "SELECT * WHERE "+primary+"'"+c.Thumbprint().String()+"'", 10), []dps.Enrollment(nil))
}
