package fakehub

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Kind is a way to fail.
type Kind string

// The ways to fail.
const (
	Refuse      Kind = "refuse"       // no connection is taken, and those that are open are cut: the whole hub, whatever Call says
	ResetBefore Kind = "reset-before" // the connection is cut before anything is done
	ResetAfter  Kind = "reset-after"  // the connection is cut when it is done, without an answer
	Throttle    Kind = "throttle"     // 429, with RetryAfter
	Fail        Kind = "fail"         // 500, nothing is done
	FailAfter   Kind = "fail-after"   // 500, but it is done
	WrongKey    Kind = "wrong-key"    // 401, as if the policy had another key
	Deleted     Kind = "deleted"      // 404, there is no such hub
	Slow        Kind = "slow"         // done after Delay
	Hang        Kind = "hang"         // no answer until the caller goes
	Trickle     Kind = "trickle"      // an answer that comes byte by byte, Delay apart, and never ends
	Huge        Kind = "huge"         // an answer of 8 MB
	Garbage     Kind = "garbage"      // 200 with what is no JSON
	Redirect    Kind = "redirect"     // 307 to somewhere else
	WithoutTwin Kind = "without-twin" // a bulk create makes the identity, and warns that it has no twin
	NoBulk      Kind = "no-bulk"      // bulk calls are not known
)

// Kinds returns every way to fail.
func Kinds() []Kind {
	return []Kind{
		Refuse, ResetBefore, ResetAfter, Throttle, Fail, FailAfter, WrongKey, Deleted, Slow, Hang, Trickle,
		Huge, Garbage, Redirect, WithoutTwin, NoBulk,
	}
}

// Fault is what goes wrong, and when.
type Fault struct {
	Kind Kind `json:"kind"`

	// Call names the operation that is hit: list, "get device", "put device", "delete
	// device", "bulk create", "bulk updatetwin", "get twin", "patch twin", ...; "" hits all.
	Call string `json:"call,omitempty"`

	// Skip is how many calls pass first, Times how many are hit then; 0 hits all.
	Skip  int `json:"skip,omitempty"`
	Times int `json:"times,omitempty"`

	// Chance is how likely each call is hit, by the hub's seed; 0 stands for 1.
	Chance float64 `json:"chance,omitempty"`

	RetryAfter string `json:"retryAfter,omitempty"` // the header as it is, for throttle and fail
	DelayMS    int    `json:"delayMs,omitempty"`    // for slow and trickle
}

// SetFaults replaces what goes wrong from now on; none heals the hub.
func (h *Hub) SetFaults(faults ...Fault) {
	h.mu.Lock()
	h.faults = slices.Clone(faults)
	refuse := h.refuse
	h.mu.Unlock()
	if refuse != nil {
		refuse(slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == Refuse }))
	}
}

// faultLocked returns the fault that hits c; none is the zero value.
func (h *Hub) faultLocked(c call) Fault {
	for i := range h.faults {
		f := &h.faults[i]
		if f.Kind == Refuse || f.Call != "" && f.Call != c.name || !f.Kind.concerns(c) || f.Times < 0 {
			continue
		}
		if f.Chance > 0 && h.random.Float64() >= f.Chance {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times == 1 {
			f.Times = -1 // used up
		} else if f.Times > 1 {
			f.Times--
		}
		return *f
	}
	return Fault{}
}

// concerns reports whether a call can fail in this way at all.
func (k Kind) concerns(c call) bool {
	switch k {
	case WithoutTwin:
		return c.name == "bulk create"
	case NoBulk:
		return len(c.name) >= 4 && c.name[:4] == "bulk"
	}
	return true
}

// before reports whether nothing is done at all.
func (f Fault) before() bool {
	return f.Kind == ResetBefore || f.Kind == Hang || f.Kind == Trickle
}

// after reports whether there is no answer to what was done.
func (f Fault) after() bool { return f.Kind == ResetAfter }

// instead returns the answer that takes the place of the real one, nil if none does.
func (f Fault) instead() *reply {
	const huge = 8 << 20
	var r *reply
	switch f.Kind {
	case Throttle:
		r = fail(throttling, "Throttling: too many registry operations")
	case Fail:
		r = fail(serverError, "An internal error occurred")
	case WrongKey:
		r = fail(unauthorized, "Unauthorized")
	case Deleted:
		r = fail(hubNotFound, "The IoT hub was not found")
		r.status = http.StatusNotFound
	case NoBulk:
		r = fail(bulkNotSupported, "bulk operations are not supported")
	case Huge:
		r = &reply{status: http.StatusOK, body: bytes.Repeat([]byte("a"), huge)}
	case Garbage:
		r = &reply{status: http.StatusOK, body: []byte("<html>hello</html>")}
	case Redirect:
		r = &reply{status: http.StatusTemporaryRedirect, header: map[string]string{"Location": "/elsewhere"}}
	default:
		return nil
	}
	if f.RetryAfter != "" {
		r.header = map[string]string{"Retry-After": f.RetryAfter}
	}
	return r
}

// delay holds a slow call up; it is false where the caller went meanwhile.
func (h *Hub) delay(r *http.Request, f Fault) bool {
	if f.Kind != Slow {
		return true
	}
	return h.wait(r, time.Duration(f.DelayMS)*time.Millisecond)
}

func (h *Hub) wait(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-h.closed:
	}
	return false
}

// disturb ends a call without an answer.
func (h *Hub) disturb(w http.ResponseWriter, r *http.Request, f Fault) {
	switch f.Kind {
	case Hang:
		select {
		case <-r.Context().Done():
		case <-h.closed:
		}
	case Trickle:
		w.Header().Set("Content-Length", strconv.Itoa(1<<20))
		rc := http.NewResponseController(w)
		for h.wait(r, time.Duration(f.DelayMS)*time.Millisecond) {
			if _, err := w.Write([]byte(" ")); err != nil || rc.Flush() != nil {
				return
			}
		}
	}
	cut(w)
}

// cut ends the connection with a reset where the transport knows one.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = raw.Close()
}
