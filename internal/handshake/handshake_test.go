package handshake_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/handshake"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/pki/oddcert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// record keeps refusals.
type record struct {
	mu  sync.Mutex
	all []dps.Refusal
	got chan dps.Refusal
}

func (r *record) Refused(refusal dps.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, refusal)
	select {
	case r.got <- refusal:
	default:
	}
}

// world is a watcher with what it recorded and logged.
type world struct {
	*handshake.Watcher
	record *record
	log    *bytes.Buffer // read it when nothing runs
	server *tls.Config
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{record: &record{got: make(chan dps.Refusal, 100)}, log: new(bytes.Buffer)}
	w.Watcher = handshake.New(handshake.Options{
		Refusals: w.record, Instance: dps.DefaultInstance, Now: time.Now, Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	own, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: "localhost"})
	must(t, err)
	w.server = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own.TLSCertificate()}, ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"http/1.1"}, GetConfigForClient: w.Hello,
	}
	return w
}

// meet lets a client meet the server over TCP and returns what was recorded, nil if
// nothing was.
func (w *world) meet(t testing.TB, client func(c net.Conn)) *dps.Refusal {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	var clients sync.WaitGroup
	clients.Go(func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		client(c)
	})
	raw, err := w.Listener(l, dps.MQTT).Accept()
	must(t, err)
	c := tls.Server(raw, w.server)
	must(t, c.SetDeadline(time.Now().Add(patience)))
	err = c.HandshakeContext(t.Context())
	w.Ended(c, err)
	w.Ended(c, errors.New("a second end counts for nothing"))
	_ = c.Close()
	clients.Wait()
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	if len(w.record.all) == 0 {
		return nil
	}
	last := w.record.all[len(w.record.all)-1]
	return &last
}

// shake returns a client that shakes hands with a configuration.
func shake(edit func(*tls.Config)) func(net.Conn) {
	return func(c net.Conn) {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "device.example"} //nolint:gosec // the server is not what is tested
		edit(config)
		secure := tls.Client(c, config)
		if secure.Handshake() == nil {
			_, _ = io.Copy(io.Discard, secure)
		}
	}
}

// presenting returns a client with a certificate of any bytes.
func presenting(version uint16, key crypto.PrivateKey, chain ...[]byte) func(net.Conn) {
	return shake(func(config *tls.Config) {
		config.MaxVersion = version
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: chain, PrivateKey: key}, nil
		}
	})
}

func device(t testing.TB) *pki.Issued {
	t.Helper()
	issued, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: "sensor-7"})
	must(t, err)
	return issued
}

func send(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

// brainpool returns a client that offers brainpoolP256r1 as its only group.
func brainpool(version uint16) func(net.Conn) {
	return func(c net.Conn) {
		shake(func(config *tls.Config) {
			config.MaxVersion, config.CurvePreferences = version, []tls.CurveID{tls.CurveP256}
		})(&rewriting{c, 10, []byte{0, 26}})
	}
}

// sha1Only is a client whose only signature algorithm is ECDSA with SHA-1.
func sha1Only(c net.Conn) {
	shake(func(config *tls.Config) { config.MaxVersion = tls.VersionTLS12 })(&rewriting{c, 13, []byte{2, 3}})
}

// rewriting is a client's connection that offers one value alone in the list of an
// extension of its ClientHello.
type rewriting struct {
	net.Conn
	extension byte
	value     []byte
}

func (c *rewriting) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	for i := range max(0, len(p)-6) {
		outer, inner := binary.BigEndian.Uint16(p[i+2:]), int(binary.BigEndian.Uint16(p[i+4:]))
		if p[i] != 0 || p[i+1] != c.extension || int(outer) != inner+2 || inner == 0 || i+6+inner > len(p) {
			continue
		}
		copy(p[i+6:], bytes.Repeat(c.value, inner/len(c.value)))
		break
	}
	return c.Conn.Write(p)
}

func TestReasons(t *testing.T) {
	leaf, other := device(t), device(t)
	for _, tt := range []struct {
		name         string
		server       func(*tls.Config)
		client       func(net.Conn)
		reason       dps.Reason
		id, contains string
	}{
		{
			"TLS 1.0", nil, shake(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }), dps.ReasonTLSVersion,
			"", "versions",
		},
		{"suite", nil, shake(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA256}
		}), dps.ReasonTLSCipherSuite, "", "cipher suites"},
		{"group of TLS 1.2", nil, brainpool(tls.VersionTLS12), dps.ReasonTLSGroup, "", "elliptic curve"},
		{"brainpool in TLS 1.3", nil, brainpool(tls.VersionTLS13), dps.ReasonTLSGroup, "", "key exchanges"},
		{"group of TLS 1.3", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} }, shake(func(c *tls.Config) {
			c.CurvePreferences = []tls.CurveID{tls.CurveP256}
		}), dps.ReasonTLSGroup, "", "key exchanges"},
		{"SHA-1 only", nil, sha1Only, dps.ReasonTLSSignatureAlgorithm, "", "signature algorithms"},
		{"application protocol", nil, shake(func(c *tls.Config) { c.NextProtos = []string{"h2"} }), dps.ReasonTLSProtocol, "", `"h2"`},
		{
			"server is not trusted", nil, shake(func(c *tls.Config) { c.InsecureSkipVerify, c.RootCAs = false, x509.NewCertPool() }),
			dps.ReasonServerRejected, "", "bad_certificate",
		},
		{"MQTT", nil, send("\x10\x20\x00\x04MQTT\x04\x02"), dps.ReasonNotTLS, "", "MQTT"},
		{"HTTP", nil, send("GET / HTTP/1.1\r\n\r\n"), dps.ReasonNotTLS, "", "HTTP"},
		{"SSH", nil, send("SSH-2.0-OpenSSH_9.9\r\n"), dps.ReasonNotTLS, "", "5353482D32"},
		{
			"wrong key, TLS 1.2", nil, presenting(tls.VersionTLS12, other.Key, leaf.Certificate.Raw), dps.ReasonClientKeyMismatch, "sensor-7",
			"invalid signature",
		},
		{
			"wrong key, TLS 1.3", nil, presenting(tls.VersionTLS13, other.Key, leaf.Certificate.Raw), dps.ReasonClientKeyMismatch, "sensor-7",
			"invalid signature",
		},
		{"no certificate at all", nil, presenting(tls.VersionTLS12, leaf.Key, []byte("certificate")), dps.ReasonCertificateUnreadable, "", ""},
		{"closes in the middle", nil, func(c net.Conn) {
			secure := tls.Client(&closing{Conn: c}, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the server is not what is tested
			_ = secure.Handshake()
		}, dps.ReasonHandshakeAborted, "", "closed the connection"},
		{"broken record", nil, func(c net.Conn) {
			_, _ = c.Write(append([]byte{22, 3, 1, 0, 8, 1, 0, 0, 4}, "oops"...))
			_, _ = io.Copy(io.Discard, c)
		}, dps.ReasonHandshakeInvalid, "", "error decoding message"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.server != nil {
				tt.server(w.server)
			}
			got := w.meet(t, tt.client)
			if got == nil {
				t.Fatal("nothing is recorded")
			}
			d := got.Decision
			if d.Reason != tt.reason || string(got.ID) != tt.id || len(d.Checks) != 1 || !strings.Contains(d.Checks[0].Detail, tt.contains) {
				t.Errorf("%s of %q: %+v", d.Reason, got.ID, d.Checks)
			}
			if d.Remedy == "" || d.Answer == "" || got.TrackingID == "" || !strings.HasPrefix(got.Remote, "127.0.0.1:") ||
				got.Transport != dps.MQTT {
				t.Errorf("incomplete: %+v", got)
			}
			if tt.name == "HTTP" && !strings.Contains(d.Remedy, "the HTTPS port") { // this one is for MQTT
				t.Errorf("remedy = %q", d.Remedy)
			}
			if tt.name == "broken record" && d.Answer != "TLS alert decode_error" {
				t.Errorf("answer = %q", d.Answer)
			}
			if log := w.log.String(); strings.Count(log, "TLS handshake failed") != 1 || !strings.Contains(log, string(tt.reason)) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// closing is a client's connection that ends when the server has answered.
type closing struct{ net.Conn }

func (c *closing) Read([]byte) (int, error) { return 0, errors.Join(io.EOF, c.Close()) }

// What the client offered is recorded; what it was is not.
func TestClientHello(t *testing.T) {
	w := newWorld(t)
	got := w.meet(t, shake(func(c *tls.Config) {
		c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS12
		c.CipherSuites, c.NextProtos = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA256}, []string{"mqtt"}
		c.CurvePreferences = []tls.CurveID{tls.CurveP521}
	}))
	h := got.Evidence.Hello
	if h == nil || h.ServerName != "device.example" || strings.Join(h.Versions, " ") != "TLS 1.2 TLS 1.1" ||
		strings.Join(h.Protocols, " ") != "mqtt" ||
		strings.Join(h.Groups, " ") != "P-521" || len(h.SignatureSchemes) == 0 ||
		!strings.Contains(strings.Join(h.CipherSuites, " "), "TLS_RSA_WITH_AES_128_CBC_SHA256") {
		t.Errorf("ClientHello = %+v", h)
	}
}

// Nothing is recorded of those who never began, and of those who succeed.
func TestNotRecorded(t *testing.T) {
	leaf := device(t)
	for name, client := range map[string]func(net.Conn){
		"port scan":       func(net.Conn) {},
		"half a record":   func(c net.Conn) { _, _ = c.Write([]byte{22, 3, 1}) },
		"no certificate":  leaving(nil, tls.VersionTLS13),
		"TLS 1.3":         leaving(leaf, tls.VersionTLS13),
		"TLS 1.2":         leaving(leaf, tls.VersionTLS12),
		"other SNI, ALPN": leaving(leaf, tls.VersionTLS12, "h2", "http/1.1"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if got := w.meet(t, client); got != nil {
				t.Errorf("recorded %+v", got)
			}
			if w.log.Len() > 0 {
				t.Errorf("logged %s", w.log)
			}
		})
	}
}

// leaving returns a client that shakes hands and leaves.
func leaving(leaf *pki.Issued, version uint16, protocols ...string) func(net.Conn) {
	return func(c net.Conn) {
		config := &tls.Config{ //nolint:gosec // the server is not what is tested
			InsecureSkipVerify: true, MaxVersion: version, NextProtos: protocols,
		}
		if leaf != nil {
			config.Certificates = []tls.Certificate{leaf.TLSCertificate()}
		}
		secure := tls.Client(c, config)
		_ = secure.Handshake()
		_ = secure.Close()
	}
}

// Certificates of the field: what crypto/x509 cannot parse is explained, before TLS 1.3
// with the name of the device.
func TestOddCertificates(t *testing.T) {
	for kind, want := range map[oddcert.Kind]struct{ detail, remedy string }{
		oddcert.NegativeSerial:     {},
		oddcert.UnderscoreName:     {"PrintableString", "UTF8String"},
		oddcert.Latin1Name:         {"PrintableString", "UTF8String"},
		oddcert.UniversalName:      {"UniversalString", "UTF8String"},
		oddcert.TimeFraction:       {"fractions of a second", "without fractions"},
		oddcert.ExplicitParameters: {"explicit parameters", "named curve"},
		oddcert.SpaceInURI:         {"space", "percent-encoded"},
		oddcert.AddressAsText:      {"as text", "binary form"},
		oddcert.TwoAlgorithms:      {"differs", "two different"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(string(kind)+" "+tls.VersionName(version), func(t *testing.T) {
				der, key, err := oddcert.Make(kind, "sensor_7")
				must(t, err)
				w := newWorld(t)
				if want.detail == "" {
					w.accepted(t, version, key, der)
					return
				}
				got := w.meet(t, presenting(version, key, der))
				if got == nil {
					t.Fatal("nothing is recorded")
				}
				d := got.Decision
				if d.Reason != dps.ReasonCertificateUnreadable || !strings.Contains(d.Checks[0].Detail, want.detail) ||
					!strings.Contains(d.Remedy, want.remedy) {
					t.Errorf("%s: %+v, remedy %q", d.Reason, d.Checks, d.Remedy)
				}
				if version == tls.VersionTLS13 {
					return // the certificate came encrypted
				}
				if got.ID != "sensor_7" || got.Evidence.Presented != 1 || !strings.Contains(got.Evidence.Chain[0].Subject, "CN=sensor_7") ||
					got.Evidence.Chain[0].SHA1 != dps.SHA1Thumbprint(der) || got.Attestation != dps.X509 {
					t.Errorf("of %q: %+v", got.ID, got.Evidence)
				}
			})
		}
	}
}

// accepted fails the test unless a client with a certificate is let in.
func (w *world) accepted(t *testing.T, version uint16, key crypto.PrivateKey, der []byte) {
	t.Helper()
	got := w.meet(t, func(c net.Conn) {
		secure := tls.Client(c, &tls.Config{ //nolint:gosec // the server is not what is tested
			InsecureSkipVerify: true, MaxVersion: version,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
			},
		})
		if err := secure.Handshake(); err != nil {
			t.Error(err)
		}
		_ = secure.Close()
	})
	if got != nil {
		t.Errorf("recorded %+v", got)
	}
}

// The HTTP server shakes hands itself; its hook records the same.
func TestHTTPServer(t *testing.T) {
	w := newWorld(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	srv := &http.Server{
		ReadHeaderTimeout: patience, ConnState: w.ConnState, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, r.TLS.PeerCertificates[0].Subject.CommonName)
		}),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(tls.NewListener(w.Listener(l, dps.HTTPS), w.server)) })
	defer serving.Wait()
	defer srv.Close()
	connect := func(client func(net.Conn)) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		must(t, err)
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(patience)))
		client(c)
	}
	connect(func(net.Conn) {})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ //nolint:gosec // the server is not what is tested
		InsecureSkipVerify: true, Certificates: []tls.Certificate{device(t).TLSCertificate()},
	}}}
	res, err := client.Get("https://" + l.Addr().String())
	must(t, err)
	text, err := io.ReadAll(res.Body)
	if must(t, errors.Join(err, res.Body.Close())); string(text) != "sensor-7" {
		t.Errorf("answer %q", text)
	}
	client.CloseIdleConnections()
	connect(send("GET / HTTP/1.1\r\n\r\n"))
	first := w.next(t)
	connect(shake(func(c *tls.Config) { c.NextProtos = []string{"h2"} }))
	second := w.next(t)
	if first.Decision.Reason != dps.ReasonNotTLS || second.Decision.Reason != dps.ReasonTLSProtocol || second.Transport != dps.HTTPS {
		t.Errorf("recorded %+v and %+v", first, second)
	}
	if len(w.record.got) > 0 {
		t.Errorf("recorded more: %+v", <-w.record.got)
	}
}

// next waits for the next refusal.
func (w *world) next(t *testing.T) dps.Refusal {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case r := <-w.record.got:
		return r
	case <-ctx.Done():
		t.Fatal("nothing is recorded")
		return dps.Refusal{}
	}
}

// A flood is recorded in full, and the log has a few lines of it that say how many there
// are none of.
func TestFloodInLog(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.Watcher = handshake.New(handshake.Options{
		Refusals: w.record, Instance: dps.DefaultInstance, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	for range 60 {
		w.meet(t, send("SSH-2.0-OpenSSH_9.9\r\n"))
	}
	now = now.Add(time.Minute)
	w.meet(t, send("SSH-2.0-OpenSSH_9.9\r\n"))
	n, text := strings.Count(w.log.String(), "TLS handshake failed"), w.log.String()
	if n != 51 || len(w.record.all) != 61 || !strings.Contains(text, "notLogged=10") {
		t.Errorf("%d lines, %d refusals:\n%.300s", n, len(w.record.all), text)
	}
}
