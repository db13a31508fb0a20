package audit

import (
	"context"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Bounds of what is kept of a request, in bytes: a request may name records as long as
// it likes that no record is ever called.
const (
	maxID     = 256
	maxRemote = 128
)

// actorKey is the context key of whoever the portal acts for.
type actorKey struct{}

// OnBehalf returns a context whose changes are by, however the call authorizes itself:
// the portal calls the APIs in this process, with credentials of its own. A context does
// not travel over the wire, so nobody outside can say it.
func OnBehalf(ctx context.Context, by Principal) context.Context {
	return context.WithValue(ctx, actorKey{}, by)
}

// Change is one management change under way. It belongs to one request and is not safe
// for concurrent use.
type Change struct {
	entry   Entry
	actor   Principal // whoever it is on behalf of, "" where the caller is the one
	allowed bool
	stale   bool // the stored entry, if any, does not say all that entry says
}

// changeKey is the context key of a Change.
type changeKey struct{}

// From returns the change that ctx belongs to, nil if it belongs to none.
func From(ctx context.Context) *Change {
	c, _ := ctx.Value(changeKey{}).(*Change)
	return c
}

// Begin returns a change that nobody was allowed yet, with a context for all that is
// done for it. Of e only what the request says counts.
func Begin(ctx context.Context, e Entry) (context.Context, *Change) {
	e.ID, e.Remote = bounded(e.ID, maxID), bounded(e.Remote, maxRemote)
	c := &Change{entry: e, stale: true}
	c.actor, _ = ctx.Value(actorKey{}).(Principal)
	return context.WithValue(ctx, changeKey{}, c), c
}

// BeginBatch returns a change of several records as a part of the one that ctx belongs
// to, which must have been allowed: an import has one for each batch. Whoever begins it
// runs the writes in the context returned, calls Failed for each record that is
// refused, and then Log.Settle, before the caller hears of the batch. Where ctx belongs
// to no change it returns nil, with which all of that does nothing.
func BeginBatch(ctx context.Context, op Operation, kind Kind) (context.Context, *Change) {
	whole := From(ctx)
	if whole == nil {
		return ctx, nil
	}
	c := &Change{entry: whole.entry, allowed: whole.allowed, stale: true}
	c.entry.Seq, c.entry.Kind, c.entry.ID = 0, kind, ""
	c.entry.Succeeded, c.entry.Failed = 0, 0
	c.Several(op)
	return context.WithValue(ctx, changeKey{}, c), c
}

// bounded returns at most limit bytes of text, as UTF-8.
func bounded(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// Allow notes that the guard let by pass, maybe on behalf of another. A nil change is none to note.
func (c *Change) Allow(by Principal) {
	if c == nil {
		return
	}
	if c.actor != "" {
		by = c.actor
	}
	c.entry.Principal, c.allowed = by, true
}

// Several makes it a change of several records, by op.
func (c *Change) Several(op Operation) {
	if c != nil {
		c.entry.Operation, c.entry.Several, c.entry.Result = op, true, OK
	}
}

// Failed notes that one of several records was refused.
func (c *Change) Failed(err error) {
	if c == nil {
		return
	}
	if c.entry.Failed == 0 {
		c.entry.Result = ResultOf(err)
	}
	c.entry.Failed++
	c.stale = true
}

// Written returns the entry as it has to stand when a transaction that writes records,
// from version before to after, commits. The store writes it in that transaction and
// then calls Committed.
func (c *Change) Written(records int, before, after dps.ETag) Entry {
	e := c.entry
	if e.Several {
		e.Succeeded += records
		return e
	}
	e.OldETag, e.NewETag, e.Result = before, after, OK
	return e
}

// Committed notes that e, which Written returned, is durable under its Seq.
func (c *Change) Committed(e Entry) { c.entry, c.stale = e, false }
