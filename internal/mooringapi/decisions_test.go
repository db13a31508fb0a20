package mooringapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// refusal returns one of a device, some minutes after the world's beginning.
func refusal(id string, minutes int) dps.Refusal {
	return dps.Refusal{
		Instance: dps.DefaultInstance, TrackingID: "t-" + id, Time: now.Add(time.Duration(minutes) * time.Minute), ID: dps.RegistrationID(id),
		Attestation: dps.X509, Transport: dps.MQTT, Remote: "192.0.2.7:4711",
		Decision: dps.Decision{
			Checks: []dps.Check{{Name: "chain length", OK: true, Detail: "1 certificate"}, {Name: "enrollment", Detail: "<none>"}},
			Entry: dps.EntryRef{
				Kind: dps.Group,
				ID:   "line-7",
			}, Reason: dps.ReasonCANotVerified, Answer: "CA certificate not found.", Remedy: "prove it",
		},
		Evidence: dps.EvidenceSummary{Presented: 1, Chain: []dps.CertificateInfo{{
			Subject: "CN=" + id, Issuer: "CN=Root", SHA1: "A1", SHA256: "B2", Serial: "0C", NotBefore: now, NotAfter: now.Add(time.Hour),
		}}},
	}
}

// decisions reads a page of decisions.
func (w *world) decisionPage(t *testing.T, query string) wire.DecisionPage {
	t.Helper()
	res := w.send(t, "GET", wire.DecisionsPath+"?"+query, "")
	var page wire.DecisionPage
	if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil || res.Code != 200 {
		t.Fatalf("%s: %d %s", query, res.Code, res.Body)
	}
	return page
}

func TestDecision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if res := w.send(t, "GET", wire.DecisionsPath, ""); res.Body.String() != `{"value":[],"dropped":0}` {
		t.Errorf("none: %d %s", res.Code, res.Body)
	}
	w.decisions.Refused(refusal("sensor", 0))
	w.decisions.Refused(refusal("Sensor", 1))
	want := wire.Decision{
		TrackingID: "t-Sensor", RegistrationID: "Sensor", Time: "2026-03-01T12:01:00.000Z", FirstTime: "2026-03-01T12:00:00.000Z", Count: 2,
		EnrollmentGroupID: "line-7", Attestation: "x509", Transport: "mqtt", Remote: "192.0.2.7:4711",
		Reason: "ca-not-verified", Summary: dps.ReasonCANotVerified.Text().Summary, Remedy: "prove it", Answer: "CA certificate not found.",
		Checks: []wire.DecisionCheck{{Name: "chain length", OK: true, Detail: "1 certificate"}, {Name: "enrollment", Detail: "<none>"}},
		Evidence: wire.DecisionEvidence{Presented: 1, Chain: []wire.DecisionCertificate{{
			SubjectName: "CN=Sensor", IssuerName: "CN=Root", SHA1Thumbprint: "A1", SHA256Thumbprint: "B2", SerialNumber: "0C",
			NotBeforeUTC: "2026-03-01T12:00:00Z", NotAfterUTC: "2026-03-01T13:00:00Z",
		}}},
	}
	var got wire.Decision
	res := w.send(t, "GET", wire.DecisionsPath+"/t-Sensor", "")
	must(t, json.Unmarshal(res.Body.Bytes(), &got))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]wire.Decision{want}, w.decisionPage(t, "").Value); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, id := range []string{"t-sensor", "ghost", strings.Repeat("x", 1000), "%00", "..%2f"} {
		if res := w.send(t, "GET", wire.DecisionsPath+"/"+id, ""); res.Code != 404 {
			t.Errorf("%s: %d %s", id, res.Code, res.Body)
		}
	}
}

func TestDecisionFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decisions.Refused(refusal("sensor", 0))
	other := refusal("other", 10)
	other.Decision.Reason, other.Decision.Entry = dps.ReasonDisabled, dps.EntryRef{Kind: dps.Individual, ID: "other"}
	other.Remote = "[2001:db8::7]:4711"
	w.decisions.Refused(other)
	for query, want := range map[string]string{
		"": "other sensor", "registrationId=SENSOR": "sensor", "group=LINE-7": "sensor", "enrollmentId=Other": "other", "group=other": "",
		"reason=DISABLED": "other", "remote=192.0.2.7": "sensor", "remote=192.0.2.7:1": "sensor", "remote=2001:db8::8": "other", "remote=192.0.2.8": "",
		"since=2026-03-01T12:05:00Z": "other", "until=2026-03-01T12:05:00Z": "sensor", "since=2026-03-01&until=2026-03-01": "", "reason=": "other sensor",
		"top=1": "other", "reason=disabled&registrationId=sensor": "",
	} {
		var got []string
		for _, d := range w.decisionPage(t, query).Value {
			got = append(got, d.RegistrationID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	for _, query := range []string{
		"top=0", "top=1001", "since=yesterday", "until=9999-01-01", "reason=burnt", "registrationId=a%20b", "group=a%20b", "enrollmentId=a/b",
		"remote=localhost", "remote=192.0.2.0/24", "continuation=x", "continuation=e30", "color=red", "reason=a&reason=b",
	} {
		name, _, _ := strings.Cut(query, "=")
		res := w.send(t, "GET", wire.DecisionsPath+"?"+query, "")
		if res.Code != 400 || !strings.Contains(res.Body.String(), name) {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
}

// TestDecisionPagesWhileWriting reads pages while devices are refused: each decision
// that does not change comes once, newest first.
func TestDecisionPagesWhileWriting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for i := range 25 {
		w.decisions.Refused(refusal(fmt.Sprint(i), i/3))
		want = append(want, fmt.Sprint(i))
	}
	slices.Reverse(want)
	var got []string
	query := url.Values{"top": {"4"}}
	for more := true; more; more = query.Get("continuation") != "" {
		page := w.decisionPage(t, query.Encode())
		for _, d := range page.Value {
			if d.RegistrationID != "meanwhile" {
				got = append(got, d.RegistrationID)
			}
		}
		w.decisions.Refused(refusal("meanwhile", 100+len(got)))
		query.Set("continuation", page.Continuation)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all wire.DecisionReasons
	res := w.send(t, "GET", wire.DecisionReasonsPath, "")
	must(t, json.Unmarshal(res.Body.Bytes(), &all))
	if len(all.Value) != len(dps.Reasons()) {
		t.Fatalf("%d reasons, want %d", len(all.Value), len(dps.Reasons()))
	}
	for _, r := range all.Value {
		if text := dps.Reason(r.Reason).Text(); r.Summary != text.Summary || r.Remedy != text.Remedy || text.Summary == "" {
			t.Errorf("%+v", r)
		}
	}
}

// TestStatusRights walks what shows registrations: who may read them may read that.
func TestStatusRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decisions.Refused(refusal("sensor", 0))
	for _, path := range []string{
		wire.DecisionsPath, wire.DecisionsPath + "/t-sensor", wire.DecisionReasonsPath, wire.StatisticsPath,
		wire.RegistrationsPath + "?status=failed",
	} {
		for authorization, status := range map[string]int{
			w.sas("p"): 200, w.sas("RegistrationStatusRead"): 200, w.sas("RegistrationStatusWrite"): 200, w.bearer(t): 200,
			w.sas("ServiceConfig"): 401, w.sas("EnrollmentRead"): 401, w.sas("DeviceConnect"): 401, "": 401, w.sas("p") + "x": 401, "Bearer x": 401,
		} {
			if res := w.send(t, "GET", path, "", "Authorization: "+authorization); res.Code != status {
				t.Errorf("%s by %.40q: %d %s, want %d", path, authorization, res.Code, res.Body, status)
			}
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			if res := w.send(t, method, path, ""); res.Code != 405 {
				t.Errorf("%s %s: %d", method, path, res.Code)
			}
		}
	}
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, status := range []dps.RegistrationStatus{dps.Assigned, dps.Assigned, dps.Failed, dps.Disabled, dps.Unassigned} {
		w.statistics.Registered(dps.DefaultInstance, status)
	}
	one := wire.StatisticsBucket{Time: "2026-03-01T12:00:00.000Z", Assigned: 2, Failed: 1, Refused: 2}
	for query, want := range map[string]wire.Statistics{
		"until=2026-03-01T12:30:00Z": {Since: "2026-02-28T12:00:00.000Z", Until: "2026-03-01T12:30:00.000Z", StepSeconds: 3600},
		"since=2026-03-01T11:59:30Z&until=2026-03-01T12:01:00Z&step=1m": {
			Since: "2026-03-01T11:59:00.000Z", Until: "2026-03-01T12:01:00.000Z", StepSeconds: 60,
			Value: []wire.StatisticsBucket{{Time: "2026-03-01T11:59:00.000Z"}, one},
		},
		"since=2026-02-28&until=2026-03-02&step=1d": {
			Since: "2026-02-28T00:00:00.000Z", Until: "2026-03-02T00:00:00.000Z", StepSeconds: 86400,
			Value: []wire.StatisticsBucket{
				{Time: "2026-02-28T00:00:00.000Z"}, {Time: "2026-03-01T00:00:00.000Z", Assigned: 2, Failed: 1, Refused: 2},
			},
		},
	} {
		var got wire.Statistics
		res := w.send(t, "GET", wire.StatisticsPath+"?"+query, "")
		must(t, json.Unmarshal(res.Body.Bytes(), &got))
		if want.Value == nil {
			if n := len(got.Value); n != 25 || got.Value[n-1] != one {
				t.Errorf("%s: %+v", query, got.Value)
			}
			got.Value = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", query, diff)
		}
	}
	for _, query := range []string{
		"step=1", "step=1s", "step=0m", "step=-1m", "step=99999h", "step=8d", "step=90m", "since=yesterday", "until=x",
		"since=2026-03-02&until=2026-03-01", "since=2026-02-01&step=1m", "since=2020-01-01", "top=1",
	} {
		if res := w.send(t, "GET", wire.StatisticsPath+"?"+query, ""); res.Code != 400 {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
}
