package portal

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// auditData is what the page of the audit shows.
type auditData struct {
	Filter     service.AuditFilter
	From, To   string // days, as typed
	Items      []wire.AuditEntry
	Filtered   bool
	Problem    string
	Next       string
	First      string
	Kinds      []string
	Operations []string
}

// What the audit can be filtered by, in the order of a list.
var (
	auditKinds = []string{
		"enrollment",
		"enrollment-group",
		"registration",
		"certificate",
		"provisioning-service",
		"linked-hub",
		"portal-account",
		"hub-identity",
	}
	auditOperations = []string{
		"put",
		"patch",
		"delete",
		"generate-verification-code",
		"verify",
		"bulk-create",
		"bulk-update",
		"bulk-update-if-match",
		"bulk-delete",
		"import",
		"link",
		"update-link",
		"unlink",
		"move",
		"bulk",
		"change-password",
		"reset-password",
	}
)

func (s *server) auditPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	form := r.URL.Query()
	text := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	data := auditData{
		Filter: service.AuditFilter{
			Principal: text("principal"), Operation: text("operation"), Kind: text("kind"), ID: text("id"), Result: text("result"),
			PageSize: listSize, Continuation: form.Get("after"),
		},
		From: text("from"), To: text("to"), Kinds: auditKinds, Operations: auditOperations,
	}
	data.Filter.From = dayOf(data.From)
	if to := dayOf(data.To); !to.IsZero() {
		data.Filter.To = to.AddDate(0, 0, 1)
	}
	f := data.Filter
	data.Filtered = f.Principal+f.Operation+f.Kind+f.ID+f.Result+data.From+data.To != ""
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	found, err := client.Audit(r.Context(), f)
	if err != nil {
		status, p := describe(err)
		if status >= http.StatusInternalServerError {
			return err
		}
		data.Problem = upperFirst(p.Message) + "."
	} else {
		data.Items = found.Value
		if found.Continuation != "" {
			data.Next = pageURL("/audit", form, found.Continuation)
		}
	}
	if f.Continuation != "" {
		data.First = pageURL("/audit", form, "")
	}
	s.show(w, r, v, "audit", page{Title: "Audit", Nav: "/audit", Data: data})
	return nil
}

// dayOf reads a day, in UTC, as browsers send it.
func dayOf(text string) time.Time {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// pageURL returns where a list goes on after a token, with the same question.
func pageURL(path string, form url.Values, after string) string {
	v := url.Values{}
	for name, values := range form {
		if name != "after" && name != "done" && values[0] != "" {
			v.Set(name, values[0])
		}
	}
	if after != "" {
		v.Set("after", after)
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// AuditURL leads from the audit to the record that an entry is about, "" where there is
// no page of it.
func (auditData) AuditURL(e wire.AuditEntry) string {
	if e.ID == "" {
		return ""
	}
	switch e.Kind {
	case "enrollment":
		return individuals.URL(e.ID)
	case "enrollment-group":
		return groups.URL(e.ID)
	case "registration":
		return registrationURL(e.ID)
	case "certificate":
		return certificateURL(e.ID)
	case "linked-hub":
		return hubURL(e.ID)
	default:
		return ""
	}
}
