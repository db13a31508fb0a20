// Package access decides who may call the APIs for operators: whoever signs with a
// key of a policy that has the right, or brings a token that the instance signed.
//
// A caller that is refused learns nothing about why: every refusal is Unauthorized.
// The cause is for the log.
package access

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// Store keeps the policies. An unknown name is an error with code Unauthorized.
type Store interface {
	Instance(ctx context.Context, id dps.InstanceID) (dps.Instance, error)
	Policy(ctx context.Context, in dps.InstanceID, name string) (dps.Policy, error)
	HubPolicy(ctx context.Context, in dps.InstanceID, hub dps.HubID, name string) (dps.HubPolicy, error)
}

// Options are what a Guard needs; all are required.
type Options struct {
	Store Store
	Names []string // the service's own host names, without ports
	Now   func() time.Time
}

// Guard checks callers. It is safe for concurrent use.
type Guard struct {
	store Store
	names []string
	now   func() time.Time
}

// New returns a Guard.
func New(o Options) *Guard {
	return &Guard{store: o.Store, names: o.Names, now: o.Now}
}

// Service lets a request pass that carries a SAS token of a policy with the right
// want, and notes whose change it is, if it is one. A bearer token of the instance, which
// can read the keys of every policy, has all rights. It fails with Unauthorized.
func (g *Guard) Service(r *http.Request, in dps.InstanceID, want dps.Rights) error {
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		err := g.Control(r, in)
		if dps.CodeOf(err) == dps.Unauthorized {
			return dps.Wrap(dps.Unauthorized, err, "Unauthorized") // one answer to every bad token
		}
		return err
	}
	token, err := g.token(r, g.names)
	if err != nil {
		return err
	}
	policy, err := g.store.Policy(r.Context(), in, token.KeyName)
	if err != nil {
		return err
	}
	if err := g.signed(token, policy.Keys); err != nil {
		return err
	}
	if !policy.Rights.Allow(want) {
		return refused("policy " + policy.Name + " lacks the right " + want.String())
	}
	audit.From(r.Context()).Allow(audit.ByPolicy(policy.Name))
	return nil
}

// Hub lets a request pass that carries a SAS token of a policy of an embedded hub
// with the right want. The token is for the hub's host name; a hub that bears the
// service's own is known by all of them. It fails with Unauthorized.
func (g *Guard) Hub(r *http.Request, hub dps.LinkedHub, want dps.HubRights) error {
	token, err := g.token(r, g.namesOf(hub))
	if err != nil {
		return err
	}
	policy, err := g.store.HubPolicy(r.Context(), hub.Instance, hub.ID, token.KeyName)
	if err != nil {
		return err
	}
	if err := g.signed(token, policy.Keys); err != nil {
		return err
	}
	if !policy.Rights.Allow(want) {
		return refused("hub policy " + policy.Name + " lacks the right")
	}
	return nil
}

func (g *Guard) namesOf(hub dps.LinkedHub) []string {
	for _, name := range g.names {
		if hub.HostName.Equal(dps.HostName(name)) {
			return g.names
		}
	}
	return []string{string(hub.HostName)}
}

// token reads the SAS token of a request and checks what needs no key: that it is
// for one of names and this path.
func (g *Guard) token(r *http.Request, names []string) (sas.Token, error) {
	token, err := sas.Parse(r.Header.Get("Authorization"))
	if err != nil {
		return token, dps.Wrap(dps.Unauthorized, err, "Unauthorized")
	}
	for _, name := range names {
		// A client may have escaped the path before it escaped the resource, or not.
		if sas.Covers(token.Resource, hostPath(name, r.URL.EscapedPath())) || sas.Covers(token.Resource, hostPath(name, r.URL.Path)) {
			return token, nil
		}
	}
	return token, refused("the token is for another host or path")
}

func hostPath(name, path string) string {
	if strings.Contains(name, ":") { // IPv6
		name = "[" + name + "]"
	}
	return name + path
}

func (g *Guard) signed(token sas.Token, keys dps.KeyPair) error {
	if !token.Verify(keys.Primary.Reveal(), keys.Secondary.Reveal()) {
		return refused("no key of the policy signed the token")
	}
	if token.Expired(g.now()) {
		return refused("the token expired at " + token.Expiry.UTC().Format(time.RFC3339))
	}
	return nil
}

// refused is a refusal with a cause for the log.
func refused(cause string) error {
	return dps.Wrap(dps.Unauthorized, errors.New(cause), "Unauthorized")
}

// Names returns what a service that is called hostnames answers to: a service on
// this machine also by the loopback addresses.
func Names(hostnames []string) []string {
	names := append([]string(nil), hostnames...)
	for _, h := range hostnames {
		if h == "localhost" {
			names = append(names, net.IPv4(127, 0, 0, 1).String(), net.IPv6loopback.String())
		}
	}
	return names
}
