package device

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Error is a refusal by the service.
type Error struct {
	Status     int           // as in HTTP, on every transport: 401 not proved, 404 unknown, 429 throttled, ...
	Code       int           // six digits, the first three like Status; 0 when not told
	Message    string        // a sentence of the service
	TrackingID string        // finds the refusal in the service's log; "" when not told
	RetryAfter time.Duration // when to try again; 0 when not told
}

// Error returns the status with all that the service said.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the service refused with %d", e.Status)
	if text := http.StatusText(e.Status); text != "" {
		b.WriteString(" " + text)
	}
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.TrackingID != "" {
		b.WriteString(" (tracking ID " + e.TrackingID + ")")
	}
	return b.String()
}

// Temporary reports whether the same request may succeed later: the status is 429
// or 5xx.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError
}

// FailedError says that the service knows the device and could not place it.
type FailedError struct {
	Code           int       // six digits; 0 when not told
	Message        string    // a sentence of the service
	RegistrationID string    // of the device
	OperationID    string    // of this registration, for support
	Updated        time.Time // when it failed; zero when not told
}

// Error returns the code and the sentence.
func (e *FailedError) Error() string {
	text := fmt.Sprintf("the registration of %q failed", e.RegistrationID)
	if e.Code != 0 {
		text += fmt.Sprintf(" with code %d", e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text + " (operation " + e.OperationID + ")"
}

// ErrDisabled says that the device's enrollment is disabled: it proved who it is, and
// is not to be served.
var ErrDisabled = errors.New("the enrollment is disabled")

// ErrProtocol is the cause of errors about an answer that a provisioning service
// would not give.
var ErrProtocol = errors.New("the answer is not that of a provisioning service")

func protocolf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// errNoAnswer is the cause of a connection that is given up.
var errNoAnswer = fmt.Errorf("no answer within %v", answerTimeout)

// lostError is a connection that ended before its answer came: worth another try.
type lostError struct{ err error }

func (e *lostError) Error() string { return "the connection was lost: " + e.err.Error() }

func (e *lostError) Unwrap() error { return e.err }

// connectError is a connection that could not be opened.
type connectError struct {
	addr  string
	err   error
	again bool // one had been opened before, so that this may pass
}

func (e *connectError) Error() string { return "connecting to " + e.addr + ": " + e.err.Error() }

func (e *connectError) Unwrap() error { return e.err }

// lost returns what a failure of the connection means. One side that refuses the
// other's certificate will do so again.
func lost(err error) error {
	if again, known := errors.AsType[*connectError](err); known {
		return again
	}
	if refusesCertificate(err) {
		return err
	}
	return &lostError{err}
}

func refusesCertificate(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.AlertError](err)
	return ok
}

// passing reports whether another try may succeed.
func passing(err error) bool {
	if refusal, ok := errors.AsType[*Error](err); ok {
		return refusal.Temporary()
	}
	if failed, ok := errors.AsType[*connectError](err); ok {
		return failed.again
	}
	_, ok := errors.AsType[*lostError](err)
	return ok
}
