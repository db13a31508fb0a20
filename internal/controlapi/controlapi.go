// Package controlapi is the ARM-shaped HTTPS API for operators: provisioning
// services, their shared access policies, and their CA certificates with the proof
// of possession. Every operation is complete when it is answered.
// Source: azure-rest-api-specs, specification/deviceprovisioningservices/resource-manager.
package controlapi

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// maxBody bounds a request, in bytes.
const maxBody = 1 << 20

// Where instances are in the control plane: there is one subscription and one
// resource group.
const (
	Subscription  = "00000000-0000-0000-0000-000000000000"
	ResourceGroup = "mooring"
)

// ResourceID returns the ID of an instance in the control plane.
func ResourceID(in dps.InstanceID) string {
	return "/subscriptions/" + Subscription + "/resourceGroups/" + ResourceGroup + "/providers/" + wire.ResourceType + "/" + string(in)
}

// Options are what the API needs; all but Audit are required.
type Options struct {
	Guard     *access.Guard
	Enroll    *enroll.Service
	Configure *configure.Service
	Instance  dps.InstanceID // whose tokens speak for the subscription
	Endpoint  string         // where service and devices are found: host name, with the port unless it is 443
	Log       *slog.Logger
	Audit     *audit.Log // nil records no changes
}

// server answers the operations.
type server struct{ Options }

// Patterns of paths.
const (
	subscription  = "/subscriptions/{subscription}"
	resourceGroup = subscription + "/resourceGroups/{group}"
	services      = "/providers/Microsoft.Devices/provisioningServices"
	service       = resourceGroup + services + "/{service}"
	certificates  = service + "/certificates"
)

// New returns the handler of the API.
func New(o Options) http.Handler {
	s := &server{o}
	routes := append(s.resourceRoutes(), s.certificateRoutes()...)
	for i, r := range routes {
		routes[i].Handle = s.records(r)
	}
	return &httpio.API{Routes: route.NewTable(routes...), Refuse: s.refuse, Log: o.Log}
}

// changes are the routes whose changes are recorded. The others only read.
var changes = map[string]struct {
	operation audit.Operation
	kind      audit.Kind
	param     string // names the record in the path
}{
	"PUT " + service:                                            {audit.Put, audit.ProvisioningService, "service"},
	"PATCH " + service:                                          {audit.Patch, audit.ProvisioningService, "service"},
	"DELETE " + service:                                         {audit.Delete, audit.ProvisioningService, "service"},
	"PUT " + certificates + "/{name}":                           {audit.Put, audit.Certificate, "name"},
	"DELETE " + certificates + "/{name}":                        {audit.Delete, audit.Certificate, "name"},
	"POST " + certificates + "/{name}/generateVerificationCode": {audit.GenerateCode, audit.Certificate, "name"},
	"POST " + certificates + "/{name}/verify":                   {audit.Verify, audit.Certificate, "name"},
}

// records returns the handler of a route, whose changes are recorded.
func (s *server) records(r route.Route) route.Handler {
	c, isChange := changes[r.Method+" "+r.Pattern]
	if !isChange {
		return r.Handle
	}
	return httpio.Audited(s.Audit, audit.Entry{Instance: s.Instance, Operation: c.operation, Kind: c.kind}, c.param, r.Handle)
}

func (s *server) certificateRoutes() []route.Route {
	return []route.Route{
		{Method: "GET", Pattern: certificates, Handle: s.on(s.list)},
		{Method: "GET", Pattern: certificates + "/{name}", Handle: s.on(s.get)},
		{Method: "PUT", Pattern: certificates + "/{name}", Handle: s.on(s.put)},
		{Method: "DELETE", Pattern: certificates + "/{name}", Handle: s.on(s.remove)},
		{Method: "POST", Pattern: certificates + "/{name}/generateVerificationCode", Handle: s.on(s.generateCode)},
		{Method: "POST", Pattern: certificates + "/{name}/verify", Handle: s.on(s.verify)},
	}
}

// Prefixes are the first path segments of the API.
func Prefixes() []string { return []string{"subscriptions", "providers"} }

// target is what an authorized request is about.
type target struct {
	in   dps.InstanceID // the path's; that of the tokens where the path names none
	name dps.CAName     // "" where the path names no CA certificate
	key  string         // "" where the path names no policy
}

// operation answers an authorized request.
type operation func(w http.ResponseWriter, r *http.Request, t target) error

// on returns the handler of an operation on what must exist: it authorizes the
// caller first.
func (s *server) on(op operation) route.Handler {
	return s.onAbsent(op, func(_ http.ResponseWriter, _ *http.Request, t target) error {
		return dps.Errorf(dps.InstanceNotFound, "There is no provisioning service %q.", t.in)
	})
}

// onAbsent is on with another answer for a service that does not exist.
func (s *server) onAbsent(op, absent operation) route.Handler {
	return func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		t, err := s.target(p)
		if err != nil {
			return err
		}
		do := op
		err = s.Guard.Manage(r, t.in)
		if dps.CodeOf(err) == dps.InstanceNotFound {
			do, err = absent, s.Guard.Manage(r, s.Instance)
		}
		if err != nil {
			return err
		}
		if err := checkVersion(r); err != nil {
			return err
		}
		if text, named := p["name"]; named {
			if t.name, err = dps.ParseCAName(text); err != nil {
				return err
			}
		}
		return do(w, r, t)
	}
}

// target reads what a path is about.
func (s *server) target(p route.Params) (target, error) {
	for name, want := range map[string]string{"subscription": Subscription, "group": ResourceGroup} {
		if got, named := p[name]; named && !strings.EqualFold(got, want) {
			return target{}, dps.Errorf(
				dps.InstanceNotFound,
				"There is no provisioning service at this resource ID; `mooring info` prints the correct one.",
			)
		}
	}
	t := target{in: s.Instance, key: p["key"]}
	if text, named := p["service"]; named {
		t.in = dps.InstanceID(strings.ToLower(text))
	}
	return t, nil
}

// checkVersion accepts any date: the bodies of all versions are understood.
func checkVersion(r *http.Request) error {
	return dps.CheckAPIVersion("api-version", r.URL.Query().Get("api-version"))
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, body := translate.ARMError(err)
	w.Header().Set(wire.HeaderRequestID, httpio.TrackingID(r.Context()))
	w.Header().Set(wire.HeaderErrorCode, body.Error.Code)
	if after := translate.RetryAfter(err); after > 0 {
		w.Header().Set("Retry-After", httpio.Seconds(after))
	}
	_ = httpio.WriteJSON(w, status, body)
}

func (s *server) list(w http.ResponseWriter, r *http.Request, t target) error {
	all, err := s.Enroll.CACertificates(r.Context(), t.in)
	if err != nil {
		return err
	}
	out := wire.CACertificateList{Value: []wire.CACertificate{}}
	for _, c := range all {
		body, err := translate.CACertificate(c, ResourceID(t.in), false)
		if err != nil {
			return err
		}
		out.Value = append(out.Value, body)
	}
	return httpio.WriteJSON(w, http.StatusOK, out)
}

func (s *server) get(w http.ResponseWriter, r *http.Request, t target) error {
	c, err := s.Enroll.CACertificate(r.Context(), t.in, t.name)
	if err != nil {
		return err
	}
	httpio.Warn(w, s.Enroll.CAWarnings(c)...)
	return answer(w, t, c, false)
}

func answer(w http.ResponseWriter, t target, c dps.CACertificate, withCode bool) error {
	body, err := translate.CACertificate(c, ResourceID(t.in), withCode)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, body)
}

func (s *server) put(w http.ResponseWriter, r *http.Request, t target) error {
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	var req wire.CACertificateUpload
	if err := translate.Decode(text, &req); err != nil {
		return err
	}
	content, field := req.CACertificateContent, "certificate"
	if req.Properties != nil {
		content, field = *req.Properties, "properties.certificate"
	}
	up := enroll.Upload{Name: t.name, Verified: content.IsVerified}
	if content.Certificate != "" {
		cert, err := dps.ParseCertificate(field, content.Certificate)
		if err != nil {
			return err
		}
		up.Certificate = &cert
	}
	cond, err := dps.ParseCondition(r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	c, err := s.Enroll.PutCACertificate(r.Context(), t.in, up, cond)
	if err != nil {
		return err
	}
	httpio.Warn(w, s.Enroll.CAWarnings(c)...)
	return answer(w, t, c, false)
}

// required reads an If-Match that must be there.
func required(r *http.Request) (dps.Condition, error) {
	cond, err := dps.ParseCondition(r.Header.Get("If-Match"))
	if err == nil && !cond.Set {
		err = dps.Invalidf("If-Match", "is required: the etag of the certificate, or *")
	}
	return cond, err
}

func (s *server) remove(w http.ResponseWriter, r *http.Request, t target) error {
	cond, err := required(r)
	if err != nil {
		return err
	}
	if err := s.Enroll.DeleteCACertificate(r.Context(), t.in, t.name, cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *server) generateCode(w http.ResponseWriter, r *http.Request, t target) error {
	cond, err := required(r)
	if err != nil {
		return err
	}
	c, err := s.Enroll.GenerateCode(r.Context(), t.in, t.name, cond)
	if err != nil {
		return err
	}
	return answer(w, t, c, true)
}

func (s *server) verify(w http.ResponseWriter, r *http.Request, t target) error {
	cond, err := required(r)
	if err != nil {
		return err
	}
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	var req wire.VerificationRequest
	if err := translate.Decode(text, &req); err != nil {
		return err
	}
	if req.Certificate == "" {
		return dps.Invalidf("certificate", "is required")
	}
	proof, err := dps.ParseCertificate("certificate", req.Certificate)
	if err != nil {
		return err
	}
	c, err := s.Enroll.Verify(r.Context(), t.in, t.name, proof, cond)
	if err != nil {
		return err
	}
	return answer(w, t, c, false)
}
