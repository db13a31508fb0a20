package portal

import (
	"net/http"
	"net/url"
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
	Asked    bool // whether anything was asked for
	Items    []*wire.RegistrationState
	Groups   []string // some, to choose from
	Problem  string
	Refused  bool // whether the device without a record was refused
	Next     string
	First    string
	Statuses []string
	Subs     []string
}

var (
	statuses    = []string{"assigned", "assigning", "failed", "disabled", "unassigned"}
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
	for name, value := range map[string]string{"group": q.Group, "status": q.Status, "substatus": q.Substatus, "hub": q.Hub, "after": after} {
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
		), Group: strings.TrimSpace(form.Get("group")), Hub: strings.TrimSpace(form.Get("hub")), Continuation: form.Get("after"),
	}
	if index(statuses, form.Get("status")) >= 0 {
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
	switch {
	case q.ID != "":
		data.Asked = true
		one, err := client.Registrations().Get(r.Context(), q.ID)
		if service.IsNotFound(err) {
			data.Problem = "There is no registration record of " + q.ID + ": it never registered, or its record was deleted."
			refused, err := client.Decisions().Page(r.Context(), service.DecisionFilter{RegistrationID: q.ID, PageSize: 1})
			data.Refused = err == nil && len(refused.Value) > 0
			return nil
		}
		if err != nil {
			data.Problem = sentence(err)
			return nil
		}
		data.Items = []*wire.RegistrationState{one}
	case q.Group != "":
		data.Asked = true
		found, err := client.Registrations().
			QueryPage(r.Context(), q.Group, service.Query{Text: q.text(), PageSize: listSize, Continuation: q.Continuation})
		if err != nil {
			data.Problem = sentence(err)
			return nil
		}
		data.Items = found.Items
		if found.Continuation != "" {
			data.Next = q.url(found.Continuation)
		}
		if q.Continuation != "" {
			data.First = q.url("")
		}
	}
	return nil
}

// registrationData is what the page of one record shows.
type registrationData struct {
	R          *wire.RegistrationState
	Group      string // that it came through, if any
	Individual bool   // whether there is an individual enrollment of it
	Refusals   []wire.Decision
}

// shownRefusals is how many refusals of a device its record shows.
const shownRefusals = 10

// maxGroups is in how many groups a record is looked for.
const maxGroups = 100

// findEntry looks what the device came through: the record of the official API does not
// say it. A link from a group says which one to try first.
func (d *registrationData) findEntry(r *http.Request, client *service.Client) error {
	id := d.R.RegistrationID
	_, err := client.Enrollments().Get(r.Context(), id)
	if err == nil {
		d.Individual = true
		return nil
	}
	if !service.IsNotFound(err) {
		return err
	}
	names := []string{}
	if hint := r.URL.Query().Get("group"); hint != "" {
		names = append(names, hint)
	}
	known, err := client.Groups().
		QueryPage(r.Context(), service.Query{Text: "SELECT * ORDER BY lastUpdatedDateTimeUtc DESC", PageSize: maxGroups})
	if err != nil {
		return err
	}
	for _, g := range known.Items {
		names = append(names, g.EnrollmentGroupID)
	}
	for _, name := range names {
		found, err := client.Registrations().
			QueryPage(r.Context(), name, service.Query{Text: "SELECT * WHERE registrationId = " + quoted(id), PageSize: 1})
		if err != nil && !service.IsNotFound(err) {
			return err
		}
		if err == nil && len(found.Items) > 0 {
			d.Group = name
			return nil
		}
	}
	return nil
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
		Detail:   "The device may register again, as if for the first time. Its hub still knows it.", Button: "Delete", Back: registrationURL(id),
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
