package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// world is one service with the certificates of one test.
type world struct {
	certificates
	facts

	t     *testing.T
	data  string   // data directory
	flags []string // of mooring serve, beside the usual ones
	stop  func()   // ends the service and waits for it
	info  wire.Info
	addr  string // of the https listener
	roots *x509.CertPool
	log   *logBuffer

	mu      sync.Mutex
	clients map[string]*http.Client // by the names of the certificates that they show
}

// newWorld starts a service with an empty data directory, which ends with the test.
func newWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	w := &world{t: t, flags: flags, certificates: make(certificates), log: &logBuffer{}, clients: make(map[string]*http.Client)}
	w.facts = facts{remembered: make(map[string]string), look: w.certificates.fact}
	w.data = filepath.Join(t.TempDir(), "data")
	w.serve()
	t.Cleanup(func() { w.stop() })
	ca, err := os.ReadFile(w.info.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM(ca)
	w.remembered["scope"], w.remembered["host"] = w.info.IDScope, w.info.ServiceEndpoint
	w.remembered["instance"] = w.info.ControlPlane.ResourceID
	return w
}

func (w *world) serve() {
	w.t.Helper()
	c := loadConfig(
		w.t,
		append([]string{"--data", w.data, "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--portal", "off"}, w.flags...)...)
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := app.New(w.t.Context(), app.Options{Config: c, Version: "test", Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.info, err = a.Info(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	w.addr = w.info.Listeners["https"]
	w.stop = func() {
		for _, c := range w.clients {
			c.CloseIdleConnections()
		}
		stop()
		if err := <-ended; err != nil {
			w.t.Errorf("the service ended with: %v", err)
		}
	}
}

// restart ends the service and starts it anew on the same data directory.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.serve()
}

func loadConfig(t *testing.T, args ...string) config.Config {
	t.Helper()
	fs := pflag.NewFlagSet("wire", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(fs, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client returns a client that shows the named certificates, leaf first.
func (w *world) client(names ...string) *http.Client {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	key := strings.Join(names, " ")
	if c, ok := w.clients[key]; ok {
		return c
	}
	shown := w.show(w.t, names)
	if shown == nil {
		shown = &tls.Certificate{}
	}
	c := &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", w.addr)
			},
			TLSClientConfig: &tls.Config{
				RootCAs: w.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil },
			},
		},
	}
	w.clients[key] = c
	return c
}

// call is one HTTP request.
type call struct {
	method, path string // the path with its query
	header       http.Header
	body         io.Reader
	with         []string // names of certificates to show
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request as it is.
func (w *world) do(t *testing.T, c call) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+w.info.ServiceEndpoint+c.path, c.body)
	if err != nil {
		t.Fatal(err)
	}
	if c.header != nil {
		req.Header = c.header
	}
	res, err := w.client(c.with...).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: res.StatusCode, header: res.Header, body: string(text)}
}

// send sends a request with the token and the api-version that its path asks for.
func (w *world) send(t *testing.T, method, path, body string, with ...string) reply {
	t.Helper()
	h := http.Header{}
	if token := w.token(path); token != "" {
		h.Set("Authorization", token)
	}
	return w.do(t, call{method: method, path: withVersion(path), header: h, body: strings.NewReader(body), with: with})
}

// must is send for requests that a test needs and is not about.
func (w *world) must(t *testing.T, method, path, body string, with ...string) map[string]any {
	t.Helper()
	r := w.send(t, method, path, body, with...)
	if r.status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	out := map[string]any{}
	if r.body != "" {
		if err := json.Unmarshal([]byte(r.body), &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// withVersion adds the api-version of the API that a path belongs to.
func withVersion(path string) string {
	if bare, ok := strings.CutSuffix(path, "?"); ok {
		return bare
	}
	if strings.Contains(path, "?") {
		return path
	}
	version := "2021-10-01"
	switch api(path) {
	case "control":
		version = wire.ARMVersion
	case "hub":
		version = wire.HubAPIVersion
	case "device":
		version = "2019-03-31"
	}
	return path + "?api-version=" + version
}

// api tells the API of a path.
func api(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	first, _, _ = strings.Cut(first, "?")
	switch strings.ToLower(first) {
	case "enrollments", "enrollmentgroups", "registrations", wire.MooringPrefix:
		return "service"
	case "subscriptions", "providers":
		return "control"
	case "devices", "twins", "statistics", "configurations", "jobs", "digitaltwins", "messages":
		return "hub"
	default:
		return "device"
	}
}

// token returns a good Authorization for a path.
func (w *world) token(path string) string {
	switch api(path) {
	case "service":
		c := parseConnection(w.t, w.info.ConnectionStrings["provisioningserviceowner"])
		return c.sign(time.Now().Add(time.Hour))
	case "control":
		return "Bearer " + w.info.ControlPlane.Token
	case "hub":
		c := parseConnection(w.t, w.info.Hubs[0].ConnectionStrings["iothubowner"])
		return c.sign(time.Now().Add(time.Hour))
	default:
		return ""
	}
}

// connection is a connection string, taken apart.
type connection struct {
	host, policy string
	key          []byte
}

func parseConnection(t *testing.T, text string) connection {
	t.Helper()
	var c connection
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "HostName":
			c.host = value
		case "SharedAccessKeyName":
			c.policy = value
		case "SharedAccessKey":
			key, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				t.Fatal(err)
			}
			c.key = key
		}
	}
	return c
}

func (c connection) sign(expiry time.Time) string { return sas.Sign(c.host, c.policy, c.key, expiry) }

// logBuffer keeps what the service logs, as lines of JSON.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// about returns the lines that hold text and are not the line of every request.
func (l *logBuffer) about(text string) []string {
	var found []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) && !strings.Contains(line, `"msg":"request"`) {
			found = append(found, line)
		}
	}
	return found
}
