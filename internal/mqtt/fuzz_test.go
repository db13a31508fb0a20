package mqtt_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/wire"
)

// progress checks the answer to one step of a registration and returns the operation.
func progress(op string, got, want packet.Packet) (string, error) {
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		return "", fmt.Errorf("got %T %+v, want %T", got, got, want)
	}
	p, ok := got.(*packet.Publish)
	if !ok {
		return op, nil
	}
	var o wire.RegistrationOperation
	if err := json.Unmarshal(p.Payload, &o); err != nil {
		return "", err
	}
	if op == "" && o.Status == "assigning" || op != "" && o.Status == "assigned" {
		return o.OperationID, nil
	}
	return "", fmt.Errorf("answer %s: %s", p.Topic, p.Payload)
}

// tape is a connection on which everything was said already.
type tape struct {
	in  io.Reader
	out int // bytes written

	closed bool
}

func (c *tape) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *tape) Write(p []byte) (int, error) {
	c.out += len(p)
	return len(p), nil
}

func (c *tape) Close() error {
	c.closed = true
	return nil
}

func (*tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*tape) SetDeadline(time.Time) error      { return nil }
func (*tape) SetReadDeadline(time.Time) error  { return nil }
func (*tape) SetWriteDeadline(time.Time) error { return nil }

// Whatever comes, the connection ends, and what goes out is bounded by what came in.
func FuzzConn(f *testing.F) {
	s, hello := bare()
	session := func(packets ...packet.Packet) []byte {
		b := hello.Append(nil)
		for _, p := range packets {
			b = p.Append(b)
		}
		return b
	}
	subscribe := &packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: filter, QoS: packet.AtLeastOnce}}}
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(session(&packet.Pingreq{}, &packet.Disconnect{}))
	f.Add(
		session(
			subscribe,
			&packet.Publish{Topic: registerTopic("1"), QoS: packet.AtLeastOnce, PacketID: 2, Payload: []byte(`{"registrationId":"dev-1"}`)},
			&packet.Puback{PacketID: 1},
		),
	)
	f.Add(session(subscribe, &packet.Publish{Topic: pollTopic("1", "x")}, &packet.Unsubscribe{PacketID: 2, Filters: []string{filter}}))
	f.Add(session(subscribe, &packet.Publish{Topic: "x", QoS: packet.ExactlyOnce, PacketID: 2}))
	f.Add((&packet.Connect{Level: 5}).Append(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, sent := range [][]byte{in, append(session(subscribe), in...)} {
			c := &tape{in: bytes.NewReader(sent)}
			s.ServeConn(c, nil)
			if most := 64 + 16*len(sent); c.out > most {
				t.Errorf("%d bytes in, %d out", len(sent), c.out)
			}
			if !c.closed {
				t.Error("the connection is left open")
			}
		}
	})
}
