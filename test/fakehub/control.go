package fakehub

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// maxControl bounds a request to the control port.
const maxControl = 1 << 20

// Control returns the handler of a control port, for a hub in a process of its own:
//
//	PUT  /faults   a list of faults replaces those that were
//	GET  /devices  identities by ID
//	GET  /twins    twins by device ID
//	GET  /twins/{id}    one of them; PATCH merges tags, desired and reported into it
//	GET  /calls    what arrived so far; DELETE empties the list
func (h *Hub) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		var faults []Fault
		d := json.NewDecoder(io.LimitReader(r.Body, maxControl))
		d.DisallowUnknownFields()
		if err := d.Decode(&faults); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, f := range faults {
			if !slices.Contains(Kinds(), f.Kind) {
				http.Error(w, fmt.Sprintf("kind: there is no fault %q", f.Kind), http.StatusBadRequest)
				return
			}
		}
		h.SetFaults(faults...)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /devices", func(w http.ResponseWriter, _ *http.Request) { dump(w, h.Devices()) })
	mux.HandleFunc("GET /twins", func(w http.ResponseWriter, _ *http.Request) { dump(w, h.Twins()) })
	mux.HandleFunc("GET /twins/{id}", func(w http.ResponseWriter, r *http.Request) {
		twin, ok := h.Twin(r.PathValue("id"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		dump(w, twin)
	})
	mux.HandleFunc("PATCH /twins/{id}", func(w http.ResponseWriter, r *http.Request) {
		var patch Twin
		d := json.NewDecoder(io.LimitReader(r.Body, maxControl))
		d.DisallowUnknownFields()
		if err := d.Decode(&patch); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !h.ChangeTwin(r.PathValue("id"), patch) {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) { dump(w, h.Calls()) })
	mux.HandleFunc("DELETE /calls", func(w http.ResponseWriter, _ *http.Request) {
		h.ForgetCalls()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func dump(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
