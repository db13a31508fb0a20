package mooringapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// record writes a record some seconds after the world's beginning.
func (w *world) record(t *testing.T, id string, seconds int, entry dps.EntryRef, status dps.RegistrationStatus) {
	t.Helper()
	reg := dps.Registration{
		Instance:    dps.DefaultInstance,
		ID:          dps.RegistrationID(id),
		Entry:       entry,
		Attestation: dps.SymmetricKey,
		Evidence:    "key",
		Status:      status,
		Operation:   dps.NewOperationID(),
		ETag:        dps.NewETag(),
		Created:     now,
		Updated:     now.Add(time.Duration(seconds) * time.Second),
	}
	switch status {
	case dps.Failed:
		reg.Failure = &dps.Failure{Code: dps.NoHub, Message: "No hub."}
	case dps.Assigned:
		reg.Assignment = &dps.Assignment{Hub: dps.EmbeddedHub, DeviceID: dps.DeviceID("hub-" + id), Substatus: dps.InitialAssignment}
	}
	must(t, w.store.Commit(t.Context(), dps.RegistrationChange{Registration: reg}))
}

func (w *world) records(t *testing.T, query string) wire.RegistrationPage {
	t.Helper()
	res := w.send(t, "GET", wire.RegistrationsPath+"?"+query, "")
	var page wire.RegistrationPage
	if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil || res.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", query, res.Code, res.Body)
	}
	return page
}

func idsOf(page wire.RegistrationPage) (ids []string) {
	for _, r := range page.Value {
		ids = append(ids, r.RegistrationID+" "+r.EnrollmentGroupID+r.EnrollmentID)
	}
	return ids
}

func TestFindRegistrations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	group := func(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Group, ID: id} }
	w.record(t, "pump-1", 1, group("a"), dps.Failed)
	w.record(t, "pump-2", 3, group("b"), dps.Failed)
	w.record(t, "valve", 2, dps.EntryRef{Kind: dps.Individual, ID: "valve"}, dps.Failed)
	w.record(t, "pump-3", 4, group("b"), dps.Assigned)
	w.record(t, "v.8", 5, group("b"), dps.Assigned)
	for query, want := range map[string][]string{
		"status=failed":        {"pump-2 b", "valve valve", "pump-1 a"},
		"":                     {"pump-1 a", "pump-2 b", "pump-3 b", "v.8 b", "valve valve"},
		"startsWith=v.":        {"v.8 b"},
		"status=disabled":      nil,
		"startsWith=PUMP-":     {"pump-1 a", "pump-2 b", "pump-3 b"},
		"deviceId=hub-pump-3":  {"pump-3 b"},
		"registrationId=VALVE": {"valve valve"},
		"registrationId=x&registrationId=pump-1&registrationId=valve": {"pump-1 a", "valve valve"},
	} {
		if diff := cmp.Diff(want, idsOf(w.records(t, query))); diff != "" {
			t.Errorf("%s:\n%s", query, diff)
		}
	}
	first := w.records(t, "status=failed&top=2")
	second := w.records(t, "status=failed&top=2&continuation="+url.QueryEscape(first.Continuation))
	if got := append(idsOf(first), idsOf(second)...); first.Continuation == "" || second.Continuation != "" ||
		!cmp.Equal(got, []string{"pump-2 b", "valve valve", "pump-1 a"}) {
		t.Errorf("two pages: %q", got)
	}
	if r := w.records(t, "deviceId=hub-pump-3").Value[0]; r.AssignedHub != "hub.example" || r.DeviceID != "hub-pump-3" ||
		r.Status != "assigned" {
		t.Errorf("record = %+v", r)
	}
}

func TestFindRegistrationsRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for query, want := range map[string]string{
		"status=failed&startsWith=a":             "query: must have at most one of",
		"registrationId=a&deviceId=b":            "query: must have at most one of",
		"status=assigned":                        "status: must be assigning, failed or disabled",
		"status=Failed":                          "status: must be",
		"startsWith=a%20b":                       "startsWith: must be",
		"registrationId=a%20b":                   "registrationId: ",
		"deviceId=" + strings.Repeat("x", 200):   "deviceId: ",
		"status=failed&top=0":                    "top: ",
		"status=failed&continuation=x":           "continuation: ",
		"group=a":                                "query: ",
		strings.Repeat("registrationId=a&", 101): "registrationId: is given 101 times; the limit is 100",
	} {
		res := w.send(t, "GET", wire.RegistrationsPath+"?"+query, "")
		if res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), want) {
			t.Errorf("%.60s: %d %s, want %q", query, res.Code, res.Body, want)
		}
	}
}
