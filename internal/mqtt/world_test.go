package mqtt_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/mqtt"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	in       = dps.DefaultInstance
	hostName = dps.HostName("hub.example.com")
	version  = "2019-03-31"
	filter   = "$dps/registrations/res/#"

	patience = 20 * time.Second // for an answer that has to come
)

// world is an endpoint over a registration service with a fresh store, a hub and a
// verified CA. The clock of registration is moved by the test.
type world struct {
	*mqtt.Server
	enroll *enroll.Service
	store  *sqlite.Store
	scope  string
	root   *pki.Issued
	log    *logBuffer
	kept   *kept

	mu  sync.Mutex // guards now
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Now().UTC(), log: &logBuffer{}, kept: &kept{}}
	w.openStore(t)
	setup := dps.Setup{
		Instance:  dps.NewInstance(in, w.now),
		Policy:    dps.Policy{Instance: in, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:       dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: hostName, Weight: 1, ApplyPolicy: true},
		HubPolicy: dps.HubPolicy{Instance: in, Hub: dps.EmbeddedHub, Name: dps.HubOwnerPolicy, Keys: dps.NewKeyPair()},
	}
	must(t, w.store.Create(t.Context(), setup))
	w.scope = string(setup.Instance.Scope)
	w.enroll = enroll.New(w.store, w.clock)
	w.root = issue(t, pki.Request{Kind: pki.Root, CommonName: "Root"})
	verified := true
	_, err := w.enroll.PutCACertificate(t.Context(), in, enroll.Upload{
		Name: "root", Certificate: &dps.Certificate{DER: w.root.Certificate.Raw}, Verified: &verified,
	}, dps.Condition{})
	must(t, err)
	w.Server = w.over(w.store)
	return w
}

// over returns an endpoint like the world's over another store; it is shut down with
// the test.
func (w *world) over(s register.Store) *mqtt.Server {
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return newServer(register.New(register.Options{Store: s, Observer: deaf{}, Decisions: w.kept, Log: log, Now: w.clock}), log)
}

func newServer(s *register.Service, log *slog.Logger) *mqtt.Server {
	return mqtt.New(mqtt.Options{Register: s, Observer: deaf{}, Log: log, Now: time.Now})
}

func (w *world) openStore(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.OpenKey(filepath.Join(dir, "master.key"), true)
	must(t, err)
	w.store, err = sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(dir, "mooring.db"), Key: key, Observer: deaf{}, Log: slog.New(slog.DiscardHandler), Now: w.clock,
	})
	must(t, err)
	t.Cleanup(func() { _ = w.store.Close() })
}

// deaf is every observer, and listens to nothing.
type deaf struct{}

func (deaf) Committed(int, time.Duration, error) {}

func (deaf) Connected(string) func() { return func() {} }

func (deaf) Registered(dps.AttestationType, dps.RegistrationStatus, dps.Reason, time.Duration) {}

// kept is what was recorded of refusals.
type kept struct {
	mu  sync.Mutex // guards all
	all []dps.Refusal
}

func (k *kept) Refused(r dps.Refusal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, r)
}

// take returns what was recorded since the last call.
func (k *kept) take() []dps.Refusal {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.all
	k.all = nil
	return all
}

type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func issue(t testing.TB, r pki.Request) *pki.Issued {
	t.Helper()
	issued, err := pki.Issue(r)
	must(t, err)
	return issued
}

// leaf returns a device certificate under the world's root.
func (w *world) leaf(t *testing.T, id string) *pki.Issued {
	t.Helper()
	return issue(t, pki.Request{Kind: pki.Device, CommonName: id, Issuer: w.root.Issuer()})
}

// group stores the group "line" for the world's root.
func (w *world) group(t *testing.T) {
	t.Helper()
	w.put(t, dps.EntryRef{Kind: dps.Group, ID: "line"}, dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{CAPrimary: "root"}}, nil)
}

// keyed stores an enrollment that attests by keys, and returns these.
func (w *world) keyed(t *testing.T, kind dps.EntryKind, id string, edit func(*dps.Enrollment)) dps.KeyPair {
	t.Helper()
	keys := dps.NewKeyPair()
	w.put(t, dps.EntryRef{Kind: kind, ID: id}, dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys}, edit)
	return keys
}

func (w *world) put(t *testing.T, ref dps.EntryRef, a dps.Attestation, edit func(*dps.Enrollment)) {
	t.Helper()
	d := dps.EnrollmentDraft{Enrollment: dps.Enrollment{Instance: in, Ref: ref, Attestation: a}}
	if edit != nil {
		edit(&d.Enrollment)
	}
	_, err := w.enroll.Put(t.Context(), d, dps.Condition{})
	must(t, err)
}

// token returns what a device that holds key signs for itself.
func (w *world) token(id string, key dps.Secret) string {
	return sas.Sign(w.scope+"/registrations/"+id, "registration", key.Reveal(), w.clock().Add(time.Hour))
}

// username is the user name of a device.
func (w *world) username(id string) string {
	return w.scope + "/registrations/" + id + "/api-version=" + version
}

// hello is the CONNECT of a device; token may be "".
func (w *world) hello(id, token string) *packet.Connect {
	p := &packet.Connect{
		Level: packet.ProtocolLevel, CleanSession: true, KeepAlive: 60, ClientID: id, HasUsername: true, Username: w.username(id),
	}
	if token != "" {
		p.HasPassword, p.Password = true, []byte(token)
	}
	return p
}

// client is a device that says exactly what the test wants.
type client struct {
	net.Conn
	r *packet.Reader
}

func newClient(c net.Conn) *client { return &client{c, packet.NewReader(c, 256<<10)} }

// open connects a client to s, which sees chain as the client's certificates.
func open(t *testing.T, s *mqtt.Server, chain []*x509.Certificate) *client {
	t.Helper()
	c := pipe(t, s, chain)
	must(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// pipe is open without a deadline.
func pipe(t *testing.T, s *mqtt.Server, chain []*x509.Certificate) *client {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(far, chain)
	}()
	t.Cleanup(func() {
		near.Close()
		<-done
	})
	return newClient(near)
}

// device connects a client, which is accepted, and subscribes at qos.
func (w *world) device(t *testing.T, hello *packet.Connect, chain []*x509.Certificate, qos packet.QoS) *client {
	t.Helper()
	c := open(t, w.Server, chain)
	c.accepted(t, hello)
	c.subscribe(t, qos)
	return c
}

func (c *client) accepted(t *testing.T, hello *packet.Connect) {
	t.Helper()
	c.send(t, hello)
	if ack := next[*packet.Connack](t, c); *ack != (packet.Connack{}) {
		t.Fatalf("CONNACK = %+v, want 0 without a session", *ack)
	}
}

func (c *client) subscribe(t *testing.T, qos packet.QoS) {
	t.Helper()
	c.send(t, &packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: filter, QoS: qos}}})
	next[*packet.Suback](t, c)
}

func (c *client) send(t *testing.T, packets ...packet.Packet) {
	t.Helper()
	var b []byte
	for _, p := range packets {
		b = p.Append(b)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatalf("sending %T: %v", packets[0], err)
	}
}

// next returns the next packet, which has to be a P.
func next[P packet.Packet](t *testing.T, c *client) P {
	t.Helper()
	got, err := c.r.Read()
	if err != nil {
		t.Fatalf("waiting for a %T: %v", *new(P), err)
	}
	p, ok := got.(P)
	if !ok {
		t.Fatalf("got %T %+v, want a %T", got, got, *new(P))
	}
	return p
}

// closed fails the test unless the server closes without another packet.
func (c *client) closed(t *testing.T, why string) {
	t.Helper()
	if p, err := c.r.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("%s: got %T, error %v; want a closed connection", why, p, err)
	}
}

// alive fails the test unless the server still answers.
func (c *client) alive(t *testing.T) {
	t.Helper()
	c.send(t, &packet.Pingreq{})
	next[*packet.Pingresp](t, c)
}

// Topics of requests.
func registerTopic(rid string) string { return "$dps/registrations/PUT/iotdps-register/?$rid=" + rid }

func pollTopic(rid, operation string) string {
	return "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=" + rid + "&operationId=" + operation
}

// answer is an answer, taken apart.
type answer struct {
	topic string
	wire.RegistrationOperation
	wire.Error
}

// ask publishes a request at QoS 0 and returns the answer.
func (c *client) ask(t *testing.T, topic, body string) answer {
	t.Helper()
	c.send(t, &packet.Publish{Topic: topic, Payload: []byte(body)})
	return c.answer(t)
}

func (c *client) answer(t *testing.T) answer {
	t.Helper()
	p := next[*packet.Publish](t, c)
	if p.Retain || p.Dup {
		t.Errorf("the answer is retained or a duplicate: %+v", p)
	}
	a := answer{topic: p.Topic}
	must(t, json.Unmarshal(p.Payload, &a.RegistrationOperation))
	must(t, json.Unmarshal(p.Payload, &a.Error))
	return a
}

// registered registers and polls; both have to succeed.
func (c *client) registered(t *testing.T) *wire.RegistrationState {
	t.Helper()
	a := c.ask(t, registerTopic("1"), "")
	if a.topic != "$dps/registrations/res/202/?$rid=1&retry-after=1" || a.Status != "assigning" || a.OperationID == "" {
		t.Fatalf("register: %+v", a)
	}
	b := c.ask(t, pollTopic("2", a.OperationID), "")
	if b.topic != "$dps/registrations/res/200/?$rid=2" || b.OperationID != a.OperationID || b.RegistrationState == nil ||
		b.Status != b.RegistrationState.Status {
		t.Fatalf("poll: %+v", b)
	}
	return b.RegistrationState
}

// refused checks the answer to a registration that is refused.
func (a answer) refused(t *testing.T, status string, code int) {
	t.Helper()
	if !strings.HasPrefix(a.topic, "$dps/registrations/res/"+status+"/?$rid=") || a.ErrorCode != code ||
		a.TrackingID == "" || a.Message == "" || a.TimestampUTC == "" {
		t.Errorf("answer %+v, want res/%s with code %d", a, status, code)
	}
}

// listen serves the endpoint over TLS and returns its address and the client's
// configuration.
func listen(t *testing.T, s *mqtt.Server) (string, *tls.Config) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	server, clients := configs(t)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l, server) }()
	t.Cleanup(func() {
		_ = l.Close()
		must(t, <-ended)
		must(t, s.Shutdown(context.WithoutCancel(t.Context())))
	})
	return l.Addr().String(), clients
}

// configs are both sides' configurations of TLS.
func configs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	own := issue(t, pki.Request{Kind: pki.Device, CommonName: "localhost"})
	server = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own.TLSCertificate()}, ClientAuth: tls.RequestClientCert,
	}
	return server, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // the server is not what is tested
}
