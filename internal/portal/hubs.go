package portal

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func hubURL(name string) string { return "/hubs/" + url.PathEscape(name) }

// hubsData is what the page of linked hubs shows.
type hubsData struct {
	Hubs     []wire.HubStatus
	Cleanups []wire.Cleanup
	More     bool // whether there are more of them
}

// shownCleanups is how many clean-ups the page shows.
const shownCleanups = 20

func (s *server) hubsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	var data hubsData
	if data.Hubs, err = client.HubStatuses(r.Context()); err != nil {
		return err
	}
	page1, err := client.Cleanups(r.Context(), shownCleanups, "")
	if err != nil {
		return err
	}
	data.Cleanups, data.More = page1.Value, page1.Continuation != ""
	s.show(w, r, v, "hubs", page{Title: "Linked hubs", Nav: "/hubs", Data: data})
	return nil
}

// hubForm is the form of a linked hub.
type hubForm struct {
	New              bool
	Kind             string
	Name             string // its host name
	ConnectionString string // as typed; never shown again
	Masked           string // the one that is there, without its key
	Location         string
	Weight           string
	Apply, Skip      bool
	Status           *wire.HubStatus
	Errors           map[string]string
	Failure          *problem
}

func readHubForm(r *http.Request) *hubForm {
	p := r.PostForm
	text := func(name string) string { return strings.TrimSpace(p.Get(name)) }
	return &hubForm{
		Kind: p.Get("kind"), Name: text("name"), ConnectionString: text("connectionString"), Location: text("location"), Weight: text("weight"),
		Apply: p.Get("apply") != "", Skip: p.Get("skip") != "", Errors: make(map[string]string),
	}
}

// values are what a browser sends of the form where nobody touched it.
func (f *hubForm) values() url.Values {
	return url.Values{"location": {f.Location}, "weight": {f.Weight}, "apply": checked(f.Apply)}
}

// weight returns the weight that was typed, and notes when it is none.
func (f *hubForm) weight() *int {
	n, err := strconv.Atoi(f.Weight)
	if err != nil {
		f.Errors["weight"] = "A whole number is required."
	}
	return &n
}

func (s *server) newHub(w http.ResponseWriter, r *http.Request, v *visit) error {
	s.showHub(w, r, v, &hubForm{New: true, Kind: wire.HubKindIoTHub, Weight: "1", Apply: true})
	return nil
}

func (s *server) showHub(w http.ResponseWriter, r *http.Request, v *visit, f *hubForm) {
	title, status := "Link a hub", http.StatusOK
	if !f.New {
		title = f.Name
	}
	if len(f.Errors) > 0 || f.Failure != nil {
		status = http.StatusUnprocessableEntity
	}
	s.show(w, r, v, "hub", page{Status: status, Title: title, Nav: "/hubs", Crumbs: []crumb{{"Linked hubs", "/hubs"}}, Data: f})
}

func (s *server) linkHub(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := readHubForm(r)
	f.New = true
	hub := wire.LinkedHub{
		Location:              f.Location,
		AllocationWeight:      f.weight(),
		ApplyAllocationPolicy: &f.Apply,
		ConnectionString:      f.ConnectionString,
	}
	switch f.Kind {
	case wire.HubKindEmbedded:
		hub.Kind, hub.ConnectionString = wire.HubKindEmbedded, "HostName="+f.Name
		if f.Name == "" {
			f.Errors["name"] = "A host name is required."
		}
	default:
		f.Kind = wire.HubKindIoTHub
		if f.ConnectionString == "" {
			f.Errors["connectionString"] = "A connection string is required."
		}
		if f.Location == "" {
			f.Errors["location"] = "A location is required, for example westeurope."
		}
	}
	if len(f.Errors) > 0 {
		s.showHub(w, r, v, f)
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	linked, err := control.LinkedHubs().Create(r.Context(), hub, &service.UpdateOptions{SkipCheck: f.Skip})
	if err == nil {
		redirect(w, r, hubURL(linked.Name)+"?done=linked")
		return nil
	}
	if !f.refused(err) {
		return err
	}
	s.showHub(w, r, v, f)
	return nil
}

// refused puts a refusal beside the field that it is about. It reports whether err is one.
func (f *hubForm) refused(err error) bool {
	e, ok := errors.AsType[*service.Error](err)
	if !ok || e.Status >= http.StatusInternalServerError {
		return false
	}
	member, rule := fieldOf(e.Message)
	for suffix, at := range map[string]string{
		".connectionString": "connectionString", ".location": "location", ".allocationWeight": "weight", ".name": "name", ".kind": "name",
	} {
		if strings.HasSuffix(member, suffix) {
			if at == "connectionString" && f.Kind == wire.HubKindEmbedded {
				at = "name"
			}
			f.Errors[at] = upperFirst(rule) + "."
			return true
		}
	}
	_, p := describe(err)
	f.Failure = &p
	return true
}

func (s *server) hubPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	f, err := s.linkedHub(r)
	if err != nil {
		return err
	}
	s.showHub(w, r, v, f)
	return nil
}

// linkedHub returns the form of the hub that a path names.
func (s *server) linkedHub(r *http.Request) (*hubForm, error) {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return nil, err
	}
	hub, err := control.LinkedHubs().Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	client, err := s.API.Service(r.Context())
	if err != nil {
		return nil, err
	}
	all, err := client.HubStatuses(r.Context())
	if err != nil {
		return nil, err
	}
	f := &hubForm{Kind: hub.Kind, Name: hub.Name, Masked: hub.ConnectionString, Location: hub.Location, Errors: make(map[string]string)}
	if hub.AllocationWeight != nil {
		f.Weight = itoa(*hub.AllocationWeight)
	}
	f.Apply = hub.ApplyAllocationPolicy != nil && *hub.ApplyAllocationPolicy
	for i := range all {
		if strings.EqualFold(all[i].Name, hub.Name) {
			f.Status = &all[i]
		}
	}
	return f, nil
}

func (s *server) updateHub(w http.ResponseWriter, r *http.Request, v *visit) error {
	stored, err := s.linkedHub(r)
	if err != nil {
		return err
	}
	f := readHubForm(r)
	f.Kind, f.Name, f.Masked, f.Status = stored.Kind, stored.Name, stored.Masked, stored.Status
	ed := edits{shown: stored.values(), sent: r.PostForm}
	var weight *int
	if ed.changed("weight") {
		weight = f.weight()
	}
	if len(f.Errors) > 0 {
		s.showHub(w, r, v, f)
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	_, err = control.LinkedHubs().Update(r.Context(), f.Name, func(h *wire.LinkedHub) {
		if ed.changed("location") {
			h.Location = f.Location
		}
		if weight != nil {
			h.AllocationWeight = weight
		}
		if ed.changed("apply") {
			h.ApplyAllocationPolicy = &f.Apply
		}
		if f.ConnectionString != "" {
			h.ConnectionString = f.ConnectionString
		}
	}, &service.UpdateOptions{SkipCheck: f.Skip})
	if err == nil {
		redirect(w, r, hubURL(f.Name)+"?done=saved")
		return nil
	}
	if !f.refused(err) {
		return err
	}
	s.showHub(w, r, v, f)
	return nil
}

// unlinkDetail says what unlinking a hub of a kind does.
func unlinkDetail(kind string) string {
	if kind == wire.HubKindEmbedded {
		return "The embedded hub is deleted. This fails while it has devices, unless “Delete its devices too” is selected."
	}
	return "The hub and its devices stay as they are. Devices that register again are assigned to another hub."
}

func (s *server) unlinkHub(w http.ResponseWriter, r *http.Request, v *visit) error {
	name := r.PathValue("name")
	if !s.confirmed(w, r, v, confirmData{
		Question: "Unlink the hub " + name + "?", Detail: unlinkDetail(r.PostForm.Get("kind")),
		Button: "Unlink", Back: hubURL(name),
	}) {
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	opts := &service.UpdateOptions{}
	if r.PostForm.Get("devices") != "" {
		opts.DeleteDevices = []string{name}
	}
	if err := control.LinkedHubs().Delete(r.Context(), name, opts); err != nil {
		return err
	}
	redirect(w, r, "/hubs?done=unlinked")
	return nil
}
