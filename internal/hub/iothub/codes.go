package iothub

// numbers are the numeric codes of what hubs call their failures, for answers that
// have the name alone.
// Sources: azure-docs, articles/iot-hub/troubleshoot-error-codes.md; azure-iot-sdk-csharp,
// iothub/service/src/Common/Exceptions/ErrorCode.cs.
var numbers = map[string]int{
	"InvalidProtocolVersion":                    400001,
	"InvalidOperation":                          400003,
	"ArgumentInvalid":                           400004,
	"ArgumentNull":                              400005,
	"IotHubFormatError":                         400006,
	"DeviceDefinedMultipleTimes":                400011,
	"DeserializationError":                      400012,
	"BulkRegistryOperationFailure":              400013,
	"ConnectionForcefullyClosedOnNewConnection": 400027,
	"InvalidDeviceScope":                        400028,
	"IotHubNotFound":                            401001,
	"IotHubUnauthorizedAccess":                  401002,
	"IotHubUnauthorized":                        401003,
	"IotHubQuotaExceeded":                       403002,
	"DeviceMaximumQueueDepthExceeded":           403004,
	"InvalidMessageExpiryTime":                  403009,
	"DeviceDisabled":                            403012,
	"DeviceMaximumInflightMethodExceeded":       403800,
	"DeviceNotFound":                            404001,
	"ModuleNotFound":                            404010,
	"DeviceNotOnline":                           404103,
	"DeviceConnectionClosedRemotely":            404104,
	"BulkAddDevicesNotSupported":                405104,
	"DeviceAlreadyExists":                       409001,
	"LinkCreationConflict":                      409002,
	"ModuleAlreadyExistsOnDevice":               409301,
	"PreconditionFailed":                        412001,
	"DeviceMessageLockLost":                     412002,
	"MessageTooLarge":                           413001,
	"TooManyDevices":                            413002,
	"ThrottlingException":                       429001,
	"DeviceThrottlingLimitExceeded":             429005,
	"ServerError":                               500001,
	"GenericTimeout":                            500008,
	"ServiceUnavailable":                        503001,
	"ServerBusy":                                503005,
	"GatewayTimeout":                            504101,
}

// The codes that decide what happens next.
const (
	bulkNotSupported   = 405104
	deviceNotFound     = 404001
	deviceExists       = 409001
	preconditionFailed = 412001
	hubNotFound        = 401001
	classBusy          = 429
	classTimeout       = 408
	classServer        = 500
	codesOfOneStatus   = 1000 // 404001 belongs to status 404
	deviceWithoutTwin  = "DeviceRegisteredWithoutTwin"
	errorCodePrefix    = "ErrorCode:"
	maxWords           = 1 << 10 // of a hub's words that are kept, in bytes
	maxNumber          = 999_999
)
