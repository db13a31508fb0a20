package app

import (
	"context"
	"errors"
	"net/http"

	"github.com/mooring-iot/mooring/internal/dps"
)

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
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := a.store.Ping(ctx); err != nil { // writes at most once a second
		a.options.Log.Warn("not ready", "err", err)
		http.Error(w, "the database cannot be read or written: "+cause(err), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}
