package device

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/wsconn"
	"github.com/mooring-iot/mooring/wire"
)

const (
	keepAlive  = 60 * time.Second
	pingEvery  = 45 * time.Second // of silence, well within keepAlive
	byeTimeout = time.Second      // for DISCONNECT

	webSocketPath     = "/$iothub/websocket"
	webSocketProtocol = "mqtt"
)

// Topics of the provisioning service.
// Source: azure-docs, articles/iot-dps/iot-dps-mqtt-support.md.
const (
	topicFilter   = "$dps/registrations/res/#"
	topicAnswer   = "$dps/registrations/res/"
	topicRegister = "$dps/registrations/PUT/iotdps-register/?$rid="
	topicPoll     = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="
)

// mqttLink asks over one MQTT session. It reads only while it waits for something:
// the service says nothing that it was not asked.
type mqttLink struct {
	run     *run
	conn    net.Conn
	raw     net.Conn // below TLS: closing it ends everything at once
	packets *packet.Reader
	forget  func() bool // stops watching the context
	nextID  uint16
	spoke   time.Time // when something was sent last
	broken  bool      // nothing can be said any more
}

// openMQTT connects, logs on and subscribes.
func openMQTT(ctx context.Context, r *run) (*mqttLink, error) {
	conn, raw, err := r.connectMQTT(ctx)
	if err != nil {
		return nil, err
	}
	r.step(r.trace.Connected)
	l := &mqttLink{run: r, conn: conn, raw: raw, packets: packet.NewReader(conn, maxAnswer)}
	l.forget = context.AfterFunc(ctx, func() { _ = raw.Close() })
	if err := l.logOn(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// connectMQTT returns the connection that MQTT is spoken on and the one below TLS.
func (r *run) connectMQTT(ctx context.Context) (conn, raw net.Conn, err error) {
	if r.transport != MQTTWebSocket {
		c, err := r.connect(ctx)
		if err != nil {
			return nil, nil, err
		}
		return c, c.NetConn(), nil
	}
	var secure *tls.Conn
	limited, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	c, err := wsconn.Dial(limited, "wss://"+r.host+webSocketPath, wsconn.DialOptions{
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := r.connect(ctx)
			if err != nil {
				return nil, err
			}
			secure = c
			return c, nil
		},
		Header:    http.Header{"User-Agent": {r.agent}},
		Protocols: []string{webSocketProtocol},
	})
	if err != nil {
		return nil, nil, r.noWebSocket(limited, err)
	}
	return c, secure.NetConn(), nil
}

// noWebSocket returns what a WebSocket that was not opened means.
func (r *run) noWebSocket(ctx context.Context, err error) error {
	if refusal, ok := errors.AsType[*wsconn.StatusError](err); ok {
		return &Error{
			Status: refusal.Status, Message: "The WebSocket was not opened.",
			TrackingID: refusal.Header.Get(wire.HeaderRequestID),
			RetryAfter: max(seconds(refusal.Header.Get("Retry-After")), 0),
		}
	}
	if errors.Is(err, wsconn.ErrNoProtocol) {
		return protocolf("it is a WebSocket without MQTT")
	}
	return r.gone(ctx, err)
}

// logOn sends CONNECT and SUBSCRIBE and waits for their answers.
func (l *mqttLink) logOn() error {
	connect := &packet.Connect{
		Level: packet.ProtocolLevel, CleanSession: true, KeepAlive: uint16(keepAlive / time.Second),
		ClientID: l.run.registrationID, HasUsername: true, Username: l.username(),
	}
	if l.run.key != nil {
		connect.HasPassword, connect.Password = true, []byte(l.run.token())
	}
	if err := l.send(connect); err != nil {
		return err
	}
	if err := l.connack(); err != nil {
		return err
	}
	id := l.id()
	topics := []packet.Subscription{{Filter: topicFilter, QoS: packet.AtLeastOnce}}
	if err := l.send(&packet.Subscribe{PacketID: id, Subscriptions: topics}); err != nil {
		return err
	}
	return l.suback(id)
}

// username says who connects to what, and which version of the API is spoken.
func (l *mqttLink) username() string {
	r := l.run
	agent := strings.ReplaceAll(url.QueryEscape(r.agent), "+", "%20")
	return r.scope + "/registrations/" + r.registrationID + "/api-version=" + apiVersion + "&ClientVersion=" + agent
}

// connack waits for the answer to CONNECT, which comes before everything else.
func (l *mqttLink) connack() error {
	p, err := l.read()
	if err != nil {
		return err
	}
	ack, ok := p.(*packet.Connack)
	switch {
	case !ok:
		return protocolf("%T before CONNACK", p)
	case ack.Code == packet.Accepted:
		return nil
	}
	status := http.StatusBadRequest
	switch ack.Code {
	case packet.ServerUnavailable:
		status = http.StatusServiceUnavailable
	case packet.BadCredentials, packet.NotAuthorized:
		status = http.StatusUnauthorized
	}
	return &Error{Status: status, Message: "MQTT connection refused: " + ack.Code.String()}
}

// suback waits for the answer to SUBSCRIBE.
func (l *mqttLink) suback(id uint16) error {
	p, err := l.read()
	if err != nil {
		return err
	}
	ack, ok := p.(*packet.Suback)
	switch {
	case !ok || ack.PacketID != id || len(ack.Codes) != 1:
		return protocolf("%T instead of SUBACK", p)
	case ack.Codes[0] == packet.SubscribeFailed:
		return protocolf("the subscription to its answers is refused")
	}
	return nil
}

func (l *mqttLink) register(context.Context) (answer, error) {
	return l.request(topicRegister, "", l.run.body)
}

func (l *mqttLink) poll(_ context.Context, operationID string) (answer, error) {
	return l.request(topicPoll, "&operationId="+operationID, []byte(" ")) // as other SDKs do
}

// request publishes and waits for the answer with the same request ID. The
// acknowledgement of the service may come before or after it.
func (l *mqttLink) request(topic, query string, body []byte) (answer, error) {
	id := l.id()
	rid := strconv.Itoa(int(id))
	if err := l.send(&packet.Publish{Topic: topic + rid + query, Payload: body, QoS: packet.AtLeastOnce, PacketID: id}); err != nil {
		return answer{}, err
	}
	for {
		message, err := l.message()
		if err != nil {
			return answer{}, err
		}
		status, params, err := parseTopic(message.Topic)
		if err != nil {
			return answer{}, err
		}
		if params["$rid"] == rid {
			return readAnswer(status, message.Payload, params["retry-after"], "")
		}
	}
}

// message waits for a message and acknowledges it. The deadline is that of send.
func (l *mqttLink) message() (*packet.Publish, error) {
	for {
		p, err := l.read()
		if err != nil {
			return nil, err
		}
		switch p := p.(type) {
		case *packet.Publish:
			if p.QoS == packet.AtMostOnce {
				return p, nil
			}
			return p, l.write(&packet.Puback{PacketID: p.PacketID})
		case *packet.Puback, *packet.Pingresp:
		default:
			return nil, protocolf("an unexpected %T", p)
		}
	}
}

// parseTopic takes the topic of an answer apart.
func parseTopic(topic string) (status int, params map[string]string, err error) {
	rest, ok := strings.CutPrefix(topic, topicAnswer)
	code, query, _ := strings.Cut(rest, "/?")
	status, notNumber := strconv.Atoi(code)
	if !ok || notNumber != nil || status < 100 || status > 999 {
		return 0, nil, protocolf("topic %.128q", topic)
	}
	params = make(map[string]string)
	for part := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(part, "=")
		params[key] = value
	}
	return status, params, nil
}

// wait pauses, and pings the service so that it does not close meanwhile.
func (l *mqttLink) wait(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	for {
		next := l.spoke.Add(pingEvery)
		if !next.Before(end) {
			return sleep(ctx, time.Until(end))
		}
		if err := sleep(ctx, time.Until(next)); err != nil {
			return err
		}
		if err := l.ping(); err != nil {
			return err
		}
	}
}

// ping asks whether the service is there, and waits for its word.
func (l *mqttLink) ping() error {
	if err := l.send(&packet.Pingreq{}); err != nil {
		return err
	}
	for {
		p, err := l.read()
		if err != nil {
			return err
		}
		switch p := p.(type) {
		case *packet.Pingresp:
			return nil
		case *packet.Puback: // of the last request
		default:
			return protocolf("%T instead of PINGRESP", p)
		}
	}
}

func (l *mqttLink) id() uint16 {
	l.nextID = max(l.nextID+1, 1) // never 0, 2.3.1
	return l.nextID
}

// send writes a packet that begins an exchange: until the next one, everything has
// answerTimeout from now.
func (l *mqttLink) send(p packet.Packet) error {
	l.spoke = time.Now()
	if err := l.conn.SetDeadline(l.spoke.Add(answerTimeout)); err != nil {
		return l.fail(err)
	}
	return l.write(p)
}

func (l *mqttLink) write(p packet.Packet) error {
	if _, err := l.conn.Write(p.Append(nil)); err != nil {
		return l.fail(err)
	}
	return nil
}

func (l *mqttLink) read() (packet.Packet, error) {
	p, err := l.packets.Read()
	if err != nil {
		return nil, l.fail(err)
	}
	return p, nil
}

// fail returns what a failure of the connection means, and gives the connection up.
func (l *mqttLink) fail(err error) error {
	l.broken = true
	switch {
	case errors.Is(err, packet.ErrMalformed), errors.Is(err, packet.ErrTooLarge):
		return protocolf("%v", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &lostError{errNoAnswer}
	}
	return lost(err)
}

// lasts: a session that is lost is over.
func (l *mqttLink) lasts() bool { return false }

// close says goodbye where somebody listens.
func (l *mqttLink) close() {
	watching := l.forget()
	if l.broken || !watching {
		_ = l.raw.Close() // nothing is left to be said on it
		return
	}
	if l.conn.SetDeadline(time.Now().Add(byeTimeout)) == nil {
		_ = l.write(&packet.Disconnect{}) // a courtesy
	}
	_ = l.conn.Close()
}
