package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/transfer"
	"github.com/mooring-iot/mooring/wire"
)

// fakeImport takes the parts of a file as a service does: it refuses records that say
// "bad" and keeps the others.
type fakeImport struct {
	kept  []string
	parts int
}

// take imports one part and acknowledges it.
func (f *fakeImport) take(t *testing.T, s *importSource, p *importPart) {
	t.Helper()
	f.parts++
	if len(p.body) > wire.MaxImportBody {
		t.Errorf("a part has %d bytes", len(p.body))
	}
	r := transfer.NewReader(bytes.NewReader(p.body), s.Format)
	result := &wire.ImportResult{}
	for i := 0; ; i++ {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case i == 0 && s.Format == transfer.CSV:
		case bytes.Contains(rec.Text, []byte("bad")):
			result.Refused = append(result.Refused, wire.ImportRefusal{Line: rec.Line, ErrorCode: 400004, Message: "no\ngood"})
		default:
			f.kept = append(f.kept, string(rec.Text))
			result.Created++
		}
	}
	if err := s.acknowledge(p, result); err != nil {
		t.Fatal(err)
	}
}

// importPlace is a file to import.
type importPlace struct {
	file, refused string
	format        transfer.Format
	stderr        bytes.Buffer
}

func newImportPlace(t *testing.T, f transfer.Format, text string) *importPlace {
	t.Helper()
	file := filepath.Join(t.TempDir(), "devices."+string(f))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &importPlace{file: file, refused: file + ".refused." + string(f), format: f}
}

func (p *importPlace) open(t *testing.T) *importSource {
	t.Helper()
	s, err := openImport(&env{err: &p.stderr}, p.file, importIdentity{Service: "s", Kind: dps.Individual, Format: p.format}, p.refused)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	return s
}

// some takes up to n parts, and reports whether that was all.
func (f *fakeImport) some(t *testing.T, s *importSource, n int) bool {
	t.Helper()
	var held *transfer.Record
	for range n {
		part, next, err := s.part(held)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(part.records)+len(part.bad) > 0 {
			f.take(t, s, part)
		}
		if err != nil {
			return true
		}
		held = next
	}
	return false
}

func (p *importPlace) refusedText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(p.refused)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestImportRefusedLines(t *testing.T) {
	long := "long" + strings.Repeat("x", wire.MaxImportLine)
	tests := []struct {
		format        transfer.Format
		text, refused string
		kept          []string
	}{
		{
			transfer.JSONLines, "one\n# remark\n\n" + long + "\nbad two\r\nthree\n" + long,
			"# line 4: the line cannot be read: it is longer than the limit of 1048576 bytes\n" +
				"# line 7: the line cannot be read: it is longer than the limit of 1048576 bytes\n# line 5: no good (code 400004)\nbad two\n",
			[]string{"one", "three"},
		},
		{
			transfer.CSV, "\ufeffRegistrationId,Tags\na,\"1\n2\"\n\nb,\"bad\n\n\"\n#\nbad,\nc,\"\nd,",
			"RegistrationId,Tags\n# line 10: the line cannot be read: a quote is opened and never closed\nc,\"\n" +
				"# line 5: no good (code 400004)\nb,\"bad\n\n\"\n# line 9: no good (code 400004)\nbad,\n",
			[]string{"a,\"1\n2\"", "d,"},
		},
	}
	for _, tt := range tests {
		t.Run(string(tt.format), func(t *testing.T) {
			p := newImportPlace(t, tt.format, tt.text)
			s, f := p.open(t), &fakeImport{}
			if !f.some(t, s, 10) || s.Offset != int64(len(tt.text)) {
				t.Errorf("the import is at %d of %d", s.Offset, len(tt.text))
			}
			if diff := cmp.Diff(tt.kept, f.kept); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.refused, p.refusedText(t)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if err := s.finish(); err != nil {
				t.Error(err)
			}
			_, err := openImport(&env{err: &p.stderr}, p.file, s.importIdentity, p.refused)
			if err == nil || !strings.Contains(err.Error(), "--refused") {
				t.Errorf("over refused lines: %v", err)
			}
		})
	}
}

// appendTo adds text to a file, which need not be there.
func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// numbered returns n lines, every hundredth of them bad.
func numbered(n int) string {
	var out strings.Builder
	for i := range n {
		word := "good"
		if i%100 == 99 {
			word = "bad"
		}
		fmt.Fprintf(&out, "%s %d\n", word, i)
	}
	return out.String()
}

// TestImportGoesOn ends an import after each of its parts, also between the refused
// lines and the progress file, and compares with an import that was never ended.
func TestImportGoesOn(t *testing.T) {
	text := numbered(5500)
	whole := newImportPlace(t, transfer.JSONLines, text)
	all := &fakeImport{}
	if !all.some(t, whole.open(t), 100) || all.parts != 6 {
		t.Fatalf("%d parts", all.parts)
	}
	for done := range all.parts {
		p, f := newImportPlace(t, transfer.JSONLines, text), &fakeImport{}
		s := p.open(t)
		f.some(t, s, done)
		appendTo(t, p.refused, "# line 9: half")
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		again := p.open(t)
		if !f.some(t, again, 100) || f.parts != all.parts ||
			!strings.Contains(p.stderr.String(), fmt.Sprintf("Resuming at line %d;", done*1000+1)) {
			t.Errorf("after %d parts: %d parts, %s", done, f.parts, p.stderr.String())
		}
		if diff := cmp.Diff(all.kept, f.kept); diff != "" || p.refusedText(t) != whole.refusedText(t) {
			t.Errorf("after %d parts: something else is kept or refused:\n%s", done, diff)
		}
		if again.Report != (importReport{Created: 5445, Refused: 55}) {
			t.Errorf("after %d parts: %+v", done, again.Report)
		}
	}
}

func TestImportOfAnotherFile(t *testing.T) {
	for _, change := range []func(p *importPlace) error{
		func(p *importPlace) error { return os.WriteFile(p.file, []byte("x\n"+numbered(2500)), 0o600) },
		func(p *importPlace) error { return os.WriteFile(p.file+".progress", []byte(`{"line":`), 0o600) },
	} {
		p, f := newImportPlace(t, transfer.JSONLines, strings.ReplaceAll(numbered(2500), "bad", "god")), &fakeImport{}
		f.some(t, p.open(t), 1)
		if err := change(p); err != nil {
			t.Fatal(err)
		}
		if s := p.open(t); s.Line != 1 || s.Offset != 0 || s.Report != (importReport{}) || p.stderr.Len() > 0 {
			t.Errorf("it goes on at line %d, %s", s.Line, p.stderr.String())
		}
	}
}

// TestImportParts checks that parts stay small whatever the lines.
func TestImportParts(t *testing.T) {
	line := strings.Repeat("x", wire.MaxImportLine-1) + "\n"
	p, f := newImportPlace(t, transfer.JSONLines, strings.Repeat(line, 3)+numbered(10)+strings.Repeat(line, 2)), &fakeImport{}
	if !f.some(t, p.open(t), 100) || f.parts != 6 || len(f.kept) != 15 {
		t.Errorf("%d parts with %d records", f.parts, len(f.kept))
	}
}
