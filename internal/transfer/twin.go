package transfer

import (
	"encoding/json"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// twinColumns are three: tags and desired for people, and the whole twin for what
// these cannot say.
func twinColumns() []column {
	return []column{
		{
			"tags",
			func(e *wire.Enrollment) string { tags, _, _ := splitTwin(e.InitialTwin); return string(tags) },
			func(e *wire.EnrollmentRequest, cell string) error {
				raw, err := readRaw("tags", cell)
				if err != nil {
					return err
				}
				return addTwin(e, raw, nil)
			},
		},
		{
			"desired",
			func(e *wire.Enrollment) string { _, desired, _ := splitTwin(e.InitialTwin); return string(desired) },
			func(e *wire.EnrollmentRequest, cell string) error {
				raw, err := readRaw("desired", cell)
				if err != nil {
					return err
				}
				return addTwin(e, nil, raw)
			},
		},
		{
			"initialTwin",
			func(e *wire.Enrollment) string {
				if _, _, ok := splitTwin(e.InitialTwin); ok {
					return ""
				}
				return string(e.InitialTwin)
			},
			func(e *wire.EnrollmentRequest, cell string) error {
				if e.InitialTwin != nil {
					return errTwoTwins()
				}
				raw, err := readRaw("initialTwin", cell)
				e.InitialTwin = raw
				return err
			},
		},
	}
}

func errTwoTwins() error {
	return dps.Invalidf("initialTwin", "must be empty when tags or desired are not")
}

// addTwin adds a section to the twin of a record, which holds at most the other one.
func addTwin(e *wire.EnrollmentRequest, tags, desired json.RawMessage) error {
	if e.InitialTwin != nil {
		oldTags, oldDesired, ok := splitTwin(e.InitialTwin)
		if !ok || (tags != nil && oldTags != nil) || (desired != nil && oldDesired != nil) {
			return errTwoTwins()
		}
		if tags == nil {
			tags = oldTags
		}
		if desired == nil {
			desired = oldDesired
		}
	}
	e.InitialTwin = joinTwin(tags, desired)
	return nil
}

func joinTwin(tags, desired json.RawMessage) json.RawMessage {
	var out []byte
	if tags != nil {
		out = append(append(out, `,"tags":`...), tags...)
	}
	if desired != nil {
		out = append(append(append(out, `,"properties":{"desired":`...), desired...), '}')
	}
	if out == nil {
		return nil
	}
	out[0] = '{'
	return append(out, '}')
}

// splitTwin returns the sections of a twin; ok is false when they are not all of it,
// down to the last byte, and then there are none.
func splitTwin(twin json.RawMessage) (tags, desired json.RawMessage, ok bool) {
	if twin == nil {
		return nil, nil, true
	}
	var body struct {
		Tags       json.RawMessage `json:"tags"`
		Properties struct {
			Desired json.RawMessage `json:"desired"`
		} `json:"properties"`
	}
	if json.Unmarshal(twin, &body) != nil {
		return nil, nil, false
	}
	if string(joinTwin(body.Tags, body.Properties.Desired)) != string(twin) {
		return nil, nil, false
	}
	return body.Tags, body.Properties.Desired, true
}
