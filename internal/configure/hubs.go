package configure

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Checker tries whether a hub over the wire can be used as it is linked.
type Checker interface {
	// Check fails with what is wrong, as a dps.Error whose message is for the operator.
	// It ends when ctx does.
	Check(ctx context.Context, hub dps.LinkedHub) error
}

// Bounds of linked hubs.
const (
	maxHubs     = 50 // Source: azure-docs, includes/iot-dps-limits.md, linked IoT hubs
	maxLocation = 64

	// checkTime bounds the checks of one change: somebody waits for the answer.
	checkTime = 20 * time.Second
)

const hubsField = "properties.iotHubs"

func hubMember(i int, name string) string { return hubsField + "[" + strconv.Itoa(i) + "]." + name }

// linking is what a draft makes of the linked hubs.
type linking struct {
	change dps.HubsChange
	links  []dps.HubLink // all that there are then, as the store would return them
	calls  []call        // hubs over the wire that are new, or called in another way
}

// call is a hub to be checked, and where the draft names it.
type call struct {
	index int
	hub   dps.LinkedHub
}

// linking returns what a draft makes of the linked hubs; without a list it leaves them.
func (s *Service) linking(ctx context.Context, in dps.InstanceID, draft dps.InstanceDraft, linked []dps.HubLink) (linking, error) {
	if draft.Hubs == nil {
		return linking{links: linked}, nil
	}
	if len(draft.Hubs) > maxHubs {
		return linking{}, dps.Invalidf(hubsField, "has %d hubs; the limit is %d", len(draft.Hubs), maxHubs)
	}
	var l linking
	named := make(map[string]bool, len(draft.Hubs))
	for i, d := range draft.Hubs {
		if named[d.HostName.Key()] {
			return l, dps.Invalidf(hubMember(i, "name"), "%s is listed twice", d.HostName)
		}
		named[d.HostName.Key()] = true
		if err := checkDraft(i, d); err != nil {
			return l, err
		}
		var err error
		if at := slices.IndexFunc(linked, func(h dps.HubLink) bool { return h.Hub.HostName.Equal(d.HostName) }); at >= 0 {
			err = l.keep(i, d, linked[at])
		} else {
			err = s.add(ctx, &l, i, in, d)
		}
		if err != nil {
			return l, err
		}
	}
	if err := l.drop(linked, named, draft.DeleteDevices); err != nil {
		return l, err
	}
	slices.SortFunc(l.links, func(a, b dps.HubLink) int { return strings.Compare(string(a.Hub.ID), string(b.Hub.ID)) })
	return l, nil
}

// checkDraft tests the rules of a hub that need no store.
func checkDraft(i int, d dps.HubDraft) error {
	if d.Weight != nil && (*d.Weight < dps.MinHubWeight || *d.Weight > dps.MaxHubWeight) {
		return dps.Invalidf(hubMember(i, "allocationWeight"), "must be %d to %d, not %d", dps.MinHubWeight, dps.MaxHubWeight, *d.Weight)
	}
	if utf8.RuneCountInString(d.Location) > maxLocation || strings.ContainsFunc(d.Location, unicode.IsControl) {
		return dps.Invalidf(hubMember(i, "location"), "must have at most %d characters, none of them a control character", maxLocation)
	}
	return nil
}

// keep takes over a hub that is linked already, with what the draft changes.
func (l *linking) keep(i int, d dps.HubDraft, old dps.HubLink) error {
	if d.Kind != "" && d.Kind != old.Hub.Kind {
		return dps.Invalidf(hubMember(i, "kind"), "%s is %s; to change that, unlink the hub first", old.Hub.HostName, old.Hub.Kind)
	}
	now := old
	settle(&now.Hub, d)
	changed := now.Hub != old.Hub
	var err error
	if old.Hub.Kind == dps.KindEmbedded {
		err = sameKeys(i, d, old.Policy)
	} else {
		var called bool
		if called, err = reach(i, d, &now); called {
			changed = true
			l.calls = append(l.calls, call{i, now.Hub})
		}
	}
	if changed {
		l.change.Update = append(l.change.Update, now.Hub)
	}
	l.links = append(l.links, now)
	return err
}

// settle sets what a draft says of any kind of hub.
func settle(hub *dps.LinkedHub, d dps.HubDraft) {
	if d.Location != "" {
		hub.Location = d.Location
		if strings.EqualFold(d.Location, dps.LocalLocation) {
			hub.Location = ""
		}
	}
	if d.Weight != nil {
		hub.Weight = *d.Weight
	}
	if d.ApplyPolicy != nil {
		hub.ApplyPolicy = *d.ApplyPolicy
	}
}

// sameKeys fails where a draft names a policy of an embedded hub that it does not have,
// or another key: those are the hub's own.
func sameKeys(i int, d dps.HubDraft, p dps.HubPolicy) error {
	sameKey := d.Key.IsZero() || sameKey(d.Key, p.Keys.Primary) || sameKey(d.Key, p.Keys.Secondary)
	if sameKey && (d.KeyName == "" || strings.EqualFold(d.KeyName, p.Name)) {
		return nil
	}
	return dps.Invalidf(
		hubMember(i, "connectionString"),
		"does not match the policy and key of the embedded hub %s; omit both, or send them unchanged",
		d.HostName,
	)
}

func sameKey(a, b dps.Secret) bool { return bytes.Equal(a.Reveal(), b.Reveal()) }

// reach sets how a hub over the wire is called, and reports whether that is new. The
// stored key stays with the endpoint and the policy that it was given for: whoever may
// change the hub, but does not have its key, must not have tokens of it sent to a host
// of their choice.
func reach(i int, d dps.HubDraft, link *dps.HubLink) (changed bool, err error) {
	old := *link.Hub.Access
	access := old
	if d.Endpoint != "" {
		access.Endpoint = d.Endpoint
	}
	switch {
	case !d.Key.IsZero():
		access.Key = d.Key
		if d.KeyName != "" {
			access.KeyName = d.KeyName
		}
	case !strings.EqualFold(access.Endpoint, old.Endpoint):
		return false, dps.Invalidf(
			hubMember(i, "connectionString"),
			"changes the endpoint to %s without a key; the stored key is for %s only",
			access.Endpoint,
			old.Endpoint,
		)
	case d.KeyName != "" && !strings.EqualFold(d.KeyName, old.KeyName):
		return false, dps.Invalidf(
			hubMember(i, "connectionString"),
			"names policy %s without its key; the stored key belongs to policy %s",
			d.KeyName,
			old.KeyName,
		)
	}
	link.Hub.Access = &access
	link.Policy = spokenFor(link.Hub)
	return access.Endpoint != old.Endpoint || access.KeyName != old.KeyName || !sameKey(access.Key, old.Key), nil
}

// spokenFor returns the policy by which a hub over the wire is called.
func spokenFor(hub dps.LinkedHub) dps.HubPolicy {
	return dps.HubPolicy{Instance: hub.Instance, Hub: hub.ID, Name: hub.Access.KeyName, Keys: dps.KeyPair{Primary: hub.Access.Key}}
}

// add links a hub. One that was linked before gets its ID back: records of devices name it.
func (s *Service) add(ctx context.Context, l *linking, i int, in dps.InstanceID, d dps.HubDraft) error {
	if !dps.IsHostName(string(d.HostName)) {
		return dps.Invalidf(hubMember(i, "connectionString"), "HostName must be a host name, with or without a port")
	}
	if d.Kind == "" {
		d.Kind = dps.KindIoTHub
	}
	id, err := s.formerID(ctx, in, d)
	if err != nil {
		return err
	}
	var link dps.HubLink
	if d.Kind == dps.KindEmbedded {
		link, err = newEmbedded(i, in, id, d)
		l.change.Policies = append(append(l.change.Policies, link.Policy), dps.StandardHubPolicies(link.Hub)[1:]...) // the first is the owner's
	} else {
		link, err = newIoTHub(i, in, id, d)
		l.calls = append(l.calls, call{i, link.Hub})
	}
	l.change.Link = append(l.change.Link, link.Hub)
	l.links = append(l.links, link)
	return err
}

func (s *Service) formerID(ctx context.Context, in dps.InstanceID, d dps.HubDraft) (dps.HubID, error) {
	former, err := s.store.FormerHubs(ctx, in)
	if err != nil {
		return "", err
	}
	// The last one: of two with one name it is the later.
	for _, f := range slices.Backward(former) {
		if f.Kind == d.Kind && f.HostName.Equal(d.HostName) {
			return f.ID, nil
		}
	}
	return dps.NewHubID(), nil
}

func newEmbedded(i int, in dps.InstanceID, id dps.HubID, d dps.HubDraft) (dps.HubLink, error) {
	if d.KeyName != "" || !d.Key.IsZero() || d.Endpoint != string(d.HostName) {
		return dps.HubLink{}, dps.Invalidf(
			hubMember(i, "connectionString"),
			"must be only HostName=NAME for a new embedded hub: its keys are generated, and it uses the port of this service",
		)
	}
	hub, policy := dps.NewEmbeddedHub(in, id, d.HostName)
	settle(&hub, d)
	return dps.HubLink{Hub: hub, Policy: policy}, nil
}

func newIoTHub(i int, in dps.InstanceID, id dps.HubID, d dps.HubDraft) (dps.HubLink, error) {
	const field = "connectionString"
	switch {
	case d.Endpoint == "":
		return dps.HubLink{}, dps.Invalidf(hubMember(i, field), "is required: %s is not linked yet", d.HostName)
	case d.KeyName == "":
		return dps.HubLink{}, dps.Invalidf(hubMember(i, field), "lacks SharedAccessKeyName")
	case d.Key.IsZero():
		return dps.HubLink{}, dps.Invalidf(
			hubMember(i, field),
			"lacks SharedAccessKey: %s is not linked yet, so no key is stored",
			d.HostName,
		)
	case d.Location == "":
		return dps.HubLink{}, dps.Invalidf(hubMember(i, "location"), "is required for a new hub; use %q if it has no region", dps.LocalLocation)
	}
	hub := dps.LinkedHub{
		Instance: in, ID: id, Kind: dps.KindIoTHub, HostName: d.HostName, Weight: dps.MinHubWeight, ApplyPolicy: true,
		Access: &dps.HubAccess{Endpoint: d.Endpoint, KeyName: d.KeyName, Key: d.Key},
	}
	settle(&hub, d)
	return dps.HubLink{Hub: hub, Policy: spokenFor(hub)}, nil
}

// drop unlinks what a draft leaves out. withDevices are the embedded hubs among them
// whose devices may go; no other hub may be one.
func (l *linking) drop(linked []dps.HubLink, named map[string]bool, withDevices []dps.HostName) error {
	confirmed := make(map[string]bool, len(withDevices))
	for _, name := range withDevices {
		confirmed[name.Key()] = true
	}
	for _, h := range linked {
		key := h.Hub.HostName.Key()
		if named[key] {
			continue
		}
		u := dps.HubUnlink{Hub: h.Hub, DeleteDevices: confirmed[key] && h.Hub.Kind == dps.KindEmbedded}
		if u.DeleteDevices {
			delete(confirmed, key)
		}
		l.change.Unlink = append(l.change.Unlink, u)
	}
	for _, name := range withDevices {
		if confirmed[name.Key()] {
			return dps.Invalidf("deleteDevices", "%s is not an embedded hub that this change unlinks", name)
		}
	}
	return nil
}

// try calls the hubs of a linking, all at once, and fails with the first that cannot be
// used.
func (s *Service) try(ctx context.Context, calls []call) error {
	if s.checker == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	errs := make([]error, len(calls))
	var all sync.WaitGroup
	for i, c := range calls {
		all.Go(func() { errs[i] = s.checker.Check(ctx, c.hub) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return unusable(calls[i], err)
		}
	}
	return nil
}

// unusable says which hub cannot be linked, and why. What the check itself could not
// classify goes only to the log.
func unusable(c call, err error) error {
	field := hubMember(c.index, "connectionString")
	if words := dps.MessageOf(err); words != "" {
		return dps.Errorf(dps.Invalid, "%s: %s", field, words) // they name the hub
	}
	return dps.Wrap(dps.Invalid, err, fmt.Sprintf("%s: checking hub %s failed; see the log", field, c.hub.HostName))
}
