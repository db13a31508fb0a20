package sqlite_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/statistics"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// migrateTo writes the schema of an earlier version to a file that is not there yet.
func migrateTo(t *testing.T, path string, version int64) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations"))
	must(t, err)
	_, err = provider.UpTo(t.Context(), version)
	must(t, err)
	return db
}

func TestMigrateResource(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 1)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(
		t.Context(),
		`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, $2)`,
		tokenKey,
		start.UnixNano(),
	)
	must(t, err)

	if _, err := sqlite.OpenReadOnly(p.path, p.key, time.Now); err == nil || !strings.Contains(err.Error(), "start the service once") {
		t.Errorf("OpenReadOnly of an old schema: %v", err)
	}
	must(t, db.Close())
	s := p.open(t)
	in, err := s.Instance(t.Context(), dps.DefaultInstance)
	must(t, err)
	if in.Scope != "0ne0000000A" || in.Allocation != dps.Static || string(in.TokenKey.Reveal()) != "secret key of tokens" ||
		!in.Created.Equal(start) {
		t.Errorf("instance = %+v", in)
	}
	if in.ETag == "" || len(in.Tags) != 0 {
		t.Errorf("version %q, tags %v", in.ETag, in.Tags)
	}
	changed := in
	changed.ETag = dps.NewETag()
	must(t, s.Configure(t.Context(), dps.InstanceChange{Instance: changed, IfMatch: in.ETag}))
}

func TestMigrateAudit(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 2)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(
		t.Context(),
		`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, $2)`,
		tokenKey,
		start.UnixNano(),
	)
	must(t, err)
	must(t, db.Close())
	s := p.open(t)
	_, err = s.Instance(t.Context(), dps.DefaultInstance)
	must(t, err)
	_, err = s.RecordAudit(t.Context(), audit.Entry{Instance: dps.DefaultInstance, Operation: audit.Put})
	must(t, err)
}

func TestMigrateHubs(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 3)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	for _, text := range []string{
		`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, $2)`,
		`INSERT INTO hubs (instance, id, kind, host_name, weight, apply_policy) VALUES ('default', 'embedded', 'embedded', 'Hub.example.com', 7, 1)`,
		`INSERT INTO registrations (instance, id_key, id, entry_kind, entry_key, entry_id, attestation, evidence, status, substatus, hub, device_id,
			error_code, error_message, operation, etag, created, updated)
			VALUES ('default', 'sensor', 'Sensor', 'group', 'line', 'Line', 'x509', 'x509:1', 'assigned',
			'initialAssignment', 'embedded', 'Sensor', '', '', '5.1', 'etag', $2, $2)`,
	} {
		_, err := db.ExecContext(t.Context(), text, tokenKey, start.UnixNano())
		must(t, err)
	}
	must(t, db.Close())
	s := p.open(t)
	hubs, err := s.Hubs(t.Context(), dps.DefaultInstance)
	must(t, err)
	if len(hubs) != 1 || hubs[0].HostName != "Hub.example.com" || hubs[0].Weight != 7 || hubs[0].Access != nil || hubs[0].Location != "" {
		t.Errorf("hubs = %+v", hubs)
	}
	reg, err := s.Registration(t.Context(), dps.DefaultInstance, "sensor")
	must(t, err)
	if reg.Assignment == nil || reg.Assignment.Hub != dps.EmbeddedHub || reg.Payload != nil || reg.Failure != nil {
		t.Errorf("registration = %+v", reg)
	}
	reg.ETag = dps.NewETag()
	must(t, s.Commit(t.Context(), dps.RegistrationChange{Registration: reg, IfMatch: "etag"}))
}

func TestMigrateFormerHubs(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 5)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	for _, text := range []string{
		`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, 1)`,
		`INSERT INTO hubs (instance, id, kind, host_name, weight, apply_policy) VALUES ('default', 'embedded', 'embedded', 'old.example', 5, 1)`,
	} {
		_, err := db.ExecContext(t.Context(), text, tokenKey)
		must(t, err)
	}
	must(t, db.Close())
	s := p.open(t)
	hubs, err := s.Hubs(t.Context(), dps.DefaultInstance)
	must(t, err)
	if len(hubs) != 1 || hubs[0].HostName != "old.example" || hubs[0].Weight != 5 {
		t.Fatalf("hubs = %+v", hubs)
	}
	in, err := s.Instance(t.Context(), dps.DefaultInstance)
	must(t, err)
	change := dps.InstanceChange{Instance: in, IfMatch: in.ETag, Hubs: dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: hubs[0]}}}}
	change.Instance.ETag = dps.NewETag()
	must(t, s.Configure(t.Context(), change))
	former, err := s.FormerHubs(t.Context(), dps.DefaultInstance)
	must(t, err)
	if len(former) != 1 || former[0] != (dps.FormerHub{ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "old.example"}) {
		t.Errorf("former hubs = %+v", former)
	}
}

// Identities of earlier versions are enabled, and their twins as they were created.
func TestMigrateHubDevices(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 3)
	for _, text := range []string{
		`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', x'', 0)`,
		`INSERT INTO hubs (instance, id, kind, host_name, weight, apply_policy) VALUES ('default', 'embedded', 'embedded', 'localhost', 1, 1)`,
		`INSERT INTO hub_devices (instance, hub, device_id, generation, auth_type, primary_thumbprint, secondary_thumbprint, iot_edge, tags, desired, etag, created, updated)
			VALUES ('default', 'embedded', 'dev', '7', 'selfSigned', 'AB', 'CD', 1, '{"t":1}', '{"d":{"e":1}}', 'ZQ==',
			1772366400000000000, 1772366460000000000)`,
	} {
		_, err := db.ExecContext(t.Context(), text)
		must(t, err)
	}
	must(t, db.Close())
	s := p.open(t)
	got, err := s.HubDevice(t.Context(), dps.DefaultInstance, dps.EmbeddedHub, "dev")
	must(t, err)
	created := time.Unix(1772366400, 0).UTC()
	want := dps.HubDevice{
		Instance: dps.DefaultInstance, Hub: dps.EmbeddedHub, DeviceID: "dev", GenerationID: "7", IotEdge: true,
		Authentication: dps.HubAuthentication{Type: dps.HubAuthSelfSigned, PrimaryThumbprint: "AB", SecondaryThumbprint: "CD"},
		Twin:           dps.Twin{Tags: []byte(`{"t":1}`), Desired: []byte(`{"d":{"e":1}}`)}, TwinVersion: 2,
		DesiredStamp: dps.Stamp{At: created, Version: 1}, ReportedStamp: dps.Stamp{At: created, Version: 1},
		ETag: "ZQ==", Created: created, Updated: created.Add(time.Minute),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b dps.Secret) bool { return a.IsZero() && b.IsZero() })); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	edge := true
	found, err := s.FindHubDevices(t.Context(), dps.DefaultInstance, dps.EmbeddedHub, dps.HubDeviceFilter{Edge: &edge}, "", 10)
	if err != nil || len(found) != 1 {
		t.Errorf("the index of edge devices has %d, %v", len(found), err)
	}
	changed, _, err := got.WithTwin(dps.TwinChange{Desired: []byte(`{"f":2}`)}, created.Add(time.Hour))
	must(t, err)
	must(t, s.ChangeHubDevice(t.Context(), got, changed))
}

func TestMigrateDecisions(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 3)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(
		t.Context(),
		`INSERT INTO instances (id, scope, allocation, etag, tags, token_key, created) VALUES ('default', '0ne0000000A', 'static', 'e', '{}', $1, $2)`,
		tokenKey,
		start.UnixNano(),
	)
	must(t, err)
	_, err = db.ExecContext(
		t.Context(),
		`INSERT INTO audit (instance, time, principal, operation, kind, id_key, id, old_etag, new_etag, result, several, succeeded, failed, tracking_id, remote)
		VALUES ('default', 1, 'policy:p', 'put', 'enrollment', 'a', 'a', '', 'e', 'ok', 0, 0, 0, 't', 'r')`,
	)
	must(t, err)
	must(t, db.Close())
	s := p.open(t)
	entries, err := s.Audit(t.Context(), dps.DefaultInstance, audit.Filter{}, 10, nil)
	if must(t, err); len(entries) != 1 {
		t.Errorf("old audit entries = %+v", entries)
	}
	e := decision.Entry{Refusal: dps.Refusal{Instance: dps.DefaultInstance, ID: "a", TrackingID: "t", Time: start}, First: start, Count: 1}
	must(t, s.RecordDecisions(t.Context(), []decision.Entry{e}, decision.CapsOf(10)))
	_, err = s.Decision(t.Context(), dps.DefaultInstance, "t")
	must(t, err)
	row := statistics.Row{
		Instance: dps.DefaultInstance,
		Width:    time.Hour,
		Bucket:   statistics.Bucket{Start: start, Counts: statistics.Counts{Refused: 1}},
	}
	must(t, s.AddCounts(t.Context(), []statistics.Row{row}))
}

// New files have larger pages; a file keeps those it was made with.
func TestPageSize(t *testing.T) {
	fresh, old := newPlace(t), newPlace(t)
	must(t, migrateTo(t, old.path, 1).Close())
	for p, want := range map[*place]int{fresh: 8192, old: 4096} {
		must(t, p.openWith(t, newSetup()).Close())
		var size int
		must(t, database(t, p.path).QueryRowContext(t.Context(), `PRAGMA page_size`).Scan(&size))
		if size != want {
			t.Errorf("pages of %d bytes, want %d", size, want)
		}
	}
}

// Signers were found by a hash of the subject's DER.
func TestMigrateSubjects(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 11)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	ca, own := signer(t, "Plant CA"), signer(t, "Line CA")
	old := func(c dps.Certificate) []byte {
		parsed, err := c.Parse()
		must(t, err)
		sum := dps.ThumbprintOf(parsed.RawSubject)
		return sum[:]
	}
	print256 := func(c dps.Certificate) []byte {
		sum := c.Thumbprint()
		return sum[:]
	}
	for _, q := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, 1)`, []any{tokenKey}},
		{`INSERT INTO ca_certificates (instance, name_key, name, der, thumbprint, subject, verified, code, code_expires, etag, created, updated)
			VALUES ('default', 'plant', 'plant', $1, $2, $3, 1, '', 0, 'e', 1, 1)`, []any{ca.DER, print256(ca), old(ca)}},
		{`INSERT INTO enrollments (instance, kind, id_key, id, body, etag, created, updated)
			VALUES ('default', 'group', 'line', 'line', '{"attestation":{"type":"x509"},"provisioningStatus":"enabled"}', 'e', 1, 1)`, nil},
		{`INSERT INTO enrollment_certificates (instance, thumbprint, kind, id_key, id, subject, der)
			VALUES ('default', $1, 'group', 'line', 'line', $2, $3)`, []any{print256(own), old(own), own.DER}},
	} {
		_, err := db.ExecContext(t.Context(), q.text, q.args...)
		must(t, err)
	}
	must(t, db.Close())
	s := p.open(t)
	upper := func(cn string) []byte {
		raw, err := asn1.Marshal(pkix.Name{CommonName: cn}.ToRDNSequence())
		must(t, err)
		return raw
	}
	got, err := s.Anchors(t.Context(), dps.DefaultInstance, [][]byte{upper("PLANT CA"), upper("line  ca")})
	must(t, err)
	want := []dps.Anchor{{Certificate: ca, CA: "plant", Verified: true}, {Certificate: own, Group: "line"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
}

// signer returns a self-signed CA certificate.
func signer(t *testing.T, cn string) dps.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotAfter: start, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return dps.Certificate{DER: der}
}

// Two records that name one identity were possible before: the latest one has it.
func TestMigrateHolders(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 10)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(t.Context(),
		`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, 1)`, tokenKey)
	must(t, err)
	for _, r := range []struct {
		id, device string
		updated    int
	}{{"sensor", "sensor", 5}, {"pump", "sensor", 7}, {"valve", "sensor", 6}, {"fan", "fan", 9}, {"old", "fan", 3}, {"alone", "renamed", 1}} {
		_, err := db.ExecContext(t.Context(), `INSERT INTO registrations (instance, id_key, id, entry_kind, entry_key, entry_id, attestation, evidence,
			status, substatus, hub, device_id, error_code, error_message, operation, etag, created, updated)
			VALUES ('default', $1, $1, 'group', 'line', 'Line', 'x509', '', 'assigned',
			'initialAssignment', 'embedded', $2, '', '', '5.' || $1, 'etag', 1, $3)`, r.id, r.device, r.updated)
		must(t, err)
	}
	must(t, db.Close())
	s := p.open(t)
	for id, want := range map[dps.RegistrationID]dps.RegistrationID{
		"sensor": "pump", "pump": "", "valve": "pump", "fan": "", "old": "fan", "alone": "",
	} {
		reg, err := s.Registration(t.Context(), dps.DefaultInstance, id)
		must(t, err)
		if reg.Assignment.TakenBy != want || reg.Assignment.Entry != (dps.EntryRef{Kind: dps.Group, ID: "Line"}) ||
			reg.Entry != reg.Assignment.Entry {
			t.Errorf("%s: %+v, want it taken by %q", id, reg.Assignment, want)
		}
	}
}
