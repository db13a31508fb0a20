package transfer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/transfer"
	"github.com/mooring-iot/mooring/wire"
)

// cut returns the records of a text as "line: text" or "line! problem".
func cut(t *testing.T, text string, f transfer.Format, slow bool) []string {
	t.Helper()
	var in io.Reader = strings.NewReader(text)
	if slow {
		in = iotest.OneByteReader(in)
	}
	r := transfer.NewReader(in, f)
	var all []string
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Problem != "" {
			all = append(all, fmt.Sprintf("%d! %s", rec.Line, rec.Problem))
			continue
		}
		all = append(all, fmt.Sprintf("%d: %s", rec.Line, rec.Text))
		if !strings.HasPrefix(strings.TrimPrefix(text[rec.Offset:], "\ufeff"), string(rec.Text)) || rec.End > int64(len(text)) {
			t.Errorf("record %q is not at %d", rec.Text, rec.Offset)
		}
	}
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("x", wire.MaxImportLine+1)
	tooLong := fmt.Sprintf("it is longer than the limit of %d bytes", wire.MaxImportLine)
	tests := []struct {
		name string
		f    transfer.Format
		in   string
		want []string
	}{
		{"nothing", transfer.JSONLines, "", nil},
		{"lines", transfer.JSONLines, "a\nb\r\nc", []string{"1: a", "2: b", "3: c"}},
		{"blank and remark", transfer.JSONLines, "\n# x\n  \na\n\n#", []string{"4: a"}},
		{"byte order mark", transfer.CSV, "\ufeffa,b\n1,2", []string{"1: a,b", "2: 1,2"}},
		{"quotes mean nothing", transfer.JSONLines, "\"a\nb\"", []string{`1: "a`, `2: b"`}},
		{"line end in quotes", transfer.CSV, "a,\"b\n\"\"c\n\",d\ne\n", []string{"1: a,\"b\n\"\"c\n\",d", "4: e"}},
		{"quote inside", transfer.CSV, "a\"b,c\nd\n", []string{`1: a"b,c`, "2: d"}},
		{"quote never closed", transfer.CSV, "a,\"b\nc\nd", []string{"1! a quote is opened and never closed", "2: c", "3: d"}},
		{"remark with a quote", transfer.CSV, "#,\"\na", []string{"2: a"}},
		{"too long", transfer.JSONLines, "a\n" + long + "\nb", []string{"1: a", "2! " + tooLong, "3: b"}},
		{"too long at the end", transfer.CSV, "a\n" + long + long + long, []string{"1: a", "2! " + tooLong}},
		{"quote never closed in much", transfer.CSV, "\"a\n" + strings.Repeat("b\n", wire.MaxImportLine), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := cut(t, tt.in, tt.f, false)
			if tt.want == nil && tt.in != "" {
				if len(got) != wire.MaxImportLine+1 || !strings.HasPrefix(got[0], "1! a quote") {
					t.Errorf("%d records, the first %q", len(got), got[0])
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if len(tt.in) < 1000 {
				if diff := cmp.Diff(tt.want, cut(t, tt.in, tt.f, true)); diff != "" {
					t.Errorf("records read slowly (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestReaderAt(t *testing.T) {
	const text = "a\n\"b\nc\"\n\nd\ne"
	r := transfer.NewReader(strings.NewReader(text), transfer.CSV)
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	third, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	again := transfer.NewReaderAt(strings.NewReader(text[third.Offset:]), transfer.CSV, third.Line, third.Offset)
	rec, err := again.Next()
	if err != nil || string(rec.Text) != "d" || rec.Line != 5 || rec.Offset != third.Offset || rec.End != third.End {
		t.Errorf("record = %+v, %v", rec, err)
	}
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]transfer.Format{
		"a.jsonl": "jsonl", "A.JSONL": "jsonl", "a.ndjson": "jsonl", "a.csv": "csv", "a.CSV.refused.csv": "csv", "a.json": "", "a": "", "": "",
	} {
		if got, ok := transfer.FormatOf(name); got != want || ok != (want != "") {
			t.Errorf("FormatOf(%q) = %q, %v", name, got, ok)
		}
	}
}

func TestHeader(t *testing.T) {
	for text, problem := range map[string]string{
		"registrationId,deviceId":                    "",
		"TAGS , registrationid":                      "",
		`"registrationId"`:                           "",
		"deviceId":                                   "registrationId",
		"registrationId,registrationID":              "twice",
		"registrationId,etag":                        `"etag" is no column`,
		"enrollmentGroupId":                          "is no column",
		"registrationId,":                            "is no column",
		`registrationId,"deviceId`:                   "never closed",
		"registrationId," + strings.Repeat("x", 999): "...",
	} {
		_, err := transfer.ReadHeader([]byte(text), dps.Individual)
		if (err == nil) != (problem == "") || (err != nil && (!strings.Contains(err.Error(), problem) || dps.CodeOf(err) != dps.Invalid)) {
			t.Errorf("header %q: %v, want %q", text, err, problem)
		}
	}
	if _, err := transfer.ReadHeader([]byte("enrollmentGroupId,certificate"), dps.Group); err != nil {
		t.Error(err)
	}
}

func TestBadCells(t *testing.T) {
	columns, err := transfer.ReadHeader(
		[]byte("registrationId,iotEdge,reprovisionUpdate,tags,desired,initialTwin,optionalDeviceInformation"),
		dps.Individual,
	)
	if err != nil {
		t.Fatal(err)
	}
	for line, problem := range map[string]string{
		"a,,,,,,":              "",
		"a,TRUE,false,1,2,,{}": "",
		"a":                    "7 columns, and this line 1",
		"a,,,,,,,":             "this line 8",
		"a,yes,,,,,":           "iotEdge: must be true or false",
		"a,,1,,,,":             "reprovisionUpdate",
		"a,,,{,,,":             "tags: must be JSON",
		"a,,,,x,,":             "desired: must be JSON",
		"a,,,,,x,":             "initialTwin: must be JSON",
		"a,,,1,,{},":           "initialTwin: must be empty",
		"a,,,,,,x":             "optionalDeviceInformation",
		`a,"true"x,,,,,`:       "between a closing quote",
		`a,tr"ue,,,,,`:         "a quote stands inside",
		`a,"true,,,,,`:         "never closed",
	} {
		if _, err := columns.Read([]byte(line)); (err == nil) != (problem == "") || (err != nil && !strings.Contains(err.Error(), problem)) {
			t.Errorf("line %q: %v, want %q", line, err, problem)
		}
	}
}

// TestTwins checks that CSV carries any twin as it is, and usual ones in two columns.
func TestTwins(t *testing.T) {
	for _, twin := range []string{
		"", `{}`, `null`, `[]`, `{"tags":{"a":1}}`, `{"properties":{"desired":{"b":"<&>"}}}`, `{"tags":{},"properties":{"desired":{}}}`, `{"tags":null}`,
		`{"properties":{"desired":{}},"tags":{}}`, `{"tags":{},"properties":{}}`, `{"properties":{"desired":{},"reported":{}}}`, `{"Tags":{}}`, `{"tags":{"x":1},"tags":{"y":1}}`,
	} {
		e := wire.Enrollment{RegistrationID: "a"}
		if twin != "" {
			e.InitialTwin = json.RawMessage(twin)
		}
		if got := throughCSV(t, dps.Individual, e); string(got.InitialTwin) != twin {
			t.Errorf("twin %s comes back as %s", twin, got.InitialTwin)
		}
	}
}

// throughCSV writes a record and reads it.
func throughCSV(t *testing.T, kind dps.EntryKind, e wire.Enrollment) wire.EnrollmentRequest {
	t.Helper()
	var out bytes.Buffer
	w, err := transfer.NewCSVWriter(&out, kind)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(e)
	if err := errors.Join(w.Write(e), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if after, _ := json.Marshal(e); !bytes.Equal(before, after) {
		t.Errorf("Write changed its argument: %s", after)
	}
	r := transfer.NewReader(&out, transfer.CSV)
	header, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	columns, err := transfer.ReadHeader(header.Text, kind)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	got, err := columns.Read(rec.Text)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWholeRecord(t *testing.T) {
	yes, no := true, false
	e := wire.Enrollment{
		RegistrationID: "a", DeviceID: `d,"1`, OptionalDeviceInformation: json.RawMessage(`{"a":1}`), IotHubHostName: "h",
		Attestation: &wire.Attestation{Type: "x509", X509: &wire.X509{ClientCertificates: &wire.Certificates{
			Primary: &wire.Certificate{Certificate: "-----BEGIN\r\nx\n"}, Secondary: &wire.Certificate{Certificate: "AA=="},
		}}},
		Capabilities: &wire.Capabilities{}, ProvisioningStatus: wire.NullableString{Present: true, Null: true},
		ReprovisionPolicy: &wire.ReprovisionPolicy{
			UpdateHubAssignment: &yes,
			MigrateDeviceData:   &no,
		}, AllocationPolicy: "custom", IotHubs: []string{"x", "y"},
		CustomAllocationDefinition: &wire.CustomAllocation{WebhookURL: "https://w/?a=b", APIVersion: "1\r\n2"},
	}
	if diff := cmp.Diff(wire.EnrollmentRequest{Enrollment: e}, throughCSV(t, dps.Individual, e)); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func FuzzReader(f *testing.F) {
	for _, text := range []string{"", "a\nb", "registrationId,tags\na,\"{}\"\n", "\"a\n", "a,\"b\"\"\n\"\r\n#x\n", "\ufeffa"} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, isCSV bool) {
		format := transfer.JSONLines
		if isCSV {
			format = transfer.CSV
		}
		all := cut(t, text, format, false)
		if diff := cmp.Diff(all, cut(t, text, format, true)); diff != "" {
			t.Errorf("read slowly:\n%s", diff)
		}
		columns, err := transfer.ReadHeader([]byte("registrationId,tags,iotEdge"), dps.Individual)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = columns.Read([]byte(text))
	})
}
