package mqtt_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func TestConnectAccepted(t *testing.T) {
	w := newWorld(t)
	key := dps.NewKey() // whether it is the right one shows later
	chain, other := w.leaf(t, "Dev-1").Chain, w.leaf(t, "other").Chain
	for _, tt := range []struct {
		name  string
		edit  func(*packet.Connect)
		token string
		chain []*x509.Certificate
	}{
		{"token", nil, w.token("dev-1", key), nil},
		{"session to be kept", func(p *packet.Connect) { p.CleanSession = false }, w.token("dev-1", key), nil},
		{"no keep-alive", func(p *packet.Connect) { p.KeepAlive = 0 }, w.token("dev-1", key), nil},
		{"a will", func(p *packet.Connect) {
			p.Will = &packet.Will{Topic: "$dps/registrations/res/200/?$rid=1", Message: []byte("gone"), QoS: packet.AtLeastOnce, Retain: true}
		}, w.token("dev-1", key), nil},
		{"no token at all", func(p *packet.Connect) { p.HasPassword, p.Password = true, []byte("let me in") }, "", nil},
		{"certificate, name in other case", nil, "", chain},
		{"certificate and empty password", func(p *packet.Connect) { p.HasPassword = true }, "", chain},
		{"token beside another's certificate", nil, w.token("dev-1", key), other},
		{"client ID in other case", func(p *packet.Connect) { p.ClientID = "DEV-1" }, w.token("dev-1", key), nil},
		{
			"unknown scope", func(p *packet.Connect) { p.Username = "0neFFFFFFFF/registrations/dev-1/api-version=2019-03-31" },
			w.token("dev-1", key), nil,
		},
		{
			"unknown version", func(p *packet.Connect) { p.Username = w.scope + "/registrations/dev-1/api-version=2035-01-01" },
			w.token("dev-1", key), nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hello := w.hello("dev-1", tt.token)
			if tt.edit != nil {
				tt.edit(hello)
			}
			c := open(t, w.Server, tt.chain)
			c.accepted(t, hello)
			c.alive(t)
		})
	}
}

func TestConnectRefused(t *testing.T) {
	w := newWorld(t)
	key := dps.NewKey()
	for _, tt := range []struct {
		name  string
		edit  func(*packet.Connect)
		chain []*x509.Certificate
		code  packet.ReturnCode
	}{
		{"level 5", func(p *packet.Connect) { p.Level = 5 }, nil, packet.BadProtocolVersion},
		{"level 3", func(p *packet.Connect) { p.Level = 3 }, nil, packet.BadProtocolVersion},
		{"bridge's level", func(p *packet.Connect) { p.Level = 0x84 }, nil, packet.BadProtocolVersion},
		{
			"no user name", func(p *packet.Connect) { p.HasUsername, p.Username, p.HasPassword, p.Password = false, "", false, nil }, nil,
			packet.BadCredentials,
		},
		{"user name", func(p *packet.Connect) { p.Username = "dev-1" }, nil, packet.BadCredentials},
		{"hub's user name", func(p *packet.Connect) { p.Username = "hub.example.com/dev-1/?api-version=2021-04-12" }, nil, packet.NotAuthorized},
		{"long user name", func(p *packet.Connect) { p.Username += "&ClientVersion=" + strings.Repeat("x", 60000) }, nil, packet.BadCredentials},
		{"client ID", func(p *packet.Connect) { p.ClientID = "dev-2" }, nil, packet.NotAuthorized},
		{"no client ID", func(p *packet.Connect) { p.ClientID = "" }, nil, packet.NotAuthorized},
		{"no proof", func(p *packet.Connect) { p.HasPassword, p.Password = false, nil }, nil, packet.NotAuthorized},
		{"empty password", func(p *packet.Connect) { p.Password = nil }, nil, packet.NotAuthorized},
		{
			"certificate of another", func(p *packet.Connect) { p.HasPassword, p.Password = false, nil }, w.leaf(t, "dev-2").Chain,
			packet.NotAuthorized,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hello := w.hello("dev-1", w.token("dev-1", key))
			tt.edit(hello)
			c := open(t, w.Server, tt.chain)
			c.send(t, hello)
			if ack := next[*packet.Connack](t, c); *ack != (packet.Connack{Code: tt.code}) {
				t.Errorf("CONNACK = %+v, want %v", *ack, tt.code)
			}
			c.closed(t, "refused")
		})
	}
	if log := w.log.String(); !strings.Contains(log, "connection refused") || strings.Contains(log, "SharedAccessSignature") {
		t.Errorf("the log does not say why, or holds a token:\n%.4000s", log)
	}
	if longest := longestLine(w.log.String()); longest > 2000 {
		t.Errorf("a line of the log has %d bytes", longest)
	}
}

func longestLine(log string) int {
	longest := 0
	for line := range strings.Lines(log) {
		longest = max(longest, len(line))
	}
	return longest
}

func TestSubscribe(t *testing.T) {
	const fails = packet.SubscribeFailed
	w := newWorld(t)
	c := open(t, w.Server, nil)
	c.accepted(t, w.hello("dev-1", w.token("dev-1", dps.NewKey())))
	for i, tt := range []struct {
		name string
		ask  []packet.Subscription
		want []byte
	}{
		{"QoS 0", []packet.Subscription{{Filter: filter}}, []byte{0}},
		{"QoS 1", []packet.Subscription{{Filter: filter, QoS: 1}}, []byte{1}},
		{"QoS 2", []packet.Subscription{{Filter: filter, QoS: 2}}, []byte{1}},
		{"everything", []packet.Subscription{{Filter: "#", QoS: 1}}, []byte{fails}},
		{"part", []packet.Subscription{{Filter: "$dps/registrations/res/200/#"}}, []byte{fails}},
		{"single level", []packet.Subscription{{Filter: "$dps/registrations/res/+"}}, []byte{fails}},
		{"requests of others", []packet.Subscription{{Filter: "$dps/#"}, {Filter: "$dps/registrations/PUT/#"}}, []byte{fails, fails}},
		{"mixed", []packet.Subscription{{Filter: "a", QoS: 2}, {Filter: filter, QoS: 1}, {Filter: "devices/dev-1/#"}}, []byte{fails, 1, fails}},
		{"twice", []packet.Subscription{{Filter: filter, QoS: 1}, {Filter: filter}}, []byte{1, 0}},
	} {
		id := uint16(i + 1)
		c.send(t, &packet.Subscribe{PacketID: id, Subscriptions: tt.ask})
		if diff := cmp.Diff(&packet.Suback{PacketID: id, Codes: tt.want}, next[*packet.Suback](t, c)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestUnsubscribe(t *testing.T) {
	w := newWorld(t)
	c := w.device(t, w.hello("dev-1", w.token("dev-1", dps.NewKey())), nil, packet.AtLeastOnce)
	unsubscribe := func(id uint16, filters ...string) {
		t.Helper()
		c.send(t, &packet.Unsubscribe{PacketID: id, Filters: filters})
		if ack := next[*packet.Unsuback](t, c); ack.PacketID != id {
			t.Errorf("UNSUBACK = %+v, want %d", ack, id)
		}
	}
	unsubscribe(8, "other")
	c.ask(t, registerTopic("1"), "").refused(t, "401", 401000)
	unsubscribe(9, "other", filter)
	c.subscribe(t, packet.AtMostOnce)
	c.ask(t, registerTopic("1"), "").refused(t, "401", 401000)
	unsubscribe(10, filter)
	c.alive(t)
	c.send(t, &packet.Publish{Topic: registerTopic("1"), QoS: packet.AtLeastOnce, PacketID: 3})
	c.closed(t, "a request whose answer nobody would get")
}
