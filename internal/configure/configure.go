// Package configure reads and changes a provisioning service as a whole: its tags,
// its allocation policy, its shared access policies and its linked hubs.
package configure

import (
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

	// FormerHubs returns the hubs that are no longer linked, sorted by ID.
	FormerHubs(ctx context.Context, in dps.InstanceID) ([]dps.FormerHub, error)

	// Configure writes a change, with its policies and hubs, or nothing of it. It fails
	// with ConcurrentChange when the instance is not at the version IfMatch, and with
	// Conflict where an embedded hub that is to be unlinked holds devices.
	Configure(ctx context.Context, c dps.InstanceChange) error
}

// Options are what a Service needs; only Store is required.
type Options struct {
	Store   Store
	Checker Checker // calls hubs before they are linked; nil links them untested

	// Linked is called after each change of the linked hubs, with a context that ends
	// with the call that made it; nil is not called.
	Linked func(ctx context.Context, in dps.InstanceID)
}

// Service configures. It is safe for concurrent use.
type Service struct {
	store   Store
	checker Checker
	linked  func(ctx context.Context, in dps.InstanceID)
}

// New returns a Service.
func New(o Options) *Service { return &Service{store: o.Store, checker: o.Checker, linked: o.Linked} }

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
		if h.Access != nil {
			links = append(links, dps.HubLink{Hub: h, Policy: spokenFor(h)})
			continue
		}
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

// maxAttempts bounds how often a change without an exact If-Match is retried
// after a concurrent change.
const maxAttempts = 8

// Update changes an instance if it meets cond. All of a draft is written, or
// nothing; keys that are replaced no longer count when Update returns.
//
// Hubs over the wire are called before they are linked, and when they are to be called
// in another way. It fails with InstanceNotFound, PreconditionFailed, Invalid, Conflict
// where an embedded hub that is to be unlinked holds devices, or, where cond demands no
// exact version, ConcurrentChange.
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
	return dps.Errorf(
		dps.PreconditionFailed,
		"Precondition failed: the provisioning service is not at the version named by If-Match or by the etag in the body.",
	)
}

// check tests the rules of a draft that need no store.
func check(draft dps.InstanceDraft) error {
	switch draft.Allocation {
	case "", dps.Hashed, dps.GeoLatency, dps.Static:
	default:
		return dps.Invalidf("properties.allocationPolicy", "must be Hashed, GeoLatency or Static; Custom is for enrollments")
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
	l, err := s.linking(ctx, id, draft, r.Hubs)
	if err != nil {
		return r, err
	}
	if !draft.SkipCheck {
		if err := s.try(ctx, l.calls); err != nil {
			return r, err
		}
	}
	r.Hubs = l.links
	change := dps.InstanceChange{IfMatch: r.Instance.ETag, Hubs: l.change}
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
	if err := s.store.Configure(ctx, change); err != nil {
		return r, err
	}
	if s.linked != nil && !change.Hubs.Empty() {
		s.linked(ctx, id)
	}
	return r, nil
}
