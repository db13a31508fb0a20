package mqtt_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/wire"
)

func TestRegister(t *testing.T) {
	w := newWorld(t)
	w.group(t)
	pump := w.keyed(t, dps.Individual, "pump", func(e *dps.Enrollment) { e.DeviceID = "pump-at-hub" })
	line := w.keyed(t, dps.Group, "keyed-line", nil)
	certificate := w.leaf(t, "press").Chain
	for _, tt := range []struct {
		id, deviceID string
		c            *client
		x509, key    *wire.EntryReference
	}{
		{
			"press", "press", w.device(t, w.hello("press", ""), certificate, packet.AtLeastOnce), &wire.EntryReference{EnrollmentGroupID: "line"},
			nil,
		},
		{"pump", "pump-at-hub", w.device(t, w.hello("pump", w.token("pump", pump.Secondary)), nil, packet.AtMostOnce), nil, nil},
		{
			"Sensor", "Sensor", w.device(t, w.hello("Sensor", w.token("Sensor", dps.DeriveKey(line.Primary, "Sensor"))), nil, packet.ExactlyOnce),
			nil, &wire.EntryReference{EnrollmentGroupID: "keyed-line"},
		},
	} {
		state := tt.c.registered(t)
		want := &wire.RegistrationState{
			RegistrationID: tt.id, Status: "assigned", Substatus: "initialAssignment", AssignedHub: string(hostName), DeviceID: tt.deviceID,
			ETag: state.ETag, CreatedDateTimeUTC: state.CreatedDateTimeUTC, LastUpdatedDateTimeUTC: state.LastUpdatedDateTimeUTC, X509: tt.x509,
			SymmetricKey: tt.key,
		}
		if diff := cmp.Diff(want, state); diff != "" || state.ETag == "" || state.CreatedDateTimeUTC == "" {
			t.Errorf("%s (-want +got):\n%s", tt.id, diff)
		}
	}
}

// PUBACK comes before the answer, and the answer's QoS is that of the subscription.
func TestPacketsOfAnAnswer(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, dps.Individual, "dev-1", nil).Primary
	for _, tt := range []struct{ subscribed, want packet.QoS }{{0, 0}, {1, 1}, {2, 1}} {
		for _, published := range []packet.QoS{0, 1} {
			t.Run(fmt.Sprintf("subscribed %d, published %d", tt.subscribed, published), func(t *testing.T) {
				c := w.device(t, w.hello("dev-1", w.token("dev-1", key)), nil, tt.subscribed)
				for i := range 3 {
					request := &packet.Publish{Topic: registerTopic("1"), QoS: published, Payload: []byte("{}"), Retain: i == 1}
					if published > 0 {
						request.PacketID, request.Dup = 40, i == 2
					}
					c.send(t, request)
					if published > 0 {
						if ack := next[*packet.Puback](t, c); ack.PacketID != 40 {
							t.Errorf("PUBACK = %+v, want 40", ack)
						}
					}
					p := next[*packet.Publish](t, c)
					if p.QoS != tt.want || (p.PacketID != 0) != (tt.want > 0) || p.Retain || p.Dup || !strings.Contains(p.Topic, "/res/202/") {
						t.Errorf("answer = %+v, want QoS %d", p, tt.want)
					}
					if tt.want > 0 && i < 2 { // an answer that is not acknowledged is no trouble
						c.send(t, &packet.Puback{PacketID: p.PacketID})
					}
				}
				c.alive(t)
			})
		}
	}
}

// The embedded SDKs have 1 for every request.
func TestSameRequestID(t *testing.T) {
	w := newWorld(t)
	c := w.device(t, w.hello("dev-1", w.token("dev-1", w.keyed(t, dps.Individual, "dev-1", nil).Primary)), nil, packet.AtMostOnce)
	c.send(t, &packet.Publish{Topic: registerTopic("1")}, &packet.Publish{Topic: registerTopic("1")})
	first, second := c.answer(t), c.answer(t)
	if first.topic != second.topic || first.OperationID == second.OperationID || first.OperationID == "" {
		t.Errorf("answers %+v and %+v", first, second)
	}
	if state := c.ask(t, pollTopic("1", second.OperationID), "").RegistrationState; state == nil || state.Status != "assigned" {
		t.Errorf("state = %+v", state)
	}
}

func TestRequestIDIsEchoed(t *testing.T) {
	w := newWorld(t)
	c := w.device(t, w.hello("dev-1", w.token("dev-1", w.keyed(t, dps.Individual, "dev-1", nil).Primary)), nil, packet.AtMostOnce)
	for _, rid := range []string{"1", "0a1b2c3d-1111-2222-3333-444455556666", "%24x%2F/=?", "ä", strings.Repeat("r", 256)} {
		if a := c.ask(t, registerTopic(rid), ""); a.topic != "$dps/registrations/res/202/?$rid="+rid+"&retry-after=1" {
			t.Errorf("%q is answered to %q", rid, a.topic)
		}
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t)
	c := w.device(t, w.hello("dev-1", w.token("dev-1", w.keyed(t, dps.Individual, "dev-1", nil).Primary)), nil, packet.AtMostOnce)
	for _, body := range []string{
		"", " ", "{}", "\n{ }\t", `{"registrationId":"dev-1"}`, `{"registrationId":"DEV-1","payload":null}`,
		`{"registrationId":"","payload":{"a":[1]}}`,
		`{"registrationId":"dev-1","payload":"{\"a\":1}"}`, `{"payload":17}`, `{"registrationId":"dev-1","tpm":null,"more":{}}`,
		`{"payload":"` + strings.Repeat("x", 90<<10) + `"}`,
	} {
		if a := c.ask(t, registerTopic("1"), body); !strings.Contains(a.topic, "/res/202/") {
			t.Errorf("body %.60q is answered with %+v", body, a)
		}
	}
	for _, tt := range []struct {
		body string
		code int
	}{
		{"{", 400000},
		{"x", 400000},
		{"{} {}", 400000},
		{"\xff", 400000},
		{"[]", 400004},
		{`"text"`, 400004},
		{`{"registrationId":1}`, 400004},
		{`{"registrationId":"dev-2"}`, 400004},
		{`{"csr":"MIIB"}`, 400004},
	} {
		c.ask(t, registerTopic("1"), tt.body).refused(t, "400", tt.code)
	}
	c.registered(t)
}

// Some clients send what they registered with again as the body of a poll.
func TestBodyOfAPoll(t *testing.T) {
	w := newWorld(t)
	c := w.device(t, w.hello("dev-1", w.token("dev-1", w.keyed(t, dps.Individual, "dev-1", nil).Primary)), nil, packet.AtMostOnce)
	op := c.ask(t, registerTopic("1"), "").OperationID
	for _, body := range []string{" ", "{}", `{"registrationId":"dev-1"}`, "anything"} {
		if a := c.ask(t, pollTopic("2", op), body); a.Status != "assigned" {
			t.Errorf("body %q is answered with %+v", body, a)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, dps.Individual, "dev-1", nil).Primary
	other := w.keyed(t, dps.Individual, "dev-2", nil).Primary
	foreign := w.device(t, w.hello("dev-2", w.token("dev-2", other)), nil, 0).ask(t, registerTopic("1"), "").OperationID
	good := w.token("dev-1", key)
	as := func(username, token string) *packet.Connect {
		p := w.hello("dev-1", token)
		if username != "" {
			p.Username = username
		}
		return p
	}
	for _, tt := range []struct {
		name   string
		hello  *packet.Connect
		topic  string
		status string
		code   int
	}{
		{"wrong key", as("", w.token("dev-1", dps.NewKey())), registerTopic("1"), "401", 401000},
		{"key of another", as("", w.token("dev-1", other)), registerTopic("1"), "401", 401000},
		{"token of another", as("", w.token("dev-2", other)), registerTopic("1"), "401", 401000},
		{"no token", as("", "open sesame"), registerTopic("1"), "401", 401000},
		{"long password", as("", strings.Repeat("x", 60000)), registerTopic("1"), "401", 401000},
		{"unknown scope", as("0neFFFFFFFF/registrations/dev-1/api-version="+version, good), registerTopic("1"), "404", 404000},
		{"malformed version", as(w.scope+"/registrations/dev-1/api-version=2035-13-01", good), registerTopic("1"), "400", 400004},
		{"malformed version, poll", as(w.scope+"/registrations/dev-1/api-version=2035-13-01", good), pollTopic("1", "x"), "400", 400004},
		{"unknown operation", as("", good), pollTopic("1", "4.0123456789abcdef.x"), "404", 404000},
		{"operation of another", as("", good), pollTopic("1", foreign), "404", 404000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.device(t, tt.hello, nil, packet.AtLeastOnce)
			a := c.ask(t, tt.topic, "")
			a.refused(t, tt.status, tt.code)
			if strings.Contains(a.topic, "retry-after") {
				t.Errorf("topic = %q: trying again will not help", a.topic)
			}
			if !strings.Contains(w.log.String(), a.TrackingID) {
				t.Error("the log does not know the tracking ID that the device was told")
			}
			c.alive(t)
		})
	}
	if log := w.log.String(); strings.Contains(log, "sig=") || strings.Contains(log, "open sesame") || longestLine(log) > 2000 {
		t.Error("the log holds a token, or a very long line")
	}
}

func TestCertificateRefused(t *testing.T) {
	w := newWorld(t)
	w.group(t)
	self := issue(t, pki.Request{Kind: pki.Device, CommonName: "dev-1"})
	w.device(t, w.hello("dev-1", ""), self.Chain, packet.AtLeastOnce).ask(t, registerTopic("1"), "").refused(t, "401", 401000)
}

func TestDisabled(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, dps.Individual, "dev-1", func(e *dps.Enrollment) { e.Status = dps.StatusDisabled }).Primary
	c := w.device(t, w.hello("dev-1", w.token("dev-1", key)), nil, packet.AtLeastOnce)
	if state := c.registered(t); state.Status != "disabled" || state.RegistrationID != "dev-1" || state.AssignedHub != "" {
		t.Errorf("state = %+v", state)
	}
}

// A device that polls too often is told how long to wait, and is heard after that.
func TestThrottled(t *testing.T) {
	w := newWorld(t)
	c := w.device(t, w.hello("dev-1", w.token("dev-1", w.keyed(t, dps.Individual, "dev-1", nil).Primary)), nil, packet.AtMostOnce)
	op := c.ask(t, registerTopic("1"), "").OperationID
	for range 5 {
		c.ask(t, pollTopic("1", op), "")
	}
	a := c.ask(t, pollTopic("1", op), "")
	a.refused(t, "429", 429001)
	if a.topic != "$dps/registrations/res/429/?$rid=1&retry-after=2" {
		t.Errorf("topic = %q", a.topic)
	}
	w.advance(2 * time.Second)
	if a := c.ask(t, pollTopic("1", op), ""); a.Status != "assigned" {
		t.Errorf("after the wait: %+v", a)
	}
}

// A request whose answer could not be sent is not begun: the connection is closed, and
// with QoS 1 there is no PUBACK that says otherwise.
func TestNotSubscribed(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, dps.Individual, "dev-1", nil).Primary
	for _, filters := range [][]packet.Subscription{
		nil,
		{{Filter: "/registrations/res/#", QoS: 1}},
		{{Filter: "$dps/registrations/res/200/#"}},
	} {
		for _, qos := range []packet.QoS{packet.AtMostOnce, packet.AtLeastOnce} {
			c := open(t, w.Server, nil)
			c.accepted(t, w.hello("dev-1", w.token("dev-1", key)))
			if filters != nil {
				c.send(t, &packet.Subscribe{PacketID: 1, Subscriptions: filters})
				if ack := next[*packet.Suback](t, c); ack.Codes[0] != packet.SubscribeFailed {
					t.Errorf("SUBACK = %+v", ack)
				}
			}
			c.send(t, &packet.Publish{Topic: registerTopic("1"), QoS: qos, PacketID: uint16(qos)})
			c.closed(t, "not subscribed")
		}
	}
	if _, err := w.store.Registration(t.Context(), in, "dev-1"); dps.CodeOf(err) != dps.RegistrationNotFound {
		t.Errorf("the device is registered: %v", err)
	}
}

// Two connections of one device ask and answer, each for itself; either may poll
// what the other began.
func TestSameClientTwice(t *testing.T) {
	w := newWorld(t)
	hello := w.hello("dev-1", w.token("dev-1", w.keyed(t, dps.Individual, "dev-1", nil).Primary))
	first, second := w.device(t, hello, nil, 1), w.device(t, hello, nil, 0)
	op := first.ask(t, registerTopic("1"), "").OperationID
	if a := second.ask(t, pollTopic("1", op), ""); a.Status != "assigned" {
		t.Errorf("poll on the other connection: %+v", a)
	}
	first.alive(t)
}

// The Java device SDK loses an answer that comes before it waits for it. Nobody else waits.
func TestAnswerDelay(t *testing.T) {
	tests := []struct {
		name, client string
		want         []time.Duration
	}{
		{"Java", "&ClientVersion=" + version, []time.Duration{mqtt.JavaAnswerDelay}},
		{"Java, after another parameter", "&x=1&ClientVersion=" + version, []time.Duration{mqtt.JavaAnswerDelay}},
		{"Python", "&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0", nil},
		{"its api-version in another member", "&ClientRevision=" + version, nil},
		{"none", "", nil},
		{"empty", "&ClientVersion=", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var waited []time.Duration // written by the connection's goroutine before the answer, read after it
			w.SetAfter(func(d time.Duration) <-chan time.Time {
				waited = append(waited, d)
				over := make(chan time.Time)
				close(over)
				return over
			})
			hello := w.hello("dev-1", w.token("dev-1", w.keyed(t, dps.Individual, "dev-1", nil).Primary))
			hello.Username += tt.client
			c := w.device(t, hello, nil, packet.AtLeastOnce)
			c.send(t, &packet.Publish{Topic: registerTopic("1"), QoS: packet.AtLeastOnce, PacketID: 7})
			next[*packet.Puback](t, c)
			next[*packet.Publish](t, c)
			if diff := cmp.Diff(tt.want, waited); diff != "" {
				t.Errorf("waited (-want +got):\n%s", diff)
			}
		})
	}
}
