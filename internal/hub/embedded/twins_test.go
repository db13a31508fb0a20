package embedded_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

func TestTwinChanges(t *testing.T) {
	t.Parallel()
	w := newWorld("dev")
	tests := []struct {
		name, method, body string
		headers            []string
		version            int64
		etag               string
		tags, desired      string // desired without $metadata
	}{
		{"a patch of tags", "PATCH", `{"tags":{"site":"k1","gone":null}}`, nil, 3, "AAAAAAAAAAI=", `{"site":"k1"}`, `{"$version":1}`},
		{"a patch of desired", "PATCH", `{"properties":{"desired":{"a":{"b":1,"c":2}}}}`, nil, 4, "AAAAAAAAAAM=", `{"site":"k1"}`, `{"$version":2,"a":{"b":1,"c":2}}`},
		{"both, with the etag", "PATCH", `{"tags":{"n":1},"properties":{"desired":{"a":{"b":null}}}}`, []string{"If-Match", `"AAAAAAAAAAM="`}, 5, "AAAAAAAAAAQ=", `{"n":1,"site":"k1"}`, `{"$version":3,"a":{"c":2}}`},
		{"nothing", "PATCH", `{"tags":{},"properties":{}}`, []string{"If-Match", `"*"`}, 5, "AAAAAAAAAAQ=", `{"n":1,"site":"k1"}`, `{"$version":3,"a":{"c":2}}`},
		{"as Java sends it", "POST", `{"tags":{"n":2}}`, []string{"X-HTTP-Method-Override", "PATCH"}, 6, "AAAAAAAAAAU=", `{"n":2,"site":"k1"}`, `{"$version":3,"a":{"c":2}}`},
		{"reported is the device's", "PATCH", `{"deviceId":"dev","etag":"x","version":1,"properties":{"reported":{"a":1}}}`, nil, 6, "AAAAAAAAAAU=", `{"n":2,"site":"k1"}`, `{"$version":3,"a":{"c":2}}`},
		{"desired is replaced", "PUT", `{"properties":{"desired":{"z":1,"gone":null}}}`, []string{"If-Match", "*"}, 7, "AAAAAAAAAAY=", `{"n":2,"site":"k1"}`, `{"$version":4,"z":1}`},
		{"all is replaced", "PUT", `{"tags":{},"properties":{"desired":{}}}`, nil, 8, "AAAAAAAAAAc=", `{}`, `{"$version":5}`},
	}
	for _, tt := range tests {
		res := w.do(tt.method, "/twins/dev"+version, tt.body, tt.headers...)
		if res.Code != 200 || res.Header().Get("ETag") != `"`+tt.etag+`"` {
			t.Fatalf("%s: %d %v %s", tt.name, res.Code, res.Header(), res.Body)
		}
		twin := parsed[wire.HubTwin](t, res)
		desired := map[string]any{}
		if err := json.Unmarshal(twin.Properties.Desired, &desired); err != nil {
			t.Fatal(err)
		}
		delete(desired, "$metadata")
		have, _ := json.Marshal(desired)
		if twin.ETag != tt.etag || twin.Version != tt.version || string(twin.Tags) != tt.tags || string(have) != tt.desired ||
			twin.DeviceETag != "ZQ==" {
			t.Errorf("%s: %s", tt.name, res.Body)
		}
		if again := w.get("/twins/dev" + version); again.Body.String() != res.Body.String() {
			t.Errorf("%s: read back as %s", tt.name, again.Body)
		}
	}
	if string(w.store.devices["dev"].Twin.Reported) != "" {
		t.Errorf("reported = %s", w.store.devices["dev"].Twin.Reported)
	}
}

// A twin that was read can be sent back, with all that the hub wrote into it.
func TestTwinRoundTrip(t *testing.T) {
	t.Parallel()
	w := newWorld("dev")
	w.do("PATCH", "/twins/dev"+version, `{"tags":{"a":[1,{"b":2}]},"properties":{"desired":{"c":{"d":{"e":"f"}}}}}`)
	w.do("PATCH", "/twins/dev"+version, `{"properties":{"desired":{"c":{"x":1}}}}`)
	before := w.store.devices["dev"]
	for _, method := range []string{"PATCH", "PUT"} {
		res := w.do(
			method,
			"/twins/dev"+version,
			w.get("/twins/dev"+version).Body.String(),
			"If-Match",
			string(w.store.devices["dev"].TwinETag()),
		)
		after := w.store.devices["dev"]
		if res.Code != 200 || string(after.Twin.Tags) != string(before.Twin.Tags) || string(after.Twin.Desired) != string(before.Twin.Desired) {
			t.Errorf("%s: %d, %s after %s", method, res.Code, after.Twin, before.Twin)
		}
	}
}

func TestTwinRefuses(t *testing.T) {
	t.Parallel()
	large := `{"tags":{"a":"` + strings.Repeat(
		"x",
		4000,
	) + `","b":"` + strings.Repeat(
		"x",
		4000,
	) + `","c":"` + strings.Repeat(
		"x",
		4000,
	) + `"}}`
	tests := []struct {
		name, path, body, ifMatch string
		status                    int
		code                      string
		words                     []string
	}{
		{"nobody", "ghost", `{"tags":{"a":1}}`, "", 404, "DeviceNotFound", nil},
		{"nobody, with nothing", "ghost", `{}`, "", 404, "DeviceNotFound", nil},
		{"another version", "dev", `{"tags":{"a":1}}`, `"AAAAAAAAAAk="`, 412, "PreconditionFailed", nil},
		{"another version, with nothing", "dev", `{}`, `"AAAAAAAAAAk="`, 412, "PreconditionFailed", nil},
		{"no etag", "dev", `{}`, `"a" "b"`, 400, "ArgumentInvalid", []string{"If-Match"}},
		{"another device", "dev", `{"deviceId":"x"}`, "", 400, "ArgumentInvalid", []string{"deviceId"}},
		{"large tags", "dev", large, "", 400, "ArgumentInvalid", []string{"tags", "8192"}},
		{"a name", "dev", `{"properties":{"desired":{"a b":1}}}`, "", 400, "ArgumentInvalid", []string{"properties.desired", "a b"}},
		{"tags are no object", "dev", `{"tags":"x"}`, "", 400, "ArgumentInvalid", []string{"tags"}},
		{"properties are no object", "dev", `{"properties":[]}`, "", 400, "ArgumentInvalid", []string{"properties"}},
		{"no JSON", "dev", `{"tags":`, "", 400, "IotHubFormatError", nil},
		{"too much", "dev", `{"x":"` + strings.Repeat("x", 512<<10) + `"}`, "", 413, "MessageTooLarge", nil},
	}
	for _, tt := range tests {
		for _, method := range []string{"PATCH", "PUT"} {
			w := newWorld("dev")
			refused(t, method+" "+tt.name, w.do(method, "/twins/"+tt.path+version, tt.body, "If-Match", tt.ifMatch), tt.status, tt.code, tt.words...)
			if w.store.devices["dev"].TwinVersion != 2 {
				t.Errorf("%s %s: refused and changed", method, tt.name)
			}
		}
	}
}

func FuzzTwin(f *testing.F) {
	for _, seed := range []string{
		`{"tags":{"a":1},"properties":{"desired":{"b":{"c":null}}}}`, `{"tags":null,"properties":null}`, `{"properties":{"desired":[]}}`, `{"tags":{"$x":1}}`, `[`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := newWorld("dev")
		for i, method := range []string{"PATCH", "PUT", "PATCH"} {
			res := w.do(method, "/twins/dev"+version, body)
			if res.Code >= 500 || !json.Valid(res.Body.Bytes()) {
				t.Fatalf("%s %d: %d %s", method, i, res.Code, res.Body)
			}
			if res.Code != 200 {
				continue
			}
			back := w.do("PUT", "/twins/dev"+version, w.get("/twins/dev"+version).Body.String())
			if back.Code != 200 {
				t.Fatalf("what was taken is refused when it is sent back: %s", back.Body)
			}
		}
	})
}

func TestQuery(t *testing.T) {
	t.Parallel()
	const scope = "ms-azure-iot-edge://up-1"
	w := newWorld("a", "b-1", "b-2", "c'd")
	for id, body := range map[string]string{
		"b-1": `{"capabilities":{"iotEdge":true}}`, "b-2": `{"deviceScope":"` + scope + `"}`, "c'd": `{"deviceScope":"` + scope + `"}`,
	} {
		if res := w.do("PUT", "/devices/"+id+version, body, "If-Match", "*"); res.Code != 200 {
			t.Fatal(res.Body)
		}
	}
	own := "ms-azure-iot-edge://b-1-639310648400859367"
	tests := []struct{ query, itemType, want string }{
		{"SELECT * FROM devices", "Twin", "a b-1 b-2 c'd"},
		{"select * from DEVICES where capabilities.iotEdge=true", "Twin", "b-1"},
		{"SELECT * FROM devices WHERE devices.capabilities.iotEdge = FALSE", "Twin", "a b-2 c'd"},
		{"SELECT * FROM devices WHERE deviceId = 'a'", "Twin", "a"},
		{`SELECT * FROM devices WHERE deviceId = "c'd"`, "Twin", "c'd"},
		{"SELECT * FROM devices WHERE deviceId = 'c''d'", "Twin", "c'd"},
		{"SELECT * FROM devices WHERE STARTS_WITH(deviceId, 'b-') AND capabilities.iotEdge = false", "Twin", "b-2"},
		{"SELECT * FROM devices WHERE deviceId = 'A'", "Twin", ""},
		{"SELECT deviceId FROM devices", "Raw", `[{"deviceId":"a"},{"deviceId":"b-1"},{"deviceId":"b-2"},{"deviceId":"c'd"}]`},
		{"SELECT deviceId, deviceScope FROM devices WHERE STARTS_WITH(deviceId,'b')", "Raw", `[{"deviceId":"b-1","deviceScope":"` + own + `"},{"deviceId":"b-2","deviceScope":"` + scope + `"}]`},
		{"select deviceId from devices where array_contains(parentScopes, '" + scope + "')", "Raw", `[{"deviceId":"b-2"},{"deviceId":"c'd"}]`},
		{"SELECT deviceId FROM devices WHERE deviceId = 'nobody'", "Raw", `[]`},
	}
	for _, tt := range tests {
		body, _ := json.Marshal(map[string]string{"query": tt.query})
		res := w.do("POST", "/devices/query"+version, string(body))
		if res.Code != 200 || res.Header().Get("x-ms-item-type") != tt.itemType || res.Header().Get("x-ms-continuation") != "" {
			t.Errorf("%s: %d %v %s", tt.query, res.Code, res.Header(), res.Body)
			continue
		}
		have := res.Body.String()
		if tt.itemType == "Twin" {
			var ids []string
			for _, twin := range parsed[[]wire.HubTwin](t, res) {
				ids = append(ids, twin.DeviceID)
			}
			have = strings.Join(ids, " ")
		}
		if have != tt.want {
			t.Errorf("%s: %s, want %s", tt.query, have, tt.want)
		}
	}
}

func TestQueryRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld("a")
	for _, query := range []string{
		"", "SELECT", "SELECT * FROM", "SELECT * FROM devices.modules", "SELECT * FROM devices.jobs", "DELETE * FROM devices", "SELECT tags FROM devices",
		"SELECT COUNT() AS n FROM devices", "SELECT * FROM devices WHERE", "SELECT * FROM devices WHERE tags.a = 1", "SELECT * FROM devices WHERE status = 'enabled'",
		"SELECT * FROM devices WHERE deviceId != 'a'", "SELECT * FROM devices WHERE deviceId = ''", "SELECT * FROM devices WHERE deviceId = a", "SELECT * FROM devices WHERE deviceId = 'a",
		"SELECT * FROM devices WHERE capabilities.iotEdge = 1", "SELECT * FROM devices WHERE capabilities.iotEdge = true AND capabilities.iotEdge = false",
		"SELECT * FROM devices WHERE deviceId = 'a' OR deviceId = 'b'", "SELECT * FROM devices WHERE deviceId = 'a' AND deviceId = 'b'", "SELECT * FROM devices ORDER BY deviceId",
		"SELECT * FROM devices; DROP", "SELECT deviceId, FROM devices", "SELECT * FROM devices WHERE STARTS_WITH(status, 'a')", "SELECT * FROM devices WHERE STARTS_WITH(deviceId 'a')", "SELECT *, deviceId FROM devices",
	} {
		body, _ := json.Marshal(map[string]string{"query": query})
		refused(t, query, w.do("POST", "/devices/query"+version, string(body)), 400, "ArgumentInvalid", "query", "this hub supports")
	}
	umlaut := `{"query":"SELECT * FROM devices WHERE deviceId = 'ä' OR deviceId = 'b'"}`
	res := w.do("POST", "/devices/query"+version, umlaut)
	refused(t, "after a character of two bytes", res, 400, "ArgumentInvalid", "at character 44: want")
	long, _ := json.Marshal(map[string]string{"query": "SELECT * FROM devices" + strings.Repeat(" ", 17<<10)})
	refused(t, "long", w.do("POST", "/devices/query"+version, string(long)), 400, "ArgumentInvalid", "longer")
	body := `{"query":"SELECT * FROM devices"}`
	for _, h := range [][]string{
		{"x-ms-max-item-count", "0"},
		{"x-ms-max-item-count", "-1"},
		{"x-ms-max-item-count", "many"},
		{"x-ms-continuation", "?"},
		{"x-ms-continuation", "YSBi"},
	} {
		refused(t, fmt.Sprint(h), w.do("POST", "/devices/query"+version, body, h...), 400, "ArgumentInvalid", h[0])
	}
}

func TestQueryPages(t *testing.T) {
	t.Parallel()
	var ids []dps.DeviceID
	for i := range 250 {
		ids = append(ids, dps.DeviceID(fmt.Sprintf("dev-%03d", i)))
	}
	w := newWorld(ids...)
	for _, tt := range []struct {
		query, count string
		page         int
	}{
		{"SELECT * FROM devices", "", 100},
		{"SELECT * FROM devices", "7", 7},
		{"SELECT * FROM devices", "1000", 100},
		{"SELECT deviceId FROM devices", "", 100},
		{"SELECT deviceId FROM devices", "125", 125},
		{"SELECT deviceId FROM devices", "5000", 250},
	} {
		var all []string
		token := ""
		for {
			res := w.do("POST", "/devices/query"+version, `{"query":"`+tt.query+`"}`, "x-ms-max-item-count", tt.count, "x-ms-continuation", token)
			page := parsed[[]wire.HubProjection](t, res)
			for _, d := range page {
				all = append(all, d.DeviceID)
			}
			if token = res.Header().Get("x-ms-continuation"); token == "" {
				break
			}
			if len(page) != tt.page {
				t.Fatalf("%s by %s: a page of %d, want %d", tt.query, tt.count, len(page), tt.page)
			}
		}
		if len(all) != 250 || all[0] != "dev-000" || all[249] != "dev-249" {
			t.Errorf("%s by %s: %d devices", tt.query, tt.count, len(all))
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"SELECT * FROM devices", "SELECT deviceId, deviceScope FROM devices WHERE capabilities.iotEdge = true AND STARTS_WITH(deviceId, 'a''b')",
		"SELECT * FROM devices WHERE ARRAY_CONTAINS(parentScopes, \"x\")", "SELECT 'a", "''''",
	} {
		f.Add(seed, "10", "")
	}
	f.Fuzz(func(t *testing.T, query, count, token string) {
		w := newWorld("a", "b")
		body, err := json.Marshal(map[string]string{"query": query})
		if err != nil {
			t.Skip()
		}
		res := w.do("POST", "/devices/query"+version, string(body), "x-ms-max-item-count", count, "x-ms-continuation", token)
		if res.Code != 200 && res.Code != 400 || !json.Valid(res.Body.Bytes()) {
			t.Fatalf("%q: %d %s", query, res.Code, res.Body)
		}
	})
}
