package portal

import (
	"net/http"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// overviewData is what the first page shows.
type overviewData struct {
	Service  *wire.ProvisioningService
	Hubs     []wire.HubStatus
	Charts   chartsData
	CAFile   string // "" where it is unknown: then its name is CAIssuer
	CAIssuer string
	Refusals []wire.Decision
	Steps    []step // what to do next, none once all of it is done
}

// step is something to do on an instance that is new.
type step struct {
	Title, Text, URL, Button string
	Done                     bool
}

func (s *server) overview(w http.ResponseWriter, r *http.Request, v *visit) error {
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
	data := overviewData{Service: resource, CAFile: s.CAFile, CAIssuer: s.CAIssuer}
	if data.Hubs, err = client.HubStatuses(r.Context()); err != nil {
		return err
	}
	if data.Charts, err = s.charts(r, client); err != nil {
		return err
	}
	const some = 5
	refused, err := client.Decisions().Page(r.Context(), service.DecisionFilter{PageSize: some})
	if err != nil {
		return err
	}
	data.Refusals = refused.Value
	if data.Steps, err = steps(r, control, client); err != nil {
		return err
	}
	s.show(w, r, v, "overview", page{Title: "Overview", Nav: "/", Data: data})
	return nil
}

// steps looks how far a new instance is, and returns no steps for one that is in use.
func steps(r *http.Request, control *service.ControlPlane, client *service.Client) ([]step, error) {
	authorities, err := control.Certificates().List(r.Context())
	if err != nil {
		return nil, err
	}
	one := service.Query{PageSize: 1}
	someGroups, err := client.Groups().QueryPage(r.Context(), one)
	if err != nil {
		return nil, err
	}
	someDevices, err := client.Enrollments().QueryPage(r.Context(), one)
	if err != nil {
		return nil, err
	}
	verified, enrolled := false, len(someGroups.Items)+len(someDevices.Items) > 0
	proof := "/certificates"
	for _, c := range authorities {
		verified = verified || c.Properties.IsVerified
		if !c.Properties.IsVerified {
			proof = certificateURL(c.Name)
		}
	}
	found, err := client.Registrations().Find(r.Context(), service.RegistrationFilter{PageSize: 1})
	if err != nil || len(found.Value) > 0 {
		return nil, err
	}
	return []step{
		{
			Title:  "Upload the certificate of your CA",
			Text:   "Needed for devices with X.509 certificates. For symmetric keys, continue with the enrollment group.",
			URL:    "/certificates/new",
			Button: "Add certificate",
			Done:   len(authorities) > 0,
		},
		{
			Title: "Prove possession of the CA", Text: "Sign a verification code with the private key of the CA. Devices are refused until then.",
			URL: proof, Button: "Prove possession", Done: verified,
		},
		{
			Title:  "Create an enrollment group",
			Text:   "One rule for many devices: how they authenticate, which hub they get, and their initial twin.",
			URL:    groups.path + "/new",
			Button: "Add enrollment group",
			Done:   enrolled,
		},
		{
			Title:  "Register a device",
			Text:   "Configure the device with the endpoint and ID scope below. To try it without a device, run: mooring device register --help",
			URL:    "/registrations",
			Button: "Registration records",
			Done:   false,
		},
	}, nil
}
