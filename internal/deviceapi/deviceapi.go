// Package deviceapi is the HTTPS API for devices: register, poll, look up.
// Source: azure-rest-api-specs, specification/deviceprovisioningservices/data-plane, device.
package deviceapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// maxBody bounds a request, in bytes.
// Source: azure-docs, includes/iot-dps-limits.md, "Message size".
const maxBody = 96 << 10

// Options are what the API needs; all are required.
type Options struct {
	Register *register.Service
	Log      *slog.Logger
	Now      func() time.Time
}

// server answers the operations.
type server struct{ Options }

// New returns the handler of the API.
func New(o Options) http.Handler {
	s := &server{o}
	const path = "/{scope}/registrations/{id}"
	return &httpio.API{
		Routes: route.NewTable(
			route.Route{Method: "PUT", Pattern: path + "/register", Handle: s.register},
			route.Route{Method: "GET", Pattern: path + "/operations/{operation}", Handle: s.poll},
			route.Route{Method: "POST", Pattern: path, Handle: s.lookUp},
		),
		Refuse: s.refuse, Log: o.Log,
		// Registration logs a device that it refuses, with all checks.
		Logged: dps.IsRefusal,
	}
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, body := translate.Error(err, httpio.TrackingID(r.Context()), s.Now())
	if isUpgrade(r) && dps.CodeOf(err) == dps.RouteNotFound {
		err = dps.Because(dps.ReasonWebSocketRefused, err)
	}
	if req, ok := caller(r); ok {
		s.Register.Failed(req, err, fmt.Sprintf("status %d: %s", status, body.Message))
	}
	w.Header().Set(wire.HeaderRequestID, body.TrackingID)
	httpio.RefusalHeaders(w, body.ErrorCode, translate.RetryAfter(err))
	_ = httpio.WriteJSON(w, status, body)
}

// request reads who calls from path and connection, never from the body.
func request(r *http.Request, p route.Params) (register.Request, error) {
	version := r.URL.Query().Get("api-version")
	if err := dps.CheckAPIVersion("api-version", version); err != nil {
		return register.Request{}, dps.Because(dps.ReasonAPIVersion, err)
	}
	id, err := dps.ParseRegistrationID(p["id"])
	if err != nil {
		return register.Request{}, dps.Because(dps.ReasonRegistrationIDMalformed, err)
	}
	req := connection(r)
	req.Scope, req.ID, req.APIVersion = dps.IDScope(p["scope"]), id, version
	return req, nil
}

// connection is what the connection and the headers say of a call.
func connection(r *http.Request) register.Request {
	req := register.Request{
		Evidence:  register.Evidence{Token: r.Header.Get("Authorization")},
		Transport: dps.HTTPS, TrackingID: httpio.TrackingID(r.Context()), Remote: r.RemoteAddr,
	}
	if r.TLS != nil {
		req.Evidence.Chain = r.TLS.PeerCertificates
	}
	return req
}

// isUpgrade reports whether a call asks for a WebSocket, which no path here has.
func isUpgrade(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

// caller returns who made a call that may have any path. ok is false for calls that no
// device makes: they show no evidence, and their path has nothing of a registration's.
func caller(r *http.Request) (req register.Request, ok bool) {
	req = connection(r)
	segments := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	i := slices.IndexFunc(segments, func(s string) bool { return strings.EqualFold(s, "registrations") })
	if i >= 0 && i+1 < len(segments) {
		if text, err := url.PathUnescape(segments[i+1]); err == nil {
			req.ID, _ = dps.ParseRegistrationID(text)
		}
	}
	if isUpgrade(r) {
		req.Transport = dps.MQTTWebSocket
	}
	return req, i >= 0 || isUpgrade(r) || req.Evidence.Token != "" || len(req.Evidence.Chain) > 0
}

// readPayload checks the body of a request, which may be empty, and returns the payload
// in it.
func readPayload(w http.ResponseWriter, r *http.Request, id dps.RegistrationID) (json.RawMessage, error) {
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	return translate.DevicePayload(text, id)
}

func (s *server) register(w http.ResponseWriter, r *http.Request, p route.Params) error {
	req, err := request(r, p)
	if err != nil {
		return err
	}
	if req.Payload, err = readPayload(w, r, req.ID); err != nil {
		return err
	}
	ticket, err := s.Register.Register(durable(r), req)
	if err != nil {
		return err
	}
	s.accepted(w, req, ticket.RetryAfter)
	w.Header().Set("Location", "https://"+r.Host+r.URL.EscapedPath())
	return httpio.WriteJSON(w, http.StatusAccepted, translate.Accepted(ticket.Operation))
}

// durable returns a context that does not end when the device hangs up: what was
// begun for it is finished, and found by its next call.
func durable(r *http.Request) context.Context { return context.WithoutCancel(r.Context()) }

// accepted sets the headers of an answer that asks the device to poll again.
func (s *server) accepted(w http.ResponseWriter, req register.Request, after time.Duration) {
	w.Header().Set("Retry-After", httpio.Seconds(after))
	w.Header().Set(wire.HeaderRequestID, req.TrackingID)
}

func (s *server) poll(w http.ResponseWriter, r *http.Request, p route.Params) error {
	req, err := request(r, p)
	if err != nil {
		return err
	}
	if _, err := httpio.ReadBody(w, r, maxBody); err != nil { // some send {}, one all of its registration
		return err
	}
	op := dps.OperationID(p["operation"])
	rec, err := s.Register.Poll(r.Context(), req, op)
	if err != nil {
		return err
	}
	status := http.StatusOK
	w.Header().Set(wire.HeaderRequestID, req.TrackingID)
	if rec.Status == dps.Assigning {
		s.accepted(w, req, rec.RetryAfter)
		status = http.StatusAccepted
	}
	return httpio.WriteJSON(w, status, translate.Operation(op, rec.Registration, rec.Hub, req.APIVersion))
}

func (s *server) lookUp(w http.ResponseWriter, r *http.Request, p route.Params) error {
	req, err := request(r, p)
	if err != nil {
		return err
	}
	if _, err := readPayload(w, r, req.ID); err != nil {
		return err
	}
	rec, err := s.Register.LookUp(r.Context(), req)
	if err != nil {
		return err
	}
	w.Header().Set(wire.HeaderRequestID, req.TrackingID)
	return httpio.WriteJSON(w, http.StatusOK, translate.DeviceState(rec.Registration, rec.Hub, req.APIVersion))
}
