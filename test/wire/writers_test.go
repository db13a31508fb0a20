package wire_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestOneWriterWins has many writers change one record from the same version: exactly
// one wins each round, and what is stored is what the winner wrote.
func TestOneWriterWins(t *testing.T) {
	t.Parallel()
	const writers, rounds = 64, 5
	w := newWorld(t)
	for _, target := range []struct{ path, id string }{
		{"/enrollments/press", "registrationId"}, {"/enrollmentGroups/line", "enrollmentGroupId"},
	} {
		name := target.path[strings.LastIndex(target.path, "/")+1:]
		body := func(round, writer int) string {
			return fmt.Sprintf(
				`{%q: %q, "attestation": {"type": "symmetricKey"}, "initialTwin": {"tags": {"wins": %d, "by": %d}}}`,
				target.id,
				name,
				round,
				writer,
			)
		}
		etag := fmt.Sprint(w.must(t, http.MethodPut, target.path, body(0, 0))["etag"])
		for round := 1; round <= rounds; round++ {
			won := race(writers, func(writer int) int { return w.putAt(t, target.path, etag, body(round, writer)) })
			if len(won[http.StatusOK]) != 1 || len(won[http.StatusPreconditionFailed]) != writers-1 {
				t.Fatalf("%s, round %d: %v", name, round, won)
			}
			stored := w.must(t, http.MethodGet, target.path, "")
			tags := tagsOf(stored)
			if tags["wins"] != float64(round) || tags["by"] != float64(won[http.StatusOK][0]) || stored["etag"] == etag {
				t.Fatalf("%s, round %d: writer %v won, stored is %v", name, round, won[http.StatusOK], stored)
			}
			etag = fmt.Sprint(stored["etag"])
		}
	}
}

// TestNoUpdateIsLost has many writers count in one record, each until it has won.
func TestNoUpdateIsLost(t *testing.T) {
	t.Parallel()
	const writers = 64
	w := newWorld(t)
	put := func(n float64) string {
		return fmt.Sprintf(`{"registrationId": "press", "attestation": {"type": "symmetricKey"}, "initialTwin": {"tags": {"count": %.0f}}}`, n)
	}
	count := func(e map[string]any) float64 {
		n, _ := tagsOf(e)["count"].(float64)
		return n
	}
	w.must(t, http.MethodPut, "/enrollments/press", put(0))
	race(writers, func(int) int {
		for !t.Failed() {
			e := w.must(t, http.MethodGet, "/enrollments/press", "")
			if status := w.putAt(t, "/enrollments/press", fmt.Sprint(e["etag"]), put(count(e)+1)); status != http.StatusPreconditionFailed {
				return status
			}
		}
		return 0
	})
	if got := count(w.must(t, http.MethodGet, "/enrollments/press", "")); got != writers {
		t.Errorf("%d writers counted to %.0f", writers, got)
	}
}

func (w *world) putAt(t *testing.T, path, etag, body string) int {
	h := http.Header{"Authorization": {w.token(path)}, "If-Match": {etag}, "Content-Type": {"application/json"}}
	return w.do(t, call{method: http.MethodPut, path: withVersion(path), header: h, body: strings.NewReader(body)}).status
}

// race runs writers together and returns who had which outcome.
func race(writers int, write func(writer int) int) map[int][]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	outcomes := make(map[int][]int)
	begin := make(chan struct{})
	for n := range writers {
		all.Go(func() {
			<-begin
			status := write(n)
			mu.Lock()
			defer mu.Unlock()
			outcomes[status] = append(outcomes[status], n)
		})
	}
	close(begin)
	all.Wait()
	return outcomes
}

// tagsOf returns the tags of an enrollment's twin, nil if it has none.
func tagsOf(e map[string]any) map[string]any {
	twin, _ := e["initialTwin"].(map[string]any)
	tags, _ := twin["tags"].(map[string]any)
	return tags
}
