package wire

// Paths of what became of registrations.
const (
	DecisionsPath       = "/" + MooringPrefix + "/v1/decisions" // and below it the tracking ID of one
	DecisionReasonsPath = DecisionsPath + "/reasons"
	StatisticsPath      = "/" + MooringPrefix + "/v1/statistics"
)

// MaxDecisionPage is how many decisions a page has at most.
const MaxDecisionPage = 1000

// DecisionPage is a page of decisions, those with the latest refusals first.
type DecisionPage struct {
	Value        []Decision `json:"value"`
	Continuation string     `json:"continuation,omitempty"` // asks for the next page; absent on the last

	// Dropped is how many refusals the service has not recorded since its start, because
	// its queue was full.
	Dropped int64 `json:"dropped"`
}

// Decision says why a device was refused: the latest time, and how often before for the
// same reason, from the same address. It holds no secret.
type Decision struct {
	TrackingID     string `json:"trackingId"`               // of the latest refusal; the device received it
	RegistrationID string `json:"registrationId,omitempty"` // absent where the device is unknown
	Time           string `json:"time"`                     // of the latest refusal: RFC 3339, UTC
	FirstTime      string `json:"firstTime"`                // of the first one that is counted
	Count          int64  `json:"count"`

	EnrollmentID      string `json:"enrollmentId,omitempty"`      // the individual enrollment that was reached
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"` // or the group

	Attestation string `json:"attestation,omitempty"` // what the device showed: x509, symmetricKey, ...; absent if nothing
	Transport   string `json:"transport"`             // https, mqtt, mqtt-ws
	Remote      string `json:"remote"`                // the caller's address, with the port

	Reason  string          `json:"reason"`  // one word, of a closed set
	Summary string          `json:"summary"` // what the reason means, one sentence
	Remedy  string          `json:"remedy"`  // what to do about it here
	Answer  string          `json:"answer"`  // what the device received: a message, a CONNACK code, a TLS alert, or the status disabled
	Checks  []DecisionCheck `json:"checks"`  // in the order in which they were made; the last one failed

	Evidence DecisionEvidence `json:"evidence"`

	// Move is the hub identity that changed hands (reason identity-moved: the device was
	// assigned) or was kept from the device (identity-of-another-enrollment).
	Move *DecisionMove `json:"move,omitempty"`
}

// DecisionMove is a hub identity, whose it was, and who wanted it.
type DecisionMove struct {
	HostName string         `json:"hostName"`
	DeviceID string         `json:"deviceId"`
	From     DecisionHolder `json:"from"`
	To       DecisionHolder `json:"to"`
}

// DecisionHolder is whose an identity is: that of a device, through an enrollment or a
// group; all members are absent for an operator who created it at the hub.
type DecisionHolder struct {
	RegistrationID    string `json:"registrationId,omitempty"`
	EnrollmentID      string `json:"enrollmentId,omitempty"`
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
}

// DecisionCheck is one step of a decision.
type DecisionCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// DecisionEvidence is what the device showed. Texts in it are the device's own, and may
// be cut.
type DecisionEvidence struct {
	Presented int                   `json:"presented"`       // how many certificates
	Chain     []DecisionCertificate `json:"chain,omitempty"` // the first of them as presented, the device's own first
	Token     *DecisionToken        `json:"token,omitempty"`

	// ClientHello is what the client offered in TLS; absent unless the handshake failed.
	ClientHello *DecisionClientHello `json:"clientHello,omitempty"`
}

// DecisionClientHello is what a client offered in its TLS ClientHello. What has no name is
// hexadecimal.
type DecisionClientHello struct {
	ServerName           string   `json:"serverName,omitempty"`
	Versions             []string `json:"versions,omitempty"`
	CipherSuites         []string `json:"cipherSuites,omitempty"`
	Groups               []string `json:"groups,omitempty"`
	SignatureAlgorithms  []string `json:"signatureAlgorithms,omitempty"`
	ApplicationProtocols []string `json:"applicationProtocols,omitempty"`
}

// DecisionCertificate is one certificate of a presented chain.
type DecisionCertificate struct {
	SubjectName      string `json:"subjectName"`
	IssuerName       string `json:"issuerName"`
	SHA1Thumbprint   string `json:"sha1Thumbprint"`
	SHA256Thumbprint string `json:"sha256Thumbprint"`
	SerialNumber     string `json:"serialNumber"`
	NotBeforeUTC     string `json:"notBeforeUtc"`
	NotAfterUTC      string `json:"notAfterUtc"`
}

// DecisionToken is what a SAS token says about itself; its signature is not kept.
type DecisionToken struct {
	Resource string `json:"resource"`
	KeyName  string `json:"keyName,omitempty"`
	Expiry   string `json:"expiry"`
}

// DecisionReasons are all reasons for which devices are refused.
type DecisionReasons struct {
	Value []DecisionReason `json:"value"`
}

// DecisionReason says what a reason means and what to do about it in general.
type DecisionReason struct {
	Reason  string `json:"reason"`
	Summary string `json:"summary"`
	Remedy  string `json:"remedy"`
}

// Statistics are counts of registrations over time, oldest first. Buckets without any
// are there too.
type Statistics struct {
	Since       string             `json:"since"` // when the first bucket begins
	Until       string             `json:"until"`
	StepSeconds int64              `json:"stepSeconds"`
	Value       []StatisticsBucket `json:"value"`
}

// StatisticsBucket counts how registrations ended that ended in a span of time.
type StatisticsBucket struct {
	Time     string `json:"time"` // when it begins
	Assigned int64  `json:"assigned"`
	Failed   int64  `json:"failed"`
	Refused  int64  `json:"refused"` // those of disabled enrollments too
}
