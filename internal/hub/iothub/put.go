package iothub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/wire"
)

// maxRounds is how often a step is begun anew because others changed the identity
// meanwhile.
const maxRounds = 5

// forgetNoBulk is after which time a hub that had no bulk calls is asked again.
const forgetNoBulk = time.Hour

// ifAny is the If-Match of what is to be written whatever stands there, in the quotes
// that all SDKs but one send.
const ifAny = `"*"`

// writer makes the writes of one Put or Remove. The first has its turn already; each
// further one waits for its own.
type writer struct {
	*hub
	begun bool
	made  bool // something that was sent may have made an identity
}

func (w *writer) write(ctx context.Context, what string, r request) error {
	if w.begun {
		if err := w.paced(ctx, w.pacer.next); err != nil {
			return err
		}
	}
	w.begun = true
	return w.call(ctx, what, r)
}

// make is write for what makes an identity.
func (w *writer) make(ctx context.Context, what string, r request) error {
	var sent bool
	r.sent = &sent
	err := w.write(ctx, what, r)
	if sent && !undone(err) {
		w.made = true
	}
	return err
}

// undone reports whether a call that failed certainly had no effect: the hub refused
// it, or was never reached.
func undone(err error) bool {
	if code := dps.CodeOf(err); code == dps.HubRefused || code == dps.Throttled {
		return true
	}
	failure, ok := errors.AsType[*net.OpError](err)
	return ok && failure.Op == "dial"
}

// Put makes the hub have the identity, in one call where the identity is new: a bulk
// call is the only one that makes identity and twin together.
//
// An identity that is there gets the authentication and the capability of p, and
// keeps all else, its twin included. Where p may have made it in an earlier attempt
// (p.Ours, see ours), the twin is written once more. Where p must not take over an
// identity (p.New), Put fails with DeviceExists.
// Source: azure-iot-sdk-csharp, iothub/service/src/Registry/RegistryManager.cs (AddDeviceWithTwinAsync).
func (h *hub) Put(ctx context.Context, p register.Put) (register.PutOutcome, error) {
	w := &writer{hub: h}
	outcome, err := w.put(ctx, p)
	if err != nil {
		return register.PutOutcome{Untouched: !w.made}, err
	}
	return outcome, nil
}

func (w *writer) put(ctx context.Context, p register.Put) (register.PutOutcome, error) {
	if p.Fresh {
		if err := w.remove(ctx, p.DeviceID); err != nil {
			return register.PutOutcome{}, err
		}
	}
	for range maxRounds {
		err := w.create(ctx, p)
		if !isRefusal(err, deviceExists) {
			return register.PutOutcome{}, err
		}
		outcome, err := w.refresh(ctx, p)
		if !isRefusal(err, deviceNotFound) {
			return outcome, err
		}
	}
	return register.PutOutcome{}, w.contended(p.DeviceID)
}

func (h *hub) contended(id dps.DeviceID) error {
	return &dps.Error{
		Code: dps.HubUnavailable, Again: true, RetryAfter: time.Second,
		Message: fmt.Sprintf("device %q at hub %s is being changed by other clients; retry later", id, h.link.HostName),
	}
}

func (w *writer) remove(ctx context.Context, id dps.DeviceID) error {
	err := w.write(ctx, "delete device", request{method: http.MethodDelete, path: devicePath(id), ifMatch: ifAny, read: readNothing})
	if isRefusal(err, deviceNotFound) {
		return nil
	}
	return err
}

// create makes an identity with its twin. It fails with the refusal deviceExists.
func (w *writer) create(ctx context.Context, p register.Put) error {
	if w.hasBulk() {
		withoutTwin, err := w.bulk(ctx, newBulkDevice(p))
		if !w.lacksBulk(err) {
			if err != nil || !withoutTwin {
				return err
			}
			return w.writeTwin(ctx, p.DeviceID, p.Twin)
		}
	}
	device := newDevice{
		DeviceID:       string(p.DeviceID),
		Status:         enabled,
		Authentication: writeAuthentication(p.Authentication),
		Capabilities:   wire.Capabilities{IotEdge: p.IotEdge},
	}
	err := w.make(ctx, "create device", request{method: http.MethodPut, path: devicePath(p.DeviceID), body: device, read: readDocument})
	if err != nil {
		return err
	}
	return w.writeTwin(ctx, p.DeviceID, p.Twin)
}

// refresh gives an identity that is there the authentication and the capability of p.
// It fails with the refusal deviceNotFound when the identity is gone again.
func (w *writer) refresh(ctx context.Context, p register.Put) (register.PutOutcome, error) {
	kept := register.PutOutcome{Existed: true}
	for range maxRounds {
		stands, err := w.identity(ctx, p.DeviceID)
		if err != nil {
			return register.PutOutcome{}, err
		}
		ours, err := w.ours(ctx, p, stands)
		if err != nil {
			return register.PutOutcome{}, err
		}
		if p.New && !ours {
			return register.PutOutcome{}, dps.Errorf(dps.DeviceExists, "device %q exists at hub %s", p.DeviceID, w.link.HostName)
		}
		if !stands.holds(p.HubIdentity) {
			err = w.replace(ctx, p.HubIdentity, stands)
		}
		switch {
		case isRefusal(err, preconditionFailed):
			continue
		case err != nil:
			return register.PutOutcome{}, err
		case ours:
			return register.PutOutcome{}, w.ensureTwin(ctx, p)
		}
		return kept, nil
	}
	return register.PutOutcome{}, w.contended(p.DeviceID)
}

// ours reports whether an identity that is there counts as made by an earlier attempt at
// p: it has the authentication of p; or, since that may have changed between the
// attempts, there is nothing in its twin but what that attempt would have written.
func (w *writer) ours(ctx context.Context, p register.Put, stands identity) (bool, error) {
	if !p.Ours || stands.proves(p.Authentication) {
		return p.Ours, nil
	}
	twin, err := w.twin(ctx, p.DeviceID)
	if err != nil {
		return false, err
	}
	return within(twin.Tags, p.Twin.Tags) && within(twin.Desired, p.Twin.Desired) && within(twin.Reported, p.Twin.Reported), nil
}

// within reports whether a section of a twin is absent, or equal to want.
func within(section, want json.RawMessage) bool {
	if len(section) == 0 {
		return true
	}
	var a, b any
	if json.Unmarshal(section, &a) != nil || json.Unmarshal(want, &b) != nil {
		return false
	}
	return reflect.DeepEqual(a, b)
}

// replace writes the whole identity back with what p changes, if it is still as read.
func (w *writer) replace(ctx context.Context, want dps.HubIdentity, stands identity) error {
	document := maps.Clone(stands.document)
	authentication, err := json.Marshal(writeAuthentication(want.Authentication))
	if err != nil {
		return err
	}
	capabilities, err := withEdge(document["capabilities"], want.IotEdge)
	if err != nil {
		return err
	}
	document["authentication"], document["capabilities"] = authentication, capabilities
	return w.write(ctx, "update device", request{
		method: http.MethodPut, path: devicePath(want.DeviceID), ifMatch: `"` + stands.etag + `"`, body: document, read: readDocument,
	})
}

// withEdge returns capabilities with iotEdge set and every other one as it was.
func withEdge(capabilities json.RawMessage, edge bool) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if len(capabilities) > 0 {
		if err := json.Unmarshal(capabilities, &members); err != nil {
			return nil, err
		}
	}
	if members == nil {
		members = make(map[string]json.RawMessage)
	}
	value, err := json.Marshal(edge)
	if err != nil {
		return nil, err
	}
	members["iotEdge"] = value
	return json.Marshal(members)
}

// ensureTwin writes the whole twin of an identity whose creation may have been cut off
// before it.
func (w *writer) ensureTwin(ctx context.Context, p register.Put) error {
	if p.Twin.Empty() {
		return nil
	}
	if w.hasBulk() {
		_, err := w.bulk(ctx, twinUpdate(p.DeviceID, p.Twin))
		if !w.lacksBulk(err) {
			return w.twinWritten(p.DeviceID, err)
		}
	}
	return w.writeTwin(ctx, p.DeviceID, p.Twin)
}

// writeTwin writes the twin of an identity that was just made. Reported properties can
// only be written by a bulk call; a hub without them does not get any, and the device
// reports them anew.
func (w *writer) writeTwin(ctx context.Context, id dps.DeviceID, t dps.Twin) error {
	if t.Reported != nil && w.hasBulk() {
		_, err := w.bulk(ctx, twinUpdate(id, t))
		if !w.lacksBulk(err) {
			return w.twinWritten(id, err)
		}
	}
	if t.Reported != nil {
		w.log.WarnContext(ctx, "the hub has no bulk API; reported properties are not copied", "hub", w.link.HostName, "device", id)
	}
	if t.Tags == nil && t.Desired == nil {
		return nil
	}
	patch := twinPatch{Tags: t.Tags}
	if t.Desired != nil {
		patch.Properties = &twinProperties{Desired: t.Desired}
	}
	err := w.write(ctx, "update twin", request{method: http.MethodPatch, path: twinPath(id), body: patch, read: readDocument})
	return w.twinWritten(id, err)
}

// twinWritten lets the whole Put be repeated where the identity went away before its
// twin was written.
func (w *writer) twinWritten(id dps.DeviceID, err error) error {
	if isRefusal(err, deviceNotFound) {
		return w.contended(id)
	}
	return err
}

// bulk sends a bulk call about one device.
func (w *writer) bulk(ctx context.Context, d bulkDevice) (withoutTwin bool, err error) {
	write := w.write
	if d.ImportMode == modeCreate {
		write = w.make
	}
	err = write(ctx, "bulk "+d.ImportMode, request{
		method: http.MethodPost, path: "/devices", body: []bulkDevice{d}, bulk: true, read: func(a answer) error {
			withoutTwin, err = readBulk(a.status, a.body)
			return err
		},
	})
	return withoutTwin, err
}

func (w *writer) hasBulk() bool { return w.door.now().UnixNano() >= w.noBulk.Load() }

// lacksBulk reports whether err says that the hub has no bulk calls, and remembers it
// for an hour.
func (w *writer) lacksBulk(err error) bool {
	if !saysNoBulk(err) {
		return false
	}
	w.noBulk.Store(w.door.now().Add(forgetNoBulk).UnixNano())
	return true
}
