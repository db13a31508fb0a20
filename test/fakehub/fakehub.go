// Package fakehub is an IoT hub in memory, as far as provisioning calls one: the
// registry with bulk calls and etags, twins, both forms of errors, policies with
// rights. It fails on demand, call by call, and remembers every call.
//
// It shares no code with the embedded hub, so that what both do is what hubs do.
// Sources: azure-iot-hub-python, service.json; azure-docs, articles/iot-hub.
package fakehub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/sas"
)

// maxBody bounds a request: a hundred devices with twins.
const maxBody = 16 << 20

// Right is a permission of a policy.
type Right string

// The permissions that are asked for.
const (
	RegistryRead   Right = "RegistryRead"
	RegistryWrite  Right = "RegistryWrite" // has RegistryRead
	ServiceConnect Right = "ServiceConnect"
)

// Policy is a shared access policy.
type Policy struct {
	Key    []byte
	Rights []Right
}

// Owner returns a policy with every right.
func Owner(key []byte) Policy {
	return Policy{Key: key, Rights: []Right{RegistryRead, RegistryWrite, ServiceConnect}}
}

// Options are how a hub is. HostName and Policies are required.
type Options struct {
	HostName string
	Policies map[string]Policy
	Now      func() time.Time // time.Now when nil
	Seed     uint64           // of the chance of faults, and of etags

	// JSONErrors answers with the newer form of errors, {"errorCode": 404001, ...} in
	// Message. NamedBulkErrors writes the codes of bulk errors as names.
	JSONErrors, NamedBulkErrors bool

	// MaxDevices is how many identities fit; 0 is no limit.
	MaxDevices int
}

// Hub is the hub. It is an http.Handler, safe for concurrent use.
type Hub struct {
	options Options

	mu      sync.Mutex
	random  *rand.Rand
	devices map[string]*entry
	created uint64
	faults  []Fault
	refuse  func(bool) // of the listener; may be nil
	calls   []Call
	closed  chan struct{}
}

// entry is a device with its twin.
type entry struct {
	device Device
	twin   twin
}

// Device is an identity as the registry shows it.
type Device struct {
	DeviceID       string          `json:"deviceId"`
	GenerationID   string          `json:"generationId"`
	ETag           string          `json:"etag"`
	Status         string          `json:"status"`
	StatusReason   *string         `json:"statusReason"`
	Connection     string          `json:"connectionState"`
	Authentication Authentication  `json:"authentication"`
	Capabilities   map[string]bool `json:"capabilities"`
	DeviceScope    string          `json:"deviceScope,omitempty"`
	ParentScopes   []string        `json:"parentScopes,omitempty"`
}

// Authentication is how a device proves itself.
type Authentication struct {
	SymmetricKey struct {
		PrimaryKey   *string `json:"primaryKey"`
		SecondaryKey *string `json:"secondaryKey"`
	} `json:"symmetricKey"`
	X509Thumbprint struct {
		PrimaryThumbprint   *string `json:"primaryThumbprint"`
		SecondaryThumbprint *string `json:"secondaryThumbprint"`
	} `json:"x509Thumbprint"`
	Type string `json:"type"`
}

// Twin is what services and device wrote.
type Twin struct {
	Tags     map[string]any `json:"tags"`
	Desired  map[string]any `json:"desired"`
	Reported map[string]any `json:"reported"`
}

// Call is one request that arrived, and what came of it.
type Call struct {
	At     time.Time `json:"at"`
	Name   string    `json:"name"` // see Fault.Call
	Method string    `json:"method"`
	Target string    `json:"target"` // as it stood in the request line
	Host   string    `json:"host"`
	Body   string    `json:"body"`
	Status int       `json:"status"` // 0 where there was no answer
	Fault  Kind      `json:"fault"`  // that was done to it; "" if none
}

// Write reports whether the call changes the registry or a twin.
func (c Call) Write() bool { return c.Method != http.MethodGet }

// New returns an empty hub.
func New(o Options) *Hub {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Hub{
		options: o, devices: make(map[string]*entry), closed: make(chan struct{}),
		random: rand.New(rand.NewPCG(o.Seed, 1)), //nolint:gosec // no secret; the same every time
	}
}

// SetPolicy gives a policy another key or other rights, or adds one.
func (h *Hub) SetPolicy(name string, p Policy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	policies := maps.Clone(h.options.Policies)
	policies[name] = p
	h.options.Policies = policies
}

// Close ends the calls that hang.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
}

// Devices returns the identities that stand in the hub, by ID.
func (h *Hub) Devices() map[string]Device {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]Device, len(h.devices))
	for id, e := range h.devices {
		out[id] = e.device
	}
	return out
}

// Twins returns the twins, by device ID.
func (h *Hub) Twins() map[string]Twin {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]Twin, len(h.devices))
	for id, e := range h.devices {
		out[id] = Twin{maps.Clone(e.twin.Tags), maps.Clone(e.twin.Desired), maps.Clone(e.twin.Reported)}
	}
	return out
}

// Twin returns the twin of a device, false where there is no such device.
func (h *Hub) Twin(id string) (Twin, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.devices[id]
	if e == nil {
		return Twin{}, false
	}
	return Twin{maps.Clone(e.twin.Tags), maps.Clone(e.twin.Desired), maps.Clone(e.twin.Reported)}, true
}

// ChangeTwin merges patch into a twin, as services and the device itself do when all
// is well with the hub. It is false where there is no such device.
func (h *Hub) ChangeTwin(id string, patch Twin) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.devices[id]
	if e == nil {
		return false
	}
	merge(e.twin.Tags, patch.Tags)
	merge(e.twin.Desired, patch.Desired)
	merge(e.twin.Reported, patch.Reported)
	e.twin.version++
	e.twin.desiredVersion++
	e.twin.reportedVersion++
	return true
}

// Calls returns what arrived so far, in order.
func (h *Hub) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// ForgetCalls empties the list of calls.
func (h *Hub) ForgetCalls() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = nil
}

// ServeHTTP answers one call, unless a fault has other ideas.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	c := call{
		method: r.Method,
		path:   strings.TrimSuffix(r.URL.EscapedPath(), "/"),
		query:  r.URL.Query(),
		header: r.Header,
		host:   r.Host,
		body:   body,
	}
	fault, at := h.arrived(&c, r)
	if fault.before() {
		h.done(at, 0)
		h.disturb(w, r, fault)
		return
	}
	if !h.delay(r, fault) {
		h.done(at, 0)
		return
	}
	reply := fault.instead()
	if reply == nil {
		reply = h.answer(c, fault)
	}
	if fault.Kind == FailAfter {
		reply = fail(serverError, "An internal error occurred")
	}
	if fault.after() {
		h.done(at, 0)
		h.disturb(w, r, fault)
		return
	}
	h.done(at, reply.status)
	reply.write(w, h.options.JSONErrors)
}

// arrived notes the call, and returns the fault that hits it and its place in the list.
func (h *Hub) arrived(c *call, r *http.Request) (Fault, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.name = nameOf(*c)
	fault := h.faultLocked(*c)
	h.calls = append(h.calls, Call{
		At: h.options.Now(), Name: c.name, Method: c.method, Target: r.RequestURI, Host: r.Host, Body: string(c.body), Fault: fault.Kind,
	})
	return fault, len(h.calls) - 1
}

func (h *Hub) done(at, status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at < len(h.calls) { // they may have been forgotten
		h.calls[at].Status = status
	}
}

// call is a request that was read.
type call struct {
	name, method, path string
	query              url.Values
	header             http.Header
	host               string
	body               []byte
}

// nameOf names the operation. A bulk call has the mode of its first element in it.
func nameOf(c call) string {
	switch first, rest, _ := strings.Cut(strings.TrimPrefix(c.path, "/"), "/"); {
	case first == "devices" && rest == "" && c.method == http.MethodGet:
		return "list"
	case first == "devices" && rest == "" && c.method == http.MethodPost:
		var elements []struct {
			ImportMode string `json:"importMode"`
		}
		if json.Unmarshal(c.body, &elements) == nil && len(elements) > 0 {
			return "bulk " + strings.ToLower(elements[0].ImportMode)
		}
		return "bulk"
	case first == "devices" && !strings.Contains(rest, "/"):
		return strings.ToLower(c.method) + " device"
	case first == "twins" && !strings.Contains(rest, "/"):
		return strings.ToLower(c.method) + " twin"
	}
	return "unknown"
}

// reply is an answer. A failure has a code instead of a body.
type reply struct {
	status int
	etag   string
	body   any
	header map[string]string

	code failure
	text string
}

func fail(f failure, text string, args ...any) *reply {
	return &reply{status: f.status(), code: f, text: fmt.Sprintf(text, args...)}
}

// write answers in one of the two forms of errors where there is one.
func (r *reply) write(w http.ResponseWriter, jsonErrors bool) {
	for name, value := range r.header {
		w.Header().Set(name, value)
	}
	if r.etag != "" {
		w.Header().Set("ETag", `"`+r.etag+`"`)
	}
	body := r.body
	if r.code.name != "" {
		w.Header().Set("iothub-errorcode", r.code.name)
		body = r.code.body(r.text, jsonErrors)
	}
	if raw, ok := body.([]byte); ok {
		w.WriteHeader(r.status)
		_, _ = w.Write(raw)
		return
	}
	if body == nil {
		w.WriteHeader(r.status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(body)
}

// answer does what was asked for.
func (h *Hub) answer(c call, fault Fault) *reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, rest, _ := strings.Cut(strings.TrimPrefix(c.path, "/"), "/")
	id, err := url.PathUnescape(rest) // once: IDs may hold %
	if err != nil || c.name == "unknown" {
		return &reply{status: http.StatusNotFound}
	}
	if refusal := h.authorizeLocked(c, first); refusal != nil {
		return refusal
	}
	if c.query.Get("api-version") == "" {
		return fail(argumentInvalid, "api-version is missing")
	}
	switch {
	case c.name == "list":
		return h.listLocked(c)
	case strings.HasPrefix(c.name, "bulk"):
		return h.bulkLocked(c, fault)
	case first == "devices":
		return h.deviceLocked(c, id)
	}
	return h.twinLocked(c, id)
}

// authorizeLocked checks the token by the rules of the original: over its own text,
// with the key of the policy that it names.
func (h *Hub) authorizeLocked(c call, first string) *reply {
	refused := fail(unauthorized, "Unauthorized")
	token, err := sas.Parse(c.header.Get("Authorization"))
	if err != nil {
		return refused
	}
	policy, ok := h.options.Policies[token.KeyName]
	if !ok || !token.Verify(policy.Key) || token.Expired(h.options.Now()) || !sas.Covers(token.Resource, h.options.HostName+c.path) {
		return refused
	}
	want := RegistryWrite
	switch {
	case first == "twins":
		want = ServiceConnect
	case c.method == http.MethodGet:
		want = RegistryRead
	}
	has := slices.Contains(policy.Rights, want) || want == RegistryRead && slices.Contains(policy.Rights, RegistryWrite)
	if !has {
		return refused
	}
	return nil
}

func (h *Hub) listLocked(c call) *reply {
	top := 1000
	if text := c.query.Get("top"); text != "" {
		if _, err := fmt.Sscanf(text, "%d", &top); err != nil || top < 1 || top > 1000 {
			return fail(argumentInvalid, "top must be 1 to 1000")
		}
	}
	devices := []Device{}
	for _, id := range slices.Sorted(maps.Keys(h.devices)) {
		if len(devices) == top {
			break
		}
		devices = append(devices, h.devices[id].device)
	}
	return &reply{status: http.StatusOK, body: devices}
}

// decode reads JSON into v.
func decode(body []byte, v any) *reply {
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(v); err != nil {
		return fail(formatError, "the body is no such document: %v", err)
	}
	return nil
}
