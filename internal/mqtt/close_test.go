package mqtt_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/register"
)

// nowhere is a store without any instance.
type nowhere struct{ register.Store }

func (nowhere) InstanceByScope(context.Context, dps.IDScope) (dps.Instance, error) {
	return dps.Instance{}, dps.Errorf(dps.InstanceNotFound, "no such scope")
}

// bare returns an endpoint without storage and the CONNECT that it takes.
func bare() (*mqtt.Server, *packet.Connect) {
	log := slog.New(slog.DiscardHandler)
	s := newServer(register.New(register.Options{Store: nowhere{}, Observer: deaf{}, Log: log, Now: time.Now}), log)
	return s, (&world{scope: "0ne00000001"}).hello("dev-1", "a password")
}

func TestViolationsClose(t *testing.T) {
	s, hello := bare()
	publish := func(topic string, qos packet.QoS) []byte {
		return (&packet.Publish{Topic: topic, QoS: qos, PacketID: 1}).Append(nil)
	}
	for _, tt := range []struct {
		name string
		sent []byte
	}{
		{"second CONNECT", hello.Append(nil)},
		{"over 96 KB", (&packet.Publish{Topic: registerTopic("1"), Payload: make([]byte, 96<<10)}).Append(nil)},
		{"over 96 KB is announced", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}},
		{"length in five bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}},
		{"packet type 0", []byte{0, 0}},
		{"packet type 15", []byte{0xf0, 0}},
		{"flags of PINGREQ", []byte{0xc1, 0}},
		{"body of PINGREQ", []byte{0xc0, 1, 0}},
		{"no subscription", []byte{0x82, 2, 0, 1}},
		{"QoS 2", publish(registerTopic("1"), packet.ExactlyOnce)},
		{"QoS 3", append([]byte{0x36}, publish(registerTopic("1"), packet.AtLeastOnce)[1:]...)},
		{"PUBREL", []byte{0x62, 2, 0, 1}},
		{"foreign topic", publish("devices/dev-1/messages/events/", packet.AtLeastOnce)},
		{"topic of answers", publish("$dps/registrations/res/200/?$rid=1", packet.AtMostOnce)},
		{"wildcard in a topic", publish("$dps/registrations/PUT/#", packet.AtMostOnce)},
		{"no request ID", publish("$dps/registrations/PUT/iotdps-register/", packet.AtMostOnce)},
		{"CONNACK", (&packet.Connack{}).Append(nil)},
		{"SUBACK", (&packet.Suback{PacketID: 1, Codes: []byte{0}}).Append(nil)},
		{"UNSUBACK", (&packet.Unsuback{PacketID: 1}).Append(nil)},
		{"PINGRESP", (&packet.Pingresp{}).Append(nil)},
		{"DISCONNECT", (&packet.Disconnect{}).Append(nil)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, s, nil)
			c.accepted(t, hello)
			c.subscribe(t, packet.AtMostOnce)
			_, _ = c.Write(tt.sent) // may be cut short
			c.closed(t, tt.name)
		})
	}
}

func TestFirstPacketIsConnect(t *testing.T) {
	s, hello := bare()
	for _, tt := range []struct {
		name string
		sent []byte
	}{
		{"PINGREQ", (&packet.Pingreq{}).Append(nil)},
		{"PUBLISH", (&packet.Publish{Topic: registerTopic("1")}).Append(nil)},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost:8883\r\nUser-Agent: something that mistook the port\r\n\r\n")},
		{"other protocol", []byte(strings.Replace(string(hello.Append(nil)), "MQTT", "MQIs", 1))},
		{"CONNECT with a reserved flag", []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 1, 0, 0, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, s, nil)
			_, _ = c.Write(tt.sent)
			c.closed(t, tt.name)
		})
	}
}

// A packet of 96 KB is taken, however slowly it comes.
func TestLargestPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, hello := bare()
		c := pipe(t, s, nil)
		c.accepted(t, hello)
		c.subscribe(t, packet.AtMostOnce)
		p := &packet.Publish{Topic: registerTopic("1")}
		p.Payload = bytes.Repeat([]byte(" "), 96<<10-2-len(p.Topic))
		text := p.Append(nil)
		for _, part := range [][]byte{text[:1], text[1:5000], text[5000:]} {
			time.Sleep(29 * time.Second) //nolint:forbidigo // in a bubble of synctest, where it takes no time
			if _, err := c.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		c.answer(t).refused(t, "404", 404000)
	})
}

// lasts measures how long the server keeps a connection on which nothing happens.
func (c *client) lasts(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	c.closed(t, "silence")
	return time.Since(start)
}

func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name  string
		begin func(t *testing.T, c *client, hello *packet.Connect)
		want  time.Duration
	}{
		{"no CONNECT", func(*testing.T, *client, *packet.Connect) {}, 10 * time.Second},
		{"half a CONNECT", func(t *testing.T, c *client, hello *packet.Connect) {
			if _, err := c.Write(hello.Append(nil)[:20]); err != nil {
				t.Error(err)
			}
		}, 10 * time.Second},
		{"keep-alive of a minute", func(t *testing.T, c *client, hello *packet.Connect) {
			hello.KeepAlive = 60
			c.accepted(t, hello)
		}, 90 * time.Second},
		{"keep-alive of a second", func(t *testing.T, c *client, hello *packet.Connect) {
			hello.KeepAlive = 1
			c.accepted(t, hello)
		}, 1500 * time.Millisecond},
		{"longest keep-alive", func(t *testing.T, c *client, hello *packet.Connect) {
			hello.KeepAlive = 0xffff
			c.accepted(t, hello)
		}, 0xffff * 3 * time.Second / 2},
		{"no keep-alive", func(t *testing.T, c *client, hello *packet.Connect) {
			hello.KeepAlive = 0
			c.accepted(t, hello)
		}, 5 * time.Minute},
		{"half a packet", func(t *testing.T, c *client, hello *packet.Connect) {
			c.accepted(t, hello)
			if _, err := c.Write([]byte{0x30}); err != nil {
				t.Error(err)
			}
		}, 90 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, hello := bare()
				c := pipe(t, s, nil)
				tt.begin(t, c, hello)
				if got := c.lasts(t); got != tt.want {
					t.Errorf("closed after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// Whoever says something in time stays.
func TestPingsKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, hello := bare()
		c := pipe(t, s, nil)
		c.accepted(t, hello)
		for range 50 {
			time.Sleep(89 * time.Second) //nolint:forbidigo // in a bubble of synctest, where it takes no time
			c.alive(t)
		}
		if got := c.lasts(t); got != 90*time.Second {
			t.Errorf("closed after %v", got)
		}
	})
}

// drip sends text a byte at a time until that fails.
func drip(c net.Conn, text []byte) {
	for _, b := range text {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(900 * time.Millisecond) //nolint:forbidigo // in a bubble of synctest, where it takes no time
	}
}

// A byte now and then is not a CONNECT in time.
func TestSlowConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, hello := bare()
		c := pipe(t, s, nil)
		var speaking sync.WaitGroup
		speaking.Go(func() { drip(c, hello.Append(nil)) })
		defer speaking.Wait()
		if got := c.lasts(t); got != 10*time.Second {
			t.Errorf("closed after %v, want 10 s", got)
		}
	})
}

// A client that asks and never reads is closed; nothing heaps up meanwhile, because
// what it sends next is not read.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, hello := bare()
		c := pipe(t, s, nil)
		c.accepted(t, hello)
		c.subscribe(t, packet.AtMostOnce)
		start, sent := time.Now(), 0
		for {
			n, err := c.Write((&packet.Publish{Topic: registerTopic("1")}).Append(nil))
			sent += n
			if err != nil {
				break
			}
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("closed after %v, want 10 s", took)
		}
		if sent > 1<<10 {
			t.Errorf("the server took %d bytes of a client that does not read", sent)
		}
	})
}

// So it is over a network, where the kernel takes some of the answers first.
func TestSlowReaderOverTLS(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	registering := register.New(register.Options{Store: nowhere{}, Observer: deaf{}, Log: log, Now: time.Now})
	soon := func() time.Time { return time.Now().Add(-9 * time.Second) } // deadlines are a second away
	s := mqtt.New(mqtt.Options{Register: registering, Observer: deaf{}, Log: log, Now: soon})
	address, config := listen(t, s)
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	must(t, err)
	secure := tls.Client(raw, config)
	defer raw.Close()
	_, hello := bare()
	c := newClient(secure)
	c.accepted(t, hello)
	c.subscribe(t, packet.AtMostOnce)
	must(t, c.SetWriteDeadline(time.Now().Add(patience)))
	request := (&packet.Publish{Topic: registerTopic(strings.Repeat("r", 256))}).Append(nil)
	for err == nil {
		_, err = c.Write(request)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the server still holds a client that did not read for %v", patience)
	}
}

// handed is a listener of connections that a test hands over.
type handed struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error {
	close(l.done)
	return nil
}

func (l *handed) Addr() net.Addr { return &net.TCPAddr{} }

// serveHanded runs Serve over pipes and returns the listener; stop ends it.
func serveHanded(t *testing.T, s *mqtt.Server) (l *handed, client *tls.Config, stop func()) {
	t.Helper()
	l = &handed{conns: make(chan net.Conn), done: make(chan struct{})}
	server, client := configs(t)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l, server) }()
	return l, client, func() {
		_ = l.Close()
		must(t, <-ended)
	}
}

func (l *handed) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

func TestNoHandshake(t *testing.T) {
	for _, tt := range []struct {
		name  string
		speak func(c net.Conn)
	}{
		{"nothing", func(net.Conn) {}},
		{"half a record", func(c net.Conn) { _, _ = c.Write([]byte{0x16, 3, 1, 2, 0, 1}) }},
		{"a byte now and then", func(c net.Conn) { drip(c, append([]byte{0x16, 3, 1, 2, 0}, make([]byte, 100)...)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := bare()
				l, _, stop := serveHanded(t, s)
				defer stop()
				c := l.dial()
				start := time.Now()
				var speaking sync.WaitGroup
				speaking.Go(func() { tt.speak(c) })
				defer speaking.Wait()
				_, err := io.Copy(io.Discard, c)
				if took := time.Since(start); took != 10*time.Second || err != nil {
					t.Errorf("closed after %v (%v), want 10 s", took, err)
				}
				must(t, c.Close())
			})
		})
	}
}

// CONNECT has ten seconds of its own after the handshake.
func TestNoConnectAfterHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := bare()
		l, config, stop := serveHanded(t, s)
		defer stop()
		raw := l.dial()
		time.Sleep(9 * time.Second) //nolint:forbidigo // in a bubble of synctest, where it takes no time
		c := tls.Client(raw, config)
		must(t, c.Handshake())
		start := time.Now()
		_, err := io.Copy(io.Discard, c)
		if took := time.Since(start); took != 10*time.Second || err != nil {
			t.Errorf("closed after %v (%v), want 10 s", took, err)
		}
		must(t, raw.Close())
	})
}

func TestPlainText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, hello := bare()
		l, _, stop := serveHanded(t, s)
		defer stop()
		c := newClient(l.dial())
		go func() { _, _ = c.Write(hello.Append(nil)) }()
		start := time.Now()
		if p, err := c.r.Read(); err == nil {
			t.Errorf("without TLS the answer is %T", p)
		}
		must(t, c.Close())
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// ends counts connections.
type ends struct{ began, ended chan string }

func (e ends) Connected(listener string) func() {
	e.began <- listener
	return func() { e.ended <- listener }
}

func TestObserverHearsOfHandshakesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		e := ends{make(chan string, 1), make(chan string, 1)}
		s := mqtt.New(mqtt.Options{
			Register: register.New(
				register.Options{Store: nowhere{}, Observer: deaf{}, Log: log, Now: time.Now},
			), Observer: e, Log: log, Now: time.Now,
		})
		l, _, stop := serveHanded(t, s)
		defer stop()
		c := l.dial()
		if got := <-e.began; got != "mqtt" {
			t.Errorf("listener %q", got)
		}
		must(t, c.Close())
		<-e.ended
	})
}

// failing fails to accept a few times.
type failing struct {
	handed
	errs []error
}

func (l *failing) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.handed.Accept()
}

var errBroken = errors.New("broken")

func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := bare()
		server, _ := configs(t)
		if err := s.Serve(&failing{errs: []error{errBroken}}, server); !errors.Is(err, errBroken) {
			t.Errorf("Serve = %v, want the listener's error", err)
		}
		start := time.Now()
		if err := s.Serve(&failing{errs: append(shortages(), net.ErrClosed)}, server); err != nil {
			t.Errorf("Serve = %v, want nil after the listener was closed", err)
		}
		if took := time.Since(start); took < time.Duration(len(shortages()))*time.Millisecond {
			t.Errorf("shortages were not waited for: %v", took)
		}
	})
}
