// Package packet is the codec of MQTT 3.1.1, both ways.
//
// A packet's announced length is checked before anything is allocated for it, and
// memory grows only with the bytes that really came.
// Source: MQTT Version 3.1.1, OASIS Standard; section numbers stand beside the rules.
package packet

import (
	"errors"
	"fmt"
)

// Packet is one control packet.
type Packet interface {
	// Append writes the packet behind b and returns the longer slice.
	Append(b []byte) []byte
}

// ErrMalformed is the cause of every error about a packet's content. The peer that
// sent it is to be disconnected (section 4.8).
var ErrMalformed = errors.New("malformed packet")

// ErrTooLarge is the error about a packet that announces more bytes than the reader takes.
var ErrTooLarge = errors.New("packet too large")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// kind is the type of a control packet, in the upper half of its first byte (2.2.1).
type kind byte

const (
	kindConnect     kind = 1
	kindConnack     kind = 2
	kindPublish     kind = 3
	kindPuback      kind = 4
	kindSubscribe   kind = 8
	kindSuback      kind = 9
	kindUnsubscribe kind = 10
	kindUnsuback    kind = 11
	kindPingreq     kind = 12
	kindPingresp    kind = 13
	kindDisconnect  kind = 14
)

// flags of the kinds that have fixed ones (2.2.2).
func (k kind) flags() byte {
	if k == kindSubscribe || k == kindUnsubscribe {
		return 2
	}
	return 0
}

// QoS is a quality of service. The third level is understood and never granted.
type QoS byte

// The levels.
const (
	AtMostOnce  QoS = 0
	AtLeastOnce QoS = 1
	ExactlyOnce QoS = 2
)

// ReturnCode is the answer to CONNECT (3.2.2.3).
type ReturnCode byte

// The return codes.
const (
	Accepted           ReturnCode = 0
	BadProtocolVersion ReturnCode = 1
	IdentifierRejected ReturnCode = 2
	ServerUnavailable  ReturnCode = 3
	BadCredentials     ReturnCode = 4
	NotAuthorized      ReturnCode = 5
)

// String returns the code's meaning.
func (c ReturnCode) String() string {
	switch c {
	case Accepted:
		return "accepted"
	case BadProtocolVersion:
		return "unacceptable protocol version"
	case IdentifierRejected:
		return "identifier rejected"
	case ServerUnavailable:
		return "server unavailable"
	case BadCredentials:
		return "bad user name or password"
	case NotAuthorized:
		return "not authorized"
	default:
		return fmt.Sprintf("return code %d", byte(c))
	}
}

// SubscribeFailed is the return code of a refused subscription (3.9.3).
const SubscribeFailed = 0x80

// ProtocolLevel is that of MQTT 3.1.1 (3.1.2.2).
const ProtocolLevel = 4

// OldLevel is that of MQTT 3.1, which has a protocol name of its own; a client that gives
// that name is taken for it, whatever the level (MQTT V3.1, section 3.1).
const OldLevel = 3

// Level5 is that of MQTT 5.
const Level5 = 5

// Connect opens a session (3.1).
type Connect struct {
	Level        byte // ProtocolLevel, or what the client speaks instead: then only the client ID is read
	CleanSession bool
	KeepAlive    uint16 // seconds; 0 is none
	ClientID     string
	Will         *Will
	Username     string
	HasUsername  bool
	Password     []byte
	HasPassword  bool
}

// Will is what a broker would publish for a client that is lost (3.1.2.5).
type Will struct {
	Topic   string
	Message []byte
	QoS     QoS
	Retain  bool
}

// Connack answers Connect (3.2).
type Connack struct {
	SessionPresent bool
	Code           ReturnCode
}

// Publish carries a message (3.3).
type Publish struct {
	Topic    string
	Payload  []byte
	QoS      QoS
	Retain   bool
	Dup      bool
	PacketID uint16 // not 0 when QoS is above AtMostOnce
}

// Puback acknowledges a Publish at AtLeastOnce (3.4).
type Puback struct{ PacketID uint16 }

// Subscription is one filter of a Subscribe.
type Subscription struct {
	Filter string
	QoS    QoS
}

// Subscribe asks for messages (3.8).
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription
}

// Suback answers Subscribe: for each filter the granted QoS, or SubscribeFailed (3.9).
type Suback struct {
	PacketID uint16
	Codes    []byte
}

// Unsubscribe ends subscriptions (3.10).
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
}

// Unsuback answers Unsubscribe (3.11).
type Unsuback struct{ PacketID uint16 }

// Pingreq asks whether the other side is there (3.12).
type Pingreq struct{}

// Pingresp says so (3.13).
type Pingresp struct{}

// Disconnect announces that the client closes (3.14).
type Disconnect struct{}
