package device

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// maxAnswer bounds an answer of the service, in bytes; real ones have a few hundred.
const maxAnswer = 128 << 10

// Pauses that a service may ask for.
const (
	defaultPause = 2 * time.Second // that of other SDKs
	minPause     = 500 * time.Millisecond
	maxPause     = 5 * time.Minute
)

// answer is what the service said to register or poll.
type answer struct {
	OperationID string `json:"operationId"`
	Status      string `json:"status"`
	State       *state `json:"registrationState"`

	retryAfter time.Duration // -1 when not told
}

// state is the registration as the device may see it.
type state struct {
	wire.RegistrationState
	SymmetricKey *wire.EntryReference `json:"symmetricKey"`
}

// The states of an operation, in lower case.
const (
	statusUnassigned = "unassigned"
	statusAssigning  = "assigning"
	statusAssigned   = "assigned"
	statusFailed     = "failed"
	statusDisabled   = "disabled"
)

// readAnswer understands an answer, or the refusal that it is. retryAfter and
// trackingID are what the transport told beside the body.
func readAnswer(status int, body []byte, retryAfter, trackingID string) (answer, error) {
	pause := seconds(retryAfter)
	if status != http.StatusOK && status != http.StatusAccepted {
		return answer{}, readRefusal(status, body, max(pause, 0), trackingID)
	}
	a := answer{retryAfter: pause}
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, protocolf("its body is not the JSON that was expected: %v", err)
	}
	a.Status = strings.ToLower(a.Status)
	return a, a.check()
}

// check reports what is missing.
func (a answer) check() error {
	switch a.Status {
	case statusUnassigned, statusAssigning:
		if !isOperationID(a.OperationID) {
			return protocolf("operation ID %.64q", a.OperationID)
		}
	case statusAssigned:
		if a.State == nil || a.State.AssignedHub == "" || a.State.DeviceID == "" {
			return protocolf("assigned, and neither hub nor device ID")
		}
	case statusFailed, statusDisabled:
	default:
		return protocolf("status %.64q", a.Status)
	}
	return nil
}

// maxOperationID bounds an operation ID, which goes into paths and topics.
const maxOperationID = 1024

func isOperationID(id string) bool {
	return id != "" && len(id) <= maxOperationID && !strings.ContainsFunc(id, func(c rune) bool {
		return !isNameRune(c) && c != '~'
	})
}

// pending reports whether the service has not decided yet.
func (a answer) pending() bool { return a.Status == statusUnassigned || a.Status == statusAssigning }

// pause returns how long to wait before the next question.
func (a answer) pause() time.Duration {
	if a.retryAfter < 0 {
		return defaultPause
	}
	return min(max(a.retryAfter, minPause), maxPause)
}

// assignment returns the decision.
func (a answer) assignment() (*Assignment, error) {
	s := a.State
	if s == nil {
		s = &state{}
	}
	switch a.Status {
	case statusDisabled:
		return nil, fmt.Errorf("%w (operation %s)", ErrDisabled, a.OperationID)
	case statusFailed:
		return nil, &FailedError{
			Code: s.ErrorCode, Message: s.ErrorMessage, RegistrationID: s.RegistrationID,
			OperationID: a.OperationID, Updated: moment(s.LastUpdatedDateTimeUTC),
		}
	}
	return &Assignment{
		Hub: s.AssignedHub, DeviceID: s.DeviceID, RegistrationID: s.RegistrationID,
		EnrollmentGroupID: cmp.Or(group(s.X509), group(s.SymmetricKey)),
		Substatus:         s.Substatus, ETag: s.ETag,
		Created: moment(s.CreatedDateTimeUTC), Updated: moment(s.LastUpdatedDateTimeUTC),
		Payload: present(s.Payload), OperationID: a.OperationID,
	}, nil
}

func group(e *wire.EntryReference) string {
	if e == nil {
		return ""
	}
	return e.EnrollmentGroupID
}

// present makes null nothing.
func present(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// moment reads a time; one that cannot be read is not told.
func moment(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// readRefusal understands an error, as far as there is something to understand: a
// proxy may have sent it.
func readRefusal(status int, body []byte, pause time.Duration, trackingID string) *Error {
	e := &Error{Status: status, TrackingID: trackingID, RetryAfter: pause}
	var refusal wire.Error
	if json.Unmarshal(body, &refusal) == nil {
		e.Code, e.Message = refusal.ErrorCode, refusal.Message
		e.TrackingID = cmp.Or(refusal.TrackingID, trackingID)
	}
	return e
}

// seconds reads a retry-after: whole seconds, or a date. -1 when there is none.
func seconds(text string) time.Duration {
	const most = 24 * 60 * 60
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return time.Duration(min(n, most)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return -1
}
