package transferapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/transfer"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// batchSize is how many records are one change of the store. Registrations of devices
// wait for one change at most, some tens of milliseconds.
const batchSize = 250

// load answers an import. What it answered for is durable. The records have one audit
// entry together.
func (s *server) load(w http.ResponseWriter, r *http.Request, p route.Params) error {
	kind, unknown := kindOf(r)
	e := audit.Entry{Instance: s.Instance, Operation: audit.Import, Kind: audit.KindOf(kind)}
	return httpio.Audited(s.Audit, e, "", func(w http.ResponseWriter, r *http.Request, _ route.Params) error {
		if err := s.allow(r, dps.EnrollmentWrite); err != nil {
			return err
		}
		if unknown != nil {
			return unknown
		}
		in, err := s.open(w, r, kind)
		if err != nil {
			return err
		}
		result, err := in.run(r.Context())
		if err != nil {
			return err
		}
		s.Audit.Settle(r.Context(), audit.From(r.Context()), nil)
		return httpio.WriteJSON(w, http.StatusOK, result)
	})(w, r, p)
}

// open reads what a request says about its records, and their header if they have one.
func (s *server) open(w http.ResponseWriter, r *http.Request, kind dps.EntryKind) (*intake, error) {
	in := &intake{server: s, kind: kind}
	err := checkParameters(r, "kind", "replace")
	if err != nil {
		return nil, err
	}
	if in.replace, err = flagOf(r, "replace"); err != nil {
		return nil, err
	}
	format, err := formatOf("Content-Type", r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	body, err := httpio.ReadBody(w, r, wire.MaxImportBody)
	if err != nil {
		return nil, err
	}
	in.lines = transfer.NewReader(bytes.NewReader(body), format)
	if format == transfer.CSV {
		err = in.header()
	}
	return in, err
}

// intake reads the records of one import.
type intake struct {
	*server
	kind    dps.EntryKind
	replace bool
	lines   *transfer.Reader
	columns *transfer.Columns // nil for JSON
}

// header reads the first record of CSV.
func (in *intake) header() error {
	rec, err := in.lines.Next()
	if errors.Is(err, io.EOF) {
		return dps.Errorf(dps.Malformed, "body: is empty; a CSV header is required")
	}
	if err != nil {
		return err
	}
	if rec.Problem != "" {
		return dps.Invalidf("header", "%s", rec.Problem)
	}
	columns, err := transfer.ReadHeader(rec.Text, in.kind)
	in.columns = &columns
	return err
}

// item is one record on its way: a draft, or why it is none.
type item struct {
	line  int64
	id    string
	draft dps.EnrollmentDraft
	err   error
}

// run imports everything, reading the next records while earlier ones are stored.
func (in *intake) run(ctx context.Context) (wire.ImportResult, error) {
	audit.From(ctx).Several(audit.Import)
	result := wire.ImportResult{Refused: []wire.ImportRefusal{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, failed := make(chan []item), make(chan error, 1)
	go func() { // ends with ctx at the latest
		defer close(batches)
		failed <- in.read(ctx, batches)
	}()
	for batch := range batches {
		if err := in.store(ctx, batch, &result); err != nil {
			cancel()
			<-failed //nolint:errcheck // what ended it is err
			return result, err
		}
	}
	return result, <-failed
}

// read cuts the body into batches.
func (in *intake) read(ctx context.Context, batches chan<- []item) error {
	for {
		batch := make([]item, 0, batchSize)
		var end error
		for end == nil && len(batch) < batchSize {
			var rec transfer.Record
			if rec, end = in.lines.Next(); end == nil {
				batch = append(batch, in.item(rec))
			}
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
		if errors.Is(end, io.EOF) {
			return nil
		}
		if end != nil {
			return end
		}
	}
}

func (in *intake) item(rec transfer.Record) item {
	out := item{line: rec.Line}
	if rec.Problem != "" {
		out.err = dps.Errorf(dps.Malformed, "The line cannot be read: %s.", rec.Problem)
		return out
	}
	req, err := in.decode(rec.Text)
	field := "registrationId"
	out.id = req.RegistrationID
	if in.kind == dps.Group {
		field, out.id = "enrollmentGroupId", req.EnrollmentGroupID
	}
	if err != nil {
		out.err = err
		return out
	}
	if out.id == "" {
		out.err = dps.Invalidf(field, "is required")
		return out
	}
	ref, err := dps.ParseEntryID(in.kind, field, out.id)
	if err == nil {
		out.draft, err = translate.Draft(in.Instance, ref, req)
	}
	out.err = err
	return out
}

func (in *intake) decode(text []byte) (wire.EnrollmentRequest, error) {
	if in.columns != nil {
		return in.columns.Read(text)
	}
	var req wire.EnrollmentRequest
	err := translate.DecodeStrict(text, &req)
	if err == nil {
		err = translate.CheckTwinNames(req.InitialTwin)
	}
	return req, err
}

// store writes the drafts of a batch and adds what became of them to result.
func (in *intake) store(ctx context.Context, batch []item, result *wire.ImportResult) error {
	drafts := make([]dps.EnrollmentDraft, 0, len(batch))
	for _, it := range batch {
		if it.err == nil {
			drafts = append(drafts, it.draft)
		}
	}
	outcomes, err := in.Enroll.Import(ctx, in.Instance, drafts, in.replace)
	if err != nil {
		return err
	}
	for _, it := range batch {
		if it.err == nil {
			it.err = count(outcomes[0], result)
			if e := outcomes[0].Enrollment; e != nil {
				warn(it.line, e.Ref.ID, in.Enroll.Warnings(ctx, *e), result)
			}
			outcomes = outcomes[1:]
		}
		if it.err != nil {
			audit.From(ctx).Failed(it.err)
			result.Refused = append(result.Refused, in.refusal(it))
		}
	}
	return nil
}

// warn adds the warnings about a record to the result of an import.
func warn(line int64, id string, warnings []string, result *wire.ImportResult) {
	for _, text := range warnings {
		if len(result.Warnings) == wire.MaxImportWarnings {
			result.MoreWarnings++
			continue
		}
		result.Warnings = append(result.Warnings, wire.ImportWarning{Line: line, ID: id, Message: text})
	}
}

// maxShownID bounds what is repeated of an ID that is none.
const maxShownID = 128

func (in *intake) refusal(it item) wire.ImportRefusal {
	_, body := translate.Error(it.err, "", in.Now())
	id := it.id
	if len(id) > maxShownID {
		id = id[:maxShownID]
	}
	return wire.ImportRefusal{Line: it.line, ID: id, ErrorCode: body.ErrorCode, Message: body.Message}
}

// count adds an outcome to the result of an import; the error is that of a refusal.
func count(one enroll.Imported, result *wire.ImportResult) error {
	switch one.Outcome {
	case enroll.Created:
		result.Created++
	case enroll.Replaced:
		result.Replaced++
	case enroll.Unchanged:
		result.Unchanged++
	}
	return one.Err
}
