// Package wire is the contract of the provisioning service as Go data: the JSON
// bodies, API versions, headers and names that clients and service exchange.
//
// Members that are pointers, slices or raw JSON are left out when empty; the
// service never shows a member without a value. Times are strings, as the wire
// has them: RFC 3339 in UTC with up to seven digits of a second.
// Source: azure-rest-api-specs, specification/deviceprovisioningservices.
package wire

import (
	"regexp"
	"slices"
)

// Header names beyond those of HTTP.
const (
	HeaderErrorCode    = "x-ms-error-code"
	HeaderRequestID    = "x-ms-request-id"
	HeaderHubErrorCode = "iothub-errorcode"
)

// ContentType is the media type of every body that we send.
const ContentType = "application/json; charset=utf-8"

// ServiceVersions are the api-versions of the service API that clients have sent.
var ServiceVersions = []string{
	"2017-08-31-preview", "2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01",
	"2019-01-15", "2019-03-31", "2021-06-01", "2021-10-01", "2021-11-01-preview", "2025-07-01-preview",
}

// DeviceVersions are the api-versions of the device API that clients have sent.
var DeviceVersions = []string{
	"2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-01-15",
	"2019-03-31", "2019-04-15", "2021-06-01", "2021-10-01", "2021-11-01-preview", "2025-07-01-preview",
}

// KnownServiceVersion reports whether v is an api-version of the service API.
func KnownServiceVersion(v string) bool { return slices.Contains(ServiceVersions, v) }

// datedVersion is the form of the api-versions of ARM and of hubs.
var datedVersion = regexp.MustCompile(`^20\d\d-\d\d-\d\d(-preview)?$`)

// DatedVersion reports whether v has the form of an api-version: a date, maybe of a
// preview. The control plane and hubs answer all of them alike.
func DatedVersion(v string) bool { return datedVersion.MatchString(v) }

// KnownDeviceVersion reports whether v is an api-version of the device API.
func KnownDeviceVersion(v string) bool { return slices.Contains(DeviceVersions, v) }

// Error is the body of every refusal of the service and the device API.
type Error struct {
	ErrorCode    int               `json:"errorCode"`
	TrackingID   string            `json:"trackingId"`
	Message      string            `json:"message"`
	Info         map[string]string `json:"info,omitempty"`
	TimestampUTC string            `json:"timestampUtc"`
}
