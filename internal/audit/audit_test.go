package audit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// store remembers what was recorded outside of any change.
type store struct {
	entries []audit.Entry
	err     error
}

func (s *store) RecordAudit(ctx context.Context, e audit.Entry) (int64, error) {
	if err := errors.Join(ctx.Err(), s.err); err != nil {
		return 0, err
	}
	if e.Seq == 0 {
		e.Seq = int64(len(s.entries)) + 1
		s.entries = append(s.entries, e)
	}
	s.entries[e.Seq-1] = e
	return e.Seq, nil
}

func (s *store) Audit(context.Context, dps.InstanceID, audit.Filter, int, *audit.Cursor) ([]audit.Entry, error) {
	return s.entries, s.err
}

var errConflict = dps.Errorf(dps.Conflict, "taken")

func TestSettle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		act  func(*audit.Change)
		err  error
		want []audit.Result
	}{
		{"not allowed", func(*audit.Change) {}, errConflict, nil},
		{"changed nothing", func(c *audit.Change) { c.Allow("p") }, nil, nil},
		{"failed", func(c *audit.Change) { c.Allow("p") }, errConflict, []audit.Result{"Conflict"}},
		{"failed without a code", func(c *audit.Change) { c.Allow("p") }, errors.New("x"), []audit.Result{"Internal"}},
		{"all of several failed", func(c *audit.Change) { c.Allow("p"); c.Several(audit.BulkCreate); c.Failed(errConflict) }, nil, []audit.Result{"Conflict"}},
		{"several, and the call itself failed", func(c *audit.Change) { c.Allow("p"); c.Several(audit.BulkCreate) }, errConflict, []audit.Result{"Conflict"}},
	} {
		s := &store{}
		log := audit.New(audit.Options{Store: s, Log: slog.New(slog.DiscardHandler)})
		gone, cancel := context.WithCancel(t.Context())
		ctx, c := audit.Begin(gone, audit.Entry{Instance: "here", ID: "a"})
		cancel() // the caller has gone; its change is recorded all the same
		tt.act(c)
		for range 2 {
			log.Settle(ctx, c, tt.err)
		}
		var got []audit.Result
		for _, e := range s.entries {
			got = append(got, e.Result)
		}
		if len(got) != len(tt.want) || (len(got) == 1 && got[0] != tt.want[0]) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestNothingToRecord(t *testing.T) {
	t.Parallel()
	var c *audit.Change
	c.Allow("p")
	c.Several(audit.Bulk)
	c.Failed(errConflict)
	var log *audit.Log
	log.Settle(t.Context(), c, errConflict)
	if ctx, c := audit.BeginBatch(t.Context(), audit.Import, audit.Enrollment); c != nil || audit.From(ctx) != nil {
		t.Errorf("a batch of nothing: %v", c)
	}
}

func TestLostEntryIsLogged(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	log := audit.New(audit.Options{Store: &store{err: errors.New("disk on fire")}, Log: slog.New(slog.NewTextHandler(&text, nil))})
	ctx, c := audit.Begin(t.Context(), audit.Entry{ID: "sensor-7", TrackingID: "t-1", Operation: audit.Put})
	c.Allow(audit.ByPolicy("owner"))
	log.Settle(ctx, c, errConflict)
	for _, want := range []string{"level=ERROR", "disk on fire", "sensor-7", "t-1", "policy:owner", "Conflict"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the log has no %q: %s", want, &text)
		}
	}
}

// TestPageListsNames holds docs/operations.md to the operations and kinds that there are.
func TestPageListsNames(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range audit.Operations() {
		names = append(names, string(o))
	}
	for _, k := range audit.Kinds() {
		names = append(names, string(k))
	}
	for _, name := range names {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/operations.md lacks %s", name)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, o := range audit.Operations() {
		if got, err := audit.ParseOperation(strings.ToUpper(string(o))); got != o || err != nil {
			t.Errorf("ParseOperation(%q) = %q, %v", o, got, err)
		}
	}
	for _, k := range audit.Kinds() {
		if got, err := audit.ParseKind(strings.ToUpper(string(k))); got != k || err != nil {
			t.Errorf("ParseKind(%q) = %q, %v", k, got, err)
		}
	}
	for _, c := range dps.Codes() {
		if got, err := audit.ParseResult(strings.ToLower(c.String())); got != audit.ResultOf(dps.Errorf(c, "")) || err != nil {
			t.Errorf("ParseResult(%q) = %q, %v", c, got, err)
		}
	}
	for _, err := range []error{second(audit.ParseOperation("x")), second(audit.ParseKind("")), second(audit.ParseResult("nice"))} {
		if dps.CodeOf(err) != dps.Invalid {
			t.Errorf("error = %v", err)
		}
	}
	if audit.ResultOf(nil) != audit.OK {
		t.Error("no error is not OK")
	}
}

func second[T any](_ T, err error) error { return err }
