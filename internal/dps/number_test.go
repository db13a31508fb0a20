package dps_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// unreadable are numbers that readers of JSON turn into infinity, zero or an error.
var unreadable = []string{"1e999", "-1e999", "1E+309", "1.8e308", "1e-999", "-0.1E-400", "1" + strings.Repeat("0", 310)}

func TestCheckNumbers(t *testing.T) {
	t.Parallel()
	for _, n := range unreadable {
		for _, in := range []string{n, `{"a":` + n + `}`, `[1,{"b":[` + n + `]}]`} {
			checkInvalid(t, dps.CheckNumbers("payload", json.RawMessage(in)), "payload")
		}
	}
	for _, in := range []string{
		"", "null", `"1e999"`, `{"1e999":0}`, "0", "-0.0e-999", "1.7976931348623157e308", "5e-324", "123456789012345678901234567890", "[1.5e3]",
	} {
		if err := dps.CheckNumbers("payload", json.RawMessage(in)); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	checkInvalid(t, dps.CheckNumbers("payload", json.RawMessage(`[1 2]`)), "payload")
}

func TestTwinsRefuseUnreadableNumbers(t *testing.T) {
	t.Parallel()
	for _, n := range unreadable {
		if _, err := dps.ParseInitialTwin(json.RawMessage(desired(`{"a":[` + n + `]}`))); err == nil {
			t.Errorf("initialTwin: %s is accepted", n)
		} else {
			checkInvalid(t, err, "initialTwin.properties.desired.a")
		}
		section := json.RawMessage(`{"a":{"b":` + n + `}}`)
		for name, c := range map[string]dps.TwinChange{
			"tags": {Tags: section}, "properties.desired": {Desired: section}, "properties.reported": {Reported: section},
		} {
			if _, err := dps.NewTwin(c); err == nil {
				t.Errorf("%s: %s is accepted in a new twin", name, n)
			}
			_, _, err := dps.HubDevice{}.WithTwin(c, born)
			if err == nil {
				t.Errorf("%s: %s is accepted in a change", name, n)
				continue
			}
			checkInvalid(t, err, name+".a.b")
		}
	}
}
