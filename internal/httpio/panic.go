package httpio

import (
	"log/slog"
	"net/http"

	"github.com/mooring-iot/mooring/internal/dps"
)

// recover answers a request whose handler panicked in the form of the API. Once an answer
// has begun, only closing the connection tells the client that it is not whole.
func (a *API) recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(p)
	}
	sw := statusWriterOf(w)
	err := sw.recovered(p)
	if sw != nil && sw.status != 0 {
		LogRefusal(a.Log, r, err)
		panic(http.ErrAbortHandler)
	}
	clear(w.Header())
	a.refuse(w, r, err)
}

// recover answers a request that panicked outside of every API.
func (w *statusWriter) recover(r *http.Request, log *slog.Logger) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(p)
	}
	LogRefusal(log, r, w.recovered(p))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header())
	http.Error(w, "Internal server error. Tracking ID: "+TrackingID(r.Context()), http.StatusInternalServerError)
}

// recovered returns a panic as an error. A nil w has no observer.
func (w *statusWriter) recovered(p any) error {
	var observer dps.PanicObserver
	if w != nil {
		observer = w.observer
	}
	return dps.Recovered(p, observer, "http")
}

// statusWriterOf returns the statusWriter of Track below w, nil if there is none.
func statusWriterOf(w http.ResponseWriter) *statusWriter {
	for {
		if sw, ok := w.(*statusWriter); ok {
			return sw
		}
		above, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = above.Unwrap()
	}
}
