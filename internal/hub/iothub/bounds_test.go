package iothub_test

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// TestWordsAtTheirBound holds where a hub's words are cut: at a character, never in one, and
// long ones before they are read.
func TestWordsAtTheirBound(t *testing.T) {
	t.Parallel()
	longest := len(iothub.Words([]byte(strings.Repeat("a", 10_000))))
	for _, tt := range []struct{ name, in, want string }{
		{"as long as allowed", strings.Repeat("a", longest), strings.Repeat("a", longest)},
		{"one longer", strings.Repeat("a", longest+1), strings.Repeat("a", longest)},
		{"a character on the bound", strings.Repeat("a", longest-1) + "é", strings.Repeat("a", longest-1)},
		{"what is behind twice the bound is not read", strings.Repeat(" ", 2*longest) + "late", ""},
		{"what is before it is", strings.Repeat(" ", 2*longest-1) + "x", "x"},
	} {
		if got := iothub.Words([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.name, len(got), len(tt.want))
		}
	}
}

// TestCodesAtTheirBounds holds which texts are a code's name or number.
func TestCodesAtTheirBounds(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("n", 64)
	for code, want := range map[string]struct {
		name   string
		number int
	}{
		`-1`: {}, `0`: {}, `1`: {number: 1}, `""`: {}, `"Code2"`: {name: "Code2"}, `"é"`: {},
		`"` + longest + `"`: {name: longest}, `"` + longest + `n"`: {},
	} {
		body := []byte(`{"errorCode":` + code + `}`)
		message, err := json.Marshal(map[string]string{"Message": string(body)})
		if err != nil {
			t.Fatal(err)
		}
		name, number, _ := iothub.ReadRefusal(http.StatusBadRequest, nil, message)
		if name != want.name || number != want.number {
			t.Errorf("%s: name %q, number %d, want %q and %d", code, name, number, want.name, want.number)
		}
	}
}

// TestIdentityThatCannotBeRead holds that an identity without a form is an error, and no empty
// identity that would be written back.
func TestIdentityThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `null`, `[]`, `"x"`, `{"etag":1}`, `{"etag":"a"`, `{}`, `{"etag":""}`, `{"etag":"a b"}`, `{"etag":"é"}`,
	} {
		if etag, _, err := iothub.ReadIdentity(nil, []byte(body)); err == nil {
			t.Errorf("%s: read, with etag %q", body, etag)
		}
	}
	if etag, _, err := iothub.ReadIdentity(http.Header{"Etag": {`"b"`}}, []byte(`{}`)); err != nil || etag != "b" {
		t.Errorf("etag in the header: %q, %v", etag, err)
	}
}

// TestProbeWantsAList holds that a hub that is down is up only when it answers as hubs do.
func TestProbeWantsAList(t *testing.T) {
	for _, tt := range []struct {
		body string
		want dps.HubState
	}{{`[]`, dps.HubUp}, {`{}`, dps.HubDown}, {`<html>`, dps.HubDown}} {
		synctest.Test(t, func(t *testing.T) {
			answer := says(http.StatusInternalServerError, nil, "")
			pool := poolOf(trip(func(r *http.Request) (*http.Response, error) { return answer(r) }), nil)
			client := pool.Hub(someLink)
			for range 5 {
				_, _ = client.Holds(t.Context(), put("a").HubIdentity)
			}
			if got := client.Health().State; got != dps.HubDown {
				t.Fatalf("state %v after five failures", got)
			}
			answer = says(http.StatusOK, nil, tt.body)
			defer running(t, pool)()
			<-time.After(2 * time.Second)
			if got := client.Health().State; got != tt.want {
				t.Errorf("%s: %v, want %v", tt.body, got, tt.want)
			}
		})
	}
}

// TestTwinWithoutDesired holds that a twin of tags alone is written without a section that would
// be null, which removes what is there.
func TestTwinWithoutDesired(t *testing.T) {
	t.Parallel()
	hub := inMemory(fakehub.Options{})
	hub.SetFaults(fakehub.Fault{Kind: fakehub.NoBulk})
	var sent map[string]json.RawMessage
	via := meddle(hub, http.MethodPatch, "/twins/", func(r *http.Request) {
		body, err := r.GetBody()
		if err != nil {
			t.Error(err)
			return
		}
		if err := json.NewDecoder(body).Decode(&sent); err != nil {
			t.Error(err)
		}
	})
	p := put("a")
	p.Twin = dps.Twin{Tags: fullTwin.Tags}
	if _, err := poolOf(via, func(o *iothub.Options) { o.PerMinute = 0 }).Hub(someLink).Put(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, ok := sent["properties"]; ok || len(sent) != 1 {
		t.Errorf("sent %v, want tags alone", sent)
	}
	reportedOnly := put("a")
	reportedOnly.DeviceID, reportedOnly.Twin = "dev-2", dps.Twin{Reported: fullTwin.Reported}
	hub.ForgetCalls()
	if _, err := poolOf(direct(hub), func(o *iothub.Options) { o.PerMinute = 0 }).Hub(someLink).Put(t.Context(), reportedOnly); err != nil {
		t.Fatal(err)
	}
	if got := names(hub); got != "bulk create, put device" {
		t.Errorf("reported properties alone at a hub without bulk calls: %s", got)
	}
}

// TestPauseOutlivesTheClient holds that a hub that is linked anew is not called before the pause
// that it asked for is over, and that nothing is kept of it afterwards.
func TestPauseOutlivesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := poolOf(says(http.StatusTooManyRequests, map[string]string{"Retry-After": "30"}, ""), nil)
		if _, err := pool.Hub(someLink).Holds(t.Context(), put("a").HubIdentity); dps.CodeOf(err) != dps.Throttled {
			t.Fatal(err)
		}
		begun := time.Now()
		pool.Forget(someLink.Instance, someLink.ID)
		if got := pool.Hub(someLink).Health().Paused; !got.Equal(begun.Add(30 * time.Second)) {
			t.Errorf("the pause ends at %v, want %v", got, begun.Add(30*time.Second))
		}
		<-time.After(30 * time.Second)
		if got := pool.Hub(someLink).Health().Paused; !got.IsZero() {
			t.Errorf("paused until %v after the pause", got)
		}
		pool.Forget(someLink.Instance, someLink.ID)
		if n := pool.Pacers(); n != 0 {
			t.Errorf("%d hubs are remembered, want none", n)
		}
	})
}

// TestHubIsGoneBesideOthers holds that the observer hears of a hub that is forgotten while other
// hubs stay, and that only theirs is remembered.
func TestHubIsGoneBesideOthers(t *testing.T) {
	t.Parallel()
	seen := &watcher{}
	pool := poolOf(direct(inMemory(fakehub.Options{})), func(o *iothub.Options) { o.Observer = seen })
	other := someLink
	other.ID, other.HostName = "other", "other.example"
	pool.Hub(someLink)
	pool.Hub(other)
	pool.Forget(someLink.Instance, someLink.ID)
	want := "hub.example is unknown, other.example is unknown, hub.example is gone"
	if got := strings.Join(seen.all(), ", "); got != want || pool.Pacers() != 1 {
		t.Errorf("heard %s, want %s; %d hubs are remembered", got, want, pool.Pacers())
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	if got := seen.all(); got[len(got)-1] != "other.example is gone" {
		t.Errorf("heard %v when the pool was closed", got)
	}
}

// TestOnlyAFailedDialIsUndone holds that an attempt whose connection broke later may have made
// the identity.
func TestOnlyAFailedDialIsUndone(t *testing.T) {
	t.Parallel()
	for op, want := range map[string]bool{"dial": true, "read": false, "write": false} {
		broken := trip(func(*http.Request) (*http.Response, error) { return nil, &net.OpError{Op: op, Err: syscall.ECONNRESET} })
		if outcome, err := remote(broken).Put(t.Context(), put("a")); err == nil || outcome.Untouched != want {
			t.Errorf("%s: untouched %v, %v, want %v", op, outcome.Untouched, err, want)
		}
	}
}

// TestContentType holds that a body is said to be JSON, and that nothing is said where there is
// none.
func TestContentType(t *testing.T) {
	t.Parallel()
	types := make(map[string]string)
	hub := inMemory(fakehub.Options{})
	client := remote(trip(func(r *http.Request) (*http.Response, error) {
		types[r.Method] = r.Header.Get("Content-Type")
		return direct(hub)(r)
	}))
	if _, err := client.Put(t.Context(), put("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Holds(t.Context(), put("a").HubIdentity); err != nil {
		t.Fatal(err)
	}
	if types[http.MethodPost] != "application/json; charset=utf-8" || types[http.MethodGet] != "" {
		t.Errorf("content types %v", types)
	}
}
