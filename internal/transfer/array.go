package transfer

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/mooring-iot/mooring/internal/plaintext"
	"github.com/mooring-iot/mooring/wire"
)

// recognize decides by the first record whether a file of JSON has a record on each line
// or is one array. It returns how many bytes of data belong to no record; more says that
// data does not tell yet.
func (r *Reader) recognize(data []byte, atEOF bool) (n int, more bool) {
	const markSize = 3
	if r.offset == 0 && len(data) < markSize && !atEOF {
		return 0, true
	}
	text := data
	if r.offset == 0 {
		text = plaintext.TrimMark(data)
	}
	rest := bytes.TrimLeft(text, " \t\r")
	switch {
	case len(rest) == 0:
		return 0, !atEOF
	case rest[0] == '\n' || text[0] == '#': // passed over as a line
		return 0, false
	}
	r.shape.known = true
	if rest[0] != '[' {
		return 0, false
	}
	r.shape.array = true
	n = len(data) - len(rest) + 1
	r.advance(data[:n])
	return n, false
}

// element is split where records are the elements of an array.
func (r *Reader) element(data []byte, atEOF bool) (int, []byte, error) {
	before := 0
	if r.long == nil {
		before = r.between(data)
		data = data[before:]
		if len(data) == 0 {
			return before, nil, nil
		}
		if r.shape.closed {
			r.shape.over = true // said once
			n, _, err := r.record(before, data, len(data), "the array has ended; remove what is behind its ]")
			r.next.Text = nil
			return n, []byte{}, err
		}
		r.value = value{}
	}
	kept := r.value
	n, done := r.value.feed(data)
	switch {
	case r.long != nil:
		return r.skipped(data[:n], done || atEOF)
	case n > wire.MaxImportLine:
		r.long = &Record{Line: r.line, Offset: r.offset}
		n, token, err := r.skipped(data[:n], done || atEOF)
		return before + n, token, err
	case !done && atEOF:
		return r.record(before, data, len(data), "the array ends in the middle of a record")
	case !done:
		r.value = kept
		return before, nil, nil // more is needed
	default:
		return r.record(before, data, n, "")
	}
}

// between passes over what stands between elements and returns how many bytes that is.
func (r *Reader) between(data []byte) int {
	n := 0
	for n < len(data) && !r.shape.closed && strings.IndexByte(" \t\r\n,]", data[n]) >= 0 {
		r.shape.closed = data[n] == ']'
		n++
	}
	switch {
	case r.shape.over:
		n = len(data)
	case r.shape.closed:
		n = len(data) - len(bytes.TrimLeft(data[n:], " \t\r\n"))
	}
	r.advance(data[:n])
	return n
}

// record ends an element after n bytes of data, which follow on others.
func (r *Reader) record(before int, data []byte, n int, problem string) (int, []byte, error) {
	r.next = Record{Text: data[:n], Line: r.line, Offset: r.offset, Problem: problem}
	r.advance(data[:n])
	return before + n, data[:n], nil
}

// oneLine puts an element of an array on one line.
func (r *Reader) oneLine(rec Record) Record {
	r.compact.Reset()
	if err := json.Compact(&r.compact, rec.Text); err != nil {
		rec.Problem = "is not JSON: " + err.Error()
		rec.Text = bytes.ReplaceAll(rec.Text, []byte("\n"), []byte(" "))
		return rec
	}
	rec.Text = r.compact.Bytes()
	return rec
}

// value finds the end of one JSON value, which may come in parts. It does not check it.
type value struct {
	depth              int
	quoted, escaped    bool
	started, delimited bool // delimited: it is an object, an array or a string
}

// feed reads on and returns how many bytes belong to the value, and whether it ends there.
func (v *value) feed(data []byte) (n int, done bool) {
	for i, c := range data {
		if v.quoted {
			v.inQuotes(c)
			if !v.quoted && v.depth == 0 {
				return i + 1, true
			}
			continue
		}
		switch {
		case c == '"':
			v.quoted, v.delimited = true, true
		case c == '{' || c == '[':
			v.depth, v.delimited = v.depth+1, true
		case v.depth > 0 && (c == '}' || c == ']'):
			if v.depth--; v.depth == 0 {
				return i + 1, true
			}
		case v.depth == 0 && v.started && strings.IndexByte(",]} \t\r\n", c) >= 0:
			return i, true // the end of a number or a word
		}
		v.started = true
	}
	return len(data), false
}

func (v *value) inQuotes(c byte) {
	switch {
	case v.escaped:
		v.escaped = false
	case c == '\\':
		v.escaped = true
	case c == '"':
		v.quoted = false
	}
}
