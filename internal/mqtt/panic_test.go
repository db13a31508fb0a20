package mqtt_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mqtt"
	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/register"
)

// broken is a store that panics.
type broken struct{ register.Store }

func (broken) InstanceByScope(context.Context, dps.IDScope) (dps.Instance, error) {
	panic("out of cheese")
}

// counting is an observer that counts panics.
type counting struct {
	deaf
	mu sync.Mutex
	n  map[string]int
}

func (c *counting) Panicked(where string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[where]++
}

// A panic ends its connection and no other, and is logged as an error.
func TestPanicEndsOneConnection(t *testing.T) {
	var text bytes.Buffer
	log, observer := slog.New(slog.NewTextHandler(&text, nil)), &counting{n: make(map[string]int)}
	s := mqtt.New(mqtt.Options{
		Register: register.New(register.Options{Store: broken{}, Observer: deaf{}, Log: log, Now: time.Now}), Observer: observer, Log: log,
		Now: time.Now,
	})
	_, hello := bare()
	first, second := open(t, s, nil), open(t, s, nil)
	for _, c := range []*client{first, second} {
		c.accepted(t, hello)
		c.subscribe(t, packet.AtMostOnce)
	}
	first.send(t, &packet.Publish{Topic: registerTopic("1")})
	first.closed(t, "a panic")
	second.alive(t)
	must(t, second.Close())
	must(t, s.Shutdown(t.Context()))
	if lines := text.String(); strings.Count(lines, "level=ERROR") != 1 || !strings.Contains(lines, "out of cheese") ||
		!strings.Contains(lines, "registrationId=dev-1") || !strings.Contains(lines, "trackingId=") || observer.n["mqtt"] != 1 {
		t.Errorf("logged %s, counted %v", lines, observer.n)
	}
}
