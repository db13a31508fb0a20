package transferapi

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/query"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/transfer"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// pageSize is how many records are read at once.
const pageSize = 500

// dump answers an export. An export that cannot be finished ends without its last
// chunk, which a client sees as an error.
func (s *server) dump(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	withKeys, err := flagOf(r, "keys")
	if err != nil {
		return err
	}
	rights := []dps.Rights{dps.ServiceConfig}
	if withKeys {
		rights = append(rights, dps.EnrollmentWrite)
	}
	if err := s.allow(r, rights...); err != nil {
		return err
	}
	if err := checkParameters(r, "kind", "keys"); err != nil {
		return err
	}
	kind, err := kindOf(r)
	if err != nil {
		return err
	}
	format, err := formatOf("Accept", accepted(r))
	if err != nil {
		return err
	}
	first, next, err := s.page(r.Context(), kind, nil)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", format.ContentType())
	w.WriteHeader(http.StatusOK)
	out := &outflow{server: s, kind: kind, withKeys: withKeys, control: http.NewResponseController(w)}
	if err := out.write(r.Context(), w, format, first, next); err != nil {
		s.Log.WarnContext(r.Context(), "export cut off", "trackingId", httpio.TrackingID(r.Context()), "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// accepted is the media type that a request asks for: JSON Lines when any will do.
func accepted(r *http.Request) string {
	switch value := r.Header.Get("Accept"); value {
	case "", "*/*", "application/json":
		return wire.ContentTypeJSONLines
	default:
		return value
	}
}

func (s *server) page(ctx context.Context, kind dps.EntryKind, after *dps.Cursor) ([]dps.Enrollment, *dps.Cursor, error) {
	return s.Enroll.Query(ctx, s.Instance, kind, query.Query{}, pageSize, after)
}

// outflow writes the records of one export.
type outflow struct {
	*server
	kind     dps.EntryKind
	withKeys bool
	control  *http.ResponseController
}

// write writes one page after the other.
func (o *outflow) write(ctx context.Context, w io.Writer, f transfer.Format, page []dps.Enrollment, next *dps.Cursor) error {
	buffer := bufio.NewWriterSize(w, 64<<10)
	one := func(e wire.Enrollment) error { return transfer.WriteJSON(buffer, e) }
	flush := buffer.Flush
	if f == transfer.CSV {
		out, err := transfer.NewCSVWriter(buffer, o.kind)
		if err != nil {
			return err
		}
		one = out.Write
		flush = func() error {
			if err := out.Flush(); err != nil {
				return err
			}
			return buffer.Flush()
		}
	}
	for {
		if err := o.extend(); err != nil {
			return err
		}
		if err := o.records(page, one); err != nil {
			return err
		}
		if next == nil {
			return flush()
		}
		var err error
		if page, next, err = o.page(ctx, o.kind, next); err != nil {
			return err
		}
	}
}

func (o *outflow) records(page []dps.Enrollment, one func(wire.Enrollment) error) error {
	for _, e := range page {
		out, err := translate.Export(e, o.withKeys)
		if err != nil {
			return err
		}
		if err := one(out); err != nil {
			return err
		}
	}
	return nil
}

// extend gives the client time for the next page: the whole may take any.
func (o *outflow) extend() error { return o.control.SetWriteDeadline(time.Now().Add(stall)) }
