package fault_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/test/fakehub"

	sdk "github.com/mooring-iot/mooring/device"
)

const (
	longestPoll = 2 * time.Second        // a device that is told to come later looks after this all the same; the service allows it
	afterFailed = 500 * time.Millisecond // until a device whose registration failed tries again
)

// entry is an enrollment group of the devices here, or the settings of individual
// enrollments.
type entry struct {
	id      string
	static  bool // one hub, else hashed over several
	migrate bool // the twin follows a device that moves
	certs   bool // X.509 instead of symmetric keys

	primary []byte // the group's keys, if any

	mu        sync.Mutex
	secondary []byte
	hubs      []string
}

func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}

// body is the enrollment as the service API takes it.
func (e *entry) body() object {
	e.mu.Lock()
	defer e.mu.Unlock()
	policy := "hashed"
	if e.static {
		policy = "static"
	}
	attestation := object{"type": "x509", "x509": object{"caReferences": object{"primary": caName}}}
	if !e.certs {
		attestation = object{"type": "symmetricKey", "symmetricKey": object{
			"primaryKey": base64.StdEncoding.EncodeToString(e.primary), "secondaryKey": base64.StdEncoding.EncodeToString(e.secondary),
		}}
	}
	return object{
		"enrollmentGroupId": e.id, "attestation": attestation, "allocationPolicy": policy, "iotHubs": e.hubs,
		"reprovisionPolicy": object{"updateHubAssignment": true, "migrateDeviceData": e.migrate},
		"initialTwin":       object{"tags": json.RawMessage(twinTags), "properties": object{"desired": object{"interval": twinValue}}},
	}
}

// put writes the enrollment group; "" creates it.
func (e *entry) put(ctx context.Context, s *service, ifMatch string) error {
	c := s.serviceCall(http.MethodPut, "/enrollmentGroups/"+e.id, e.body())
	c.ifMatch = ifMatch
	return s.persist(ctx, c, http.StatusOK, nil)
}

// hubDevice is a device that lives through registrations, one after the other.
type hubDevice struct {
	id       string
	deviceID string // as its hub calls it
	entry    *entry
	key      []byte      // nil with a certificate
	leaf     *pki.Issued // nil with a key
	client   *http.Client

	hub   string // where it is
	came  string // how it came there: the substatus that it was told
	mark  int    // what services and device wrote last into the twin there; 0 is nothing
	times int    // registrations that ended
	asked int    // calls to register since then: with more than one, the device may have moved unseen
}

// renew gives a device with a certificate another one.
func (d *hubDevice) renew(s *service, ca *pki.Issued) error {
	if d.key != nil {
		return nil
	}
	leaf, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: d.id, Issuer: ca.Issuer()})
	if err != nil {
		return err
	}
	d.close()
	d.leaf, d.client = leaf, s.newClient(leaf)
	return nil
}

// close lets go of the connections of a device that has its own.
func (d *hubDevice) close() {
	if d.leaf != nil {
		d.client.CloseIdleConnections()
	}
}

func (d *hubDevice) call(s *service, method, path string, body object) call {
	resource := s.info.IDScope + "/registrations/" + d.id
	c := call{client: d.client, method: method, path: "/" + resource + path, version: deviceVersion, body: body}
	if d.key != nil {
		c.authorization = sas.Sign(resource, "registration", d.key, time.Now().Add(tokenLifetime))
	}
	return c
}

// patiently makes a call until there is an answer that is neither 429 nor 503; tries
// counts the calls.
func (s *service) patiently(ctx context.Context, c call) (a answer, tries int, err error) {
	var last error
	for tries = range maxTries {
		if err := s.awaitUp(ctx); err != nil {
			return answer{}, tries, errors.Join(err, last)
		}
		a, err := c.send(ctx)
		switch {
		case err != nil:
			last = err
		case a.status == http.StatusTooManyRequests, a.status == http.StatusServiceUnavailable:
			last = &statusError{call: c.method + " " + c.path, answer: a}
			if err := pause(ctx, cmp.Or(a.retryAfter(), time.Second)); err != nil {
				return answer{}, tries, errors.Join(err, last)
			}
		default:
			return a, tries + 1, nil
		}
	}
	return answer{}, tries, fmt.Errorf("after %d tries: %w", maxTries, last)
}

// retryAfter is when the service says that the caller should come again.
func (a answer) retryAfter() time.Duration {
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// pause waits, as devices do.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// operationOf reads an answer to register or poll. Any other than 200 and 202 is an
// error: a registration that was acknowledged would be lost.
func operationOf(c call, a answer) (operation, error) {
	var op operation
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		return op, &statusError{call: c.method + " " + c.path, answer: a, want: http.StatusOK}
	}
	err := json.Unmarshal(a.body, &op)
	return op, err
}

// ask registers and does not wait for the end; after is when it will be ready.
func (d *hubDevice) ask(ctx context.Context, s *service) (op operation, after time.Duration, err error) {
	c := d.call(s, http.MethodPut, "/register", object{"registrationId": d.id})
	a, tries, err := s.patiently(ctx, c)
	d.asked += tries
	if err != nil {
		return op, 0, err
	}
	op, err = operationOf(c, a)
	return op, a.retryAfter(), err
}

// look polls once; after is 0 when the registration came to its end.
func (d *hubDevice) look(ctx context.Context, s *service, id string) (op operation, after time.Duration, err error) {
	c := d.call(s, http.MethodGet, "/operations/"+id, nil)
	a, _, err := s.patiently(ctx, c)
	if err != nil {
		return op, 0, err
	}
	if op, err = operationOf(c, a); err != nil || a.status == http.StatusOK {
		return op, 0, err
	}
	return op, cmp.Or(a.retryAfter(), time.Second), nil
}

// register registers and waits for the end, whatever it is.
func (d *hubDevice) register(ctx context.Context, s *service) (operation, error) {
	op, after, err := d.ask(ctx, s)
	for id := op.OperationID; err == nil && after > 0; {
		if err = pause(ctx, min(after, longestPoll)); err == nil {
			op, after, err = d.look(ctx, s, id)
		}
	}
	return op, err
}

// identityProblem says what is wrong with the identity of the device at its hub.
func (d *hubDevice) identityProblem(at fakehub.Device) string {
	a := at.Authentication
	switch {
	case at.Status != "enabled":
		return "is " + at.Status
	case d.key == nil && (a.X509Thumbprint.PrimaryThumbprint == nil || *a.X509Thumbprint.PrimaryThumbprint != d.leaf.SHA256Thumbprint()):
		return "does not know the latest certificate"
	case d.key != nil && (a.SymmetricKey.PrimaryKey == nil || *a.SymmetricKey.PrimaryKey != base64.StdEncoding.EncodeToString(d.key)):
		return "does not know the device's key"
	}
	return ""
}

// knows reports whether a device may be told that it came to a hub in this way.
func (d *hubDevice) knows(hub, came string) bool {
	moved := "deviceDataReset"
	if d.entry.migrate {
		moved = "deviceDataMigrated"
	}
	if d.movedUnseen(came) {
		return true
	}
	switch d.hub {
	case "":
		return came == "initialAssignment"
	case hub:
		return came == d.came
	default:
		return came == moved
	}
}

// movedUnseen reports whether a registration of which the device did not hear moved it
// before, as its substatus says.
func (d *hubDevice) movedUnseen(came string) bool {
	return d.asked > 1 && (came == "deviceDataMigrated" && d.entry.migrate || came == "deviceDataReset" && !d.entry.migrate)
}

// twinProblem says what is wrong with the twin of a device that came to a hub, or
// stayed there: the mark that was made before has to have come along, or to be gone
// with the rest. Without bulk calls a hub cannot be given reported properties.
func (d *hubDevice) twinProblem(twin fakehub.Twin, hub, came string, noBulk bool) string {
	if twin.Tags["site"] != "k1" || twin.Desired["interval"] != float64(twinValue) {
		return "lacks the initial twin"
	}
	var want any
	stayed := hub == d.hub && (twin.Tags["mark"] != nil || !d.movedUnseen(came))
	if d.mark > 0 && (stayed || d.entry.migrate) {
		want = float64(d.mark)
	}
	if twin.Tags["mark"] != want || twin.Desired["mark"] != want {
		return fmt.Sprintf("has the marks %v and %v", twin.Tags["mark"], twin.Desired["mark"])
	}
	if reported := twin.Reported["mark"]; reported != want && (!noBulk || reported != nil) {
		return fmt.Sprintf("reports the mark %v", reported)
	}
	return ""
}

// deriveKey is the key of a device of a group.
func deriveKey(group []byte, id string) []byte { return sdk.DeriveKey(group, id) }
