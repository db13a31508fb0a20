package configure

import (
	"context"
	"slices"
	"strconv"

	"github.com/mooring-iot/mooring/internal/dps"
)

// maxPolicies bounds the shared access policies of an instance.
const maxPolicies = 100

// policies returns what the drafts make of the stored policies.
func (s *Service) policies(ctx context.Context, in dps.InstanceID, drafts []dps.Policy) ([]dps.Policy, error) {
	if len(drafts) > maxPolicies {
		return nil, dps.Invalidf(policiesField, "has %d policies; the limit is %d", len(drafts), maxPolicies)
	}
	stored, err := s.store.Policies(ctx, in)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(drafts))
	all := make([]dps.Policy, 0, len(drafts))
	for i, d := range drafts {
		if seen[d.Key()] {
			return nil, dps.Invalidf(member(i, "keyName"), "%s is listed twice", d.Name)
		}
		seen[d.Key()] = true
		d.Instance = in
		at := slices.IndexFunc(stored, func(p dps.Policy) bool { return p.Key() == d.Key() })
		if at >= 0 {
			d = onto(d, stored[at])
		} else {
			d.Keys = d.Keys.Fill(dps.KeyPair{})
		}
		if d.Rights == 0 {
			return nil, dps.Invalidf(member(i, "rights"), "is required for a new policy")
		}
		all = append(all, d)
	}
	return all, someoneConfigures(all)
}

const policiesField = "properties.authorizationPolicies"

func member(i int, name string) string { return policiesField + "[" + strconv.Itoa(i) + "]." + name }

// onto returns the draft of a stored policy with what it leaves out, and under the
// first spelling of its name.
func onto(draft, stored dps.Policy) dps.Policy {
	draft.Name = stored.Name
	draft.Keys = draft.Keys.Fill(stored.Keys)
	if draft.Rights == 0 {
		draft.Rights = stored.Rights
	}
	return draft
}

// someoneConfigures fails unless one policy keeps the right to change the service.
func someoneConfigures(all []dps.Policy) error {
	if slices.ContainsFunc(all, func(p dps.Policy) bool { return p.Rights.Allow(dps.ServiceConfig) }) {
		return nil
	}
	return dps.Invalidf(policiesField, "at least one policy must keep the right ServiceConfig")
}
