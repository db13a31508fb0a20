// Package translate turns nouns into the bodies of the wire and back. It is the
// one place where a failure gets its numbers.
package translate

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// failure is how each API tells a code.
type failure struct {
	status  int    // HTTP status
	number  int    // errorCode of the service and the device API: status and detail
	arm     string // code of the control plane
	hub     string // name at an embedded hub
	message string // where the error has no message
}

// failures has one row for each code.
//
// Sources of the numbers: azure-docs issue 43157 (401000); azure-sdk-for-python, sdk/iothub/azure-iot-deviceprovisioning
// (recordings, 409201 and 409202); azure-iot-sdk-csharp, e2e tests (404201, 404204);
// azure-iot-sdk-c, prov_device_ll_client.c (400208, 400209); azure-docs,
// iot-hub-troubleshoot-error codes (the names and numbers of hubs).
var failures = map[dps.Code]failure{
	dps.Internal:  {http.StatusInternalServerError, 500001, "InternalServerError", "ServerError", "Internal server error."},
	dps.Malformed: {http.StatusBadRequest, 400000, "BadRequest", "IotHubFormatError", "Bad Request"},
	dps.Invalid:   {http.StatusBadRequest, 400004, "InvalidArgument", "ArgumentInvalid", "Bad Request"},
	dps.CustomAllocationFailed: {
		http.StatusBadRequest,
		400207,
		"CustomAllocationFailed",
		"CustomAllocationFailed",
		"Custom allocation failed.",
	},
	dps.NoHub: {http.StatusBadRequest, 400208, "IotHubNotSpecified", "LinkedHubNotFound", "No hub to assign."},
	dps.HubRefused: {
		http.StatusBadRequest,
		400209,
		"IotHubUnauthorizedAccess",
		"IotHubUnauthorizedAccess",
		"The hub refused the request.",
	},
	dps.HubUnavailable: {http.StatusInternalServerError, 500001, "HubUnavailable", "ServerError", "The hub does not respond."},
	dps.CustomAllocationNoHub: {
		http.StatusBadRequest,
		400208,
		"CustomAllocationIotHubNotSpecified",
		"CustomAllocationIotHubNotSpecified",
		"The webhook did not name a hub.",
	},
	dps.CustomAllocationUnauthorized: {
		http.StatusBadRequest,
		400209,
		"CustomAllocationUnauthorizedAccess",
		"CustomAllocationUnauthorizedAccess",
		"Custom allocation failed with status code: 401",
	},
	dps.HubNotFound:        {http.StatusNotFound, 404000, "ResourceNotFound", "IotHubNotFound", "Linked hub not found."},
	dps.DeviceExists:       {http.StatusConflict, 409001, "Conflict", "DeviceAlreadyExists", "Device already exists."},
	dps.Unauthorized:       {http.StatusUnauthorized, 401002, "AuthenticationFailed", "IotHubUnauthorizedAccess", "Unauthorized"},
	dps.UnknownCredential:  {http.StatusUnauthorized, 401000, "AuthenticationFailed", "IotHubUnauthorizedAccess", "Unauthorized"},
	dps.EnrollmentNotFound: {http.StatusNotFound, 404201, "ResourceNotFound", "ProvisioningRecordNotFound", "Enrollment not found."},
	dps.RegistrationNotFound: {
		http.StatusNotFound,
		404202,
		"ResourceNotFound",
		"ProvisioningRecordNotFound",
		"Registration not found.",
	},
	dps.GroupNotFound: {
		http.StatusNotFound,
		404204,
		"ResourceNotFound",
		"ProvisioningRecordNotFound",
		"EnrollmentGroup not found.",
	},
	dps.OperationNotFound:   {http.StatusNotFound, 404000, "ResourceNotFound", "ProvisioningRecordNotFound", "Operation not found."},
	dps.InstanceNotFound:    {http.StatusNotFound, 404000, "ResourceNotFound", "IotHubNotFound", "Provisioning service not found."},
	dps.CertificateNotFound: {http.StatusNotFound, 404000, "ResourceNotFound", "ResourceNotFound", "Certificate not found."},
	dps.PolicyNotFound:      {http.StatusNotFound, 404000, "ResourceNotFound", "ResourceNotFound", "Policy not found."},
	dps.DeviceNotFound:      {http.StatusNotFound, 404001, "ResourceNotFound", "DeviceNotFound", "Device not found."},
	dps.ModuleNotFound:      {http.StatusNotFound, 404010, "ResourceNotFound", "ModuleNotFound", "Module not found."},
	dps.DeviceTwice: {
		http.StatusBadRequest,
		400011,
		"InvalidArgument",
		"DeviceDefinedMultipleTimes",
		"The device is named more than once.",
	},
	dps.DecisionNotFound:  {http.StatusNotFound, 404000, "ResourceNotFound", "ResourceNotFound", "Decision not found."},
	dps.RouteNotFound:     {http.StatusNotFound, 404000, "NotFound", "ResourceNotFound", "Not found."},
	dps.MethodNotAllowed:  {http.StatusMethodNotAllowed, 405000, "MethodNotAllowed", "InvalidOperation", "Method not allowed."},
	dps.EnrollmentExists:  {http.StatusConflict, 409201, "Conflict", "ResourceAlreadyExists", "Enrollment already exists."},
	dps.GroupExists:       {http.StatusConflict, 409202, "Conflict", "ResourceAlreadyExists", "EnrollmentGroup already exists."},
	dps.ConcurrentChange:  {http.StatusConflict, 409203, "Conflict", "ResourceAlreadyExists", "Precondition failed."},
	dps.CertificateExists: {http.StatusConflict, 409000, "Conflict", "ResourceAlreadyExists", "Certificate already exists."},
	dps.Conflict:          {http.StatusConflict, 409000, "Conflict", "ResourceAlreadyExists", "Conflict"},
	dps.PreconditionFailed: {
		http.StatusPreconditionFailed,
		412001,
		"PreconditionFailed",
		"PreconditionFailed",
		"Precondition failed.",
	},
	dps.TooLarge: {
		http.StatusRequestEntityTooLarge,
		413001,
		"RequestEntityTooLarge",
		"MessageTooLarge",
		"Request body too large.",
	},
	dps.UnsupportedMediaType: {
		http.StatusUnsupportedMediaType,
		415000,
		"UnsupportedMediaType",
		"InvalidOperation",
		"Content-Type must be application/json.",
	},
	dps.Throttled: {
		http.StatusTooManyRequests,
		429001,
		"TooManyRequests",
		"ThrottlingException",
		"Operations are being throttled for this tenant.",
	},
	dps.NotOffered: {http.StatusNotImplemented, 501000, "NotImplemented", "InvalidOperation", "Not offered."},
	dps.Unavailable: {
		http.StatusServiceUnavailable,
		503001,
		"ServiceUnavailable",
		"ServiceUnavailable",
		"The service is unavailable; try again later.",
	},
}

// failureOf returns the row of an error and the message that may leave the process.
func failureOf(err error) (failure, string) {
	code := dps.CodeOf(err)
	row := failures[code]
	message := dps.MessageOf(err)
	if message == "" || code == dps.Internal {
		message = row.message
	}
	return row, message
}

// Number returns the errorCode of a failure, as registration records show it.
func Number(f dps.Failure) int {
	if f.Number != 0 {
		return f.Number
	}
	return failures[f.Code].number
}

// retryLater is the default Retry-After.
const retryLater = 5 * time.Second

// RetryAfter is how long a client should wait when a retry may help; 0 when
// it will not.
func RetryAfter(err error) time.Duration {
	switch dps.CodeOf(err) {
	case dps.Throttled, dps.Unavailable:
	default:
		return 0
	}
	if e, ok := errors.AsType[*dps.Error](err); ok && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	return retryLater
}

// Error returns the status and the body of a refusal on the service and the device
// API.
func Error(err error, trackingID string, now time.Time) (int, wire.Error) {
	row, message := failureOf(err)
	return row.status, wire.Error{
		ErrorCode: row.number, TrackingID: trackingID, Message: message, TimestampUTC: deviceTime(now),
	}
}

// ARMError returns the status and the body of a refusal on the control plane.
func ARMError(err error) (int, wire.ARMError) {
	row, message := failureOf(err)
	return row.status, wire.ARMError{Error: wire.ARMErrorDetail{Code: row.arm, Message: message}}
}

// HubError returns the status, the name and the body of a refusal of an embedded
// hub.
// Source: azure-iot-hub-node, src/errors.ts ("ErrorCode:Name;text").
func HubError(err error, trackingID string, now time.Time) (int, string, wire.HubError) {
	row, message := failureOf(err)
	id := strings.ReplaceAll(trackingID, "-", "")
	if raw, err := hex.DecodeString(id); err == nil {
		id = strings.ToUpper(hex.EncodeToString(raw))
	}
	return row.status, row.hub, wire.HubError{
		Message:          "ErrorCode:" + row.hub + ";" + message,
		ExceptionMessage: "Tracking ID:" + id + "-G:0-TimeStamp:" + now.UTC().Format("01/02/2006 15:04:05"),
	}
}
