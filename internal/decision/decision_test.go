package decision_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
)

func TestReadersSeeWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.Refused(refusal("a", i))
	}
	w.Refused(refusal("A", 3))
	w.Refused(refusal("b", 0))
	if n := w.observer.refused["https "+string(refusal("b", 0).Decision.Reason)]; n != 5 {
		t.Errorf("the observer heard of %d refusals, want 5", n)
	}
	e, err := w.Entry(t.Context(), in, "A-3")
	if must(t, err); e.Count != 4 || e.ID != "A" || !e.First.Before(e.Time) {
		t.Errorf("entry = %+v", e)
	}
	if _, err := w.Entry(t.Context(), in, "a-1"); dps.CodeOf(err) != dps.DecisionNotFound {
		t.Errorf("an earlier tracking ID: %v", err)
	}
	w.Refused(refusal("c", 0))
	page, next, err := w.Entries(t.Context(), in, decision.Filter{}, 2, nil)
	if must(t, err); len(page) != 2 || page[0].ID != "c" || next == nil {
		t.Fatalf("page = %+v, next %v", page, next)
	}
	page, next, err = w.Entries(t.Context(), in, decision.Filter{}, 2, next)
	if must(t, err); len(page) != 1 || page[0].ID != "A" || next != nil {
		t.Errorf("last page = %+v, next %v", page, next)
	}
	if w.observer.recorded != 6 || w.observer.dropped != 0 {
		t.Errorf("recorded %d, dropped %d", w.observer.recorded, w.observer.dropped)
	}
}

// What is the same device, for the same reason, from the same source, is one entry.
func TestKeys(t *testing.T) {
	t.Parallel()
	base := decision.Entry{Refusal: refusal("a", 0)}
	for name, tt := range map[string]struct {
		edit func(*decision.Entry)
		same bool
	}{
		"later":             {func(e *decision.Entry) { e.Time, e.TrackingID = e.Time.Add(time.Hour), "x" }, true},
		"spelled otherwise": {func(e *decision.Entry) { e.ID = "A" }, true},
		"another port":      {func(e *decision.Entry) { e.Remote = "192.0.2.1:1" }, true},
		"another address":   {func(e *decision.Entry) { e.Remote = "192.0.2.2:4711" }, false},
		"another reason":    {func(e *decision.Entry) { e.Decision.Reason = dps.ReasonDisabled }, false},
		"another device":    {func(e *decision.Entry) { e.ID = "b" }, false},
		"another instance":  {func(e *decision.Entry) { e.Instance = "b" }, false},
	} {
		other := base
		tt.edit(&other)
		if (other.Key() == base.Key()) != tt.same {
			t.Errorf("%s: %+v and %+v", name, base.Key(), other.Key())
		}
	}
}

func TestBatchesInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run(t)
		w.Refused(refusal("a", 0))
		time.Sleep(900 * time.Millisecond) //nolint:forbidigo // in a bubble, where it takes no time
		if got := w.store.written(); len(got) != 0 {
			t.Errorf("written before there was a second's worth: %v", got)
		}
		time.Sleep(200 * time.Millisecond) //nolint:forbidigo // as above
		if got := w.store.written(); !slices.Equal(got, []int{1}) {
			t.Errorf("after a second: %v", got)
		}
		for i := range 1000 {
			w.Refused(refusal(fmt.Sprint(i), 0))
		}
		time.Sleep(1100 * time.Millisecond) //nolint:forbidigo // as above
		if got := w.store.written(); !slices.Equal(got, []int{1, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100}) {
			t.Errorf("a thousand at once: %v", got)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // as above
		if age := time.Since(w.store.expiry()); age < time.Hour || age > time.Hour+2*time.Minute {
			t.Errorf("expired what is older than %v", age)
		}
		w.Refused(refusal("last", 0))
		stop()
		must(t, w.Flush(t.Context()))
		if got := w.store.written(); len(got) != 12 {
			t.Errorf("what waits at the end is not written by Flush: %v", got)
		}
	})
}

// A flood is written slower and slower: the store has other work.
func TestPaceOfAFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run(t)
		written := func(span time.Duration) int {
			before := 0
			for _, n := range w.store.written() {
				before += n
			}
			for range span / (100 * time.Millisecond) {
				for i := range 200 {
					w.Refused(refusal(fmt.Sprint(i, time.Now().UnixNano()), 0))
				}
				time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in a bubble, where it takes no time
			}
			after := 0
			for _, n := range w.store.written() {
				after += n
			}
			return after - before
		}
		if n := written(10 * time.Second); n < 9_500 || n > 10_100 {
			t.Errorf("%d in the first ten seconds, want 1,000 in each", n)
		}
		written(5 * time.Second)
		if n := written(10 * time.Second); n < 1_900 || n > 2_100 {
			t.Errorf("%d in ten seconds of a flood, want 200 in each", n)
		}
		stop()
	})
}

func TestMoreThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const room = 4096
	var devices sync.WaitGroup
	for part := range 8 {
		devices.Go(func() {
			for i := range 1000 {
				r := refusal(fmt.Sprint(part*1000+i), 0)
				r.Remote = fmt.Sprintf("192.0.2.%d:4711", part)
				w.Refused(r)
			}
		})
	}
	devices.Wait()
	w.Refused(refusal("one more", 0))
	if w.Dropped() != 8001-room || w.observer.dropped != w.Dropped() {
		t.Errorf("dropped %d, the observer heard of %d", w.Dropped(), w.observer.dropped)
	}
	must(t, w.Flush(t.Context()))
	if w.observer.recorded != room {
		t.Errorf("recorded %d", w.observer.recorded)
	}
	w.Refused(refusal("room again", 0))
	if _, err := w.Entry(t.Context(), in, "room again-0"); err != nil {
		t.Error(err)
	}
}

// A flood of one source, of ever new devices, leaves room for the refusals of others.
func TestFloodOfOneSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for round := range 3 {
		for i := range 10_000 {
			w.Refused(refusal(fmt.Sprintf("flood-%d-%d", round, i), 0))
		}
		if dropped := w.Dropped(); dropped == 0 {
			t.Fatal("this is no flood")
		}
		before, id := w.Dropped(), fmt.Sprint("other-", round)
		other := refusal(id, 0)
		other.Remote = "198.51.100.7:1"
		w.Refused(other)
		if w.Dropped() != before {
			t.Errorf("round %d: the refusal of another source was dropped", round)
		}
		if _, err := w.Entry(t.Context(), in, id+"-0"); err != nil { // it writes all that waits
			t.Errorf("round %d: %v", round, err)
		}
	}
}

// A store that cannot write keeps nobody waiting and loses nothing that there is room
// for.
func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Refused(refusal("stored", 0))
		must(t, w.Flush(t.Context()))
		w.store.fail(dps.Errorf(dps.Unavailable, "disk full"))
		stop := w.run(t)
		w.Refused(refusal("a", 0))
		time.Sleep(30 * time.Second) //nolint:forbidigo // in a bubble, where it takes no time
		w.Refused(refusal("a", 1))
		page, _, err := w.Entries(t.Context(), in, decision.Filter{}, 10, nil)
		if must(t, err); len(page) != 1 || page[0].ID != "stored" {
			t.Errorf("while the store cannot write: %+v", page)
		}
		w.store.fail(nil)
		time.Sleep(3 * time.Second) //nolint:forbidigo // as above
		if got := w.store.written(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("batches = %v", got)
		}
		e, err := w.Entry(t.Context(), in, "a-1")
		if must(t, err); e.Count != 2 || w.Dropped() != 0 {
			t.Errorf("entry = %+v, dropped %d", e, w.Dropped())
		}
		stop()
		if n := strings.Count(w.lines.String(), "level=WARN"); n != 1 || !strings.Contains(w.lines.String(), "stored again") {
			t.Errorf("the log has %d warnings:\n%s", n, w.lines)
		}
	})
}

// What a store will never take is dropped, and does not stand in the way of the rest.
func TestBatchThatIsNeverTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.fail(errors.New("no such instance"))
	w.Refused(refusal("a", 0))
	if err := w.Flush(t.Context()); err == nil || w.Dropped() != 1 {
		t.Errorf("%v, dropped %d", err, w.Dropped())
	}
	w.store.fail(nil)
	w.Refused(refusal("b", 0))
	must(t, w.Flush(t.Context()))
	if got := w.store.written(); !slices.Equal(got, []int{1}) {
		t.Errorf("batches = %v", got)
	}
}

// Whatever a device sends, an entry stays small and its most important parts stay.
func TestHugeTexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	huge := strings.Repeat("<script>\x00\xff\u202e\n\"", 100_000)
	r := refusal("a", 0)
	for range 1000 {
		r.Decision.Checks = append(r.Decision.Checks, dps.Check{Name: "check", OK: true, Detail: huge})
	}
	r.Decision.Checks = append(r.Decision.Checks, dps.Check{Name: "the last", Detail: "because " + huge})
	r.Decision.Remedy = "do this"
	for range 10 {
		r.Evidence.Chain = append(r.Evidence.Chain, dps.CertificateInfo{Subject: huge, Issuer: huge, Serial: huge})
	}
	r.Evidence.Presented = 4711
	r.Evidence.Token = &dps.TokenInfo{Resource: huge, KeyName: huge}
	w.Refused(r)
	e, err := w.Entry(t.Context(), in, "a-0")
	must(t, err)
	size := len(e.Remote) + len(e.Decision.Remedy) + len(e.Evidence.Token.Resource) + len(e.Evidence.Token.KeyName)
	for _, c := range e.Decision.Checks {
		size += len(c.Name) + len(c.Detail)
	}
	for _, c := range e.Evidence.Chain {
		size += len(c.Subject) + len(c.Issuer) + len(c.Serial)
	}
	last := e.Decision.Checks[len(e.Decision.Checks)-1]
	if size > 5000 || len(e.Decision.Checks) > 24 || last.Name != "the last" || !strings.HasPrefix(last.Detail, "because <script>") {
		t.Errorf("%d bytes, %d checks, the last is %+v", size, len(e.Decision.Checks), last)
	}
	if e.Decision.Remedy != "do this" || e.Evidence.Presented != 4711 || e.Decision.Checks[0].Detail == huge {
		t.Errorf("entry = %+v", e)
	}
	for _, text := range []string{last.Detail, e.Evidence.Token.Resource} {
		if strings.ContainsAny(text, "\x00\n") || strings.ToValidUTF8(text, "?") != text {
			t.Errorf("text = %q", text)
		}
	}
}

func TestSmallTextsStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := refusal("a", 0)
	r.Decision.Entry = dps.EntryRef{Kind: dps.Group, ID: "Line"}
	r.Evidence = dps.EvidenceSummary{
		Presented: 1, Chain: []dps.CertificateInfo{{Subject: "CN=a", Issuer: "CN=ü", SHA1: "1", SHA256: "2", Serial: "3", Version: 3}},
		Token: &dps.TokenInfo{Resource: "x", Expiry: time.Unix(1, 0)},
	}
	w.Refused(r)
	e, err := w.Entry(t.Context(), in, "a-0")
	must(t, err)
	if diff := cmp.Diff(r, e.Refusal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseReason(t *testing.T) {
	t.Parallel()
	for _, r := range dps.Reasons() {
		if got, err := decision.ParseReason(strings.ToUpper(string(r))); got != r || err != nil {
			t.Errorf("ParseReason(%q) = %q, %v", r, got, err)
		}
	}
	for _, text := range []string{"", "nonsense", "disabled "} {
		if _, err := decision.ParseReason(text); dps.CodeOf(err) != dps.Invalid {
			t.Errorf("ParseReason(%q): %v", text, err)
		}
	}
}

func TestCaps(t *testing.T) {
	t.Parallel()
	if got := decision.CapsOf(100_000); got != (decision.Caps{Total: 100_000, PerDevice: 10, PerSource: 10_000, Unnamed: 10_000}) {
		t.Errorf("caps = %+v", got)
	}
	if got := decision.CapsOf(3); got.PerSource != 1 {
		t.Errorf("caps of 3 = %+v", got)
	}
}
