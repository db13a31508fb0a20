package translate_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 120_000_000, time.UTC)

// TestEveryCode walks the closed set of codes: each has numbers that fit each other
// and a message for the caller.
func TestEveryCode(t *testing.T) {
	t.Parallel()
	for _, code := range dps.Codes() {
		t.Run(code.String(), func(t *testing.T) {
			status, body := translate.Error(dps.Errorf(code, ""), "id", at)
			if status < 400 || status > 599 || body.ErrorCode/1000 != status || body.Message == "" || body.TrackingID != "id" {
				t.Errorf("Error = %d %+v", status, body)
			}
			if body.TimestampUTC != "2026-03-01T12:00:00.1200000Z" {
				t.Errorf("timestampUtc = %q", body.TimestampUTC)
			}
			if translate.Number(dps.Failure{Code: code}) != body.ErrorCode {
				t.Errorf("Number = %d, the body has %d", translate.Number(dps.Failure{Code: code}), body.ErrorCode)
			}
			armStatus, arm := translate.ARMError(dps.Errorf(code, ""))
			if armStatus != status || arm.Error.Code == "" || arm.Error.Message != body.Message {
				t.Errorf("ARMError = %d %+v", armStatus, arm)
			}
			hubStatus, name, hub := translate.HubError(dps.Errorf(code, ""), "0123", at)
			if hubStatus != status || name == "" || hub.Message != "ErrorCode:"+name+";"+body.Message {
				t.Errorf("HubError = %d %s %+v", hubStatus, name, hub)
			}
		})
	}
}

// TestInternalsStayInside checks that what nobody classified leaves as one sentence.
func TestInternalsStayInside(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errors.New("disk /dev/sda1 is on fire"), dps.Errorf(dps.Internal, "disk is on fire"),
		fmt.Errorf("writing: %w", dps.Wrap(dps.Internal, errors.New("fire"), "fire")),
		dps.Wrap(dps.Unavailable, errors.New("fire"), ""),
	} {
		status, body := translate.Error(err, "", at)
		if status < 500 || strings.Contains(body.Message, "fire") {
			t.Errorf("%v leaves as %d %q", err, status, body.Message)
		}
	}
	_, body := translate.Error(fmt.Errorf("loading: %w", dps.Wrap(dps.Invalid, errors.New("cause"), "deviceId: is bad")), "", at)
	if body.Message != "deviceId: is bad" {
		t.Errorf("message = %q", body.Message)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, code := range dps.Codes() {
		want := code == dps.Throttled || code == dps.Unavailable
		if got := translate.RetryAfter(dps.Errorf(code, "")); (got > 0) != want {
			t.Errorf("RetryAfter(%s) = %v", code, got)
		}
	}
	if got := translate.RetryAfter(&dps.Error{Code: dps.Throttled, RetryAfter: 2 * time.Second}); got != 2*time.Second {
		t.Errorf("RetryAfter = %v, want what the error says", got)
	}
}

func TestHubErrorWritesTheTrackingID(t *testing.T) {
	t.Parallel()
	_, _, body := translate.HubError(dps.Errorf(dps.DeviceNotFound, "no"), "01234567-89ab-cdef-0123-456789abcdef", at)
	if want := "Tracking ID:0123456789ABCDEF0123456789ABCDEF-G:0-TimeStamp:03/01/2026 12:00:00"; body.ExceptionMessage != want {
		t.Errorf("ExceptionMessage = %q, want %q", body.ExceptionMessage, want)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var into wire.EnrollmentRequest
	tests := []struct {
		name, body string
		code       dps.Code
		message    string
	}{
		{"empty", "", dps.Malformed, "body: is empty; a JSON object is required"},
		{"cut off", `{"registrationId": `, dps.Malformed, "body: is not JSON: it is incomplete"},
		{"cut off in a string", `{"registrationId": "a`, dps.Malformed, "body: is not JSON: it is incomplete"},
		{"garbage", `{registrationId}`, dps.Malformed, "body: is not JSON: line 1, column 2: invalid character 'r' looking for beginning of object key string"},
		{"column in characters", "{\"deviceId\": \"ü\",\n \"ü\": x}", dps.Malformed, "body: is not JSON: line 2, column 7: invalid character 'x' looking for beginning of value"},
		{"a character of several bytes", `{"ü": “b”}`, dps.Malformed, "body: is not JSON: line 1, column 7: invalid character '“' looking for beginning of value"},
		{"comma before a brace", `{"registrationId": "a", }`, dps.Malformed, "body: is not JSON: line 1, column 25: remove the comma before }"},
		{"comma before a bracket", `{"iotHubs": ["a",]}`, dps.Malformed, "body: is not JSON: line 1, column 18: remove the comma before ]"},
		{"single quotes", `{'registrationId': 'a'}`, dps.Malformed, "body: is not JSON: line 1, column 2: use double quotes instead of single quotes"},
		{"UTF-16", "\xff\xfe{\x00}\x00", dps.Malformed, "body: line 1, column 1: is UTF-16, not UTF-8; save the file as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8"},
		{"no UTF-8", "{\"registrationId\": \"\xc3\"}", dps.Malformed, "body: line 1, column 21: byte 0xC3 is not UTF-8; save the file as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8"},
		{"more", `{} {}`, dps.Malformed, "body: line 1, column 4: there is text after the JSON value"},
		{"array", `[]`, dps.Invalid, "body: must be a JSON object, not an array"},
		{"string", `"x"`, dps.Invalid, "body: must be a JSON object, not a string"},
		{"text for a number", `{"attestation": {"x509": {"clientCertificates": {"primary": {"info": {"version": "3"}}}}}}`, dps.Invalid, "attestation.x509.clientCertificates.primary.info.version: must be a whole number, not a string"},
		{"member of an embedded struct", `{"deviceId": []}`, dps.Invalid, "deviceId: must be a string, not an array"},
		{"nullable member", `{"provisioningStatus": {}}`, dps.Invalid, "provisioningStatus: must be a string, not an object"},
		{"list", `{"iotHubs": {}}`, dps.Invalid, "iotHubs: must be an array, not an object"},
	}
	for _, tt := range tests {
		err := translate.Decode([]byte(tt.body), &into)
		if dps.CodeOf(err) != tt.code || dps.MessageOf(err) != tt.message {
			t.Errorf("%s: %v %q, want %v %q", tt.name, dps.CodeOf(err), dps.MessageOf(err), tt.code, tt.message)
		}
	}
	if err := translate.Decode([]byte("\ufeff"+` {"registrationId": "a"} `+"\n"), &into); err != nil || into.RegistrationID != "a" {
		t.Errorf("Decode = %v, %q", err, into.RegistrationID)
	}
}

func TestDecodeStrict(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		message    string // "" when it is taken
	}{
		{name: "known members", body: `{"registrationId": "a", "attestation": {"type": "tpm"}, "etag": "x", "registrationState": {"any": 1}}`},
		{name: "another case", body: `{"REGISTRATIONID": "a"}`},
		{name: "any member of a twin", body: `{"initialTwin": {"tags": {"colour": 1}, "own": 2}}`},
		{name: "unknown and null", body: `{"whatever": null}`},
		{name: "misspelled", body: `{"provisionigStatus": "disabled"}`, message: `provisionigStatus: is not a known member; did you mean "provisioningStatus"?`},
		{name: "misspelled within", body: `{"attestation": {"symmetricKey": {"primarykeys": "a"}}}`, message: `attestation.symmetricKey.primarykeys: is not a known member; did you mean "primaryKey"?`},
		{name: "unknown", body: `{"colour": {"a": [1]}}`, message: "colour: is not a known member"},
		{name: "unknown and long", body: `{"` + strings.Repeat("x", 300) + `": 1}`, message: strings.Repeat("x", 128) + "...: is not a known member"},
		{name: "twice", body: `{"deviceId": "a", "DeviceID": "b"}`, message: "DeviceID: is given twice"},
		{name: "no JSON", body: `{`, message: "body: is not JSON: it is incomplete"},
	}
	for _, tt := range tests {
		var into wire.EnrollmentRequest
		if err := translate.DecodeStrict([]byte(tt.body), &into); (err != nil) != (tt.message != "") || (err != nil &&
			dps.MessageOf(err) != tt.message) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.message)
		}
	}
}

func TestCheckTwinNames(t *testing.T) {
	t.Parallel()
	for twin, message := range map[string]string{
		"": "", "null": "", "7": "", `{"tags": {"tasg": 1}, "properties": {"desired": {}}, "etag": "x", "own": 1}`: "",
		`{"tag": {}}`:                    `initialTwin.tag: is not a known member; did you mean "tags"?`,
		`{"propertis": {}}`:              `initialTwin.propertis: is not a known member; did you mean "properties"?`,
		`{"properties": {"desird": {}}}`: `initialTwin.properties.desird: is not a known member; did you mean "desired"?`,
	} {
		if err := translate.CheckTwinNames(json.RawMessage(twin)); (err != nil) != (message != "") || (err != nil &&
			dps.MessageOf(err) != message) {
			t.Errorf("%s: %v, want %q", twin, err, message)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, `{"registrationId": 7}`, `{"provisioningStatus": null}`, `{"attestation": {"x509": []}}`,
		`{"a": "\ud800"}`, `{"iotHubs": [1]} x`, "\xff", `{"initialTwin": {"tags": {"a": 1e999}}}`, `[[[[]]]]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var req wire.EnrollmentRequest
		err := translate.Decode(body, &req)
		checkError(t, err)
		if err == nil && !json.Valid(bytes.TrimPrefix(body, []byte("\ufeff"))) {
			t.Errorf("%q was taken as JSON", body)
		}
		checkError(t, translate.DecodeStrict(body, &req))
		_, err = translate.DevicePayload(body, "dev-1")
		checkError(t, err)
	})
}

// checkError wants an error that a caller may hear: classified, with a message that
// names a member.
func checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	code := dps.CodeOf(err)
	if code != dps.Invalid && code != dps.Malformed {
		t.Errorf("error %v has code %v", err, code)
	}
	if !strings.Contains(dps.MessageOf(err), ":") {
		t.Errorf("the message names no member: %q", dps.MessageOf(err))
	}
}

func FuzzDraft(f *testing.F) {
	for _, seed := range []string{
		`{"registrationId": "a", "attestation": {"type": "symmetricKey"}}`,
		`{"registrationId": "a", "attestation": {"type": "tpm", "tpm": {"endorsementKey": "AToA"}}, "provisioningStatus": null}`,
		`{"registrationId": "a", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "AAEC"}}}}}`,
		`{"registrationId": "a", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"info": {"sha1Thumbprint": "00"}}}}}}`,
		`{"registrationId": "a", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "ca"}}}}`,
		`{"registrationId": "a", "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {}}}}}`,
		`{"registrationId": "a", "iotHubs": ["a", ""], "allocationPolicy": "static", "reprovisionPolicy": {}, "capabilities": {}}`,
		`{"registrationId": "a", "initialTwin": {"tags": {"a": [1, null, {}]}, "properties": {"desired": {"b": 1e400}}}}`,
		`{"enrollmentGroupId": "a", "customAllocationDefinition": {"webhookUrl": "http://[::1", "apiVersion": ""}}`,
		`{"registrationId": "a", "trustBundleId": "x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var req wire.EnrollmentRequest
		if translate.Decode(body, &req) != nil {
			return
		}
		for _, kind := range []dps.EntryKind{dps.Individual, dps.Group} {
			draft, err := translate.Draft("default", dps.EntryRef{Kind: kind, ID: "a"}, req)
			checkError(t, err)
			if err != nil {
				continue
			}
			stored, err := enroll.New(emptyStore{}, func() time.Time { return at }).Put(t.Context(), draft, dps.Condition{})
			if err == nil {
				comesBack(t, stored)
			} else if code := dps.CodeOf(err); code != dps.Invalid {
				t.Errorf("%v has code %v", err, code)
			}
		}
	})
}

// emptyStore holds nothing and takes everything.
type emptyStore struct{ enroll.Store }

func (emptyStore) Enrollment(context.Context, dps.InstanceID, dps.EntryRef) (dps.Enrollment, error) {
	return dps.Enrollment{}, dps.Errorf(dps.EnrollmentNotFound, "none")
}

func (emptyStore) CACertificate(context.Context, dps.InstanceID, dps.CAName) (dps.CACertificate, error) {
	return dps.CACertificate{}, dps.Errorf(dps.CertificateNotFound, "none")
}

func (emptyStore) PutEnrollment(context.Context, dps.Enrollment, dps.ETag) error { return nil }

// comesBack checks that an answer can be written, and sent back by a client.
func comesBack(t *testing.T, e dps.Enrollment) {
	t.Helper()
	out, err := translate.Enrollment(e, true)
	if err != nil {
		t.Fatalf("what was taken cannot be shown: %v", err)
	}
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatalf("what was taken cannot be written: %v", err)
	}
	var again wire.EnrollmentRequest
	if err := translate.Decode(text, &again); err != nil {
		t.Fatalf("%s cannot be read: %v", text, err)
	}
	if _, err := translate.Draft("default", e.Ref, again); err != nil {
		t.Errorf("%s is refused: %v", text, err)
	}
}

// selfSigned is a certificate with a long name.
func selfSigned(t *testing.T) dps.Certificate {
	t.Helper()
	return selfSignedAs(t, pkix.Name{CommonName: "Factory, Root", Organization: []string{"Contoso"}})
}

func selfSignedAs(t *testing.T, subject pkix.Name) dps.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xA8F6), Subject: subject,
		NotBefore: at.Truncate(time.Second), NotAfter: at.Truncate(time.Second).AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return dps.Certificate{DER: der}
}

func TestAttestationOfX509(t *testing.T) {
	t.Parallel()
	cert := selfSigned(t)
	e := dps.Enrollment{
		Ref:         dps.EntryRef{Kind: dps.Group, ID: "g"},
		Attestation: dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{Secondary: &cert}},
	}
	got, err := translate.Attestation(e, true)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Attestation{
		Type: "x509",
		X509: &wire.X509{SigningCertificates: &wire.Certificates{Secondary: &wire.Certificate{Info: &wire.CertificateInfo{
			SubjectName: `CN="Factory, Root", O=Contoso`, IssuerName: `CN="Factory, Root", O=Contoso`, SHA1Thumbprint: dps.SHA1Thumbprint(cert.DER),
			SHA256Thumbprint: cert.Thumbprint().
				String(),
			SerialNumber: "A8F6", NotBeforeUTC: "2026-03-01T12:00:00Z", NotAfterUTC: "2027-03-01T12:00:00Z", Version: 3,
		}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Attestation (-want +got):\n%s", diff)
	}
	for name, x := range map[string]*dps.X509Attestation{
		"primary": {Primary: &dps.Certificate{DER: []byte("x")}}, "secondary": {Secondary: &dps.Certificate{DER: []byte("x")}},
	} {
		broken := dps.Enrollment{Attestation: dps.Attestation{Type: dps.X509, X509: x}}
		if _, err := translate.Enrollment(broken, false); err == nil {
			t.Errorf("a stored %s that is no certificate is shown", name)
		}
	}
}

func TestKeysAreShownOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	keys := dps.NewKeyPair()
	e := dps.Enrollment{
		Ref:         dps.EntryRef{Kind: dps.Individual, ID: "a"},
		Attestation: dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys},
	}
	for _, with := range []bool{true, false} {
		out, err := translate.Enrollment(e, with)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), keys.Secondary.Base64()[:20]) != with {
			t.Errorf("with keys = %v: %s", with, text)
		}
	}
}

func TestDeviceState(t *testing.T) {
	t.Parallel()
	reg := dps.Registration{
		ID: "dev-1", Entry: dps.EntryRef{Kind: dps.Group, ID: "g"}, Attestation: dps.X509, Status: dps.Assigned, ETag: "e", Created: at,
		Updated:    at.Add(time.Microsecond),
		Assignment: &dps.Assignment{Hub: "h", DeviceID: "Dev", Substatus: dps.ReprovisionedToInitialAssignment},
		Payload:    json.RawMessage(`{"a":1}`),
	}
	state := translate.DeviceState(reg, "hub.example", "2021-06-01")
	want := &wire.RegistrationState{
		X509: &wire.EntryReference{EnrollmentGroupID: "g"}, RegistrationID: "dev-1", CreatedDateTimeUTC: "2026-03-01T12:00:00.1200000Z",
		AssignedHub: "hub.example", DeviceID: "Dev", Status: "assigned", Substatus: "reprovisionedToInitialAssignment",
		LastUpdatedDateTimeUTC: "2026-03-01T12:00:00.1200010Z", ETag: "e", Payload: json.RawMessage(`{"a":1}`),
	}
	if diff := cmp.Diff(want, state); diff != "" {
		t.Errorf("DeviceState (-want +got):\n%s", diff)
	}
	if got := translate.DeviceState(reg, "hub.example", "2019-03-31").Substatus; got != "initialAssignment" {
		t.Errorf("an old version hears %q", got)
	}
	if got := translate.DeviceState(reg, "hub.example", "2019-01-15").Payload; got != nil {
		t.Errorf("an old version hears %s", got)
	}
	if got := translate.ServiceState(reg, "hub.example", "2021-10-01"); string(got.Payload) != `{"a":1}` || got.X509 != nil ||
		got.LastUpdatedDateTimeUTC != "2026-03-01T12:00:00.120001Z" {
		t.Errorf("ServiceState = %+v", got)
	}
	reg.Status, reg.Failure = dps.Failed, &dps.Failure{Code: dps.NoHub, Message: "none"}
	failed := translate.DeviceState(reg, "hub.example", "2021-06-01")
	if failed.AssignedHub != "" || failed.DeviceID != "" || failed.Substatus != "" || failed.ErrorCode != 400208 ||
		failed.ErrorMessage != "none" {
		t.Errorf("failed: %+v", failed)
	}
	if got := translate.NeverRegistered("dev-1", "2021-10-01"); got.Status != "unassigned" || got.CreatedDateTimeUTC != "" {
		t.Errorf("NeverRegistered = %+v", got)
	}
}

func TestDeviceBodyAndVersion(t *testing.T) {
	t.Parallel()
	for body, code := range map[string]dps.Code{
		`{"registrationId": "other"}`: dps.Invalid, `{"csr": "x"}`: dps.Invalid, `{`: dps.Malformed, `[]`: dps.Invalid,
		`{"payload": [1e999]}`: dps.Invalid,
	} {
		if _, err := translate.DevicePayload([]byte(body), "dev-1"); dps.CodeOf(err) != code {
			t.Errorf("%s: %v, want %v", body, err, code)
		}
	}
	for body, payload := range map[string]string{
		"": "", " ": "", "{}": "", "null": "", `{"payload": null}`: "", `{"registrationId": "DEV-1", "payload": "text"}`: `"text"`, `{"payload": 7}`: "7",
		`{"payload": { "a": [ 1, "<b>" ] }}`: `{"a":[1,"<b>"]}`,
	} {
		if got, err := translate.DevicePayload([]byte(body), "dev-1"); err != nil || string(got) != payload {
			t.Errorf("%q: %s, %v, want %s", body, got, err, payload)
		}
	}
}

// TestConnectionProfile checks that only clients that know the member see it.
func TestConnectionProfile(t *testing.T) {
	t.Parallel()
	reg := dps.Registration{ID: "dev-1", Status: dps.Assigning}
	for version, want := range map[string]string{
		"2017-11-15": "", "2021-10-01": "", "2025-07-01-preview": "", "2026-11-01": "",
		"2026-11-02-preview": "classic", "2026-11-02": "classic", "2026-11-15-preview": "classic", "2031-01-01": "classic",
	} {
		for api, state := range map[string]*wire.RegistrationState{
			"device": translate.DeviceState(reg, "hub.example", version), "service": translate.ServiceState(reg, "hub.example", version),
			"never registered": translate.NeverRegistered("dev-1", version),
		} {
			if state.ConnectionProfile != want {
				t.Errorf("%s at %s: %q, want %q", api, version, state.ConnectionProfile, want)
			}
		}
	}
}

func TestHubDeviceWithKeys(t *testing.T) {
	t.Parallel()
	keys := dps.NewKeyPair()
	d := dps.HubDevice{
		DeviceID:       "Dev",
		GenerationID:   "7",
		IotEdge:        true,
		ETag:           "e",
		Authentication: dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: keys},
	}
	got := translate.HubDevice(d)
	if *got.Authentication.SymmetricKey.PrimaryKey != keys.Primary.Base64() || got.Authentication.X509Thumbprint.PrimaryThumbprint != nil ||
		got.Authentication.Type != "sas" {
		t.Errorf("authentication = %+v", got.Authentication)
	}
	if got.DeviceScope != "ms-azure-iot-edge://Dev-7" {
		t.Errorf("deviceScope = %q", got.DeviceScope)
	}
}

func TestHubTwinWithoutTwin(t *testing.T) {
	t.Parallel()
	got, err := translate.HubTwin(dps.NewHubDevice(dps.LinkedHub{}, dps.HubIdentity{DeviceID: "Dev"}, dps.Twin{}, time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	const never = `"$lastUpdated":"0001-01-01T00:00:00"`
	if string(got.Tags) != `{}` || string(got.Properties.Desired) != `{"$metadata":{`+never+`,"$lastUpdatedVersion":1},"$version":1}` ||
		string(got.Properties.Reported) != `{"$metadata":{`+never+`},"$version":1}` {
		t.Errorf("twin = %s %s %s", got.Tags, got.Properties.Desired, got.Properties.Reported)
	}
	if _, err := translate.HubTwin(dps.HubDevice{Twin: dps.Twin{Desired: json.RawMessage(`[]`)}}); err == nil {
		t.Error("a stored section that is no object is shown")
	}
}

func TestCACertificateWithoutCommonName(t *testing.T) {
	t.Parallel()
	oid := asn1.ObjectIdentifier{2, 5, 4, 3}
	for want, subject := range map[string]pkix.Name{
		"OU=Line 7, O=Contoso": {Organization: []string{"Contoso"}, OrganizationalUnit: []string{"Line 7"}},
		"CN=b, CN=a":           {ExtraNames: []pkix.AttributeTypeAndValue{{Type: oid, Value: "a"}, {Type: oid, Value: "b"}}},
	} {
		got, err := translate.CACertificate(dps.CACertificate{Name: "x", Certificate: selfSignedAs(t, subject)}, "/base", false)
		if err != nil || got.Properties.Subject != want {
			t.Errorf("subject = %q, %v; want %q", got.Properties.Subject, err, want)
		}
	}
}

func TestCACertificate(t *testing.T) {
	t.Parallel()
	c := dps.CACertificate{
		Name:        "Factory",
		Certificate: selfSigned(t),
		Created:     at,
		Updated:     at,
		ETag:        "e",
		Challenge:   &dps.Challenge{Code: "C0DE"},
	}
	got, err := translate.CACertificate(c, "/base", false)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.CACertificate{
		Properties: wire.CACertificateProperties{
			Subject: "Factory, Root", Expiry: "Mon, 01 Mar 2027 12:00:00 GMT", Thumbprint: dps.SHA1Thumbprint(c.Certificate.DER),
			Created: "Sun, 01 Mar 2026 12:00:00 GMT", Updated: "Sun, 01 Mar 2026 12:00:00 GMT",
		},
		ID: "/base/certificates/Factory", Name: "Factory", Type: "Microsoft.Devices/provisioningServices/Certificates", ETag: "e",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("CACertificate (-want +got):\n%s", diff)
	}
	if got, err = translate.CACertificate(c, "/base", true); err != nil || got.Properties.VerificationCode != "C0DE" ||
		got.Properties.Certificate == nil {
		t.Errorf("with code: %+v, %v", got.Properties, err)
	}
	if _, err := translate.CACertificate(dps.CACertificate{}, "/base", false); err == nil {
		t.Error("a stored certificate that is none is shown")
	}
}
