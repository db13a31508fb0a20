package embedded_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

func (w world) bulk(t *testing.T, status int, body string) wire.HubBulkResult {
	t.Helper()
	res := w.do("POST", "/devices"+version, body)
	if res.Code != status {
		t.Fatalf("bulk: %d %s, want %d", res.Code, res.Body, status)
	}
	if !strings.Contains(res.Body.String(), `"errors":[`) || !strings.Contains(res.Body.String(), `"warnings":[]`) {
		t.Errorf("bulk: %s", res.Body)
	}
	result := parsed[wire.HubBulkResult](t, res)
	if result.IsSuccessful != (status == 200) || result.IsSuccessful != (len(result.Errors) == 0) {
		t.Errorf("bulk: %s", res.Body)
	}
	return result
}

// Modes are told without regard to case, as the Node SDK needs it.
func TestBulkModes(t *testing.T) {
	t.Parallel()
	thumb := strings.Repeat("AB", 32)
	w := newWorld("old-1", "old-2", "old-3", "old-4", "old-5", "old-6")
	w.bulk(t, 200, `[
		{"id":"new","importMode":"CREATE","status":"disabled","statusReason":"boxed","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"`+thumb+`"}},
		 "capabilities":{"iotEdge":true},"tags":{"t":1,"gone":null},"properties":{"desired":{"d":1},"reported":{"r":1}}},
		{"id":"old-1","importMode":"Update","eTag":"ignored","status":"disabled","tags":{"t":2},"properties":{"reported":{"r":2}}},
		{"id":"old-2","importMode":"UpdateIfMatchETag","eTag":"\"ZQ==\"","status":"disabled"},
		{"id":"old-3","importMode":"Delete"},
		{"id":"old-4","importMode":"deleteIfMatchETag","eTag":"*"},
		{"id":"old-5","importMode":"updateTwin","status":"disabled","tags":{"t":5},"properties":{"desired":{"d":5},"reported":{"r":5}}},
		{"id":"old-6","importMode":"updateTwinIfMatchETag","eTag":"ignored","twinETag":"AAAAAAAAAAE=","tags":{"t":6}}
	]`)
	d := w.store.devices
	fresh := d["new"]
	if !fresh.Disabled || fresh.StatusReason != "boxed" ||
		fresh.Authentication.PrimaryThumbprint != thumb || !fresh.IotEdge || string(fresh.Twin.Tags) != `{"t":1}` ||
		string(fresh.Twin.Desired) != `{"d":1}` || string(fresh.Twin.Reported) != `{"r":1}` ||
		fresh.DesiredStamp.Version != 2 {
		t.Errorf("new = %+v", fresh)
	}
	if !d["old-1"].Disabled || string(d["old-1"].Twin.Tags) != `{"t":2}` || string(d["old-1"].Twin.Reported) != `{"r":2}` ||
		d["old-1"].TwinVersion != 3 {
		t.Errorf("old-1 = %+v", d["old-1"])
	}
	if !d["old-2"].Disabled || d["old-2"].TwinVersion != 2 {
		t.Errorf("old-2 = %+v", d["old-2"])
	}
	for _, id := range []dps.DeviceID{"old-3", "old-4"} {
		if _, ok := d[id]; ok {
			t.Errorf("%s is still there", id)
		}
	}
	if d["old-5"].Disabled || d["old-5"].ETag != "ZQ==" || d["old-5"].TwinVersion != 3 || d["old-5"].ReportedStamp.Version != 2 ||
		string(d["old-6"].Twin.Tags) != `{"t":6}` {
		t.Errorf("old-5 = %+v, old-6 = %+v", d["old-5"], d["old-6"])
	}
	w.bulk(t, 200, `[{"id":"old-5","importMode":"updateTwin"}]`)
	if w.store.devices["old-5"].TwinVersion != 3 {
		t.Error("a change that holds nothing counts")
	}
}

func TestBulkErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		item string
		code int
		word string
	}{
		{`{"id":"old","importMode":"create"}`, 409001, "old"},
		{`{"id":"ghost","importMode":"update"}`, 404001, "ghost"},
		{`{"id":"ghost","importMode":"delete"}`, 404001, "ghost"},
		{`{"id":"ghost","importMode":"updateTwin","tags":{"a":1}}`, 404001, "ghost"},
		{`{"id":"old","importMode":"updateIfMatchETag","eTag":"other"}`, 412001, "ZQ=="},
		{`{"id":"old","importMode":"deleteIfMatchETag","eTag":"other"}`, 412001, "ZQ=="},
		{`{"id":"old","importMode":"updateTwinIfMatchETag","twinETag":"AAAAAAAAAAk=","tags":{"a":1}}`, 412001, "AAAAAAAAAAE="},
		{`{"id":"old","importMode":"updateIfMatchETag"}`, 400004, "eTag"},
		{`{"id":"old","importMode":"updateTwinIfMatchETag","eTag":"*"}`, 400004, "twinETag"},
		{`{"id":"old","importMode":"deleteIfMatchETag","eTag":"a b"}`, 400004, "eTag"},
		{`{"id":"old","importMode":"createOrUpdate"}`, 400004, "importMode"},
		{`{"id":"old"}`, 400004, "importMode"},
		{`{"id":"","importMode":"create"}`, 400004, "id"},
		{`{"id":"a b","importMode":"create"}`, 400004, "deviceId"},
		{`{"id":"old","moduleId":"m","importMode":"create"}`, 501000, "moduleId"},
		{`{"id":"new","importMode":"create","status":"x"}`, 400004, "status"},
		{`{"id":"new","importMode":"create","tags":[]}`, 400004, "tags"},
		{`{"id":"new","importMode":"create","properties":{"reported":{"a b":1}}}`, 400004, "properties.reported"},
		{`{"id":"new","importMode":"create","authentication":{"symmetricKey":{"primaryKey":"x"}}}`, 400004, "primaryKey"},
		{`{"id":"old","importMode":"update","status":"disabled","properties":{"desired":{"a.b":1}}}`, 400004, "properties.desired"},
	}
	for _, tt := range tests {
		w := newWorld("old", "bystander")
		before := w.store.devices["old"]
		result := w.bulk(t, 400, `[{"id":"bystander","importMode":"delete"},`+tt.item+`]`)
		var item wire.HubBulkItem
		if err := json.Unmarshal([]byte(tt.item), &item); err != nil {
			t.Fatal(err)
		}
		if len(result.Errors) != 1 || result.Errors[0].ErrorCode != tt.code || !strings.Contains(result.Errors[0].ErrorStatus, tt.word) ||
			result.Errors[0].DeviceID != item.ID || result.Errors[0].ModuleID != item.ModuleID || result.Errors[0].Operation != item.ImportMode {
			t.Errorf("%s: %+v", tt.item, result.Errors)
		}
		if _, there := w.store.devices["bystander"]; there {
			t.Errorf("%s: the other element was not run", tt.item)
		}
		anySecret := cmp.Comparer(func(a, b dps.Secret) bool { return true })
		if diff := cmp.Diff(map[dps.DeviceID]dps.HubDevice{"old": before}, w.store.devices, anySecret); diff != "" {
			t.Errorf("%s: refused and stored:\n%s", tt.item, diff)
		}
	}
}

func TestBulkRefuses(t *testing.T) {
	t.Parallel()
	items := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"id":"d%d","importMode":"create"}`, i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	w := newWorld()
	refused(t, "none", w.do("POST", "/devices"+version, `[]`), 400, "ArgumentInvalid", "1 to 100")
	refused(t, "101", w.do("POST", "/devices"+version, items(101)), 400, "ArgumentInvalid", "101")
	refused(t, "an object", w.do("POST", "/devices"+version, `{}`), 400, "ArgumentInvalid", "array")
	refused(t, "no JSON", w.do("POST", "/devices"+version, `[`), 400, "IotHubFormatError")
	refused(t, "too much", w.do("POST", "/devices"+version, `["`+strings.Repeat("x", 10<<20)+`"]`), 413, "MessageTooLarge")
	if len(w.store.devices) != 0 {
		t.Errorf("refused and stored: %d", len(w.store.devices))
	}
	w.bulk(t, 200, items(100))
	if len(w.store.devices) != 100 {
		t.Errorf("%d devices, want 100", len(w.store.devices))
	}
	twice := w.bulk(t, 400, `[{"id":"x","importMode":"create"},{"id":"x","importMode":"delete"},{"id":"X","importMode":"create"}]`)
	if len(twice.Errors) != 1 || twice.Errors[0].ErrorCode != 400011 || twice.Errors[0].Operation != "delete" {
		t.Errorf("twice: %+v", twice)
	}
	w.store.err = errors.New("the disk is on fire")
	refused(t, "a failing store", w.do("POST", "/devices"+version, `[{"id":"y","importMode":"create"}]`), 500, "ServerError")
	w.store.err = dps.Errorf(dps.Unavailable, "")
	refused(
		t,
		"a store that does not answer",
		w.do("POST", "/devices"+version, `[{"id":"z","importMode":"create"}]`),
		503,
		"ServiceUnavailable",
	)
}

func FuzzBulk(f *testing.F) {
	for _, seed := range []string{
		`[{"id":"a","importMode":"create","tags":{"a":1},"properties":{"desired":{"b":1},"reported":{"c":1}}}]`,
		`[{"id":"dev","importMode":"updateTwinIfMatchETag","twinETag":"*"},{"id":"dev","importMode":"Delete"}]`,
		`[null]`, `[{"id":1}]`, `{}`, `[{"id":"dev","importMode":"update","authentication":{"type":"selfSigned"}}]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := newWorld("dev")
		res := w.do("POST", "/devices"+version, body)
		if res.Code >= 500 || !json.Valid(res.Body.Bytes()) {
			t.Fatalf("%d %s", res.Code, res.Body)
		}
		for id := range w.store.devices {
			if _, err := dps.ParseDeviceID(string(id)); err != nil {
				t.Fatalf("stored %q", id)
			}
			if res := w.get("/twins/" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(string(id)) + version); res.Code != 200 {
				t.Fatalf("the twin of %q: %d %s", id, res.Code, res.Body)
			}
		}
	})
}
