package sqlite

import (
	"context"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// effect is what a change did, for its audit entry.
type effect struct {
	records       int      // how many records were written; 0 has no entry
	before, after dps.ETag // versions, where it was one record
}

// managed is change for one record that an operator changes from version before to
// after, "" for none.
func (s *Store) managed(ctx context.Context, before, after dps.ETag, apply func(tx) error) error {
	return s.audited(ctx, func(t tx) (effect, error) {
		return effect{records: 1, before: before, after: after}, apply(t)
	})
}

// audited is change that writes the audit entry of the change that ctx belongs to, if
// any, in the same transaction.
func (s *Store) audited(ctx context.Context, apply func(tx) (effect, error)) error {
	c := audit.From(ctx)
	var written *audit.Entry
	err := s.change(ctx, func(t tx) error {
		done, err := apply(t)
		if err != nil || c == nil || done.records == 0 {
			return err
		}
		e := c.Written(done.records, done.before, done.after)
		e.Seq, err = putAudit(t, e, s.now())
		written = &e
		return err
	})
	if err == nil && written != nil {
		c.Committed(*written)
	}
	return err
}

// RecordAudit writes an audit entry and returns its Seq: a new one, or in place of the
// one with e's Seq.
func (s *Store) RecordAudit(ctx context.Context, e audit.Entry) (seq int64, err error) {
	err = s.change(ctx, func(t tx) error {
		seq, err = putAudit(t, e, s.now())
		return err
	})
	return seq, err
}

func putAudit(t tx, e audit.Entry, now time.Time) (int64, error) {
	if e.Seq != 0 {
		return e.Seq, t.exec(
			`UPDATE audit SET operation = $1, old_etag = $2, new_etag = $3, result = $4, several = $5, succeeded = $6, failed = $7 WHERE seq = $8`,
			string(e.Operation),
			string(e.OldETag),
			string(e.NewETag),
			string(e.Result),
			e.Several,
			e.Succeeded,
			e.Failed,
			e.Seq,
		)
	}
	var seq int64
	err := t.row(context.Background(), `INSERT INTO audit (instance, time, principal, operation, kind, id_key, id, old_etag, new_etag, result,
		several, succeeded, failed, tracking_id, remote, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING seq`,
		string(e.Instance), now.UnixNano(), string(e.Principal), string(e.Operation), string(e.Kind), strings.ToLower(e.ID), e.ID,
		string(e.OldETag), string(e.NewETag), string(e.Result), e.Several, e.Succeeded, e.Failed, e.TrackingID, e.Remote, e.Detail).Scan(&seq)
	return seq, err
}

// Audit returns up to limit audit entries that f selects, newest first, older than the
// cursor.
func (s *Store) Audit(ctx context.Context, in dps.InstanceID, f audit.Filter, limit int, after *audit.Cursor) ([]audit.Entry, error) {
	var st statement
	st.and("instance = " + st.arg(string(in)))
	if !f.From.IsZero() {
		st.and("time >= " + st.arg(f.From.UnixNano()))
	}
	if !f.To.IsZero() {
		st.and("time < " + st.arg(f.To.UnixNano()))
	}
	if f.ID != "" {
		st.and("id_key = " + st.arg(strings.ToLower(f.ID)))
	}
	st.auditMembers(f)
	if after != nil {
		st.and("(time, seq) < (" + st.arg(after.Time.UnixNano()) + ", " + st.arg(after.Seq) + ")")
	}
	// Texts are not prepared for good: there are as many as sets of filters.
	rows, err := s.readers.db.QueryContext(ctx, `SELECT seq, instance, time, principal, operation, kind, id, old_etag, new_etag, result,
		several, succeeded, failed, tracking_id, remote, detail FROM audit WHERE `+strings.Join(st.where, " AND ")+
		` ORDER BY time DESC, seq DESC LIMIT `+st.arg(limit), st.args...)
	return collect(rows, err, scanAudit)
}

// auditMembers selects by the members that no index has.
func (s *statement) auditMembers(f audit.Filter) {
	if f.Principal != "" {
		s.and("principal = " + s.arg(string(f.Principal)) + " COLLATE NOCASE")
	}
	if f.Operation != "" {
		s.and("operation = " + s.arg(string(f.Operation)))
	}
	if f.Kind != "" {
		s.and("kind = " + s.arg(string(f.Kind)))
	}
	switch f.Result {
	case "":
	case audit.Failed:
		s.and("result <> " + s.arg(string(audit.OK)))
	default:
		s.and("result = " + s.arg(string(f.Result)))
	}
}

func scanAudit(row scanner) (audit.Entry, error) {
	var e audit.Entry
	var in, principal, operation, kind, before, after, result string
	var at int64
	err := row.Scan(&e.Seq, &in, &at, &principal, &operation, &kind, &e.ID, &before, &after, &result,
		&e.Several, &e.Succeeded, &e.Failed, &e.TrackingID, &e.Remote, &e.Detail)
	e.Instance, e.Time, e.Principal = dps.InstanceID(in), fromNanos(at), audit.Principal(principal)
	e.Operation, e.Kind, e.Result = audit.Operation(operation), audit.Kind(kind), audit.Result(result)
	e.OldETag, e.NewETag = dps.ETag(before), dps.ETag(after)
	return e, err
}

// sweepAudit removes the audit entries that are older than the store keeps them.
func (s *Store) sweepAudit(ctx context.Context) error {
	if s.auditRetention == 0 {
		return nil
	}
	return s.removeBatches(ctx, `DELETE FROM audit WHERE seq IN (SELECT seq FROM audit
		WHERE instance IN (SELECT id FROM instances) AND time < $1 LIMIT $2)`, s.now().Add(-s.auditRetention))
}
