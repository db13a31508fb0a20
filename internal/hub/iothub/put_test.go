package iothub_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/test/fakehub"
)

var fullTwin = dps.Twin{Tags: json.RawMessage(`{"t":1}`), Desired: json.RawMessage(`{"d":2}`), Reported: json.RawMessage(`{"r":3}`)}

// TestPutCalls: which calls a Put makes, and no more.
func TestPutCalls(t *testing.T) {
	t.Parallel()
	initial := dps.Twin{Tags: fullTwin.Tags, Desired: fullTwin.Desired}
	other := dps.Twin{Tags: json.RawMessage(`{"t":2}`), Desired: fullTwin.Desired}
	desired := dps.Twin{Tags: fullTwin.Tags, Desired: json.RawMessage(`{"d":3}`)}
	reported := dps.Twin{Tags: fullTwin.Tags, Desired: fullTwin.Desired, Reported: json.RawMessage(`{"r":4}`)}
	with := func(p register.Put, twin dps.Twin, ours, fresh bool) register.Put {
		p.Twin, p.Ours, p.Fresh = twin, ours, fresh
		return p
	}
	withoutTwin, noBulk := fakehub.Fault{Kind: fakehub.WithoutTwin}, fakehub.Fault{Kind: fakehub.NoBulk}
	for _, tt := range []struct {
		name    string
		before  *register.Put // what stands there
		fault   fakehub.Fault
		put     register.Put
		want    string
		existed bool
		twin    dps.Twin // afterwards
	}{
		{name: "new", put: with(put("a"), fullTwin, false, false), want: "bulk create", twin: fullTwin},
		{name: "new, maybe ours", put: with(put("a"), fullTwin, true, false), want: "bulk create", twin: fullTwin},
		{name: "as wanted", before: new(put("a")), put: with(put("a"), fullTwin, false, false), want: "bulk create, get device", existed: true},
		{name: "another proof", before: new(put("b")), put: with(put("a"), fullTwin, false, false), want: "bulk create, get device, put device", existed: true},
		{name: "ours", before: new(put("a")), put: with(put("a"), fullTwin, true, false), want: "bulk create, get device, bulk updatetwin", twin: fullTwin},
		{name: "ours without a twin", before: new(put("a")), put: with(put("a"), dps.Twin{}, true, false), want: "bulk create, get device"},
		{name: "ours, under other keys, and without its twin", before: new(put("b")), put: with(put("a"), fullTwin, true, false), want: "bulk create, get device, get twin, put device, bulk updatetwin", twin: fullTwin},
		{name: "ours, under other keys, with part of its twin", before: new(with(put("b"), initial, false, false)), put: with(put("a"), fullTwin, true, false), want: "bulk create, get device, get twin, put device, bulk updatetwin", twin: fullTwin},
		{name: "not ours", before: new(with(put("b"), other, false, false)), put: with(put("a"), fullTwin, true, false), want: "bulk create, get device, get twin, put device", existed: true, twin: other},
		{name: "not ours, by its desired properties", before: new(with(put("b"), desired, false, false)), put: with(put("a"), fullTwin, true, false), want: "bulk create, get device, get twin, put device", existed: true, twin: desired},
		{name: "not ours, by its reported properties", before: new(with(put("b"), reported, false, false)), put: with(put("a"), fullTwin, true, false), want: "bulk create, get device, get twin, put device", existed: true, twin: reported},
		{name: "fresh", before: new(put("a")), put: with(put("a"), fullTwin, false, true), want: "delete device, bulk create", twin: fullTwin},
		{name: "fresh, nothing there", put: with(put("a"), fullTwin, false, true), want: "delete device, bulk create", twin: fullTwin},
		{name: "twin left out", fault: withoutTwin, put: with(put("a"), initial, false, false), want: "bulk create, patch twin", twin: initial},
		{name: "twin with reported left out", fault: withoutTwin, put: with(put("a"), fullTwin, false, false), want: "bulk create, bulk updatetwin", twin: fullTwin},
		{name: "no twin left out", fault: withoutTwin, put: put("a"), want: "bulk create"},
		{name: "no bulk", fault: noBulk, put: with(put("a"), initial, false, false), want: "bulk create, put device, patch twin", twin: initial},
		{name: "no bulk, no twin", fault: noBulk, put: put("a"), want: "bulk create, put device"},
		{name: "no bulk, reported", fault: noBulk, put: with(put("a"), fullTwin, false, false), want: "bulk create, put device, patch twin", twin: initial},
		{name: "no bulk, as wanted", before: new(put("a")), fault: noBulk, put: with(put("a"), initial, false, false), want: "bulk create, put device, get device", existed: true},
		{name: "no bulk, ours", before: new(put("a")), fault: noBulk, put: with(put("a"), initial, true, false), want: "bulk create, put device, get device, patch twin", twin: initial},
	} {
		for _, o := range []fakehub.Options{{}, {JSONErrors: true}, {NamedBulkErrors: true}} {
			hub := inMemory(o)
			client := poolOf(direct(hub), func(o *iothub.Options) { o.PerMinute = 0 }).Hub(someLink)
			if tt.before != nil {
				if _, err := poolOf(direct(hub), nil).Hub(someLink).Put(t.Context(), *tt.before); err != nil {
					t.Fatal(err)
				}
				hub.ForgetCalls()
			}
			hub.SetFaults(tt.fault)
			outcome, err := client.Put(t.Context(), tt.put)
			if err != nil || outcome.Existed != tt.existed || names(hub) != tt.want {
				t.Errorf("%s: existed %v, %v, by %s", tt.name, outcome.Existed, err, names(hub))
			}
			if held, err := client.Holds(t.Context(), tt.put.HubIdentity); err != nil || !held {
				t.Errorf("%s: holds %v, %v", tt.name, held, err)
			}
			if got, err := client.Twin(t.Context(), "dev-1"); err != nil || cmp.Diff(tt.twin, got) != "" {
				t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, cmp.Diff(tt.twin, got))
			}
		}
	}
}

// A hub that has no bulk calls is not asked for them at each device, and is again after
// an hour.
// TestPutUntouched: which failures leave no doubt that nothing was made.
func TestPutUntouched(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before *register.Put
		faults []fakehub.Fault
		want   bool
	}{
		{name: "refused", faults: []fakehub.Fault{{Kind: fakehub.WrongKey}}, want: true},
		{name: "no hub", faults: []fakehub.Fault{{Kind: fakehub.Deleted}}, want: true},
		{name: "throttled", faults: []fakehub.Fault{{Kind: fakehub.Throttle}}, want: true},
		{name: "no answer", faults: []fakehub.Fault{{Kind: fakehub.ResetBefore}}},
		{name: "a failure of the hub's own", faults: []fakehub.Fault{{Kind: fakehub.Fail}}},
		{name: "made, and no twin", faults: []fakehub.Fault{{Kind: fakehub.WithoutTwin}, {Kind: fakehub.Throttle, Call: "patch twin"}}},
		{name: "made without bulk, and no twin", faults: []fakehub.Fault{{Kind: fakehub.NoBulk}, {Kind: fakehub.Throttle, Call: "patch twin"}}},
		{name: "no bulk, no answer", faults: []fakehub.Fault{{Kind: fakehub.NoBulk}, {Kind: fakehub.ResetAfter, Call: "put device"}}},
		{name: "it was there", before: new(put("b")), faults: []fakehub.Fault{{Kind: fakehub.Fail, Call: "put device"}}, want: true},
	} {
		hub := inMemory(fakehub.Options{})
		if tt.before != nil {
			if _, err := poolOf(direct(hub), nil).Hub(someLink).Put(t.Context(), *tt.before); err != nil {
				t.Fatal(err)
			}
		}
		hub.SetFaults(tt.faults...)
		p := put("a")
		p.Twin = dps.Twin{Tags: fullTwin.Tags}
		outcome, err := poolOf(direct(hub), func(o *iothub.Options) { o.PerMinute = 0 }).Hub(someLink).Put(t.Context(), p)
		if err == nil || outcome.Untouched != tt.want {
			t.Errorf("%s: untouched %v, %v", tt.name, outcome.Untouched, err)
		}
	}
	refusing := trip(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	})
	if outcome, err := remote(refusing).Put(t.Context(), put("a")); err == nil || !outcome.Untouched {
		t.Errorf("connection refused: %+v, %v", outcome, err)
	}
}

func TestNoBulkIsRemembered(t *testing.T) {
	t.Parallel()
	clock := now
	hub := inMemory(fakehub.Options{Now: func() time.Time { return clock }})
	hub.SetFaults(fakehub.Fault{Kind: fakehub.NoBulk})
	client := poolOf(direct(hub), func(o *iothub.Options) { o.PerMinute, o.Now = 0, func() time.Time { return clock } }).Hub(someLink)
	try := func(id dps.DeviceID, want string) {
		t.Helper()
		p := put("a")
		p.DeviceID = id
		hub.ForgetCalls()
		if _, err := client.Put(t.Context(), p); err != nil || names(hub) != want {
			t.Errorf("%s: %v, by %s", id, err, names(hub))
		}
	}
	try("a", "bulk create, put device")
	try("b", "put device")
	clock = clock.Add(time.Hour)
	try("c", "bulk create, put device")
	hub.SetFaults()
	clock = clock.Add(time.Hour)
	try("d", "bulk create")
}

// TestNoBulkForms: in which ways hubs say that they have no bulk calls, and how those
// sound that do not mean it.
func TestNoBulkForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status   int
		code     string
		body     string
		fallback bool
	}{
		{404, "", "page not found", true},
		{405, "", "", true},
		{501, "", "", true},
		{405, "BulkAddDevicesNotSupported", "", true},
		{400, "BulkAddDevicesNotSupported", "", true},
		{400, "", `{"isSuccessful":false,"errors":[{"errorCode":405104}]}`, true},
		{404, "IotHubNotFound", "", false},
		{400, "ArgumentInvalid", "", false},
		{401, "IotHubUnauthorizedAccess", "", false},
		{500, "", "", false},
	} {
		hub := inMemory(fakehub.Options{})
		bulk := says(tt.status, map[string]string{"iothub-errorcode": tt.code}, tt.body)
		client := remote(trip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				return bulk(r)
			}
			return direct(hub)(r)
		}))
		_, err := client.Put(t.Context(), put("a"))
		if (err == nil) != tt.fallback || (len(hub.Devices()) == 1) != tt.fallback {
			t.Errorf("%d %s %s: %v, %d devices", tt.status, tt.code, tt.body, err, len(hub.Devices()))
		}
	}
}

// meddle does something at the hub before each call of that name.
func meddle(hub *fakehub.Hub, method, prefix string, do func(r *http.Request)) trip {
	return func(r *http.Request) (*http.Response, error) {
		if r.Method == method && strings.HasPrefix(r.URL.Path, prefix) {
			do(r)
		}
		return direct(hub)(r)
	}
}

func TestPutWhileOthersWrite(t *testing.T) {
	t.Parallel()
	stranger := func(hub *fakehub.Hub) register.RemoteHub {
		return poolOf(direct(hub), func(o *iothub.Options) { o.PerMinute = 0 }).Hub(someLink)
	}
	unpaced := func(o *iothub.Options) { o.PerMinute = 0 }

	t.Run("the identity changes once", func(t *testing.T) {
		t.Parallel()
		hub, times := inMemory(fakehub.Options{}), 0
		if _, err := stranger(hub).Put(t.Context(), put("b")); err != nil {
			t.Fatal(err)
		}
		via := meddle(hub, "PUT", "/devices/", func(r *http.Request) {
			if times++; times == 1 {
				p := put("c")
				p.IotEdge = true
				if _, err := stranger(hub).Put(r.Context(), p); err != nil {
					t.Error(err)
				}
			}
		})
		client := poolOf(via, unpaced).Hub(someLink)
		outcome, err := client.Put(t.Context(), put("a"))
		if held, _ := client.Holds(t.Context(), put("a").HubIdentity); err != nil || !outcome.Existed || !held || times != 2 {
			t.Errorf("%v, %v, held %v after %d times", outcome, err, held, times)
		}
	})
	t.Run("the identity changes all the time", func(t *testing.T) {
		t.Parallel()
		hub, times := inMemory(fakehub.Options{}), 0
		if _, err := stranger(hub).Put(t.Context(), put("b")); err != nil {
			t.Fatal(err)
		}
		via := meddle(hub, "PUT", "/devices/", func(r *http.Request) {
			times++
			if _, err := stranger(hub).Put(r.Context(), put(fmt.Sprint("other", times))); err != nil {
				t.Error(err)
			}
		})
		_, err := poolOf(via, unpaced).Hub(someLink).Put(t.Context(), put("a"))
		if _, again := dps.MayRepeat(err); dps.CodeOf(err) != dps.HubUnavailable || !again || times > 10 {
			t.Errorf("%v after %d times", err, times)
		}
	})
	t.Run("the identity goes away again", func(t *testing.T) {
		t.Parallel()
		hub, times := inMemory(fakehub.Options{}), 0
		if _, err := stranger(hub).Put(t.Context(), put("b")); err != nil {
			t.Fatal(err)
		}
		via := meddle(hub, "GET", "/devices/", func(r *http.Request) {
			if times++; times == 1 {
				if err := stranger(hub).Remove(r.Context(), "dev-1"); err != nil {
					t.Error(err)
				}
			}
		})
		p := put("a")
		p.Twin = fullTwin
		client := poolOf(via, unpaced).Hub(someLink)
		outcome, err := client.Put(t.Context(), p)
		if got, _ := client.Twin(t.Context(), "dev-1"); err != nil || outcome.Existed || cmp.Diff(fullTwin, got) != "" {
			t.Errorf("%v, %v, twin %v", outcome, err, got)
		}
	})
	t.Run("the identity goes away before its twin", func(t *testing.T) {
		t.Parallel()
		hub := inMemory(fakehub.Options{})
		hub.SetFaults(fakehub.Fault{Kind: fakehub.WithoutTwin})
		via := meddle(hub, "PATCH", "/twins/", func(r *http.Request) {
			if err := stranger(hub).Remove(r.Context(), "dev-1"); err != nil {
				t.Error(err)
			}
		})
		p := put("a")
		p.Twin = dps.Twin{Tags: fullTwin.Tags}
		_, err := poolOf(via, unpaced).Hub(someLink).Put(t.Context(), p)
		if _, again := dps.MayRepeat(err); !again || dps.CodeOf(err) != dps.HubUnavailable {
			t.Errorf("%v", err)
		}
	})
}

// What a hub keeps beside our members goes back to it exactly.
func TestPutKeepsTheDocument(t *testing.T) {
	t.Parallel()
	const before = `{"deviceId":"dev-1","etag":"a/b+c=","generationId":"638","status":"disabled","statusReason":"x","authentication":{"type":"sas","symmetricKey":{"primaryKey":"QQ==","secondaryKey":"QQ=="}},` +
		`"capabilities":{"iotEdge":true,"future":[1,2]},"deviceScope":"s","parentScopes":["p"],"cloudToDeviceMessageCount":12345678901234567,"later":{"x":1.50}}`
	var sent map[string]json.RawMessage
	var match string
	client := remote(direct(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("iothub-errorcode", "DeviceAlreadyExists")
			w.WriteHeader(http.StatusConflict) // not the bulk form
		case http.MethodGet:
			_, _ = w.Write([]byte(before))
		case http.MethodPut:
			match = r.Header.Get("If-Match")
			if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
				t.Error(err)
			}
			_, _ = w.Write([]byte(before))
		}
	})))
	if _, err := client.Put(t.Context(), put("a")); err != nil {
		t.Fatal(err)
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal([]byte(before), &want); err != nil {
		t.Fatal(err)
	}
	thumb := x509("a").PrimaryThumbprint
	want["authentication"] = json.RawMessage(
		`{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":"` + thumb + `","secondaryThumbprint":"` + thumb + `"},"type":"selfSigned"}`,
	)
	want["capabilities"] = json.RawMessage(`{"future":[1,2],"iotEdge":false}`)
	if diff := cmp.Diff(want, sent); diff != "" || match != `"a/b+c="` {
		t.Errorf("If-Match %s (-want +got):\n%s", match, diff)
	}
}

// A hub that is full refuses, by whichever call, and the identities that it has can
// still be changed.
func TestFullHub(t *testing.T) {
	t.Parallel()
	for _, fault := range []fakehub.Fault{{}, {Kind: fakehub.NoBulk}} {
		hub := inMemory(fakehub.Options{MaxDevices: 1})
		hub.SetFaults(fault)
		client := remote(direct(hub))
		if _, err := client.Put(t.Context(), put("a")); err != nil {
			t.Fatal(err)
		}
		second := put("a")
		second.DeviceID = "dev-2"
		_, err := client.Put(t.Context(), second)
		if _, again := dps.MayRepeat(err); dps.CodeOf(err) != dps.HubRefused || dps.FailureOf(err).Number != 413002 || again {
			t.Errorf("%q: %v", fault.Kind, err)
		}
		if outcome, err := client.Put(t.Context(), put("b")); err != nil || !outcome.Existed {
			t.Errorf("%q: %v, %v", fault.Kind, outcome, err)
		}
	}
}
