package access

import (
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// Manage checks a request to the control plane: a bearer token, as Control takes it, or a
// SAS token of a policy that has all rights. The control plane shows the keys of every
// policy, so a policy with fewer rights would gain others through it. Azure's control plane
// takes bearer tokens only; the policies of its services do not reach it.
//
// It fails with InstanceNotFound, and with Unauthorized for every other refusal.
func (g *Guard) Manage(r *http.Request, id dps.InstanceID) error {
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); !strings.EqualFold(scheme, "SharedAccessSignature") {
		return g.Control(r, id)
	}
	if _, err := g.store.Instance(r.Context(), id); err != nil {
		return err
	}
	token, err := g.token(r, g.names)
	if err != nil {
		return err
	}
	policy, err := g.store.Policy(r.Context(), id, token.KeyName)
	if err != nil {
		return err
	}
	if err := g.signed(token, policy.Keys); err != nil {
		return err
	}
	if !policy.Rights.Allow(dps.OwnerRights) {
		return refused("policy " + policy.Name + " lacks a right: the control plane needs all of " + dps.OwnerRights.String())
	}
	audit.From(r.Context()).Allow(audit.ByPolicy(policy.Name))
	return nil
}
