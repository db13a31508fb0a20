package audit

import (
	"context"
	"log/slog"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Options are what a Log needs; all are required.
type Options struct {
	Store Store
	Log   *slog.Logger
}

// Log is all entries. It is safe for concurrent use.
type Log struct {
	store Store
	log   *slog.Logger
}

// New returns the Log over a store.
func New(o Options) *Log { return &Log{store: o.Store, log: o.Log} }

// Settle writes what no transaction has written of a change that ended with err: that
// it failed, or how many of several records did. It is called before the caller hears
// of the outcome. A change that the guard did not allow has no entry, nor has a
// success that changed nothing.
//
// An entry that cannot be written now is logged instead: of what did change, the
// entry stands already, and a refusal is better answered as what it is.
func (l *Log) Settle(ctx context.Context, c *Change, err error) {
	if l == nil || c == nil || !c.allowed || !c.stale {
		return
	}
	if !c.entry.Several && err == nil {
		return
	}
	if !c.entry.Several || c.entry.Result == OK {
		c.entry.Result = ResultOf(err)
	}
	seq, failed := l.store.RecordAudit(context.WithoutCancel(ctx), c.entry)
	if failed != nil {
		e := c.entry
		l.log.ErrorContext(ctx, "an audit entry cannot be written", "err", failed, "trackingId", e.TrackingID, "principal", string(e.Principal),
			"operation", string(e.Operation), "kind", string(e.Kind), "id", e.ID, "result", string(e.Result), "failed", e.Failed, "remote", e.Remote)
		return
	}
	c.entry.Seq, c.stale = seq, false
}

// Entries returns up to top entries that f selects, newest first, older than the
// cursor, and where to go on; next is nil at the end.
func (l *Log) Entries(ctx context.Context, in dps.InstanceID, f Filter, top int, after *Cursor) (page []Entry, next *Cursor, err error) {
	page, err = l.store.Audit(ctx, in, f, top+1, after)
	if err != nil || len(page) <= top {
		return page, nil, err
	}
	page = page[:top]
	last := page[top-1]
	return page, &Cursor{Time: last.Time, Seq: last.Seq}, nil
}
