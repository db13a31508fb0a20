package sqlite

import (
	"context"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/statistics"
)

// AddCounts adds to what is stored of each span, or nothing of it.
func (s *Store) AddCounts(ctx context.Context, rows []statistics.Row) error {
	return s.change(ctx, func(t tx) error {
		for _, r := range rows {
			err := t.exec(`INSERT INTO registration_counts (instance, width, start, assigned, failed, refused) VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (instance, width, start) DO UPDATE SET assigned = assigned + excluded.assigned,
				failed = failed + excluded.failed, refused = refused + excluded.refused`,
				string(r.Instance), seconds(r.Width), r.Start.Unix(), r.Assigned, r.Failed, r.Refused)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Counts returns the spans of a width that begin at or after from and before to, oldest
// first.
func (s *Store) Counts(ctx context.Context, in dps.InstanceID, width time.Duration, from, to time.Time) ([]statistics.Bucket, error) {
	rows, err := s.readers.rows(ctx, `SELECT start, assigned, failed, refused FROM registration_counts
		WHERE instance = $1 AND width = $2 AND start >= $3 AND start < $4 ORDER BY start`,
		string(in), seconds(width), ceilSeconds(from), ceilSeconds(to))
	return collect(rows, err, func(row scanner) (statistics.Bucket, error) {
		var b statistics.Bucket
		var start int64
		err := row.Scan(&start, &b.Assigned, &b.Failed, &b.Refused)
		b.Start = fromSeconds(start)
		return b, err
	})
}

// ExpireCounts removes the spans of a width that begin before a time.
func (s *Store) ExpireCounts(ctx context.Context, width time.Duration, before time.Time) error {
	return s.change(ctx, func(t tx) error {
		return t.exec(`DELETE FROM registration_counts WHERE instance IN (SELECT id FROM instances) AND width = $1 AND start < $2`,
			seconds(width), ceilSeconds(before))
	})
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// ceilSeconds returns the first whole second that is not before t.
func ceilSeconds(t time.Time) int64 {
	n := t.Unix()
	if t.Nanosecond() > 0 {
		n++
	}
	return n
}
