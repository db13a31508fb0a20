package bench

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/mooring-iot/mooring/internal/mqtt/packet"
)

// Topics of the device API.
// Source: azure-docs, articles/iot-dps/iot-dps-mqtt-support.md.
const (
	answersFilter  = "$dps/registrations/res/#"
	answersPrefix  = "$dps/registrations/res/"
	registerTopic  = "$dps/registrations/PUT/iotdps-register/?$rid="
	pollTopic      = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="
	maxPacket      = 96 << 10
	keepAliveWhole = 230 // seconds, as the SDK for Java has it
)

// mqttSession is a device on a connection of MQTT 3.1.1.
type mqttSession struct {
	conn net.Conn
	r    *packet.Reader
	out  []byte
	id   string
	next uint16 // packet identifier
}

// login connects and subscribes, each step after the answer to the one before.
func (l *line) login(conn net.Conn, i int, w *watch) (*mqttSession, error) {
	m, err := openMQTT(conn, l.scope, &l.devices[i])
	if err != nil {
		return nil, err
	}
	w.mark()
	return m, nil
}

func openMQTT(conn net.Conn, scope string, d *device) (*mqttSession, error) {
	m := &mqttSession{conn: conn, r: packet.NewReader(conn, maxPacket), id: d.id, next: 1}
	err := m.send(&packet.Connect{
		Level: packet.ProtocolLevel, CleanSession: true, KeepAlive: keepAliveWhole, ClientID: d.id,
		Username: scope + "/registrations/" + d.id + "/api-version=" + deviceAPI + "&ClientVersion=mooring-bench", HasUsername: true,
		Password: []byte(d.token), HasPassword: d.token != "",
	})
	if err != nil {
		return nil, err
	}
	connack, err := expect[*packet.Connack](m)
	if err != nil {
		return nil, err
	}
	if connack.Code != packet.Accepted {
		return nil, refused("CONNACK "+strconv.Itoa(int(connack.Code)), "%s", connack.Code)
	}
	err = m.send(&packet.Subscribe{PacketID: m.id16(), Subscriptions: []packet.Subscription{{Filter: answersFilter, QoS: packet.AtLeastOnce}}})
	if err != nil {
		return nil, err
	}
	suback, err := expect[*packet.Suback](m)
	if err != nil {
		return nil, err
	}
	if len(suback.Codes) != 1 || suback.Codes[0] == packet.SubscribeFailed {
		return nil, &refusal{kind: "subscription refused"}
	}
	return m, nil
}

func (m *mqttSession) id16() uint16 {
	m.next++
	return m.next - 1
}

func (m *mqttSession) send(packets ...packet.Packet) error {
	m.out = m.out[:0]
	for _, p := range packets {
		m.out = p.Append(m.out)
	}
	_, err := m.conn.Write(m.out)
	return err
}

// expect reads the next packet, which has to be a T.
func expect[T packet.Packet](m *mqttSession) (T, error) {
	var none T
	p, err := m.r.Read()
	if err != nil {
		return none, err
	}
	t, ok := p.(T)
	if !ok {
		return none, unexpected(p)
	}
	return t, nil
}

func unexpected(p packet.Packet) error {
	return &refusal{kind: "unexpected packet", detail: strings.TrimPrefix(fmt.Sprintf("%T", p), "*packet.")}
}

func (m *mqttSession) register() (answer, error) {
	return m.ask(registerTopic+"1", `{"registrationId":"`+m.id+`"}`)
}

func (m *mqttSession) poll(operation string) (answer, error) {
	return m.ask(pollTopic+"2&operationId="+operation, " ")
}

// ask publishes a request and returns its answer.
func (m *mqttSession) ask(topic, body string) (a answer, err error) {
	id := m.id16()
	err = m.send(&packet.Publish{Topic: topic, Payload: []byte(body), QoS: packet.AtLeastOnce, PacketID: id})
	if err != nil {
		return a, err
	}
	if _, err := expect[*packet.Puback](m); err != nil {
		return a, err
	}
	p, err := expect[*packet.Publish](m)
	if err != nil {
		return a, err
	}
	if p.QoS > packet.AtMostOnce {
		if err := m.send(&packet.Puback{PacketID: p.PacketID}); err != nil {
			return a, err
		}
	}
	return readAnswer(p)
}

// readAnswer takes an answer's topic apart: status, then $rid and maybe retry-after.
func readAnswer(p *packet.Publish) (a answer, err error) {
	rest, ok := strings.CutPrefix(p.Topic, answersPrefix)
	status, query, _ := strings.Cut(rest, "/?")
	if a.status, err = strconv.Atoi(status); !ok || err != nil {
		return a, refused("unexpected topic", "%s", p.Topic)
	}
	a.retryAfter, a.body = defaultWait, p.Payload
	for part := range strings.SplitSeq(query, "&") {
		if value, ok := strings.CutPrefix(part, "retry-after="); ok {
			a.retryAfter = seconds(value)
		}
	}
	return a, nil
}

func (m *mqttSession) leave() error { return m.send(&packet.Disconnect{}) }
