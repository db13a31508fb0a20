package app

import (
	"context"
	"errors"
	"time"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/statistics"
)

// diagnostics is what is kept of registrations in the background. Both wait in memory for a
// moment, and are written when the service closes, at the latest.
type diagnostics struct {
	decisions  *decision.Log
	statistics *statistics.Counter
}

// flushTime is how long writing what waits may take when the service closes.
const flushTime = 2 * time.Second

// openDiagnostics makes what App.Run runs.
func (a *App) openDiagnostics() {
	c := a.options.Config
	a.diagnostics.decisions = decision.New(decision.Options{
		Store: a.store, Observer: a.metrics, Log: a.options.Log, Now: time.Now,
		Retention: c.DecisionRetention, Limit: c.DecisionLimit,
	})
	a.diagnostics.statistics = statistics.New(statistics.Options{Store: a.store, Log: a.options.Log, Now: time.Now})
	a.closers = append(a.closers, func() error {
		a.flushDiagnostics()
		return nil
	})
}

// flushDiagnostics writes what waits. What cannot be written is lost, and is no reason
// to say that the service ended badly.
func (a *App) flushDiagnostics() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := errors.Join(a.diagnostics.decisions.Flush(ctx), a.diagnostics.statistics.Flush(ctx)); err != nil {
		a.options.Log.Warn("the latest refusals and registration counts were not stored", "err", err)
	}
}
