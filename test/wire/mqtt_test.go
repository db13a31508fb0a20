package wire_test

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/wsconn"
)

// mqtt carries operations as messages, each over a connection of its own.
// Source: azure-docs, articles/iot-dps/iot-mqtt-connect-to-iot-dps.md.
type mqtt struct {
	// dial opens the connection; shown is the client's certificate.
	dial func(ctx context.Context, w *world, shown *tls.Certificate) (net.Conn, error)
}

// offers is false for look-up, which MQTT does not have.
func (mqtt) offers(name string) bool { return name != "lookup" }

func (m mqtt) do(t *testing.T, w *world, o operation) outcome {
	t.Helper()
	c := m.open(t, w, o.with)
	username := o.scope + "/registrations/" + o.id + "/api-version=" + o.version
	c.send(
		&packet.Connect{
			Level:        packet.ProtocolLevel,
			CleanSession: true,
			KeepAlive:    60,
			ClientID:     o.id,
			Username:     username,
			HasUsername:  true,
			HasPassword:  o.token != "",
			Password:     []byte(o.token),
		},
	)
	if ack := receive[*packet.Connack](c); ack.Code != packet.Accepted {
		t.Fatalf("%s %s: CONNECT refused: %s", o.name, o.id, ack.Code)
	}
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "$dps/registrations/res/#", QoS: packet.AtLeastOnce}}})
	receive[*packet.Suback](c)
	topic := "$dps/registrations/PUT/iotdps-register/?$rid=7"
	if o.name == "poll" {
		topic = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=7&operationId=" + o.operation
	}
	c.send(&packet.Publish{Topic: topic, Payload: []byte(o.body), QoS: packet.AtLeastOnce, PacketID: 2})
	receive[*packet.Puback](c)
	answer := receive[*packet.Publish](c)
	c.send(&packet.Disconnect{})
	return parseAnswer(t, answer)
}

// parseAnswer reads $dps/registrations/res/{status}/?$rid={id}[&retry-after={seconds}].
func parseAnswer(t *testing.T, p *packet.Publish) outcome {
	t.Helper()
	text, isAnswer := strings.CutPrefix(p.Topic, "$dps/registrations/res/")
	number, query, hasQuery := strings.Cut(text, "/?$rid=7")
	status, err := strconv.Atoi(number)
	if !isAnswer || !hasQuery || err != nil {
		t.Fatalf("answer on topic %s", p.Topic)
	}
	return outcome{status: status, retryAfter: strings.TrimPrefix(query, "&retry-after="), body: string(p.Payload)}
}

// mqttClient is one connection.
type mqttClient struct {
	t      *testing.T
	conn   net.Conn
	reader *packet.Reader
}

func (m mqtt) open(t *testing.T, w *world, with []string) *mqttClient {
	t.Helper()
	shown := w.show(t, with)
	if shown == nil {
		shown = &tls.Certificate{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := m.dial(ctx, w, shown)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &mqttClient{t: t, conn: conn, reader: packet.NewReader(conn, 1<<20)}
}

// dialTLS connects to the mqtt listener.
func dialTLS(ctx context.Context, w *world, shown *tls.Certificate) (net.Conn, error) {
	return tlsDialer(w, shown).DialContext(ctx, "tcp", w.info.Listeners["mqtt"])
}

// dialWebSocket connects to the https listener, as the Azure SDKs do.
func dialWebSocket(ctx context.Context, w *world, shown *tls.Certificate) (net.Conn, error) {
	return wsconn.Dial(ctx, "wss://"+w.info.ServiceEndpoint+"/$iothub/websocket", wsconn.DialOptions{
		Protocols: []string{"MQTT"},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return tlsDialer(w, shown).DialContext(ctx, network, w.addr)
		},
	})
}

func tlsDialer(w *world, shown *tls.Certificate) *tls.Dialer {
	return &tls.Dialer{Config: &tls.Config{
		RootCAs: w.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil },
	}}
}

func (c *mqttClient) send(p packet.Packet) {
	c.t.Helper()
	if _, err := c.conn.Write(p.Append(nil)); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads a packet that has to be a P.
func receive[P packet.Packet](c *mqttClient) P {
	c.t.Helper()
	got, err := c.reader.Read()
	if err != nil {
		c.t.Fatal(err)
	}
	p, ok := got.(P)
	if !ok {
		c.t.Fatalf("received %T, want %T", got, p)
	}
	return p
}
