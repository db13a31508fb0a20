package app_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	_ "modernc.org/sqlite" // the driver of the store
)

// An embedded hub of an earlier version has the owner's policy alone: the next start
// adds the others and leaves that one as it is.
func TestHubPoliciesAreAdded(t *testing.T) {
	data := newData(t)
	before := hubPolicies(t, data)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "mooring.db"))
	must(t, err)
	_, err = db.ExecContext(t.Context(), `DELETE FROM hub_policies WHERE name <> 'iothubowner'`)
	must(t, err)
	must(t, errors.Join(db.Close(), os.Remove(filepath.Join(data, "mooring.db-sums")))) // another program changed it

	after := hubPolicies(t, data)
	var names []string
	for name, text := range after {
		names = append(names, name)
		if name != "iothubowner" && before[name] == text {
			t.Errorf("policy %s has the key that was deleted", name)
		}
	}
	slices.Sort(names)
	if want := []string{"device", "iothubowner", "registryRead", "registryReadWrite", "service"}; !slices.Equal(names, want) {
		t.Errorf("policies %v, want %v", names, want)
	}
	if before["iothubowner"] != after["iothubowner"] || before["iothubowner"] == "" {
		t.Error("the owner's keys changed")
	}
	if again := hubPolicies(t, data); again["service"] != after["service"] {
		t.Error("a start changes keys that are there")
	}
}

// hubPolicies serves data once and returns the connection strings of the first hub,
// without the host, whose port is another one each time.
func hubPolicies(t *testing.T, data string) map[string]string {
	t.Helper()
	a := newApp(t, data)
	info, err := a.Info(t.Context())
	must(t, err)
	must(t, a.Close())
	out := make(map[string]string)
	for name, text := range info.Hubs[0].ConnectionStrings {
		out[name] = text[len(text)-88:]
	}
	return out
}
