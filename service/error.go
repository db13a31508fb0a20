package service

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/wire"
)

// Error is a refusal by the service.
type Error struct {
	Status     int           // of HTTP
	Code       int           // of the service API: six digits, the first three like Status; 0 when not told
	Reason     string        // of the control plane: a word such as PreconditionFailed; "" when not told
	Message    string        // a sentence of the service
	TrackingID string        // finds the refusal in the service's log; "" when not told
	RetryAfter time.Duration // when to try again; 0 when not told
}

// Error returns the status with all that the service said.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the service refused with %d", e.Status)
	if word := cmp.Or(e.Reason, http.StatusText(e.Status)); word != "" {
		b.WriteString(" " + word)
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

// passing reports whether the service said that it did nothing, for now.
func (e *Error) passing() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

// ItemError says why one record of a bulk operation was refused.
type ItemError struct {
	ID      string // of the enrollment or group
	Code    int    // six digits, the first three like a status of HTTP
	Message string // a sentence of the service
}

// Error returns the ID with what the service said.
func (e *ItemError) Error() string { return fmt.Sprintf("%s: %s (code %d)", e.ID, e.Message, e.Code) }

// BulkError says which records of a bulk operation were refused; the others were
// done. IsNotFound and its kind tell about each item and not about the whole.
type BulkError struct {
	Items []*ItemError // as the service lists them
}

// Error returns how many were refused, and why the first was.
func (e *BulkError) Error() string {
	switch len(e.Items) {
	case 0:
		return "the service says that the bulk operation failed, and not where"
	case 1:
		return "the service refused 1 record: " + e.Items[0].Error()
	default:
		return fmt.Sprintf("the service refused %d records; the first: %v", len(e.Items), e.Items[0])
	}
}

// IsNotFound reports whether err says that there is no such record.
func IsNotFound(err error) bool { return statusOf(err) == http.StatusNotFound }

// IsConflict reports whether err says that the record exists already, or that what
// is asked for does not go with what there is.
func IsConflict(err error) bool { return statusOf(err) == http.StatusConflict }

// IsPreconditionFailed reports whether err says that the record has another version
// than the ETag that was given.
func IsPreconditionFailed(err error) bool { return statusOf(err) == http.StatusPreconditionFailed }

// statusOf returns the status that err stands for, 0 if it is no refusal.
func statusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	if e, ok := errors.AsType[*ItemError](err); ok {
		return e.Code / 1000
	}
	return 0
}

// newError reads a refusal, of either plane or of something before the service.
func newError(res *http.Response, body []byte, now time.Time) *Error {
	// What does not fit stays empty: there may be anything in the answer of a proxy.
	var service struct {
		wire.Error
		Code int `json:"code"` // another spelling of errorCode
	}
	var control wire.ARMError
	isJSON := json.Unmarshal(body, &service) == nil
	_ = json.Unmarshal(body, &control)
	e := &Error{
		Status:     res.StatusCode,
		Code:       cmp.Or(service.ErrorCode, service.Code),
		Reason:     control.Error.Code,
		Message:    cmp.Or(service.Message, control.Error.Message),
		TrackingID: cmp.Or(service.TrackingID, res.Header.Get(wire.HeaderRequestID)),
		RetryAfter: retryAfter(res.Header.Get("Retry-After"), now),
	}
	if code, err := strconv.Atoi(res.Header.Get(wire.HeaderErrorCode)); err == nil && e.Code == 0 {
		e.Code = code
	}
	if e.Message == "" && !isJSON {
		e.Message = plainText(res.Header.Get("Content-Type"), body)
	}
	return e
}

// maxPlainText bounds what is repeated of an answer that is not JSON, in bytes.
const maxPlainText = 300

// plainText returns the beginning of a text, and nothing of anything else.
func plainText(contentType string, body []byte) string {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "text/plain" || !utf8.Valid(body) {
		return ""
	}
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > maxPlainText {
		return strings.ToValidUTF8(text[:maxPlainText], "") + "..."
	}
	return text
}

// maxRetryAfter bounds what is believed of a Retry-After.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads a Retry-After: whole seconds, or a date. 0 when there is none.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
