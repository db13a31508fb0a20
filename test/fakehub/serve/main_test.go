package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/outbound"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// start runs the command until the test ends.
func start(t *testing.T, args ...string) ready {
	t.Helper()
	in, hold := io.Pipe()
	out, say := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(t.Context(), append([]string{"-dir", t.TempDir()}, args...), in, say) }()
	t.Cleanup(func() {
		hold.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var r ready
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func control(t *testing.T, r ready, method, path, body string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.Control+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if into != nil {
		if err := json.NewDecoder(res.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return res.StatusCode
}

func TestServe(t *testing.T) {
	r := start(t, "-host-name", "hub.example")
	conn, err := iothub.ParseConnectionString(r.ConnectionString)
	if err != nil || conn.HostName != "hub.example" || conn.Endpoint != r.Endpoint {
		t.Fatalf("%+v, %v", conn, err)
	}
	client, err := outbound.New(outbound.Options{CAFile: r.CAFile})
	if err != nil {
		t.Fatal(err)
	}
	pool := iothub.NewPool(iothub.Options{Client: client, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	defer pool.Close()
	link := dps.LinkedHub{
		HostName: dps.HostName(conn.HostName),
		Access:   &dps.HubAccess{Endpoint: conn.Endpoint, KeyName: conn.KeyName, Key: dps.NewSecret(conn.Key)},
	}
	hub := pool.Hub(link)
	p := register.Put{
		HubIdentity: dps.HubIdentity{DeviceID: "dev-1", Authentication: dps.SelfSigned(dps.ThumbprintOf(nil))},
		Twin:        dps.Twin{Tags: json.RawMessage(`{"a":1}`)},
	}

	if status := control(t, r, "PUT", "/faults", `[{"kind":"refuse"}]`, nil); status != http.StatusNoContent {
		t.Fatalf("status %d", status)
	}
	if _, err := hub.Put(t.Context(), p); dps.CodeOf(err) != dps.HubUnavailable {
		t.Errorf("it refuses connections: %v", err)
	}
	control(t, r, "PUT", "/faults", `[{"kind":"reset-after","call":"bulk create","times":1}]`, nil)
	if _, err := hub.Put(t.Context(), p); dps.CodeOf(err) != dps.HubUnavailable {
		t.Errorf("it cuts the connection: %v", err)
	}
	p.Ours = true
	if outcome, err := hub.Put(t.Context(), p); err != nil || outcome.Existed {
		t.Errorf("healed: %v, %v", outcome, err)
	}
	var devices map[string]fakehub.Device
	var twins map[string]fakehub.Twin
	var calls []fakehub.Call
	control(t, r, "GET", "/devices", "", &devices)
	control(t, r, "GET", "/twins", "", &twins)
	control(t, r, "GET", "/calls", "", &calls)
	if devices["dev-1"].Status != "enabled" || twins["dev-1"].Tags["a"] != 1.0 || len(calls) != 4 || calls[0].Fault != fakehub.ResetAfter ||
		!calls[0].Write() {
		t.Errorf("%v, %v, %d calls", devices, twins, len(calls))
	}
	var twin fakehub.Twin
	if status := control(t, r, "PATCH", "/twins/dev-1", `{"tags":{"a":null,"b":2},"reported":{"c":3}}`, nil); status != http.StatusNoContent {
		t.Errorf("changing a twin: status %d", status)
	}
	if control(t, r, "GET", "/twins/dev-1", "", &twin); len(twin.Tags) != 1 || twin.Tags["b"] != 2.0 || twin.Reported["c"] != 3.0 {
		t.Errorf("twin = %+v", twin)
	}
	for _, method := range []string{"GET", "PATCH"} {
		if status := control(t, r, method, "/twins/dev-2", "{}", nil); status != http.StatusNotFound {
			t.Errorf("%s the twin of nobody: status %d", method, status)
		}
	}
	control(t, r, "DELETE", "/calls", "", nil)
	if control(t, r, "GET", "/calls", "", &calls); len(calls) != 0 {
		t.Errorf("%d calls after all were forgotten", len(calls))
	}
	for _, body := range []string{`{}`, `[{"kind":"earthquake"}]`, `[{"kind":"fail","typo":1}]`} {
		if status := control(t, r, "PUT", "/faults", body, nil); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", body, status)
		}
	}
}

func TestServeNeedsADirectory(t *testing.T) {
	if err := run(t.Context(), nil, strings.NewReader(""), io.Discard); err == nil {
		t.Error("it runs without one")
	}
}
