package portal

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// allocationData is what the page about allocation shows.
type allocationData struct {
	Policy string
	Hubs   []wire.LinkedHub
	Groups []string // some, to choose from
	Device string   // to try
	Error  string
}

// servicePolicies are what a service can have.
var servicePolicies = []choice{
	{
		"Hashed",
		"Evenly weighted",
		"Devices are distributed by a hash of their registration ID, in proportion to the hub weights. " +
			"Adding or removing a hub moves only the share of that hub.",
	},
	{
		"GeoLatency",
		"Lowest latency",
		"The hub whose location is closest to the network of the device, as configured with --network.",
	},
	{"Static", "Static", "The hub that the enrollment selects, or the only linked hub."},
}

// choice is one of several, for people.
type choice struct{ Value, Title, Meaning string }

// Choices are the policies to choose from.
func (allocationData) Choices() []choice { return servicePolicies }

func (s *server) allocationPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showAllocation(w, r, v, "")
}

func (s *server) showAllocation(w http.ResponseWriter, r *http.Request, v *visit, problem string) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	resource, err := control.Get(r.Context())
	if err != nil {
		return err
	}
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	known, err := client.Groups().QueryPage(r.Context(), service.Query{PageSize: maxGroups})
	if err != nil {
		return err
	}
	data := allocationData{
		Policy: resource.Properties.AllocationPolicy,
		Hubs:   resource.Properties.IotHubs,
		Device: r.URL.Query().Get("device"),
		Error:  problem,
	}
	for _, g := range known.Items {
		data.Groups = append(data.Groups, g.EnrollmentGroupID)
	}
	status := http.StatusOK
	if problem != "" {
		status = http.StatusUnprocessableEntity
	}
	s.show(w, r, v, "allocation", page{Status: status, Title: "Allocation", Nav: "/allocation", Data: data})
	return nil
}

func (s *server) updateAllocation(w http.ResponseWriter, r *http.Request, v *visit) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	policy := r.PostForm.Get("policy")
	if policy == "" {
		return s.showAllocation(w, r, v, "Choose a policy.")
	}
	_, err = control.Update(r.Context(), func(d *wire.ProvisioningServiceRequest) error {
		if !strings.EqualFold(d.Properties.AllocationPolicy, policy) {
			d.Properties.AllocationPolicy = policy
		}
		return nil
	}, nil)
	if e, ok := errors.AsType[*service.Error](err); ok && e.Status < http.StatusInternalServerError {
		_, rule := fieldOf(e.Message)
		return s.showAllocation(w, r, v, upperFirst(rule)+".")
	}
	if err != nil {
		return err
	}
	redirect(w, r, "/allocation?done=saved")
	return nil
}

// dryRunData is what came of a dry run.
type dryRunData struct {
	Answer  *wire.AllocateAnswer
	Twin    string
	Payload string
	Problem string
}

// dryRun says which hub a device would get, with nothing changed.
func (s *server) dryRun(w http.ResponseWriter, r *http.Request, _ *visit) error {
	p := r.PostForm
	text := func(name string) string { return strings.TrimSpace(p.Get(name)) }
	ask := wire.AllocateRequest{
		RegistrationID: text("device"), EnrollmentGroupID: text("group"), RemoteAddress: text("remote"), CallWebhook: p.Get("webhook") != "",
	}
	if payload := text("payload"); payload != "" {
		if problem := jsonProblem(payload); problem != "" {
			s.part(w, r, "allocation", "dry-run", dryRunData{Problem: "Payload: " + problem})
			return nil
		}
		ask.Payload = json.RawMessage(payload)
	}
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	answer, err := client.Allocate(r.Context(), ask)
	if e, ok := errors.AsType[*service.Error](err); ok && e.Status < http.StatusInternalServerError {
		s.part(w, r, "allocation", "dry-run", dryRunData{Problem: upperFirst(e.Message) + "."})
		return nil
	}
	if err != nil {
		return err
	}
	s.part(w, r, "allocation", "dry-run", dryRunData{Answer: answer, Twin: pretty(answer.InitialTwin), Payload: pretty(answer.Payload)})
	return nil
}
