package interop_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
)

// The transports, as the programs of this suite call them.
const (
	overHTTPS  = "https"
	overMQTT   = "mqtt"
	overMQTTWS = "mqtt-ws"
)

// deviceTimeout bounds one registration. It is shorter than the SDKs' own limits of 30
// seconds, so that a registration that only they end counts as one that hangs.
const deviceTimeout = 20 * time.Second

// device is one device to be registered with a device SDK.
type device struct {
	registrationID string      // the leaf's common name when empty
	idScope        string      // the service's when empty
	transport      string      // HTTPS when empty
	identity       *pki.Issued // presented with its chain
	key            string      // in base64; instead of an identity
	payload        any         // none when nil
}

// batch is what one run of an SDK's program registers.
type batch struct {
	devices  []device
	trace    bool   // what the service answers is wanted
	distrust bool   // the service's authority is not trusted
	options  string // NODE_OPTIONS
}

// report is what an SDK's program prints.
type report struct {
	SDK      string         `json:"sdk"` // name and version
	Outcomes []registration `json:"outcomes"`
}

// registration is how a registration ended: the SDK's result, its error, or not at all.
type registration struct {
	Assigned *struct {
		Status      string `json:"status"`
		Substatus   string `json:"substatus"`
		AssignedHub string `json:"assignedHub"`
		DeviceID    string `json:"deviceId"`
		X509        struct {
			EnrollmentGroupID string `json:"enrollmentGroupId"`
		} `json:"x509"` // Node.js only
	} `json:"assigned"`
	Error  *sdkError `json:"error"`
	Hung   bool      `json:"hung"`
	Answer answer    `json:"answer"` // zero when nothing was heard, or nobody asked for it
}

// sdkError is an error or exception as a device's program sees it.
type sdkError struct {
	Name    string    `json:"name"`
	Message string    `json:"message"`
	Cause   *sdkError `json:"cause"` // Python only
}

// answer is what the service said last.
type answer struct {
	StatusCode int    `json:"statusCode"` // of HTTP or of the topic
	Connack    int    `json:"connack"`    // return code when CONNECT was refused
	ErrorCode  int    `json:"errorCode"`  // of the error body
	TrackingID string `json:"trackingId"` // of the error body
	Status     string `json:"status"`     // of the registration, in a final answer
	Untold     bool   `json:"untold"`     // there was one, but the SDK does not repeat it
}

// deviceSDK is an official SDK for devices.
type deviceSDK struct {
	name       string
	transports []string
	tellsGroup bool               // the result says which group a certificate belongs to
	require    func(t *testing.T) // ends the test when the SDK is not installed
	run        func(s *service, t *testing.T, b batch) report
}

// deviceSDKs returns the SDKs in the order of the documentation.
func deviceSDKs() []deviceSDK {
	return []deviceSDK{
		{"python", []string{overMQTT, overMQTTWS}, false, func(t *testing.T) { requirePython(t) }, (*service).runPython},
		{"node", []string{overHTTPS, overMQTT, overMQTTWS}, true, func(t *testing.T) { requireNode(t) }, (*service).runNode},
		{"java", []string{overHTTPS, overMQTT, overMQTTWS}, false, func(t *testing.T) { requireJava(t) }, (*service).runJava},
	}
}

// runPython registers devices with the official Python SDK.
func (s *service) runPython(t *testing.T, b batch) report {
	t.Helper()
	return s.runBatch(t, b, program{name: requirePython(t), args: []string{filepath.Join("python", "register.py")}})
}

// runNode registers devices with the official Node.js SDK.
func (s *service) runNode(t *testing.T, b batch) report {
	t.Helper()
	name, modules := requireNode(t)
	p := program{name: name, args: []string{filepath.Join("node", "register.js")}}
	p.env = []string{"NODE_PATH=" + modules, "NODE_OPTIONS=" + b.options}
	if b.distrust {
		p.env = append(p.env, "NODE_EXTRA_CA_CERTS=")
	}
	return s.runBatch(t, b, p)
}

// runJava registers devices with the official Java SDK.
func (s *service) runJava(t *testing.T, b batch) report {
	t.Helper()
	store := ""
	if !b.distrust {
		store = s.trustStore(t)
	}
	return s.runBatch(t, b, java(t, store, "Register.java"))
}

// runBatch runs p and returns its report, which has an outcome for each device.
func (s *service) runBatch(t *testing.T, b batch, p program) report {
	t.Helper()
	job, err := json.Marshal(s.job(t, b))
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = job
	out := s.run(t, p)
	var r report
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil || out.code != 0 || len(r.Outcomes) != len(b.devices) {
		t.Fatalf("%s ended with code %d, %v and %d outcomes for %d devices:\n%s%s", p.args[0], out.code, err,
			len(r.Outcomes), len(b.devices), out.stdout, out.stderr)
	}
	return r
}

// job returns the object that the programs read.
func (s *service) job(t *testing.T, b batch) object {
	t.Helper()
	dir := t.TempDir()
	devices := make([]object, len(b.devices))
	for i, d := range b.devices {
		devices[i] = d.job(t, dir)
		if !b.distrust {
			devices[i]["caFile"] = s.info.CAFile
		}
	}
	return object{
		"host": hostName, "idScope": s.info.IDScope, "timeoutSeconds": deviceTimeout.Seconds(),
		"trace": b.trace, "devices": devices,
	}
}

// job returns the device's part of the object and leaves its files in dir.
func (d device) job(t *testing.T, dir string) object {
	t.Helper()
	o := object{"registrationId": d.id(), "transport": overHTTPS}
	if d.transport != "" {
		o["transport"] = d.transport
	}
	if d.idScope != "" {
		o["idScope"] = d.idScope
	}
	if d.payload != nil {
		o["payload"] = d.payload
	}
	if d.identity == nil {
		o["key"] = d.key
		return o
	}
	key, err := d.identity.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	name := d.identity.SHA256Thumbprint()
	o["certFile"] = writeFile(t, dir, name+".pem", d.identity.ChainPEM())
	o["keyFile"] = writeFile(t, dir, name+".key", key)
	return o
}

// id returns the registration ID.
func (d device) id() string {
	if d.registrationID == "" {
		return d.identity.Certificate.Subject.CommonName
	}
	return d.registrationID
}

// register registers a device with the official Node.js SDK.
func (s *service) register(t *testing.T, d device, options string) registration {
	t.Helper()
	r := s.runNode(t, batch{devices: []device{d}, options: options}).Outcomes[0]
	if r.Hung {
		t.Fatalf("the SDK has not finished after %v", deviceTimeout)
	}
	return r
}

// registerAssigned registers a device and checks that it ends on the embedded hub.
func (s *service) registerAssigned(t *testing.T, d device, deviceID string) registration {
	t.Helper()
	r := s.register(t, d, "")
	s.checkAssigned(t, r, deviceID)
	return r
}

// checkAssigned checks that a device was assigned to the embedded hub as deviceID.
func (s *service) checkAssigned(t *testing.T, r registration, deviceID string) {
	t.Helper()
	if r.Hung {
		t.Fatalf("the SDK has not finished after %v", deviceTimeout)
	}
	if r.Error != nil {
		t.Fatalf("the SDK reports %s", r.Error)
	}
	hub := s.info.Hubs[0].HostName
	if a := r.Assigned; a.Status != "assigned" || a.AssignedHub != hub || a.DeviceID != deviceID {
		t.Fatalf("registration = %+v; want status assigned, hub %q, device %q", *a, hub, deviceID)
	}
	if got := r.Assigned.Substatus; got != "initialAssignment" {
		t.Errorf("registration.substatus = %q, want initialAssignment", got)
	}
}

// String returns the error with its causes.
func (e *sdkError) String() string {
	text := e.Name
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Cause != nil {
		text += ", from " + e.Cause.String()
	}
	return text
}
