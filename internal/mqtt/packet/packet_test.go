package packet_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/mqtt/packet"
)

func every() []packet.Packet {
	return []packet.Packet{
		&packet.Connect{Level: 4, CleanSession: true, KeepAlive: 60, ClientID: "dev-1"},
		&packet.Connect{
			Level: 4, ClientID: "dev-1", HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p"),
			Will: &packet.Will{Topic: "w", Message: []byte("bye"), QoS: packet.AtLeastOnce, Retain: true},
		},
		&packet.Connack{SessionPresent: true, Code: packet.NotAuthorized},
		&packet.Publish{Topic: "t", Payload: []byte("hello")},
		&packet.Publish{Topic: "t", Payload: []byte(strings.Repeat("x", 20000)), QoS: packet.AtLeastOnce, Dup: true, Retain: true, PacketID: 9},
		&packet.Puback{PacketID: 7},
		&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "a/#", QoS: packet.AtLeastOnce}, {Filter: "b"}}},
		&packet.Suback{PacketID: 1, Codes: []byte{1, packet.SubscribeFailed}},
		&packet.Unsubscribe{PacketID: 2, Filters: []string{"a/#"}},
		&packet.Unsuback{PacketID: 2},
		&packet.Pingreq{}, &packet.Pingresp{}, &packet.Disconnect{},
	}
}

func TestRoundTrip(t *testing.T) {
	var stream []byte
	for _, p := range every() {
		stream = p.Append(stream)
	}
	r := packet.NewReader(iotest.OneByteReader(bytes.NewReader(stream)), 96<<10)
	for _, want := range every() {
		got, err := r.Read()
		if err != nil {
			t.Fatalf("Read() = %v, want %T", err, want)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T (-want +got):\n%s", want, diff)
		}
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("Read() at the end = %v, want EOF", err)
	}
}

func TestReadRefuses(t *testing.T) {
	connect := func(flags byte, rest ...byte) []byte {
		body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 0}, rest...)
		return append([]byte{0x10, byte(len(body))}, body...)
	}
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"reserved type 0", []byte{0x00, 0}, packet.ErrMalformed},
		{"reserved type 15", []byte{0xf0, 0}, packet.ErrMalformed},
		{"QoS 2 handshake packet", []byte{0x50, 2, 0, 1}, packet.ErrMalformed},
		{"subscribe without its flags", []byte{0x80, 5, 0, 1, 0, 0, 0}, packet.ErrMalformed},
		{"pingreq with flags", []byte{0xc1, 0}, packet.ErrMalformed},
		{"pingreq with a body", []byte{0xc0, 1, 0}, packet.ErrMalformed},
		{"length of five bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, packet.ErrMalformed},
		{"announced too large", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, packet.ErrTooLarge},
		{"ends in its length", []byte{0x30, 0xff}, io.ErrUnexpectedEOF},
		{"ends in its body", []byte{0x30, 10, 0}, io.ErrUnexpectedEOF},
		{"wrong protocol name", []byte{0x10, 10, 0, 4, 'M', 'Q', 'T', 'X', 4, 0, 0, 0}, packet.ErrMalformed},
		{"reserved connect flag", connect(1, 0, 0), packet.ErrMalformed},
		{"will QoS without will", connect(1<<3, 0, 0), packet.ErrMalformed},
		{"will QoS 3", connect(1<<2|3<<3, 0, 0, 0, 0, 0, 0), packet.ErrMalformed},
		{"password without user name", connect(1<<6, 0, 0, 0, 0), packet.ErrMalformed},
		{"client ID beyond the end", connect(0, 0, 9, 'x'), packet.ErrMalformed},
		{"client ID not UTF-8", connect(0, 0, 1, 0xff), packet.ErrMalformed},
		{"client ID with U+0000", connect(0, 0, 1, 0), packet.ErrMalformed},
		{"publish QoS 3", []byte{0x36, 5, 0, 1, 't', 0, 1}, packet.ErrMalformed},
		{"publish DUP at QoS 0", []byte{0x38, 3, 0, 1, 't'}, packet.ErrMalformed},
		{"publish with a wildcard", []byte{0x30, 3, 0, 1, '#'}, packet.ErrMalformed},
		{"publish without topic", []byte{0x30, 2, 0, 0}, packet.ErrMalformed},
		{"publish with identifier 0", []byte{0x32, 5, 0, 1, 't', 0, 0}, packet.ErrMalformed},
		{"subscribe without filter", []byte{0x82, 2, 0, 1}, packet.ErrMalformed},
		{"subscribe at QoS 3", []byte{0x82, 6, 0, 1, 0, 1, 'a', 3}, packet.ErrMalformed},
		{"subscribe with an empty filter", []byte{0x82, 5, 0, 1, 0, 0, 0}, packet.ErrMalformed},
		{"unsubscribe without filter", []byte{0xa2, 2, 0, 1}, packet.ErrMalformed},
		{"puback with identifier 0", []byte{0x40, 2, 0, 0}, packet.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := packet.NewReader(bytes.NewReader(tt.in), 1<<20).Read()
			if !errors.Is(err, tt.want) {
				t.Errorf("Read() = %v, %v; want %v", p, err, tt.want)
			}
		})
	}
}

// Another protocol version is told from a malformed packet, so that it can be
// answered with a return code.
func TestOtherProtocolLevelIsRead(t *testing.T) {
	in := []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 0}
	p, err := packet.NewReader(bytes.NewReader(in), 100).Read()
	c, ok := p.(*packet.Connect)
	if err != nil || !ok || c.Level != 5 {
		t.Errorf("Read() = %+v, %v; want a Connect of level 5", p, err)
	}
}

// MQTT 3.1 has another protocol name, and MQTT 5 properties before the client ID: both are
// told, with the client ID for the record, however damaged the rest is.
func TestOtherVersions(t *testing.T) {
	for name, tt := range map[string]struct {
		in    string
		level byte
		id    string
	}{
		"3.1":                   {"\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x05dev-1rest", 3, "dev-1"},
		"3.1 without client ID": {"\x00\x06MQIsdp\x03\x02\x00\x3c", 3, ""},
		"3.1, level of 3.1.1":   {"\x00\x06MQIsdp\x04\x02\x00\x3c\x00\x05dev-1", 3, "dev-1"},
		"5":                     {"\x00\x04MQTT\x05\x02\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x05dev-1", 5, "dev-1"},
		"5, endless properties": {"\x00\x04MQTT\x05\x02\x00\x3c\xff\xff\xff\x7f\x00\x05dev-1", 5, ""},
		"3.1.1 of a bridge":     {"\x00\x04MQTT\x84\x02\x00\x3c\x00\x05dev-1", 0x84, "dev-1"},
	} {
		in := append([]byte{0x10, byte(len(tt.in))}, tt.in...)
		p, err := packet.NewReader(bytes.NewReader(in), 100).Read()
		c, ok := p.(*packet.Connect)
		if err != nil || !ok || c.Level != tt.level || c.ClientID != tt.id {
			t.Errorf("%s: Read() = %+v, %v; want level %d of %q", name, p, err, tt.level, tt.id)
		}
	}
}

// A peer that announces much and sends little costs little.
func TestAnnouncedLengthIsNotAllocated(t *testing.T) {
	in := append([]byte{0x30, 0xff, 0xff, 0x7f}, make([]byte, 100)...)
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, _ = packet.NewReader(bytes.NewReader(in), 4<<20).Read()
		}
	}).AllocedBytesPerOp()
	if allocated > 4<<10 {
		t.Errorf("reading 100 of 2 MB allocates %d bytes", allocated)
	}
}

func FuzzRead(f *testing.F) {
	for _, p := range every() {
		f.Add(p.Append(nil))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := packet.NewReader(bytes.NewReader(in), 96<<10)
		for {
			p, err := r.Read()
			if err != nil {
				return
			}
			again, err := packet.NewReader(bytes.NewReader(p.Append(nil)), 1<<20).Read()
			if c, other := p.(*packet.Connect); other && c.Level != packet.ProtocolLevel {
				continue // only its level was read
			}
			if err != nil {
				t.Fatalf("%+v does not read back: %v", p, err)
			}
			if diff := cmp.Diff(p, again); diff != "" {
				t.Fatalf("%T changes on the way (-want +got):\n%s", p, diff)
			}
		}
	})
}
