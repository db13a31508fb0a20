package enroll_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// register stores an assigned device.
func (w *world) assign(t *testing.T, id dps.RegistrationID, device dps.DeviceID, by dps.EntryRef) {
	t.Helper()
	d := dps.NewHubDevice(dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub}, dps.NewHubIdentity(device), dps.Twin{}, w.now)
	err := w.store.Commit(t.Context(), dps.RegistrationChange{Device: &d, Registration: dps.Registration{
		Instance: in, ID: id, Entry: by, Attestation: dps.SymmetricKey, Status: dps.Assigned, Operation: dps.NewOperationID(),
		Assignment: &dps.Assignment{Hub: dps.EmbeddedHub, DeviceID: device, Substatus: dps.InitialAssignment, Entry: by},
		ETag:       dps.NewETag(), Created: w.now, Updated: w.now,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCollisionsAreWarnedOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := func(id string, edit func(*dps.Enrollment)) dps.Enrollment {
		t.Helper()
		d := draft(individual(id), byTPM())
		if edit != nil {
			edit(&d.Enrollment)
		}
		e, err := w.Put(t.Context(), d, dps.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	put("Pump-7", nil)
	put("renamed", func(e *dps.Enrollment) { e.DeviceID = "shared" })
	put("far", func(e *dps.Enrollment) {
		e.DeviceID, e.Placement.Policy, e.Placement.IotHubs = "fixed", dps.Static, []dps.HostName{"a.example.com"}
	})
	w.assign(t, "valve", "valve", group("b"))
	w.assign(t, "fan", "fan-at-hub", group("b"))
	made := dps.NewHubDevice(dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub}, dps.NewHubIdentity("made"), dps.Twin{}, w.now)
	if err := w.store.CreateHubDevice(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, id string
		edit     func(*dps.Enrollment)
		want     []string // parts of the warnings, in order
	}{
		{"nothing", "alone", nil, nil},
		{"its own device ID", "own", func(e *dps.Enrollment) { e.DeviceID = "own" }, nil},
		{"the name of another", "x1", func(e *dps.Enrollment) { e.DeviceID = "Pump-7" }, []string{`individual enrollment Pump-7 has the device ID "Pump-7" too`}},
		{"case counts", "x2", func(e *dps.Enrollment) { e.DeviceID = "pump-7" }, nil},
		{"the device ID of another", "x3", func(e *dps.Enrollment) { e.DeviceID = "shared" }, []string{`individual enrollment renamed has the device ID "shared" too`}},
		{"called like the device ID of another", "shared", nil, []string{`individual enrollment renamed`, `individual enrollment x3`}},
		{"a disabled one", "x4", func(e *dps.Enrollment) { e.DeviceID, e.Status = "shared", dps.StatusDisabled }, nil},
		{"another hub", "x5", func(e *dps.Enrollment) {
			e.DeviceID, e.Placement.Policy, e.Placement.IotHubs = "fixed", dps.Static, []dps.HostName{"localhost"}
		}, nil},
		{"assigned through a group", "valve", nil, []string{"the device valve is assigned to localhost through the enrollment group b; it moves"}},
		{"a device of a group", "x6", func(e *dps.Enrollment) { e.DeviceID = "fan-at-hub" }, []string{
			`the device fan of the enrollment group b is assigned to localhost with the device ID "fan-at-hub"`,
		}},
		{"created by an operator", "made", nil, []string{`the hub localhost has an identity "made" that an operator created`}},
	}
	for _, tt := range tests {
		e := put(tt.id, tt.edit)
		got := w.Warnings(t.Context(), e)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: %q, want %q", tt.name, got[i], want)
			}
		}
	}
}

func TestHubsThatAreNotThereAreWarnedOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		placement dps.Placement
		want      string // "" for no warning
	}{
		"nothing":               {dps.Placement{}, ""},
		"linked":                {dps.Placement{Policy: dps.Static, IotHubs: []dps.HostName{"LocalHost"}}, ""},
		"not linked":            {dps.Placement{Policy: dps.Hashed, IotHubs: []dps.HostName{"localhost", "b.example.com"}}, "iotHubs: the hub b.example.com is not linked"},
		"old form":              {dps.Placement{HubHostName: "b.example.com"}, "iotHubHostName: the hub b.example.com is not linked"},
		"old form, linked":      {dps.Placement{HubHostName: "localhost"}, ""},
		"static, no candidates": {dps.Placement{Policy: dps.Static}, "there are 0 to choose from"}, // the hub of this world takes no part in allocation
	} {
		got := w.Warnings(t.Context(), dps.Enrollment{Instance: in, Ref: individual("x"), Placement: tt.placement, Attestation: byTPM()})
		says := func(s string) bool { return strings.Contains(s, tt.want) }
		if tt.want == "" && len(got) > 0 || tt.want != "" && !slices.ContainsFunc(got, says) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
