// Package transfer is the form of import and export files: one record a line as JSON,
// or CSV with a header.
//
// In both, empty lines and lines that begin with # where a record would begin are
// passed over. A record has at most wire.MaxImportLine bytes.
package transfer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"

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
	Text    []byte // without the line's end; good until the next one is read
	Line    int64  // where it begins; the first is 1
	Offset  int64  // the same in bytes; the first is 0
	End     int64  // where the next line begins, in bytes
	Problem string // why it is no record, "" if it is one; with it Text may be missing
}

// Reader cuts a file into records. It never holds more than a few records.
type Reader struct {
	scanner *bufio.Scanner
	format  Format
	next    Record // what split found last
	line    int64  // where the rest begins
	offset  int64
	long    *Record // a record beyond the limit, whose end was not met yet
}

// NewReader returns a Reader of a file that stands at its beginning.
func NewReader(r io.Reader, f Format) *Reader { return NewReaderAt(r, f, 1, 0) }

// NewReaderAt returns a Reader of a file that stands at a line and a byte.
func NewReaderAt(r io.Reader, f Format, line, offset int64) *Reader {
	out := &Reader{scanner: bufio.NewScanner(r), format: f, line: line, offset: offset}
	out.scanner.Buffer(make([]byte, 64<<10), 2*wire.MaxImportLine+64<<10)
	out.scanner.Split(out.split)
	return out
}

// Next returns the next record. It fails with io.EOF at the end.
func (r *Reader) Next() (Record, error) {
	for r.scanner.Scan() {
		rec := r.next
		if rec.Offset == 0 {
			rec.Text = bytes.TrimPrefix(rec.Text, []byte("\xef\xbb\xbf")) // a byte order mark
		}
		blank := len(bytes.TrimSpace(rec.Text)) == 0 || rec.Text[0] == '#'
		if !blank || rec.Problem != "" {
			return rec, nil
		}
	}
	if err := r.scanner.Err(); err != nil {
		return Record{}, err
	}
	return Record{}, io.EOF
}

// split is a bufio.SplitFunc.
func (r *Reader) split(data []byte, atEOF bool) (int, []byte, error) {
	if len(data) == 0 && (!atEOF || r.long == nil) {
		return 0, nil, nil
	}
	if r.long != nil {
		return r.skip(data, atEOF)
	}
	n := recordLength(data, r.format)
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

// take ends a record after n bytes.
func (r *Reader) take(data []byte, n int, problem string) (int, []byte, error) {
	text := bytes.TrimSuffix(bytes.TrimSuffix(data[:n], []byte("\n")), []byte("\r"))
	r.next = Record{Text: text, Line: r.line, Offset: r.offset, End: r.offset + int64(n), Problem: problem}
	r.line += int64(bytes.Count(data[:n], []byte("\n")))
	r.offset = r.next.End
	return n, data[:n], nil
}

// skip passes over the rest of a line that is too long.
func (r *Reader) skip(data []byte, atEOF bool) (int, []byte, error) {
	n, ended := len(data), atEOF
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		n, ended = i+1, true
		r.line++
	}
	r.offset += int64(n)
	if !ended {
		return n, nil, nil
	}
	r.next, r.long = *r.long, nil
	r.next.End = r.offset
	r.next.Problem = fmt.Sprintf("it is longer than the limit of %d bytes", wire.MaxImportLine)
	return n, []byte{}, nil
}

// recordLength returns how many bytes a record has, its line's end included; -1 when
// that is not among data.
func recordLength(data []byte, f Format) int {
	first := bytes.IndexByte(data, '\n')
	switch {
	case first < 0:
		return -1
	case f == JSONLines, data[0] == '#', bytes.IndexByte(data[:first], '"') < 0:
		return first + 1
	default:
		return quotedLength(data)
	}
}

// quotedLength is recordLength where quotes may hold line ends. A quote counts where a
// field begins (RFC 4180 section 2); any other is an error of the record alone.
func quotedLength(data []byte) int {
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
		fieldStart = !quoted && c == ','
	}
	return -1
}
