package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAzArgs(t *testing.T) {
	for _, tt := range []struct{ in, want, problem string }{
		{in: ""},
		{in: "enrollment create a --edge-enabled", want: "enrollment create a --edge-enabled"},
		{in: "enrollment create --edge-enabled TRUE a", want: "enrollment create --edge-enabled=true a"},
		{in: "enrollment create --edge-enabled a", want: "enrollment create --edge-enabled a"},
		{in: "enrollment create --edge-enabled=false a", want: "enrollment create --edge-enabled=false a"},
		{in: "enrollment create --device-id true a", want: "enrollment create --device-id true a"},
		{in: "enrollment create --eid a --ih x y", want: "enrollment create --eid a --iot-hubs=x --iot-hubs=y"},
		{in: "enrollment create --ih x a", want: "enrollment create --iot-hubs=x a"},
		{in: "enrollment create a --ih x y --ap hashed", want: "enrollment create a --iot-hubs=x --iot-hubs=y --ap hashed"},
		{in: "enrollment create a -- --ih x y", want: "enrollment create a -- --ih x y"},
		{in: "policy create -r EnrollmentRead ServiceConfig a", want: "policy create --rights=EnrollmentRead --rights=ServiceConfig a"},
		{in: "policy create -n dps --pn a", want: "policy create --dps-name dps --pn a"},
		{in: "policy create -n a", want: "policy create -n a"},
		{in: "--data x info", want: "info --data x"},
		{in: "__complete enrolment", want: "__complete enrolment"},
		{in: "enrolment list", problem: `unknown command "enrolment"; did you mean "enrollment"?`},
		{in: "enrolment --data x list", problem: `unknown command "enrolment"`},
		{in: "--data x enrolment", problem: `unknown command "enrolment"`},
		{in: "policy crate a", problem: `unknown command "crate"; did you mean "create"?`},
	} {
		var discard bytes.Buffer
		root := rootCommand(&env{getenv: func(string) string { return "" }, in: strings.NewReader(""), out: &discard, err: &discard})
		got, err := azArgs(root, strings.Fields(tt.in))
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" || (err == nil) != (tt.problem == "") {
			t.Errorf("%q: %v\n%s", tt.in, err, diff)
		}
		if err != nil && !strings.HasPrefix(err.Error(), tt.problem) {
			t.Errorf("%q: %v, want %q", tt.in, err, tt.problem)
		}
	}
}

func TestJSONText(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": [1, true, null]}`:               `{"a":[1,true,null]}`,
		`{'a': 'b', 'c': True, 'd': None}`:     `{"a":"b","c":true,"d":null}`,
		`{'a': "it's", 'b': 'say "x"'}`:        `{"a":"it's","b":"say \"x\""}`,
		`{'a': 'it\'s', 'b': 'c:\\d\n'}`:       `{"a":"it's","b":"c:\\d\n"}`,
		`{'a': 'True', 'False': [False, 1.5]}`: `{"a":"True","False":[false,1.5]}`,
	} {
		if got, err := jsonText(text); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for text, problem := range map[string]string{
		`{"a": 1,}`:      "line 1, column 9: remove the comma before }",
		"{\n\"ü\": [1,]": "line 2, column 9: remove the comma before ]",
		`{a: 1}`:         "line 1, column 2: a name needs double quotes, which the shell may have removed; put the JSON in a file and give @FILE",
		`{"a": 1`:        "is incomplete",
		`{'a': 'b`:       "is not JSON",
		`{"a": x}`:       "line 1, column 7: invalid character 'x'",
	} {
		if got, err := jsonText(text); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %s, %v, want %q", text, got, err, problem)
		}
	}
}

func FuzzJSONText(f *testing.F) {
	for _, text := range []string{`{"a": 1}`, `{'a': 'b', 'c': True}`, `{'a': 'it\'s`, "'\\", "{a:1}", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := jsonText(text)
		if err == nil && !json.Valid(got) {
			t.Errorf("%q: %q is not JSON", text, got)
		}
	})
}

func TestLoginCheck(t *testing.T) {
	for _, tt := range []struct{ group, name, host, problem string }{
		{host: "localhost"},
		{group: "Mooring", name: "DEFAULT", host: "dps.example:8443"},
		{name: "dps", host: "dps.example"},
		{name: "dps.example", host: "dps.example"},
		{name: "contoso", host: "contoso.azure-devices-provisioning.net"},
		{name: "default", host: "contoso.azure-devices-provisioning.net", problem: `the service is named "contoso", not "default"`},
		{group: "rg", host: "contoso.azure-devices-provisioning.cn", problem: "leave the flag out"},
		{group: "rg", host: "dps.example", problem: `is in resource group "mooring", not "rg"`},
		{name: "other", host: "dps.example", problem: `the service is named "default", not "other"`},
	} {
		err := login{group: tt.group, name: tt.name}.check(tt.host)
		if (err == nil) != (tt.problem == "") || (err != nil && !strings.Contains(err.Error(), tt.problem)) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
