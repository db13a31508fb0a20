package mooringapi

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// Allocator says what would become of a device.
type Allocator interface {
	// DryRun changes nothing; see register.Service.
	DryRun(ctx context.Context, in dps.InstanceID, q register.DryRunQuestion) (register.DryRunAnswer, error)
}

// maxAllocate bounds a question, in bytes: a device's payload is what may be long.
const maxAllocate = 96 << 10

// defaultDeviceVersion is what a device is taken to speak when the question does not say:
// one that may be moved.
const defaultDeviceVersion = "2021-10-01"

func (s *server) allocateRoutes() []route.Route {
	return []route.Route{{Method: "POST", Pattern: wire.AllocatePath, Handle: s.guarded(dps.EnrollmentRead, s.allocate)}}
}

func (s *server) allocate(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	text, err := httpio.ReadBody(w, r, maxAllocate)
	if err != nil {
		return err
	}
	var req wire.AllocateRequest
	if err := translate.DecodeStrict(text, &req); err != nil {
		return err
	}
	q, err := readQuestion(req)
	if err != nil {
		return err
	}
	if q.CallWebhook {
		// The webhook is told that a device asks, and may do something about it or have a
		// secret for it: that is more than reading.
		if err := s.Guard.Service(r, s.Instance, dps.EnrollmentWrite); err != nil {
			return err
		}
	}
	answer, err := s.Allocator.DryRun(r.Context(), s.Instance, q)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, allocateAnswer(q.ID, answer))
}

// readQuestion checks a question. It fails with Invalid and names the member.
func readQuestion(req wire.AllocateRequest) (q register.DryRunQuestion, err error) {
	if q.ID, err = dps.ParseRegistrationID(req.RegistrationID); err != nil {
		return q, err
	}
	if q.Entry, err = readEntry(req); err != nil {
		return q, err
	}
	if req.RemoteAddress != "" {
		if q.Remote, err = netip.ParseAddr(req.RemoteAddress); err != nil {
			return q, dps.Invalidf("remoteAddress", "must be an IP address such as 192.0.2.7 or 2001:db8::7, without a port")
		}
	}
	q.APIVersion = cmp.Or(req.APIVersion, defaultDeviceVersion)
	if err = dps.CheckAPIVersion("apiVersion", q.APIVersion); err != nil {
		return q, err
	}
	q.Payload, q.CallWebhook = req.Payload, req.CallWebhook
	if string(q.Payload) == "null" {
		q.Payload = nil
	}
	return q, nil
}

func readEntry(req wire.AllocateRequest) (dps.EntryRef, error) {
	switch {
	case req.EnrollmentID != "" && req.EnrollmentGroupID != "":
		return dps.EntryRef{}, dps.Invalidf("enrollmentGroupId", "must not be given together with enrollmentId")
	case req.EnrollmentGroupID != "":
		return dps.ParseEntryID(dps.Group, "enrollmentGroupId", req.EnrollmentGroupID)
	case req.EnrollmentID != "" && !strings.EqualFold(req.EnrollmentID, req.RegistrationID):
		return dps.EntryRef{}, dps.Invalidf(
			"enrollmentId",
			"must be the registration ID %q",
			req.RegistrationID,
		)
	case req.EnrollmentID != "":
		return dps.EntryRef{Kind: dps.Individual, ID: req.EnrollmentID}, nil
	default:
		return dps.EntryRef{}, nil
	}
}

func allocateAnswer(id dps.RegistrationID, a register.DryRunAnswer) wire.AllocateAnswer {
	out := wire.AllocateAnswer{
		RegistrationID: string(id), Outcome: string(a.Outcome), AllocationPolicy: string(a.Policy), Candidates: make([]string, len(a.Candidates)),
		IotHubHostName: string(a.Hub), DeviceID: string(a.DeviceID), Substatus: string(a.Substatus), DeviceData: string(a.Data),
		InitialTwin: a.Twin, Payload: a.Payload, Why: make([]wire.AllocateStep, len(a.Steps)),
	}
	if a.Entry.Kind == dps.Group {
		out.EnrollmentGroupID = a.Entry.ID
	} else {
		out.EnrollmentID = a.Entry.ID
	}
	for i, h := range a.Candidates {
		out.Candidates[i] = string(h)
	}
	for i, s := range a.Steps {
		out.Why[i] = wire.AllocateStep{Step: string(s.Name), Text: s.Text}
	}
	if a.Failure != nil {
		out.ErrorCode, out.ErrorMessage = translate.Number(*a.Failure), a.Failure.Message
	}
	if c := a.Current; c != nil {
		out.Current = &wire.AllocateCurrent{IotHubHostName: string(c.Hub), DeviceID: string(c.DeviceID), Substatus: string(c.Substatus)}
	}
	return out
}
