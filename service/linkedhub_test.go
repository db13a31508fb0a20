package service_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

const plantString = "HostName=plant.example:1;SharedAccessKeyName=iothubowner;SharedAccessKey="

// TestLinkedHubs walks linked hubs of a running service, whose certificate follows.
func TestLinkedHubs(t *testing.T) {
	r := newReal(t)
	c, ctx := r.control(), t.Context()
	hubs := c.LinkedHubs()
	own, err := hubs.Create(ctx, wire.LinkedHub{ConnectionString: "HostName=hub-a.example", Kind: wire.HubKindEmbedded}, nil)
	if err != nil || own.Name != "hub-a.example" || own.Kind != wire.HubKindEmbedded {
		t.Fatalf("Create() of an embedded hub = %+v, %v", own, err)
	}
	// The name is outside of what the CA permitted: clients that use it need the new CA file.
	ca, err := os.ReadFile(r.info.CAFile)
	if err != nil || !r.roots.AppendCertsFromPEM(ca) {
		t.Fatalf("the CA file: %v", err)
	}
	conn, err := tls.Dial("tcp", r.info.Listeners["https"], &tls.Config{RootCAs: r.roots, ServerName: "hub-a.example"})
	if err != nil {
		t.Fatalf("the server certificate: %v", err)
	}
	_ = conn.Close()

	plant := wire.LinkedHub{ConnectionString: plantString + "MDEyMzQ1Njc4OWFiY2RlZg==", Location: "westeurope"}
	_, err = hubs.Create(ctx, plant, nil)
	if refusal, ok := errors.AsType[*service.Error](err); !ok || refusal.Status != http.StatusBadRequest ||
		!strings.Contains(refusal.Message, "plant.example cannot be used") {
		t.Errorf("Create() of a hub that does not answer: %v", err)
	}
	skip := &service.UpdateOptions{SkipCheck: true}
	created, err := hubs.Create(ctx, plant, skip)
	if err != nil || created.ConnectionString != plantString+"****" {
		t.Fatalf("Create() = %+v, %v", created, err)
	}
	if _, err := hubs.Create(ctx, plant, skip); !service.IsConflict(err) {
		t.Errorf("Create() again: %v", err)
	}
	four := 4
	changed, err := hubs.Update(ctx, "PLANT.example", func(h *wire.LinkedHub) { h.AllocationWeight = &four }, nil)
	if err != nil || *changed.AllocationWeight != 4 {
		t.Errorf("Update() = %+v, %v", changed, err)
	}
	if got, err := hubs.Get(ctx, "plant.example"); err != nil || cmp.Diff(changed, got) != "" {
		t.Errorf("Get() = %+v, %v", got, err)
	}
	if list, err := hubs.List(ctx); err != nil || len(list) != 3 {
		t.Errorf("List() = %+v, %v", list, err)
	}
	if _, err := hubs.Update(ctx, "plant.example", func(*wire.LinkedHub) {},
		&service.UpdateOptions{ETag: "stale"}); !service.IsPreconditionFailed(
		err,
	) {
		t.Errorf("Update() of a stale version: %v", err)
	}
	for name, err := range map[string]error{
		"Get": second(hubs.Get(ctx, "ghost.example")), "Delete": hubs.Delete(ctx, "ghost.example", nil),
		"Update": second(hubs.Update(ctx, "ghost.example", func(*wire.LinkedHub) {}, nil)),
	} {
		if !service.IsNotFound(err) {
			t.Errorf("%s() of a hub that is not linked: %v", name, err)
		}
	}
	for _, name := range []string{"plant.example", "hub-a.example", "localhost"} {
		if err := hubs.Delete(ctx, name, nil); err != nil {
			t.Errorf("Delete(%s): %v", name, err)
		}
	}
	if list, err := hubs.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("List() of none = %+v, %v", list, err)
	}
	if conn, err = tls.Dial("tcp", r.info.Listeners["https"], &tls.Config{RootCAs: r.roots, ServerName: "hub-a.example"}); err == nil {
		_ = conn.Close()
		t.Error("the server certificate still has the name of an unlinked hub")
	}
}

func second[T any](_ T, err error) error { return err }

// resource is a provisioning service of the fake, with a hub.
func (f *fake) resource() *service.ControlPlane {
	f.t.Helper()
	var body map[string]any
	text := `{"location":"local","properties":{"iotHubs":[{"name":"a.example","connectionString":"HostName=a.example;SharedAccessKeyName=p;SharedAccessKey=****"}],"idScope":"0ne1"}}`
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		f.t.Fatal(err)
	}
	f.put(resourceID, body)
	c, err := service.NewControlPlane(f.URL, resourceID, service.StaticToken("t"), &service.Options{HTTPClient: f.Client()})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func TestUpdateIsRepeated(t *testing.T) {
	f := newFake(t)
	c := f.resource()
	edits := 0
	edit := func(s *wire.ProvisioningServiceRequest) error {
		if edits++; edits < 3 {
			f.put(resourceID, f.records[resourceID]) // another writer
		}
		s.Tags = map[string]string{"edit": fmt.Sprint(edits)}
		return nil
	}
	if s, err := c.Update(t.Context(), edit, nil); err != nil || s.Tags["edit"] != "3" {
		t.Errorf("Update() = %+v, %v", s, err)
	}
	want := `{"location":"local","tags":{"edit":"3"},"properties":{"iotHubs":[{"connectionString":"HostName=a.example;SharedAccessKeyName=p;SharedAccessKey=****","name":"a.example"}],"idScope":"0ne1"}}`
	if got := f.last(); got.Body != want || got.Header.Get("If-Match") == "" || got.Header.Get(wire.HeaderSkipCheck) != "" {
		t.Errorf("sent %s %v, want %s", got.Body, got.Header, want)
	}

	edits = -1000 // others come between without end
	if _, err := c.Update(t.Context(), edit, nil); !service.IsPreconditionFailed(err) || edits != -1000+8 {
		t.Errorf("Update() against others: %v after %d edits", err, edits+1000)
	}
	edits = 0
	if _, err := c.Update(t.Context(), edit, &service.UpdateOptions{ETag: "stale"}); !service.IsPreconditionFailed(err) || edits != 1 {
		t.Errorf("Update() of one version: %v after %d edits", err, edits)
	}
	stop := errors.New("not like this")
	if _, err := c.Update(t.Context(), func(*wire.ProvisioningServiceRequest) error { return stop }, nil); !errors.Is(err, stop) ||
		f.last().Method != http.MethodGet {
		t.Errorf("Update() that its edit stops: %v", err)
	}
}

// The last hub is unlinked by an empty list, not by leaving the list out.
func TestUnlinkTheLast(t *testing.T) {
	f := newFake(t)
	hubs := f.resource().LinkedHubs()
	err := hubs.Delete(
		t.Context(),
		"A.example",
		&service.UpdateOptions{DeleteDevices: []string{"A.example", "b.example"}, SkipCheck: true, ETag: service.AnyETag},
	)
	if err != nil {
		t.Fatal(err)
	}
	got := f.last()
	if !strings.Contains(got.Body, `"iotHubs":[]`) || got.Header.Get("Mooring-Delete-Devices") != "A.example, b.example" ||
		got.Header.Get("Mooring-Skip-Check") != "true" ||
		got.Header.Get("If-Match") != "*" {
		t.Errorf("sent %s %v", got.Body, got.Header)
	}
}
