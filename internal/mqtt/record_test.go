package mqtt_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
)

// refusedCase is a way to be refused, with what is recorded of it.
type refusedCase struct {
	name     string
	hello    func(*packet.Connect)
	chain    []*x509.Certificate
	raw      []byte // sent instead of CONNECT
	send     []byte // sent after CONNECT
	reason   dps.Reason
	id       string
	contains string // in what was found
	answer   string
	remedy   string // in the remedy
}

func (w *world) refusedCases(t *testing.T) []refusedCase {
	t.Helper()
	publish := func(topic string, qos packet.QoS) []byte {
		return (&packet.Publish{Topic: topic, QoS: qos, PacketID: uint16(qos)}).Append(nil)
	}
	subscribe := func(filters ...string) []byte {
		p := &packet.Subscribe{PacketID: 7}
		for _, f := range filters {
			p.Subscriptions = append(p.Subscriptions, packet.Subscription{Filter: f})
		}
		return p.Append(nil)
	}
	const closed, not = "The connection was closed.", "CONNACK 5, not authorized"
	return []refusedCase{
		{"level 5", func(p *packet.Connect) { p.Level = 5 }, nil, nil, nil, dps.ReasonMQTTVersion, "", "MQTT 5", "CONNACK 1", "3.1.1"},
		{
			"level 3", nil, nil, []byte("\x10\x17\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x09sensor-31"), nil, dps.ReasonMQTTVersion, "sensor-31",
			"MQTT 3.1", "CONNACK 1", "3.1.1",
		},
		{
			"no user name", func(p *packet.Connect) { p.HasUsername, p.HasPassword = false, false }, nil, nil, nil, dps.ReasonUsernameMalformed,
			"dev-1", "no user name", "CONNACK 4", "{idScope}",
		},
		{
			"user name", func(p *packet.Connect) { p.Username = "dev-1" }, nil, nil, nil, dps.ReasonUsernameMalformed, "dev-1", `"dev-1"`,
			"CONNACK 4", "{idScope}",
		},
		{
			"registration ID", func(p *packet.Connect) { p.Username = "0ne00000000/registrations/dev%201/api-version=2019-03-31" }, nil, nil, nil,
			dps.ReasonRegistrationIDMalformed, "dev-1", "dev%201", "CONNACK 4", "1 to 128",
		},
		{
			"client ID", func(p *packet.Connect) { p.ClientID = "dev-2" }, nil, nil, nil, dps.ReasonClientIDMismatch, "dev-1", `"dev-2"`, not,
			"client ID",
		},
		{
			"no proof", func(p *packet.Connect) { p.HasPassword = false }, nil, nil, nil, dps.ReasonNoEvidence, "dev-1", "neither", not,
			"certificate",
		},
		{
			"certificate of another", func(p *packet.Connect) { p.HasPassword = false }, w.leaf(t, "dev-2").Chain, nil, nil,
			dps.ReasonNameMismatch, "dev-1", `"dev-2"`, not, "common name",
		},
		{
			"no CONNECT", nil, w.leaf(t, "dev-2").Chain, (&packet.Pingreq{}).Append(nil), nil, dps.ReasonPacketMalformed, "dev-2", "not CONNECT",
			closed, "",
		},
		{
			"HTTP", nil, nil, []byte("GET / HTTP/1.1\r\nHost: localhost:8883\r\nUser-Agent: something that mistook the port for HTTP\r\n\r\n"),
			nil, dps.ReasonPacketMalformed, "", "", closed, "",
		},
		{"malformed", nil, nil, nil, []byte{0xc1, 0}, dps.ReasonPacketMalformed, "dev-1", "malformed", closed, ""},
		{"too large", nil, nil, nil, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, dps.ReasonPacketMalformed, "dev-1", "too large", closed, ""},
		{"second CONNECT", nil, nil, nil, w.hello("dev-1", "x").Append(nil), dps.ReasonPacketMalformed, "dev-1", "second", closed, ""},
		{"CONNACK", nil, nil, nil, (&packet.Connack{}).Append(nil), dps.ReasonPacketMalformed, "dev-1", "servers", closed, ""},
		{"QoS 2", nil, nil, nil, publish(registerTopic("1"), packet.ExactlyOnce), dps.ReasonQoS2, "dev-1", "QoS 2", closed, "QoS 0 or 1"},
		{
			"topic", nil, nil, nil, publish("devices/dev-1/messages/events/", 1), dps.ReasonTopicUnknown, "dev-1",
			`"devices/dev-1/messages/events/"`, closed, "$dps/registrations/PUT",
		},
		{
			"$dps and $rid eaten", nil, nil, nil, publish("/registrations/PUT/iotdps-register/?=1", 0), dps.ReasonTopicUnknown, "dev-1",
			"/registrations", closed, "single quotes",
		},
		{
			"$rid eaten", nil, nil, nil, publish("$dps/registrations/PUT/iotdps-register/?=1", 0), dps.ReasonTopicUnknown, "dev-1", "?=1", closed,
			"single quotes",
		},
		{
			"$rid of a poll eaten", nil, nil, nil, publish("$dps/registrations/GET/iotdps-get-operationstatus/?operationId=x&=1", 0),
			dps.ReasonTopicUnknown, "dev-1", "&=1", closed, "single quotes",
		},
		{
			"no subscription", nil, nil, nil, publish(registerTopic("1"), 0), dps.ReasonNotSubscribed, "dev-1", "without a subscription", closed,
			"same connection",
		},
		{
			"filter", nil, nil, nil, subscribe("$dps/registrations/res/200/#", "#"), dps.ReasonSubscriptionRefused, "dev-1", "res/200",
			"SUBACK 0x80", "$dps/registrations/res/#",
		},
		{
			"$dps of a filter eaten", nil, nil, nil, subscribe("/registrations/res/#"), dps.ReasonSubscriptionRefused, "dev-1",
			`"/registrations/res/#"`, "SUBACK 0x80", "single quotes",
		},
	}
}

// Whoever is refused on a connection, whatever the way, can find out why.
func TestRefusalsAreRecorded(t *testing.T) {
	w := newWorld(t)
	for _, tt := range w.refusedCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, w.Server, tt.chain)
			hello := w.hello("dev-1", "SharedAccessSignature secret")
			if tt.hello != nil {
				tt.hello(hello)
			}
			first := hello.Append(nil)
			if tt.raw != nil {
				first = tt.raw
			}
			c.exchange(t, first, tt.send)
			all := w.kept.take()
			if len(all) != 1 {
				t.Fatalf("%d refusals are recorded: %+v", len(all), all)
			}
			r, d := all[0], all[0].Decision
			if d.Reason != tt.reason || string(r.ID) != tt.id || !strings.Contains(d.Checks[0].Detail, tt.contains) ||
				!strings.HasPrefix(d.Answer, tt.answer) || !strings.Contains(d.Remedy, tt.remedy) || d.Remedy == "" {
				t.Errorf("recorded of %q: %s, %+v, answer %q, remedy %q", r.ID, d.Reason, d.Checks, d.Answer, d.Remedy)
			}
			if r.Transport != dps.MQTTWebSocket || r.Remote == "" || r.TrackingID == "" || r.Instance != dps.DefaultInstance ||
				r.Evidence.Presented != len(tt.chain) {
				t.Errorf("recorded %+v", r)
			}
			if !strings.Contains(w.log.String(), r.TrackingID) {
				t.Error("the log does not know the tracking ID")
			}
		})
	}
	if log := w.log.String(); strings.Contains(log, "secret") || longestLine(log) > 2000 {
		t.Error("the log holds a token, or a very long line")
	}
}

// exchange sends a CONNECT and what follows it, and returns when the server is done with
// the connection.
func (c *client) exchange(t *testing.T, first, rest []byte) {
	t.Helper()
	if _, err := c.Write(first); err != nil {
		t.Fatal(err)
	}
	if rest != nil {
		next[*packet.Connack](t, c)
		_, _ = c.Write(rest) // may be cut short
	}
	for {
		p, err := c.r.Read()
		if err != nil {
			return
		}
		if _, subscribed := p.(*packet.Suback); subscribed {
			c.send(t, &packet.Disconnect{})
		}
	}
}

// What is answered as on HTTPS is recorded too, once.
func TestRequestsThatFailAreRecorded(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, dps.Individual, "dev-1", nil).Primary
	for _, tt := range []struct {
		name, username, topic, body string
		reason                      dps.Reason
		answer                      string
	}{
		{"scope", "0neFFFFFFFF/registrations/dev-1/api-version=2019-03-31", registerTopic("1"), "", dps.ReasonScopeUnknown, "status 404"},
		{"version", w.scope + "/registrations/dev-1/api-version=soon", registerTopic("1"), "", dps.ReasonAPIVersion, "status 400"},
		{"version of a poll", w.scope + "/registrations/dev-1/api-version=soon", pollTopic("1", "x"), "", dps.ReasonAPIVersion, "status 400"},
		{"body", "", registerTopic("1"), "{", dps.ReasonBodyMalformed, "status 400"},
		{"other ID", "", registerTopic("1"), `{"registrationId":"dev-2"}`, dps.ReasonBodyMalformed, "status 400"},
		{"operation", "", pollTopic("1", "4.0123456789abcdef.x"), "", dps.ReasonOperationUnknown, "status 404"},
		{"wrong key", "", registerTopic("1"), "", dps.ReasonWrongKey, "Unauthorized"},
	} {
		hello := w.hello("dev-1", w.token("dev-1", key))
		if tt.username != "" {
			hello.Username = tt.username
		}
		if tt.reason == dps.ReasonWrongKey {
			hello.Password = []byte(w.token("dev-1", dps.NewKey()))
		}
		c := w.device(t, hello, nil, packet.AtMostOnce)
		a := c.ask(t, tt.topic, tt.body)
		all := w.kept.take()
		if len(all) != 1 || all[0].Decision.Reason != tt.reason || all[0].ID != "dev-1" || all[0].TrackingID != a.TrackingID ||
			!strings.HasPrefix(all[0].Decision.Answer, tt.answer) || all[0].Attestation != dps.SymmetricKey {
			t.Errorf("%s: recorded %+v", tt.name, all)
		}
		must(t, c.Close())
	}
}

// A client that subscribes wrongly again and again is recorded once for each connection.
func TestSubscriptionFlood(t *testing.T) {
	w := newWorld(t)
	c := open(t, w.Server, nil)
	c.accepted(t, w.hello("dev-1", "x"))
	for range 100 {
		c.send(t, &packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "a"}, {Filter: "b"}}})
		next[*packet.Suback](t, c)
	}
	if n := len(w.kept.take()); n != 1 {
		t.Errorf("%d refusals are recorded", n)
	}
}
