package iothub_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// trip is an http.RoundTripper without a network, so that time can be faked.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// direct calls a handler. Where that cuts the connection, or the caller goes, there is
// no answer.
func direct(h http.Handler) trip {
	return func(r *http.Request) (res *http.Response, err error) {
		defer func() {
			if cut := recover(); cut != nil {
				res, err = nil, io.EOF
			}
			if r.Context().Err() != nil {
				res, err = nil, r.Context().Err()
			}
		}()
		in := r.Clone(r.Context())
		in.RequestURI = r.URL.RequestURI()
		if r.Host == "" {
			in.Host = r.URL.Host
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, in)
		return rec.Result(), nil
	}
}

// says answers every call in one way.
func says(status int, header map[string]string, body string) trip {
	return direct(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
}

var someLink = dps.LinkedHub{
	Instance: dps.DefaultInstance, ID: "hub", Kind: dps.KindIoTHub, HostName: hubName, Weight: 1,
	Access: &dps.HubAccess{Endpoint: hubName, KeyName: dps.HubOwnerPolicy, Key: dps.NewSecret(hubKey)},
}

func poolOf(via http.RoundTripper, change func(*iothub.Options)) *iothub.Pool {
	o := iothub.Options{Client: &http.Client{Transport: via}, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	return iothub.NewPool(o)
}

func remote(via http.RoundTripper) register.RemoteHub { return poolOf(via, nil).Hub(someLink) }

// inMemory is a fake hub without a network.
func inMemory(o fakehub.Options) *fakehub.Hub {
	o.HostName = hubName
	o.Policies = map[string]fakehub.Policy{dps.HubOwnerPolicy: fakehub.Owner(hubKey)}
	return fakehub.New(o)
}

// names returns what was called, in order.
func names(h *fakehub.Hub) string {
	var all []string
	for _, c := range h.Calls() {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}

// watcher is an Observer that remembers.
type watcher struct {
	mu    sync.Mutex
	lines []string
}

func (w *watcher) add(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
}

func (w *watcher) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

func (w *watcher) HubCall(hub, call, outcome string, _ time.Duration) {
	w.add(hub + " " + call + " " + outcome)
}
func (w *watcher) HubState(hub, state string) { w.add(hub + " is " + state) }
func (w *watcher) HubGone(hub string)         { w.add(hub + " is gone") }

func x509(digit string) dps.HubAuthentication {
	return dps.SelfSigned(dps.ThumbprintOf([]byte(digit)))
}

func put(digit string) register.Put {
	return register.Put{HubIdentity: dps.HubIdentity{DeviceID: "dev-1", Authentication: x509(digit)}}
}
