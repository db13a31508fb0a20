package configure_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/dps"
)

// memory is a store of one instance. before runs ahead of each write, as another
// writer would.
type memory struct {
	instance dps.Instance
	policies []dps.Policy
	hubs     []dps.LinkedHub
	former   []dps.FormerHub
	keys     dps.KeyPair // of the policy of every embedded hub
	changes  []dps.HubsChange
	before   func(*memory)
	fails    error
	writes   int
}

func newMemory() *memory {
	return &memory{
		instance: dps.NewInstance(dps.DefaultInstance, time.Unix(0, 0)),
		policies: []dps.Policy{{Instance: dps.DefaultInstance, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()}},
	}
}

func (m *memory) Instance(_ context.Context, id dps.InstanceID) (dps.Instance, error) {
	if id != m.instance.ID {
		return dps.Instance{}, dps.Errorf(dps.InstanceNotFound, "no such instance")
	}
	return m.instance, m.fails
}

func (m *memory) Policies(context.Context, dps.InstanceID) ([]dps.Policy, error) {
	return append([]dps.Policy(nil), m.policies...), m.fails
}

func (m *memory) Hubs(context.Context, dps.InstanceID) ([]dps.LinkedHub, error) {
	return m.hubs, m.fails
}

func (m *memory) HubPolicies(_ context.Context, in dps.InstanceID, hub dps.HubID) ([]dps.HubPolicy, error) {
	return []dps.HubPolicy{{Instance: in, Hub: hub, Name: dps.HubOwnerPolicy, Rights: dps.HubOwnerRights, Keys: m.keys}}, m.fails
}

func (m *memory) FormerHubs(context.Context, dps.InstanceID) ([]dps.FormerHub, error) {
	return m.former, m.fails
}

func (m *memory) Configure(_ context.Context, c dps.InstanceChange) error {
	if m.before != nil {
		m.before(m)
	}
	if c.IfMatch != m.instance.ETag {
		return dps.Errorf(dps.ConcurrentChange, "changed")
	}
	m.writes++
	m.instance = c.Instance
	if c.Policies != nil {
		m.policies = c.Policies
	}
	m.changes = append(m.changes, c.Hubs)
	return nil
}

func wantCode(t *testing.T, what string, err error, want dps.Code) {
	t.Helper()
	if err == nil || dps.CodeOf(err) != want {
		t.Errorf("%s: error = %v, want code %v", what, err, want)
	}
}

// TestUpdateMeetsAnother lets another writer regenerate a key between reading and
// writing: the change that follows must not bring the old one back.
func TestUpdateMeetsAnother(t *testing.T) {
	fresh := dps.NewKeyPair()
	another := func(m *memory) {
		m.before = nil
		m.instance.ETag = dps.NewETag()
		m.policies[0].Keys = fresh
	}
	draft := dps.InstanceDraft{Policies: []dps.Policy{{Name: dps.OwnerPolicy}, {Name: "new", Rights: dps.EnrollmentRead}}}

	m := newMemory()
	m.before = another
	first := m.instance.ETag
	r, err := configure.New(configure.Options{Store: m}).Update(t.Context(), dps.DefaultInstance, draft, dps.Condition{})
	if err != nil || len(m.policies) != 2 || m.policies[0].Keys.Primary.Base64() != fresh.Primary.Base64() {
		t.Errorf("policies = %v, %v", m.policies, err)
	}
	if r.Instance.ETag != m.instance.ETag || r.Instance.ETag == first {
		t.Errorf("etag %s is not the stored one, %s", r.Instance.ETag, m.instance.ETag)
	}

	m = newMemory()
	m.before = another
	_, err = configure.New(configure.Options{Store: m}).Update(t.Context(), dps.DefaultInstance, draft, dps.Match(m.instance.ETag))
	wantCode(t, "an exact version", err, dps.PreconditionFailed)
	if m.writes != 0 || len(m.policies) != 1 {
		t.Errorf("%d writes, policies %v", m.writes, m.policies)
	}

	m = newMemory()
	m.before = func(m *memory) { m.instance.ETag = dps.NewETag() }
	_, err = configure.New(configure.Options{Store: m}).Update(t.Context(), dps.DefaultInstance, draft, dps.Condition{Set: true, Any: true})
	wantCode(t, "others without end", err, dps.ConcurrentChange)
}

func TestUpdateRefuses(t *testing.T) {
	weight := 0
	tests := []struct {
		name  string
		draft dps.InstanceDraft
		cond  dps.Condition
		want  dps.Code
	}{
		{name: "stale", cond: dps.Match("stale"), want: dps.PreconditionFailed},
		{name: "policy of the service API", draft: dps.InstanceDraft{Allocation: dps.Custom}, want: dps.Invalid},
		{name: "tags", draft: dps.InstanceDraft{Tags: map[string]string{"": ""}}, want: dps.Invalid},
		{name: "hub", draft: dps.InstanceDraft{Hubs: []dps.HubDraft{{HostName: "hub", Weight: &weight}}}, want: dps.Invalid},
		{name: "no policies", draft: dps.InstanceDraft{Policies: []dps.Policy{}}, want: dps.Invalid},
	}
	for _, tt := range tests {
		m := newMemory()
		m.hubs = []dps.LinkedHub{{ID: "hub", HostName: "hub", Weight: 1}}
		_, err := configure.New(configure.Options{Store: m}).Update(t.Context(), dps.DefaultInstance, tt.draft, tt.cond)
		wantCode(t, tt.name, err, tt.want)
		if m.writes != 0 {
			t.Errorf("%s: written", tt.name)
		}
	}
}

func TestMissingAndFailing(t *testing.T) {
	m := newMemory()
	s := configure.New(configure.Options{Store: m})
	_, err := s.Get(t.Context(), "ghost")
	wantCode(t, "Get", err, dps.InstanceNotFound)
	_, err = s.Update(t.Context(), "ghost", dps.InstanceDraft{}, dps.Condition{})
	wantCode(t, "Update", err, dps.InstanceNotFound)
	_, err = s.Policy(t.Context(), dps.DefaultInstance, "ghost")
	wantCode(t, "Policy", err, dps.PolicyNotFound)
	if p, err := s.Policy(t.Context(), dps.DefaultInstance, "PROVISIONINGSERVICEOWNER"); err != nil || p.Name != dps.OwnerPolicy {
		t.Errorf("Policy = %+v, %v", p, err)
	}

	m.fails = errors.New("out of order")
	if _, err := s.Policy(t.Context(), dps.DefaultInstance, dps.OwnerPolicy); !errors.Is(err, m.fails) {
		t.Errorf("Policy: %v", err)
	}
	if _, err := s.Update(t.Context(), dps.DefaultInstance, dps.InstanceDraft{}, dps.Condition{}); !errors.Is(err, m.fails) {
		t.Errorf("Update: %v", err)
	}
}
