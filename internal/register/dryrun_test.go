package register_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// function is a webhook that chooses as it is told, and keeps what it was asked.
type function struct {
	hub    dps.HostName
	err    error
	asked  register.WebhookQuestion
	called int
}

func (f *function) Ask(_ context.Context, q register.WebhookQuestion) (register.WebhookAnswer, error) {
	f.asked, f.called = q, f.called+1
	return register.WebhookAnswer{Hub: f.hub, Payload: json.RawMessage(`{"a":1}`)}, f.err
}

// dryWorld is a world with two more hubs and a webhook. Device sensor is registered at
// the embedded hub, by group line.
func dryWorld(t *testing.T) (*world, *register.Service, *function) {
	t.Helper()
	w := newWorld(t)
	w.group(t, nil)
	w.registered(t, w.request("sensor", w.leaf(t, "sensor")))
	hubs, err := w.store.Hubs(t.Context(), in)
	must(t, err)
	far := dps.LinkedHub{
		Instance:    in,
		ID:          "far",
		Kind:        dps.KindIoTHub,
		HostName:    "far.example.com",
		Location:    "West Europe",
		Weight:      1,
		ApplyPolicy: true,
	}
	apart := dps.LinkedHub{Instance: in, ID: "apart", Kind: dps.KindIoTHub, HostName: "apart.example.com", Weight: 1}
	hubs = append(hubs, far, apart)
	f := &function{hub: "far.example.com"}
	return w, register.New(register.Options{
		Store:    &overlay{Store: w.store, hubs: func() ([]dps.LinkedHub, error) { return hubs, nil }},
		Observer: w.outcomes, Log: slog.New(slog.DiscardHandler), Now: w.clock, Webhook: f,
		Networks: allocate.NewNetworks([]allocate.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Locations: []string{"westeurope"}}}),
	}), f
}

func static(names ...dps.HostName) dps.Placement {
	return dps.Placement{Policy: dps.Static, IotHubs: names}
}

func TestDryRun(t *testing.T) {
	const far = dps.HostName("far.example.com")
	hook := dps.Placement{Policy: dps.Custom, Custom: &dps.CustomAllocation{WebhookURL: "https://f.example.com", APIVersion: "2021-10-01"}}
	both := []dps.HostName{hostName, far}
	reset, never := &dps.ReprovisionPolicy{UpdateHubAssignment: true}, &dps.ReprovisionPolicy{MigrateDeviceData: true}
	here := &register.DryRunStand{Hub: hostName, DeviceID: "sensor", Substatus: dps.InitialAssignment}
	with := func(p dps.Placement, r *dps.ReprovisionPolicy) dps.Placement {
		p.Reprovision = r
		return p
	}
	near := netip.MustParseAddr("10.1.2.3")
	tests := []struct {
		name      string
		placement dps.Placement
		q         register.DryRunQuestion // ID is "sensor", which is registered, or another one
		hook      error                   // that the webhook answers with
		want      register.DryRunAnswer
		why       string // in the steps
	}{
		{
			"a new device", static(hostName),
			register.DryRunQuestion{ID: "new", Entry: group("line")},
			nil,
			register.DryRunAnswer{
				Outcome:    register.WouldAssign,
				Policy:     dps.Static,
				Candidates: both[:1],
				Hub:        hostName,
				DeviceID:   "new",
				Substatus:  dps.InitialAssignment,
				Data:       register.DataInitial,
			},
			"enrollment: enrollment group line; policy: static",
		},
		{
			"at a hub over the wire",
			dps.Placement{Policy: dps.GeoLatency},
			register.DryRunQuestion{ID: "new", Entry: group("line"), Remote: near},
			nil,
			register.DryRunAnswer{
				Outcome:    register.WouldAssign,
				Policy:     dps.GeoLatency,
				Candidates: both,
				Hub:        far,
				DeviceID:   "new",
				Substatus:  dps.InitialAssignment,
				Data:       register.DataInitial,
			},
			"network: 10.1.2.3 is in 10.0.0.0/8, near westeurope; location: westeurope: far.example.com; hub: far.example.com: the only remaining candidate; identity: remote hubs are not queried",
		},
		{
			"it stays by its policy", static(hostName),
			register.DryRunQuestion{ID: "Sensor"},
			nil,
			register.DryRunAnswer{
				Outcome:    register.WouldStay,
				Policy:     dps.Static,
				Candidates: both[:1],
				Hub:        hostName,
				DeviceID:   "sensor",
				Substatus:  dps.InitialAssignment,
				Data:       register.DataKept,
				Current:    here,
			},
			"hub: hub.example.com: named by the enrollment",
		},
		{
			"it moves with its twin", static(far),
			register.DryRunQuestion{ID: "sensor"},
			nil,
			register.DryRunAnswer{
				Outcome:    register.WouldMove,
				Policy:     dps.Static,
				Candidates: both[1:],
				Hub:        far,
				DeviceID:   "sensor",
				Substatus:  dps.DeviceDataMigrated,
				Data:       register.DataMigrated,
				Current:    here,
			},
			"migrateDeviceData is true",
		},
		{
			"it moves without", with(static(far), reset),
			register.DryRunQuestion{ID: "sensor"},
			nil,
			register.DryRunAnswer{
				Outcome:    register.WouldMove,
				Policy:     dps.Static,
				Candidates: both[1:],
				Hub:        far,
				DeviceID:   "sensor",
				Substatus:  dps.DeviceDataReset,
				Data:       register.DataReset,
				Current:    here,
			},
			"migrateDeviceData is false",
		},
		{
			"it never moves", with(static(far), never),
			register.DryRunQuestion{ID: "sensor"},
			nil,
			register.DryRunAnswer{
				Outcome:    register.WouldStay,
				Policy:     dps.Static,
				Candidates: both[:1],
				Hub:        hostName,
				DeviceID:   "sensor",
				Substatus:  dps.InitialAssignment,
				Data:       register.DataKept,
				Current:    here,
			},
			"reprovision: the device keeps its hub: updateHubAssignment is false",
		},
		{
			"it does not expect to move", static(far),
			register.DryRunQuestion{ID: "sensor", APIVersion: "2018-04-01"},
			nil,
			register.DryRunAnswer{
				Outcome:    register.WouldStay,
				Policy:     dps.Static,
				Candidates: both[:1],
				Hub:        hostName,
				DeviceID:   "sensor",
				Substatus:  dps.InitialAssignment,
				Data:       register.DataKept,
				Current:    here,
			},
			"no reprovisionPolicy",
		},
		{
			"the webhook is not asked", hook,
			register.DryRunQuestion{ID: "sensor"},
			nil,
			register.DryRunAnswer{Outcome: register.WouldAsk, Policy: dps.Custom, Candidates: both, Current: here},
			"excluded: apart.example.com: applyAllocationPolicy is false, and the enrollment does not name it; candidates: hub.example.com, far.example.com: linked, and the enrollment names no hubs; hub: the webhook decides",
		},
		{
			"the webhook is asked", hook,
			register.DryRunQuestion{ID: "sensor", CallWebhook: true, Payload: json.RawMessage(`7`)},
			nil,
			register.DryRunAnswer{
				Outcome: register.WouldMove, Policy: dps.Custom, Candidates: both, Hub: far, DeviceID: "sensor",
				Substatus: dps.DeviceDataMigrated, Data: register.DataMigrated, Current: here,
				Payload: json.RawMessage(`{"a":1}`),
			},
			"webhook: the webhook chose far.example.com",
		},
		{
			"the webhook fails", hook,
			register.DryRunQuestion{ID: "sensor", CallWebhook: true},
			dps.Errorf(dps.CustomAllocationFailed, "Custom allocation failed with status code: 404"),
			register.DryRunAnswer{
				Outcome: register.WouldFail, Policy: dps.Custom, Candidates: both, Current: here,
				Failure: &dps.Failure{Code: dps.CustomAllocationFailed, Message: "Custom allocation failed with status code: 404"},
			},
			"webhook: Custom allocation failed with status code: 404",
		},
		{
			"no hub", static(),
			register.DryRunQuestion{ID: "new", Entry: group("line")},
			nil,
			register.DryRunAnswer{
				Outcome: register.WouldFail, Policy: dps.Static, Candidates: both,
				Failure: &dps.Failure{
					Code: dps.NoHub, Message: "Static allocation needs exactly one hub: the enrollment's iotHubs names none, and 2 hubs are linked.",
				},
			},
			"failed: Static allocation needs exactly one hub",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, s, f := dryWorld(t)
			w.group(t, func(e *dps.Enrollment) { e.Placement = tt.placement })
			f.err = tt.hook
			if tt.q.APIVersion == "" {
				tt.q.APIVersion = apiVersion
			}
			before, err := w.Record(t.Context(), in, "sensor")
			must(t, err)
			got, err := s.DryRun(t.Context(), in, tt.q)
			must(t, err)
			tt.want.Entry = group("line")
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(register.DryRunAnswer{}, "Steps")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if why := steps(got); !strings.Contains(why, tt.why) {
				t.Errorf("why = %q, want %q", why, tt.why)
			}
			after, err := w.Record(t.Context(), in, "sensor")
			must(t, err)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the record changed:\n%s", diff)
			}
			if called := f.called == 1; called != tt.q.CallWebhook {
				t.Errorf("the webhook was called: %v", called)
			}
			if tt.q.CallWebhook &&
				(f.asked.CurrentHub != hostName || f.asked.CurrentID != "sensor" ||
					string(f.asked.Payload) != string(tt.q.Payload) || len(f.asked.LinkedHubs) != 2) {
				t.Errorf("asked %+v", f.asked)
			}
		})
	}
}

func steps(a register.DryRunAnswer) string {
	var all []string
	for _, s := range a.Steps {
		all = append(all, string(s.Name)+": "+s.Text)
	}
	return strings.Join(all, "; ")
}

// A webhook that is asked about a device that never moves may choose its hub alone.
func TestDryRunAsksUnderNever(t *testing.T) {
	w, s, f := dryWorld(t)
	w.group(t, func(e *dps.Enrollment) {
		e.Placement = dps.Placement{
			Policy: dps.Custom, Custom: &dps.CustomAllocation{WebhookURL: "https://f.example.com", APIVersion: "1"},
			Reprovision: &dps.ReprovisionPolicy{},
		}
	})
	q := register.DryRunQuestion{ID: "sensor", APIVersion: apiVersion, CallWebhook: true}
	f.hub = hostName
	got, err := s.DryRun(t.Context(), in, q)
	must(t, err)
	if got.Outcome != register.WouldStay || got.Hub != hostName || len(f.asked.LinkedHubs) != 1 || f.asked.LinkedHubs[0] != hostName ||
		string(got.Payload) != `{"a":1}` {
		t.Errorf("%+v, asked %+v", got, f.asked)
	}
	f.hub = "far.example.com"
	if got, err = s.DryRun(t.Context(), in, q); err != nil || got.Outcome != register.WouldFail ||
		got.Failure.Code != dps.CustomAllocationFailed {
		t.Errorf("%+v, %v", got, err)
	}
	q.CallWebhook = false
	if got, err = s.DryRun(t.Context(), in, q); err != nil || got.Outcome != register.WouldStay || got.Payload != nil || f.called != 2 ||
		!strings.Contains(steps(got), "webhook: the webhook is still called for a payload") {
		t.Errorf("%+v, %v", got, err)
	}
	q.CallWebhook = true // of a service that calls none
	if got, err = w.DryRun(t.Context(), in, q); err != nil || got.Outcome != register.WouldFail {
		t.Errorf("%+v, %v", got, err)
	}
}

// The individual enrollment decides before the group of the record; a device of which
// nothing is known has to be given one.
func TestDryRunFindsTheEnrollment(t *testing.T) {
	w, s, _ := dryWorld(t)
	q := register.DryRunQuestion{ID: "sensor", APIVersion: apiVersion}
	must(t, w.enroll.Delete(t.Context(), in, group("line"), dps.Condition{}))
	_, err := s.DryRun(t.Context(), in, q)
	fails(t, "group is gone", err, dps.Invalid, "enrollmentGroupId: is required")
	_, err = s.DryRun(t.Context(), in, register.DryRunQuestion{ID: "ghost"})
	fails(t, "nothing is known", err, dps.Invalid, `"ghost"`)
	q.Entry = group("ghosts")
	_, err = s.DryRun(t.Context(), in, q)
	fails(t, "group that is named", err, dps.GroupNotFound)
	q.Entry = individual("sensor")
	_, err = s.DryRun(t.Context(), in, q)
	fails(t, "enrollment that is named", err, dps.EnrollmentNotFound)

	w.put(
		t,
		individual("sensor"),
		dps.X509Attestation{Primary: certificateOf(selfSigned(t, "sensor"))},
		func(e *dps.Enrollment) { e.Status = dps.StatusDisabled },
	)
	q.Entry = dps.EntryRef{}
	got, err := s.DryRun(t.Context(), in, q)
	if err != nil || got.Outcome != register.WouldDisabled || got.Entry != individual("sensor") || got.Hub != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err = s.DryRun(t.Context(), "elsewhere", q); err == nil {
		t.Error("an instance that is not there answers")
	}
	broken := errors.New("broken")
	_, err = w.over(&overlay{Store: w.store, fail: map[string]error{"Registration": broken}}).DryRun(t.Context(), in, q)
	if !errors.Is(err, broken) {
		t.Errorf("error = %v", err)
	}
}

// What a device finds at the embedded hub is told, and is what then happens.
func TestDryRunFindsTheIdentity(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	leaf := w.leaf(t, "sensor")
	ask := func() register.DryRunAnswer {
		t.Helper()
		a, err := w.DryRun(t.Context(), in, register.DryRunQuestion{ID: "sensor", Entry: group("line"), APIVersion: apiVersion})
		must(t, err)
		return a
	}
	for _, want := range []register.DryRunAnswer{
		{Substatus: dps.InitialAssignment, Data: register.DataInitial, Outcome: register.WouldAssign},
		{Substatus: dps.ReprovisionedToInitialAssignment, Data: register.DataKept, Outcome: register.WouldAssign},
	} {
		got := ask()
		if got.Substatus != want.Substatus || got.Data != want.Data || got.Outcome != want.Outcome {
			t.Errorf("%+v, want %+v", got, want)
		}
		rec := w.registered(t, w.request("sensor", leaf))
		if rec.Assignment.Substatus != got.Substatus || rec.Hub != got.Hub || rec.Assignment.DeviceID != got.DeviceID {
			t.Errorf("%+v, and the dry run said %+v", rec, got)
		}
		if again := ask(); again.Outcome != register.WouldStay || again.Substatus != got.Substatus {
			t.Errorf("%+v", again)
		}
		must(t, w.Forget(t.Context(), in, "sensor", dps.Condition{}))
	}
	broken := errors.New("broken")
	_, err := w.over(&overlay{Store: w.store, fail: map[string]error{"HubDevice": broken}}).
		DryRun(t.Context(), in, register.DryRunQuestion{ID: "sensor", Entry: group("line")})
	if !errors.Is(err, broken) {
		t.Errorf("error = %v", err)
	}
}

// A device that would keep a hub that is unlinked gets another one.
func TestDryRunOfAnUnlinkedHub(t *testing.T) {
	w, _, _ := dryWorld(t)
	w.group(t, func(e *dps.Enrollment) { e.Placement.Reprovision = &dps.ReprovisionPolicy{} })
	far := dps.LinkedHub{Instance: in, ID: "far", Kind: dps.KindIoTHub, HostName: "far.example.com", Weight: 1, ApplyPolicy: true}
	s := w.over(&overlay{Store: w.store, hubs: func() ([]dps.LinkedHub, error) { return []dps.LinkedHub{far}, nil }})
	got, err := s.DryRun(t.Context(), in, register.DryRunQuestion{ID: "sensor", APIVersion: apiVersion})
	must(t, err)
	if got.Hub != far.HostName || got.Outcome != register.WouldMove || got.Current.Hub != "" || got.Current.DeviceID != "sensor" ||
		!strings.Contains(steps(got), "no longer linked") {
		t.Errorf("%+v", got)
	}
}
