package packet

import (
	"bufio"
	"encoding/binary"
	"io"
	"strings"
	"unicode/utf8"
)

// maxLengthBytes is how many bytes the remaining length has at most (2.2.3).
const maxLengthBytes = 4

// firstRead is how much is allocated for a packet before any byte of it came.
const firstRead = 512

// Reader reads packets of one connection. It is not safe for concurrent use.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte // of the packet that was read last; decoded packets own their memory
}

// NewReader returns a Reader that takes packets of up to maximum bytes behind their
// fixed header.
func NewReader(r io.Reader, maximum int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, firstRead), max: maximum}
}

// SetMax changes the limit for packets to come.
func (r *Reader) SetMax(maximum int) { r.max = maximum }

// Read returns the next packet. It fails with io.EOF at the end between two packets,
// ErrTooLarge, or ErrMalformed.
func (r *Reader) Read() (Packet, error) {
	first, err := r.r.ReadByte()
	if err != nil {
		return nil, err
	}
	n, err := r.length()
	if err != nil {
		return nil, noEOF(err)
	}
	if n > r.max {
		return nil, ErrTooLarge
	}
	if err := r.fill(n); err != nil {
		return nil, noEOF(err)
	}
	return decode(first, r.buf)
}

func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // bufio returns it bare
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) length() (int, error) {
	n := 0
	for i := range maxLengthBytes {
		b, err := r.r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, malformed("remaining length has more than 4 bytes")
}

// fill reads n bytes into buf, which grows with what comes and not with what was
// announced.
func (r *Reader) fill(n int) error {
	if cap(r.buf) > firstRead && n <= firstRead {
		r.buf = nil // one large packet does not cost its memory for ever
	}
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		step := min(n-len(r.buf), max(firstRead, len(r.buf)))
		start := len(r.buf)
		if cap(r.buf) < start+step {
			grown := make([]byte, start, start+step)
			copy(grown, r.buf)
			r.buf = grown
		}
		r.buf = r.buf[:start+step]
		if _, err := io.ReadFull(r.r, r.buf[start:]); err != nil {
			return err
		}
	}
	return nil
}

func decode(first byte, body []byte) (Packet, error) {
	k, flags := kind(first>>4), first&0x0f
	if k == kindPublish {
		return decodePublish(flags, body)
	}
	if flags != k.flags() {
		return nil, malformed("flags of the fixed header")
	}
	d := &decoder{rest: body}
	var p Packet
	switch k {
	case kindConnect:
		p = d.connect()
	case kindConnack:
		p = &Connack{SessionPresent: d.byte()&1 != 0, Code: ReturnCode(d.byte())}
	case kindPuback:
		p = &Puback{PacketID: d.id()}
	case kindSubscribe:
		p = d.subscribe()
	case kindSuback:
		p = &Suback{PacketID: d.id(), Codes: d.remaining()}
	case kindUnsubscribe:
		p = d.unsubscribe()
	case kindUnsuback:
		p = &Unsuback{PacketID: d.id()}
	case kindPingreq:
		p = &Pingreq{}
	case kindPingresp:
		p = &Pingresp{}
	case kindDisconnect:
		p = &Disconnect{}
	default:
		return nil, malformed("packet type")
	}
	return p, d.end()
}

// decoder takes a body apart. The first failure stays; what is read after it is
// zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = malformed(what)
	}
	d.rest = nil
}

func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("trailing bytes")
	}
	return d.err
}

func (d *decoder) take(n int) []byte {
	if len(d.rest) < n {
		d.fail("too short")
		return nil
	}
	head := d.rest[:n]
	d.rest = d.rest[n:]
	return head
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if b := d.take(lengthBytes); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// id reads a packet identifier, which is not 0 (2.3.1).
func (d *decoder) id() uint16 {
	id := d.uint16()
	if id == 0 {
		d.fail("packet identifier 0")
	}
	return id
}

func (d *decoder) remaining() []byte {
	all := append([]byte(nil), d.rest...)
	d.rest = nil
	return all
}

func (d *decoder) bytes() []byte {
	return append([]byte(nil), d.take(int(d.uint16()))...)
}

// text reads a string: UTF-8 without U+0000 (1.5.3).
func (d *decoder) text() string {
	raw := d.take(int(d.uint16()))
	if !utf8.Valid(raw) || strings.ContainsRune(string(raw), 0) {
		d.fail("a string is not UTF-8 or contains U+0000")
		return ""
	}
	return string(raw)
}

func (d *decoder) connect() *Connect {
	p := &Connect{}
	switch name := d.text(); name {
	case protocolName:
		p.Level = d.byte()
	case oldName:
		p.Level = OldLevel
		d.byte()
	default:
		d.fail("protocol name")
		return p
	}
	flags := d.byte()
	p.KeepAlive = d.uint16()
	if p.Level != ProtocolLevel {
		p.ClientID = d.otherClientID(p.Level)
		return p
	}
	d.connectFlags(flags)
	p.CleanSession = flags&flagCleanSession != 0
	p.ClientID = d.text()
	if flags&flagWill != 0 {
		p.Will = &Will{Topic: d.text(), Message: d.bytes(), QoS: QoS(flags >> shiftWillQoS & 3), Retain: flags&flagWillRetain != 0}
	}
	if p.HasUsername = flags&flagUsername != 0; p.HasUsername {
		p.Username = d.text()
	}
	if p.HasPassword = flags&flagPassword != 0; p.HasPassword {
		p.Password = d.bytes()
	}
	return p
}

// otherClientID reads the client ID of another version's CONNECT, as far as it is there,
// and passes over the rest. MQTT 5 has properties before it (MQTT 5.0, section 3.1.2.11).
func (d *decoder) otherClientID(level byte) string {
	skip := 0
	for i := 0; level == Level5 && i < maxLengthBytes; i++ {
		b := d.byte()
		skip |= int(b&0x7f) << (7 * i)
		if b < 0x80 {
			break
		}
	}
	d.take(skip)
	id := d.text()
	d.rest, d.err = nil, nil
	return id
}

// connectFlags checks what the flags of Connect may not say together (3.1.2.3 to 3.1.2.9).
func (d *decoder) connectFlags(flags byte) {
	willQoS := QoS(flags >> shiftWillQoS & 3)
	switch {
	case flags&1 != 0:
		d.fail("reserved connect flag")
	case flags&flagWill == 0 && (willQoS != 0 || flags&flagWillRetain != 0):
		d.fail("will flags without a will")
	case willQoS > ExactlyOnce:
		d.fail("QoS 3")
	case flags&flagPassword != 0 && flags&flagUsername == 0:
		d.fail("password without user name")
	}
}

func decodePublish(flags byte, body []byte) (*Publish, error) {
	d := &decoder{rest: body}
	p := &Publish{QoS: QoS(flags >> shiftQoS & 3), Retain: flags&flagRetain != 0, Dup: flags&flagDup != 0}
	if p.QoS > ExactlyOnce {
		d.fail("QoS 3")
	}
	if p.QoS == AtMostOnce && p.Dup {
		d.fail("DUP at QoS 0")
	}
	p.Topic = d.text()
	if d.err == nil && (p.Topic == "" || strings.ContainsAny(p.Topic, "+#")) {
		d.fail("topic name is empty or has wildcards") // 3.3.2.1, 4.7.3
	}
	if p.QoS > AtMostOnce {
		p.PacketID = d.id()
	}
	p.Payload = d.remaining()
	return p, d.err
}

func (d *decoder) subscribe() *Subscribe {
	p := &Subscribe{PacketID: d.id()}
	for d.err == nil && len(d.rest) > 0 {
		s := Subscription{Filter: d.filter(), QoS: QoS(d.byte())}
		if s.QoS > ExactlyOnce {
			d.fail("QoS of a subscription")
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	if len(p.Subscriptions) == 0 {
		d.fail("no subscription") // 3.8.3
	}
	return p
}

func (d *decoder) unsubscribe() *Unsubscribe {
	p := &Unsubscribe{PacketID: d.id()}
	for d.err == nil && len(d.rest) > 0 {
		p.Filters = append(p.Filters, d.filter())
	}
	if len(p.Filters) == 0 {
		d.fail("no filter") // 3.10.3
	}
	return p
}

func (d *decoder) filter() string {
	f := d.text()
	if f == "" {
		d.fail("empty topic filter") // 4.7.3
	}
	return f
}
