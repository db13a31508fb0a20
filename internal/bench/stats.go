package bench

import (
	"math"
	"slices"
	"time"
)

// maxSteps is how many steps an attempt has at most.
const maxSteps = 4

// sample is how long one attempt took, in microseconds: kept small, as there are
// millions of them.
type sample struct {
	whole uint32
	steps [maxSteps]uint32
}

// micros returns d for a sample. What takes longer than an hour does not get here.
func micros(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 0), math.MaxUint32)) //nolint:gosec // in range by min and max
}

// recorder is what one worker saw.
type recorder struct {
	samples  []sample
	failures map[failureKey]*failures
}

// failureKey tells kinds of failures apart.
type failureKey struct {
	step int
	kind string
}

type failures struct {
	count int
	first error
}

func (r *recorder) fail(step int, err error) {
	if r.failures == nil {
		r.failures = make(map[failureKey]*failures)
	}
	k := failureKey{step, kindOf(err)}
	if r.failures[k] == nil {
		r.failures[k] = &failures{first: err}
	}
	r.failures[k].count++
}

// result is what all workers saw.
type result struct {
	samples  []sample
	failures map[failureKey]*failures
	elapsed  time.Duration
	paced    bool
}

func merge(workers []recorder, elapsed time.Duration) *result {
	r := &result{failures: make(map[failureKey]*failures), elapsed: elapsed}
	for _, w := range workers {
		r.samples = append(r.samples, w.samples...)
		for k, f := range w.failures {
			if r.failures[k] == nil {
				r.failures[k] = &failures{first: f.first}
			}
			r.failures[k].count += f.count
		}
	}
	return r
}

// Latency is a distribution, in milliseconds.
type Latency struct {
	P50 float64 `json:"p50Ms"`
	P95 float64 `json:"p95Ms"`
	P99 float64 `json:"p99Ms"`
	Max float64 `json:"maxMs"`
}

// latency describes values, in microseconds, which it sorts.
func latency(values []uint32) Latency {
	slices.Sort(values)
	at := func(p float64) float64 { return float64(percentile(values, p)) / 1000 }
	return Latency{P50: at(50), P95: at(95), P99: at(99), Max: at(100)}
}

// percentile returns the smallest of sorted values that at least p percent of them do
// not exceed (nearest rank); 0 when there are none.
func percentile(sorted []uint32, p float64) uint32 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median returns the middle of values, or the mean of both in the middle; 0 when there
// are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}
