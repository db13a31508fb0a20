package wire

// Headers of queries.
const (
	// HeaderContinuation asks for the page after an earlier one, and in an answer
	// says how to ask for the next. It is absent on the last page.
	HeaderContinuation = "x-ms-continuation"

	// HeaderMaxItemCount asks for pages of at most so many items, in decimal.
	HeaderMaxItemCount = "x-ms-max-item-count"

	// HeaderItemType says what the items of a page are: one of the item types.
	HeaderItemType = "x-ms-item-type"
)

// Item types of a page, spelled exactly as the C SDK compares them.
const (
	ItemTypeEnrollment         = "Enrollment"
	ItemTypeEnrollmentGroup    = "EnrollmentGroup"
	ItemTypeDeviceRegistration = "DeviceRegistration"
)

// QuerySpecification is the body of a query. The text is sent again with every page.
type QuerySpecification struct {
	Query string `json:"query"`
}
