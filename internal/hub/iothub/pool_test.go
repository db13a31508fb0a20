package iothub_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/test/fakehub"
)

func TestPoolKeepsClients(t *testing.T) {
	t.Parallel()
	seen := &watcher{}
	pool := poolOf(direct(inMemory(fakehub.Options{})), func(o *iothub.Options) { o.Observer = seen })
	client := pool.Hub(someLink)
	heavier := someLink
	heavier.Weight, heavier.Location = 9, "west"
	if pool.Hub(someLink) != client || pool.Hub(heavier) != client {
		t.Error("the same hub has two clients")
	}
	for name, change := range map[string]func(*dps.LinkedHub, *dps.HubAccess){
		"instance": func(l *dps.LinkedHub, _ *dps.HubAccess) { l.Instance = "other" },
		"id":       func(l *dps.LinkedHub, _ *dps.HubAccess) { l.ID = "other" },
		"name":     func(l *dps.LinkedHub, _ *dps.HubAccess) { l.HostName = "other.example" },
		"endpoint": func(_ *dps.LinkedHub, a *dps.HubAccess) { a.Endpoint = "gateway.example" },
		"policy":   func(_ *dps.LinkedHub, a *dps.HubAccess) { a.KeyName = "other" },
		"key":      func(_ *dps.LinkedHub, a *dps.HubAccess) { a.Key = dps.NewSecret([]byte("other")) },
	} {
		link, access := someLink, *someLink.Access
		change(&link, &access)
		link.Access = &access
		before := pool.Hub(someLink)
		changed := pool.Hub(link)
		if changed == before {
			t.Errorf("another %s, the same client", name)
		}
		if got := changed.Health().State; got != dps.HubUnknown {
			t.Errorf("another %s: a new client is %s", name, got)
		}
	}
	if _, err := client.Holds(t.Context(), put("a").HubIdentity); err != nil {
		t.Errorf("a client that was replaced, to its end: %v", err)
	}
}

func TestPoolForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := &switched{hub: inMemory(fakehub.Options{})}
		way.cut.Store(true)
		seen := &watcher{}
		pool := poolOf(way, func(o *iothub.Options) { o.Observer = seen })
		stop := running(t, pool)
		fell := func(link dps.LinkedHub) {
			for range 5 {
				_, _ = pool.Hub(link).Holds(t.Context(), put("a").HubIdentity)
			}
		}
		second := someLink
		second.Instance = "second"
		fell(someLink)
		fell(second)
		pool.Forget(someLink.Instance, someLink.ID)
		pool.Forget("no", "such")
		before := way.tries.Load()
		<-time.After(time.Minute)
		synctest.Wait()
		if tries := way.tries.Load() - before; tries != 5 { // after 1, 2, 4, 8, 16 and 30 seconds, but only of one
			t.Errorf("%d trials in a minute", tries)
		}
		if gone := strings.Join(seen.all(), "\n"); strings.Contains(gone, "is gone") {
			t.Error("a hub that another instance links is gone")
		}
		// One that nobody asks for any more is dropped after an hour.
		<-time.After(75 * time.Minute)
		synctest.Wait()
		before = way.tries.Load()
		<-time.After(time.Hour)
		synctest.Wait()
		if tries := way.tries.Load() - before; tries != 0 {
			t.Errorf("%d trials of a hub that nobody uses", tries)
		}
		if lines := seen.all(); lines[len(lines)-1] != "hub.example is gone" {
			t.Errorf("last %q", lines[len(lines)-1])
		}
		stop()
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestObserverHearsOfCalls(t *testing.T) {
	t.Parallel()
	seen := &watcher{}
	hub := inMemory(fakehub.Options{})
	client := poolOf(direct(hub), func(o *iothub.Options) { o.Observer = seen }).Hub(someLink)
	p := put("a")
	p.Fresh = true
	if _, err := client.Put(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	hub.SetFaults(fakehub.Fault{Kind: fakehub.Fail, Times: 1}, fakehub.Fault{Kind: fakehub.Throttle})
	_, _ = client.Twin(t.Context(), "dev-1")
	_, _ = client.Holds(t.Context(), p.HubIdentity)
	want := []string{
		"hub.example is unknown", "hub.example is up", "hub.example delete device refused", "hub.example bulk create done",
		"hub.example get twin unavailable", "hub.example get device throttled",
	}
	if diff := cmp.Diff(want, seen.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The endpoint is what is dialled and what TLS verifies; the hub's name goes into the
// Host header and the token.
func TestGateway(t *testing.T) {
	t.Parallel()
	var host, sni, authorization string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, authorization = r.Host, r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{}`))
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		sni = h.ServerName
		return nil, nil
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	trusting, ok := server.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the client has another transport")
	}
	transport := trusting.Clone() // trusts a certificate for example.com and 127.0.0.1
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address.Host)
	}
	client := &http.Client{Transport: transport}
	t.Cleanup(client.CloseIdleConnections)
	for _, tt := range []struct{ hostName, endpoint, host, sni string }{
		{"hub.example", "example.com:" + address.Port(), "hub.example", "example.com"},
		{"example.com", "example.com:" + address.Port(), "example.com:" + address.Port(), "example.com"},
		{"Example.COM", "example.com", "example.com", "example.com"},
		{"example.com", "", "example.com", "example.com"},
		{"hub.example", "127.0.0.1:" + address.Port(), "hub.example", ""},
	} {
		pool := iothub.NewPool(iothub.Options{Client: client, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		link := someLink
		link.HostName = dps.HostName(tt.hostName)
		link.Access = &dps.HubAccess{Endpoint: tt.endpoint, KeyName: "policy", Key: dps.NewSecret(hubKey)}
		if _, err := pool.Hub(link).Twin(t.Context(), "dev-1"); err != nil {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		token, err := sas.Parse(authorization)
		if err != nil || !token.Verify(hubKey) || token.Resource != tt.hostName || token.KeyName != "policy" {
			t.Errorf("%+v: token %+v, %v", tt, token, err)
		}
		if host != tt.host || sni != tt.sni {
			t.Errorf("%+v: host %q, SNI %q", tt, host, sni)
		}
		client.CloseIdleConnections() // so that the next one shakes hands
	}
	// A certificate for another name than the endpoint's is refused, whatever the hub's.
	link := someLink
	link.HostName = "example.com"
	link.Access = &dps.HubAccess{Endpoint: "other.test", KeyName: "p", Key: dps.NewSecret(hubKey)}
	pool := iothub.NewPool(iothub.Options{Client: client, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if _, err := pool.Hub(link).Twin(t.Context(), "dev-1"); !strings.Contains(dps.MessageOf(err), "its certificate is not for other.test") {
		t.Errorf("another name: %v", err)
	}
}

// A token is used until a quarter of an hour before its end, and made anew when the
// clock was set back.
func TestTokens(t *testing.T) {
	t.Parallel()
	clock := now
	tokens := make(map[string]time.Time) // with when it was first seen
	client := poolOf(trip(func(r *http.Request) (*http.Response, error) {
		text := r.Header.Get("Authorization")
		token, err := sas.Parse(text)
		if left := token.Expiry.Sub(clock); err != nil || left < 15*time.Minute || left > time.Hour {
			t.Errorf("token %v with %v left", err, left)
		}
		if _, again := tokens[text]; !again {
			tokens[text] = clock
		}
		return says(200, nil, `{}`)(r)
	}), func(o *iothub.Options) { o.Now = func() time.Time { return clock } }).Hub(someLink)
	for range 180 {
		if _, err := client.Twin(t.Context(), "dev-1"); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Minute)
	}
	if len(tokens) != 4 {
		t.Errorf("%d tokens in three hours", len(tokens))
	}
	clock = clock.Add(-24 * time.Hour)
	if _, err := client.Twin(t.Context(), "dev-1"); err != nil {
		t.Fatal(err)
	}
}

// However it fails, no key and no token is in what leaves the adapter.
func TestNoSecretsLeave(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log bytes.Buffer
	logged := func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return log.Write(p) }
	var said strings.Builder
	p := put("a")
	p.Authentication = dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: dps.NewKeyPair()}
	for _, kind := range fakehub.Kinds() {
		f := newFake(t, fakehub.Options{})
		pool := f.pool(t, func(o *iothub.Options) {
			o.Timeout = 100 * time.Millisecond
			o.Log = slog.New(slog.NewTextHandler(writer(logged), &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		f.SetFaults(fakehub.Fault{Kind: kind, DelayMS: 10})
		_, err := pool.Hub(f.link()).Put(t.Context(), p)
		checkErr := pool.Check(t.Context(), f.link())
		fmt.Fprintf(&said, "%v %s %v %+v\n", err, dps.MessageOf(err), checkErr, pool.Hub(f.link()).Health())
	}
	all := said.String() + log.String()
	for _, secret := range []string{
		string(hubKey), base64.StdEncoding.EncodeToString(hubKey),
		p.Authentication.Keys.Primary.Base64(), p.Authentication.Keys.Secondary.Base64(), "sig=",
	} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in\n%s", secret, all)
		}
	}
	if !strings.Contains(log.String(), "called a hub") {
		t.Error("nothing was logged")
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
