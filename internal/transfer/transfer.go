// Package transfer is the form of import and export files: one record a line as JSON, or
// the elements of one JSON array; or CSV with a header, separated by comma, semicolon or
// tab. All of them are UTF-8.
//
// In JSON Lines and CSV, empty lines and lines that begin with # where a record would begin are
// passed over. A record has at most wire.MaxImportLine bytes.
//
// CSV is written by encoding/csv and read by code of our own. The reader of encoding/csv
// buffers a quoted cell of any size before it returns; turns CR LF in a cell into LF, so that a
// certificate or tag would not come back from an export as it was; and has one error for an unclosed
// quote and for text behind a quote, which here say what to do.
package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/plaintext"
	"github.com/mooring-iot/mooring/wire"
)

// Format is how records stand in a file.
type Format string

// The formats.
const (
	JSONLines Format = "jsonl"
	CSV       Format = "csv"
)

// ContentType is the media type of the format.
func (f Format) ContentType() string {
	if f == CSV {
		return wire.ContentTypeCSV
	}
	return wire.ContentTypeJSONLines
}

// FormatOf returns the format that the name of a file says; ok is false when it says
// none.
func FormatOf(name string) (f Format, ok bool) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson":
		return JSONLines, true
	case ".csv":
		return CSV, true
	default:
		return "", false
	}
}

// Record is one record of a file, as it stands there. Of CSV, the header is one too.
type Record struct {
	Text    []byte // without the line's end, on one line if it is JSON; good until the next one is read
	Line    int64  // where it begins; the first is 1
	Offset  int64  // the same in bytes; the first is 0
	End     int64  // where the rest of the file begins, in bytes
	EndLine int64  // the same in lines
	Problem string // why it is no record, "" if it is one; with it Text may be missing
}

// Reader cuts a file into records. It never holds more than a few records.
type Reader struct {
	scanner *bufio.Scanner
	format  Format
	shape   shape
	next    Record // what split found last
	line    int64  // where the rest begins
	offset  int64
	long    *Record // a record beyond the limit, whose end was not met yet
	value   value   // of an array: how far the long record was read
	compact bytes.Buffer
}

// shape is what the beginning of a file says about the rest.
type shape struct {
	known     bool
	array     bool // records are the elements of one JSON array
	closed    bool // and the array has ended
	over      bool // and what is behind it was refused
	separator byte // between the cells of CSV
}

// NewReader returns a Reader of a file that stands at its beginning. A byte order mark is
// passed over. The first record decides whether the records of JSON are lines or the
// elements of an array, and which character separates the cells of CSV.
func NewReader(r io.Reader, f Format) *Reader { return newReader(r, f, 1, 0) }

// Resume returns a Reader of the same file that stands at the end of a record which this
// Reader, or another of the same file, has returned.
func (r *Reader) Resume(from io.Reader, line, offset int64) *Reader {
	out := newReader(from, r.format, line, offset)
	out.shape = r.shape
	out.shape.closed, out.shape.over = false, false
	return out
}

func newReader(r io.Reader, f Format, line, offset int64) *Reader {
	out := &Reader{scanner: bufio.NewScanner(r), format: f, line: line, offset: offset}
	out.scanner.Buffer(make([]byte, 64<<10), 2*wire.MaxImportLine+64<<10)
	out.scanner.Split(out.split)
	return out
}

// Next returns the next record. It fails with io.EOF at the end, and with Malformed at the
// beginning of a file that is not UTF-8 throughout.
func (r *Reader) Next() (Record, error) {
	for r.scanner.Scan() {
		rec := r.next
		if rec.Offset == 0 {
			if bytes.HasPrefix(rec.Text, []byte("\xff\xfe")) || bytes.HasPrefix(rec.Text, []byte("\xfe\xff")) {
				_, err := plaintext.Read(rec.Text)
				return Record{}, dps.Errorf(dps.Malformed, "%s", err.Error())
			}
			rec.Text = plaintext.TrimMark(rec.Text)
		}
		blank := len(bytes.TrimSpace(rec.Text)) == 0 || rec.Text[0] == '#'
		if !blank || rec.Problem != "" {
			return r.checked(rec), nil
		}
	}
	if err := r.scanner.Err(); err != nil {
		return Record{}, err
	}
	return Record{}, io.EOF
}

// checked returns a record with what is wrong with its text, and JSON on one line and
// without a comma behind it.
func (r *Reader) checked(rec Record) Record {
	if rec.Problem != "" {
		return rec
	}
	var bad *plaintext.Error
	if _, err := plaintext.Read(rec.Text); errors.As(err, &bad) {
		rec.Problem = (&plaintext.Error{Line: int(rec.Line) + bad.Line - 1, Column: bad.Column, Message: bad.Message}).Error()
		return rec
	}
	if r.format == CSV {
		return rec
	}
	if r.shape.array {
		return r.oneLine(rec)
	}
	trimmed := bytes.TrimSpace(rec.Text)
	switch {
	case string(trimmed) == "{":
		rec.Problem = "a record must be on one line, or an element of one array; convert the file: jq -c ."
	case bytes.HasSuffix(trimmed, []byte("},")):
		rec.Text = bytes.TrimSuffix(trimmed, []byte(","))
	}
	return rec
}

// split is a bufio.SplitFunc.
func (r *Reader) split(data []byte, atEOF bool) (int, []byte, error) {
	if len(data) == 0 && (!atEOF || r.long == nil) {
		return 0, nil, nil
	}
	before := 0
	if r.format == JSONLines && !r.shape.known && r.long == nil {
		var more bool
		if before, more = r.recognize(data, atEOF); more {
			return 0, nil, nil
		}
	}
	if r.shape.array {
		n, token, err := r.element(data[before:], atEOF)
		return before + n, token, err
	}
	if r.long != nil {
		return r.skip(data, atEOF)
	}
	return r.byLines(data, atEOF)
}

// byLines is split where a record ends with its line.
func (r *Reader) byLines(data []byte, atEOF bool) (int, []byte, error) {
	n := recordLength(data, r.format, r.separators())
	switch {
	case n >= 0 && n <= wire.MaxImportLine:
		return r.take(data, n, "")
	case n < 0 && !atEOF && len(data) <= wire.MaxImportLine:
		return 0, nil, nil // more is needed
	}
	if first := bytes.IndexByte(data, '\n') + 1; n < 0 && r.format == CSV && first > 0 {
		return r.take(data, first, "a quote is opened and never closed")
	}
	if n < 0 && len(data) <= wire.MaxImportLine {
		return r.take(data, len(data), "")
	}
	r.long = &Record{Line: r.line, Offset: r.offset}
	return r.skip(data, atEOF)
}

// separators are the characters behind which a cell of CSV may begin: all that there are
// until the header has decided.
func (r *Reader) separators() string {
	if r.shape.separator == 0 {
		return separators
	}
	return string(r.shape.separator)
}

// take ends a record after n bytes.
func (r *Reader) take(data []byte, n int, problem string) (int, []byte, error) {
	text := bytes.TrimSuffix(bytes.TrimSuffix(data[:n], []byte("\n")), []byte("\r"))
	r.next = Record{Text: text, Line: r.line, Offset: r.offset, Problem: problem}
	r.advance(data[:n])
	if r.format == CSV && r.shape.separator == 0 && !isBlank(plaintext.TrimMark(text)) {
		r.shape.separator = separatorOf(text)
	}
	return n, data[:n], nil
}

// advance passes over text and notes where the record that it ends, ends.
func (r *Reader) advance(text []byte) {
	r.line += int64(bytes.Count(text, []byte("\n")))
	r.offset += int64(len(text))
	r.next.End, r.next.EndLine = r.offset, r.line
}

// isBlank reports whether a line is empty or a comment.
func isBlank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 || line[0] == '#' }

// skip passes over the rest of a line that is too long.
func (r *Reader) skip(data []byte, atEOF bool) (int, []byte, error) {
	n, ended := len(data), atEOF
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		n, ended = i+1, true
	}
	return r.skipped(data[:n], ended)
}

// skipped passes over a part of a record that is too long; ended says that it is the last.
func (r *Reader) skipped(part []byte, ended bool) (int, []byte, error) {
	if ended {
		r.next, r.long = *r.long, nil
		r.next.Problem = fmt.Sprintf("it is longer than the limit of %d bytes", wire.MaxImportLine)
	}
	r.advance(part)
	if !ended {
		return len(part), nil, nil
	}
	return len(part), []byte{}, nil
}

// recordLength returns how many bytes a record has, its line's end included; -1 when
// that is not among data.
func recordLength(data []byte, f Format, separators string) int {
	first := bytes.IndexByte(data, '\n')
	switch {
	case first < 0:
		return -1
	case f == JSONLines, data[0] == '#', bytes.IndexByte(data[:first], '"') < 0:
		return first + 1
	default:
		return quotedLength(data, separators)
	}
}

// quotedLength is recordLength where quotes may hold line ends. A quote counts where a
// field begins (RFC 4180 section 2); any other is an error of the record alone.
func quotedLength(data []byte, separators string) int {
	fieldStart, quoted := true, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case quoted && c == '"' && i+1 < len(data) && data[i+1] == '"':
			i++ // an escaped quote
		case quoted && c == '"':
			quoted = false
		case quoted:
		case c == '\n':
			return i + 1
		case c == '"' && fieldStart:
			quoted = true
		}
		fieldStart = !quoted && strings.IndexByte(separators, c) >= 0
	}
	return -1
}
