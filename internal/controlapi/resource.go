package controlapi

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// resourceRoutes are the operations on provisioning services and their policies.
func (s *server) resourceRoutes() []route.Route {
	return []route.Route{
		{Method: "GET", Pattern: "/providers/Microsoft.Devices/operations", Handle: s.on(s.operations)},
		{
			Method:  "POST",
			Pattern: subscription + "/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability",
			Handle:  s.on(s.checkName),
		},
		{Method: "GET", Pattern: subscription + services, Handle: s.on(s.listServices)},
		{Method: "GET", Pattern: resourceGroup + services, Handle: s.on(s.listServices)},
		{Method: "GET", Pattern: service, Handle: s.on(s.getService)},
		{Method: "PUT", Pattern: service, Handle: s.onAbsent(s.putService, s.createService)},
		{Method: "PATCH", Pattern: service, Handle: s.on(s.patchService)},
		{Method: "DELETE", Pattern: service, Handle: s.onAbsent(s.deleteService, s.deleteAbsent)},
		{Method: "GET", Pattern: service + "/skus", Handle: s.on(s.skus)},
		{Method: "POST", Pattern: service + "/listkeys", Handle: s.on(s.listKeys)},
		{Method: "POST", Pattern: service + "/keys/{key}/listkeys", Handle: s.on(s.listKey)},
		{Method: "GET", Pattern: service + "/operationresults/{operation}", Handle: s.on(s.operationResult)},
		{Method: "GET", Pattern: service + "/privateLinkResources", Handle: s.on(s.privateLinks)},
		{Method: "GET", Pattern: service + "/privateLinkResources/{link}", Handle: s.on(s.noPrivateLink)},
		{Method: "GET", Pattern: service + "/privateEndpointConnections", Handle: s.on(s.privateEndpoints)},
		{Method: "GET", Pattern: service + "/privateEndpointConnections/{endpoint}", Handle: s.on(s.noPrivateEndpoint)},
		{Method: "PUT", Pattern: service + "/privateEndpointConnections/{endpoint}", Handle: s.on(s.refusePrivateEndpoint)},
		{Method: "DELETE", Pattern: service + "/privateEndpointConnections/{endpoint}", Handle: s.on(s.noPrivateEndpoint)},
	}
}

// privateLinks lists the private links: there are none.
func (s *server) privateLinks(w http.ResponseWriter, _ *http.Request, _ target) error {
	return httpio.WriteJSON(w, http.StatusOK, wire.List[struct{}]{Value: []struct{}{}})
}

// privateEndpoints lists the private endpoints: there are none. The list is a bare array.
// Source: azure-rest-api-specs, iotdps.json, IotDpsResource_ListPrivateEndpointConnections.
func (s *server) privateEndpoints(w http.ResponseWriter, _ *http.Request, _ target) error {
	return httpio.WriteJSON(w, http.StatusOK, []struct{}{})
}

func (s *server) noPrivateLink(http.ResponseWriter, *http.Request, target) error {
	return dps.Errorf(dps.RouteNotFound, "This service has no private links.")
}

// noPrivateEndpoint refuses DELETE too: the SDK for Node.js expects a body from any success.
func (s *server) noPrivateEndpoint(http.ResponseWriter, *http.Request, target) error {
	return dps.Errorf(dps.RouteNotFound, "This service has no private endpoint connections.")
}

func (s *server) refusePrivateEndpoint(http.ResponseWriter, *http.Request, target) error {
	return dps.Invalidf("privateEndpointConnections", "is not supported; restrict access with the addresses of the listeners and a firewall")
}

func (s *server) place(in dps.InstanceID) translate.Place {
	return translate.Place{ResourceID: ResourceID(in), SubscriptionID: Subscription, ResourceGroup: ResourceGroup, Endpoint: s.Endpoint}
}

func (s *server) answerResource(w http.ResponseWriter, r configure.Resource) error {
	return httpio.WriteJSON(w, http.StatusOK, translate.ProvisioningService(r.Instance, r.Hubs, s.place(r.Instance.ID)))
}

func (s *server) getService(w http.ResponseWriter, r *http.Request, t target) error {
	resource, err := s.Configure.Get(r.Context(), t.in)
	if err != nil {
		return err
	}
	return s.answerResource(w, resource)
}

// listServices lists the services that the caller's token is valid for: its own.
func (s *server) listServices(w http.ResponseWriter, r *http.Request, t target) error {
	resource, err := s.Configure.Get(r.Context(), t.in)
	if err != nil {
		return err
	}
	body := translate.ProvisioningService(resource.Instance, resource.Hubs, s.place(t.in))
	return httpio.WriteJSON(w, http.StatusOK, wire.List[wire.ProvisioningService]{Value: []wire.ProvisioningService{body}})
}

func (s *server) putService(w http.ResponseWriter, r *http.Request, t target) error {
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	draft, etag, err := translate.InstanceDraft(text)
	if err != nil {
		return err
	}
	if draft.SkipCheck, err = skipsCheck(r); err != nil {
		return err
	}
	if draft.DeleteDevices, err = deletesDevices(r, draft); err != nil {
		return err
	}
	err = s.update(w, r, t, draft, etag)
	if dps.CodeOf(err) == dps.Conflict {
		const remedy = "%s To delete the devices too, name the hub in the header %s."
		return dps.Errorf(dps.Conflict, remedy, dps.MessageOf(err), wire.HeaderDeleteDevices)
	}
	return err
}

// skipsCheck reads whether hubs are to be linked without being called.
func skipsCheck(r *http.Request) (bool, error) {
	switch text := r.Header.Get(wire.HeaderSkipCheck); {
	case text == "", strings.EqualFold(text, "false"):
		return false, nil
	case strings.EqualFold(text, "true"):
		return true, nil
	default:
		return false, dps.Invalidf(wire.HeaderSkipCheck, "must be true or false")
	}
}

// deletesDevices reads which embedded hubs may be unlinked with their devices.
func deletesDevices(r *http.Request, draft dps.InstanceDraft) ([]dps.HostName, error) {
	text := strings.Join(r.Header.Values(wire.HeaderDeleteDevices), ",")
	if text == "" {
		return nil, nil
	}
	if draft.Hubs == nil {
		return nil, dps.Invalidf(wire.HeaderDeleteDevices, "requires properties.iotHubs: no hub is unlinked without it")
	}
	var hubs []dps.HostName
	for name := range strings.SplitSeq(text, ",") {
		hubs = append(hubs, dps.HostName(strings.TrimSpace(name)))
	}
	return hubs, nil
}

func (s *server) patchService(w http.ResponseWriter, r *http.Request, t target) error {
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	draft, err := translate.TagsDraft(text)
	if err != nil {
		return err
	}
	return s.update(w, r, t, draft, "")
}

// update writes a draft. Without If-Match the etag of the body counts.
func (s *server) update(w http.ResponseWriter, r *http.Request, t target, draft dps.InstanceDraft, etag string) error {
	if header := r.Header.Get("If-Match"); header != "" {
		etag = header
	}
	cond, err := dps.ParseCondition(etag)
	if err != nil {
		return err
	}
	resource, err := s.Configure.Update(r.Context(), t.in, draft, cond)
	if err != nil {
		return err
	}
	return s.answerResource(w, resource)
}

// onlyOne says why there is no second service.
func (s *server) onlyOne() string {
	return "this server has one provisioning service, " + string(s.Instance) +
		", and cannot create more; start another server for another service"
}

func (s *server) createService(http.ResponseWriter, *http.Request, target) error {
	return dps.Invalidf("name", "%s", s.onlyOne())
}

func (s *server) deleteService(http.ResponseWriter, *http.Request, target) error {
	return dps.Errorf(
		dps.Conflict,
		"The only provisioning service of a server cannot be deleted; stop the server and remove its data directory.",
	)
}

// deleteAbsent answers as Azure's clients need it: they take 404 for a failure.
func (s *server) deleteAbsent(w http.ResponseWriter, _ *http.Request, _ target) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) skus(w http.ResponseWriter, _ *http.Request, _ target) error {
	return httpio.WriteJSON(w, http.StatusOK, wire.List[wire.SKU]{Value: []wire.SKU{{Name: "S1"}}})
}

func (s *server) listKeys(w http.ResponseWriter, r *http.Request, t target) error {
	policies, err := s.Configure.Policies(r.Context(), t.in)
	if err != nil {
		return err
	}
	out := wire.List[wire.SharedAccessPolicy]{Value: []wire.SharedAccessPolicy{}}
	for _, p := range policies {
		out.Value = append(out.Value, translate.SharedAccessPolicy(p))
	}
	return httpio.WriteJSON(w, http.StatusOK, out)
}

func (s *server) listKey(w http.ResponseWriter, r *http.Request, t target) error {
	p, err := s.Configure.Policy(r.Context(), t.in, t.key)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, translate.SharedAccessPolicy(p))
}

// operationResult knows no operation: each one is complete when it is answered, and no
// answer ever names one.
func (s *server) operationResult(http.ResponseWriter, *http.Request, target) error {
	return dps.Errorf(dps.OperationNotFound, "There is no such operation; every operation is complete when it is answered.")
}

// namePattern is the rule for names of provisioning services.
// Source: azure-docs, articles/azure-resource-manager/management/resource-name-rules.md.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9-]{2,63}[A-Za-z0-9]$`)

// checkName never promises a name that a PUT would refuse.
func (s *server) checkName(w http.ResponseWriter, r *http.Request, _ target) error {
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	var req wire.NameRequest
	if err := translate.Decode(text, &req); err != nil {
		return err
	}
	out := wire.NameAvailability{Reason: "Invalid", Message: "Not available: " + s.onlyOne() + "."}
	switch {
	case req.Name == "":
		return dps.Invalidf("name", "is required")
	case strings.EqualFold(req.Name, string(s.Instance)):
		out.Reason, out.Message = "AlreadyExists", "The provisioning service "+string(s.Instance)+" exists."
	case !namePattern.MatchString(req.Name):
		out.Message = "A name must have 3 to 64 letters, digits or hyphens, and end with a letter or a digit."
	}
	return httpio.WriteJSON(w, http.StatusOK, out)
}

// operations lists what can be done, for clients that show it to people.
func (s *server) operations(w http.ResponseWriter, _ *http.Request, _ target) error {
	out := wire.List[wire.ARMOperation]{}
	for _, op := range []struct{ name, resource, text string }{
		{"read", "Provisioning service", "Read a provisioning service"},
		{"write", "Provisioning service", "Change a provisioning service"},
		{"listkeys/action", "Shared access policies", "Read the keys of all policies"},
		{"keys/listkeys/action", "Shared access policies", "Read the keys of one policy"},
		{"skus/read", "Provisioning service", "Read the sizes of a provisioning service"},
		{"certificates/read", "CA certificates", "Read CA certificates"},
		{"certificates/write", "CA certificates", "Upload a CA certificate"},
		{"certificates/delete", "CA certificates", "Delete a CA certificate"},
		{"certificates/generateVerificationCode/action", "CA certificates", "Start a proof of possession"},
		{"certificates/verify/action", "CA certificates", "End a proof of possession"},
	} {
		out.Value = append(out.Value, wire.ARMOperation{
			Name:    wire.ResourceType + "/" + op.name,
			Display: wire.ARMOperationDisplay{Provider: "Mooring", Resource: op.resource, Operation: op.text},
		})
	}
	return httpio.WriteJSON(w, http.StatusOK, out)
}
