package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

var configureCases = []testCase{
	{"a change is read back everywhere", func(t *testing.T, w *world) {
		in := w.instance(t, here)
		read[dps.Instance](t)(w.InstanceByScope(t.Context(), in.Scope)) // it may be remembered from now on
		changed := in
		changed.Allocation, changed.Tags, changed.ETag = dps.Static, map[string]string{"site": "hall 3", "ü\"": ""}, dps.NewETag()
		must(t, w.Configure(t.Context(), dps.InstanceChange{Instance: changed, IfMatch: in.ETag}))
		same(t, "by ID", w.instance(t, here), changed)
		same(t, "by scope", read[dps.Instance](t)(w.InstanceByScope(t.Context(), in.Scope)), changed)
		if other := w.instance(t, there); other.Allocation != dps.Hashed || len(other.Tags) != 0 {
			t.Errorf("the other instance = %+v", other)
		}

		again := changed
		again.Tags, again.ETag = nil, dps.NewETag()
		must(t, w.Configure(t.Context(), dps.InstanceChange{Instance: again, IfMatch: changed.ETag}))
		same(t, "without tags", w.instance(t, here), again)
	}},
	{"what makes an instance stays", func(t *testing.T, w *world) {
		in := w.instance(t, here)
		changed := in
		changed.Scope, changed.TokenKey, changed.Created, changed.ETag = "0neFFFFFFFF0", dps.NewKey(), start.Add(1), dps.NewETag()
		must(t, w.Configure(t.Context(), dps.InstanceChange{Instance: changed, IfMatch: in.ETag}))
		in.ETag = changed.ETag
		same(t, "instance", w.instance(t, here), in)
	}},
	{"policies are left, or replaced as a whole", func(t *testing.T, w *world) {
		owner := read[dps.Policy](t)(w.Policy(t.Context(), here, dps.OwnerPolicy))
		others := read[[]dps.Policy](t)(w.Policies(t.Context(), there))
		w.reconfigure(t, nil)
		same(t, "left", read[[]dps.Policy](t)(w.Policies(t.Context(), here)), []dps.Policy{owner})

		changed := owner
		changed.Keys, changed.Rights = dps.NewKeyPair(), dps.ServiceConfig
		added := dps.Policy{Instance: here, Name: "Alpha", Rights: dps.EnrollmentRead, Keys: dps.NewKeyPair()}
		w.reconfigure(t, []dps.Policy{changed, added})
		same(t, "replaced", read[[]dps.Policy](t)(w.Policies(t.Context(), here)), []dps.Policy{added, changed})
		same(t, "one of them", read[dps.Policy](t)(w.Policy(t.Context(), here, "ALPHA")), added)

		w.reconfigure(t, []dps.Policy{added})
		_, err := w.Policy(t.Context(), here, dps.OwnerPolicy)
		fails(t, "removed", err, dps.Unauthorized)
		same(t, "of the other instance", read[[]dps.Policy](t)(w.Policies(t.Context(), there)), others)
	}},
	{"a change against another version does nothing", func(t *testing.T, w *world) {
		in, policies := w.instance(t, here), read[[]dps.Policy](t)(w.Policies(t.Context(), here))
		changed := in
		changed.Tags, changed.ETag = map[string]string{"a": "b"}, dps.NewETag()
		for _, version := range []dps.ETag{"", "stale", w.instance(t, there).ETag} {
			err := w.Configure(t.Context(), dps.InstanceChange{Instance: changed, IfMatch: version, Policies: []dps.Policy{}})
			fails(t, "version "+string(version), err, dps.ConcurrentChange)
		}
		ghost := changed
		ghost.ID = "ghost"
		fails(t, "no instance", w.Configure(t.Context(), dps.InstanceChange{Instance: ghost, IfMatch: in.ETag}), dps.ConcurrentChange)
		same(t, "instance", w.instance(t, here), in)
		same(t, "policies", read[[]dps.Policy](t)(w.Policies(t.Context(), here)), policies)
	}},
	{"a change is whole or not at all", func(t *testing.T, w *world) {
		in, policies := w.instance(t, here), read[[]dps.Policy](t)(w.Policies(t.Context(), here))
		twin := dps.Policy{Instance: here, Name: "twin", Rights: dps.ServiceConfig, Keys: dps.NewKeyPair()}
		changed := in
		changed.Allocation, changed.ETag = dps.Static, dps.NewETag()
		change := dps.InstanceChange{Instance: changed, IfMatch: in.ETag, Policies: []dps.Policy{twin, twin}}
		if err := w.Configure(t.Context(), change); err == nil {
			t.Error("stored two policies of one name")
		}
		same(t, "instance", w.instance(t, here), in)
		same(t, "policies", read[[]dps.Policy](t)(w.Policies(t.Context(), here)), policies)
	}},
	{"one writer of an instance wins", func(t *testing.T, w *world) {
		first := w.instance(t, here)
		race(t, func(ctx context.Context, next, ifMatch dps.ETag) error {
			in := first
			in.ETag, in.Tags = next, map[string]string{"version": string(next)}
			if ifMatch == "" { // race begins with no record, an instance is there from the first on
				ifMatch = first.ETag
			}
			p := dps.Policy{Instance: here, Name: string(next[:8]), Rights: dps.ServiceConfig, Keys: dps.NewKeyPair()}
			return w.Configure(ctx, dps.InstanceChange{Instance: in, IfMatch: ifMatch, Policies: []dps.Policy{p}})
		})
		last, policies := w.instance(t, here), read[[]dps.Policy](t)(w.Policies(t.Context(), here))
		if want := string(last.ETag[:8]); len(policies) != 1 || policies[0].Name != want || last.Tags["version"] != string(last.ETag) {
			t.Errorf("%s and %s belong to different changes", fmt.Sprint(policies), last.ETag)
		}
	}},
}

// instance returns a stored one that has to be there.
func (w *world) instance(t *testing.T, id dps.InstanceID) dps.Instance {
	t.Helper()
	return read[dps.Instance](t)(w.Instance(t.Context(), id))
}

// reconfigure replaces the policies of here, nil leaves them.
func (w *world) reconfigure(t *testing.T, policies []dps.Policy) {
	t.Helper()
	in := w.instance(t, here)
	change := dps.InstanceChange{Instance: in, IfMatch: in.ETag, Policies: policies}
	change.Instance.ETag = dps.NewETag()
	must(t, w.Configure(t.Context(), change))
}
