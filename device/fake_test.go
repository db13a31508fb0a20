package device_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mooring-iot/mooring/device"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/wsconn"
)

// The steps of a device that the fake service is asked about.
const (
	connecting  = "connect"   // MQTT
	subscribing = "subscribe" // MQTT
	registering = "register"
	polling     = "poll"
)

// request is what the fake service sees of a step.
type request struct {
	step      string
	number    int    // among the requests of this step, from 1
	path      string // URL path and query, or topic
	operation string // when polling
	body      []byte
	token     string // SAS
	agent     string
	connect   *packet.Connect // MQTT
	cert      *x509.Certificate
}

// reply is what the fake service does about a request.
type reply struct {
	status int // of HTTP, also for MQTT; CONNACK or SUBACK code for those steps
	body   string
	retry  string // retry-after; "" for none

	drop  bool // close the connection instead
	hang  bool // say nothing instead, until the device closes
	early bool // MQTT: answer before the acknowledgement
	other bool // MQTT: first an answer to somebody else's request, at QoS 0
	raw   string
}

// Replies of the service, as they are on the wire.
var (
	accepted  = reply{status: 202, retry: "3", body: `{"operationId":"5.op-1","status":"assigning"}`}
	assigning = reply{
		status: 202,
		retry:  "3",
		body:   `{"operationId":"5.op-1","status":"assigning","registrationState":{"registrationId":"sensor-7","status":"assigning"}}`,
	}
	assigned = reply{
		status: 200,
		body: `{"operationId":"5.op-1","status":"assigned","registrationState":{"x509":{"enrollmentGroupId":"line-7"},` +
			`"registrationId":"sensor-7","createdDateTimeUtc":"2025-03-04T05:06:07.1234567Z","assignedHub":"hub.example.net","deviceId":"sensor-7",` +
			`"status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"2025-03-04T05:06:08Z","etag":"IjE=","payload":{"line":7}}}`,
	}
	throttled = reply{
		status: 429,
		retry:  "7",
		body:   `{"errorCode":429001,"trackingId":"t-1","message":"Operations are being throttled for this tenant.","timestampUtc":"2025-03-04T05:06:07Z"}`,
	}
	refused = reply{
		status: 401,
		body:   `{"errorCode":401002,"trackingId":"t-2","message":"Unauthorized","timestampUtc":"2025-03-04T05:06:07Z"}`,
	}
)

// fake is a provisioning service that does as it is told.
type fake struct {
	handle func(request) reply
	server *http.Server
	tls    *tls.Config
	accept chan net.Conn // of the HTTP server
	done   chan struct{}
	tasks  sync.WaitGroup

	mu sync.Mutex
	seen
}

// seen is what the fake service has seen so far.
type seen struct {
	steps    map[string]int
	requests []request
	dials    int
	pings    int
	goodbyes int // DISCONNECT packets
}

// sofar returns what the service has seen when nothing goes on any more.
func (f *fake) sofar() seen {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// testServer lends its certificate, which is for example.com and 127.0.0.1.
var testServer = sync.OnceValue(func() *httptest.Server {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	srv.Close()
	return srv
})

func roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(testServer().Certificate())
	return pool
}

func newFake(handle func(request) reply) *fake {
	f := &fake{
		handle: handle, accept: make(chan net.Conn), done: make(chan struct{}), seen: seen{steps: map[string]int{}},
		tls: &tls.Config{Certificates: testServer().TLS.Certificates, ClientAuth: tls.RequestClientCert},
	}
	f.server = &http.Server{Handler: http.HandlerFunc(f.serveHTTP), ErrorLog: log.New(io.Discard, "", 0)}
	f.tasks.Go(func() { _ = f.server.Serve(tls.NewListener(f, f.tls)) })
	return f
}

// stop ends the service and waits for it.
func (f *fake) stop() {
	close(f.done)
	_ = f.server.Close()
	f.tasks.Wait()
}

// Accept, Close and Addr make the fake the listener of its HTTP server.
func (f *fake) Accept() (net.Conn, error) {
	select {
	case c := <-f.accept:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *fake) Close() error   { return nil }
func (f *fake) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects a device in memory. The port tells what it wants to speak.
func (f *fake) dial(_ context.Context, _, addr string) (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	f.mu.Unlock()
	left, right := net.Pipe()
	theirs, ours := f.buffer(left), f.buffer(right)
	switch addr {
	case "example.com:8883":
		f.tasks.Go(func() {
			c := tls.Server(ours, f.tls)
			defer ours.Close()
			if c.Handshake() == nil {
				f.serveMQTT(c, c.ConnectionState())
			}
		})
	case "example.com:443":
		select {
		case f.accept <- ours:
		case <-f.done:
			return nil, errors.New("the service has stopped")
		}
	default:
		return nil, fmt.Errorf("unexpected address %q", addr)
	}
	return theirs, nil
}

// buffered is an end of a pipe that takes what is written as a socket does, without
// waiting for the other end to read it.
type buffered struct {
	net.Conn
	mu    sync.Mutex
	queue chan []byte // nil when closed
}

func (f *fake) buffer(c net.Conn) *buffered {
	queue := make(chan []byte, 100)
	f.tasks.Go(func() {
		defer c.Close()
		for b := range queue {
			_, _ = c.Write(b)
		}
	})
	return &buffered{Conn: c, queue: queue}
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue == nil {
		return 0, net.ErrClosed
	}
	b.queue <- bytes.Clone(p)
	return len(p), nil
}

// Close lingers for a second with what was not read yet.
func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue == nil {
		return net.ErrClosed
	}
	close(b.queue)
	b.queue = nil
	return errors.Join(b.Conn.SetReadDeadline(time.Now()), b.Conn.SetWriteDeadline(time.Now().Add(time.Second)))
}

func (b *buffered) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue == nil {
		return net.ErrClosed
	}
	return b.Conn.SetReadDeadline(t)
}

func (b *buffered) SetDeadline(t time.Time) error    { return b.SetReadDeadline(t) }
func (b *buffered) SetWriteDeadline(time.Time) error { return nil }

// ask has the test decide about a step.
func (f *fake) ask(r request, state *tls.ConnectionState) reply {
	if state != nil && len(state.PeerCertificates) > 0 {
		r.cert = state.PeerCertificates[0]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps[r.step]++
	r.number = f.steps[r.step]
	f.requests = append(f.requests, r)
	return f.handle(r)
}

func (f *fake) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/$iothub/websocket" {
		c, _, err := wsconn.Accept(w, r, "mqtt")
		if err == nil {
			defer c.Close()
			f.serveMQTT(c, *r.TLS)
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	q := request{step: registering, path: r.URL.String(), body: body, token: r.Header.Get("Authorization"), agent: r.UserAgent()}
	if r.Method == http.MethodGet {
		q.step = polling
		_, q.operation, _ = strings.Cut(r.URL.Path, "/operations/")
	}
	a := f.ask(q, r.TLS)
	switch {
	case a.drop:
		panic(http.ErrAbortHandler)
	case a.hang:
		<-r.Context().Done()
		return
	}
	if a.retry != "" {
		w.Header().Set("Retry-After", a.retry)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-ms-request-id", "header-id")
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// serveMQTT speaks MQTT until somebody closes.
func (f *fake) serveMQTT(c net.Conn, state tls.ConnectionState) {
	packets := packet.NewReader(c, 1<<20)
	var connect *packet.Connect
	for {
		p, err := packets.Read()
		if err != nil {
			return
		}
		var ok bool
		switch p := p.(type) {
		case *packet.Connect:
			connect = p
			ok = f.settle(c, request{step: connecting, token: string(p.Password), connect: p}, &state,
				func(a reply) packet.Packet { return &packet.Connack{Code: packet.ReturnCode(a.status)} })
		case *packet.Subscribe:
			ok = f.settle(c, request{step: subscribing, path: p.Subscriptions[0].Filter}, &state,
				func(a reply) packet.Packet {
					return &packet.Suback{PacketID: p.PacketID, Codes: []byte{byte(a.status)}}
				})
		case *packet.Publish:
			ok = f.publish(c, p, connect, &state)
		case *packet.Pingreq:
			f.count(&f.pings)
			ok = write(c, &packet.Pingresp{})
		case *packet.Puback:
			ok = true
		case *packet.Disconnect:
			f.count(&f.goodbyes)
			_, _ = io.Copy(io.Discard, c)
		}
		if !ok {
			return
		}
	}
}

func (f *fake) count(n *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
}

func write(c net.Conn, packets ...packet.Packet) bool {
	var b []byte
	for _, p := range packets {
		b = p.Append(b)
	}
	_, err := c.Write(b)
	return err == nil
}

// settle answers CONNECT and SUBSCRIBE. It reports false when the connection ends.
func (f *fake) settle(c net.Conn, q request, state *tls.ConnectionState, answer func(reply) packet.Packet) bool {
	a := f.ask(q, state)
	switch {
	case a.drop:
		return false
	case a.hang:
		_, _ = io.Copy(io.Discard, c)
		return false
	case a.raw != "":
		_, err := io.WriteString(c, a.raw)
		return err == nil
	}
	return write(c, answer(a))
}

// publish answers a request.
func (f *fake) publish(c net.Conn, p *packet.Publish, connect *packet.Connect, state *tls.ConnectionState) bool {
	name, query, _ := strings.Cut(p.Topic, "/?")
	values, _ := url.ParseQuery(query)
	q := request{step: registering, path: p.Topic, body: p.Payload, connect: connect, operation: values.Get("operationId")}
	if strings.HasSuffix(name, "iotdps-get-operationstatus") {
		q.step = polling
	}
	a := f.ask(q, state)
	ack := &packet.Puback{PacketID: p.PacketID}
	if a.drop {
		return false
	}
	if a.hang {
		write(c, ack)
		_, _ = io.Copy(io.Discard, c)
		return false
	}
	if a.raw != "" {
		_, err := io.WriteString(c, a.raw)
		return err == nil
	}
	topic := "$dps/registrations/res/" + strconv.Itoa(a.status) + "/?$rid=" + values.Get("$rid")
	if a.retry != "" {
		topic += "&retry-after=" + a.retry
	}
	packets := []packet.Packet{ack, &packet.Publish{Topic: topic, Payload: []byte(a.body), QoS: packet.AtLeastOnce, PacketID: 77}}
	if a.other {
		packets = append([]packet.Packet{&packet.Publish{Topic: "$dps/registrations/res/404/?$rid=somebody", Payload: []byte("{}")}}, packets...)
	}
	if a.early {
		packets[0], packets[1] = packets[1], packets[0]
	}
	return write(c, packets...)
}

// script replies to registering and polling in order, and repeats the last one; MQTT
// connects and subscribes as it should.
func script(replies ...reply) func(request) reply {
	return func(q request) reply {
		switch q.step {
		case connecting:
			return reply{status: int(packet.Accepted)}
		case subscribing:
			return reply{status: int(packet.AtLeastOnce)}
		}
		r := replies[0]
		if len(replies) > 1 {
			replies = replies[1:]
		}
		return r
	}
}

// deviceKey is the key of the device in most tests.
var deviceKey = []byte("0123456789abcdef")

// bubble runs a test of one transport in fake time, against a fake service, with
// options that work. It fails when anything is still running afterwards.
func bubble(t *testing.T, transport device.Transport, handle func(request) reply, test func(t *testing.T, f *fake, o device.Options)) {
	t.Helper()
	testServer()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(handle)
		defer f.stop()
		test(t, f, device.Options{
			Endpoint: "example.com", IDScope: "0ne00000001", RegistrationID: "sensor-7",
			Credential: device.SymmetricKey(deviceKey), Transport: transport, RootCAs: roots(), Dial: f.dial,
		})
	})
}

// everyTransport runs a test on each.
func everyTransport(t *testing.T, test func(t *testing.T, transport device.Transport)) {
	t.Helper()
	for _, transport := range []device.Transport{device.HTTPS, device.MQTT, device.MQTTWebSocket} {
		t.Run(transport.String(), func(t *testing.T) { test(t, transport) })
	}
}

// newCertificate makes a self-signed certificate of a device with these common names.
func newCertificate(commonNames ...string) tls.Certificate {
	var subject pkix.Name
	for _, name := range commonNames {
		subject.ExtraNames = append(subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name})
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
