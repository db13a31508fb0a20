package service_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// controlPlane returns a client of the fake's control plane, with policies.
func controlPlane(t *testing.T, f *fake, policies ...wire.SharedAccessPolicy) *service.ControlPlane {
	t.Helper()
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		switch path := strings.TrimPrefix(r.URL.Path, resourceID); {
		case r.Method == http.MethodPost && path == "/listkeys":
			answer(w, wire.List[wire.SharedAccessPolicy]{Value: policies})
		case r.Method == http.MethodPost && path == "/keys/reader/listkeys":
			answer(w, policies[1])
		case path == "":
			answer(w, wire.ProvisioningService{Name: "p", ETag: "v1", Location: "here"})
		default:
			return false
		}
		return true
	}
	c, err := service.NewControlPlane(f.URL, resourceID, service.StaticToken("t"), &service.Options{HTTPClient: f.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPolicies(t *testing.T) {
	f := newFake(t)
	owner := wire.SharedAccessPolicy{KeyName: "owner", PrimaryKey: "cA==", SecondaryKey: "cw==", Rights: "ServiceConfig"}
	reader := wire.SharedAccessPolicy{KeyName: "reader", PrimaryKey: "cA==", SecondaryKey: "cw==", Rights: "EnrollmentRead"}
	c, ctx := controlPlane(t, f, owner, reader).Policies(), t.Context()
	if all, err := c.List(ctx); err != nil || len(all) != 2 || all[0] != owner {
		t.Errorf("List() = %+v, %v", all, err)
	}
	if p, err := c.Get(ctx, "reader"); err != nil || *p != reader {
		t.Errorf("Get() = %+v, %v", p, err)
	}
	if _, err := c.Get(ctx, ""); err == nil {
		t.Error("Get() without a name")
	}
	written := func(what string, err error) []wire.SharedAccessPolicy {
		t.Helper()
		r := f.last()
		if err != nil || r.Method != http.MethodPut || r.Header.Get("If-Match") != "v1" {
			t.Fatalf("%s: %+v, %v", what, r, err)
		}
		var body wire.ProvisioningServiceRequest
		if err := json.Unmarshal([]byte(r.Body), &body); err != nil || body.Location != "here" {
			t.Fatalf("%s sent %s", what, r.Body)
		}
		return body.Properties.AuthorizationPolicies
	}
	kept := wire.SharedAccessPolicy{KeyName: "owner", Rights: "ServiceConfig"}
	fresh := wire.SharedAccessPolicy{KeyName: "new", Rights: "EnrollmentWrite"}
	if got := written("Put()", c.Put(ctx, fresh)); len(got) != 3 || got[0] != kept || got[2] != fresh {
		t.Errorf("Put() wrote %+v", got)
	}
	changed := wire.SharedAccessPolicy{KeyName: "Reader", PrimaryKey: "bmV3"}
	if got := written("Put() again", c.Put(ctx, changed)); len(got) != 2 || got[0] != kept || got[1] != changed {
		t.Errorf("Put() of one that is there wrote %+v", got)
	}
	if got := written("Delete()", c.Delete(ctx, "READER")); len(got) != 1 || got[0] != kept {
		t.Errorf("Delete() wrote %+v", got)
	}
	if err := c.Delete(ctx, "ghost"); !service.IsNotFound(err) {
		t.Errorf("Delete() of none: %v", err)
	}
	if err := c.Put(ctx, wire.SharedAccessPolicy{}); err == nil {
		t.Error("Put() without a name")
	}
}

func TestAudit(t *testing.T) {
	f := newFake(t)
	var asked string
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		asked = r.URL.Path + "?" + r.URL.Query().Encode()
		answer(w, wire.AuditPage{Value: []wire.AuditEntry{{ID: "sensor-7"}}, Continuation: "next"})
		return true
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	page, err := f.client().Audit(t.Context(), service.AuditFilter{
		From: at, To: at.Add(time.Hour), Principal: "policy:p", Operation: "put", Kind: "enrollment", ID: "sensor-7",
		Result: "ok", PageSize: 7, Continuation: "c",
	})
	if err != nil || len(page.Value) != 1 || page.Continuation != "next" {
		t.Errorf("Audit() = %+v, %v", page, err)
	}
	want := "/mooring/v1/audit?api-version=2021-10-01&continuation=c&from=2026-03-01T11%3A00%3A00Z&id=sensor-7&kind=enrollment" +
		"&operation=put&principal=policy%3Ap&result=ok&to=2026-03-01T12%3A00%3A00Z&top=7"
	if asked != want {
		t.Errorf("Audit() asked %s, want %s", asked, want)
	}
}

func TestHubStatuses(t *testing.T) {
	f := newFake(t)
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == wire.LinkedHubsPath {
			answer(w, wire.HubStatusList{Value: []wire.HubStatus{{Name: "hub.example"}}})
		} else {
			q := r.URL.Query()
			answer(w, wire.CleanupPage{Value: []wire.Cleanup{{DeviceID: "sensor-7"}}, Continuation: q.Get("top") + q.Get("continuation")})
		}
		return true
	}
	if all, err := f.client().HubStatuses(t.Context()); err != nil || len(all) != 1 || all[0].Name != "hub.example" {
		t.Errorf("HubStatuses() = %+v, %v", all, err)
	}
	if page, err := f.client().Cleanups(t.Context(), 5, "x"); err != nil || len(page.Value) != 1 || page.Continuation != "5x" {
		t.Errorf("Cleanups() = %+v, %v", page, err)
	}
}
