package mqtt_test

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/register"
)

// gate is a store that lets a look-up of a scope in when the test says so.
type gate struct {
	register.Store
	entered, open chan struct{}
	once          sync.Once
}

func newGate(s register.Store) *gate {
	return &gate{Store: s, entered: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) InstanceByScope(ctx context.Context, scope dps.IDScope) (dps.Instance, error) {
	g.once.Do(func() { close(g.entered) })
	<-g.open
	return g.Store.InstanceByScope(ctx, scope)
}

// The request that is running is finished and answered; connections that wait are
// closed at once; nothing new is begun.
func TestShutdown(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, dps.Individual, "dev-1", nil).Primary
	g := newGate(w.store)
	s := w.over(g)
	hello := w.hello("dev-1", w.token("dev-1", key))
	busy, idle, silent := open(t, s, nil), open(t, s, nil), open(t, s, nil)
	for _, c := range []*client{busy, idle} {
		c.accepted(t, hello)
		c.subscribe(t, packet.AtLeastOnce)
	}
	busy.send(t, &packet.Publish{Topic: registerTopic("1"), QoS: packet.AtLeastOnce, PacketID: 1})
	<-g.entered

	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	idle.closed(t, "idle")
	silent.closed(t, "before CONNECT")
	select {
	case err := <-ended:
		t.Fatalf("Shutdown = %v before the request ended", err)
	default:
	}
	pipe(t, s, nil).closed(t, "new")
	close(g.open)
	next[*packet.Puback](t, busy)
	if a := busy.answer(t); a.Status != "assigning" {
		t.Errorf("answer = %+v", a)
	}
	busy.closed(t, "after its request")
	must(t, <-ended)
	must(t, s.Shutdown(t.Context())) // again
}

// Who does not take its answer is cut off when time is up.
func TestShutdownCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, hello := bare()
		c := pipe(t, s, nil)
		c.accepted(t, hello)
		c.subscribe(t, packet.AtMostOnce)
		c.send(t, &packet.Publish{Topic: registerTopic("1")}) // and does not read
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("Shutdown took %v, want 1 s", took)
		}
	})
}

// Handshakes end with the server too.
func TestShutdownDuringHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := bare()
		l, _, stop := serveHanded(t, s)
		c := newClient(l.dial())
		synctest.Wait()
		stop()
		start := time.Now()
		must(t, s.Shutdown(t.Context()))
		c.closed(t, "handshake")
		must(t, c.Close())
		if took := time.Since(start); took != 0 {
			t.Errorf("Shutdown and the handshake took %v", took)
		}
	})
}

// Two hundred devices register at once, over TLS, by certificate and by key.
func TestManyAtOnce(t *testing.T) {
	const devices = 200
	w := newWorld(t)
	w.group(t)
	line := w.keyed(t, dps.Group, "keyed-line", nil)
	address, config := listen(t, w.Server)
	failed := make(chan error, devices)
	for i := range devices {
		id := "dev-" + string(rune('a'+i%26)) + "-" + time.Duration(i).String()
		config := config.Clone()
		hello := w.hello(id, w.token(id, dps.DeriveKey(line.Primary, dps.RegistrationID(id))))
		if i%2 == 0 {
			config.Certificates = []tls.Certificate{w.leaf(t, id).TLSCertificate()}
			hello = w.hello(id, "")
		}
		go func() { failed <- registerOver(t.Context(), address, config, hello) }()
	}
	for range devices {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// registerOver registers one device over a new connection, without a test at hand.
func registerOver(ctx context.Context, address string, config *tls.Config, hello *packet.Connect) error {
	raw, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(3 * patience)) // two cores, and the race detector
	c := newClient(raw)
	op := ""
	for _, step := range []struct{ send, want packet.Packet }{
		{hello, &packet.Connack{}},
		{&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: filter}}}, &packet.Suback{}},
		{&packet.Publish{Topic: registerTopic("1")}, &packet.Publish{}},
		{nil, &packet.Publish{}},
	} {
		if step.send == nil {
			step.send = &packet.Publish{Topic: pollTopic("1", op)}
		}
		if _, err := c.Write(step.send.Append(nil)); err != nil {
			return err
		}
		p, err := c.r.Read()
		if err != nil {
			return err
		}
		if op, err = progress(op, p, step.want); err != nil {
			return err
		}
	}
	return nil
}
