package wire_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
)

// overMQTT are the transports that carry MQTT.
var overMQTT = []string{"mqtt", "mqtt-ws"}

const (
	registerTopic = "$dps/registrations/PUT/iotdps-register/?$rid=7"
	pollTopic     = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=7&operationId=x"
)

// connectionAttempts are the ways in which an MQTT connection is refused or ended.
func connectionAttempts(*testing.T, *world) []attempt {
	connect := func(reason dps.Reason, edit func(*packet.Connect)) attempt {
		return attempt{reason, overMQTT, func(t *testing.T, w *world, transport, mark string) heard {
			t.Helper()
			hello := w.hello("dev-" + mark)
			edit(hello)
			return w.converses(t, transport, hello.Append(nil), nil)
		}}
	}
	first := func(reason dps.Reason, text string) attempt {
		return attempt{reason, overMQTT, func(t *testing.T, w *world, transport, _ string) heard {
			t.Helper()
			return w.converses(t, transport, []byte(text), nil)
		}}
	}
	then := func(reason dps.Reason, sent []byte) attempt {
		return attempt{reason, overMQTT, func(t *testing.T, w *world, transport, mark string) heard {
			t.Helper()
			return w.converses(t, transport, w.hello("dev-"+mark).Append(nil), sent)
		}}
	}
	publish := func(topic string, qos packet.QoS) []byte {
		return (&packet.Publish{Topic: topic, QoS: qos, PacketID: uint16(qos)}).Append(nil)
	}
	subscribe := func(filter string) []byte {
		return (&packet.Subscribe{PacketID: 7, Subscriptions: []packet.Subscription{{Filter: filter}}}).Append(nil)
	}
	return append(
		webSocketAttempts(),
		connect(dps.ReasonMQTTVersion, func(p *packet.Connect) { p.Level = 5 }),
		first(dps.ReasonMQTTVersion, "\x10\x12\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x04dev1"),
		first(dps.ReasonPacketMalformed, "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a client that took the port for HTTP\r\n\r\n"),
		first(dps.ReasonPacketMalformed, "\xc0\x00"), // PINGREQ
		then(dps.ReasonPacketMalformed, []byte{0xc1, 0}),
		then(dps.ReasonPacketMalformed, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}),
		then(dps.ReasonPacketMalformed, (&packet.Connect{Level: packet.ProtocolLevel, CleanSession: true, ClientID: "dev"}).Append(nil)),
		then(dps.ReasonPacketMalformed, (&packet.Connack{}).Append(nil)),
		connect(dps.ReasonUsernameMalformed, func(p *packet.Connect) { p.HasUsername, p.HasPassword, p.Username = false, false, "" }),
		connect(dps.ReasonUsernameMalformed, func(p *packet.Connect) { p.Username = "dev" }),
		connect(dps.ReasonRegistrationIDMalformed, func(p *packet.Connect) { p.Username = strings.ReplaceAll(p.Username, "dev-", "dev%20") }),
		connect(dps.ReasonHubLogin, func(p *packet.Connect) { p.Username = "localhost/dev/?api-version=2021-04-12" }),
		connect(dps.ReasonClientIDMismatch, func(p *packet.Connect) { p.ClientID = "other" }),
		then(dps.ReasonTopicUnknown, publish("devices/dev/messages/events/", packet.AtLeastOnce)),
		then(dps.ReasonTopicUnknown, publish("/registrations/PUT/iotdps-register/?=7", packet.AtMostOnce)), // a shell took $dps and $rid
		then(dps.ReasonQoS2, publish(registerTopic, packet.ExactlyOnce)),
		then(dps.ReasonSubscriptionRefused, subscribe("#")),
		then(dps.ReasonSubscriptionRefused, subscribe("/registrations/res/#")),
		then(dps.ReasonNotSubscribed, publish(registerTopic, packet.AtMostOnce)),
		connect(dps.ReasonNoEvidence, func(p *packet.Connect) { p.HasPassword, p.Password = false, nil }),
		attempt{dps.ReasonNameMismatch, overMQTT, func(t *testing.T, w *world, transport, mark string) heard {
			t.Helper()
			w.declare(t, mark+` = device "dev-`+mark+`"`)
			hello := w.hello("other-" + mark)
			hello.HasPassword, hello.Password = false, nil
			return w.converses(t, transport, hello.Append(nil), nil, mark)
		}},
	)
}

// hello is the CONNECT of a device with a token, which is not looked at yet.
func (w *world) hello(id string) *packet.Connect {
	return &packet.Connect{
		Level: packet.ProtocolLevel, CleanSession: true, KeepAlive: 60, ClientID: id, HasUsername: true,
		Username: w.info.IDScope + "/registrations/" + id + "/api-version=2019-03-31", HasPassword: true, Password: []byte("token"),
	}
}

// converses sends a CONNECT and, if that is accepted, what follows it, and returns how the
// connection was refused.
func (w *world) converses(t *testing.T, transport string, first, then []byte, with ...string) heard {
	t.Helper()
	carrier, ok := transports[transport].(mqtt)
	if !ok {
		t.Fatalf("%s does not carry MQTT", transport)
	}
	c := carrier.open(t, w, with)
	if _, err := c.conn.Write(first); err != nil {
		t.Fatal(err)
	}
	for {
		p, err := c.reader.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection is not closed")
		}
		if err != nil {
			return closed
		}
		switch p := p.(type) {
		case *packet.Connack:
			if p.Code != packet.Accepted {
				text := fmt.Sprintf("CONNACK %d, %s", p.Code, p.Code)
				return heard{text, text}
			}
			_, _ = c.conn.Write(then) // may be cut short
		case *packet.Suback:
			c.send(&packet.Disconnect{})
			if len(p.Codes) != 1 || p.Codes[0] != packet.SubscribeFailed {
				t.Fatalf("SUBACK %v", p.Codes)
			}
			return heard{"SUBACK 0x80", "SUBACK 0x80"}
		default:
			t.Fatalf("received %T", p)
		}
	}
}

// webSocketAttempts are WebSocket handshakes that are refused.
func webSocketAttempts() []attempt {
	request := func(path string, header http.Header) attempt {
		return attempt{dps.ReasonWebSocketRefused, []string{"mqtt-ws"}, func(t *testing.T, w *world, _, _ string) heard {
			t.Helper()
			all := http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Protocol": {"mqtt"},
			}
			for name, values := range header {
				all[name] = values
			}
			r := w.do(t, call{method: "GET", path: path, header: all, body: http.NoBody})
			if r.status < http.StatusBadRequest {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if strings.HasPrefix(r.body, "{") {
				return inBody(t, r.status, r.body, "")
			}
			text := fmt.Sprintf("status %d: %s", r.status, strings.TrimSpace(r.body))
			return heard{text, text}
		}}
	}
	return []attempt{
		request("/$iothub/websocket", http.Header{"Sec-Websocket-Protocol": {"amqp"}}),
		request("/$iothub/websocket", http.Header{"Sec-Websocket-Version": {"8"}}),
		request("/$iothub/websocket", http.Header{"Sec-Websocket-Key": {"short"}}),
		request("/websocket", nil),
	}
}
