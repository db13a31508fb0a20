package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"sync"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Bounds of what is read of a table before it is looked at.
const (
	leastBatch = 32  // rows
	mostBatch  = 512 // rows
	batchBytes = 256 << 10
)

// batch is some rows, in order, and what of them matches.
type batch struct {
	rows  []*enrollmentDocument
	found []dps.Enrollment
	err   error
	done  chan struct{} // closed when found and err are there
}

// selectEnrollments reads rows until enough match: one goroutine reads, others try the
// condition. Texts are not prepared for good: there are as many as shapes of queries.
func (s *Store) selectEnrollments(ctx context.Context, st statement, sel selection) (found []dps.Enrollment, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	rows, err := s.readers.db.QueryContext(ctx, st.text(), st.args...)
	if err != nil {
		return nil, storeError(err)
	}
	batches := make(chan *batch, runtime.GOMAXPROCS(0))
	var reading sync.WaitGroup
	reading.Go(func() { s.readBatches(ctx, rows, sel, batches) })
	for b := range batches {
		<-b.done
		if err = errors.Join(err, b.err); err != nil || len(found) >= sel.limit {
			stop() // and take what is still under way
			continue
		}
		found = append(found, b.found[:min(len(b.found), sel.limit-len(found))]...)
		if len(found) >= sel.limit {
			stop()
		}
	}
	reading.Wait()
	if len(found) >= sel.limit {
		_ = rows.Close() // stopped on purpose
		return found, nil
	}
	return found, storeError(errors.Join(err, rows.Err(), rows.Close()))
}

// readBatches sends the rows, in order, until there are no more or ctx ends.
func (s *Store) readBatches(ctx context.Context, rows *sql.Rows, sel selection, batches chan<- *batch) {
	defer close(batches)
	var matching sync.WaitGroup
	defer matching.Wait()
	for most := leastBatch; ctx.Err() == nil; most = min(2*most, mostBatch) {
		b := readBatch(rows, sel, most)
		if len(b.rows) == 0 && b.err == nil {
			return
		}
		matching.Go(func() { s.match(b, sel) })
		batches <- b // its reader takes all
	}
}

func readBatch(rows *sql.Rows, sel selection, most int) *batch {
	b := &batch{done: make(chan struct{})}
	for size := 0; len(b.rows) < most && size < batchBytes && rows.Next(); {
		d := &enrollmentDocument{sel: &sel}
		if b.err = d.scan(rows); b.err != nil {
			break
		}
		b.rows = append(b.rows, d)
		size += len(d.row.Body) + len(d.row.Secrets)
	}
	return b
}

// match tries the condition on a batch and reads what matches whole.
func (s *Store) match(b *batch, sel selection) {
	defer close(b.done)
	for _, d := range b.rows {
		if !sel.mayMatch(d.row.Body) {
			continue
		}
		d.store = s
		matches := sel.q.Match(d)
		if d.err == nil && matches {
			var e dps.Enrollment
			e, d.err = s.enrollmentOf(d.row.keyed())
			b.found = append(b.found, e)
		}
		if d.err != nil {
			b.err = errors.Join(b.err, d.err)
			return
		}
	}
}
