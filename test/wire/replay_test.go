package wire_test

import (
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// operation is one call of the device API, whatever carries it.
type operation struct {
	name      string // register, poll or lookup
	id        string // registration ID
	operation string // to be polled
	scope     string
	version   string
	with      []string // certificates to show, leaf first
	token     string   // SAS token, "" if none
	body      string
}

// sign gives the operation a token under a key, of the device or of its group.
func (o *operation) sign(t *testing.T, kind, text string) {
	t.Helper()
	key, err := dps.ParseKey(kind, text)
	if err != nil {
		t.Fatal(err)
	}
	if kind == "GroupKey" {
		key = dps.DeriveKey(key, dps.RegistrationID(o.id))
	}
	o.token = sas.Sign(o.scope+"/registrations/"+o.id, "registration", key.Reveal(), time.Now().Add(time.Hour))
}

// outcome is the answer to an operation.
type outcome struct {
	status     int
	retryAfter string // seconds, "" if there is none
	body       string
}

// transport carries the device API over one protocol.
type transport interface {
	// offers reports whether the protocol has an operation of that name.
	offers(name string) bool

	do(t *testing.T, w *world, o operation) outcome
}

// transports are the protocols that every device transcript is replayed over.
var transports = map[string]transport{"https": https{}, "mqtt": mqtt{dialTLS}, "mqtt-ws": mqtt{dialWebSocket}}

// https carries operations as requests.
// Source: azure-rest-api-specs, deviceprovisioningservices/data-plane, device API.
type https struct{}

func (https) offers(string) bool { return true }

func (https) do(t *testing.T, w *world, o operation) outcome {
	t.Helper()
	c := call{path: "/" + o.scope + "/registrations/" + o.id, with: o.with, body: strings.NewReader(o.body), header: http.Header{}}
	switch o.name {
	case "register":
		c.method, c.path = http.MethodPut, c.path+"/register"
	case "poll":
		c.method, c.path = http.MethodGet, c.path+"/operations/"+o.operation
	default:
		c.method = http.MethodPost
	}
	c.path += "?api-version=" + o.version
	if o.token != "" {
		c.header.Set("Authorization", o.token)
	}
	c.header.Set("Content-Type", "application/json; charset=utf-8")
	r := w.do(t, c)
	if kind := r.header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
		t.Errorf("%s: Content-Type is %q", o.name, kind) // Node and Edge reject anything else
	}
	return outcome{status: r.status, retryAfter: r.header.Get("Retry-After"), body: r.body}
}

// TestTranscripts replays testdata: files called device-* over every transport.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		for protocol := range transports {
			if !strings.HasPrefix(name, "device-") && protocol != "https" {
				continue
			}
			t.Run(name+"/"+protocol, func(t *testing.T) {
				t.Parallel()
				replay(t, readTranscript(t, file), protocol)
			})
		}
	}
}

func replay(t *testing.T, tr transcript, protocol string) {
	t.Helper()
	var f *function
	if tr.function {
		var flags []string
		f, flags = newSecureFunction(t)
		tr.flags = append(tr.flags, flags...)
	}
	w, carrier := newWorld(t, tr.flags...), transports[protocol]
	if f != nil {
		w.remembered["function"] = f.URL
	}
	for _, e := range tr.exchanges {
		if len(e.steps) > 0 {
			f.does(readSteps(t, e.steps)...)
		}
		for _, line := range e.declares {
			w.declare(t, w.expand(t, line, plain))
		}
		verb, _, _ := strings.Cut(e.request, " ")
		only, restricted, headers := take(e.headers, "Transport")
		e.headers = headers
		switch {
		case verb == "asked":
			asked := f.questions()
			w.compareAnswer(t, e, len(asked), asked[len(asked)-1])
		case verb == strings.ToUpper(verb):
			w.exchange(t, e)
		case carrier.offers(verb) && (!restricted || only == protocol):
			w.operate(t, e, carrier)
		}
		if t.Failed() {
			t.Fatalf("%s: stopped at %q", e.at, e.title)
		}
	}
}

// readSteps reads lines such as: 200 {"iotHubHostName": "localhost"}.
func readSteps(t *testing.T, lines []string) (steps []step) {
	t.Helper()
	for _, line := range lines {
		status, body, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(status)
		if err != nil {
			t.Fatalf("function %s: %v", line, err)
		}
		steps = append(steps, step{n, body})
	}
	return steps
}

// exchange sends an HTTP request of a transcript and compares the answer.
func (w *world) exchange(t *testing.T, e exchange) {
	t.Helper()
	method, path, _ := strings.Cut(w.expand(t, e.request, plain), " ")
	c := call{method: method, path: withVersion(path), header: http.Header{}, body: strings.NewReader(w.expand(t, e.body, inJSON))}
	with, _, headers := take(e.headers, "With")
	c.with = strings.Fields(with)
	c.header.Set("Authorization", w.token(path))
	if e.body != "" {
		c.header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for _, h := range headers {
		c.header.Set(h.name, w.expand(t, h.value, plain))
	}
	for name := range c.header {
		if v := c.header.Get(name); v == "" || v == "-" {
			c.header.Del(name)
		}
	}
	r := w.do(t, c)
	for _, h := range e.expects {
		w.compareHeader(t, e, h, r.header)
	}
	w.compareAnswer(t, e, r.status, r.body)
}

func (w *world) compareHeader(t *testing.T, e exchange, h header, got http.Header) {
	t.Helper()
	if h.value == "-" {
		if got.Values(h.name) != nil {
			t.Errorf("%s: %s: header %s is %q, want none", e.at, e.title, h.name, got.Get(h.name))
		}
		return
	}
	if err := w.match(h.value, got.Get(h.name)); err != nil {
		t.Errorf("%s: %s: header %s %v", e.at, e.title, h.name, err)
	}
}

func (w *world) compareAnswer(t *testing.T, e exchange, status int, body string) {
	t.Helper()
	if status != e.status {
		t.Errorf("%s: %s: status %d, want %d; body %s", e.at, e.title, status, e.status, body)
		return
	}
	if e.want == "..." {
		return
	}
	if e.want == "" || body == "" {
		if body != e.want {
			t.Errorf("%s: %s: body %q, want %q", e.at, e.title, body, e.want)
		}
		return
	}
	if err := w.matchJSON(e.want, body); err != nil {
		t.Errorf("%s: %s: %v\nbody: %s", e.at, e.title, err, body)
	}
}

// operate carries an operation of a transcript and compares the answer.
func (w *world) operate(t *testing.T, e exchange, carrier transport) {
	t.Helper()
	words := strings.Fields(w.expand(t, e.request, plain))
	o := operation{name: words[0], id: words[1], scope: w.info.IDScope, version: "2019-03-31", body: w.expand(t, e.body, inJSON)}
	if o.name == "poll" {
		o.operation = words[2]
	}
	for _, h := range e.headers {
		value := w.expand(t, h.value, plain)
		switch h.name {
		case "Key", "GroupKey":
			o.sign(t, h.name, value)
		case "With":
			o.with = strings.Fields(value)
		case "Version":
			o.version = value
		case "Scope":
			o.scope = value
		case "Await":
			eventually(t, e.at, func() bool { return w.recordOf(t, o.id).Status != "assigning" })
		default:
			t.Fatalf("%s: operations know no header %s", e.at, h.name)
		}
	}
	got := carrier.do(t, w, o)
	for _, h := range e.expects {
		w.compareHeader(t, e, h, http.Header{"Retry-After": values(got.retryAfter)})
	}
	w.compareAnswer(t, e, got.status, got.body)
}

func values(v string) []string {
	if v == "" {
		return nil
	}
	return []string{v}
}
