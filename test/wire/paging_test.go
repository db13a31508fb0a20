package wire_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

// TestPageTokensOutliveRestarts reads a list page by page, with a restart and other
// writers between the pages: every record that did not change comes exactly once.
func TestPageTokensOutliveRestarts(t *testing.T) {
	t.Parallel()
	for _, order := range []string{
		"", " ORDER BY registrationId DESC", " ORDER BY lastUpdatedDateTimeUtc", " ORDER BY lastUpdatedDateTimeUtc DESC",
	} {
		t.Run("order"+order, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var steady []string
			for i := range 25 {
				id := fmt.Sprintf("steady-%02d", i)
				steady = append(steady, id)
				w.putKeyed(t, id)
				w.putKeyed(t, fmt.Sprintf("passing-%02d", i))
			}
			var seen []string
			token := ""
			for page := 0; page == 0 || token != ""; page++ {
				if page > 100 {
					t.Fatal("the pages have no end")
				}
				var ids []string
				ids, token = w.page(t, "SELECT * WHERE registrationId > 'a'"+order, 7, token)
				seen = append(seen, ids...)
				w.restart()
				w.send(t, http.MethodDelete, fmt.Sprintf("/enrollments/passing-%02d", page), "")
				w.putKeyed(t, fmt.Sprintf("late-%02d", page))
			}
			got := slices.DeleteFunc(seen, func(id string) bool { return !strings.HasPrefix(id, "steady-") })
			slices.Sort(got)
			if !slices.Equal(got, steady) {
				t.Errorf("records that did not change came as %v", got)
			}
		})
	}
}

func (w *world) putKeyed(t *testing.T, id string) {
	t.Helper()
	w.must(t, http.MethodPut, "/enrollments/"+id, fmt.Sprintf(`{"registrationId": %q, "attestation": {"type": "symmetricKey"}}`, id))
}

// page asks for one page and returns its IDs and the token of the next.
func (w *world) page(t *testing.T, text string, size int, token string) (ids []string, next string) {
	t.Helper()
	const path = "/enrollments/query"
	h := http.Header{"Authorization": {w.token(path)}}
	h.Set(wire.HeaderMaxItemCount, fmt.Sprint(size))
	if token != "" {
		h.Set(wire.HeaderContinuation, token)
	}
	body, err := json.Marshal(wire.QuerySpecification{Query: text})
	if err != nil {
		t.Fatal(err)
	}
	r := w.do(t, call{method: http.MethodPost, path: withVersion(path), header: h, body: strings.NewReader(string(body))})
	if r.status != http.StatusOK {
		t.Fatalf("query: %d %s", r.status, r.body)
	}
	var found []wire.Enrollment
	if err := json.Unmarshal([]byte(r.body), &found); err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		ids = append(ids, e.RegistrationID)
	}
	return ids, r.header.Get(wire.HeaderContinuation)
}
