package packet

import "encoding/binary"

// header writes the fixed header of a packet whose rest has n bytes (2.2).
func header(b []byte, k kind, flags byte, n int) []byte {
	b = append(b, byte(k)<<4|flags)
	for {
		digit := byte(n & 0x7f)
		n >>= 7
		if n == 0 {
			return append(b, digit)
		}
		b = append(b, digit|0x80)
	}
}

// text writes a string or bytes behind their length in two bytes (1.5.3).
func text[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s))) //nolint:gosec // callers keep texts under 64 KB
	return append(b, s...)
}

const lengthBytes = 2 // in front of a text, and the size of a packet identifier

// Bits of the connect flags (3.1.2.3).
const (
	flagCleanSession = 1 << 1
	flagWill         = 1 << 2
	shiftWillQoS     = 3
	flagWillRetain   = 1 << 5
	flagPassword     = 1 << 6
	flagUsername     = 1 << 7
)

const protocolName = "MQTT"

// oldName is the protocol name of MQTT 3.1.
const oldName = "MQIsdp"

// Append writes the packet behind b.
func (p *Connect) Append(b []byte) []byte {
	n := lengthBytes + len(protocolName) + 1 + 1 + lengthBytes + lengthBytes + len(p.ClientID)
	var flags byte
	if p.CleanSession {
		flags |= flagCleanSession
	}
	if w := p.Will; w != nil {
		n += 2*lengthBytes + len(w.Topic) + len(w.Message)
		flags |= flagWill | byte(w.QoS)<<shiftWillQoS
		if w.Retain {
			flags |= flagWillRetain
		}
	}
	if p.HasUsername {
		n += lengthBytes + len(p.Username)
		flags |= flagUsername
	}
	if p.HasPassword {
		n += lengthBytes + len(p.Password)
		flags |= flagPassword
	}
	b = header(b, kindConnect, 0, n)
	b = append(text(b, protocolName), p.Level, flags)
	b = binary.BigEndian.AppendUint16(b, p.KeepAlive)
	b = text(b, p.ClientID)
	if p.Will != nil {
		b = text(text(b, p.Will.Topic), p.Will.Message)
	}
	if p.HasUsername {
		b = text(b, p.Username)
	}
	if p.HasPassword {
		b = text(b, p.Password)
	}
	return b
}

// Append writes the packet behind b.
func (p *Connack) Append(b []byte) []byte {
	var present byte
	if p.SessionPresent {
		present = 1
	}
	return append(header(b, kindConnack, 0, 2), present, byte(p.Code))
}

// Bits of a Publish's first byte (3.3.1).
const (
	flagRetain = 1
	shiftQoS   = 1
	flagDup    = 1 << 3
)

// Append writes the packet behind b.
func (p *Publish) Append(b []byte) []byte {
	n := lengthBytes + len(p.Topic) + len(p.Payload)
	flags := byte(p.QoS) << shiftQoS
	if p.QoS > AtMostOnce {
		n += lengthBytes
	}
	if p.Retain {
		flags |= flagRetain
	}
	if p.Dup {
		flags |= flagDup
	}
	b = text(header(b, kindPublish, flags, n), p.Topic)
	if p.QoS > AtMostOnce {
		b = binary.BigEndian.AppendUint16(b, p.PacketID)
	}
	return append(b, p.Payload...)
}

// onlyID writes a packet that is nothing but its identifier.
func onlyID(b []byte, k kind, id uint16) []byte {
	return binary.BigEndian.AppendUint16(header(b, k, k.flags(), lengthBytes), id)
}

// Append writes the packet behind b.
func (p *Puback) Append(b []byte) []byte { return onlyID(b, kindPuback, p.PacketID) }

// Append writes the packet behind b.
func (p *Unsuback) Append(b []byte) []byte { return onlyID(b, kindUnsuback, p.PacketID) }

// Append writes the packet behind b.
func (p *Subscribe) Append(b []byte) []byte {
	n := lengthBytes
	for _, s := range p.Subscriptions {
		n += lengthBytes + len(s.Filter) + 1
	}
	b = binary.BigEndian.AppendUint16(header(b, kindSubscribe, kindSubscribe.flags(), n), p.PacketID)
	for _, s := range p.Subscriptions {
		b = append(text(b, s.Filter), byte(s.QoS))
	}
	return b
}

// Append writes the packet behind b.
func (p *Suback) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(header(b, kindSuback, 0, lengthBytes+len(p.Codes)), p.PacketID)
	return append(b, p.Codes...)
}

// Append writes the packet behind b.
func (p *Unsubscribe) Append(b []byte) []byte {
	n := lengthBytes
	for _, f := range p.Filters {
		n += lengthBytes + len(f)
	}
	b = binary.BigEndian.AppendUint16(header(b, kindUnsubscribe, kindUnsubscribe.flags(), n), p.PacketID)
	for _, f := range p.Filters {
		b = text(b, f)
	}
	return b
}

// Append writes the packet behind b.
func (*Pingreq) Append(b []byte) []byte { return header(b, kindPingreq, 0, 0) }

// Append writes the packet behind b.
func (*Pingresp) Append(b []byte) []byte { return header(b, kindPingresp, 0, 0) }

// Append writes the packet behind b.
func (*Disconnect) Append(b []byte) []byte { return header(b, kindDisconnect, 0, 0) }
