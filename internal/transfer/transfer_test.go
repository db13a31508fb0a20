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
	array := strings.Contains(text, "[") // its records are put on one line
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
		if at := strings.TrimPrefix(text[rec.Offset:], "\ufeff"); rec.End > int64(len(text)) || (!array && !begins(at, string(rec.Text))) {
			t.Errorf("record %q is not at %d", rec.Text, rec.Offset)
		}
	}
}

// begins reports whether text begins with a record, but for the blanks before it.
func begins(text, record string) bool {
	record = strings.TrimLeft(record, " \t\r\v\f")
	return strings.HasPrefix(strings.TrimLeft(text[:min(len(text), len(record)+100)], " \t\r\v\f"), record)
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
		{"comma behind a line", transfer.JSONLines, "{\"a\":1},\n{\"b\":2} ,\n{\"c\":3}", []string{`1: {"a":1}`, `2: {"b":2} ,`, `3: {"c":3}`}},
		{"record over several lines", transfer.JSONLines, "{\n\"a\":1\n}", []string{"1! a record must be on one line, or an element of one array; convert the file: jq -c .", `2: "a":1`, "3: }"}},
		{"Latin-1", transfer.JSONLines, "{}\n{\"a\":\"\xfc\"}\n{}", []string{"1: {}", "2! line 2, column 7: " + latin("FC"), "3: {}"}},
		{"Latin-1 behind a line end in quotes", transfer.CSV, "a\n\"b\n\xe4\"\n", []string{"1: a", "2! line 3, column 1: " + latin("E4")}},
		{"array", transfer.JSONLines, "\ufeff [\n  {\"a\": \"x]}\\\"\"},\n  {\n    \"b\": [1, {}]\n  },\n]\n", []string{`2: {"a":"x]}\""}`, `3: {"b":[1,{}]}`}},
		{"array behind a remark", transfer.JSONLines, "# x\n\n[{\"a\":1}]", []string{`3: {"a":1}`}},
		{"empty array", transfer.JSONLines, "[]", nil},
		{"array on one line", transfer.JSONLines, "[{\"a\":1},{\"b\":2}]", []string{`1: {"a":1}`, `1: {"b":2}`}},
		{"array of other values", transfer.JSONLines, "[1, \"a,]\", true]", []string{"1: 1", `1: "a,]"`, "1: true"}},
		{"array with a broken record", transfer.JSONLines, "[{\"a\":},\n{\"b\":2}]", []string{"1! is not JSON: invalid character '}' looking for beginning of value", `2: {"b":2}`}},
		{"array that ends too early", transfer.JSONLines, "[{\"a\":1},\n{\"b\":", []string{`1: {"a":1}`, "2! the array ends in the middle of a record"}},
		{"text behind an array", transfer.JSONLines, "[{}]\nx", []string{"1: {}", "2! the array has ended; remove what is behind its ]"}},
		{"too long in an array", transfer.JSONLines, "[{\"a\":\"" + long + "\"},\n{}]", []string{"1! " + tooLong, "2: {}"}},
		{"semicolons", transfer.CSV, "a;b\n1;\"2\n3\"\n", []string{"1: a;b", "2: 1;\"2\n3\""}},
		{"commas are no separators then", transfer.CSV, "a;b\n1,\"2;3\n4\"\n", []string{"1: a;b", `2: 1,"2;3`, `3: 4"`}},
		{"quote never closed in much", transfer.CSV, "\"a\n" + strings.Repeat("b\n", wire.MaxImportLine), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := cut(t, tt.in, tt.f, false)
			if tt.name == "quote never closed in much" {
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

// latin is what is said of a byte that is not UTF-8.
func latin(hex string) string {
	return "byte 0x" + hex + " is not UTF-8; save the file as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8"
}

func TestUTF16IsRefusedAsAWhole(t *testing.T) {
	for _, text := range []string{"\xff\xfea\x00,\x00\n\x00", "\xfe\xff\x00a\x00\n"} {
		_, err := transfer.NewReader(strings.NewReader(text), transfer.CSV).Next()
		if dps.CodeOf(err) != dps.Malformed || !strings.Contains(dps.MessageOf(err), "iconv -f UTF-16 -t UTF-8") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestResume goes on behind every record of a file, and wants the rest of it each time.
func TestResume(t *testing.T) {
	for name, text := range map[string]string{
		"lines": "{\"a\":1},\n\n{\"b\":2}\n{}", "array": "[{\"a\":1},\n {\n\"b\":\n2},\n[], {}]\n", "semicolons": "a;b\n1;\"2\n\"\n3;\"4\"",
	} {
		format := transfer.JSONLines
		if name == "semicolons" {
			format = transfer.CSV
		}
		whole := cut(t, text, format, false)
		for done := 1; done < len(whole); done++ {
			r := transfer.NewReader(strings.NewReader(text), format)
			var at transfer.Record
			for range done {
				var err error
				if at, err = r.Next(); err != nil {
					t.Fatal(err)
				}
			}
			rest := r.Resume(strings.NewReader(text[at.End:]), at.EndLine, at.End)
			var got []string
			for rec, err := rest.Next(); err == nil; rec, err = rest.Next() {
				got = append(got, fmt.Sprintf("%d: %s", rec.Line, rec.Text))
			}
			if diff := cmp.Diff(whole[done:], got); diff != "" {
				t.Errorf("%s behind record %d (-want +got):\n%s", name, done, diff)
			}
		}
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
	again := r.Resume(strings.NewReader(text[third.Offset:]), third.Line, third.Offset)
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
		"registrationId,etag":                        `"etag" is not a column`,
		"enrollmentGroupId":                          "is not a column",
		"registrationId,,":                           "",
		"registrationId,,deviceId":                   `"" is not a column`,
		"registrationId;deviceId;tags":               "",
		"registrationId\tdeviceId":                   "",
		"registrationId;deviceid,tags":               `"registrationId;deviceid" is not a column`,
		"registrationId,provisionigStatus":           `did you mean "provisioningStatus"?`,
		"registrationId,tags\ra,b":                   "lines end with CR alone",
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
		"a":                    "7 columns and this line 1",
		"a,,,,,,,":             "",
		"a,,,,,,,x":            "this line 8; put a cell that contains ',' in quotes",
		"a,yes,,,,,":           "iotEdge: must be true or false",
		"a,,1,,,,":             "reprovisionUpdate",
		"a,,,{,,,":             "tags: must be JSON",
		"a,,,,x,,":             "desired: must be JSON",
		"a,,,,,x,":             "initialTwin: must be JSON",
		"a,,,1,,{},":           "initialTwin: must be empty",
		"a,,,,,,x":             "optionalDeviceInformation",
		`a,"true"x,,,,,`:       "text between a closing quote",
		`a,tr"ue,,,,,`:         "a field contains a quote",
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
	for _, text := range []string{
		"", "a\nb", "registrationId,tags\na,\"{}\"\n", "\"a\n", "a,\"b\"\"\n\"\r\n#x\n", "\ufeffa", "[{\"a\":1},\n{}]", "a;b\n1;\"\n", "\xfc",
	} {
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
