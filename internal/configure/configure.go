// Package configure reads and changes a provisioning service as a whole: its tags,
// its allocation policy and its shared access policies.
package configure

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Store is what configuring asks of storage.
type Store interface {
	// Instance fails with InstanceNotFound.
	Instance(ctx context.Context, id dps.InstanceID) (dps.Instance, error)

	// Policies returns all, sorted by name.
	Policies(ctx context.Context, in dps.InstanceID) ([]dps.Policy, error)

	// Hubs returns the linked hubs, sorted by ID.
	Hubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error)

	// HubPolicies returns the policies of an embedded hub, sorted by name.
	HubPolicies(ctx context.Context, in dps.InstanceID, hub dps.HubID) ([]dps.HubPolicy, error)

	// Configure writes a change, with its policies, or nothing of it. It fails with
	// ConcurrentChange when the instance is not at the version IfMatch.
	Configure(ctx context.Context, c dps.InstanceChange) error
}

// Service configures. It is safe for concurrent use.
type Service struct{ store Store }

// New returns a Service over store.
func New(store Store) *Service { return &Service{store: store} }

// Resource is an instance with what is linked to it.
type Resource struct {
	Instance dps.Instance
	Hubs     []dps.HubLink
}

// Get returns an instance. It fails with InstanceNotFound.
func (s *Service) Get(ctx context.Context, id dps.InstanceID) (Resource, error) {
	in, err := s.store.Instance(ctx, id)
	if err != nil {
		return Resource{}, err
	}
	hubs, err := s.links(ctx, id)
	return Resource{Instance: in, Hubs: hubs}, err
}

func (s *Service) links(ctx context.Context, in dps.InstanceID) ([]dps.HubLink, error) {
	hubs, err := s.store.Hubs(ctx, in)
	if err != nil {
		return nil, err
	}
	links := make([]dps.HubLink, 0, len(hubs))
	for _, h := range hubs {
		policies, err := s.store.HubPolicies(ctx, in, h.ID)
		if err != nil {
			return nil, err
		}
		links = append(links, dps.HubLink{Hub: h, Policy: speaker(policies)})
	}
	return links, nil
}

// speaker returns the policy with every right, else the first.
func speaker(policies []dps.HubPolicy) dps.HubPolicy {
	for _, p := range policies {
		if p.Rights.Allow(dps.HubOwnerRights) {
			return p
		}
	}
	if len(policies) > 0 {
		return policies[0]
	}
	return dps.HubPolicy{}
}

// Policies returns the shared access policies with their keys, sorted by name.
func (s *Service) Policies(ctx context.Context, in dps.InstanceID) ([]dps.Policy, error) {
	return s.store.Policies(ctx, in)
}

// Policy returns one shared access policy with its keys; case does not distinguish
// names. It fails with PolicyNotFound.
func (s *Service) Policy(ctx context.Context, in dps.InstanceID, name string) (dps.Policy, error) {
	all, err := s.store.Policies(ctx, in)
	if err != nil {
		return dps.Policy{}, err
	}
	i := slices.IndexFunc(all, func(p dps.Policy) bool { return strings.EqualFold(p.Name, name) })
	if i < 0 {
		return dps.Policy{}, dps.Errorf(dps.PolicyNotFound, "There is no shared access policy %q.", name)
	}
	return all[i], nil
}

// maxAttempts bounds how often a change without a version of its own is made anew
// because another one came between.
const maxAttempts = 8

// Update changes an instance if it meets cond. All of a draft is written, or
// nothing; keys that are replaced no longer count when Update returns.
//
// It fails with InstanceNotFound, PreconditionFailed, Invalid, or, where cond
// demands no exact version, ConcurrentChange.
func (s *Service) Update(ctx context.Context, id dps.InstanceID, draft dps.InstanceDraft, cond dps.Condition) (Resource, error) {
	if err := check(draft); err != nil {
		return Resource{}, err
	}
	var err error
	for range maxAttempts {
		var r Resource
		if r, err = s.update(ctx, id, draft, cond); dps.CodeOf(err) != dps.ConcurrentChange {
			return r, err
		}
		if cond.Set && !cond.Any {
			return Resource{}, changed()
		}
	}
	return Resource{}, err
}

// changed is the answer to a condition that does not hold.
func changed() error {
	return dps.Errorf(dps.PreconditionFailed, "Precondition failed: the provisioning service is not at the version that If-Match, or the etag of the body, names.")
}

// check tests the rules of a draft that need no store.
func check(draft dps.InstanceDraft) error {
	switch draft.Allocation {
	case "", dps.Hashed, dps.GeoLatency, dps.Static:
	default:
		return dps.Invalidf("properties.allocationPolicy", "must be Hashed, GeoLatency or Static: a webhook belongs to an enrollment")
	}
	return dps.CheckTags(draft.Tags)
}

// update makes one attempt. The instance is read first: its version covers its
// policies, so that what is read of them later is not older.
func (s *Service) update(ctx context.Context, id dps.InstanceID, draft dps.InstanceDraft, cond dps.Condition) (Resource, error) {
	r, err := s.Get(ctx, id)
	if err != nil {
		return r, err
	}
	if !cond.Holds(r.Instance.ETag) {
		return r, changed()
	}
	if err := sameHubs(draft.Hubs, r.Hubs); err != nil {
		return r, err
	}
	change := dps.InstanceChange{IfMatch: r.Instance.ETag}
	if draft.Policies != nil {
		if change.Policies, err = s.policies(ctx, id, draft.Policies); err != nil {
			return r, err
		}
	}
	if draft.Tags != nil {
		r.Instance.Tags = maps.Clone(draft.Tags)
	}
	if draft.Allocation != "" {
		r.Instance.Allocation = draft.Allocation
	}
	r.Instance.ETag = dps.NewETag()
	change.Instance = r.Instance
	return r, s.store.Configure(ctx, change)
}

// sameHubs fails unless the drafts say what is linked; nil says nothing.
func sameHubs(drafts []dps.HubDraft, linked []dps.HubLink) error {
	if drafts == nil {
		return nil
	}
	if len(drafts) != len(linked) {
		return hubsStay("there are %d, not %d", len(linked), len(drafts))
	}
	seen := make(map[string]bool, len(drafts))
	for _, d := range drafts {
		i := slices.IndexFunc(linked, func(l dps.HubLink) bool { return l.Hub.HostName.Equal(d.HostName) })
		if i < 0 || seen[d.HostName.Key()] {
			return hubsStay("%q is not one of them, or is there twice", d.HostName)
		}
		seen[d.HostName.Key()] = true
		if !sameHub(d, linked[i]) {
			return hubsStay("the policy, the key, allocationWeight or applyAllocationPolicy of %s is another", d.HostName)
		}
	}
	return nil
}

func sameHub(d dps.HubDraft, l dps.HubLink) bool {
	sameKey := d.Key.IsZero() || bytes.Equal(d.Key.Reveal(), l.Policy.Keys.Primary.Reveal()) ||
		bytes.Equal(d.Key.Reveal(), l.Policy.Keys.Secondary.Reveal())
	return sameKey && (d.KeyName == "" || strings.EqualFold(d.KeyName, l.Policy.Name)) &&
		(d.Weight == nil || *d.Weight == l.Hub.Weight) && (d.ApplyPolicy == nil || *d.ApplyPolicy == l.Hub.ApplyPolicy)
}

func hubsStay(found string, args ...any) error {
	return dps.Invalidf("properties.iotHubs", "linked hubs cannot be changed in this version, and "+found+"; send them as they were read, or leave them out", args...)
}
