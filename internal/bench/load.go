package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Load says how much is asked of the service.
type Load struct {
	Concurrency int           // devices that are busy at the same time
	Rounds      int           // how often each device registers; 0 for as long as Duration lasts
	Duration    time.Duration // when no further registration begins; 0 for no such time
	// Progress hears every now and then how far it is; may be nil.
	Progress func(Progress) `json:"-"`

	spacing time.Duration // between two beginnings of the same device
}

// Progress is how far a load is.
type Progress struct {
	Elapsed time.Duration
	Done    int // registrations that succeeded
	Failed  int
}

// MaxConcurrency bounds the connections of one process.
const MaxConcurrency = 20_000

// Check reports what of l is impossible.
func (l Load) Check() error {
	switch {
	case l.Concurrency < 1 || l.Concurrency > MaxConcurrency:
		return errors.New("concurrency: must be between 1 and 20000")
	case l.Rounds < 0 || l.Duration < 0:
		return errors.New("rounds and duration: must not be negative")
	case l.Rounds == 0 && l.Duration == 0:
		return errors.New("rounds or duration: one of them has to end the run")
	}
	return nil
}

// progressEvery is the time between two calls of Progress.
const progressEvery = 200 * time.Millisecond

// attempt is one registration of a device, timed by w.
type attempt func(ctx context.Context, device int, w *watch) error

// counters are shared by the workers.
type counters struct {
	next, done, failed atomic.Int64
	begun              []atomic.Int64 // by device, when it last began: nanoseconds since the start, 0 for never
	paced              atomic.Bool    // a worker had to wait for a device
}

// run makes attempts for n devices, in turn, until the load or ctx ends. What is
// under way when the time is over is finished and counts.
func (l Load) run(ctx context.Context, n int, do attempt) *result {
	start := time.Now()
	shared := counters{begun: make([]atomic.Int64, n)}
	workers := make([]recorder, min(l.Concurrency, n)) // a device does one thing at a time
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() { l.work(ctx, work{n: n, start: start, do: do, shared: &shared, to: &workers[i]}) })
	}
	stop := l.report(start, &shared)
	running.Wait()
	elapsed := time.Since(start)
	stop()
	r := merge(workers, elapsed)
	r.paced = shared.paced.Load()
	return r
}

// work is what one worker needs.
type work struct {
	n      int
	start  time.Time
	do     attempt
	shared *counters
	to     *recorder
}

func (l Load) work(ctx context.Context, k work) {
	var w watch
	for ctx.Err() == nil {
		i := int(k.shared.next.Add(1)) - 1
		if l.Rounds > 0 && i/k.n >= l.Rounds || !l.turn(ctx, k, i%k.n) {
			return
		}
		w.begin()
		err := k.do(ctx, i%k.n, &w)
		switch {
		case err == nil:
			k.to.samples = append(k.to.samples, w.sample)
			k.shared.done.Add(1)
		case ctx.Err() == nil:
			k.to.fail(w.step(), err)
			k.shared.failed.Add(1)
		}
	}
}

// turn waits until a device may begin. It reports false when the time is over.
func (l Load) turn(ctx context.Context, k work, device int) bool {
	at, last := time.Since(k.start), &k.shared.begun[device]
	if previous := time.Duration(last.Load()); previous > 0 {
		at = max(at, previous+l.spacing)
	}
	if l.Duration > 0 && at >= l.Duration {
		return false
	}
	if ahead := at - time.Since(k.start); ahead > 0 {
		k.shared.paced.Store(true)
		if wait(ctx, ahead) != nil {
			return false
		}
	}
	last.Store(int64(at))
	return true
}

// report calls Progress until the returned function is called, which waits for it.
func (l Load) report(start time.Time, shared *counters) (stop func()) {
	if l.Progress == nil {
		return func() {}
	}
	tell := func() {
		l.Progress(Progress{Elapsed: time.Since(start), Done: int(shared.done.Load()), Failed: int(shared.failed.Load())})
	}
	end := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				tell()
			}
		}
	})
	return func() {
		close(end)
		reporter.Wait()
		tell()
	}
}

// watch times the steps of one attempt.
type watch struct {
	start, last time.Time
	sample      sample
	at          int // steps that are done
}

func (w *watch) begin() {
	w.start = time.Now()
	w.last, w.at, w.sample = w.start, 0, sample{}
}

// mark ends a step.
func (w *watch) mark() {
	now := time.Now()
	w.sample.steps[w.at] = micros(now.Sub(w.last))
	w.sample.whole = micros(now.Sub(w.start))
	w.last = now
	w.at++
}

// step returns the number of the step that is under way.
func (w *watch) step() int { return w.at }
