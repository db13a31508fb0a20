package fault_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mooring-iot/mooring/internal/mqtt/packet"
	"github.com/mooring-iot/mooring/internal/pki"
)

// What the service promises under a flood of connections that lead nowhere.
const (
	floodSize = 10_000
	openers   = 64 // that shake hands at the same time, so that the deadline of handshakes is not what is tested

	connectDeadline = 10 * time.Second // from the handshake to CONNECT
	deadlineSlack   = 5 * time.Second  // of a machine that is busy shaking hands

	maxIdleMemory  = 40 // KiB for each connection
	maxFloodMemory = floodSize * maxIdleMemory
	idleSize       = 2_000
)

// descriptors makes room for n connections in this process, and so in its children.
func descriptors(t *testing.T, n int) int {
	t.Helper()
	const others = 500
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	want := uint64(n + others)
	if limit.Max < want {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: want, Max: want}) // root may
	}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max >= want {
		return n
	}
	fewer := int(limit.Max) - others
	if strings.Contains(os.Getenv(requireVar), "fault") {
		t.Fatalf("only %d files may be open, so only %d connections of %d", limit.Max, fewer, n)
	}
	t.Logf("only %d files may be open: %d connections instead of %d", limit.Max, fewer, n)
	return fewer
}

// tlsConfig is what a device speaks TLS with.
func (s *service) tlsConfig(leaf *pki.Issued) *tls.Config {
	c := &tls.Config{RootCAs: s.trust, ServerName: hostName, MinVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.CurveP256}}
	if leaf != nil {
		c.Certificates = []tls.Certificate{leaf.TLSCertificate()}
	}
	return c
}

// dialMQTT opens TCP and TLS.
func (s *service) dialMQTT(ctx context.Context, leaf *pki.Issued) (net.Conn, error) {
	return (&tls.Dialer{Config: s.tlsConfig(leaf)}).DialContext(ctx, "tcp", s.mqtt)
}

// mqttDevice is a device that talks MQTT.
type mqttDevice struct {
	net.Conn
	packets *packet.Reader
}

// connectMQTT connects a device that shows leaf, and subscribes.
func (s *service) connectMQTT(ctx context.Context, leaf *pki.Issued, keepAlive uint16) (*mqttDevice, error) {
	conn, err := s.dialMQTT(ctx, leaf)
	if err != nil {
		return nil, err
	}
	d := &mqttDevice{conn, packet.NewReader(conn, maxBody)}
	_ = conn.SetDeadline(time.Now().Add(requestTimeout))
	if _, err := d.ask(s.connectPacket(leaf.Certificate.Subject.CommonName, keepAlive)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	answers := []packet.Subscription{{Filter: "$dps/registrations/res/#"}}
	if _, err := d.ask(&packet.Subscribe{PacketID: 1, Subscriptions: answers}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return d, nil
}

func (s *service) connectPacket(id string, keepAlive uint16) *packet.Connect {
	return &packet.Connect{
		Level: packet.ProtocolLevel, CleanSession: true, KeepAlive: keepAlive, ClientID: id,
		HasUsername: true, Username: s.info.IDScope + "/registrations/" + id + "/api-version=" + deviceVersion,
	}
}

// ask sends a packet and returns the next that comes.
func (d *mqttDevice) ask(p packet.Packet) (packet.Packet, error) {
	if _, err := d.Write(p.Append(nil)); err != nil {
		return nil, err
	}
	answer, err := d.packets.Read()
	if ack, ok := answer.(*packet.Connack); ok && ack.Code != packet.Accepted {
		return nil, fmt.Errorf("CONNECT refused: %s", ack.Code)
	}
	return answer, err
}

// publish asks for something and reads the answer.
func (d *mqttDevice) publish(topic string) (operation, error) {
	var op operation
	p, err := d.ask(&packet.Publish{Topic: topic})
	if err != nil {
		return op, err
	}
	answer, ok := p.(*packet.Publish)
	if !ok {
		return op, fmt.Errorf("the answer is a %T", p)
	}
	return op, json.Unmarshal(answer.Payload, &op)
}

// registerMQTT registers a new device over a connection of its own.
func registerMQTT(ctx context.Context, s *service, ca *pki.Issued, id string) error {
	leaf, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: id, Issuer: ca.Issuer()})
	if err != nil {
		return err
	}
	d, err := s.connectMQTT(ctx, leaf, 60)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	defer d.Close()
	op, err := d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1")
	if err != nil {
		return fmt.Errorf("%s: register: %w", id, err)
	}
	op, err = d.publish("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=" + op.OperationID)
	if err != nil || op.Status != "assigned" || op.RegistrationState.DeviceID != id {
		return fmt.Errorf("%s: poll: %+v, %w", id, op, err)
	}
	return nil
}

// memory returns the resident memory of a process in KiB.
// Source: proc_pid_status(5), VmRSS.
func memory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if words := strings.Fields(string(line)); len(words) == 3 && words[0] == "VmRSS:" {
			kib, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// flood is a number of connections that lead nowhere.
type flood struct {
	service  *service
	careless *tls.Config // does not look whom it talks to, to be quick
	hello    []byte      // of which a part is sent
	open     atomic.Int64
	early    atomic.Int64 // dropped before the deadline
	late     atomic.Int64 // dropped long after it
}

// waste opens the i-th connection and holds it until the service drops it. opened is
// called after the handshake.
func (f *flood) waste(ctx context.Context, i int, opened func()) error {
	conn, err := (&tls.Dialer{Config: f.careless}).DialContext(ctx, "tcp", f.service.mqtt)
	opened()
	if err != nil {
		return fmt.Errorf("opening connection %d: %w", i, err)
	}
	defer conn.Close()
	start := time.Now()
	f.open.Add(1)
	defer f.open.Add(-1)
	ended := make(chan struct{})
	var speaking sync.WaitGroup
	switch i % 3 {
	case 1:
		speaking.Go(func() { f.drip(conn, ended) })
	case 2:
		_, err = conn.Write(f.hello[:len(f.hello)/2])
	}
	_ = conn.SetReadDeadline(start.Add(connectDeadline + 2*deadlineSlack))
	n, _ := conn.Read(make([]byte, 1))
	took := time.Since(start)
	close(ended)
	speaking.Wait()
	switch {
	case n > 0:
		return fmt.Errorf("connection %d was answered", i)
	case took < connectDeadline-time.Second:
		f.early.Add(1)
	case took > connectDeadline+deadlineSlack:
		f.late.Add(1)
	}
	return err
}

// drip sends a byte a second until the connection ends.
func (f *flood) drip(conn net.Conn, ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range f.hello {
		if _, err := conn.Write(f.hello[i : i+1]); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// run opens n connections and returns when all are dropped.
func (f *flood) run(t *testing.T, n int) {
	t.Helper()
	opening := make(chan struct{}, openers)
	failed := make(chan error, n)
	for i := range n {
		opening <- struct{}{}
		go func() {
			failed <- f.waste(t.Context(), i, func() { <-opening })
		}()
	}
	shown := 0
	for range n {
		if err := <-failed; err != nil && shown < 5 {
			shown++
			t.Error(err)
		}
	}
}

// Ten thousand connections that say nothing, a byte a second, or half a packet: real
// devices register meanwhile, memory is bounded, and all of them are dropped in time.
func TestFloodOfConnections(t *testing.T) {
	if os.Getenv(raceVar) == "1" {
		t.Skip("the race detector multiplies time and memory, which are what is looked at here")
	}
	n := descriptors(t, floodSize)
	s := startService(t, filepath.Join(t.TempDir(), "data"))
	ca := prepare(t, s)
	f := &flood{service: s, careless: s.tlsConfig(nil), hello: s.connectPacket("dev-0", 60).Append(nil)}
	f.careless.InsecureSkipVerify = true

	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	registered, slowest, most, peak := 0, time.Duration(0), 0, int64(0)
	watching.Go(func() {
		for ; ctx.Err() == nil; registered++ {
			start := time.Now()
			if err := registerMQTT(t.Context(), s, ca, fmt.Sprintf("dev-%05d", registered)); err != nil {
				t.Error(err)
				return
			}
			slowest = max(slowest, time.Since(start))
			most, peak = max(most, memory(t, s.process.cmd.Process.Pid)), max(peak, f.open.Load())
		}
	})
	start := time.Now()
	f.run(t, n)
	stop()
	watching.Wait()
	t.Logf("%d connections in %v, at most %d at once; %d devices registered meanwhile, the slowest in %v; at most %d KiB",
		n, time.Since(start).Round(time.Second), peak, registered, slowest.Round(time.Millisecond), most)
	if early, late := f.early.Load(), f.late.Load(); early > 0 || late > 0 {
		t.Errorf("%d connections were dropped before %v and %d more than %v after that", early, connectDeadline, late, deadlineSlack)
	}
	if most > maxFloodMemory || registered < 10 {
		t.Errorf("memory rose to %d KiB, want at most %d; %d devices registered", most, maxFloodMemory, registered)
	}
	s.checkReady(t)
	s.stop(t)
}

// Devices that are connected and say nothing cost little memory.
func TestIdleConnections(t *testing.T) {
	if os.Getenv(raceVar) == "1" {
		t.Skip("the race detector multiplies memory, which is what is looked at here")
	}
	n := descriptors(t, idleSize)
	s := startService(t, filepath.Join(t.TempDir(), "data"))
	ca := prepare(t, s)
	leaf := issue(t, pki.Request{Kind: pki.Device, CommonName: "dev-0", Issuer: ca.Issuer()})
	pid := s.process.cmd.Process.Pid
	idle := func(n int) []net.Conn {
		conns, indices := make([]net.Conn, n), make([]int, n)
		for i := range indices {
			indices[i] = i
		}
		err := each(t.Context(), indices, func(ctx context.Context, i int) error {
			d, err := s.connectMQTT(ctx, leaf, 3600)
			if err == nil {
				conns[i] = d.Conn
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return conns
	}
	for _, c := range idle(workers) { // what the first devices cost is no cost of a connection
		_ = c.Close()
	}
	before := memory(t, pid)
	conns := idle(n)
	after := memory(t, pid)
	for _, c := range conns {
		_ = c.Close()
	}
	cost := float64(after-before) / float64(n)
	t.Logf("%d idle connections: %d KiB before, %d KiB with them, %.1f KiB for each", n, before, after, cost)
	if cost > maxIdleMemory {
		t.Errorf("an idle connection costs %.1f KiB, want at most %d", cost, maxIdleMemory)
	}
	s.stop(t)
}
