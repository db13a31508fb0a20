package portal

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// kind is one of the two kinds of enrollments.
type kind struct {
	path   string // of its list
	id     string // the member that is its ID
	One    string // what one is called
	Many   string
	Group  bool
	client func(*service.Client) *service.Enrollments
}

var (
	groups = kind{
		path: "/enrollments/groups", id: "enrollmentGroupId", One: "enrollment group", Many: "enrollment groups", Group: true,
		client: (*service.Client).Groups,
	}
	individuals = kind{
		path: "/enrollments/individual", id: "registrationId", One: "individual enrollment", Many: "individual enrollments",
		client: (*service.Client).Enrollments,
	}
)

// Path is where the list of the kind is.
func (k kind) Path() string { return k.path }

// URL is where one of the kind is.
func (k kind) URL(id string) string { return k.path + "/of/" + url.PathEscape(id) }

// IDOf returns the ID of one.
func (k kind) IDOf(e *wire.Enrollment) string {
	if k.Group {
		return e.EnrollmentGroupID
	}
	return e.RegistrationID
}

// named returns a record with nothing but its ID.
func (k kind) named(id string) *wire.Enrollment {
	if k.Group {
		return &wire.Enrollment{EnrollmentGroupID: id}
	}
	return &wire.Enrollment{RegistrationID: id}
}

// kindHandler answers a visit to one kind of enrollments.
type kindHandler func(w http.ResponseWriter, r *http.Request, v *visit, k kind) error

func (s *server) of(k kind, h kindHandler) handler {
	return func(w http.ResponseWriter, r *http.Request, v *visit) error { return h(w, r, v, k) }
}

// enrollments returns the client for a kind.
func (s *server) enrollments(ctx context.Context, k kind) (*service.Enrollments, error) {
	c, err := s.API.Service(ctx)
	if err != nil {
		return nil, err
	}
	return k.client(c), nil
}

// listSize is how many records a page of a list has.
const listSize = 50

// listQuery is what a list of enrollments is asked for.
type listQuery struct {
	Search, Status, Attestation, Sort string
	Continuation                      string
}

// Filtered reports whether it leaves records out.
func (q listQuery) Filtered() bool { return q.Search != "" || q.Status != "" || q.Attestation != "" }

// orders are the orders of a list, by their name in a URL.
var orders = map[string]string{
	"id": "", "-id": " DESC", "updated": "lastUpdatedDateTimeUtc", "-updated": "lastUpdatedDateTimeUtc DESC",
}

func readListQuery(v url.Values) listQuery {
	q := listQuery{Search: strings.TrimSpace(v.Get("q")), Sort: v.Get("sort"), Continuation: v.Get("after")}
	if status := v.Get("status"); status == "enabled" || status == "disabled" {
		q.Status = status
	}
	if at := v.Get("attestation"); at == "x509" || at == "symmetricKey" || at == "tpm" {
		q.Attestation = at
	}
	if _, ok := orders[q.Sort]; !ok {
		q.Sort = "id"
	}
	return q
}

// text writes the query in the language of the service.
func (q listQuery) text(k kind) string {
	var where []string
	if q.Search != "" {
		where = append(where, "STARTS_WITH("+k.id+", "+quoted(q.Search)+")")
	}
	switch q.Status {
	case "disabled":
		where = append(where, "provisioningStatus = 'disabled'")
	case "enabled": // null is enabled too
		where = append(where, "NOT provisioningStatus = 'disabled'")
	}
	if q.Attestation != "" {
		where = append(where, "attestation.type = "+quoted(q.Attestation))
	}
	text := "SELECT *"
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	order := orders[q.Sort]
	if q.Sort == "id" || q.Sort == "-id" {
		order = k.id + order
	}
	return text + " ORDER BY " + order
}

// quoted writes a string of the query language.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// URL returns where the list goes on after a token, with the same question.
func (q listQuery) URL(path, after string) string {
	v := url.Values{}
	for name, value := range map[string]string{"q": q.Search, "status": q.Status, "attestation": q.Attestation, "after": after} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Sort != "id" {
		v.Set("sort", q.Sort)
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// listData is what a list of enrollments shows.
type listData struct {
	Kind     kind
	Query    listQuery
	Items    []*wire.Enrollment
	Next     string // where the next page is, "" on the last one
	First    string // where the first page is, "" on it
	Problems []string
	States   map[string]wire.RegistrationRecord // of devices with an individual enrollment, by ID in lower case
}

// StateOf returns the registration of an individual enrollment, nil if its device has not
// registered.
func (d listData) StateOf(e *wire.Enrollment) *wire.RegistrationRecord {
	if r, ok := d.States[strings.ToLower(e.RegistrationID)]; ok {
		return &r
	}
	return nil
}

// statesOf finds the registrations of individual enrollments, which lists of the official API
// do not have.
func statesOf(ctx context.Context, client *service.Client, list []*wire.Enrollment) (map[string]wire.RegistrationRecord, error) {
	states := make(map[string]wire.RegistrationRecord, len(list))
	for part := range slices.Chunk(list, wire.MaxRegistrationIDs) {
		ids := make([]string, len(part))
		for i, e := range part {
			ids[i] = e.RegistrationID
		}
		found, err := client.Registrations().Find(ctx, service.RegistrationFilter{RegistrationIDs: ids, PageSize: wire.MaxRegistrationIDs})
		if err != nil {
			return nil, err
		}
		for _, r := range found.Value {
			states[strings.ToLower(r.RegistrationID)] = r
		}
	}
	return states, nil
}

func (s *server) enrollmentsPage(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	return s.showList(w, r, v, k, nil)
}

func (s *server) showList(w http.ResponseWriter, r *http.Request, v *visit, k kind, problems []string) error {
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	q := readListQuery(r.URL.Query())
	found, err := k.client(client).QueryPage(r.Context(), service.Query{Text: q.text(k), PageSize: listSize, Continuation: q.Continuation})
	if err != nil {
		return err
	}
	data := listData{Kind: k, Query: q, Items: found.Items, Problems: problems}
	if !k.Group {
		if data.States, err = statesOf(r.Context(), client, found.Items); err != nil {
			return err
		}
	}
	if found.Continuation != "" {
		data.Next = q.URL(k.path, found.Continuation)
	}
	if q.Continuation != "" {
		data.First = q.URL(k.path, "")
	}
	s.show(w, r, v, "enrollments", page{Title: "Manage enrollments", Nav: groups.path, Data: data})
	return nil
}

// confirmData is what is asked before something is lost.
type confirmData struct {
	Question string
	Detail   string
	Action   string // where the answer goes
	Button   string
	Back     string
	Fields   []field
}

// field is a hidden field of a form.
type field struct{ Name, Value string }

// confirmed reports whether a request that loses something was confirmed. Where the
// script of the pages has not asked, a page does.
func (s *server) confirmed(w http.ResponseWriter, r *http.Request, v *visit, c confirmData) bool {
	if r.PostForm.Get("confirm") == "yes" {
		return true
	}
	c.Action = r.URL.RequestURI()
	for _, name := range []string{"id", "action", "etag", "which", "kind", "devices"} {
		for _, value := range r.PostForm[name] {
			c.Fields = append(c.Fields, field{name, value})
		}
	}
	s.show(w, r, v, "confirm", page{Title: c.Question, Data: c})
	return false
}

// selectedEnrollments does the same to each enrollment that was ticked.
func (s *server) selectedEnrollments(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	ids := r.PostForm["id"]
	if len(ids) == 0 {
		redirect(w, r, k.path)
		return nil
	}
	c, err := s.enrollments(r.Context(), k)
	if err != nil {
		return err
	}
	var problems []string
	word := "deleted"
	switch r.PostForm.Get("action") {
	case "enable":
		word, problems = "enabled", switchAll(r.Context(), c, ids, "enabled")
	case "disable":
		word, problems = "disabled", switchAll(r.Context(), c, ids, "disabled")
	default:
		question := "Delete " + countOf(len(ids), k) + "?"
		if !s.confirmed(w, r, v, confirmData{Question: question, Detail: strings.Join(ids, ", "), Button: "Delete", Back: k.path}) {
			return nil
		}
		problems = deleteAll(r.Context(), c, k, ids)
	}
	if len(problems) > 0 {
		return s.showList(w, r, v, k, problems)
	}
	redirect(w, r, k.path+"?done="+word)
	return nil
}

func countOf(n int, k kind) string {
	if n == 1 {
		return "1 " + k.One
	}
	return itoa(n) + " " + k.Many
}

// deleteAll deletes by bulk, and returns what the service said of those that it refused.
func deleteAll(ctx context.Context, c *service.Enrollments, k kind, ids []string) (problems []string) {
	for part := range slices.Chunk(ids, wire.MaxBulkItems) {
		records := make([]*wire.Enrollment, len(part))
		for i, id := range part {
			records[i] = k.named(id)
		}
		err := c.Bulk(ctx, wire.BulkDelete, records)
		if bulk, some := errors.AsType[*service.BulkError](err); some {
			for _, item := range bulk.Items {
				problems = append(problems, item.ID+": "+item.Message)
			}
		} else if err != nil {
			return append(problems, sentence(err))
		}
	}
	return problems
}

// switchAll enables or disables one after the other.
func switchAll(ctx context.Context, c *service.Enrollments, ids []string, status string) (problems []string) {
	for _, id := range ids {
		e, err := c.Get(ctx, id)
		if err == nil && e.ProvisioningStatus.Value != status {
			e.ProvisioningStatus = wire.StringValue(status)
			_, err = c.Put(ctx, e)
		}
		if err != nil {
			problems = append(problems, id+": "+sentence(err))
		}
	}
	return problems
}

// sentence is what an error says to people.
func sentence(err error) string {
	_, p := describe(err)
	return p.Message
}

// enrollmentData is what the page of one enrollment shows.
type enrollmentData struct {
	Kind          kind
	ID            string
	E             *wire.Enrollment
	Twin, Info    string // as JSON that people read
	Certificates  []shownCertificate
	Registrations []*wire.RegistrationState // of a group
	More          string                    // where there are more of them
}

// Reprovision says what happens when the device registers again.
func (d enrollmentData) Reprovision() string {
	switch reprovisionOf(d.E.ReprovisionPolicy) {
	case reprovisionMigrate:
		return "Reprovision and migrate data"
	case reprovisionReset:
		return "Reprovision and reset data"
	case reprovisionNever:
		return "Never reprovision"
	default:
		return "Not set: reprovision and migrate data. Devices that use API version 2018-04-01 or earlier keep their hub"
	}
}

// shownCertificate is a certificate of an enrollment.
type shownCertificate struct {
	Name string
	Info *wire.CertificateInfo
}

func (s *server) enrollmentPage(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	e, err := k.client(client).Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	id := k.IDOf(e)
	data := enrollmentData{
		Kind:         k,
		ID:           id,
		E:            e,
		Twin:         pretty(e.InitialTwin),
		Info:         pretty(e.OptionalDeviceInformation),
		Certificates: certificatesOf(e),
	}
	if k.Group {
		found, err := client.Registrations().
			QueryPage(r.Context(), id, service.Query{Text: "SELECT * ORDER BY lastUpdatedDateTimeUtc DESC", PageSize: 20})
		if err != nil {
			return err
		}
		data.Registrations = found.Items
		if found.Continuation != "" {
			data.More = "/registrations?group=" + url.QueryEscape(id)
		}
	}
	s.show(w, r, v, "enrollment", page{Title: id, Nav: groups.path, Crumbs: k.crumbs(), Data: data})
	return nil
}

func (k kind) crumbs() []crumb {
	name := "Individual enrollments"
	if k.Group {
		name = "Enrollment groups"
	}
	return []crumb{{"Manage enrollments", groups.path}, {name, k.path}}
}

func certificatesOf(e *wire.Enrollment) (all []shownCertificate) {
	if e.Attestation == nil || e.Attestation.X509 == nil {
		return nil
	}
	for _, c := range []*wire.Certificates{e.Attestation.X509.ClientCertificates, e.Attestation.X509.SigningCertificates} {
		if c == nil {
			continue
		}
		for name, one := range map[string]*wire.Certificate{"Primary certificate": c.Primary, "Secondary certificate": c.Secondary} {
			if one != nil && one.Info != nil {
				all = append(all, shownCertificate{name, one.Info})
			}
		}
	}
	slices.SortFunc(all, func(a, b shownCertificate) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (s *server) switchEnrollment(w http.ResponseWriter, r *http.Request, _ *visit, k kind) error {
	c, err := s.enrollments(r.Context(), k)
	if err != nil {
		return err
	}
	status := "enabled"
	if r.PostForm.Get("action") == "disable" {
		status = "disabled"
	}
	e, err := c.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	e.ProvisioningStatus = wire.StringValue(status)
	if e, err = c.Put(r.Context(), e); err != nil {
		return err
	}
	redirect(w, r, k.URL(k.IDOf(e))+"?done="+status)
	return nil
}

func (s *server) deleteEnrollment(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	id := r.PathValue("id")
	if !s.confirmed(w, r, v, confirmData{
		Question: "Delete the " + k.One + " " + id + "?", Detail: k.DeleteDetail(), Button: "Delete", Back: k.URL(id),
	}) {
		return nil
	}
	c, err := s.enrollments(r.Context(), k)
	if err != nil {
		return err
	}
	if err := c.Delete(r.Context(), id, r.PostForm.Get("etag")); err != nil {
		return err
	}
	redirect(w, r, k.path+"?done=deleted")
	return nil
}

// DeleteDetail says what a deletion does.
func (k kind) DeleteDetail() string {
	if k.Group {
		return "Devices can no longer register through it. " +
			"Devices that are already assigned can still connect to their hub until you delete them there."
	}
	return "The device can no longer register. If it is already assigned, it can still connect to its hub until you delete it there."
}

// keysData is what is shown of symmetric keys when somebody asks.
type keysData struct {
	Primary, Secondary string
	Strings            []namedText // connection strings
}

// namedText is a text with its name.
type namedText struct{ Name, Text string }

func (s *server) enrollmentKeys(w http.ResponseWriter, r *http.Request, _ *visit, k kind) error {
	c, err := s.enrollments(r.Context(), k)
	if err != nil {
		return err
	}
	a, err := c.AttestationMechanism(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	var keys keysData
	if a.SymmetricKey != nil {
		keys.Primary, keys.Secondary = a.SymmetricKey.PrimaryKey, a.SymmetricKey.SecondaryKey
	}
	s.part(w, r, "enrollment", "keys", keys)
	return nil
}
