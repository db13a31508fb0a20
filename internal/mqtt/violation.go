package mqtt

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
)

// violation ends a connection, or refuses it, and is recorded.
type violation struct {
	decision dps.Decision
	code     packet.ReturnCode // of CONNACK; Accepted when it comes later
}

// Error says what was wrong.
func (v *violation) Error() string { return v.decision.Checks[0].Detail }

// refused is a CONNECT that is answered with a code.
func refused(code packet.ReturnCode, r dps.Reason, check, detail string) *violation {
	answer := fmt.Sprintf("CONNACK %d, %s", byte(code), code)
	return &violation{decision: dps.RefusedFor(r, check, detail, answer, ""), code: code}
}

// breach is a packet for which MQTT has no other answer than to close the connection.
func breach(r dps.Reason, detail string) *violation {
	return &violation{decision: dps.RefusedFor(r, "packet", detail, closedAnswer, "")}
}

const closedAnswer = "The connection was closed."

// violationOf returns the violation that ended a connection, nil if none did: the client
// may have gone, or the server be stopping.
func violationOf(err error) *violation {
	if v, ok := errors.AsType[*violation](err); ok {
		return v
	}
	if errors.Is(err, packet.ErrMalformed) || errors.Is(err, packet.ErrTooLarge) {
		return breach(dps.ReasonPacketMalformed, err.Error())
	}
	return nil
}

// report records and logs a refusal.
func (c *conn) report(d dps.Decision) {
	req := c.request(uuid.NewString())
	c.server.register.Refused(req, d)
	c.server.log.Info("connection refused", "trackingId", req.TrackingID, "transport", string(c.transport), "remote", c.remote,
		"registrationId", string(c.id.ID), "decision", &d)
}

// quote is the remedy where a shell replaced $dps or $rid.
const quote = "Put the topic into single quotes: the shell replaced the words that begin with a dollar sign."

// eaten reports whether a topic looks like one from which a shell removed $dps or $rid.
func eaten(topic string) bool {
	path, query, _ := strings.Cut(topic, "?")
	return strings.HasPrefix(path, "/registrations/") ||
		strings.HasPrefix(path, "$dps/registrations/") && (strings.HasPrefix(query, "=") || strings.Contains(query, "&="))
}

// topicViolation explains a topic that cannot be read.
func topicViolation(topic string, err error) *violation {
	v := breach(dps.ReasonTopicUnknown, fmt.Sprintf("the topic is %q: %s", clip(topic), err))
	v.decision.Checks[0].Name = "topic"
	if eaten(topic) {
		v.decision.Remedy = quote
	}
	return v
}

// filterRefused records the first subscription of a connection that is refused.
func (c *conn) filterRefused(filter string) {
	if c.misled {
		return
	}
	c.misled = true
	remedy := ""
	if eaten(filter) {
		remedy = quote
	}
	c.report(dps.RefusedFor(dps.ReasonSubscriptionRefused, "topic filter",
		fmt.Sprintf("the topic filter is %q; the only one is %q", clip(filter), answerFilter), "SUBACK 0x80", remedy))
}

// versionName names a protocol level.
func versionName(level byte) string {
	switch level {
	case packet.OldLevel:
		return "MQTT 3.1"
	case packet.Level5:
		return "MQTT 5"
	default:
		return fmt.Sprintf("protocol level %d", level)
	}
}

// describeUsername says what is wrong with the user name of a CONNECT.
func describeUsername(p *packet.Connect, err error) string {
	if !p.HasUsername {
		return "there is no user name"
	}
	return fmt.Sprintf("the user name is %q: %s", clip(p.Username), err)
}

// clip bounds what is repeated of a device's words.
func clip(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}
