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
)

// mqtt carries operations as messages, each over a connection of its own.
// Source: azure-docs, articles/iot-dps/iot-mqtt-connect-to-iot-dps.md.
type mqtt struct{}

// offers is false for look-up, which MQTT does not have.
func (mqtt) offers(name string) bool { return name != "lookup" }

func (mqtt) do(t *testing.T, w *world, o operation) outcome {
	t.Helper()
	c := dialMQTT(t, w, o.with)
	username := o.scope + "/registrations/" + o.id + "/api-version=" + o.version
	c.send(&packet.Connect{Level: packet.ProtocolLevel, CleanSession: true, KeepAlive: 60, ClientID: o.id, Username: username, HasUsername: true})
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

func dialMQTT(t *testing.T, w *world, with []string) *mqttClient {
	t.Helper()
	shown := w.show(t, with)
	if shown == nil {
		shown = &tls.Certificate{}
	}
	dialer := &tls.Dialer{Config: &tls.Config{
		RootCAs: w.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil },
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", w.info.Listeners["mqtt"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &mqttClient{t: t, conn: conn, reader: packet.NewReader(conn, 1<<20)}
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
