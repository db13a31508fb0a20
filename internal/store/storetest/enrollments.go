package storetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/dps"
)

var enrollmentCases = []testCase{
	{"missing records", func(t *testing.T, w *world) {
		_, err := w.Enrollment(t.Context(), here, individual("ghost"))
		fails(t, "individual", err, dps.EnrollmentNotFound)
		_, err = w.Enrollment(t.Context(), here, group("ghost"))
		fails(t, "group", err, dps.GroupNotFound)
		fails(t, "delete", w.DeleteEnrollment(t.Context(), here, group("ghost"), dps.NewETag()), dps.ConcurrentChange)
		fails(t, "replace", w.PutEnrollment(t.Context(), enrollment(group("ghost"), byKeys()), dps.NewETag()), dps.ConcurrentChange)
		if got := w.owner(t, dps.Certificate{DER: []byte("nobody's")}); got != "" {
			t.Errorf("owner = %q", got)
		}
	}},
	{"written only at the right version", func(t *testing.T, w *world) {
		ctx, ref := t.Context(), individual("sensor")
		first := w.put(t, enrollment(ref, byKeys()))
		second := enrollment(ref, byTPM())
		second.Updated = start.Add(time.Minute)
		fails(t, "create over it", w.PutEnrollment(ctx, second, ""), dps.ConcurrentChange)
		fails(t, "replace another version", w.PutEnrollment(ctx, second, dps.NewETag()), dps.ConcurrentChange)
		same(t, "still the first", w.enrollment(t, ref), first)

		must(t, w.PutEnrollment(ctx, second, first.ETag))
		same(t, "replaced", w.enrollment(t, ref), second)
		fails(t, "replace again", w.PutEnrollment(ctx, first, first.ETag), dps.ConcurrentChange)
		fails(t, "delete another version", w.DeleteEnrollment(ctx, here, ref, first.ETag), dps.ConcurrentChange)
		fails(t, "delete no version", w.DeleteEnrollment(ctx, here, ref, ""), dps.ConcurrentChange)
		same(t, "still the second", w.enrollment(t, ref), second)

		must(t, w.DeleteEnrollment(ctx, here, ref, second.ETag))
		_, err := w.Enrollment(ctx, here, ref)
		fails(t, "deleted", err, dps.EnrollmentNotFound)
		w.put(t, enrollment(ref, byKeys()))
	}},
	{"an individual and a group may share an ID", func(t *testing.T, w *world) {
		one := w.put(t, enrollment(individual("line"), byKeys()))
		many := w.put(t, enrollment(group("line"), byKeys()))
		same(t, "individual", w.enrollment(t, individual("line")), one)
		must(t, w.DeleteEnrollment(t.Context(), here, individual("line"), one.ETag))
		same(t, "group", w.enrollment(t, group("line")), many)
	}},
	{"case does not distinguish IDs, and the first spelling stays", firstSpelling},
	{"registration records outlive their enrollment", func(t *testing.T, w *world) {
		e := w.put(t, enrollment(group("line"), byKeys()))
		reg, _ := w.commitNew(t, "sensor")
		must(t, w.DeleteEnrollment(t.Context(), here, e.Ref, e.ETag))
		same(t, "record", read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), reg)
	}},
	{"groups with keys are listed", func(t *testing.T, w *world) {
		list := read[[]dps.Enrollment](t)
		same(t, "none", list(w.KeyGroups(t.Context(), here)), []dps.Enrollment(nil))
		hook := enrollment(group("hook"), byCertificate(certificate(t, "line")))
		hook.Placement.Custom = &dps.CustomAllocation{WebhookURL: "https://f.example.com/?code=x", APIVersion: "2019-03-31"}
		w.put(t, hook) // has a secret, but no keys
		w.put(t, enrollment(individual("c"), byKeys()))
		b := w.put(t, enrollment(group("B"), byKeys()))
		a := w.put(t, enrollment(group("a"), byKeys()))
		same(t, "both, by ID", list(w.KeyGroups(t.Context(), here)), []dps.Enrollment{a, b})
		same(t, "of the other instance", list(w.KeyGroups(t.Context(), there)), []dps.Enrollment(nil))
	}},
	{"changes of signers are counted", func(t *testing.T, w *world) {
		changes := read[int64](t)
		before, other := changes(w.SignerChanges(t.Context(), here)), changes(w.SignerChanges(t.Context(), there))
		grew := func(what string, want bool) {
			t.Helper()
			now := changes(w.SignerChanges(t.Context(), here))
			if now < before || (now > before) != want {
				t.Errorf("%s: the count went from %d to %d", what, before, now)
			}
			before = now
		}
		grew("nothing", false)
		w.put(t, enrollment(individual("c"), byCertificate(certificate(t, "c"))))
		w.put(t, enrollment(group("keys"), byKeys()))
		w.commitNew(t, "sensor")
		grew("what signs nobody", false)
		ca := w.upload(t, "root", certificate(t, "root"))
		grew("a new CA certificate", true)
		old := ca.ETag
		ca.Verified, ca.ETag = !ca.Verified, dps.NewETag()
		must(t, w.PutCACertificate(t.Context(), ca, old))
		grew("a verified one", true)
		e := w.put(t, enrollment(group("line"), byReference("root")))
		grew("a reference", true)
		must(t, w.DeleteEnrollment(t.Context(), here, e.Ref, e.ETag))
		grew("no reference", true)
		e = w.put(t, enrollment(group("line"), byCertificate(certificate(t, "line"))))
		grew("a certificate of a group", true)
		must(t, w.DeleteEnrollment(t.Context(), here, e.Ref, e.ETag))
		grew("its deletion", true)
		must(t, w.DeleteCACertificate(t.Context(), here, "root", ca.ETag))
		grew("the deletion of the CA certificate", true)
		if now := changes(w.SignerChanges(t.Context(), there)); now != other {
			t.Errorf("the count of the other instance went from %d to %d", other, now)
		}
	}},
	{"changes of groups are counted", func(t *testing.T, w *world) {
		changes := read[int64](t)
		before, other := changes(w.GroupChanges(t.Context(), here)), changes(w.GroupChanges(t.Context(), there))
		grew := func(what string, want bool) {
			t.Helper()
			now := changes(w.GroupChanges(t.Context(), here))
			if now < before || (now > before) != want {
				t.Errorf("%s: the count went from %d to %d", what, before, now)
			}
			before = now
		}
		grew("nothing", false)
		w.put(t, enrollment(individual("c"), byKeys()))
		w.commitNew(t, "sensor")
		grew("an individual enrollment and a record", false)
		e := w.put(t, enrollment(group("line"), byKeys()))
		grew("a new group", true)
		changed := e
		changed.Status, changed.ETag = dps.StatusDisabled, dps.NewETag()
		must(t, w.PutEnrollment(t.Context(), changed, e.ETag))
		grew("a changed group", true)
		must(t, w.DeleteEnrollment(t.Context(), here, changed.Ref, changed.ETag))
		grew("a deleted group", true)
		if now := changes(w.GroupChanges(t.Context(), there)); now != other {
			t.Errorf("the count of the other instance went from %d to %d", other, now)
		}
	}},
	{"each attestation is read back", func(t *testing.T, w *world) {
		w.upload(t, "Root-1", certificate(t, "one"))
		w.upload(t, "root-2", certificate(t, "two"))
		one, two, three := certificate(t, "device"), certificate(t, "device"), certificate(t, "device")
		onlyPrimary := dps.NewKeyPair()
		onlyPrimary.Secondary = dps.Secret{}
		for name, a := range map[string]dps.Attestation{
			"tpm":            byTPM(),
			"tpm with srk":   {Type: dps.TPM, TPM: &dps.TPMAttestation{EndorsementKey: "AToAAQ==", StorageRootKey: "AToAAg=="}},
			"keys":           byKeys(),
			"one key":        {Type: dps.SymmetricKey, SymmetricKey: &onlyPrimary},
			"primary":        byCertificate(one),
			"secondary":      byX509(dps.X509Attestation{Secondary: &two}),
			"twice the same": byX509(dps.X509Attestation{Primary: &three, Secondary: &three}),
			"references":     byX509(dps.X509Attestation{CAPrimary: "ROOT-1", CASecondary: "root-2"}),
			"one reference":  byX509(dps.X509Attestation{CASecondary: "root-2"}),
			"twice one CA":   byX509(dps.X509Attestation{CAPrimary: "root-1", CASecondary: "Root-1"}),
		} {
			e := w.put(t, enrollment(individual(strings.ReplaceAll(name, " ", "-")), a))
			same(t, name, w.enrollment(t, e.Ref), e)
		}
	}},
	{"each optional member is read back, set or not", func(t *testing.T, w *world) {
		for name, set := range optionalMembers {
			e := enrollment(individual(strings.ReplaceAll(name, " ", "-")), byKeys())
			set(&e)
			w.put(t, e)
			same(t, name, w.enrollment(t, e.Ref), e)

			bare := enrollment(e.Ref, byTPM())
			bare.Created = e.Created
			must(t, w.PutEnrollment(t.Context(), bare, e.ETag))
			same(t, name+", then without", w.enrollment(t, e.Ref), bare)
		}
	}},
	{"any enrollment is read back", anyEnrollment},
}

// optionalMembers are the members that an enrollment may lack. JSON comes back by
// the byte: spaces, order, escapes and numbers as the client wrote them.
var optionalMembers = map[string]func(*dps.Enrollment){
	"device ID":       func(e *dps.Enrollment) { e.DeviceID = "Device-7" },
	"status null":     func(e *dps.Enrollment) { e.Status = dps.StatusNull },
	"status disabled": func(e *dps.Enrollment) { e.Status = dps.StatusDisabled },
	"policy":          func(e *dps.Enrollment) { e.Placement.Policy = dps.GeoLatency },
	"hubs": func(e *dps.Enrollment) {
		e.Placement.Policy, e.Placement.IotHubs = dps.Static, []dps.HostName{"b.example.com", "A.example.com"}
	},
	"host name": func(e *dps.Enrollment) { e.Placement.HubHostName = "Hub.example.com" },
	"webhook": func(e *dps.Enrollment) {
		e.Placement.Custom = &dps.CustomAllocation{WebhookURL: "https://f.example.com/api?code=s3cr%3Dt&x=<1>", APIVersion: "2019-03-31"}
	},
	"webhook and keys apart": func(e *dps.Enrollment) {
		e.Placement.Custom = &dps.CustomAllocation{WebhookURL: "https://f.example.com/?k"}
	},
	"reprovision never":    func(e *dps.Enrollment) { e.Placement.Reprovision = &dps.ReprovisionPolicy{} },
	"reprovision update":   func(e *dps.Enrollment) { e.Placement.Reprovision = &dps.ReprovisionPolicy{UpdateHubAssignment: true} },
	"reprovision migrate":  func(e *dps.Enrollment) { e.Placement.Reprovision = &dps.ReprovisionPolicy{MigrateDeviceData: true} },
	"edge":                 func(e *dps.Enrollment) { e.Capabilities = &dps.Capabilities{IotEdge: true} },
	"no edge":              func(e *dps.Enrollment) { e.Capabilities = &dps.Capabilities{} },
	"twin":                 func(e *dps.Enrollment) { e.InitialTwin = json.RawMessage(oddJSON) },
	"device information":   func(e *dps.Enrollment) { e.DeviceInfo = json.RawMessage(oddJSON) },
	"twin null":            func(e *dps.Enrollment) { e.InitialTwin = json.RawMessage("null") },
	"empty twin":           func(e *dps.Enrollment) { e.InitialTwin = json.RawMessage("{}") },
	"later times":          func(e *dps.Enrollment) { e.Created, e.Updated = start.Add(-time.Nanosecond), start.Add(time.Hour) },
	"information a string": func(e *dps.Enrollment) { e.DeviceInfo = json.RawMessage(`"<&>"`) },
}

const oddJSON = `{ "z": 1.0, "a": [1e3, 0.10,   -0],
	"tags":{"html":"<a href='x'>&amp;</a>", "u":"\u00e9é\u2028\/"}, "big": 12345678901234567890, "z": null }`

// firstSpelling writes, replaces and finds one enrollment under several spellings.
func firstSpelling(t *testing.T, w *world) {
	for _, ref := range []dps.EntryRef{individual("Sensor-A"), group("Line-B")} {
		cert := certificate(t, "certificate of "+ref.ID)
		first := w.put(t, enrollment(ref, byCertificate(cert)))
		lower := dps.EntryRef{Kind: ref.Kind, ID: strings.ToLower(ref.ID)}
		upper := dps.EntryRef{Kind: ref.Kind, ID: strings.ToUpper(ref.ID)}
		same(t, "found", w.enrollment(t, lower), first)
		fails(t, "create", w.PutEnrollment(t.Context(), enrollment(upper, byKeys()), ""), dps.ConcurrentChange)

		second := enrollment(upper, byCertificate(cert))
		must(t, w.PutEnrollment(t.Context(), second, first.ETag))
		second.Ref = ref
		same(t, "replaced", w.enrollment(t, lower), second)
		if got := w.owner(t, cert); got != ref.ID {
			t.Errorf("owner = %q, want the first spelling, %q", got, ref.ID)
		}
		must(t, w.DeleteEnrollment(t.Context(), here, lower, second.ETag))
		if got := w.owner(t, cert); got != "" {
			t.Errorf("owner after the delete = %q", got)
		}
	}
}

// anyEnrollment writes arbitrary enrollments, new ones and over others.
func anyEnrollment(t *testing.T, w *world) {
	stored := make(map[string]dps.ETag)
	rapid.Check(t, func(rt *rapid.T) {
		e := drawEnrollment(rt)
		key := string(e.Ref.Kind) + e.Ref.ID
		if err := w.PutEnrollment(t.Context(), e, stored[key]); err != nil {
			rt.Fatal(err)
		}
		stored[key] = e.ETag
		got, err := w.Enrollment(t.Context(), here, e.Ref)
		if err != nil {
			rt.Fatal(err)
		}
		same(t, "drawn", got, e)
	})
}

func drawEnrollment(rt *rapid.T) dps.Enrollment {
	text := rapid.StringN(0, 40, -1)
	kind := rapid.SampledFrom([]dps.EntryKind{dps.Individual, dps.Group}).Draw(rt, "kind")
	id := fmt.Sprintf("drawn-%d", rapid.IntRange(0, 9).Draw(rt, "id"))
	e := enrollment(dps.EntryRef{Kind: kind, ID: id}, drawAttestation(rt))
	e.DeviceID = dps.DeviceID(text.Draw(rt, "device"))
	e.Status = rapid.SampledFrom([]dps.ProvisioningStatus{dps.StatusEnabled, dps.StatusDisabled, dps.StatusNull}).Draw(rt, "status")
	e.Placement.Policy = rapid.SampledFrom([]dps.AllocationPolicy{"", dps.Hashed, dps.GeoLatency, dps.Static, dps.Custom}).Draw(rt, "policy")
	for _, h := range rapid.SliceOfN(text, 0, 3).Draw(rt, "hubs") {
		e.Placement.IotHubs = append(e.Placement.IotHubs, dps.HostName(h))
	}
	e.Placement.Custom = drawn(rt, "custom", rapid.Custom(func(rt *rapid.T) dps.CustomAllocation {
		return dps.CustomAllocation{WebhookURL: text.Draw(rt, "url"), APIVersion: text.Draw(rt, "version")}
	}))
	e.Placement.Reprovision = drawn(rt, "reprovision", rapid.Make[dps.ReprovisionPolicy]())
	e.Capabilities = drawn(rt, "capabilities", rapid.Make[dps.Capabilities]())
	e.InitialTwin, e.DeviceInfo = drawJSON(rt, "twin"), drawJSON(rt, "information")
	return e
}

// drawn returns nil half of the time.
func drawn[T any](rt *rapid.T, label string, g *rapid.Generator[T]) *T {
	return rapid.Ptr(g, true).Draw(rt, label)
}

func drawAttestation(rt *rapid.T) dps.Attestation {
	key := rapid.SliceOfN(rapid.Byte(), 0, 64)
	switch rapid.IntRange(0, 1).Draw(rt, "attestation") {
	case 0:
		return dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{
			EndorsementKey: rapid.String().Draw(rt, "ek"), StorageRootKey: rapid.String().Draw(rt, "srk"),
		}}
	default:
		return dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &dps.KeyPair{
			Primary: dps.NewSecret(key.Draw(rt, "primary")), Secondary: dps.NewSecret(key.Draw(rt, "secondary")),
		}}
	}
}

// drawJSON returns an object as an untidy client writes it, or nil.
func drawJSON(rt *rapid.T, label string) json.RawMessage {
	if rapid.Bool().Draw(rt, label+" unset") {
		return nil
	}
	name, _ := json.Marshal(rapid.String().Draw(rt, label+" name"))
	space := rapid.StringMatching(`[ \n\t]{0,3}`).Draw(rt, label+" space")
	return json.RawMessage("{" + space + string(name) + space + ":" + space + `"<é>"` + "}" + space)
}
