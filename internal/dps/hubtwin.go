package dps

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"time"
)

// Twin is the content of a twin: what services and device wrote, without the members
// that hubs add.
type Twin struct {
	Tags     json.RawMessage // an object, or nil
	Desired  json.RawMessage // an object, or nil
	Reported json.RawMessage // an object, or nil: one that was moved brings it
}

// Empty reports whether the twin holds nothing.
func (t Twin) Empty() bool { return t.Tags == nil && t.Desired == nil && t.Reported == nil }

// newSectionVersion is the version of a section that nobody has changed.
const newSectionVersion = 1

// maxReportedSize bounds reported properties.
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-device-twins.md, "Device twin size".
const maxReportedSize = 32 << 10

// Stamp says when a section of a twin was last changed, and at which version of it,
// part by part.
type Stamp struct {
	At      time.Time
	Version int64
	Parts   map[string]Stamp // the members that differ; all others are as old as the whole
}

// Part returns the stamp of a member.
func (s Stamp) Part(name string) Stamp {
	if p, ok := s.Parts[name]; ok {
		return p
	}
	return Stamp{At: s.At, Version: s.Version}
}

// is reports whether all that s stamps has the time and version of t.
func (s Stamp) is(t Stamp) bool {
	return s.At.Equal(t.At) && s.Version == t.Version && len(s.Parts) == 0
}

// TwinChange is what a client writes into a twin: a section that is nil, null or an
// empty patch stays as it is.
type TwinChange struct {
	Tags, Desired, Reported json.RawMessage // objects; null inside removes a member
	Replace                 bool            // the sections come in the place of the old ones; else they are merged
}

// NewTwin returns the twin that starts with what a client wrote. It fails with Invalid.
func NewTwin(c TwinChange) (Twin, error) {
	var t Twin
	var err error
	if t.Tags, err = twinSection(tagsField, c.Tags, maxTagsSize); err != nil {
		return Twin{}, err
	}
	if t.Desired, err = twinSection(desiredField, c.Desired, maxDesiredSize); err != nil {
		return Twin{}, err
	}
	t.Reported, err = twinSection(reportedField, c.Reported, maxReportedSize)
	return t, err
}

// The sections, as errors call them.
const (
	tagsField     = "tags"
	desiredField  = "properties.desired"
	reportedField = "properties.reported"
)

// TwinETag is the version of the twin as clients compare it: a counter of 64 bits that
// begins at 1.
func (d HubDevice) TwinETag() ETag {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(d.TwinVersion-1, 0))) //nolint:gosec // not negative
	return ETag(base64.StdEncoding.EncodeToString(b[:]))
}

// WithTwin returns d with a change of its twin; changed is false where the change holds
// nothing. The identity keeps its version. It fails with Invalid.
func (d HubDevice) WithTwin(c TwinChange, now time.Time) (_ HubDevice, changed bool, err error) {
	tags, err := editSection(section{field: tagsField, limit: maxTagsSize, data: d.Twin.Tags}, c.Tags, c.Replace, now)
	if err != nil {
		return d, false, err
	}
	desired, err := editSection(
		section{field: desiredField, limit: maxDesiredSize, data: d.Twin.Desired, stamp: d.DesiredStamp},
		c.Desired,
		c.Replace,
		now,
	)
	if err != nil {
		return d, false, err
	}
	reported, err := editSection(
		section{field: reportedField, limit: maxReportedSize, data: d.Twin.Reported, stamp: d.ReportedStamp},
		c.Reported,
		c.Replace,
		now,
	)
	if err != nil {
		return d, false, err
	}
	if !tags.changed && !desired.changed && !reported.changed {
		return d, false, nil
	}
	d.Twin = Twin{Tags: tags.data, Desired: desired.data, Reported: reported.data}
	d.DesiredStamp, d.ReportedStamp = desired.stamp, reported.stamp
	d.TwinVersion++
	return d, true, nil
}

// section is one of the three parts of a twin.
type section struct {
	field   string
	limit   int
	data    json.RawMessage
	stamp   Stamp
	changed bool
}

// editSection returns s with what a client wrote. Patch and result both keep the rules:
// a patch may remove a member, but not under a name that none can have.
func editSection(s section, written json.RawMessage, replace bool, now time.Time) (section, error) {
	if isNull(written) {
		return s, nil
	}
	patch, _, err := sectionObject(s.field, written)
	if err != nil {
		return s, err
	}
	if len(patch) == 0 && !replace {
		return s, nil
	}
	target := map[string]any{}
	if !replace && s.data != nil {
		if target, _, err = sectionObject(s.field, s.data); err != nil {
			return s, err
		}
	}
	to := Stamp{At: now, Version: s.stamp.Version + 1}
	if replace {
		s.stamp = to
	}
	s.stamp, s.changed = merge(target, patch, s.stamp, to), true
	size, err := objectSize(s.field, target, 1)
	if err != nil {
		return s, err
	}
	if size > s.limit {
		return s, tooLargeSection(s.field, size, s.limit)
	}
	s.data, err = json.Marshal(target)
	return s, err
}

// merge applies a patch to target: a member of the patch replaces that of target, null
// removes it, and an object is merged into what stands there. It returns the stamp of
// target: what the patch names has the stamp to, and so has everything above it.
// Source: RFC 7396, section 2.
func merge(target, patch map[string]any, was, to Stamp) Stamp {
	parts := make(map[string]Stamp)
	for name := range target {
		parts[name] = was.Part(name)
	}
	for name, value := range patch {
		switch v := value.(type) {
		case nil:
			delete(target, name)
			delete(parts, name)
		case map[string]any:
			child, ok := target[name].(map[string]any)
			if !ok {
				child = make(map[string]any)
			}
			target[name] = child
			parts[name] = merge(child, v, parts[name], to)
		default:
			target[name], parts[name] = v, to
		}
	}
	for name, p := range parts {
		if p.is(to) {
			delete(parts, name)
		}
	}
	to.Parts = parts
	if len(parts) == 0 {
		to.Parts = nil
	}
	return to
}
