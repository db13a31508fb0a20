// Package device is the device's side of a Device Provisioning Service: a device
// says who it is, proves it, and is told which hub it belongs to.
//
//	a, err := device.Register(ctx, device.Options{
//		Endpoint:   "global.azure-devices-provisioning.net",
//		IDScope:    "0ne00000001",
//		Credential: device.X509(certificate),
//		Transport:  device.MQTT,
//	})
//
// It works with Mooring and with Azure IoT Hub Device Provisioning Service alike,
// over HTTPS, MQTT and MQTT over WebSocket, with X.509 certificates whose key may
// live in a TPM or HSM, and with symmetric keys.
// Source: azure-docs, articles/iot-dps/iot-dps-mqtt-support.md;
// azure-rest-api-specs, specification/deviceprovisioningservices.
package device

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net"
	"time"
)

// Transport is how a device talks to the service. Every transport uses TLS.
type Transport uint8

// The transports.
const (
	HTTPS         Transport = iota // port 443
	MQTT                           // MQTT 3.1.1, port 8883
	MQTTWebSocket                  // MQTT 3.1.1 in a WebSocket, port 443
)

// String returns the transport's name: https, mqtt or mqtt-ws.
func (t Transport) String() string {
	switch t {
	case HTTPS:
		return "https"
	case MQTT:
		return "mqtt"
	case MQTTWebSocket:
		return "mqtt-ws"
	default:
		return "unknown"
	}
}

// Options say which device registers where, and how.
type Options struct {
	// Endpoint is the service's host, or host:port. The port is 443 by default, and
	// 8883 for MQTT. The host is also the name that its certificate must have.
	Endpoint string

	// IDScope is the ID of the provisioning service instance.
	IDScope string

	// RegistrationID names the device: up to 128 letters, digits and any of "-._:".
	// With X509 it may be "", for the common name of the certificate.
	RegistrationID string

	// Credential is the device's proof.
	Credential Credential

	// Transport is HTTPS unless set.
	Transport Transport

	// Payload is given to whatever decides about the device, as JSON; nil for none.
	Payload any

	// RootCAs are the authorities that the service's certificate may come from; nil
	// for those of the system.
	RootCAs *x509.CertPool

	// Dial opens the TCP connection; nil for a plain net.Dialer. Proxies go here: none
	// is used otherwise.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// UserAgent tells the service what the device runs: printable ASCII, up to 256
	// characters. "" for the name of this package.
	UserAgent string

	// Retries is how often in all Register tries again after what may pass: an
	// answer of 429 or 5xx, a connection that was lost. 0 means 4, and a negative
	// number means never.
	Retries int

	// Trace is told how long the steps took; nil for nobody.
	Trace *Trace
}

// Trace holds functions that are called on the goroutine of Register when a step is
// done, with the time that this step took. Any may be nil. A step that is repeated
// is told again.
type Trace struct {
	// Connected: the connection stands, with TLS and where needed the WebSocket.
	Connected func(time.Duration)

	// Accepted: the service answered the registration. For MQTT this includes
	// connecting and subscribing.
	Accepted func(time.Duration)

	// Answered: the service decided. It includes the pauses between the questions
	// that the service asked for.
	Answered func(time.Duration)
}

// Assignment is where a device belongs.
type Assignment struct {
	Hub               string          // host name of the hub
	DeviceID          string          // the device's ID there
	RegistrationID    string          // as the service spells it
	EnrollmentGroupID string          // "" for an individual enrollment
	Substatus         string          // such as initialAssignment; "" when not told
	ETag              string          // of the registration
	Created, Updated  time.Time       // of the registration; zero when not told
	Payload           json.RawMessage // what the service has for the device; nil for nothing
	OperationID       string          // of this registration, for support
}

// Register proves who the device is and returns where it belongs.
//
// It asks again until the service has decided, after the pauses that the service
// asks for (between half a second and five minutes; 2 seconds when it names none),
// and ends with ctx. A context without a deadline lets it wait for as long as the
// service keeps the device waiting; a single connection or answer has 30 seconds.
//
// An answer of 429 or 5xx is asked for again, and a connection that is lost on the
// way is opened again, up to Options.Retries times in all, after the pause that the
// service names or else 1, 2, 4, ... seconds. A service that cannot be reached in
// the first place is an error at once.
//
// It fails with an *Error when the service refuses, a *FailedError when it could not
// place the device, ErrDisabled when the device is not to be served, ErrProtocol
// when an answer cannot be understood, and with ctx's error, joined with that of the
// last try if there was one.
func Register(ctx context.Context, o Options) (*Assignment, error) {
	p, err := o.plan()
	if err != nil {
		return nil, err
	}
	r := &run{plan: p}
	return r.register(ctx)
}
