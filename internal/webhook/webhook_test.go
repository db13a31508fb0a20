package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// function is an operator's function over TLS, which counts its connections.
type function struct {
	*httptest.Server
	mu         sync.Mutex
	open, made int
	changed    chan struct{} // one more for each change
}

func newFunction(t *testing.T, h http.HandlerFunc) *function {
	t.Helper()
	f := &function{Server: httptest.NewUnstartedServer(h), changed: make(chan struct{}, 1000)}
	f.Config.ConnState = f.count
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *function) count(_ net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch state {
	case http.StateNew:
		f.open++
		f.made++
	case http.StateClosed, http.StateHijacked:
		f.open--
	}
	f.changed <- struct{}{}
}

// none waits until no connection is open.
func (f *function) none(t *testing.T) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		f.mu.Lock()
		open := f.open
		f.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-f.changed:
		case <-late:
			t.Fatalf("%d connections stay open", open)
		}
	}
}

func (f *function) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made
}

// client returns a client that trusts the function and may call this machine.
func (f *function) client(t *testing.T, timeout time.Duration) *webhook.Client {
	t.Helper()
	trust := x509.NewCertPool()
	trust.AddCert(f.Certificate())
	c := webhook.New(
		webhook.Options{
			TLS:     &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12},
			Rules:   dps.WebhookRules{Loopback: true},
			Timeout: timeout,
		},
	)
	t.Cleanup(c.Close)
	return c
}

// question asks for a device between two hubs.
func question(webhookURL string) register.WebhookQuestion {
	return register.WebhookQuestion{
		Enrollment: dps.Enrollment{
			Ref: dps.EntryRef{Kind: dps.Group, ID: "line-7"}, Attestation: dps.Attestation{Type: dps.SymmetricKey},
			Placement: dps.Placement{Policy: dps.Custom, Custom: &dps.CustomAllocation{WebhookURL: webhookURL, APIVersion: "2021-10-01"}},
		},
		ID: "dev-7", Attestation: dps.SymmetricKey, LinkedHubs: []dps.HostName{"hub-a.example", "Hub-B.example"},
	}
}

// write answers with a status and a body.
func write(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const broken = "Custom allocation failed: the connection to the webhook failed."

func TestOutcomes(t *testing.T) {
	long := `{"iotHubHostName": "hub-a.example", "payload": {"a": "` + strings.Repeat("x", 60<<10) + `"}}`
	tests := []struct {
		name    string
		handle  http.HandlerFunc
		want    register.WebhookAnswer // where there is no message
		code    dps.Code
		message string
		again   bool
	}{
		{name: "assigned", handle: write(200, `{"iotHubHostName": "hub-b.EXAMPLE"}`), want: register.WebhookAnswer{Hub: "Hub-B.example"}},
		{
			name: "payload", handle: write(200, `{"iotHubHostName": "hub-a.example", "payload": { "a": [1, null] }, "initialTwin": null}`),
			want: register.WebhookAnswer{Hub: "hub-a.example", Payload: json.RawMessage(`{"a":[1,null]}`)},
		},
		{
			name:   "twin, members in another case",
			handle: write(200, `{"IoTHubHostname": "hub-a.example", "InitialTwin": {"tags": {"site": "k1"}}, "PAYLOAD": null, "more": 1}`),
			want:   register.WebhookAnswer{Hub: "hub-a.example", Twin: json.RawMessage(`{"tags":{"site":"k1"}}`)},
		},
		{
			name: "another media type, a byte order mark", want: register.WebhookAnswer{Hub: "hub-a.example"},
			handle: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain; charset=utf-16")
				_, _ = io.WriteString(w, "\xef\xbb\xbf{\"iotHubHostName\": \"hub-a.example\"}\r\n")
			},
		},
		{name: "a long payload", handle: write(200, long), want: register.WebhookAnswer{Hub: "hub-a.example", Payload: json.RawMessage(`{"a":"` + strings.Repeat("x", 60<<10) + `"}`)}},
		{name: "no hub", handle: write(200, `{"payload": {}}`), code: dps.CustomAllocationNoHub, message: "Custom allocation failed: the webhook did not name an IoT hub."},
		{name: "null", handle: write(200, `{"iotHubHostName": null}`), code: dps.CustomAllocationNoHub, message: "Custom allocation failed: the webhook did not name an IoT hub."},
		{name: "hub not in the list", handle: write(200, `{"iotHubHostName": "hub-c.example"}`), code: dps.CustomAllocationFailed, message: `iotHubHostName: "hub-c.example" is not one of linkedHubs`},
		{name: "empty answer", handle: write(200, ""), code: dps.CustomAllocationFailed, message: "is empty"},
		{name: "no JSON", handle: write(200, "ok"), code: dps.CustomAllocationFailed, message: "is not JSON"},
		{name: "an array", handle: write(200, "[]"), code: dps.CustomAllocationFailed, message: "must be a JSON object"},
		{name: "hub of another type", handle: write(200, `{"iotHubHostName": 7}`), code: dps.CustomAllocationFailed, message: "iotHubHostName: must be a string"},
		{name: "a twin that no hub takes", handle: write(200, `{"iotHubHostName": "hub-a.example", "initialTwin": {"tags": {"a.b": 1}}}`), code: dps.CustomAllocationFailed, message: "initialTwin.tags: has a member name"},
		{name: "payload that is no object", handle: write(200, `{"iotHubHostName": "hub-a.example", "payload": "text"}`), code: dps.CustomAllocationFailed, message: "payload: must be an object"},
		{name: "payload too long for a device", handle: write(200, strings.ReplaceAll(long, "xxx", "<xx")), code: dps.CustomAllocationFailed, message: "payload: is "},
		{name: "huge answer", handle: write(200, `{"a": "`+strings.Repeat("x", 1<<20)+`"}`), code: dps.CustomAllocationFailed, message: "Custom allocation failed: the webhook's answer is larger than 98304 bytes."},
		{name: "other 2xx", handle: write(202, `{"iotHubHostName": "hub-a.example"}`), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 202"},
		{name: "400", handle: write(400, ""), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 400"},
		{name: "401", handle: write(401, "no"), code: dps.CustomAllocationUnauthorized, message: "Custom allocation failed with status code: 401"},
		{name: "403", handle: write(403, ""), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 403"},
		{name: "404", handle: write(404, ""), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 404"},
		{name: "428", handle: write(428, ""), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 428"},
		{name: "429", handle: write(429, ""), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 429", again: true},
		{name: "500", handle: write(500, strings.Repeat("x", 1<<20)), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 500", again: true},
		{name: "503", handle: write(503, ""), code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 503", again: true},
		{
			name: "redirect", code: dps.CustomAllocationFailed, message: "Custom allocation failed with status code: 307",
			handle: func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					write(200, `{"iotHubHostName": "hub-a.example"}`)(w, r)
					return
				}
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			},
		},
		{name: "reset before the answer", handle: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, code: dps.CustomAllocationFailed, message: broken, again: true},
		{
			name: "reset in the answer", code: dps.CustomAllocationFailed, message: broken, again: true,
			handle: func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"iotHubHostName": "hub-a.exa`)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
		},
		{name: "endless header", handle: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 100<<10))
		}, code: dps.CustomAllocationFailed, message: broken, again: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFunction(t, tt.handle)
			c := f.client(t, time.Minute)
			got, err := c.Ask(t.Context(), question(f.URL))
			check(t, got, err, tt.want, tt.code, tt.message, tt.again)
			c.Close()
			f.none(t)
		})
	}
}

func check(t *testing.T, got register.WebhookAnswer, err error, want register.WebhookAnswer, code dps.Code, message string, again bool) {
	t.Helper()
	if message == "" {
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Ask: %v (-want +got):\n%s", err, diff)
		}
		return
	}
	if dps.CodeOf(err) != code || !strings.Contains(dps.MessageOf(err), message) {
		t.Errorf("Ask = %+v, %v; want %v with %q", got, err, code, message)
	}
	if _, may := dps.MayRepeat(err); may != again {
		t.Errorf("may be repeated: %v, want %v", may, again)
	}
}

// A function that says nothing, or a byte now and then, is left when its time is over.
func TestSlowFunctions(t *testing.T) {
	const late = "Custom allocation failed: the webhook timed out."
	for name, handle := range map[string]func(w http.ResponseWriter, r *http.Request){
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"trickle": func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-r.Context().Done():
					return
				case <-tick.C:
					_, _ = io.WriteString(w, " ")
					_ = http.NewResponseController(w).Flush()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFunction(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the client leave
				handle(w, r)
			})
			c := f.client(t, 100*time.Millisecond)
			got, err := c.Ask(t.Context(), question(f.URL))
			check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, late, true)
			f.none(t)
		})
	}
	t.Run("the caller leaves", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFunction(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		})
		got, err := f.client(t, time.Minute).Ask(ctx, question(f.URL))
		check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, broken, true)
		f.none(t)
	})
}

// What is called often is called over the same connection.
func TestConnectionsAreUsedAgain(t *testing.T) {
	f := newFunction(t, write(200, `{"iotHubHostName": "hub-a.example"}`))
	c := f.client(t, time.Minute)
	for range 20 {
		if _, err := c.Ask(t.Context(), question(f.URL)); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.connections(); n != 1 {
		t.Errorf("%d connections for 20 calls one after the other", n)
	}
	c.Close()
	f.none(t)
}

// Many at once leave nothing behind, whatever comes of them.
func TestManyAtOnce(t *testing.T) {
	var n sync.Map
	f := newFunction(t, func(w http.ResponseWriter, r *http.Request) {
		n.Store(r.URL.Query().Get("n"), true)
		switch r.URL.Query().Get("n")[0] % 3 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			write(500, strings.Repeat("x", 200<<10))(w, r)
		default:
			write(200, `{"iotHubHostName": "hub-a.example"}`)(w, r)
		}
	})
	c := f.client(t, time.Minute)
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() { _, _ = c.Ask(t.Context(), question(f.URL+"/?n="+fmt.Sprint(i))) })
	}
	all.Wait()
	c.Close()
	f.none(t)
	count := 0
	n.Range(func(any, any) bool { count++; return true })
	if count != 60 {
		t.Errorf("%d of 60 calls arrived", count)
	}
}

func TestForbiddenWebhooks(t *testing.T) {
	f := newFunction(t, func(http.ResponseWriter, *http.Request) { t.Error("it was called") })
	for url, message := range map[string]string{
		f.URL: "the webhook is not allowed: customAllocationDefinition.webhookUrl: must not lead to this machine",
		strings.Replace(f.URL, "127.0.0.1", "localhost", 1): "must not lead to this machine",
		"http://f.example": "must be https",
	} {
		c := webhook.New(webhook.Options{})
		got, err := c.Ask(t.Context(), question(url))
		check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, message, false)
		c.Close()
	}
}

// The address that a name leads to when it is called decides, whatever it led to before.
func TestForbiddenAddresses(t *testing.T) {
	f := newFunction(t, func(http.ResponseWriter, *http.Request) { t.Error("it was called") })
	_, port, err := net.SplitHostPort(f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for address, rules := range map[[4]byte]dps.WebhookRules{
		{127, 0, 0, 1}: {LinkLocal: true, HTTP: true}, {169, 254, 169, 254}: {Loopback: true, HTTP: true}, {0, 0, 0, 0}: {LinkLocal: true},
	} {
		resolveAllTo(t, address)
		c := webhook.New(webhook.Options{Rules: rules})
		got, err := c.Ask(t.Context(), question("https://fn.example:"+port))
		check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, "resolves to an address that is not allowed", false)
		c.Close()
	}
	resolveAllTo(t, [4]byte{127, 0, 0, 1})
	c := webhook.New(webhook.Options{Rules: dps.WebhookRules{Loopback: true}})
	defer c.Close()
	got, err := c.Ask(t.Context(), question("https://fn.example:"+port)) // it is reached, and shows no certificate for that name
	check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, broken, true)
}

// resolveAllTo makes every host name lead to one IPv4 address until the test ends.
func resolveAllTo(t *testing.T, address [4]byte) {
	t.Helper()
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go answerNames(server, address)
		return client, nil
	}}
}

// answerNames answers DNS questions until the other side leaves: those for addresses of
// IPv4 with address, others with nothing. It speaks the form for streams, which Go uses
// for whatever is no packet connection.
// Source: RFC 1035, sections 4.1 and 4.2.2.
func answerNames(c net.Conn, address [4]byte) {
	defer c.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		message := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, message); err != nil {
			return
		}
		end := 12 + bytes.IndexByte(message[12:], 0) + 1 + 4 // header, name, type and class
		answer := append([]byte{message[0], message[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, message[12:end]...)
		if binary.BigEndian.Uint16(message[end-4:]) == 1 { // A
			answer[7] = 1
			answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, address[0], address[1], address[2], address[3])
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// A function that cannot be reached may be there later; what is said of it does not tell
// the key in its URL.
func TestUnreachable(t *testing.T) {
	f := newFunction(t, nil)
	f.Close()
	got, err := f.client(t, time.Minute).Ask(t.Context(), question(f.URL+"/api?code=secret"))
	check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, broken, true)
	if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error = %v", err)
	}
	untrusted := newFunction(t, write(200, "{}"))
	c := webhook.New(webhook.Options{Rules: dps.WebhookRules{Loopback: true}})
	defer c.Close()
	got, err = c.Ask(t.Context(), question(untrusted.URL+"?code=secret"))
	check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, broken, true)
	if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error = %v", err)
	}
}

func TestNoWebhook(t *testing.T) {
	q := question("")
	q.Enrollment.Placement.Custom = nil
	c := webhook.New(webhook.Options{})
	got, err := c.Ask(t.Context(), q)
	check(t, got, err, register.WebhookAnswer{}, dps.CustomAllocationFailed, "has no webhook", false)
}
