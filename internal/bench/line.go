package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// line takes devices through their registration over one transport.
type line struct {
	*dialer
	fleet   Fleet
	scope   string
	host    string
	devices []device
}

func newLine(o Options, devices []device) (*line, error) {
	address, err := o.Service.address(o.Fleet.Transport)
	if err != nil {
		return nil, err
	}
	l := &line{
		dialer: newDialer(address, o.Service.host(), o.Service.roots, o.Fleet.KeyExchange),
		fleet:  o.Fleet, scope: o.Service.info.IDScope, host: o.Service.info.DeviceEndpoint, devices: devices,
	}
	if o.Fleet.Attestation.certificates() {
		shown := make([]*tls.Certificate, len(devices))
		for i, d := range devices {
			shown[i] = d.certificate
		}
		l.show(shown)
	}
	return l, nil
}

// steps names what register times, in its order.
func (l *line) steps() []string {
	switch l.fleet.Transport {
	case HTTPS:
		return []string{"connect", "register", "assigned"}
	case MQTTWebSocket:
		return []string{"connect", "upgrade, login", "register", "assigned"}
	default:
		return []string{"connect", "login", "register", "assigned"}
	}
}

// register takes one device from nothing to its final answer.
func (l *line) register(ctx context.Context, i int, w *watch) error {
	conn, done, err := l.dial(ctx, i)
	if err != nil {
		return err
	}
	defer done()
	w.mark()
	var s session
	switch l.fleet.Transport {
	case HTTPS:
		s = newHTTPSession(conn, l, &l.devices[i])
	case MQTTWebSocket:
		stream, err := l.upgrade(ctx, conn)
		if err != nil {
			return err
		}
		defer stream.Close()
		if s, err = l.login(stream, i, w); err != nil {
			return err
		}
	default:
		if s, err = l.login(conn, i, w); err != nil {
			return err
		}
	}
	return l.follow(ctx, s, w)
}

// session is a connection on which a device registers.
type session interface {
	register() (answer, error)
	poll(operation string) (answer, error)
	leave() error
}

// answer is what the service said.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
}

// defaultWait is what SDKs wait where the service does not say.
const defaultWait = 2 * time.Second

// follow registers and polls until the operation is done.
func (l *line) follow(ctx context.Context, s session, w *watch) error {
	a, err := s.register()
	if err != nil {
		return err
	}
	op, err := a.operation()
	if err != nil {
		return err
	}
	w.mark()
	for polls := 0; op.Status == "assigning"; polls++ {
		if polls > 0 || !l.fleet.PollAtOnce {
			if err := wait(ctx, a.retryAfter); err != nil {
				return err
			}
		}
		if a, err = s.poll(op.OperationID); err != nil {
			return err
		}
		if op, err = a.operation(); err != nil {
			return err
		}
	}
	if op.Status != "assigned" {
		return notAssigned(op)
	}
	w.mark()
	return s.leave()
}

// operation reads an answer; a refusal is an error.
func (a answer) operation() (op wire.RegistrationOperation, err error) {
	if a.status >= http.StatusMultipleChoices {
		var refusal wire.Error
		_ = json.Unmarshal(a.body, &refusal) // what it is not, its status tells
		return op, refused(strconv.Itoa(a.status)+" "+strconv.Itoa(refusal.ErrorCode), "%s", refusal.Message)
	}
	if err := json.Unmarshal(a.body, &op); err != nil {
		return op, refused("answer is not JSON", "%v", err)
	}
	if op.OperationID == "" {
		return op, refused("answer without operation", "%.100s", a.body)
	}
	return op, nil
}

func notAssigned(op wire.RegistrationOperation) error {
	if s := op.RegistrationState; s != nil {
		return refused("status "+op.Status, "%d %s", s.ErrorCode, s.ErrorMessage)
	}
	return &refusal{kind: "status " + op.Status}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// seconds reads a wait; what is none is the default.
func seconds(text string) time.Duration {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return defaultWait
	}
	return time.Duration(n) * time.Second //nolint:gosec // 16 bits
}
