package fakehub

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// maxBulk is how many elements a bulk call may have.
const maxBulk = 100

// deviceLocked answers what is asked of one identity.
func (h *Hub) deviceLocked(c call, id string) *reply {
	e := h.devices[id]
	match := strings.Trim(strings.TrimPrefix(c.header.Get("If-Match"), "W/"), `"`)
	switch {
	case c.method == http.MethodPut && match == "" && e != nil:
		return fail(deviceExists, "A device with ID '%s' is already registered.", id)
	case c.method == http.MethodPut && match == "":
		return h.createLocked(c, id)
	case e == nil:
		return fail(deviceNotFound, "The device %s is not registered.", id)
	case c.method == http.MethodGet:
		return &reply{status: http.StatusOK, etag: e.device.ETag, body: e.device}
	case match == "":
		return fail(preconditionFailed, "If-Match is missing")
	case match != "*" && match != e.device.ETag:
		return fail(preconditionFailed, "the etag of device %s is another one", id)
	case c.method == http.MethodPut:
		return h.updateLocked(c, e)
	case c.method == http.MethodDelete:
		delete(h.devices, id)
		return &reply{status: http.StatusNoContent}
	}
	return &reply{status: http.StatusMethodNotAllowed}
}

func (h *Hub) createLocked(c call, id string) *reply {
	var d Device
	if refusal := decode(c.body, &d); refusal != nil {
		return refusal
	}
	if d.DeviceID != id {
		return fail(argumentInvalid, "deviceId is another one than in the path")
	}
	if h.fullLocked() {
		return fail(tooManyDevices, "the hub is full")
	}
	e := h.addLocked(d)
	return &reply{status: http.StatusOK, etag: e.device.ETag, body: e.device}
}

func (h *Hub) fullLocked() bool {
	return h.options.MaxDevices > 0 && len(h.devices) >= h.options.MaxDevices
}

// addLocked makes an identity with an empty twin.
func (h *Hub) addLocked(d Device) *entry {
	h.created++
	d.GenerationID = strconv.FormatUint(638_000_000_000_000_000+h.created, 10)
	d.Connection = "Disconnected"
	if d.Status == "" {
		d.Status = "enabled"
	}
	d.Authentication = h.completedLocked(d.Authentication)
	if d.Capabilities == nil {
		d.Capabilities = map[string]bool{"iotEdge": false}
	}
	if d.Capabilities["iotEdge"] {
		d.DeviceScope = "ms-azure-iot-edge://" + d.DeviceID + "-" + d.GenerationID
	}
	d.ETag = h.etagLocked()
	e := &entry{device: d, twin: newTwin()}
	h.devices[d.DeviceID] = e
	return e
}

// completedLocked gives an authentication its type, and keys where it has none.
func (h *Hub) completedLocked(a Authentication) Authentication {
	if a.Type == "" {
		a.Type = "sas"
		if text(a.X509Thumbprint.PrimaryThumbprint) != "" {
			a.Type = "selfSigned"
		}
	}
	if a.Type == "sas" {
		for _, key := range []**string{&a.SymmetricKey.PrimaryKey, &a.SymmetricKey.SecondaryKey} {
			if text(*key) == "" {
				var raw [32]byte
				binary.BigEndian.PutUint64(raw[:], h.random.Uint64())
				*key = new(base64.StdEncoding.EncodeToString(raw[:]))
			}
		}
	}
	return a
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// etagLocked returns a new etag, which looks like real ones: base64 of a number.
func (h *Hub) etagLocked() string {
	return base64.StdEncoding.EncodeToString([]byte(strconv.FormatUint(uint64(h.random.Uint32()), 10)))
}

// updateLocked replaces what a client may write; what it leaves out goes back to its
// default, as at the original.
func (h *Hub) updateLocked(c call, e *entry) *reply {
	var d Device
	if refusal := decode(c.body, &d); refusal != nil {
		return refusal
	}
	if d.DeviceID != e.device.DeviceID {
		return fail(argumentInvalid, "deviceId is another one than in the path")
	}
	d.GenerationID, d.Connection, d.ETag = e.device.GenerationID, e.device.Connection, h.etagLocked()
	if d.Status == "" {
		d.Status = "enabled"
	}
	d.Authentication = h.completedLocked(d.Authentication)
	e.device = d
	return &reply{status: http.StatusOK, etag: d.ETag, body: d}
}

// bulkElement is one element of a bulk call.
type bulkElement struct {
	ID             string          `json:"id"`
	ImportMode     string          `json:"importMode"`
	ETag           string          `json:"eTag"`
	Status         string          `json:"status"`
	StatusReason   *string         `json:"statusReason"`
	Authentication Authentication  `json:"authentication"`
	Capabilities   map[string]bool `json:"capabilities"`
	Tags           map[string]any  `json:"tags"`
	Properties     struct {
		Desired  map[string]any `json:"desired"`
		Reported map[string]any `json:"reported"`
	} `json:"properties"`
}

func (b bulkElement) device() Device {
	return Device{
		DeviceID:       b.ID,
		Status:         b.Status,
		StatusReason:   b.StatusReason,
		Authentication: b.Authentication,
		Capabilities:   b.Capabilities,
	}
}

// bulkLocked does each element by itself: some may fail.
func (h *Hub) bulkLocked(c call, fault Fault) *reply {
	var elements []bulkElement
	if refusal := decode(c.body, &elements); refusal != nil {
		return refusal
	}
	if len(elements) == 0 || len(elements) > maxBulk {
		return fail(argumentInvalid, "a bulk call has 1 to %d devices", maxBulk)
	}
	failures, warnings := []any{}, []any{}
	for _, e := range elements {
		if f := h.bulkOneLocked(e, fault); f.name != "" {
			var code any = f.number
			if h.options.NamedBulkErrors {
				code = f.name
			}
			failures = append(failures, map[string]any{
				"deviceId": e.ID, "errorCode": code, "errorStatus": "refused: " + f.name, "moduleId": nil, "operation": e.ImportMode,
			})
		} else if fault.Kind == WithoutTwin && strings.EqualFold(e.ImportMode, "create") {
			warnings = append(warnings, map[string]any{
				"deviceId": e.ID, "warningCode": "DeviceRegisteredWithoutTwin", "warningStatus": "the twin was not written",
			})
		}
	}
	status := http.StatusOK
	if len(failures) > 0 {
		status = http.StatusBadRequest
	}
	return &reply{status: status, body: map[string]any{"isSuccessful": len(failures) == 0, "errors": failures, "warnings": warnings}}
}

func (h *Hub) bulkOneLocked(b bulkElement, fault Fault) failure {
	stands := h.devices[b.ID]
	mode := strings.ToLower(b.ImportMode)
	if mode == "create" {
		switch {
		case b.ID == "":
			return argumentInvalid
		case stands != nil:
			return deviceExists
		case h.fullLocked():
			return tooManyDevices
		}
		e := h.addLocked(b.device())
		if fault.Kind != WithoutTwin {
			e.twin.overwrite(b)
		}
		return failure{}
	}
	if stands == nil {
		return deviceNotFound
	}
	switch mode {
	case "update", "updateifmatchetag":
		if mode == "updateifmatchetag" && b.ETag != stands.device.ETag {
			return preconditionFailed
		}
		d := b.device()
		d.GenerationID, d.Connection, d.ETag = stands.device.GenerationID, stands.device.Connection, h.etagLocked()
		d.Authentication = h.completedLocked(d.Authentication)
		stands.device = d
	case "delete", "deleteifmatchetag":
		if mode == "deleteifmatchetag" && b.ETag != stands.device.ETag {
			return preconditionFailed
		}
		delete(h.devices, b.ID)
	case "updatetwin":
		stands.twin.overwrite(b)
	default:
		return argumentInvalid
	}
	return failure{}
}

// twin is the document with its versions.
type twin struct {
	Twin
	version, desiredVersion, reportedVersion uint64
}

func newTwin() twin {
	return twin{
		Twin:            Twin{Tags: map[string]any{}, Desired: map[string]any{}, Reported: map[string]any{}},
		version:         2,
		desiredVersion:  1,
		reportedVersion: 1,
	}
}

// overwrite takes over the sections that a bulk call has.
func (t *twin) overwrite(b bulkElement) {
	if b.Tags != nil {
		t.Tags = b.Tags
	}
	if b.Properties.Desired != nil {
		t.Desired = b.Properties.Desired
		t.desiredVersion++
	}
	if b.Properties.Reported != nil {
		t.Reported = b.Properties.Reported
		t.reportedVersion++
	}
	t.version++
}

func (t *twin) etag() string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], t.version-1)
	return base64.StdEncoding.EncodeToString(raw[:])
}

// document is the twin as services see it.
func (t *twin) document(d Device) map[string]any {
	section := func(members map[string]any, version uint64, versioned bool) map[string]any {
		out := maps.Clone(members)
		metadata := map[string]any{"$lastUpdated": "2026-01-01T00:00:00Z"}
		if versioned {
			metadata["$lastUpdatedVersion"] = version
		}
		for name := range members {
			metadata[name] = map[string]any{"$lastUpdated": "2026-01-01T00:00:00Z"}
		}
		out["$metadata"], out["$version"] = metadata, version
		return out
	}
	return map[string]any{
		"deviceId": d.DeviceID, "etag": t.etag(), "deviceEtag": d.ETag, "version": t.version, "status": d.Status,
		"connectionState": d.Connection, "authenticationType": d.Authentication.Type, "capabilities": d.Capabilities, "tags": t.Tags,
		"properties": map[string]any{
			"desired": section(t.Desired, t.desiredVersion, true), "reported": section(t.Reported, t.reportedVersion, false),
		},
	}
}

// twinLocked answers what is asked of one twin.
func (h *Hub) twinLocked(c call, id string) *reply {
	e := h.devices[id]
	if e == nil {
		return fail(deviceNotFound, "The device %s is not registered.", id)
	}
	match := strings.Trim(strings.TrimPrefix(c.header.Get("If-Match"), "W/"), `"`)
	switch {
	case c.method == http.MethodGet:
	case match != "" && match != "*" && match != e.twin.etag():
		return fail(preconditionFailed, "the etag of the twin of %s is another one", id)
	case c.method == http.MethodPatch, c.method == http.MethodPut:
		if refusal := e.twin.change(c); refusal != nil {
			return refusal
		}
	default:
		return &reply{status: http.StatusMethodNotAllowed}
	}
	return &reply{status: http.StatusOK, etag: e.twin.etag(), body: e.twin.document(e.device)}
}

// change merges a PATCH and takes a PUT over; reported is the device's own.
func (t *twin) change(c call) *reply {
	var in struct {
		Tags       map[string]any `json:"tags"`
		Properties struct {
			Desired  map[string]any `json:"desired"`
			Reported map[string]any `json:"reported"`
		} `json:"properties"`
	}
	if refusal := decode(c.body, &in); refusal != nil {
		return refusal
	}
	if in.Properties.Reported != nil {
		return fail(argumentInvalid, "reported properties cannot be written here")
	}
	if c.method == http.MethodPut {
		t.Tags, t.Desired = map[string]any{}, map[string]any{}
	}
	merge(t.Tags, in.Tags)
	merge(t.Desired, in.Properties.Desired)
	t.version++
	if in.Properties.Desired != nil {
		t.desiredVersion++
	}
	return nil
}

// merge is a JSON merge patch of one object.
// Source: RFC 7396.
func merge(into, patch map[string]any) {
	for name, value := range patch {
		inner, isObject := value.(map[string]any)
		old, wasObject := into[name].(map[string]any)
		switch {
		case value == nil:
			delete(into, name)
		case isObject && wasObject:
			merge(old, inner)
		case isObject:
			fresh := map[string]any{}
			merge(fresh, inner)
			into[name] = fresh
		default:
			into[name] = value
		}
	}
}

// failure is one of the hub's error codes.
type failure struct {
	name   string
	number int
}

func (f failure) status() int { return f.number / 1000 }

// The failures that the hub knows.
// Source: azure-docs, articles/iot-hub/troubleshoot-error-codes.md.
var (
	argumentInvalid    = failure{"ArgumentInvalid", 400004}
	formatError        = failure{"IotHubFormatError", 400006}
	hubNotFound        = failure{"IotHubNotFound", 401001} // a deleted hub, for as long as its name resolves
	unauthorized       = failure{"IotHubUnauthorizedAccess", 401002}
	tooManyDevices     = failure{"TooManyDevices", 413002}
	deviceNotFound     = failure{"DeviceNotFound", 404001}
	bulkNotSupported   = failure{"BulkAddDevicesNotSupported", 405104}
	deviceExists       = failure{"DeviceAlreadyExists", 409001}
	preconditionFailed = failure{"PreconditionFailed", 412001}
	throttling         = failure{"ThrottlingException", 429001}
	serverError        = failure{"ServerError", 500001}
)

// body writes a failure in the older or the newer form.
func (f failure) body(text string, asJSON bool) any {
	const tracking = "0123456789abcdef0123456789abcdef-G:0-TimeStamp:01/01/2026 00:00:00"
	if !asJSON {
		return map[string]string{"Message": "ErrorCode:" + f.name + ";" + text, "ExceptionMessage": "Tracking ID:" + tracking}
	}
	inner, err := json.Marshal(map[string]any{
		"errorCode": f.number, "trackingId": tracking, "message": text, "info": map[string]string{}, "timestampUtc": "2026-01-01T00:00:00Z",
	})
	if err != nil {
		panic(fmt.Sprintf("fakehub: %v", err)) // plain data
	}
	return map[string]string{"Message": string(inner), "ExceptionMessage": ""}
}
