package mooringapi

import (
	"context"
	"net/http"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/wire"
)

// Portal is the sign-in of the portal.
type Portal interface {
	// Reset gives out a new one-time password and ends all sessions.
	Reset(ctx context.Context) (dps.Secret, error)
}

// portalAccount is how the audit names what a reset changes.
const portalAccount = "admin"

func (s *server) portalRoutes() []route.Route {
	if s.Portal == nil {
		return nil
	}
	entry := audit.Entry{Instance: s.Instance, Operation: audit.ResetPassword, Kind: audit.PortalAccount}
	audited := func(w http.ResponseWriter, r *http.Request, _ route.Params) error {
		p := route.Params{"account": portalAccount}
		return httpio.Audited(s.Audit, entry, "account", s.resetPortal)(w, r, p)
	}
	return []route.Route{{Method: "POST", Pattern: wire.ResetPortalPath, Handle: audited}}
}

// resetPortal answers with the new password, which stands nowhere else but in the
// information of a data directory. Whoever has the password has the control plane, and the
// keys of every policy with it: so a policy's right does not do, only a bearer token.
func (s *server) resetPortal(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	if err := s.Guard.Control(r, s.Instance); err != nil {
		return err
	}
	if _, err := parameters(r); err != nil {
		return err
	}
	password, err := s.Portal.Reset(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return httpio.WriteJSON(w, http.StatusOK, wire.PortalPassword{Password: string(password.Reveal())})
}
