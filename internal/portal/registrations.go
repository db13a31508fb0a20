package portal

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// registrationQuery is what the records are asked for.
type registrationQuery struct {
	ID, Group, Status, Substatus, Hub, Continuation string
}

// registrationsData is what the page of registration records shows.
type registrationsData struct {
	Query    registrationQuery
	Items    []wire.RegistrationRecord
	Groups   []string // some, to choose from
	Problem  string
	Refused  bool // whether the device without a record was refused
	Next     string
	First    string
	Statuses []string
	Subs     []string
}

// Filtered reports whether the list leaves records out.
func (d registrationsData) Filtered() bool { return d.Query.ID+d.Query.Group+d.Query.Status != "" }

// Across reports whether the list is about all groups, by status or without a filter.
func (d registrationsData) Across() bool { return d.Query.ID+d.Query.Group == "" }

var (
	statuses = []string{"assigned", "assigning", "failed", "disabled", "unassigned"}
	// acrossStatuses are those that few devices have: they are listed across all groups.
	acrossStatuses = []string{"failed", "assigning", "disabled"}

	substatuses = []string{"initialAssignment", "deviceDataMigrated", "deviceDataReset", "reprovisionedToInitialAssignment"}
)

func (q registrationQuery) text() string {
	var where []string
	for _, c := range []struct{ member, value string }{
		{"status", q.Status}, {"substatus", q.Substatus}, {"assignedHub", q.Hub},
	} {
		if c.value != "" {
			where = append(where, c.member+" = "+quoted(c.value))
		}
	}
	text := "SELECT *"
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	return text + " ORDER BY lastUpdatedDateTimeUtc DESC"
}

func (q registrationQuery) url(after string) string {
	v := url.Values{}
	for name, value := range map[string]string{
		"id": q.ID, "group": q.Group, "status": q.Status, "substatus": q.Substatus, "hub": q.Hub, "after": after,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return "/registrations?" + v.Encode()
}

func (s *server) registrationsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	form := r.URL.Query()
	q := registrationQuery{
		ID: strings.TrimSpace(
			form.Get("id"),
		),
		Group:        strings.TrimSpace(form.Get("group")),
		Hub:          strings.TrimSpace(form.Get("hub")),
		Continuation: form.Get("after"),
	}
	allowed := statuses
	if q.Group == "" {
		allowed = acrossStatuses
	}
	if slices.Contains(allowed, form.Get("status")) {
		q.Status = form.Get("status")
	}
	if index(substatuses, form.Get("substatus")) >= 0 {
		q.Substatus = form.Get("substatus")
	}
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	data := registrationsData{Query: q, Statuses: statuses, Subs: substatuses}
	if err := s.findRegistrations(r, client, &data); err != nil {
		return err
	}
	const some = 100
	known, err := client.Groups().QueryPage(r.Context(), service.Query{PageSize: some})
	if err != nil {
		return err
	}
	for _, g := range known.Items {
		data.Groups = append(data.Groups, g.EnrollmentGroupID)
	}
	s.show(w, r, v, "registrations", page{Title: "Registration records", Nav: "/registrations", Data: data})
	return nil
}

func (s *server) findRegistrations(r *http.Request, client *service.Client, data *registrationsData) error {
	q := data.Query
	var next string
	var err error
	switch {
	case q.ID != "":
		data.Items, next, err = findDevice(r, client, q)
		if err == nil && len(data.Items) == 0 {
			data.Refused = wasRefused(r, client, q.ID)
		}
	case q.Group != "":
		data.Items, next, err = findOfGroup(r, client, q)
	default:
		var found *wire.RegistrationPage
		filter := service.RegistrationFilter{Status: q.Status, PageSize: listSize, Continuation: q.Continuation}
		if found, err = client.Registrations().Find(r.Context(), filter); err == nil {
			data.Items, next = found.Value, found.Continuation
		}
	}
	if err != nil {
		status, p := describe(err)
		if status >= http.StatusInternalServerError {
			return err
		}
		data.Problem = upperFirst(p.Message) + "."
		return nil
	}
	if next != "" {
		data.Next = q.url(next)
	}
	if q.Continuation != "" {
		data.First = q.url("")
	}
	return nil
}

// findDevice finds the devices whose registration ID begins with what was typed, and those
// that have it as their device ID at a hub.
func findDevice(r *http.Request, client *service.Client, q registrationQuery) (items []wire.RegistrationRecord, next string, err error) {
	if q.Continuation == "" {
		found, err := client.Registrations().Find(r.Context(), service.RegistrationFilter{DeviceID: q.ID, PageSize: listSize})
		if err != nil {
			return nil, "", err
		}
		items = found.Value
	}
	named, err := client.Registrations().
		Find(r.Context(), service.RegistrationFilter{StartsWith: q.ID, PageSize: listSize, Continuation: q.Continuation})
	if err != nil {
		if e, ok := errors.AsType[*service.Error](err); ok && e.Status == http.StatusBadRequest { // a device ID may have more characters
			return items, "", nil
		}
		return nil, "", err
	}
	for _, record := range named.Value {
		if !slices.ContainsFunc(items, func(r wire.RegistrationRecord) bool { return r.RegistrationID == record.RegistrationID }) {
			items = append(items, record)
		}
	}
	return items, named.Continuation, nil
}

func findOfGroup(r *http.Request, client *service.Client, q registrationQuery) (items []wire.RegistrationRecord, next string, err error) {
	found, err := client.Registrations().
		QueryPage(r.Context(), q.Group, service.Query{Text: q.text(), PageSize: listSize, Continuation: q.Continuation})
	if err != nil {
		return nil, "", err
	}
	for _, state := range found.Items {
		items = append(items, wire.RegistrationRecord{RegistrationState: *state, EnrollmentGroupID: q.Group})
	}
	return items, found.Continuation, nil
}

// wasRefused reports whether there is a refusal of a device. That it cannot be asked says no.
func wasRefused(r *http.Request, client *service.Client, id string) bool {
	refused, err := client.Decisions().Page(r.Context(), service.DecisionFilter{RegistrationID: id, PageSize: 1})
	return err == nil && len(refused.Value) > 0
}

// registrationData is what the page of one record shows.
type registrationData struct {
	R        *wire.RegistrationState
	Through  wire.RegistrationRecord // names the enrollment
	Gone     bool                    // that enrollment was deleted
	Refusals []wire.Decision
}

// shownRefusals is how many refusals of a device its record shows.
const shownRefusals = 10

// maxGroups is how many groups a list proposes.
const maxGroups = 100

// findEntry looks what the device came through, which the record of the official API does
// not say, and whether that is still there.
func (d *registrationData) findEntry(r *http.Request, client *service.Client) error {
	found, err := client.Registrations().Find(r.Context(), service.RegistrationFilter{RegistrationIDs: []string{d.R.RegistrationID}})
	if err != nil {
		return err
	}
	if len(found.Value) == 1 {
		d.Through = found.Value[0]
	}
	switch {
	case d.Through.EnrollmentGroupID != "":
		_, err = client.Groups().Get(r.Context(), d.Through.EnrollmentGroupID)
	case d.Through.EnrollmentID != "":
		_, err = client.Enrollments().Get(r.Context(), d.Through.EnrollmentID)
	}
	if service.IsNotFound(err) {
		d.Gone = true
		return nil
	}
	return err
}

func (s *server) registrationPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	one, err := client.Registrations().Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	data := registrationData{R: one}
	if err := data.findEntry(r, client); err != nil {
		return err
	}
	refused, err := client.Decisions().Page(r.Context(), service.DecisionFilter{RegistrationID: one.RegistrationID, PageSize: shownRefusals})
	if err != nil {
		return err
	}
	data.Refusals = refused.Value
	s.show(w, r, v, "registration", page{
		Title: one.RegistrationID, Nav: "/registrations", Crumbs: []crumb{{"Registration records", "/registrations"}}, Data: data,
	})
	return nil
}

func registrationURL(id string) string { return "/registrations/" + url.PathEscape(id) }

func (s *server) deleteRegistration(w http.ResponseWriter, r *http.Request, v *visit) error {
	id := r.PathValue("id")
	if !s.confirmed(w, r, v, confirmData{
		Question: "Delete the registration record of " + id + "?",
		Detail:   "The device can register again as a new device. Its identity on the hub is not deleted.",
		Button:   "Delete",
		Back:     registrationURL(id),
	}) {
		return nil
	}
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	if err := client.Registrations().Delete(r.Context(), id, r.PostForm.Get("etag")); err != nil {
		return err
	}
	redirect(w, r, "/registrations?done=deleted")
	return nil
}
