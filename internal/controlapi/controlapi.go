// Package controlapi is the ARM-shaped HTTPS API for operators: the CA certificates
// of an instance and their proof of possession.
// Source: azure-rest-api-specs, specification/deviceprovisioningservices/resource-manager.
package controlapi

import (
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// maxBody bounds a request, in bytes.
const maxBody = 1 << 20

// Where instances stand in the control plane: there is one subscription and one
// resource group.
const (
	Subscription  = "00000000-0000-0000-0000-000000000000"
	ResourceGroup = "mooring"
)

// ResourceID returns the ID of an instance in the control plane.
func ResourceID(in dps.InstanceID) string {
	return "/subscriptions/" + Subscription + "/resourceGroups/" + ResourceGroup + "/providers/" + wire.ResourceType + "/" + string(in)
}

// Options are what the API needs; all are required.
type Options struct {
	Guard  *access.Guard
	Enroll *enroll.Service
	Log    *slog.Logger
}

// server answers the operations.
type server struct{ Options }

// New returns the handler of the API.
func New(o Options) http.Handler {
	s := &server{o}
	const base = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices/provisioningServices/{service}/certificates"
	return &httpio.API{
		Routes: route.NewTable(
			route.Route{Method: "GET", Pattern: base, Handle: s.on(s.list)},
			route.Route{Method: "GET", Pattern: base + "/{name}", Handle: s.on(s.get)},
			route.Route{Method: "PUT", Pattern: base + "/{name}", Handle: s.on(s.put)},
			route.Route{Method: "DELETE", Pattern: base + "/{name}", Handle: s.on(s.remove)},
			route.Route{Method: "POST", Pattern: base + "/{name}/generateVerificationCode", Handle: s.on(s.generateCode)},
			route.Route{Method: "POST", Pattern: base + "/{name}/verify", Handle: s.on(s.verify)},
		),
		Refuse: s.refuse, Log: o.Log,
	}
}

// Prefixes are the first path segments of the API.
func Prefixes() []string { return []string{"subscriptions", "providers"} }

// target is what an authorized request is about.
type target struct {
	in   dps.InstanceID
	name dps.CAName // "" for the list
}

// operation answers an authorized request.
type operation func(w http.ResponseWriter, r *http.Request, t target) error

// on returns the handler of an operation: it checks who calls before anything else.
func (s *server) on(op operation) route.Handler {
	return func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		if !strings.EqualFold(p["subscription"], Subscription) || !strings.EqualFold(p["group"], ResourceGroup) {
			return dps.Errorf(dps.InstanceNotFound, "There is no provisioning service at this resource ID; `mooring info` prints the right one.")
		}
		t := target{in: dps.InstanceID(strings.ToLower(p["service"]))}
		if err := s.Guard.Control(r, t.in); err != nil {
			return err
		}
		if err := checkVersion(r); err != nil {
			return err
		}
		if text, named := p["name"]; named {
			var err error
			if t.name, err = dps.ParseCAName(text); err != nil {
				return err
			}
		}
		return op(w, r, t)
	}
}

var versionPattern = regexp.MustCompile(`^20\d\d-\d\d-\d\d(-preview)?$`)

// checkVersion takes any date: the shapes of all versions are understood.
func checkVersion(r *http.Request) error {
	if !versionPattern.MatchString(r.URL.Query().Get("api-version")) {
		return dps.Invalidf("api-version", "must be in the query, as a date like %s", wire.ARMVersion)
	}
	return nil
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
