package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mooring-iot/mooring/internal/pki"
)

// workers is how many devices call at the same time.
const workers = 16

// device is one device of the group with its certificate.
type device struct {
	id     string
	leaf   *pki.Issued
	client *http.Client
	scope  string
}

// newDevice issues a device's certificate.
func newDevice(s *service, ca *pki.Issued, id string) (*device, error) {
	leaf, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: id, Issuer: ca.Issuer()})
	if err != nil {
		return nil, err
	}
	return &device{id: id, leaf: leaf, client: s.newClient(leaf), scope: s.info.IDScope}, nil
}

func (d *device) call(method, path string, body object) call {
	return call{client: d.client, method: method, path: "/" + d.scope + "/registrations/" + d.id + path, version: deviceVersion, body: body}
}

// registerCall asks for a registration; the answer is an operation.
func (d *device) registerCall() call {
	return d.call(http.MethodPut, "/register", object{"registrationId": d.id})
}

// operation is what this suite reads of the answer to register and poll.
type operation struct {
	OperationID       string `json:"operationId"`
	Status            string `json:"status"`
	RegistrationState struct {
		RegistrationID string `json:"registrationId"`
		Status         string `json:"status"`
		Substatus      string `json:"substatus"`
		AssignedHub    string `json:"assignedHub"`
		DeviceID       string `json:"deviceId"`
		ETag           string `json:"etag"`
		Created        string `json:"createdDateTimeUtc"`
		Updated        string `json:"lastUpdatedDateTimeUtc"`
	} `json:"registrationState"`
}

// ack is a 202 that a device saw.
type ack struct {
	device    *device
	operation string
	first     *atomic.Pointer[operation] // the first answer to a poll
}

func newAck(d *device, op operation) (ack, error) {
	if op.OperationID == "" {
		return ack{}, fmt.Errorf("%s: 202 without an operationId", d.id)
	}
	return ack{device: d, operation: op.OperationID, first: new(atomic.Pointer[operation])}, nil
}

// register registers until there is a 202.
func (d *device) register(ctx context.Context, s *service) (ack, error) {
	var op operation
	if err := s.persist(ctx, d.registerCall(), http.StatusAccepted, &op); err != nil {
		return ack{}, err
	}
	return newAck(d, op)
}

// check polls the operation and fails unless it is assigned and the answer is the one
// given first. The substatus shows that the identity at the hub never stood there
// before its registration did.
func (a ack) check(ctx context.Context, s *service) error {
	var got operation
	if err := s.persist(ctx, a.device.call(http.MethodGet, "/operations/"+a.operation, nil), http.StatusOK, &got); err != nil {
		return fmt.Errorf("%s: a 202 was seen, and then: %w", a.device.id, err)
	}
	if !a.first.CompareAndSwap(nil, &got) {
		if first := *a.first.Load(); got != first {
			return fmt.Errorf("%s: poll = %+v, and before it was %+v", a.device.id, got, first)
		}
		return nil
	}
	want := operation{OperationID: a.operation, Status: "assigned"}
	state := &want.RegistrationState
	*state = got.RegistrationState // for etag and times
	state.RegistrationID, state.DeviceID = a.device.id, a.device.id
	state.Status, state.Substatus, state.AssignedHub = "assigned", "initialAssignment", hostName
	if got != want || state.ETag == "" {
		return fmt.Errorf("%s: poll = %+v, want %+v with an etag", a.device.id, got, want)
	}
	return nil
}

// identity is what this suite reads of a device identity at the hub.
type identity struct {
	DeviceID       string `json:"deviceId"`
	GenerationID   string `json:"generationId"`
	Authentication struct {
		Type           string `json:"type"`
		X509Thumbprint struct {
			Primary string `json:"primaryThumbprint"`
		} `json:"x509Thumbprint"`
	} `json:"authentication"`
}

// identity reads the device from the hub, compares it with the certificate and returns
// its generation: a new one would be another identity.
func (d *device) identity(ctx context.Context, s *service) (string, error) {
	var got identity
	if err := s.persist(ctx, s.hubCall("/devices/"+d.id), http.StatusOK, &got); err != nil {
		return "", err
	}
	want := identity{DeviceID: d.id, GenerationID: got.GenerationID}
	want.Authentication.Type, want.Authentication.X509Thumbprint.Primary = "selfSigned", d.leaf.SHA256Thumbprint()
	if got != want || got.GenerationID == "" {
		return "", fmt.Errorf("identity = %+v, want %+v", got, want)
	}
	return got.GenerationID, nil
}

// checkTwin compares the twin at the hub with the initial twin of the group.
func (d *device) checkTwin(ctx context.Context, s *service) error {
	var twin struct {
		DeviceID   string          `json:"deviceId"`
		Tags       json.RawMessage `json:"tags"`
		Properties struct {
			Desired struct {
				Interval int `json:"interval"`
				Version  int `json:"$version"`
			} `json:"desired"`
		} `json:"properties"`
	}
	if err := s.persist(ctx, s.hubCall("/twins/"+d.id), http.StatusOK, &twin); err != nil {
		return err
	}
	desired := twin.Properties.Desired
	if twin.DeviceID != d.id || string(twin.Tags) != twinTags || desired.Interval != twinValue || desired.Version != 1 {
		return fmt.Errorf("twin of %s = %+v, want the initial twin of the group", d.id, twin)
	}
	return nil
}

// ledger is what clients were told. It is safe for concurrent use.
type ledger struct {
	mu          sync.Mutex
	acks        []ack
	generations map[string]string // by device ID, as first seen
	enrollments map[string]string // ID to etag; "" when the last answer was lost
	progress    chan struct{}     // one for each ack
}

func newLedger() *ledger {
	const most = 1 << 16 // acks of one test, so that no client waits for a reader
	return &ledger{generations: make(map[string]string), enrollments: make(map[string]string), progress: make(chan struct{}, most)}
}

func (l *ledger) add(a ack) {
	l.mu.Lock()
	l.acks = append(l.acks, a)
	l.mu.Unlock()
	l.progress <- struct{}{}
}

// all returns the acks so far, in the order in which they were seen.
func (l *ledger) all() []ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks[:len(l.acks):len(l.acks)]
}

// saw compares the generation of an identity with the one seen first.
func (l *ledger) saw(id, generation string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first, seen := l.generations[id]; seen && first != generation {
		return fmt.Errorf("%s: the identity has generation %s and had %s before: it was made anew", id, generation, first)
	}
	l.generations[id] = generation
	return nil
}

func (l *ledger) enrolled(id, etag string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enrollments[id] = etag
}

// devices returns each device once.
func (l *ledger) devices() []*device {
	var all []*device
	seen := make(map[string]bool)
	for _, a := range l.all() {
		if !seen[a.device.id] {
			seen[a.device.id] = true
			all = append(all, a.device)
		}
	}
	return all
}

// live registers a device and polls the answer, and looks at the identity.
func (l *ledger) live(ctx context.Context, s *service, d *device) error {
	a, err := d.register(ctx, s)
	if err != nil {
		return err
	}
	l.add(a)
	if err := a.check(ctx, s); err != nil {
		return err
	}
	generation, err := d.identity(ctx, s)
	if err != nil {
		return err
	}
	return l.saw(d.id, generation)
}

// verify compares all that clients were told with what the service says now.
func (l *ledger) verify(t *testing.T, s *service) {
	t.Helper()
	err := each(t.Context(), l.devices(), func(ctx context.Context, d *device) error {
		generation, err := d.identity(ctx, s)
		if err != nil {
			return err
		}
		return errors.Join(l.saw(d.id, generation), d.checkTwin(ctx, s))
	})
	if err != nil {
		t.Error(err)
	}
	if err := checkAll(t.Context(), s, l.all()); err != nil {
		t.Error(err)
	}
	if err := l.verifyEnrollments(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// checkAll polls operations.
func checkAll(ctx context.Context, s *service, acks []ack) error {
	return each(ctx, acks, func(ctx context.Context, a ack) error {
		defer a.device.client.CloseIdleConnections()
		return a.check(ctx, s)
	})
}

// verifyEnrollments reads every enrollment whose creation was answered.
func (l *ledger) verifyEnrollments(ctx context.Context, s *service) error {
	for id, etag := range l.enrollments {
		var got struct{ RegistrationID, ETag string }
		if err := s.persist(ctx, s.serviceCall(http.MethodGet, "/enrollments/"+id, nil), http.StatusOK, &got); err != nil {
			return fmt.Errorf("an enrollment that was created: %w", err)
		}
		if got.RegistrationID != id || got.ETag == "" || etag != "" && got.ETag != etag {
			return fmt.Errorf("enrollment %s: got %+v, want etag %s", id, got, etag)
		}
	}
	return nil
}

// each runs do for all items, some at the same time, until one fails.
func each[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, item := range items {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(ctx, item)
		})
	}
	return group.Wait()
}

// registerAll lets new devices register at a service that runs.
func (l *ledger) registerAll(t *testing.T, s *service, ca *pki.Issued, prefix string, n int) {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	err := each(t.Context(), ids, func(ctx context.Context, id string) error {
		d, err := newDevice(s, ca, id)
		if err != nil {
			return err
		}
		defer d.client.CloseIdleConnections()
		return l.live(ctx, s, d)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newRandom returns the source of the random moments of a test and prints its seed.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MOORING_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("MOORING_TEST_SEED: %v", err)
		}
	}
	t.Logf("MOORING_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// upTo waits for a random time below most.
func upTo(random *rand.Rand, most time.Duration) {
	<-time.After(time.Duration(random.Int64N(int64(most))))
}

// same reports a difference between two values.
func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}
