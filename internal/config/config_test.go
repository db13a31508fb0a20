package config_test

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/config"
)

// source is where a test configures from; file is the content of mooring.yaml.
type source struct {
	args []string
	env  map[string]string
	file string
}

// load runs Load in a directory of its own, with mooring.yaml in it.
func (s source) load(t *testing.T) (config.Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	args := s.args
	if s.file != "" {
		writeFile(t, "mooring.yaml", s.file)
		args = append([]string{"--config", "mooring.yaml"}, args...)
	}
	return config.Load(flags(t, args), func(name string) string { return s.env[name] })
}

func flags(t testing.TB, args []string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func listen(t *testing.T, text string) config.Listen {
	t.Helper()
	l, err := config.ParseListen(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var compare = cmp.Options{cmp.AllowUnexported(config.Listen{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}

func TestDefaults(t *testing.T) {
	got, err := source{}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	if got.HTTPS.Explicit() || got.Portal.Explicit() {
		t.Error("defaults are explicit")
	}
	if got.HTTPS.Addr() != ":443" || got.Portal.Addr() != "127.0.0.1:8080" {
		t.Errorf("HTTPS = %v, Portal = %v", got.HTTPS, got.Portal)
	}
	got.HTTPS, got.MQTT, got.Portal = config.Listen{}, config.Listen{}, config.Listen{}
	want := config.Config{
		Data: "./mooring-data", Hostnames: []string{"localhost"}, AuditRetention: 90 * 24 * time.Hour, HubRates: config.HubRates{PerMinute: 100},
		DecisionRetention: 7 * 24 * time.Hour, DecisionLimit: 100_000,
		Takeover: config.TakeoverAllow, WebhookBudget: 10 * time.Minute,
		LogLevel: slog.LevelInfo, LogFormat: config.LogText,
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEverySource(t *testing.T) {
	want := config.Config{
		Data: "/d", Hostnames: []string{"a.example", "192.0.2.1"},
		HTTPS: listen(t, "off"), MQTT: listen(t, "127.0.0.1:1"), Portal: listen(t, "[::1]:0"), RegistrationRate: 7, ManagementRate: 8,
		TLSCert: "c.pem", TLSKey: "k.pem", TLSCompat: true, AuditRetention: 36 * time.Hour,
		HubRates: config.HubRates{PerMinute: 8}, HubCA: "h.pem",
		DecisionRetention: 48 * time.Hour, DecisionLimit: 500,
		LogLevel: slog.LevelError, LogFormat: config.LogJSON,
		Networks: []config.Network{
			{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Locations: []string{"West Europe", "northeurope"}},
			{Prefix: netip.MustParsePrefix("2001:db8::/32"), Locations: []string{"eastus"}},
		},
		Takeover: config.TakeoverRefuse, WebhookBudget: 90 * time.Second,
		WebhookAllow: []config.WebhookTarget{config.WebhookHTTP, config.WebhookLoopback},
	}
	tests := []struct {
		name, file string
		source     source
	}{
		{"flags", "", source{args: []string{
			"--data=/d", "--hostname=A.example", "--hostname=192.0.2.1", "--hostname=a.example", "--https=off", "--portal=[::1]:0",
			"--tls-cert=c.pem", "--tls-key=k.pem", "--tls-compat", "--log-level=error", "--log-format=json", "--audit-retention=36h", "--mqtt=127.0.0.1:1", "--registration-rate=7", "--management-rate=8", "--hub-rate=8", "--hub-ca=h.pem",
			"--network=10.20.0.0/16=West Europe,northeurope", "--network=2001:db8::/32=eastus", "--webhook-budget=90s", "--webhook-allow=http", "--webhook-allow=loopback",
			"--decision-retention=2d", "--decision-limit=500", "--takeover=refuse",
		}}},
		{"environment", "", source{env: map[string]string{
			"MOORING_DATA": "/d", "MOORING_HOSTNAME": "a.example, 192.0.2.1", "MOORING_HTTPS": "off", "MOORING_PORTAL": "[::1]:0",
			"MOORING_TLS_CERT": "c.pem", "MOORING_TLS_KEY": "k.pem", "MOORING_TLS_COMPAT": "true", "MOORING_LOG_LEVEL": "error", "MOORING_LOG_FORMAT": "json",
			"MOORING_AUDIT_RETENTION": "36h", "MOORING_MQTT": "127.0.0.1:1", "MOORING_REGISTRATION_RATE": "7", "MOORING_MANAGEMENT_RATE": "8", "MOORING_HUB_RATE": "8", "MOORING_HUB_CA": "h.pem",
			"MOORING_NETWORK": "10.20.0.0/16=West Europe, northeurope, 2001:db8::/32 = eastus", "MOORING_WEBHOOK_BUDGET": "1m30s", "MOORING_WEBHOOK_ALLOW": "http,loopback,http",
			"MOORING_DECISION_RETENTION": "2d", "MOORING_DECISION_LIMIT": "500", "MOORING_TAKEOVER": "refuse",
		}}},
		{"file", "mooring.yaml", source{file: "data: /d\nhostname:\n- a.example\n- 192.0.2.1\nhttps: off\nportal: '[::1]:0'\n" +
			"tls-cert: c.pem\ntls-key: k.pem\ntls-compat: true\nlog-level: error\nlog-format: json\naudit-retention: 36h\nmqtt: 127.0.0.1:1\nregistration-rate: 7\nmanagement-rate: 8\nhub-rate: 8\nhub-ca: h.pem\n" +
			"network:\n- 10.20.0.0/16=West Europe,northeurope\n- 2001:db8::/32=eastus\nwebhook-budget: 90s\nwebhook-allow: [http, loopback]\n" +
			"decision-retention: 2d\ndecision-limit: 500\ntakeover: refuse\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.source.load(t)
			if err != nil {
				t.Fatal(err)
			}
			want := want
			want.File = tt.file
			if diff := cmp.Diff(want, got, compare); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !got.HTTPS.Explicit() || !got.HTTPS.Off() || got.HTTPS.String() != "off" {
				t.Errorf("HTTPS = %v, explicit %v", got.HTTPS, got.HTTPS.Explicit())
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	flag := []string{"--data=flag"}
	env := map[string]string{"MOORING_DATA": "env"}
	const file = "data: file"
	tests := []struct {
		name   string
		source source
		want   string
	}{
		{"flag first", source{flag, env, file}, "flag"},
		{"then environment", source{nil, env, file}, "env"},
		{"then file", source{nil, nil, file}, "file"},
		{"then default", source{}, "./mooring-data"},
		{"empty variable is none", source{nil, map[string]string{"MOORING_DATA": ""}, file}, "file"},
		{"flag without variable", source{flag, nil, ""}, "flag"},
		{"file with nothing", source{nil, nil, "# nothing\n"}, "./mooring-data"},
		{"empty document", source{nil, nil, "---\n"}, "./mooring-data"},
		{"last flag", source{[]string{"--data=a", "--data=b"}, nil, ""}, "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.source.load(t)
			if err != nil || got.Data != tt.want {
				t.Errorf("Data = %q, %v, want %q", got.Data, err, tt.want)
			}
		})
	}
	t.Run("file named by environment, not by an empty flag", func(t *testing.T) {
		s := source{env: map[string]string{"MOORING_CONFIG": "no-such-file"}, args: []string{"--config="}}
		if got, err := s.load(t); err != nil || got.File != "" {
			t.Errorf("File = %q, %v", got.File, err)
		}
	})
}

func TestProblems(t *testing.T) {
	const noKey = "a certificate needs its key: set tls-key too"
	tests := []struct {
		name   string
		source source
		want   []string
	}{
		{"flag", source{args: []string{"--https=banana"}}, []string{
			`--https: "banana" is not an address (use host:port, :port or off)`,
		}},
		{"variable", source{env: map[string]string{"MOORING_LOG_LEVEL": "loud"}}, []string{
			`MOORING_LOG_LEVEL: "loud" is not a log level (use debug, info, warn or error)`,
		}},
		{"file", source{file: "# a\n\nhttps: 443\n"}, []string{
			`mooring.yaml line 3: https: "443" is not an address (use host:port, :port or off)`,
		}},
		{"all at once, in the order of the fields", source{
			args: []string{"--log-format=xml", "--data="},
			env:  map[string]string{"MOORING_HTTPS": "x"},
			file: "wrong: 1\nhttps: y\nhostname: a_b\nportal: 127.0.0.1\n",
		}, []string{
			`--data: is empty (use a directory)`,
			`mooring.yaml line 3: hostname: "a_b" is not a DNS name or an IP address (without port, brackets or wildcard)`,
			`MOORING_HTTPS: "x" is not an address (use host:port, :port or off)`,
			`mooring.yaml line 2: https: "y" is not an address (use host:port, :port or off)`,
			`mooring.yaml line 4: portal: "127.0.0.1" is not an address (use host:port, :port or off)`,
			`--log-format: "xml" is not a log format (use text or json)`,
			`mooring.yaml line 1: unknown key "wrong"`,
		}},
		{"certificate alone", source{args: []string{"--tls-cert=c"}}, []string{"--tls-cert: " + noKey}},
		{"certificate alone in the file", source{file: "tls-cert: c"}, []string{"mooring.yaml line 1: tls-cert: " + noKey}},
		{"key alone", source{env: map[string]string{"MOORING_TLS_KEY": "k"}}, []string{
			"MOORING_TLS_KEY: a key needs its certificate: set tls-cert too",
		}},
		{"key emptied by flag", source{args: []string{"--tls-key="}, file: "tls-cert: c\ntls-key: k"}, []string{
			"mooring.yaml line 1: tls-cert: " + noKey,
			"--tls-key: " + noKey,
		}},
		{"config in the file", source{file: "config: x"}, []string{`mooring.yaml line 1: unknown key "config"`}},
		{"misspelled", source{file: "\ufeffhostnames: x"}, []string{`mooring.yaml line 1: unknown key "hostnames"; did you mean "hostname"?`}},
		{"no UTF-8", source{file: "data: x\nhostname: \xfc"}, []string{
			"mooring.yaml line 2, column 11: byte 0xFC is not UTF-8; save the file as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8",
		}},
		{"twice", source{file: "data: a\ndata: b"}, []string{"mooring.yaml line 2: data: duplicate key, first in line 1"}},
		{"no value", source{file: "data:\nhttps: ~"}, []string{
			"mooring.yaml line 1: data: has no value; remove the line for the default",
			"mooring.yaml line 2: https: has no value; remove the line for the default",
		}},
		{"list", source{file: "data: [a]"}, []string{"mooring.yaml line 1: data: must be a plain value"}},
		{"empty list", source{file: "hostname: []"}, []string{"mooring.yaml line 1: hostname: is an empty list"}},
		{"nested list", source{file: "hostname: [[a]]"}, []string{"mooring.yaml line 1: hostname: must be a plain value"}},
		{"tag", source{file: "data: !!binary YQ=="}, []string{"mooring.yaml line 1: data: must be a plain value"}},
		{"alias", source{file: "data: &x a\nhostname: *x"}, []string{"mooring.yaml line 2: hostname: must be a plain value"}},
		{"key that is no word", source{file: "[a]: b"}, []string{"mooring.yaml line 1: a key must be a plain word"}},
		{"no mapping", source{file: "- a\n"}, []string{"mooring.yaml line 1: must consist of lines of the form key: value"}},
		{"two documents", source{file: "data: a\n---\ndata: b\n"}, []string{"mooring.yaml line 2: more than one YAML document"}},
		{"no YAML", source{file: "data: a\n  b: c\n"}, []string{"mooring.yaml line 2: mapping values are not allowed in this context"}},
		{"networks, all at once", source{args: []string{
			"--network=10.20.0.0/16", "--network=10.20.1.0/16=a", "--network=10.20.0.0/16=", "--network=10.0.0.0/8=a", "--network=10.0.0.0/8=b",
			"--network=::ffff:10.0.0.0/104=b", "--network=10.30.0.0/16=a,b/c",
		}, file: "network: x"}, []string{
			`--network: "10.20.0.0/16" is not a network with locations (use 10.20.0.0/16=westeurope,northeurope)`,
			`--network: "10.20.1.0/16=a": the network has bits beyond its length (use 10.20.0.0/16)`,
			`--network: "10.20.0.0/16=": "" is not a location (use up to 64 letters, digits, blanks, '-' or '_')`,
			`--network: "10.0.0.0/8=b": duplicate network 10.0.0.0/8`,
			`--network: "::ffff:10.0.0.0/104=b": duplicate network 10.0.0.0/8`,
			`--network: "10.30.0.0/16=a,b/c": "b/c" is not a location (use up to 64 letters, digits, blanks, '-' or '_')`,
			`mooring.yaml line 1: network: "x" is not a network with locations (use 10.20.0.0/16=westeurope,northeurope)`,
		}},
		{"takeover", source{args: []string{"--takeover=never"}}, []string{`--takeover: "never" is not a valid value (use allow or refuse)`}},
		{"webhooks", source{args: []string{"--webhook-budget=0s", "--webhook-allow=all"}, file: "webhook-budget: 25h"}, []string{
			`--webhook-budget: "0s" is not a duration from 1s to 24h (use for example 90s or 10m)`,
			`mooring.yaml line 1: webhook-budget: "25h" is not a duration from 1s to 24h (use for example 90s or 10m)`,
			`--webhook-allow: "all" is not a webhook target (use http, loopback or link-local)`,
		}},
		{"no file", source{args: []string{"--config=x.yaml"}}, []string{"--config: open x.yaml: no such file or directory"}},
		{"large file", source{file: strings.Repeat("#23456789\n", 110_000)}, []string{"--config: mooring.yaml is larger than 1 MB"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.source.load(t)
			if err == nil {
				t.Fatalf("no error, but %+v", got)
			}
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostnames(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, label[:61]}, ".")
	tests := []struct{ in, want string }{ // refused when want is empty
		{"localhost", "localhost"},
		{"DPS.Example.COM", "dps.example.com"},
		{"3com.example", "3com.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"192.0.2.1", "192.0.2.1"},
		{"2001:DB8:0::1", "2001:db8::1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{long, long},
		{long + "a", ""},
		{label + "a.example", ""},
		{"", ""},
		{"a..b", ""},
		{"example.", ""},
		{"-a.example", ""},
		{"a-.example", ""},
		{"a_b", ""},
		{"*.example", ""},
		{"bücher.example", ""},
		{"dps.example:443", ""},
		{"https://dps.example", ""},
		{"192.0.2.256", ""},
		{"12345", ""},
		{"[::1]", ""},
		{"fe80::1%eth0", ""},
		{"0.0.0.0", ""},
		{"::", ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := source{args: []string{"--hostname=" + tt.in}}.load(t)
			if first := strings.Join(got.Hostnames, "|"); first != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("--hostname=%q gives %q, %v, want %q", tt.in, first, err, tt.want)
			}
		})
	}
}

func TestListeners(t *testing.T) {
	tests := []struct {
		in            string
		https, portal bool // accepted
	}{
		{"off", true, true},
		{"127.0.0.1:0", true, true},
		{"127.9.9.9:80", true, true},
		{"[::1]:8080", true, true},
		{"[::ffff:127.0.0.1]:8080", true, true},
		{"localhost:8080", true, true},
		{"LOCALHOST:8080", true, true},
		{":8443", true, true},
		{"0.0.0.0:8443", true, true},
		{"[::]:8443", true, true},
		{"192.0.2.1:8443", true, true},
		{"[fe80::1%eth0]:8443", true, true},
		{"dps.example:8443", true, true},
		{"localhost.example:8443", true, true},
		{"", false, false},
		{"Off", false, false},
		{"banana", false, false},
		{"8443", false, false},
		{"localhost", false, false},
		{"::1:8443", false, false},
		{"localhost:https", false, false},
		{"localhost:65536", false, false},
		{"localhost:-1", false, false},
		{"localhost:", false, false},
		{"*:8443", false, false},
		{"http://localhost:80", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			for name, want := range map[string]bool{"https": tt.https, "portal": tt.portal} {
				_, err := source{args: []string{"--" + name + "=" + tt.in}}.load(t)
				if (err == nil) != want {
					t.Errorf("--%s=%q: %v, want accepted %v", name, tt.in, err, want)
				}
			}
		})
	}
}

func TestDataDir(t *testing.T) {
	env := func(value string) func(string) string {
		return func(name string) string { return map[string]string{"MOORING_DATA": value}[name] }
	}
	tests := []struct {
		name, env, want string
		args            []string
	}{
		{"default", "", "./mooring-data", nil},
		{"environment", "e", "e", nil},
		{"flag", "e", "f", []string{"--data=f"}},
		{"empty flag", "e", "", []string{"--data="}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs := pflag.NewFlagSet("info", pflag.ContinueOnError)
			config.AddDataFlag(fs)
			if err := fs.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			got, err := config.DataDir(fs, env(tt.env))
			if (err == nil) != (tt.want != "") || (err == nil && got != tt.want) {
				t.Errorf("DataDir = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	help := flags(t, nil).FlagUsages()
	for _, f := range config.Fields() {
		if !strings.Contains(help, "--"+f.Name+" "+f.Value) || !strings.Contains(help, f.Usage) {
			t.Errorf("help lacks %s:\n%s", f.Name, help)
		}
		// pflag shows no default of 0 and false.
		if f.Default != "" && f.Default != "0" && f.Default != "false" && !strings.Contains(help, "(default "+f.Default+")") {
			t.Errorf("help lacks the default of %s", f.Name)
		}
	}
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	for _, seed := range []string{
		"", "data: a\nhostname: [a, b]\nhttps: off", "x: &a [*a]", "data: !!binary YQ==", "? [a]\n: b", "---\n---\n", "network: [10.0.0.0/8=a, '::/0=b,c=d', \",=\"]\nwebhook-allow: http,x", "%YAML 1.1\n---\n{data: a, data: b}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "mooring.yaml")
		writeFile(t, path, string(content))
		got, err := config.Load(flags(t, []string{"--config=" + path}), func(string) string { return "" })
		if err == nil {
			if got.Data == "" || len(got.Hostnames) == 0 || (got.TLSCert == "") != (got.TLSKey == "") {
				t.Errorf("accepted %+v", got)
			}
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, path) {
				t.Errorf("problem %q does not say where", line)
			}
		}
	})
}
