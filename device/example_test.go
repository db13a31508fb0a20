package device_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/mooring-iot/mooring/device"
)

// A device with a certificate, over HTTPS. The registration ID is the common name of
// the certificate, and the private key may be any crypto.Signer, such as one in a TPM.
func Example_x509() {
	endpoint, stop := exampleService(device.HTTPS, assigned)
	defer stop()

	certificate := newCertificate("sensor-7") // tls.LoadX509KeyPair("sensor-7.chain.pem", "sensor-7.key.pem")

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := device.Register(ctx, device.Options{
		Endpoint:   endpoint, // such as dps.example.com
		IDScope:    "0ne00000001",
		Credential: device.X509(certificate),
		RootCAs:    roots(), // leave it out where the system trusts the service
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.DeviceID, "belongs to", a.Hub)
	// Output: sensor-7 belongs to hub.example.net
}

// A device with a key of its own, over MQTT.
func Example_symmetricKey() {
	endpoint, stop := exampleService(device.MQTT, assigned)
	defer stop()

	key, err := base64.StdEncoding.DecodeString("MDEyMzQ1Njc4OWFiY2RlZg==")
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := device.Register(context.Background(), device.Options{
		Endpoint:       endpoint,
		IDScope:        "0ne00000001",
		RegistrationID: "sensor-7",
		Credential:     device.SymmetricKey(key),
		Transport:      device.MQTT,
		RootCAs:        roots(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.DeviceID, "belongs to", a.Hub)
	// Output: sensor-7 belongs to hub.example.net
}

// A device of an enrollment group, over MQTT over WebSocket. It sends a payload, and
// is given one.
func Example_groupKey() {
	endpoint, stop := exampleService(device.MQTTWebSocket, assigned)
	defer stop()

	a, err := device.Register(context.Background(), device.Options{
		Endpoint:       endpoint,
		IDScope:        "0ne00000001",
		RegistrationID: "sensor-7",
		Credential:     device.GroupKey([]byte("the key of the group, decoded")),
		Transport:      device.MQTTWebSocket,
		Payload:        map[string]string{"model": "s7"},
		RootCAs:        roots(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.EnrollmentGroupID, string(a.Payload))
	// Output: line-7 {"line":7}
}

// The errors tell who has to do something about them.
func Example_errors() {
	endpoint, stop := exampleService(device.HTTPS, refused)
	defer stop()

	_, err := device.Register(context.Background(), device.Options{
		Endpoint:       endpoint,
		IDScope:        "0ne00000001",
		RegistrationID: "sensor-7",
		Credential:     device.SymmetricKey([]byte("a wrong key")),
		RootCAs:        roots(),
	})
	var refusal *device.Error
	var failed *device.FailedError
	switch {
	case errors.As(err, &refusal) && refusal.Temporary():
		fmt.Println("try again later")
	case errors.As(err, &refusal):
		fmt.Println("refused:", refusal.Status, refusal.Code, refusal.Message, refusal.TrackingID)
	case errors.As(err, &failed):
		fmt.Println("no hub:", failed.Code, failed.Message)
	case errors.Is(err, device.ErrDisabled):
		fmt.Println("this device is not to be served")
	}
	// Output: refused: 401 401002 Unauthorized t-2
}

// The key of one device of a group, computed where the group's key is safe.
func ExampleDeriveKey() {
	group, err := base64.StdEncoding.DecodeString("8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(base64.StdEncoding.EncodeToString(device.DeriveKey(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")))
	// Output: Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=
}

// exampleService starts a service on this machine that gives one reply. It returns
// its endpoint and what stops it.
func exampleService(transport device.Transport, r reply) (endpoint string, stop func()) {
	f := newFake(script(r))
	l, err := tls.Listen("tcp", "127.0.0.1:0", f.tls)
	if err != nil {
		panic(err)
	}
	if transport != device.MQTT {
		f.tasks.Go(func() {
			if err := f.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				panic(err)
			}
		})
		return l.Addr().String(), f.stop
	}
	f.tasks.Go(func() { f.acceptMQTT(l) })
	return l.Addr().String(), func() { _ = l.Close(); f.stop() }
}

func (f *fake) acceptMQTT(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.tasks.Go(func() {
			defer c.Close()
			if secure, ok := c.(*tls.Conn); ok && secure.Handshake() == nil {
				f.serveMQTT(c, secure.ConnectionState())
			}
		})
	}
}
