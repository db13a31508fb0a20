package portal_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/wire"
)

// formOf returns what a browser sends when somebody saves the form of a page whose action is
// given, without touching it: with fields disabled as the script of the pages does it.
func formOf(t fataler, page, action string) url.Values {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%v", err)
	}
	for n := range doc.Descendants() {
		if n.Data == "form" && attribute(n, "action") == action {
			values := collect(n, nil)
			return collect(n, values)
		}
	}
	t.Fatalf("the page has no form with the action %s:\n%s", action, page)
	return nil
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// collect returns the values of a form's controls; those of parts that depend on other fields
// (data-when) only where current says so, nil for all.
func collect(form *html.Node, current url.Values) url.Values {
	values := url.Values{}
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if rule := attribute(n, "data-when"); rule != "" && current != nil {
			name, wanted, _ := strings.Cut(rule, "=")
			if !slices.Contains(strings.Split(wanted, ","), current.Get(name)) {
				return
			}
		}
		if name := attribute(n, "name"); n.Type == html.ElementNode && name != "" {
			if value, sent := control(n); sent {
				values.Add(name, value)
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(form)
	return values
}

// control returns what a control sends, if it does. Browsers write line ends as CR LF.
// Source: HTML, "Constructing the entry list".
func control(n *html.Node) (value string, sent bool) {
	switch n.Data {
	case "input":
		switch attribute(n, "type") {
		case "checkbox", "radio":
			return attribute(n, "value"), has(n, "checked")
		case "file":
			return "", false
		}
		return attribute(n, "value"), true
	case "textarea":
		text := ""
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			text += c.Data
		}
		return strings.ReplaceAll(text, "\n", "\r\n"), true
	case "select":
		first, chosen := "", ""
		found, any := false, false
		for o := range n.Descendants() {
			if o.Data != "option" {
				continue
			}
			if !any {
				first, any = attribute(o, "value"), true
			}
			if has(o, "selected") {
				chosen, found = attribute(o, "value"), true
			}
		}
		if found {
			return chosen, true
		}
		return first, any
	default:
		return "", false
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// settings is a service that forms of enrollments choose from.
func settings() wire.ProvisioningService {
	one := 1
	return wire.ProvisioningService{Name: "default", ETag: "AAA=", Properties: wire.ProvisioningServiceProperties{
		AllocationPolicy: "Hashed",
		IotHubs:          []wire.LinkedHub{{Name: "hub-a.example", AllocationWeight: &one}, {Name: "hub-b.example", AllocationWeight: &one}},
	}}
}

// document is any JSON of a record, as a client may have written it.
func document(t *rapid.T, name string) json.RawMessage {
	texts := []string{
		"", `{}`, `{"tags":{"a":1}}`, `{"tags":{"b":"\u00e4\ud800","a":1.0},"properties":{"desired":{"x":[1,{"y":null}]}}}`, `{"a":1e2,"a":2}`,
		`{"text":"two\nlines\r\n\ttab  <b>&amp;</b>"}`, `{"z":"\u2028","long":12345678901234567890}`,
	}
	return json.RawMessage(rapid.SampledFrom(texts).Draw(t, name))
}

func anyEnrollment(t *rapid.T, group bool) wire.Enrollment {
	flag := func(name string) *bool { return rapid.Ptr(rapid.Bool(), false).Draw(t, name) }
	pick := func(name string, all ...string) string { return rapid.SampledFrom(all).Draw(t, name) }
	e := wire.Enrollment{
		ETag:                   "\"v1\"",
		InitialTwin:            document(t, "twin"),
		AllocationPolicy:       pick("policy", "", "hashed", "geoLatency", "static", "custom", "newest"),
		IotHubHostName:         pick("host", "", "hub-b.example"),
		CreatedDateTimeUTC:     "2026-01-01T00:00:00Z",
		LastUpdatedDateTimeUTC: "2026-01-02T00:00:00Z",
		IotHubs: rapid.SampledFrom([][]string{
			nil, {"hub-a.example"}, {"hub-b.example", "hub-a.example"}, {"HUB-A.example", "gone.example"},
		}).Draw(t, "hubs"),
	}
	if group {
		e.EnrollmentGroupID = "x"
	} else {
		e.RegistrationID, e.DeviceID = "x", pick("device", "", "pump-7")
		e.OptionalDeviceInformation = document(t, "information")
		e.RegistrationState = &wire.RegistrationState{RegistrationID: "x", Status: "unassigned"}
	}
	switch pick("status", "absent", "null", "enabled", "disabled") {
	case "null":
		e.ProvisioningStatus = wire.NullableString{Present: true, Null: true}
	case "enabled":
		e.ProvisioningStatus = wire.StringValue("enabled")
	case "disabled":
		e.ProvisioningStatus = wire.StringValue("disabled")
	}
	if edge := flag("edge"); edge != nil && rapid.Bool().Draw(t, "capabilities") {
		e.Capabilities = &wire.Capabilities{IotEdge: *edge}
	}
	if rapid.Bool().Draw(t, "reprovision") {
		e.ReprovisionPolicy = &wire.ReprovisionPolicy{UpdateHubAssignment: flag("update"), MigrateDeviceData: flag("migrate")}
	}
	if rapid.Bool().Draw(t, "webhook") {
		e.CustomAllocationDefinition = &wire.CustomAllocation{
			WebhookURL: "https://example.com/pick?***", APIVersion: pick("webhook version", "2019-03-31", "2021-10-01", ""),
		}
	}
	e.Attestation = anyAttestation(t, group)
	return e
}

func anyAttestation(t *rapid.T, group bool) *wire.Attestation {
	one := &wire.Certificate{Info: &wire.CertificateInfo{SubjectName: "CN=x", SHA1Thumbprint: "A1", SHA256Thumbprint: "B2", Version: 3}}
	pairs := []*wire.Certificates{{Primary: one}, {Secondary: one}, {Primary: one, Secondary: one}}
	pair := rapid.SampledFrom(pairs).Draw(t, "certificates")
	kinds := []wire.Attestation{{Type: "symmetricKey"}, {Type: "symmetricKey", SymmetricKey: &wire.SymmetricKey{}}}
	if group {
		refs := []wire.CAReferences{{Primary: "Factory"}, {Primary: "factory", Secondary: "gone"}, {Secondary: "factory"}}
		ref := rapid.SampledFrom(refs).Draw(t, "references")
		kinds = append(kinds, wire.Attestation{Type: "x509", X509: &wire.X509{SigningCertificates: pair}},
			wire.Attestation{Type: "x509", X509: &wire.X509{CAReferences: &ref}})
	} else {
		kinds = append(
			kinds,
			wire.Attestation{Type: "x509", X509: &wire.X509{ClientCertificates: pair}},
			wire.Attestation{
				Type: "tpm",
				TPM:  &wire.TPM{EndorsementKey: "AToAAQAL", StorageRootKey: rapid.SampledFrom([]string{"", "AToAAQAM"}).Draw(t, "root key")},
			},
			wire.Attestation{Type: "future"},
		)
	}
	a := rapid.SampledFrom(kinds).Draw(t, "attestation")
	return &a
}

// TestFormsKeepWhatTheyDoNotChange opens the form of any enrollment and saves it as it is:
// the service must be sent the very bytes that it answered with.
func TestFormsKeepWhatTheyDoNotChange(t *testing.T) {
	w := signedIn(t)
	csrf := w.csrf(t)
	w.upstream.answers["GET "] = object(t, settings())
	for _, authorities := range []wire.CACertificateList{{}, {Value: []wire.CACertificate{{Name: "factory"}, {Name: "other"}}}} {
		w.upstream.answers["GET /certificates"] = object(t, authorities)
		for path, member := range map[string]string{"/enrollments/groups": "/enrollmentGroups/x", "/enrollments/individual": "/enrollments/x"} {
			rapid.Check(t, func(rt *rapid.T) {
				stored := anyEnrollment(rt, strings.HasSuffix(path, "groups"))
				text, err := json.Marshal(stored)
				if err != nil {
					rt.Fatal(err)
				}
				w.upstream.answers["GET "+member], w.upstream.answers["PUT "+member] = string(text), string(text)
				form := formOf(rt, w.get(path+"/of/x/edit").Body.String(), path+"/of/x")
				if form.Get("csrf") != csrf {
					rt.Fatalf("the form has the token %q", form.Get("csrf"))
				}
				w.upstream.asked, w.upstream.bodies = nil, nil
				res := w.post(path+"/of/x", form)
				last := len(w.upstream.asked) - 1
				if res.Code != http.StatusSeeOther || w.upstream.asked[last].Method != http.MethodPut {
					rt.Fatalf("saving %s: %d\n%s", text, res.Code, res.Body)
				}
				want := stored // the version goes in a header, and what clients cannot write stays away
				want.ETag, want.CreatedDateTimeUTC, want.LastUpdatedDateTimeUTC, want.RegistrationState = "", "", "", nil
				written, err := json.Marshal(want)
				if err != nil {
					rt.Fatal(err)
				}
				if got := w.upstream.bodies[last]; got != string(written) {
					rt.Fatalf("the service had\n%s\nand is sent\n%s", written, got)
				}
				if got := w.upstream.asked[last].Header.Get("If-Match"); got != stored.ETag {
					rt.Fatalf("If-Match: %q, want %q", got, stored.ETag)
				}
			})
		}
	}
}

// TestSettingsFormsKeepWhatTheyDoNotChange is the same for the forms of hubs, policies and
// allocation, which all write the provisioning service.
func TestSettingsFormsKeepWhatTheyDoNotChange(t *testing.T) {
	w := signedIn(t)
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(name string, all ...string) string { return rapid.SampledFrom(all).Draw(rt, name) }
		weight := rapid.Ptr(rapid.IntRange(0, 1000), true).Draw(rt, "weight")
		apply := rapid.Ptr(rapid.Bool(), true).Draw(rt, "apply")
		stored := settings()
		stored.Properties.AllocationPolicy = pick("policy", "Hashed", "hashed", "GeoLatency", "Static")
		stored.Properties.IotHubs[0] = wire.LinkedHub{
			Name: "hub-a.example", Location: pick("location", "", "westeurope", "hall 3"), AllocationWeight: weight, ApplyAllocationPolicy: apply,
			ConnectionString: "HostName=hub-a.example;SharedAccessKeyName=o;SharedAccessKey=****", Kind: pick("kind", "", "iothub", "embedded"),
		}
		policy := wire.SharedAccessPolicy{KeyName: "Reader", Rights: pick(
			"rights",
			"EnrollmentRead",
			"RegistrationStatusRead,EnrollmentRead",
			"enrollmentread, Newest",
			"ServiceConfig, EnrollmentWrite, RegistrationStatusWrite",
		)}
		text, err := json.Marshal(stored)
		if err != nil {
			rt.Fatal(err)
		}
		policies, err := json.Marshal(wire.List[wire.SharedAccessPolicy]{Value: []wire.SharedAccessPolicy{policy}})
		if err != nil {
			rt.Fatal(err)
		}
		one, err := json.Marshal(policy)
		if err != nil {
			rt.Fatal(err)
		}
		for key, answer := range map[string]string{
			"GET ": string(text), "PUT ": string(text), "POST /listkeys": string(policies), "POST /keys/reader/listkeys": string(one),
			"GET " + wire.LinkedHubsPath: `{"value":[{"name":"hub-a.example","health":{"state":"up"}}]}`, "POST /enrollmentGroups/query": "[]",
		} {
			w.upstream.answers[key] = answer
		}
		for _, path := range []string{"/hubs/hub-a.example", "/allocation", "/policies/reader"} {
			page := w.get(path).Body.String()
			action := path
			if path == "/policies/reader" {
				action = "/policies/Reader"
			}
			form := formOf(rt, page, action)
			w.upstream.bodies, w.upstream.asked = nil, nil
			if res := w.post(path, form); res.Code != http.StatusSeeOther {
				rt.Fatalf("saving %s: %d\n%s", path, res.Code, res.Body)
			}
			var want wire.ProvisioningServiceRequest
			if err := json.Unmarshal(text, &want); err != nil {
				rt.Fatal(err)
			}
			want.ETag = "" // in a header
			if path == "/policies/reader" {
				want.Properties.AuthorizationPolicies = []wire.SharedAccessPolicy{policy}
			}
			written, err := json.Marshal(want)
			if err != nil {
				rt.Fatal(err)
			}
			got := ""
			for i, r := range w.upstream.asked {
				if r.Method == http.MethodPut {
					got = w.upstream.bodies[i]
				}
			}
			if got != string(written) {
				rt.Fatalf("%s: the service had\n%s\nand is sent\n%s", path, written, got)
			}
		}
	})
}
