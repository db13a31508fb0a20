package translate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// AllocationQuestion is what the webhook of a custom allocation receives.
type AllocationQuestion struct {
	Enrollment  dps.Enrollment
	ID          dps.RegistrationID
	CurrentHub  dps.HostName // "" where the device was never assigned
	CurrentID   dps.DeviceID
	Attestation dps.AttestationType
	Certificate *dps.Certificate // that the device showed; nil if none
	Payload     json.RawMessage  // that the device sent; nil if none
	LinkedHubs  []dps.HostName   // the hubs that it may choose
}

// AllocationRequest writes the request to a webhook. No secret is in it: of the
// attestation there is only the type, and the URL's query is masked.
func AllocationRequest(q AllocationQuestion) (wire.AllocationRequest, error) {
	e, err := Enrollment(q.Enrollment, false)
	if err != nil {
		return wire.AllocationRequest{}, err
	}
	e.Attestation = &wire.Attestation{Type: e.Attestation.Type}
	e.ETag = quotedETag(q.Enrollment.ETag)
	out := wire.AllocationRequest{
		DeviceRuntimeContext: wire.DeviceRuntimeContext{
			RegistrationID: string(q.ID), CurrentIotHubHost: string(q.CurrentHub), CurrentDeviceID: string(q.CurrentID), Payload: q.Payload,
		},
		LinkedHubs: make([]string, len(q.LinkedHubs)),
	}
	if q.Enrollment.Ref.Kind == dps.Group {
		out.EnrollmentGroup = &e
	} else {
		out.IndividualEnrollment = &e
	}
	for i, h := range q.LinkedHubs {
		out.LinkedHubs[i] = string(h)
	}
	return out, runtimeAttestation(q, &out.DeviceRuntimeContext)
}

// quotedETag returns an etag as webhooks are shown it: the quoted string itself, where
// the service API has it in base64.
// Source: azure-docs, articles/iot-dps/tutorial-custom-allocation-policies.md (logged
// requests).
func quotedETag(tag dps.ETag) string {
	raw, err := base64.StdEncoding.DecodeString(string(tag))
	if err != nil {
		return string(tag)
	}
	return string(raw)
}

// runtimeAttestation says by what the device has proved itself.
func runtimeAttestation(q AllocationQuestion, c *wire.DeviceRuntimeContext) error {
	switch q.Attestation {
	case dps.X509:
		shown, err := certificateOut(q.Certificate)
		if err != nil {
			return err
		}
		c.X509 = &wire.X509{}
		if shown != nil {
			c.X509.ClientCertificates = &wire.Certificates{Primary: shown}
		}
	case dps.TPM:
		c.TPM = &wire.TPM{}
		if t := q.Enrollment.Attestation.TPM; t != nil {
			*c.TPM = wire.TPM{EndorsementKey: t.EndorsementKey, StorageRootKey: t.StorageRootKey}
		}
	default:
		c.SymmetricKey = &wire.SymmetricKey{}
	}
	return nil
}

// AllocationAnswer is what a webhook has decided.
type AllocationAnswer struct {
	Hub     dps.HostName    // one of those that it could choose
	Twin    json.RawMessage // nil: that of the enrollment
	Payload json.RawMessage // an object; nil if none
}

// MaxReturnedPayload bounds what a webhook has for a device, in bytes of JSON as devices
// are sent it: with the rest it must fit into a message of 96 KB.
const MaxReturnedPayload = 64 << 10

// AllocationResponse reads and checks the answer of a webhook that could choose among
// linked. It fails with CustomAllocationNoHub when the answer names none, and with
// CustomAllocationFailed.
func AllocationResponse(body []byte, linked []dps.HostName) (AllocationAnswer, error) {
	var in wire.AllocationResponse
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) // some runtimes begin with a byte order mark
	if err := Decode(body, &in); err != nil {
		return AllocationAnswer{}, failedAllocation(err)
	}
	if in.IotHubHostName == "" {
		return AllocationAnswer{}, dps.Errorf(dps.CustomAllocationNoHub, "Custom allocation failed: the webhook did not name an IoT hub.")
	}
	a := AllocationAnswer{Twin: compact(in.InitialTwin), Payload: compact(in.Payload)}
	for _, h := range linked {
		if h.Equal(dps.HostName(in.IotHubHostName)) {
			a.Hub = h
		}
	}
	if a.Hub == "" {
		return AllocationAnswer{}, failedAllocation(dps.Invalidf("iotHubHostName", "%q is not one of linkedHubs", clip(in.IotHubHostName)))
	}
	if _, err := dps.ParseInitialTwin(a.Twin); err != nil {
		return AllocationAnswer{}, failedAllocation(err)
	}
	return a, checkReturned(a.Payload)
}

// checkReturned checks the payload for a device. Some SDKs fail on anything but an
// object.
// Source: azure-iot-sdk-java, DeviceRegistrationResultParser.java.
func checkReturned(payload json.RawMessage) error {
	if payload == nil {
		return nil
	}
	if payload[0] != '{' {
		return failedAllocation(dps.Invalidf("payload", "must be an object"))
	}
	if err := dps.CheckNumbers("payload", payload); err != nil {
		return failedAllocation(err)
	}
	sent, err := json.Marshal(payload) // as it is sent, with characters escaped
	if err != nil {
		return err
	}
	if len(sent) > MaxReturnedPayload {
		return failedAllocation(dps.Invalidf("payload", "is %d bytes; the limit is %d", len(sent), MaxReturnedPayload))
	}
	return nil
}

// failedAllocation turns what is wrong with an answer into the failure of the allocation.
func failedAllocation(err error) error {
	return dps.Wrap(dps.CustomAllocationFailed, err, "Custom allocation failed: the webhook's response is invalid: "+dps.MessageOf(err))
}
