package dps

import (
	"errors"
	"fmt"
	"time"
)

// Code says what kind of failure an error is. The set is closed: each code has
// one row in translate's table, and a test walks them all. Internal is zero, so
// an error nobody classified never reaches a caller.
type Code uint8

// The codes.
const (
	Internal Code = iota
	Malformed
	Invalid
	NoHub
	HubRefused
	HubUnavailable
	CustomAllocationFailed
	CustomAllocationNoHub
	CustomAllocationUnauthorized
	Unauthorized
	UnknownCredential
	EnrollmentNotFound
	GroupNotFound
	RegistrationNotFound
	OperationNotFound
	InstanceNotFound
	CertificateNotFound
	PolicyNotFound
	HubNotFound
	DeviceNotFound
	ModuleNotFound
	DecisionNotFound
	RouteNotFound
	MethodNotAllowed
	EnrollmentExists
	GroupExists
	CertificateExists
	DeviceExists
	DeviceTwice
	Conflict
	ConcurrentChange
	PreconditionFailed
	TooLarge
	UnsupportedMediaType
	Throttled
	NotOffered
	Unavailable

	codeCount // keep last
)

var codeNames = [codeCount]string{
	Internal:                     "Internal",
	Malformed:                    "Malformed",
	Invalid:                      "Invalid",
	NoHub:                        "NoHub",
	HubRefused:                   "HubRefused",
	HubUnavailable:               "HubUnavailable",
	CustomAllocationFailed:       "CustomAllocationFailed",
	CustomAllocationNoHub:        "CustomAllocationNoHub",
	CustomAllocationUnauthorized: "CustomAllocationUnauthorized",
	Unauthorized:                 "Unauthorized",
	UnknownCredential:            "UnknownCredential",
	EnrollmentNotFound:           "EnrollmentNotFound",
	GroupNotFound:                "GroupNotFound",
	RegistrationNotFound:         "RegistrationNotFound",
	OperationNotFound:            "OperationNotFound",
	InstanceNotFound:             "InstanceNotFound",
	CertificateNotFound:          "CertificateNotFound",
	PolicyNotFound:               "PolicyNotFound",
	HubNotFound:                  "HubNotFound",
	DeviceNotFound:               "DeviceNotFound",
	ModuleNotFound:               "ModuleNotFound",
	DecisionNotFound:             "DecisionNotFound",
	DeviceExists:                 "DeviceExists",
	DeviceTwice:                  "DeviceTwice",
	RouteNotFound:                "RouteNotFound",
	MethodNotAllowed:             "MethodNotAllowed",
	EnrollmentExists:             "EnrollmentExists",
	GroupExists:                  "GroupExists",
	CertificateExists:            "CertificateExists",
	Conflict:                     "Conflict",
	ConcurrentChange:             "ConcurrentChange",
	PreconditionFailed:           "PreconditionFailed",
	TooLarge:                     "TooLarge",
	UnsupportedMediaType:         "UnsupportedMediaType",
	Throttled:                    "Throttled",
	NotOffered:                   "NotOffered",
	Unavailable:                  "Unavailable",
}

// Codes returns every code, for tests and tables that walk the set.
func Codes() []Code {
	all := make([]Code, codeCount)
	for i := range all {
		all[i] = Code(i)
	}
	return all
}

// String returns the code's name, which is stable: stores keep it.
func (c Code) String() string {
	if c < codeCount {
		return codeNames[c]
	}
	return fmt.Sprintf("Code(%d)", uint8(c))
}

// ParseCode returns the code of a name that String gave, or Internal.
func ParseCode(name string) Code {
	for c, n := range codeNames {
		if n == name {
			return Code(c)
		}
	}
	return Internal
}

// Error is a failure of ours.
type Error struct {
	Code    Code
	Message string // one sentence, no secrets, safe on the wire
	Err     error  // cause, for the log; may be nil

	// RetryAfter is when trying again may help; 0 when nobody knows.
	RetryAfter time.Duration

	// Again says that the same call may succeed later, though nothing is changed here.
	// Throttled and Unavailable imply it.
	Again bool

	// Number is the numeric error code of the service that failed, where it is not
	// ours; 0 where it gave none.
	Number int
}

// Error returns message and cause, for logs. Only Message may leave the process.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	if e.Message == "" {
		return e.Err.Error()
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error of code c whose message is formatted.
func Errorf(c Code, format string, args ...any) error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Invalidf returns an Error of code Invalid that names the field and the rule
// that it broke.
func Invalidf(field, rule string, args ...any) error {
	return &Error{Code: Invalid, Message: field + ": " + fmt.Sprintf(rule, args...)}
}

// Wrap returns err as a failure of code c with a message that is safe on the
// wire; the cause goes to the log only.
func Wrap(c Code, err error, message string) error {
	return &Error{Code: c, Message: message, Err: err}
}

// CodeOf returns the code of the outermost Error in err's chain, or Internal.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// FailureOf returns err as the outcome of a registration.
func FailureOf(err error) *Failure {
	f := &Failure{Code: CodeOf(err), Message: MessageOf(err)}
	if e, ok := errors.AsType[*Error](err); ok {
		f.Number = e.Number
	}
	return f
}

// MayRepeat reports whether the call that failed with err may succeed later, and when
// to try it; after is 0 when nobody knows.
func MayRepeat(err error) (after time.Duration, again bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return 0, false
	}
	return e.RetryAfter, e.Again || e.Code == Throttled || e.Code == Unavailable
}

// MessageOf returns the message of the outermost Error in err's chain, or "" if
// there is none that may leave the process.
func MessageOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return ""
}
