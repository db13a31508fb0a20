package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/mooring-iot/mooring/internal/dps"
)

// ImportEnrollments writes what decide makes of each record, in order, as one
// change. See enroll.ImportStore.
func (s *Store) ImportEnrollments(ctx context.Context, in dps.InstanceID, refs []dps.EntryRef,
	decide func(i int, stored *dps.Enrollment) (*dps.Enrollment, error),
) ([]error, error) {
	results := make([]error, len(refs))
	err := s.audited(ctx, func(t tx) (effect, error) {
		var done effect
		for i, ref := range refs {
			wrote, refused, lost := s.importOne(t, in, ref, func(stored *dps.Enrollment) (*dps.Enrollment, error) { return decide(i, stored) })
			if lost != nil {
				return done, lost
			}
			if results[i] = refused; wrote {
				done.records++
			}
		}
		return done, nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// importOne writes one record under a savepoint. The last error means that the
// whole change has to be undone.
func (s *Store) importOne(
	t tx,
	in dps.InstanceID,
	ref dps.EntryRef,
	decide func(*dps.Enrollment) (*dps.Enrollment, error),
) (wrote bool, refused, lost error) {
	stored, err := s.storedIn(t, in, ref)
	if err != nil {
		return false, nil, err
	}
	next, err := decide(stored)
	if err != nil || next == nil {
		return false, err, nil
	}
	if err := t.exec(`SAVEPOINT imported`); err != nil {
		return false, nil, err
	}
	if refused = s.overwrite(t, *next, stored); refused != nil {
		if !recordsOwn(refused) {
			return false, nil, refused
		}
		if err := t.exec(`ROLLBACK TO imported`); err != nil {
			return false, nil, errors.Join(refused, err)
		}
	}
	return refused == nil, refused, t.exec(`RELEASE imported`)
}

// recordsOwn reports whether an error is about one record, and not about the database.
func recordsOwn(err error) bool {
	code := dps.CodeOf(err)
	return code != dps.Internal && code != dps.Unavailable
}

// storedIn returns a record as the transaction sees it, nil if there is none.
func (s *Store) storedIn(t tx, in dps.InstanceID, ref dps.EntryRef) (*dps.Enrollment, error) {
	e, err := s.scanEnrollment(
		t.row(context.Background(), `SELECT instance, kind, id_key, id, body, secrets, etag, created, updated FROM enrollments
		WHERE instance = $1 AND kind = $2 AND id_key = $3`, string(in), string(ref.Kind), ref.Key()),
	)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// overwrite writes a record in place of the stored one, nil for none.
func (s *Store) overwrite(t tx, e dps.Enrollment, stored *dps.Enrollment) error {
	row, secrets := rowOf(e)
	body, err := json.Marshal(row)
	if err != nil {
		return err
	}
	sealed, err := s.sealed(secrets, label("enrollment", string(e.Instance), string(e.Ref.Kind), e.Ref.Key()))
	if err != nil {
		return err
	}
	if stored == nil {
		if err := writeEnrollment(t, e, string(body), sealed, ""); err != nil {
			return err
		}
		return addIndex(t, e) // a new record has none to be removed
	}
	if err := writeEnrollment(t, e, string(body), sealed, stored.ETag); err != nil {
		return err
	}
	return index(t, e)
}
