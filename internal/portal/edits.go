package portal

import (
	"net/url"
	"slices"
	"strings"
)

// edits is what somebody changed in a form: the fields that the form showed and that came
// back with another value. A form starts from the stored object and writes these fields
// only, so that it never touches what it does not show.
type edits struct {
	shown url.Values // what an untouched form sends
	sent  url.Values // what came
}

// shownField names the fields that a form shows, where nothing chosen sends nothing:
// checkboxes.
const shownField = "shown"

// changed reports whether a field was changed. A list of values is compared as a set,
// without regard to case.
func (e edits) changed(name string) bool {
	if len(e.sent[name]) == 0 && !slices.Contains(e.sent[shownField], name) {
		return false // the form did not show it
	}
	was, is := normal(e.shown[name]), normal(e.sent[name])
	if len(is) <= 1 && len(was) <= 1 {
		return strings.Join(was, "") != strings.Join(is, "")
	}
	return !sameSet(was, is)
}

// renamed is changed for a name whose case does not count.
func (e edits) renamed(name string) bool {
	return e.changed(name) && !strings.EqualFold(e.shown.Get(name), strings.TrimSpace(e.sent.Get(name)))
}

// changedAny reports whether one of some fields was changed.
func (e edits) changedAny(names ...string) bool { return slices.ContainsFunc(names, e.changed) }

// normal returns values as a browser would give them back: line ends are LF, and white
// space around them does not count.
func normal(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.TrimSpace(strings.ReplaceAll(v, "\r\n", "\n"))
	}
	return out
}

func sameSet(a, b []string) bool {
	within := func(a, b []string) bool {
		return !slices.ContainsFunc(a, func(v string) bool { return index(b, v) < 0 })
	}
	return within(a, b) && within(b, a)
}

// reordered returns the values of sent in the order of stored, new ones last: those that
// stay keep their place and their spelling.
func reordered(stored, sent []string) []string {
	var out []string
	for _, v := range stored {
		if index(sent, v) >= 0 {
			out = append(out, v)
		}
	}
	for _, v := range sent {
		if index(out, v) < 0 {
			out = append(out, v)
		}
	}
	return out
}

// checked is what a checkbox sends.
func checked(on bool) []string {
	if on {
		return []string{"1"}
	}
	return nil
}
