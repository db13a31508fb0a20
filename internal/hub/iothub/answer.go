package iothub

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// refused is what a hub says where it does not do what it was asked for.
type refused struct {
	status int
	name   string // as in DeviceNotFound; "" where the answer has none
	number int    // as in 404001; 0 where neither answer nor table has one
	words  string // the answer's body, cut and on one line

	// skew is by how much the hub's clock is ahead of ours; 0 where it did not say.
	skew time.Duration
}

// Error returns the refusal for the log.
func (r *refused) Error() string {
	return fmt.Sprintf("the hub returned %d %s %d: %s", r.status, r.name, r.number, r.words)
}

// is reports whether the hub gave this code, in whichever form.
func (r *refused) is(number int) bool { return r.number == number }

// readRefusal reads an answer of another status than 2xx. Hubs have two forms, and
// both come with the name in a header:
//
//	{"Message":"ErrorCode:DeviceNotFound;text","ExceptionMessage":"..."}
//	{"Message":"{\"errorCode\":404103,\"message\":\"text\",...}","ExceptionMessage":""}
//
// Sources: azure-iot-sdk-node, service/src/errors.ts; azure-iot-sdk-csharp,
// iothub/service/src/Common/Exceptions/ExceptionHandlingHelper.cs.
func readRefusal(status int, header http.Header, body []byte) *refused {
	r := &refused{status: status, words: words(body)}
	var outer struct {
		Message   string          `json:"Message"`
		ErrorCode json.RawMessage `json:"errorCode"`
	}
	if json.Unmarshal(body, &outer) == nil {
		r.readMessage(outer.Message)
		if r.name == "" && r.number == 0 {
			r.name, r.number = readCode(outer.ErrorCode)
		}
	}
	if name := header.Get(wire.HeaderHubErrorCode); r.name == "" && isName(name) {
		r.name = name
	}
	if r.number == 0 {
		r.number = numbers[r.name]
	}
	return r
}

func (r *refused) readMessage(message string) {
	if rest, ok := strings.CutPrefix(message, errorCodePrefix); ok {
		if name, _, _ := strings.Cut(rest, ";"); isName(name) {
			r.name = name
		}
		return
	}
	var inner struct {
		ErrorCode json.RawMessage `json:"errorCode"`
	}
	if json.Unmarshal([]byte(message), &inner) == nil {
		r.name, r.number = readCode(inner.ErrorCode)
	}
}

// readCode reads a code that is a number or a name, in quotes or not. The name of a
// number is left to the table's reverse: nobody needs it.
func readCode(raw json.RawMessage) (name string, number int) {
	text := strings.Trim(string(raw), `"`)
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 || n > maxNumber {
			return "", 0
		}
		return "", n
	}
	if !isName(text) {
		return "", 0
	}
	return text, numbers[text]
}

// isName reports whether text could be a code's name.
func isName(text string) bool {
	const maxName = 64
	if text == "" || len(text) > maxName {
		return false
	}
	for _, c := range text {
		if c > unicode.MaxASCII || !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return true
}

// words returns a hub's words as one line of bounded length, without what could
// harm a log or a terminal.
func words(body []byte) string {
	if len(body) > 2*maxWords {
		body = body[:2*maxWords]
	}
	text := strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case c == utf8.RuneError || !unicode.IsPrint(c):
			return -1
		}
		return c
	}, string(body))), " ")
	if len(text) <= maxWords {
		return text
	}
	cut := maxWords
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut]
}

// readNothing wants the answer to a DELETE, which has no body: something else in front
// of the hub that says 200 to everything has not removed anything.
func readNothing(a answer) error {
	if len(bytes.TrimSpace(a.body)) > 0 {
		return fmt.Errorf("%w: unexpected response body", errMalformed)
	}
	return nil
}

// errMalformed is the cause of every failure to understand an answer.
var errMalformed = errors.New("malformed answer")

// bulkResult is the answer of a bulk call.
// Source: azure-iot-hub-python, service.json, definition BulkRegistryOperationResult.
type bulkResult struct {
	IsSuccessful *bool `json:"isSuccessful"`
	Errors       []struct {
		DeviceID    string          `json:"deviceId"`
		ErrorCode   json.RawMessage `json:"errorCode"`
		ErrorStatus string          `json:"errorStatus"`
	} `json:"errors"`
	Warnings []struct {
		DeviceID    string `json:"deviceId"`
		WarningCode string `json:"warningCode"`
	} `json:"warnings"`
}

// readBulk reads the answer of a bulk call about one device. It fails with a *refused
// where the hub did not do it.
func readBulk(status int, body []byte) (withoutTwin bool, err error) {
	var result bulkResult
	if err := json.Unmarshal(body, &result); err != nil || result.IsSuccessful == nil {
		return false, fmt.Errorf("%w: missing bulk result", errMalformed)
	}
	for _, e := range result.Errors {
		failure := &refused{status: status, words: words(body)}
		failure.name, failure.number = readCode(e.ErrorCode)
		return false, failure // one device was sent: the first error is its own
	}
	if !*result.IsSuccessful || status != http.StatusOK {
		return false, fmt.Errorf("%w: bulk result without success or errors", errMalformed)
	}
	for _, w := range result.Warnings {
		withoutTwin = withoutTwin || w.WarningCode == deviceWithoutTwin
	}
	return withoutTwin, nil
}

// readList understands a list of which only the form is of interest.
func readList(a answer) error {
	var list []json.RawMessage
	if json.Unmarshal(a.body, &list) != nil {
		return fmt.Errorf("%w: no list", errMalformed)
	}
	return nil
}

// readDocument is readList for an object.
func readDocument(a answer) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(a.body, &members) != nil || members == nil {
		return fmt.Errorf("%w: no document", errMalformed)
	}
	return nil
}

// identity is a device identity as the hub has it, whole, so that what is not ours
// goes back as it came.
type identity struct {
	document map[string]json.RawMessage
	etag     string // without quotes
	auth     dps.HubAuthentication
	edge     bool
}

// readIdentity reads an answer to GET /devices/{id}.
func readIdentity(header http.Header, body []byte) (identity, error) {
	var known struct {
		ETag           string                  `json:"etag"`
		Authentication *wire.HubAuthentication `json:"authentication"`
		Capabilities   *wire.Capabilities      `json:"capabilities"`
	}
	var i identity
	if json.Unmarshal(body, &known) != nil || json.Unmarshal(body, &i.document) != nil || i.document == nil {
		return identity{}, fmt.Errorf("%w: no device identity", errMalformed)
	}
	i.etag = bareETag(known.ETag)
	if i.etag == "" {
		i.etag = bareETag(header.Get("ETag"))
	}
	if i.etag == "" || strings.ContainsFunc(i.etag, func(c rune) bool { return c <= ' ' || c == '"' || c > unicode.MaxASCII }) {
		return identity{}, fmt.Errorf("%w: device identity without etag", errMalformed)
	}
	if known.Authentication != nil {
		i.auth = readAuthentication(*known.Authentication)
	}
	i.edge = known.Capabilities != nil && known.Capabilities.IotEdge
	return i, nil
}

// readAuthentication reads how a device proves itself. Without a type, thumbprints
// mean selfSigned and everything else sas. Keys that are no base64 become none, which
// is what no device of ours has.
// Source: azure-iot-sdk-csharp, iothub/service/src/Registry/Models/AuthenticationMechanism.cs.
func readAuthentication(in wire.HubAuthentication) dps.HubAuthentication {
	out := dps.HubAuthentication{Type: dps.HubAuthType(in.Type)}
	primary, secondary := value(in.X509Thumbprint.PrimaryThumbprint), value(in.X509Thumbprint.SecondaryThumbprint)
	if out.Type == "" {
		out.Type = dps.HubAuthSAS
		if primary != "" || secondary != "" {
			out.Type = dps.HubAuthSelfSigned
		}
	}
	switch out.Type {
	case dps.HubAuthSelfSigned:
		out.PrimaryThumbprint, out.SecondaryThumbprint = strings.ToUpper(primary), strings.ToUpper(secondary)
	case dps.HubAuthSAS:
		out.Keys = dps.KeyPair{Primary: readKey(in.SymmetricKey.PrimaryKey), Secondary: readKey(in.SymmetricKey.SecondaryKey)}
	}
	return out
}

func value(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func readKey(text *string) dps.Secret {
	key, err := base64.StdEncoding.DecodeString(value(text))
	if err != nil {
		return dps.Secret{}
	}
	return dps.NewSecret(key)
}

// bareETag takes quotes and the mark of a weak etag off.
func bareETag(text string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(text), "W/"), `"`)
}

// readTwin reads an answer to GET /twins/{id}, without what hubs write themselves.
func readTwin(body []byte) (dps.Twin, error) {
	var in struct {
		Tags       json.RawMessage `json:"tags"`
		Properties struct {
			Desired  json.RawMessage `json:"desired"`
			Reported json.RawMessage `json:"reported"`
		} `json:"properties"`
	}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) || json.Unmarshal(body, &in) != nil {
		return dps.Twin{}, fmt.Errorf("%w: no twin", errMalformed)
	}
	var t dps.Twin
	for _, section := range []struct {
		name string
		in   json.RawMessage
		out  *json.RawMessage
	}{{"tags", in.Tags, &t.Tags}, {"desired", in.Properties.Desired, &t.Desired}, {"reported", in.Properties.Reported, &t.Reported}} {
		var err error
		if *section.out, err = readSection(section.in); err != nil {
			return dps.Twin{}, fmt.Errorf("%w: twin section %s is not an object", errMalformed, section.name)
		}
	}
	return t, nil
}

// readSection returns the members that people and devices wrote, nil if none.
func readSection(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	delete(members, "$metadata")
	delete(members, "$version")
	if len(members) == 0 {
		return nil, nil
	}
	return json.Marshal(members)
}

// Bounds of how long a hub may ask to be left alone, and what stands for nothing said.
const (
	defaultPause = 10 * time.Second
	maxPause     = 15 * time.Minute
)

// retryAfter reads the header of that name, seconds or a date, at now; 0 where there
// is none that can be read. More than 15 minutes are taken as 15 minutes: a hub's slip
// must not stop provisioning for a year.
// Source: RFC 9110, section 10.2.3.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxPause/time.Second))) * time.Second //nolint:gosec // bounded
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxPause)
}
