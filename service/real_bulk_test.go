package service_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/device"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// TestRealBulkAndQuery creates by bulk, reads by query in pages, and deletes by bulk.
func TestRealBulkAndQuery(t *testing.T) {
	r := newReal(t)
	for _, k := range collections {
		t.Run(k.name, func(t *testing.T) {
			c, ctx := k.of(r.owner()), t.Context()
			var ids []string
			var records []*wire.Enrollment
			for i := range wire.MaxBulkItems {
				e := k.record(fmt.Sprintf("s%d", i))
				e.Attestation = &wire.Attestation{Type: "symmetricKey"}
				records, ids = append(records, e), append(ids, e.RegistrationID+e.EnrollmentGroupID)
			}
			if err := c.Bulk(ctx, wire.BulkCreate, records); err != nil {
				t.Fatal(err)
			}
			err := c.Bulk(ctx, wire.BulkCreate, records[:2])
			if bulk, ok := errors.AsType[*service.BulkError](err); !ok || len(bulk.Items) != 2 || !service.IsConflict(bulk.Items[0]) ||
				bulk.Items[0].ID != "s0" {
				t.Errorf("Bulk() again: %v, want two conflicts", err)
			}
			var got []string
			for e, err := range c.Query(ctx, service.Query{PageSize: 3}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.RegistrationID+e.EnrollmentGroupID)
			}
			slices.Sort(got)
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Errorf("Query() (-want +got):\n%s", diff)
			}
			if err := c.Bulk(ctx, wire.BulkDelete, records); err != nil {
				t.Errorf("Bulk() of deletions: %v", err)
			}
			if p, err := c.QueryPage(ctx, service.Query{}); err != nil || len(p.Items) != 0 || p.Continuation != "" {
				t.Errorf("QueryPage() of nothing = %+v, %v", p, err)
			}
		})
	}
}

// TestRealRegistrations asks for devices that never came.
func TestRealRegistrations(t *testing.T) {
	client, ctx := newReal(t).owner(), t.Context()
	_, err := client.Registrations().Get(ctx, "ghost")
	if refusal, ok := errors.AsType[*service.Error](err); !ok || refusal.Code != 404202 {
		t.Errorf("Get(ghost): %v, want 404202", err)
	}
	if err := client.Registrations().Delete(ctx, "ghost", ""); !service.IsNotFound(err) {
		t.Errorf("Delete(ghost): %v, want not found", err)
	}
	group := &wire.Enrollment{EnrollmentGroupID: "g", Attestation: &wire.Attestation{Type: "symmetricKey"}}
	if _, err := client.Groups().Put(ctx, group); err != nil {
		t.Fatal(err)
	}
	p, err := client.Registrations().QueryPage(ctx, "g", service.Query{})
	if err != nil || len(p.Items) != 0 {
		t.Errorf("QueryPage() = %+v, %v", p, err)
	}
}

// TestRealRegistered follows a device from its registration to the deletion of its
// record.
func TestRealRegistered(t *testing.T) {
	r := newReal(t)
	client, ctx := r.owner(), t.Context()
	group, err := client.Groups().Put(ctx, &wire.Enrollment{EnrollmentGroupID: "g", Attestation: &wire.Attestation{Type: "symmetricKey"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(group.Attestation.SymmetricKey.PrimaryKey)
	if err != nil {
		t.Fatal(err)
	}
	_, err = device.Register(ctx, device.Options{
		Endpoint: r.info.DeviceEndpoint, IDScope: r.info.IDScope, RegistrationID: "sensor-7",
		Credential: device.GroupKey(key), RootCAs: r.roots,
	})
	if err != nil {
		t.Fatal(err)
	}
	state, err := client.Registrations().Get(ctx, "sensor-7")
	if err != nil || state.Status != "assigned" || state.DeviceID != "sensor-7" || state.ETag == "" {
		t.Fatalf("Get() = %+v, %v", state, err)
	}
	for got, err := range client.Registrations().Query(ctx, "g", service.Query{}) {
		if err != nil || got.RegistrationID != "sensor-7" {
			t.Errorf("Query() = %+v, %v", got, err)
		}
	}
	if err := client.Registrations().Delete(ctx, "sensor-7", group.ETag); !service.IsPreconditionFailed(err) {
		t.Errorf("Delete() with another ETag: %v", err)
	}
	if err := client.Registrations().Delete(ctx, "sensor-7", state.ETag); err != nil {
		t.Errorf("Delete(): %v", err)
	}
	if _, err := client.Registrations().Get(ctx, "sensor-7"); !service.IsNotFound(err) {
		t.Errorf("Get() after Delete(): %v", err)
	}
}

// TestRealCondition asks for some of the records, and for nonsense.
func TestRealCondition(t *testing.T) {
	c, ctx := newReal(t).owner().Enrollments(), t.Context()
	var records []*wire.Enrollment
	for i, site := range []string{"hall 3", "hall 4", "hall 3"} {
		records = append(records, &wire.Enrollment{
			RegistrationID: fmt.Sprintf("s%d", i), Attestation: &wire.Attestation{Type: "symmetricKey"},
			InitialTwin: []byte(`{"tags":{"site":"` + site + `"}}`),
		})
	}
	if err := c.Bulk(ctx, wire.BulkCreate, records); err != nil {
		t.Fatal(err)
	}
	var got []string
	selected := service.Query{Text: "SELECT * FROM enrollments WHERE initialTwin.tags.site = 'hall 3' ORDER BY registrationId"}
	for e, err := range c.Query(ctx, selected) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.RegistrationID)
	}
	if diff := cmp.Diff([]string{"s0", "s2"}, got); diff != "" {
		t.Errorf("Query() (-want +got):\n%s", diff)
	}
	_, err := c.QueryPage(ctx, service.Query{Text: "SELECT * WHERE"})
	if refusal, ok := errors.AsType[*service.Error](err); !ok || refusal.Status != 400 {
		t.Errorf("QueryPage() of nonsense: %v, want 400", err)
	}
}
