package app

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// probeEvery is how long a successful probe of the storage counts: a probe writes, and anybody
// who reaches the portal's listener may ask.
const probeEvery = time.Second

// probe remembers when the storage could be read and written.
type probe struct {
	mu   sync.Mutex
	good time.Time
}

// cause is what the log says about an error, for whoever watches the service.
func cause(err error) string {
	if e, ok := errors.AsType[*dps.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// ready says whether the service can do its work: its storage can be read and written, and is not
// known to be damaged.
func (a *App) ready(w http.ResponseWriter, r *http.Request) {
	if err := a.store.Damage(); err != nil {
		a.options.Log.Warn("not ready", "err", err)
		http.Error(w, "the database is damaged; the log says where. Stop the service, move the data directory away, "+
			"and restore a backup with: mooring restore", http.StatusServiceUnavailable)
		return
	}
	if err := a.probe.storage(r.Context(), a.store.Ping); err != nil {
		a.options.Log.Warn("not ready", "err", err)
		http.Error(w, "the database cannot be read or written: "+cause(err), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

func (p *probe) storage(ctx context.Context, ping func(context.Context) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.good) < probeEvery {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err := ping(ctx)
	if err == nil {
		p.good = time.Now()
	}
	return err
}
