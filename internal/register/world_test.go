package register_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

const (
	in         = dps.DefaultInstance
	hostName   = dps.HostName("hub.example.com")
	apiVersion = "2021-06-01"
)

// world is the service over a fresh store, with a hub, a verified CA and a clock
// that the test moves.
type world struct {
	*register.Service
	store    *sqlite.Store
	enroll   *enroll.Service
	path     string // of the database
	scope    dps.IDScope
	root     *pki.Issued
	outcomes *outcomes
	log      *lines

	mu  sync.Mutex // guards now
	now time.Time

	real bool // the clock is that of the bubble
}

func (w *world) clock() time.Time {
	if w.real {
		return time.Now()
	}
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
	w := &world{now: time.Now().UTC(), outcomes: &outcomes{}, log: &lines{}}
	w.store, w.path = openStore(t, w.clock)
	setup := dps.Setup{
		Instance:  dps.NewInstance(in, w.now),
		Policy:    dps.Policy{Instance: in, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:       dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: hostName, Weight: 1, ApplyPolicy: true},
		HubPolicy: dps.HubPolicy{Instance: in, Hub: dps.EmbeddedHub, Name: dps.HubOwnerPolicy, Keys: dps.NewKeyPair()},
	}
	must(t, w.store.Create(t.Context(), setup))
	w.scope = setup.Instance.Scope
	w.enroll = enroll.New(w.store, w.clock)
	w.Service = w.over(w.store)
	w.root = issue(t, pki.Request{Kind: pki.Root, CommonName: "Root"})
	w.upload(t, "root", w.root, true)
	return w
}

// over returns the service of the world over another store.
func (w *world) over(s register.Store) *register.Service {
	return register.New(register.Options{Store: s, Observer: w.outcomes, Log: w.logger(), Now: w.clock})
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func openStore(t *testing.T, now func() time.Time) (s *sqlite.Store, path string) {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.OpenKey(filepath.Join(dir, "master.key"), true)
	must(t, err)
	path = filepath.Join(dir, "mooring.db")
	s, err = sqlite.Open(t.Context(), sqlite.Options{
		Path: path, Key: key, Observer: deaf{}, Log: slog.New(slog.DiscardHandler), Now: now,
	})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s, path
}

// deaf is an observer of the store that listens to nothing.
type deaf struct{}

func (deaf) Committed(int, time.Duration, error) {}

// outcome is one call of the observer.
type outcome struct {
	Kind   dps.AttestationType
	Status dps.RegistrationStatus
	Reason dps.Reason
}

type outcomes struct {
	mu  sync.Mutex // guards all
	all []outcome
}

func (o *outcomes) Registered(a dps.AttestationType, status dps.RegistrationStatus, reason dps.Reason, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if took < 0 {
		panic("negative duration")
	}
	o.all = append(o.all, outcome{a, status, reason})
}

// last returns the latest outcome and how many there were.
func (o *outcomes) last() (outcome, int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.all) == 0 {
		return outcome{}, 0
	}
	return o.all[len(o.all)-1], len(o.all)
}

// lines collects a log of JSON lines.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// line is what a log line says about a registration.
type line struct {
	Level          string `json:"level"`
	Message        string `json:"msg"`
	TrackingID     string `json:"trackingId"`
	Scope          string `json:"scope"`
	RegistrationID string `json:"registrationId"`
	Remote         string `json:"remote"`
	Decision       struct {
		Reason string `json:"reason"`
		Checks string `json:"checks"`
		Remedy string `json:"remedy"`
	} `json:"decision"`
}

// lastLine returns the latest line.
func (w *world) lastLine(t *testing.T) line {
	t.Helper()
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	var last line
	for scan := bufio.NewScanner(bytes.NewReader(w.log.text.Bytes())); scan.Scan(); {
		last = line{}
		must(t, json.Unmarshal(scan.Bytes(), &last))
	}
	return last
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func issue(t *testing.T, r pki.Request) *pki.Issued {
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

func selfSigned(t *testing.T, id string) *pki.Issued {
	t.Helper()
	return issue(t, pki.Request{Kind: pki.Device, CommonName: id})
}

func certificateOf(i *pki.Issued) *dps.Certificate {
	return &dps.Certificate{DER: i.Certificate.Raw}
}

func (w *world) upload(t *testing.T, name dps.CAName, ca *pki.Issued, verified bool) {
	t.Helper()
	_, err := w.enroll.PutCACertificate(
		t.Context(),
		in,
		enroll.Upload{Name: name, Certificate: certificateOf(ca), Verified: &verified},
		dps.Condition{},
	)
	must(t, err)
}

func individual(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Individual, ID: id} }

func group(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Group, ID: id} }

// put stores an enrollment, new or over another, with what edit makes of it.
func (w *world) put(t *testing.T, ref dps.EntryRef, x dps.X509Attestation, edit func(*dps.Enrollment)) {
	t.Helper()
	d := dps.EnrollmentDraft{Enrollment: dps.Enrollment{Instance: in, Ref: ref, Attestation: dps.Attestation{Type: dps.X509, X509: &x}}}
	if edit != nil {
		edit(&d.Enrollment)
	}
	cond := dps.Condition{}
	if _, err := w.enroll.Get(t.Context(), in, ref); err == nil {
		cond = dps.Condition{Set: true, Any: true}
	}
	_, err := w.enroll.Put(t.Context(), d, cond)
	must(t, err)
}

// group stores the group "line" for the world's root.
func (w *world) group(t *testing.T, edit func(*dps.Enrollment)) {
	t.Helper()
	w.put(t, group("line"), dps.X509Attestation{CAPrimary: "root"}, edit)
}

// request returns the call of a device that shows issued.
func (w *world) request(id string, issued *pki.Issued) register.Request {
	req := register.Request{
		Scope: w.scope, ID: dps.RegistrationID(id), APIVersion: apiVersion, TrackingID: "tracking-1", Remote: "192.0.2.7:4711",
	}
	if issued != nil {
		req.Evidence.Chain = issued.Chain
	}
	return req
}

// registered registers and polls, which both have to succeed.
func (w *world) registered(t *testing.T, req register.Request) register.Record {
	t.Helper()
	ticket, err := w.Register(t.Context(), req)
	must(t, err)
	if ticket.Operation == "" || ticket.RetryAfter < time.Second {
		t.Errorf("ticket = %+v", ticket)
	}
	rec, err := w.Poll(t.Context(), req, ticket.Operation)
	must(t, err)
	if rec.Operation != ticket.Operation {
		t.Errorf("polled %q, got %q", ticket.Operation, rec.Operation)
	}
	return rec
}

// device returns an identity that has to be at the hub.
func (w *world) device(t *testing.T, id dps.DeviceID) dps.HubDevice {
	t.Helper()
	d, err := w.store.HubDevice(t.Context(), in, dps.EmbeddedHub, id)
	must(t, err)
	return d
}

func thumbprint(c *x509.Certificate) string { return dps.ThumbprintOf(c.Raw).String() }

// fails fails unless err has the code want and says all of words.
func fails(t *testing.T, what string, err error, want dps.Code, words ...string) {
	t.Helper()
	if err == nil || dps.CodeOf(err) != want {
		t.Errorf("%s: error = %v, want code %v", what, err, want)
		return
	}
	for _, word := range words {
		if !strings.Contains(dps.MessageOf(err), word) {
			t.Errorf("%s: message = %q, want it to say %q", what, dps.MessageOf(err), word)
		}
	}
}

// overlay is the store with some calls replaced.
type overlay struct {
	register.Store
	hubs       func() ([]dps.LinkedHub, error)
	enrollment func(dps.EntryRef) error
	commit     func(dps.RegistrationChange) error
	fail       map[string]error // by method
}

func (o *overlay) Hubs(ctx context.Context, id dps.InstanceID) ([]dps.LinkedHub, error) {
	if o.hubs != nil {
		return o.hubs()
	}
	return o.Store.Hubs(ctx, id)
}

func (o *overlay) Enrollment(ctx context.Context, id dps.InstanceID, ref dps.EntryRef) (dps.Enrollment, error) {
	if o.enrollment != nil {
		if err := o.enrollment(ref); err != nil {
			return dps.Enrollment{}, err
		}
	}
	return o.Store.Enrollment(ctx, id, ref)
}

func (o *overlay) Commit(ctx context.Context, c dps.RegistrationChange) error {
	if o.commit != nil {
		if err := o.commit(c); err != nil {
			return err
		}
	}
	return o.Store.Commit(ctx, c)
}

func (o *overlay) Registration(ctx context.Context, id dps.InstanceID, reg dps.RegistrationID) (dps.Registration, error) {
	if err := o.fail["Registration"]; err != nil {
		return dps.Registration{}, err
	}
	return o.Store.Registration(ctx, id, reg)
}

func (o *overlay) OpenWork(ctx context.Context) ([]dps.Work, error) {
	if err := o.fail["OpenWork"]; err != nil {
		return nil, err
	}
	return o.Store.OpenWork(ctx)
}

func (o *overlay) HubDevice(ctx context.Context, id dps.InstanceID, hub dps.HubID, d dps.DeviceID) (dps.HubDevice, error) {
	if err := o.fail["HubDevice"]; err != nil {
		return dps.HubDevice{}, err
	}
	return o.Store.HubDevice(ctx, id, hub, d)
}

func (o *overlay) Anchors(ctx context.Context, id dps.InstanceID, subjects [][]byte) ([]dps.Anchor, error) {
	if err := o.fail["Anchors"]; err != nil {
		return nil, err
	}
	return o.Store.Anchors(ctx, id, subjects)
}

func (o *overlay) CertificateOwner(ctx context.Context, id dps.InstanceID, t dps.Thumbprint) (dps.EntryRef, bool, error) {
	if err := o.fail["CertificateOwner"]; err != nil {
		return dps.EntryRef{}, false, err
	}
	return o.Store.CertificateOwner(ctx, id, t)
}
