package connstring_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/connstring"
)

type fields = connstring.Fields

func TestParse(t *testing.T) {
	const key = "AAECAw=="
	tests := []struct {
		name, text string
		want       fields // nil for ErrForm
	}{
		{"as written", "HostName=h;SharedAccessKeyName=a;SharedAccessKey=" + key, fields{
			{"HostName", "h"}, {"SharedAccessKeyName", "a"}, {"SharedAccessKey", key},
		}},
		{"a port", "HostName=h:8443", fields{{"HostName", "h:8443"}}},
		{"another order and case", "sharedaccesskey=" + key + ";HOSTNAME=h", fields{{"sharedaccesskey", key}, {"HOSTNAME", "h"}}},
		{"space around it all", " \tHostName = h ; DeviceId = d \r\n", fields{{"HostName", "h"}, {"DeviceId", "d"}}},
		{"a semicolon at the end", "HostName=h;\n", fields{{"HostName", "h"}}},
		{"unknown names", "HostName=h;x=y", fields{{"HostName", "h"}, {"x", "y"}}},
		{"no value", "HostName=", fields{{"HostName", ""}}},
		{"no name", "=h", fields{{"", "h"}}},
		{"a value with =", "a=b=c=", fields{{"a", "b=c="}}},
		{"empty", "", nil},
		{"spaces", "  ", nil},
		{"a semicolon", ";", nil},
		{"two semicolons at the end", "HostName=h;;", nil},
		{"a field is empty", "HostName=h;;SharedAccessKeyName=a", nil},
		{"too many", "a=;b=;c=;d=;e=;f=;g=;h=;i=;j=;k=;l=;m=;n=;o=;p=;q=", nil},
		{"no =", "HostName", nil},
		{"twice", "HostName=h;SharedAccessKeyName=a;HostName=h", nil},
		{"twice, in another case", "HostName=h;hostname =i", nil},
	}
	for _, tt := range tests {
		got, err := connstring.Parse(tt.text)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if (tt.want == nil) != errors.Is(err, connstring.ErrForm) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestGet(t *testing.T) {
	fs := fields{{"hostname", "h"}, {"SharedAccessKeyName", "a"}}
	for name, want := range map[string]string{"HostName": "h", "sharedaccesskeyname": "a", "GatewayHostName": "", "": ""} {
		if got := fs.Get(name); got != want {
			t.Errorf("Get(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	tests := []struct {
		text string
		want string // "" for ErrKey
	}{
		{"SharedAccessKey=AAECAw==", "\x00\x01\x02\x03"},
		{"sharedaccesskey=AAECAw==", "\x00\x01\x02\x03"},
		{"SharedAccessKey=AAECAw", ""},
		{"SharedAccessKey=_-__", ""},
		{"SharedAccessKey=secret!", ""},
		{"SharedAccessKey=", ""},
		{"HostName=h", ""},
	}
	for _, tt := range tests {
		fs, err := connstring.Parse(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		key, err := fs.Key()
		if string(key) != tt.want || (tt.want == "") != errors.Is(err, connstring.ErrKey) {
			t.Errorf("%s: %q, %v, want %q", tt.text, key, err, tt.want)
		}
	}
}

// FuzzParse holds that what was read is written so that it is read again, and that an error repeats nothing.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", ";", "=", "HostName=h;SharedAccessKeyName=a;SharedAccessKey=AAECAw==;", "hostname=h;HOSTNAME=i", " HostName == ; x=y\n", "a=\x00;\xff=b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fs, err := connstring.Parse(text)
		if err != nil {
			if err.Error() != connstring.ErrForm.Error() {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if len(fs) == 0 {
			t.Fatalf("%q has no fields", text)
		}
		for _, field := range fs {
			if fs.Get(field.Name) != field.Value {
				t.Errorf("%q: Get(%q) = %q, want %q", text, field.Name, fs.Get(field.Name), field.Value)
			}
		}
		var parts []string
		for _, field := range fs {
			parts = append(parts, field.Name+"="+field.Value)
		}
		again, err := connstring.Parse(strings.Join(parts, ";"))
		if diff := cmp.Diff(fs, again); err != nil || diff != "" {
			t.Errorf("%q: %v, again (-first +second):\n%s", text, err, diff)
		}
	})
}
