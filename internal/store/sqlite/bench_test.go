package sqlite_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkCommit measures first registrations, with the device's identity, by many
// callers at once. Every one of them is durable when it is counted.
func BenchmarkCommit(b *testing.B) {
	p := newPlace(b)
	s := p.openWith(b, newSetup())
	before, _, _ := p.observer.count()
	var n atomic.Int64
	b.SetParallelism(64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Commit(context.Background(), newRegistration(fmt.Sprintf("sensor-%d", n.Add(1)))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	commits, _, _ := p.observer.count()
	b.ReportMetric(float64(b.N)/float64(commits-before), "changes/commit")
}
