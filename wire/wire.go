// Package wire is the contract of the provisioning service as Go data: the JSON
// bodies, API versions, headers and names that clients and service exchange.
//
// Members that are pointers, slices or raw JSON are left out when empty; the
// service never shows a member without a value. Times are strings, as the wire
// has them: RFC 3339 in UTC with up to seven digits of a second.
// Source: azure-rest-api-specs, specification/deviceprovisioningservices.
package wire

// Header names beyond those of HTTP.
const (
	HeaderErrorCode    = "x-ms-error-code"
	HeaderRequestID    = "x-ms-request-id"
	HeaderHubErrorCode = "iothub-errorcode"

	// HeaderWarning is in an answer about a record that was accepted and may not do what
	// is wanted, once for each sentence of ASCII. Only Mooring sends it, and the SDKs of
	// DPS ignore it.
	HeaderWarning = "Mooring-Warning"
)

// ContentType is the media type of every body that we send.
const ContentType = "application/json; charset=utf-8"

// ServiceVersions are the api-versions of the service API that are known. The service
// accepts every date: a later one behaves as the last of these, an earlier one as the first.
var ServiceVersions = []string{
	"2017-08-31-preview", "2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01",
	"2019-01-15", "2019-03-31", "2021-06-01", "2021-10-01", "2021-11-01-preview", "2025-07-01-preview", "2026-11-01",
	"2026-11-02-preview", "2026-11-15-preview",
}

// DeviceVersions are the api-versions of the device API that are known, with the same
// rule for other dates.
var DeviceVersions = []string{
	"2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-01-15",
	"2019-03-31", "2019-04-15", "2021-06-01", "2021-10-01", "2021-11-01-preview", "2025-07-01-preview", "2026-11-01",
	"2026-11-02-preview", "2026-11-15-preview",
}

// Error is the body of every refusal of the service and the device API.
type Error struct {
	ErrorCode    int               `json:"errorCode"`
	TrackingID   string            `json:"trackingId"`
	Message      string            `json:"message"`
	Info         map[string]string `json:"info,omitempty"`
	TimestampUTC string            `json:"timestampUtc"`
}
