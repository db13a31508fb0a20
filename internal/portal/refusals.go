package portal

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func refusalURL(trackingID string) string { return "/refusals/" + url.PathEscape(trackingID) }

// addressURL leads to the refusals of one address, which may have a port.
func addressURL(remote string) string { return "/refusals?remote=" + url.QueryEscape(remote) }

// moveText says which hub identity changed hands, "" for other decisions.
func moveText(m *wire.DecisionMove) string {
	if m == nil {
		return ""
	}
	return "Hub identity " + m.DeviceID + " on " + m.HostName + ": from " + holderText(m.From) + " to " + holderText(m.To)
}

// holderText names whose a hub identity is.
func holderText(h wire.DecisionHolder) string {
	switch {
	case h.EnrollmentGroupID != "":
		return "group " + h.EnrollmentGroupID + " (device " + h.RegistrationID + ")"
	case h.EnrollmentID != "":
		return "individual enrollment " + h.EnrollmentID
	case h.RegistrationID != "":
		return "device " + h.RegistrationID
	default:
		return "an operator"
	}
}

// refusalsData is what the page of refusals shows.
type refusalsData struct {
	Filter   service.DecisionFilter
	Filtered bool
	Items    []wire.Decision
	Dropped  int64
	Reasons  []wire.DecisionReason
	Groups   []string
	Problem  string
	Poll     string // where the list is found anew; "" beyond the first page
	Next     string
	First    string
}

func (s *server) refusalsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	form := r.URL.Query()
	text := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	data := refusalsData{Filter: service.DecisionFilter{
		RegistrationID: text("device"), EnrollmentGroupID: text("group"), Reason: text("reason"), Remote: text("remote"),
		PageSize: listSize, Continuation: form.Get("after"),
	}}
	f := data.Filter
	data.Filtered = f.RegistrationID+f.EnrollmentGroupID+f.Reason+f.Remote != ""
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	if data.Reasons, err = client.Decisions().Reasons(r.Context()); err != nil {
		return err
	}
	found, err := client.Decisions().Page(r.Context(), f)
	if err != nil {
		status, p := describe(err)
		if status >= http.StatusInternalServerError {
			return err
		}
		data.Problem = upperFirst(p.Message) + "."
	} else {
		data.Items, data.Dropped = found.Value, found.Dropped
		if found.Continuation != "" {
			data.Next = pageURL("/refusals", form, found.Continuation)
		}
	}
	if f.Continuation != "" {
		data.First = pageURL("/refusals", form, "")
	} else {
		data.Poll = pageURL("/refusals", form, "")
	}
	if data.Groups, err = someGroups(r, client); err != nil {
		return err
	}
	s.show(w, r, v, "refusals", page{Title: "Refusals", Nav: "/refusals", Data: data})
	return nil
}

// someGroups returns names of groups to choose from.
func someGroups(r *http.Request, client *service.Client) ([]string, error) {
	known, err := client.Groups().QueryPage(r.Context(), service.Query{PageSize: maxGroups})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(known.Items))
	for i, g := range known.Items {
		names[i] = g.EnrollmentGroupID
	}
	return names, nil
}

// refusalData is what the page of one refusal shows.
type refusalData struct {
	D      *wire.Decision
	Record *wire.RegistrationState // nil if there is none
	Others []wire.Decision         // other refusals of the device
	Action *action
}

// action is where a remedy begins in the portal.
type action struct{ Title, URL string }

func (s *server) refusalPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	d, err := client.Decisions().Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	data := refusalData{D: d, Action: actionFor(d)}
	const most = 10
	filter := service.DecisionFilter{RegistrationID: d.RegistrationID, PageSize: most}
	if d.RegistrationID == "" { // nobody knows the device: what is known is where it came from
		filter.Remote = d.Remote
	}
	others, err := client.Decisions().Page(r.Context(), filter)
	if err != nil {
		return err
	}
	for _, o := range others.Value {
		if o.TrackingID != d.TrackingID {
			data.Others = append(data.Others, o)
		}
	}
	title := "Unknown device"
	if d.RegistrationID != "" {
		title = d.RegistrationID
		data.Record, err = client.Registrations().Get(r.Context(), d.RegistrationID)
		if err != nil && !service.IsNotFound(err) {
			return err
		}
	}
	s.show(w, r, v, "refusal", page{Title: title, Nav: "/refusals", Crumbs: []crumb{{"Refusals", "/refusals"}}, Data: data})
	return nil
}

// actionFor returns where the remedy of a refusal begins, nil where that is not here but
// at the device.
func actionFor(d *wire.Decision) *action {
	var entry *action
	switch {
	case d.EnrollmentGroupID != "":
		entry = &action{"Open the enrollment group", groups.URL(d.EnrollmentGroupID)}
	case d.EnrollmentID != "":
		entry = &action{"Open the enrollment", individuals.URL(d.EnrollmentID)}
	}
	switch d.Reason {
	case "ca-not-verified":
		return &action{"Open certificates", "/certificates"}
	case "issuer-missing", "signature-mismatch":
		return &action{"Upload a CA certificate", "/certificates/new"}
	case "no-enrollment":
		if d.Attestation == "x509" {
			return &action{"Add an enrollment group", groups.path + "/new"}
		}
		return &action{"Add an individual enrollment", individuals.path + "/new"}
	case "id-scope-unknown":
		return &action{"Open the overview", "/"}
	case "identity-moved",
		"identity-of-another-enrollment",
		"disabled",
		"wrong-key",
		"other-attestation",
		"other-certificate",
		"other-ca",
		"certificate-of-another-enrollment":
		return entry
	default:
		return nil
	}
}
