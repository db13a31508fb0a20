package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// hostile is what a device may call itself.
const hostile = "\u202eevil\x1b[31m\nRemedy\tnothing\r<script>"

// asked returns a client of a service that answers with decision and record, "" for none.
func asked(t *testing.T, decision, record string) *service.Client {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := record
		if strings.HasPrefix(r.URL.Path, wire.DecisionsPath) {
			body = decision
		}
		if body == "" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	c, err := service.NewClient(
		"HostName="+strings.TrimPrefix(srv.URL, "https://")+";SharedAccessKeyName=p;SharedAccessKey=Zm9vYmFy",
		&service.Options{HTTPClient: srv.Client()},
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a device chose can neither forge a line nor reach the terminal as more than text.
func TestWhyPrintsHostileTexts(t *testing.T) {
	d, err := json.Marshal(wire.Decision{
		TrackingID: "t", RegistrationID: hostile, Time: "2026-03-01T12:00:00.123Z", Count: 1, Remote: hostile, Transport: "mqtt",
		Reason: "name-mismatch",
		Remedy: hostile, Answer: hostile, EnrollmentGroupID: hostile, Attestation: "x509",
		Checks: []wire.DecisionCheck{{Name: "common name", Detail: hostile}},
		Evidence: wire.DecisionEvidence{
			Presented: 12, Chain: []wire.DecisionCertificate{{SubjectName: hostile, IssuerName: hostile}},
			Token: &wire.DecisionToken{Resource: hostile},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(wire.RegistrationState{Status: "failed", ErrorCode: 400207, ErrorMessage: hostile})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := why{options: &whyOptions{}, env: &env{out: &out}, client: asked(t, string(d), string(record))}
	if done, err := w.tracked(t.Context(), "t"); !done || err != nil {
		t.Fatal(done, err)
	}
	text := out.String()
	if strings.ContainsAny(text, "\u202e\x1b\r") || strings.Count(text, "\nRemedy") != 1 ||
		!strings.Contains(text, `\u202eevil\x1b[31m\nRemedy`) {
		t.Errorf("printed:\n%q", text)
	}
	for _, want := range []string{
		"x509, 12 certificates", "(and 11 more)", "Refused          2026-03-01T12:00:00Z\n", "failed with 400207: ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

func TestRefusedText(t *testing.T) {
	for count, want := range map[int64]string{
		1: "2026-03-01T12:00:00Z",
		2: "2026-03-01T12:00:00Z, and once before since 2026-03-01T11:00:00Z",
		3: "2026-03-01T12:00:00Z, and 2 times before since 2026-03-01T11:00:00Z",
	} {
		d := wire.Decision{Count: count, Time: "2026-03-01T12:00:00Z", FirstTime: "2026-03-01T11:00:00Z"}
		if got := refusedText(d); got != want {
			t.Errorf("%d times: %q, want %q", count, got, want)
		}
	}
}

func TestWhyOfNothing(t *testing.T) {
	var out bytes.Buffer
	w := why{
		options: &whyOptions{},
		env:     &env{out: &out},
		client: asked(
			t,
			`{"value": [], "dropped": 7}`,
			`{"status": "assigned", "assignedHub": "h", "deviceId": "d", "lastUpdatedDateTimeUtc": "2026-03-01T12:00:00.1Z"}`,
		),
	}
	if err := w.device(t.Context(), "sensor", false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"No refusal of sensor is recorded", "7 refusals of any devices came too fast", "assigned to h as device d, at 2026-03-01T12:00:00Z",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q: %s", want, &out)
		}
	}
	out.Reset()
	w.client = asked(t, `{"value": []}`, "")
	if err := w.device(t.Context(), "sensor", true); err == nil || !strings.Contains(err.Error(), "tracking ID sensor") || out.Len() > 0 {
		t.Errorf("%v, printed %s", err, &out)
	}
}
