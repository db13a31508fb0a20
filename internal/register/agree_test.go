package register_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the file is read beside its store
	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
)

// TestDryRunAgrees asks what would become of a device, over random hubs, enrollments
// and histories, and then lets the device register: both have to agree, and asking has
// to change nothing. What hubs over the wire have is not asked for by a dry run, so
// there what an identity was found or missed for is left out.
func TestDryRunAgrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawAgreement(rt)
		var problems []string
		inBubble(t, func(t *testing.T) { problems = c.run(t) })
		if len(problems) > 0 {
			rt.Fatalf("%s\nof %+v", strings.Join(problems, "\n"), c)
		}
	})
}

const (
	ghostHub    = dps.HostName("ghost.example.com") // never linked
	agreeDevice = "Press-7"
)

// agreement is one case.
type agreement struct {
	Policy      dps.AllocationPolicy // of the service
	Hubs        []dps.LinkedHub
	Entry       dps.EntryRef
	X509        bool
	Earlier     bool // whether there was an earlier registration
	Before, Now moment
	Then        string // what became of the device's hub in between: "", removed, unlinked
	Forgotten   bool   // whether its record was deleted in between
}

// moment is what there is when a device registers.
type moment struct {
	Down                       []bool // by hub
	Disabled                   bool
	Device                     dps.DeviceID
	Placement                  dps.Placement
	Twin                       json.RawMessage
	Answer                     string // of the webhook
	Choice                     int
	AnswerTwin, AnswerPayload  json.RawMessage
	Spelling, Version, Address string
	Payload                    json.RawMessage
}

func drawAgreement(rt *rapid.T) agreement {
	c := agreement{
		Policy:  rapid.SampledFrom([]dps.AllocationPolicy{dps.Hashed, dps.Static, dps.GeoLatency}).Draw(rt, "default policy"),
		Entry:   rapid.SampledFrom([]dps.EntryRef{individual(agreeDevice), group("line")}).Draw(rt, "enrollment"),
		X509:    rapid.Bool().Draw(rt, "x509"),
		Earlier: !seldom(rt, "new"),
		Then:    rapid.SampledFrom([]string{"", "", "", "removed", "unlinked"}).Draw(rt, "then"),
	}
	c.Forgotten = seldom(rt, "forgotten")
	for i := range rapid.SampledFrom([]int{4, 3, 2, 1, 0}).Draw(rt, "hubs") {
		id := dps.HubID(fmt.Sprintf("hub-%d", i))
		c.Hubs = append(c.Hubs, dps.LinkedHub{
			Instance: in, ID: id, HostName: dps.HostName(id) + ".example.com",
			Kind:        rapid.SampledFrom([]dps.HubKind{dps.KindIoTHub, dps.KindEmbedded}).Draw(rt, "kind"),
			Location:    rapid.SampledFrom([]string{"westeurope", "East US", ""}).Draw(rt, "location"),
			Weight:      rapid.IntRange(1, 5).Draw(rt, "weight"),
			ApplyPolicy: rapid.Bool().Draw(rt, "applies"),
		})
	}
	c.Before, c.Now = c.draw(rt, "before"), c.draw(rt, "now")
	return c
}

// seldom is true in a few cases.
func seldom(rt *rapid.T, what string) bool { return rapid.IntRange(0, 9).Draw(rt, what) == 7 }

func (c agreement) draw(rt *rapid.T, when string) moment {
	docs := func(what, text string) json.RawMessage {
		return rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(text)}).Draw(rt, when+" "+what)
	}
	m := moment{
		Down:     rapid.SliceOfN(rapid.Bool(), len(c.Hubs), len(c.Hubs)).Draw(rt, when+" down"),
		Disabled: seldom(rt, when+" disabled"),
		Device:   rapid.SampledFrom([]dps.DeviceID{"", "dev=7"}).Draw(rt, when+" deviceId"),
		Twin:     docs("twin", `{"tags":{"from":"enrollment `+when+`"}}`),
		Answer: rapid.SampledFrom([]string{"one", "one", "one", "one", "one", "one", "ghost", "unauthorized", "not found", "busy"}).
			Draw(rt, when+" webhook"),
		Choice:        rapid.IntRange(0, 11).Draw(rt, when+" choice"),
		AnswerTwin:    docs("webhook's twin", `{"tags":{"from":"webhook `+when+`"}}`),
		AnswerPayload: docs("webhook's payload", `{"for":"you"}`),
		Spelling:      rapid.SampledFrom([]string{agreeDevice, strings.ToLower(agreeDevice)}).Draw(rt, when+" spelling"),
		Version:       rapid.SampledFrom([]string{"2018-04-01", "2019-03-31", apiVersion}).Draw(rt, when+" api-version"),
		Address: rapid.SampledFrom([]string{"10.1.2.3:99", "10.2.0.1", "192.0.2.7:4711", "[2001:db8::1]:1", "", "pipe"}).
			Draw(rt, when+" address"),
		Payload: docs("payload", `{"model":"P9"}`),
	}
	p := &m.Placement
	p.Policy = rapid.SampledFrom([]dps.AllocationPolicy{dps.Hashed, dps.Static, dps.Static, dps.GeoLatency, dps.Custom, dps.Custom, ""}).
		Draw(rt, when+" policy")
	if p.Policy == dps.Custom {
		p.Custom = &dps.CustomAllocation{WebhookURL: "https://f.example.com/?code=secret", APIVersion: "2021-10-01"}
	}
	names := []dps.HostName{hostName}
	for _, h := range c.Hubs {
		names = append(names, h.HostName)
	}
	p.Reprovision = rapid.SampledFrom([]*dps.ReprovisionPolicy{nil, migrate, reset, never}).Draw(rt, when+" reprovision")
	if p.Policy == "" {
		return m // hubs may be named beside a policy only
	}
	p.IotHubs = rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, min(3, len(names)), rapid.ID[dps.HostName]).Draw(rt, when+" iotHubs")
	if p.Policy == dps.Static && !seldom(rt, when+" too many or none") {
		p.IotHubs = []dps.HostName{rapid.SampledFrom(names).Draw(rt, when+" hub")}
	}
	if seldom(rt, when+" ghost") {
		p.IotHubs = append(p.IotHubs, ghostHub)
	}
	return m
}

// agreeWorld is a world for one case.
type agreeWorld struct {
	*remoteWorld
	agreement
	keys     dps.KeyPair
	leaf     *pki.Issued
	problems []string
}

func (w *agreeWorld) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// run returns in what dry run and registration differ.
func (c agreement) run(t *testing.T) []string {
	w := c.build(t)
	w.begins(t, c.Before)
	if c.Earlier {
		w.finished(t, w.request(c.Before))
		w.happens(t)
	}
	w.begins(t, c.Now)
	w.compare(t, w.request(c.Now))
	return w.problems
}

func (c agreement) build(t *testing.T) *agreeWorld {
	w := &agreeWorld{
		agreement:   c,
		keys:        dps.NewKeyPair(),
		remoteWorld: &remoteWorld{world: newWorld(t), hubs: fakeHubs{}, webhook: &fakeWebhook{}},
	}
	w.real = true
	w.leaf = w.world.leaf(t, agreeDevice)
	stored, err := w.store.Instance(t.Context(), in)
	must(t, err)
	change := dps.InstanceChange{Instance: stored, IfMatch: stored.ETag}
	change.Instance.ETag, change.Instance.Allocation = dps.NewETag(), c.Policy
	for _, h := range c.Hubs {
		if h.Kind == dps.KindIoTHub {
			h.Access = &dps.HubAccess{Endpoint: string(h.HostName), KeyName: "owner", Key: dps.NewKey()}
			w.hubs[h.ID] = newFakeHub()
		}
		change.Hubs.Link = append(change.Hubs.Link, h)
	}
	must(t, w.store.Configure(t.Context(), change))
	w.Service = register.New(register.Options{
		Store: w.store, Hubs: w.hubs, Webhook: w.webhook, Observer: w.outcomes, Log: slog.New(slog.DiscardHandler), Now: w.clock,
		Networks: allocate.NewNetworks([]allocate.Network{
			{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Locations: []string{"westeurope"}},
			{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Locations: []string{"northpole", "eastus"}},
		}),
	})
	w.start(t)
	return w
}

// begins makes things be as they are at a moment. Hubs that are thought to be down
// answer all the same, as one does whose trouble is over.
func (w *agreeWorld) begins(t *testing.T, m moment) {
	for i, h := range w.Hubs {
		if remote, ok := w.hubs[h.ID]; ok {
			remote.set(func(f *fakeHub) {
				f.health.State = dps.HubUp
				if m.Down[i] {
					f.health.State = dps.HubDown
				}
			})
		}
	}
	w.webhook.answer = m.answer
	x := dps.X509Attestation{CAPrimary: "root"}
	if w.Entry.Kind == dps.Individual {
		x = dps.X509Attestation{Primary: certificateOf(w.leaf)}
	}
	w.put(t, w.Entry, x, func(e *dps.Enrollment) {
		e.Placement, e.InitialTwin = m.Placement, m.Twin
		if m.Disabled {
			e.Status = dps.StatusDisabled
		}
		if w.Entry.Kind == dps.Individual {
			e.DeviceID = m.Device
		}
		if !w.X509 {
			e.Attestation = dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &w.keys}
		}
	})
}

func (w *agreeWorld) request(m moment) register.Request {
	var req register.Request
	switch {
	case w.X509:
		req = w.world.request(m.Spelling, w.leaf)
	case w.Entry.Kind == dps.Individual:
		req = w.tokened(m.Spelling, w.keys.Primary)
	default:
		req = w.tokened(m.Spelling, dps.DeriveKey(w.keys.Primary, dps.RegistrationID(m.Spelling)))
	}
	req.APIVersion, req.Remote, req.Payload = m.Version, m.Address, m.Payload
	return req
}

// answer is a webhook that says the same whenever it is asked the same.
func (m moment) answer(q register.WebhookQuestion, _ int) (register.WebhookAnswer, error) {
	a := register.WebhookAnswer{Hub: ghostHub, Twin: m.AnswerTwin, Payload: m.AnswerPayload}
	switch m.Answer {
	case "unauthorized":
		return register.WebhookAnswer{}, &dps.Error{
			Code:    dps.CustomAllocationUnauthorized,
			Message: "Custom allocation failed with status code: 401",
		}
	case "not found":
		return register.WebhookAnswer{}, &dps.Error{Code: dps.CustomAllocationFailed, Message: "Custom allocation failed with status code: 404"}
	case "busy":
		return register.WebhookAnswer{}, &dps.Error{
			Code:    dps.CustomAllocationFailed,
			Again:   true,
			Message: "Custom allocation failed with status code: 503",
		}
	case "one":
		a.Hub = q.LinkedHubs[(m.Choice+len(q.Payload)+len(q.CurrentHub)+len(q.CurrentID))%len(q.LinkedHubs)]
	}
	return a, nil
}

// happens is what comes between two registrations.
func (w *agreeWorld) happens(t *testing.T) {
	reg, err := w.store.Registration(t.Context(), in, agreeDevice)
	must(t, err)
	if a := reg.Assignment; a != nil {
		_, stands := w.tags(t, w.hub(a.Hub), a.DeviceID)
		if stands {
			w.retwin(t, a.Hub, a.DeviceID, dps.Twin{Tags: []byte(`{"from":"operator"}`)})
		}
		switch w.Then {
		case "removed":
			if remote, ok := w.hubs[a.Hub]; ok {
				remote.set(func(h *fakeHub) { delete(h.devices, a.DeviceID) })
			} else if stands {
				d, err := w.store.HubDevice(t.Context(), in, a.Hub, a.DeviceID)
				must(t, err)
				must(t, w.store.DeleteHubDevice(t.Context(), in, a.Hub, a.DeviceID, d.ETag))
			}
		case "unlinked":
			w.unlink(t, a.Hub)
		}
	}
	if w.Forgotten {
		must(t, w.Forget(t.Context(), in, agreeDevice, dps.Condition{}))
	}
}

func (w *agreeWorld) unlink(t *testing.T, id dps.HubID) {
	hubs, err := w.store.Hubs(t.Context(), in)
	must(t, err)
	stored, err := w.store.Instance(t.Context(), in)
	must(t, err)
	change := dps.InstanceChange{Instance: stored, IfMatch: stored.ETag}
	change.Instance.ETag = dps.NewETag()
	for _, h := range hubs {
		if h.ID == id {
			change.Hubs.Unlink = append(change.Hubs.Unlink, dps.HubUnlink{Hub: h, DeleteDevices: true})
		}
	}
	must(t, w.store.Configure(t.Context(), change))
}

// places returns the hubs that are linked, by host name.
func (w *agreeWorld) places(t *testing.T) map[dps.HostName]dps.LinkedHub {
	hubs, err := w.store.Hubs(t.Context(), in)
	must(t, err)
	all := make(map[dps.HostName]dps.LinkedHub)
	for _, h := range hubs {
		all[h.HostName] = h
	}
	return all
}

// hub returns a hub that was linked at the start.
func (w *agreeWorld) hub(id dps.HubID) dps.LinkedHub {
	for _, h := range w.Hubs {
		if h.ID == id {
			return h
		}
	}
	return dps.LinkedHub{ID: dps.EmbeddedHub, Kind: dps.KindEmbedded}
}

// tags returns the tags of a device at a hub; ok is false where it has no identity.
func (w *agreeWorld) tags(t *testing.T, h dps.LinkedHub, id dps.DeviceID) (tags string, ok bool) {
	if h.Kind == dps.KindIoTHub {
		s, ok := w.hubs[h.ID].at(id)
		return string(s.Twin.Tags), ok
	}
	d, err := w.store.HubDevice(t.Context(), in, h.ID, id)
	if dps.CodeOf(err) == dps.DeviceNotFound {
		return "", false
	}
	must(t, err)
	return string(d.Twin.Tags), true
}

// compare asks, lets the device register, and notes the differences.
func (w *agreeWorld) compare(t *testing.T, req register.Request) {
	q := register.DryRunQuestion{ID: req.ID, Entry: w.Entry, APIVersion: req.APIVersion, Payload: req.Payload, CallWebhook: true}
	if at, err := netip.ParseAddrPort(req.Remote); err == nil {
		q.Remote = at.Addr()
	} else if at, err := netip.ParseAddr(req.Remote); err == nil {
		q.Remote = at
	}
	hubs := w.places(t)
	prev, err := w.store.Registration(t.Context(), in, req.ID)
	if err != nil && dps.CodeOf(err) != dps.RegistrationNotFound {
		t.Fatal(err)
	}
	dry := w.asked(t, q)

	// What the device finds, before it comes.
	var to, from dps.LinkedHub
	var toTags, fromTags string
	var there, left bool
	if dry.Hub != "" {
		to = hubs[dry.Hub]
		toTags, there = w.tags(t, to, dry.DeviceID)
	}
	if prev.Assignment != nil {
		for _, h := range hubs {
			if h.ID == prev.Assignment.Hub {
				from = h
				fromTags, left = w.tags(t, h, prev.Assignment.DeviceID)
			}
		}
	}

	rec := w.finished(t, req)
	if diff := cmp.Diff(wouldBe(prev, rec), said(dry)); diff != "" {
		w.problem("it was, and the dry run said (-was +said):\n%s\nsteps: %v", diff, dry.Steps)
	}
	if rec.Status != dps.Assigned || len(w.problems) > 0 {
		return
	}
	stays := prev.Assignment != nil && prev.Assignment.Hub == to.ID
	unseen := to.Kind == dps.KindIoTHub && there != stays || dry.Data == register.DataMigrated && from.Kind == dps.KindIoTHub && !left
	if unseen {
		return
	}
	if rec.Assignment.Substatus != dry.Substatus {
		w.problem("sub-status %q, the dry run said %q; steps: %v", rec.Assignment.Substatus, dry.Substatus, dry.Steps)
	}
	entry, err := w.enroll.Get(t.Context(), in, w.Entry)
	must(t, err)
	want := toTags
	switch dry.Data {
	case register.DataMigrated:
		want = fromTags
	case register.DataInitial, register.DataReset:
		twin, err := dps.ParseInitialTwin(entry.InitialTwin)
		if dry.Twin != nil {
			twin, err = dps.ParseInitialTwin(dry.Twin)
		}
		must(t, err)
		want = string(twin.Tags)
	}
	empty := func(s string) string { return strings.TrimPrefix(s, "{}") }
	if got, _ := w.tags(t, to, dry.DeviceID); empty(got) != empty(want) {
		w.problem("tags %s, want %s: the dry run said %q; steps: %v", got, want, dry.Data, dry.Steps)
	}
}

// asked makes a dry run, which has to leave everything as it was.
func (w *agreeWorld) asked(t *testing.T, q register.DryRunQuestion) register.DryRunAnswer {
	for id, h := range w.hubs {
		h.set(func(h *fakeHub) {
			h.before = func(call string) error {
				w.problem("a dry run calls %q of hub %s", call, id)
				return nil
			}
		})
	}
	before := w.dump(t)
	dry, err := w.DryRun(t.Context(), in, q)
	must(t, err)
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		w.problem("a dry run changed the store:\n%s", diff)
	}
	for _, h := range w.hubs {
		h.set(func(h *fakeHub) { h.before = nil })
	}
	return dry
}

// dump returns all that is in the database, as text.
func (w *agreeWorld) dump(t *testing.T) string {
	ctx := context.WithoutCancel(t.Context())
	db, err := sql.Open("sqlite", "file:"+w.path+"?mode=ro")
	must(t, err)
	defer db.Close()
	var out bytes.Buffer
	for _, table := range w.rows(ctx, t, db, `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`) {
		fmt.Fprintln(&out, table)
		for _, row := range w.rows(ctx, t, db, `SELECT * FROM "`+strings.Trim(table, "[]")+`"`) {
			fmt.Fprintln(&out, "\t", row)
		}
	}
	return out.String()
}

func (w *agreeWorld) rows(ctx context.Context, t *testing.T, db *sql.DB, query string) (all []string) {
	rows, err := db.QueryContext(ctx, query)
	must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	for rows.Next() {
		values, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		must(t, rows.Scan(to...))
		all = append(all, fmt.Sprint(values))
	}
	must(t, rows.Err())
	return all
}

// verdictOf is what both tell.
type verdictOf struct {
	Outcome register.DryRunOutcome
	Hub     dps.HostName
	Device  dps.DeviceID
	Code    dps.Code
	Number  int
	Message string
	Payload string
}

func said(a register.DryRunAnswer) verdictOf {
	v := verdictOf{Outcome: a.Outcome, Hub: a.Hub, Device: a.DeviceID, Payload: string(a.Payload)}
	if f := a.Failure; f != nil {
		v.Code, v.Number, v.Message = f.Code, f.Number, f.Message
	}
	return v
}

// wouldBe is what a dry run has to say of what became of a registration.
func wouldBe(prev dps.Registration, rec register.Record) verdictOf {
	v := verdictOf{Payload: string(rec.Payload)}
	switch rec.Status {
	case dps.Disabled:
		v.Outcome = register.WouldDisabled
	case dps.Failed:
		v.Outcome, v.Code, v.Number, v.Message = register.WouldFail, rec.Failure.Code, rec.Failure.Number, rec.Failure.Message
	case dps.Assigned:
		v.Outcome, v.Hub, v.Device = register.WouldMove, rec.Hub, rec.Assignment.DeviceID
		switch {
		case prev.Assignment == nil:
			v.Outcome = register.WouldAssign
		case prev.Assignment.Hub == rec.Assignment.Hub:
			v.Outcome = register.WouldStay
		}
	}
	return v
}
