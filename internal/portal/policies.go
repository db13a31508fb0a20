package portal

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// right is a right of a shared access policy, for people.
type right struct{ Name, Meaning string }

// rights are all rights.
// Source: azure-docs, articles/iot-dps/how-to-control-access.md.
var rights = []right{
	{"ServiceConfig", "Change service settings; read audit, exports and backups"},
	{"EnrollmentRead", "Read enrollments"},
	{"EnrollmentWrite", "Create, change and delete enrollments; includes all other enrollment and registration rights"},
	{"RegistrationStatusRead", "Read registration records and refusals"},
	{"RegistrationStatusWrite", "Delete registration records"},
	{"DeviceConnect", "Not used: devices authenticate with their enrollment"},
}

// policyForm is the form of a policy.
type policyForm struct {
	Name   string
	Rights []string
	All    []right
	Errors map[string]string
}

func splitRights(text string) (all []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// policyRow is a policy without its keys.
type policyRow struct {
	Name   string
	Rights []string
}

// policiesData is what the page of policies shows.
type policiesData struct {
	Policies []policyRow
	Form     policyForm
}

func (s *server) policiesPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showPolicies(w, r, v, policyForm{})
}

func (s *server) showPolicies(w http.ResponseWriter, r *http.Request, v *visit, f policyForm) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	all, err := control.Policies().List(r.Context())
	if err != nil {
		return err
	}
	f.All = rights
	data := policiesData{Form: f}
	for _, p := range all {
		data.Policies = append(data.Policies, policyRow{p.KeyName, splitRights(p.Rights)})
	}
	status := http.StatusOK
	if len(f.Errors) > 0 {
		status = http.StatusUnprocessableEntity
	}
	s.show(w, r, v, "policies", page{Status: status, Title: "Shared access policies", Nav: "/policies", Data: data})
	return nil
}

func readPolicyForm(r *http.Request) policyForm {
	return policyForm{
		Name:   strings.TrimSpace(r.PostForm.Get("name")),
		Rights: r.PostForm["rights"],
		All:    rights,
		Errors: make(map[string]string),
	}
}

func (s *server) createPolicy(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := readPolicyForm(r)
	if f.Name == "" {
		f.Errors["name"] = "A name is required."
	}
	if len(f.Rights) == 0 {
		f.Errors["rights"] = "Choose at least one right."
	}
	if len(f.Errors) > 0 {
		return s.showPolicies(w, r, v, f)
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	_, err = control.Policies().Get(r.Context(), f.Name)
	if err == nil {
		f.Errors["name"] = "This name is already in use."
		return s.showPolicies(w, r, v, f)
	}
	if !service.IsNotFound(err) {
		return err
	}
	if err := f.save(r.Context(), control, "name", ""); err != nil {
		return err
	}
	if len(f.Errors) > 0 {
		return s.showPolicies(w, r, v, f)
	}
	redirect(w, r, policyURL(f.Name)+"?done=created")
	return nil
}

// text writes the rights for the service: those of stored, the policy as it is, keep their
// place and spelling, and rights that the form does not show stay.
func (f policyForm) text(stored string) string {
	sent, was := slices.Clone(f.Rights), splitRights(stored)
	for _, name := range was {
		if !slices.ContainsFunc(rights, func(r right) bool { return strings.EqualFold(r.Name, name) }) {
			sent = append(sent, name)
		}
	}
	if sameSet(was, sent) {
		return stored
	}
	return strings.Join(reordered(was, sent), ", ")
}

// save writes the policy of a form; its keys stay, or are generated. stored are the rights
// that the policy has, "" for a new one. A rule that the form breaks is shown beside field.
func (f policyForm) save(ctx context.Context, control *service.ControlPlane, field, stored string) error {
	err := control.Policies().Put(ctx, wire.SharedAccessPolicy{KeyName: f.Name, Rights: f.text(stored)})
	if e, ok := errors.AsType[*service.Error](err); ok && e.Status == http.StatusBadRequest {
		_, rule := fieldOf(e.Message)
		f.Errors[field] = upperFirst(rule) + "."
		return nil
	}
	return err
}

func (s *server) policyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	p, err := control.Policies().Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	s.showPolicy(w, r, v, policyForm{Name: p.KeyName, Rights: splitRights(p.Rights)})
	return nil
}

func (s *server) showPolicy(w http.ResponseWriter, r *http.Request, v *visit, f policyForm) {
	f.All = rights
	status := http.StatusOK
	if len(f.Errors) > 0 {
		status = http.StatusUnprocessableEntity
	}
	s.show(w, r, v, "policy", page{
		Status: status, Title: f.Name, Nav: "/policies", Crumbs: []crumb{{"Shared access policies", "/policies"}}, Data: f,
	})
}

func (s *server) updatePolicy(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := readPolicyForm(r)
	f.Name = r.PathValue("name")
	if len(f.Rights) == 0 {
		f.Errors["rights"] = "Choose at least one right, or delete the policy."
		s.showPolicy(w, r, v, f)
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	stored, err := control.Policies().Get(r.Context(), f.Name)
	if err != nil {
		return err
	}
	f.Name = stored.KeyName // as the policy spells it
	if err := f.save(r.Context(), control, "rights", stored.Rights); err != nil {
		return err
	}
	if len(f.Errors) > 0 {
		s.showPolicy(w, r, v, f)
		return nil
	}
	redirect(w, r, policyURL(f.Name)+"?done=saved")
	return nil
}

// policyKeys shows keys and connection strings, because somebody asked.
func (s *server) policyKeys(w http.ResponseWriter, r *http.Request, _ *visit) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	p, err := control.Policies().Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	resource, err := control.Get(r.Context())
	if err != nil {
		return err
	}
	text := func(key string) string {
		return "HostName=" + resource.Properties.ServiceOperationsHostName + ";SharedAccessKeyName=" + p.KeyName + ";SharedAccessKey=" + key
	}
	s.part(w, r, "policy", "keys", keysData{
		Primary: p.PrimaryKey, Secondary: p.SecondaryKey,
		Strings: []namedText{{"Primary connection string", text(p.PrimaryKey)}, {"Secondary connection string", text(p.SecondaryKey)}},
	})
	return nil
}

func (s *server) regeneratePolicy(w http.ResponseWriter, r *http.Request, v *visit) error {
	name, which := r.PathValue("name"), r.PostForm.Get("which")
	if !slices.Contains([]string{"primary", "secondary"}, which) {
		return dps.Errorf(dps.Invalid, "which: must be primary or secondary")
	}
	if !s.confirmed(w, r, v, confirmData{
		Question: "Regenerate the " + which + " key of " + name + "?", Detail: "Clients that use the old key are refused immediately.",
		Button: "Regenerate", Back: policyURL(name),
	}) {
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	p, err := control.Policies().Get(r.Context(), name)
	if err != nil {
		return err
	}
	change := wire.SharedAccessPolicy{KeyName: p.KeyName}
	if which == "primary" {
		change.PrimaryKey = dps.NewKey().Base64()
	} else {
		change.SecondaryKey = dps.NewKey().Base64()
	}
	if err := control.Policies().Put(r.Context(), change); err != nil {
		return err
	}
	redirect(w, r, policyURL(name)+"?done=regenerated")
	return nil
}

func (s *server) deletePolicy(w http.ResponseWriter, r *http.Request, v *visit) error {
	name := r.PathValue("name")
	if !s.confirmed(w, r, v, confirmData{
		Question: "Delete the policy " + name + "?",
		Detail:   "Clients that use its keys are refused immediately.",
		Button:   "Delete",
		Back:     policyURL(name),
	}) {
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	if err := control.Policies().Delete(r.Context(), name); err != nil {
		return err
	}
	redirect(w, r, "/policies?done=deleted")
	return nil
}
