package mqtt

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// conn is one device's connection. Its goroutine reads a packet, answers it, and
// reads the next: what a client sends meanwhile stays in the kernel's buffer.
type conn struct {
	server    *Server
	net       net.Conn
	reader    *packet.Reader
	remote    string
	transport dps.Transport
	evidence  register.Evidence
	id        identity
	silence   time.Duration // longest pause between two packets

	subscribed bool
	misled     bool       // a subscription was refused, and that is recorded
	qos        packet.QoS // of the subscription
	lastID     uint16     // packet identifier of the latest answer
	out        []byte     // being written; kept for the next answer

	mu       sync.Mutex // guards stopping, and the read deadline with it
	stopping bool
}

var errDisconnect = errors.New("the client disconnected")

// handshake shakes hands, unless the server stops meanwhile, and takes the client's
// certificates.
func (c *conn) handshake(nc *tls.Conn) error {
	c.silence = handshakeTime
	if err := c.extend(); err != nil {
		return err
	}
	if err := nc.SetWriteDeadline(c.server.now().Add(handshakeTime)); err != nil {
		return err
	}
	if err := nc.Handshake(); err != nil { //nolint:noctx // the deadlines bound it, without a goroutine to watch a context
		return err
	}
	c.evidence.Chain = nc.ConnectionState().PeerCertificates
	return nil
}

// serve answers until the connection ends. Disconnecting is no error.
func (c *conn) serve() error {
	c.reader = packet.NewReader(c.net, maxPacket)
	c.silence = handshakeTime
	if err := c.connect(); err != nil {
		return err
	}
	for {
		p, err := c.read()
		if err != nil {
			return err
		}
		if err := c.handle(p); err != nil {
			if errors.Is(err, errDisconnect) {
				return nil
			}
			return err
		}
	}
}

// read returns the next packet, or fails at the deadline.
func (c *conn) read() (packet.Packet, error) {
	if err := c.extend(); err != nil {
		return nil, err
	}
	return c.reader.Read()
}

// extend moves the read deadline, unless the server is stopping.
func (c *conn) extend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return net.ErrClosed
	}
	return c.net.SetReadDeadline(c.server.now().Add(c.silence))
}

// stopReading ends the connection after the request that it is at.
func (c *conn) stopReading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	_ = c.net.SetReadDeadline(time.Unix(1, 0)) // a deadline in the past; a closed connection has none
}

// connect reads CONNECT and answers it.
func (c *conn) connect() error {
	p, err := c.read()
	if err != nil {
		return err
	}
	hello, ok := p.(*packet.Connect)
	if !ok {
		return breach(dps.ReasonPacketMalformed, "the first packet is not CONNECT")
	}
	if v := c.admit(hello); v != nil {
		return errors.Join(v, c.write(&packet.Connack{Code: v.code}))
	}
	if err := c.write(&packet.Connack{}); err != nil {
		return err
	}
	c.silence = idleTime
	if hello.KeepAlive > 0 {
		c.silence = time.Duration(hello.KeepAlive) * time.Second * 3 / 2 // 3.1.2.10
	}
	return nil
}

// admit decides on CONNECT by what can be seen on the connection itself. Whatever
// needs the enrollments is told as the answer to a request, as DPS does. A will is
// accepted and never published: there are no subscribers.
// Source: azure-docs issues 43157 and 69882.
func (c *conn) admit(p *packet.Connect) *violation {
	if id, err := dps.ParseRegistrationID(p.ClientID); err == nil {
		c.id.ID = id // until the user name says more
	}
	if p.Level != packet.ProtocolLevel {
		return refused(packet.BadProtocolVersion, dps.ReasonMQTTVersion, "MQTT version", "the client speaks "+versionName(p.Level))
	}
	id, err := parseUsername(p.Username)
	if err != nil && isHubLogin(p.Username) {
		return refused(packet.NotAuthorized, dps.ReasonHubLogin, "user name",
			fmt.Sprintf("the user name is %q: the login of a device at a hub", clip(p.Username)))
	}
	if err != nil {
		reason := dps.ReasonRegistrationIDMalformed
		if errors.Is(err, errUsername) {
			reason = dps.ReasonUsernameMalformed
		}
		return refused(packet.BadCredentials, reason, "user name", describeUsername(p, err))
	}
	c.id = id
	if !sameID(p.ClientID, id.ID) {
		return refused(packet.NotAuthorized, dps.ReasonClientIDMismatch, "client ID",
			fmt.Sprintf("the client ID is %q, the registration ID in the user name is %q", clip(p.ClientID), id.ID))
	}
	if len(p.Password) > 0 {
		c.evidence.Token = string(p.Password)
		return nil
	}
	if len(c.evidence.Chain) == 0 {
		return refused(packet.NotAuthorized, dps.ReasonNoEvidence, "evidence", "neither a client certificate nor a password")
	}
	if name := c.evidence.Chain[0].Subject.CommonName; !sameID(name, id.ID) {
		return refused(packet.NotAuthorized, dps.ReasonNameMismatch, "common name",
			fmt.Sprintf("the certificate's common name is %q, the registration ID is %q", clip(name), id.ID))
	}
	return nil
}

func sameID(text string, id dps.RegistrationID) bool {
	return dps.RegistrationID(text).Key() == id.Key()
}

// handle answers one packet after CONNECT. An error closes the connection.
func (c *conn) handle(p packet.Packet) error {
	switch p := p.(type) {
	case *packet.Publish:
		return c.publish(p)
	case *packet.Subscribe:
		return c.subscribe(p)
	case *packet.Unsubscribe:
		for _, f := range p.Filters {
			c.subscribed = c.subscribed && f != answerFilter
		}
		return c.write(&packet.Unsuback{PacketID: p.PacketID})
	case *packet.Pingreq:
		return c.write(&packet.Pingresp{})
	case *packet.Puback:
		return nil // answers are not sent again: a device that missed one asks again
	case *packet.Disconnect:
		return errDisconnect
	case *packet.Connect:
		return breach(dps.ReasonPacketMalformed, "a second CONNECT")
	default:
		return breach(dps.ReasonPacketMalformed, "a packet that only servers send")
	}
}

func (c *conn) subscribe(p *packet.Subscribe) error {
	answer := &packet.Suback{PacketID: p.PacketID}
	for _, s := range p.Subscriptions {
		if s.Filter != answerFilter {
			answer.Codes = append(answer.Codes, packet.SubscribeFailed)
			c.filterRefused(s.Filter)
			continue
		}
		c.subscribed, c.qos = true, min(s.QoS, packet.AtLeastOnce)
		answer.Codes = append(answer.Codes, byte(c.qos))
	}
	return c.write(answer)
}

// publish answers a request. PUBACK goes first; some clients take no other order.
func (c *conn) publish(p *packet.Publish) error {
	if p.QoS == packet.ExactlyOnce {
		return breach(dps.ReasonQoS2, "a PUBLISH with QoS 2")
	}
	r, err := parseTopic(p.Topic)
	if err != nil {
		return topicViolation(p.Topic, err)
	}
	if !c.subscribed { // the answer could not be sent, so nothing is started
		return breach(dps.ReasonNotSubscribed, "a request without a subscription to "+answerFilter)
	}
	var packets []packet.Packet
	if p.QoS == packet.AtLeastOnce {
		packets = append(packets, &packet.Puback{PacketID: p.PacketID})
	}
	answer, err := c.answer(r, p.Payload)
	if err != nil {
		return err
	}
	if delay := c.id.answerDelay(); delay > 0 {
		if err := c.write(packets...); err != nil {
			return err
		}
		packets = packets[:0]
		<-c.server.after(delay)
	}
	return c.write(append(packets, answer)...)
}

// answer runs a request and returns its outcome as a packet.
func (c *conn) answer(r request, payload []byte) (*packet.Publish, error) {
	trackingID := uuid.NewString()
	status, body, retryAfter := c.run(r, payload, trackingID)
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	p := &packet.Publish{Topic: answerTopic(status, r.requestID, retryAfter), Payload: text, QoS: c.qos}
	if c.qos > packet.AtMostOnce {
		if c.lastID++; c.lastID == 0 {
			c.lastID = 1
		}
		p.PacketID = c.lastID
	}
	c.server.log.Debug("request", "trackingId", trackingID, "transport", "mqtt", "poll", r.poll,
		"registrationId", string(c.id.ID), "remote", c.remote, "status", status)
	return p, nil
}

// run runs a request and returns status and body as HTTPS has them.
func (c *conn) run(r request, payload []byte, trackingID string) (int, any, time.Duration) {
	status, body, retryAfter, err := c.call(r, payload, trackingID)
	if err != nil {
		if !dps.IsRefusal(err) { // logged by registration, with all checks
			c.logFailure(err, trackingID)
		}
		status, refusal := translate.Error(err, trackingID, c.server.now())
		c.server.register.Failed(c.request(trackingID), err, fmt.Sprintf("status %d: %s", status, refusal.Message))
		return status, refusal, translate.RetryAfter(err)
	}
	return status, body, retryAfter
}

func (c *conn) logFailure(err error, trackingID string) {
	level := slog.LevelInfo
	if code := dps.CodeOf(err); code == dps.Internal || code == dps.Unavailable {
		level = slog.LevelError
	}
	c.server.log.Log(context.Background(), level, "request refused", "trackingId", trackingID, "transport", "mqtt",
		"registrationId", string(c.id.ID), "remote", c.remote, "code", dps.CodeOf(err).String(), "reason", err.Error())
}

// Statuses of answers, as HTTPS has them.
const (
	statusFinal   = 200
	statusPending = 202
)

// request is what the connection says of every call.
func (c *conn) request(trackingID string) register.Request {
	return register.Request{
		Scope: c.id.Scope, ID: c.id.ID, Evidence: c.evidence, APIVersion: c.id.APIVersion,
		Transport: c.transport, TrackingID: trackingID, Remote: c.remote,
	}
}

func (c *conn) call(r request, payload []byte, trackingID string) (int, *wire.RegistrationOperation, time.Duration, error) {
	if err := dps.CheckAPIVersion("api-version", c.id.APIVersion); err != nil {
		return 0, nil, 0, dps.Because(dps.ReasonAPIVersion, err)
	}
	req := c.request(trackingID)
	// What was begun for a device is finished, and found by its next call.
	ctx := context.Background()
	if !r.poll {
		var err error
		if req.Payload, err = translate.DevicePayload(payload, c.id.ID); err != nil {
			return 0, nil, 0, err
		}
		ticket, err := c.server.register.Register(ctx, req)
		if err != nil {
			return 0, nil, 0, err
		}
		return statusPending, translate.Accepted(ticket.Operation), ticket.RetryAfter, nil
	}
	rec, err := c.server.register.Poll(ctx, req, r.operation)
	if err != nil {
		return 0, nil, 0, err
	}
	body := translate.Operation(r.operation, rec.Registration, rec.Hub, c.id.APIVersion)
	if rec.Status == dps.Assigning {
		return statusPending, body, rec.RetryAfter, nil
	}
	return statusFinal, body, 0, nil
}

// write sends packets in one go. A client that does not take them in time is closed.
func (c *conn) write(packets ...packet.Packet) error {
	if len(packets) == 0 {
		return nil
	}
	c.out = c.out[:0]
	for _, p := range packets {
		c.out = p.Append(c.out)
	}
	if err := c.net.SetWriteDeadline(c.server.now().Add(writeTime)); err != nil {
		return err
	}
	_, err := c.net.Write(c.out)
	if err != nil {
		_ = lowest(c.net).Close() // saying goodbye would wait for the same client again
	}
	return err
}
