package service_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func TestImport(t *testing.T) {
	f := newFake(t)
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if got := r.URL.Query(); got.Get("kind") != "enrollmentGroups" || got.Get("replace") != "true" {
			t.Errorf("query = %v", got)
		}
		answer(w, wire.ImportResult{Created: 2, Refused: []wire.ImportRefusal{{Line: 3, ID: "c", ErrorCode: 400004, Message: "no"}}})
		return true
	}
	const text = "enrollmentGroupId\na\nb\nc\n"
	got, err := f.client().Groups().Import(t.Context(), wire.ContentTypeCSV, []byte(text), true)
	if err != nil || got.Created != 2 || len(got.Refused) != 1 || got.Refused[0].ID != "c" {
		t.Errorf("Import = %+v, %v", got, err)
	}
	if r := f.last(); r.Method != http.MethodPost || r.Path != wire.ImportPath || r.Body != text ||
		r.Header.Get("Content-Type") != wire.ContentTypeCSV {
		t.Errorf("request = %+v", r)
	}
	f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		refuse(w, false, 413, 413001, "too large")
		return true
	}
	if _, err := f.client().Enrollments().Import(t.Context(), wire.ContentTypeJSONLines, nil, false); !hasCode(err, 413001) {
		t.Errorf("refused: %v", err)
	}
}

func hasCode(err error, code int) bool {
	e, ok := errors.AsType[*service.Error](err)
	return ok && e.Code == code
}

func TestImportIsRepeated(t *testing.T) {
	f := newFake(t)
	calls := 0
	f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		if calls++; calls == 1 {
			w.Header().Set("Retry-After", "1")
			refuse(w, false, 503, 503001, "later")
			return true
		}
		answer(w, wire.ImportResult{Unchanged: 1})
		return true
	}
	got, err := f.client().Enrollments().Import(t.Context(), wire.ContentTypeJSONLines, []byte("{}"), false)
	if err != nil || got.Unchanged != 1 || f.last().Body != "{}" {
		t.Errorf("Import = %+v, %v", got, err)
	}
}

func TestExport(t *testing.T) {
	f := newFake(t)
	line := strings.Repeat("x", 1000) + "\n"
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Query().Get("keys") {
		case "true":
			for range 1000 {
				_, _ = io.WriteString(w, line)
			}
		default:
			refuse(w, false, 401, 401002, "Unauthorized")
		}
		return true
	}
	var out bytes.Buffer
	if err := f.client().Enrollments().Export(t.Context(), &out, wire.ContentTypeJSONLines, true); err != nil || out.Len() != 1000*len(line) {
		t.Errorf("Export: %d bytes, %v", out.Len(), err)
	}
	if r := f.last(); r.Method != http.MethodGet || r.Path != wire.ExportPath || r.Header.Get("Accept") != wire.ContentTypeJSONLines {
		t.Errorf("request = %+v", r)
	}
	out.Reset()
	if err := f.client().Groups().Export(t.Context(), &out, wire.ContentTypeCSV, false); !hasCode(err, 401002) || out.Len() > 0 {
		t.Errorf("refused: %v, %d bytes", err, out.Len())
	}
}

// TestExportCutOff checks that an answer that ends too early, or stands still, is an
// error.
func TestExportCutOff(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.WriteString(w, "x\n")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Query().Get("keys") == "true" {
			<-release
		}
		panic(http.ErrAbortHandler)
	}
	var out bytes.Buffer
	err := f.client().Enrollments().Export(t.Context(), &out, wire.ContentTypeCSV, false)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("cut off: %v", err)
	}
	hasty := *f.Client()
	hasty.Timeout = 50 * time.Millisecond
	c, err := service.NewClient(f.connectionString(), &service.Options{HTTPClient: &hasty})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Enrollments().Export(t.Context(), &out, wire.ContentTypeCSV, true)
	close(release)
	if err == nil || !strings.Contains(err.Error(), "sends nothing more") {
		t.Errorf("standing still: %v", err)
	}
	c.CloseIdleConnections()
}
