package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/durable"
	"github.com/mooring-iot/mooring/internal/transfer"
	"github.com/mooring-iot/mooring/wire"
)

// Bounds of one part of a file, which is one request.
const (
	maxPartRecords = 1000
	maxPartBytes   = 1 << 20 // one record may lie beyond it
)

// prefixSize is how much of a file's beginning tells it from another, in bytes.
const prefixSize = 1 << 20

// importIdentity says what an import does; only the same one is resumed.
type importIdentity struct {
	Service  string          `json:"service"`
	Kind     dps.EntryKind   `json:"kind"`
	Format   transfer.Format `json:"format"`
	Replace  bool            `json:"replace"`
	Refused  string          `json:"refusedFile"`
	Size     int64           `json:"size"`     // of the file, in bytes
	Modified int64           `json:"modified"` // nanoseconds since 1970
	Prefix   string          `json:"prefix"`   // SHA-256 of the file's beginning
}

// importProgress is what FILE.progress holds: all before the offset is done.
type importProgress struct {
	importIdentity
	Line         int64        `json:"line"` // where to go on; the first is 1
	Offset       int64        `json:"offset"`
	RefusedBytes int64        `json:"refusedBytes"` // of the file of refused lines
	Report       importReport `json:"report"`
}

// importSource is a file on its way to the service.
type importSource struct {
	importProgress
	name    string
	file    *os.File // nil for the standard input, which cannot be resumed
	lines   *transfer.Reader
	header  []byte    // of CSV, with its line's end
	refused *os.File  // nil until a line is refused
	out     io.Writer // for warnings
}

// importPart is a part of the file.
type importPart struct {
	body    []byte       // what is sent
	lines   int64        // of body
	records []partRecord // in body
	bad     []partRecord // not sent: they cannot be read
	line    int64        // behind the part
	end     int64        // behind the part, in bytes
}

// partRecord is a record of a part.
type partRecord struct {
	bodyLine int64  // where it begins in the body
	line     int64  // where it begins in the file
	text     []byte // as it stands in the file
	problem  string // why it is not sent
}

// openImport opens a file at the place where an earlier import ended.
func openImport(e *env, name string, id importIdentity, refused string) (*importSource, error) {
	s := &importSource{name: name, out: e.err, importProgress: importProgress{importIdentity: id, Line: 1}}
	s.Refused = refused
	file, reader, err := openFile(e, name)
	if err != nil {
		return nil, err
	}
	if s.file = file; file != nil {
		if err := s.identify(); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	if err := s.resume(e); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.begin(reader); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// identify notes what tells the file from another.
func (s *importSource) identify() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; use %s and standard input", s.name, standardInput)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(s.file, prefixSize)); err != nil {
		return err
	}
	s.Size, s.Modified, s.Prefix = info.Size(), info.ModTime().UnixNano(), hex.EncodeToString(sum.Sum(nil))
	_, err = s.file.Seek(0, io.SeekStart)
	return err
}

func (s *importSource) progressFile() string { return s.name + ".progress" }

// resume takes up an earlier import of the same file, and makes room for a new one.
func (s *importSource) resume(e *env) error {
	if s.file != nil {
		earlier, found, err := readProgress(s.progressFile())
		if err != nil {
			return err
		}
		if found && earlier.importIdentity == s.importIdentity {
			s.importProgress = earlier
			fmt.Fprintf(e.err, "Resuming at line %d; remove %s to start over.\n", s.Line, s.progressFile())
			return s.cutRefused()
		}
		if found && earlier.Refused == s.Refused {
			return s.cutRefused() // the lines there are of an import that never ended
		}
	}
	if info, err := os.Stat(s.Refused); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s exists from an earlier import; move it, or give another file with --refused", s.Refused)
	}
	return nil
}

// readProgress reads a progress file; one that was cut by a crash is none.
func readProgress(name string) (p importProgress, found bool, err error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	if damaged := json.Unmarshal(text, &p) != nil || p.Line < 1 || p.Offset < 0; damaged {
		p = importProgress{}
	}
	return p, true, nil
}

// cutRefused removes the refused lines of parts that will be sent again.
func (s *importSource) cutRefused() error {
	info, err := os.Stat(s.Refused)
	if errors.Is(err, fs.ErrNotExist) {
		s.RefusedBytes = 0
		return nil
	}
	if err != nil {
		return err
	}
	s.RefusedBytes = min(s.RefusedBytes, info.Size())
	return os.Truncate(s.Refused, s.RefusedBytes)
}

// begin reads the header and goes to the place where the import goes on.
func (s *importSource) begin(reader io.Reader) error {
	s.lines = transfer.NewReader(reader, s.Format)
	if s.Format == transfer.CSV {
		if err := s.readHeader(); err != nil {
			return err
		}
	}
	if s.Offset > 0 && s.file != nil {
		if err := s.goOn(); err != nil {
			return err
		}
	}
	if s.file == nil {
		return nil
	}
	return s.save()
}

// goOn goes to the place where an earlier import ended. The first record says how the rest
// is to be read.
func (s *importSource) goOn() error {
	if s.Format != transfer.CSV {
		if _, err := s.lines.Next(); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading %s: %w", s.name, err)
		}
	}
	if _, err := s.file.Seek(s.Offset, io.SeekStart); err != nil {
		return err
	}
	s.lines = s.lines.Resume(s.file, s.Line, s.Offset)
	return nil
}

func (s *importSource) readHeader() error {
	rec, err := s.lines.Next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is empty; CSV begins with a header", s.name)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.name, err)
	}
	if rec.Problem != "" {
		return fmt.Errorf("%s: the header: %s", s.name, rec.Problem)
	}
	if _, err := transfer.ReadHeader(rec.Text, s.Kind); err != nil {
		return fmt.Errorf("%s: %s", s.name, dps.MessageOf(err))
	}
	s.header = append(bytes.Clone(rec.Text), '\n')
	return nil
}

// parts cuts the rest of the file into parts.
func (s *importSource) parts(ctx context.Context, out chan<- *importPart) error {
	var held *transfer.Record // read, and too large for the part before
	for {
		part, next, err := s.part(held)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return fmt.Errorf("reading %s: %w", s.name, err)
		}
		if len(part.records)+len(part.bad) > 0 {
			select {
			case out <- part:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if end {
			return nil
		}
		held = next
	}
}

// part reads one part. What it returns beside it belongs into the next one. It fails
// with io.EOF at the end.
func (s *importSource) part(held *transfer.Record) (*importPart, *transfer.Record, error) {
	p := &importPart{body: bytes.Clone(s.header), lines: int64(bytes.Count(s.header, []byte("\n")))}
	if held != nil {
		p.add(*held)
	}
	for len(p.records)+len(p.bad) < maxPartRecords {
		rec, err := s.lines.Next()
		if err != nil {
			return p, nil, err
		}
		if len(p.records) > 0 && len(p.body)+len(rec.Text) > maxPartBytes {
			rec.Text = bytes.Clone(rec.Text)
			return p, &rec, nil
		}
		p.add(rec)
	}
	return p, nil, nil
}

func (p *importPart) add(rec transfer.Record) {
	own := partRecord{bodyLine: p.lines + 1, line: rec.Line, problem: rec.Problem}
	p.line, p.end = rec.EndLine, rec.End
	if rec.Problem != "" {
		own.text = bytes.Clone(rec.Text)
		p.bad = append(p.bad, own)
		return
	}
	start := len(p.body)
	p.body = append(append(p.body, rec.Text...), '\n')
	p.lines += int64(bytes.Count(p.body[start:], []byte("\n")))
	own.text = p.body[start : len(p.body)-1] // good even when body moves on
	p.records = append(p.records, own)
}

// acknowledge notes that the service has done a part: first its refused lines, then
// where to go on.
func (s *importSource) acknowledge(p *importPart, result *wire.ImportResult) error {
	for _, rec := range p.bad {
		if err := s.writeRefused(rec, fmt.Sprintf("the line cannot be read: %s", rec.problem)); err != nil {
			return err
		}
	}
	next := 0
	for _, refusal := range result.Refused {
		for next < len(p.records) && p.records[next].bodyLine < refusal.Line {
			next++
		}
		if next == len(p.records) || p.records[next].bodyLine != refusal.Line {
			return fmt.Errorf("the service refuses line %d, which was not sent", refusal.Line)
		}
		if err := s.writeRefused(p.records[next], fmt.Sprintf("%s (code %d)", refusal.Message, refusal.ErrorCode)); err != nil {
			return err
		}
	}
	s.warn(p, result)
	r := &s.Report
	r.Created, r.Replaced, r.Unchanged = r.Created+result.Created, r.Replaced+result.Replaced, r.Unchanged+result.Unchanged
	r.Refused += len(result.Refused) + len(p.bad)
	s.Line, s.Offset = p.line, p.end
	if s.file == nil {
		return nil
	}
	return s.save()
}

// warn prints the warnings about records of a part, with their lines in the file.
func (s *importSource) warn(p *importPart, result *wire.ImportResult) {
	next := 0
	for _, w := range result.Warnings {
		for next < len(p.records) && p.records[next].bodyLine < w.Line {
			next++
		}
		if next == len(p.records) {
			return // about a line that was not sent
		}
		fmt.Fprintf(s.out, "Warning: line %d (%s): %s\n", p.records[next].line, w.ID, w.Message)
	}
	if result.MoreWarnings > 0 {
		fmt.Fprintf(s.out, "Warning: %d more warnings about lines before line %d are not shown\n", result.MoreWarnings, p.line)
	}
}

// writeRefused writes a line below the reason for its refusal.
func (s *importSource) writeRefused(rec partRecord, reason string) error {
	if s.refused == nil {
		var err error
		if s.refused, err = os.OpenFile(s.Refused, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return err
		}
	}
	var out []byte
	if s.RefusedBytes == 0 {
		out = append(out, s.header...)
	}
	out = fmt.Appendf(out, "# line %d: %s\n", rec.line, strings.Join(strings.Fields(reason), " "))
	if len(rec.text) > 0 {
		out = append(append(out, rec.text...), '\n')
	}
	n, err := s.refused.Write(out)
	s.RefusedBytes += int64(n)
	return err
}

// save writes the progress file, whole or not at all.
func (s *importSource) save() error {
	text, err := json.Marshal(s.importProgress)
	if err != nil {
		return err
	}
	return durable.File{Path: s.progressFile(), Mode: 0o600, Temp: s.progressFile() + ".tmp"}.WriteBytes(text)
}

// interrupted says how to go on after err.
func (s *importSource) interrupted(err error) error {
	if s.file == nil {
		return fmt.Errorf("%w; %d records are done; run the import again for the rest", err, s.Report.records())
	}
	return fmt.Errorf("%w; %d records are done; run the same command to resume", err, s.Report.records())
}

// finish ends a whole import: nothing is left to go on with.
func (s *importSource) finish() error {
	if s.file == nil {
		return nil
	}
	return os.Remove(s.progressFile())
}

// report is what the import came to, earlier runs of it included.
func (s *importSource) report() importReport {
	r := s.Report
	if r.Refused > 0 {
		r.RefusedFile = s.Refused
	}
	return r
}

func (s *importSource) close() error {
	var errs []error
	for _, f := range []*os.File{s.file, s.refused} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
