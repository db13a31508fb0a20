package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestBenchUsage(t *testing.T) {
	tests := []struct {
		args []string
		code int
		want string // on stderr
	}{
		{[]string{"--devices", "0"}, exitUsage, "devices: must be between"},
		{[]string{"--transport", "amqp"}, exitUsage, "https, mqtt, mqtt-ws"},
		{[]string{"--attestation", "tpm"}, exitUsage, "x509, x509-individual, key, group-key"},
		{[]string{"--key-exchange", "rsa"}, exitUsage, "x25519, p256, hybrid"},
		{[]string{"--rounds", "0"}, exitUsage, "rounds or duration"},
		{[]string{"--concurrency", "100000"}, exitUsage, "concurrency"},
		{[]string{"now"}, exitUsage, `unknown command "now"`},
		{[]string{"tls", "--chain-length", "11"}, exitUsage, "chain length"},
		{[]string{"tls", "--duration", "0s"}, exitUsage, "rounds or duration"},
		{[]string{"compare", "--devices", "0"}, exitUsage, "--devices"},
		{[]string{"idle", "--connections", "0"}, exitUsage, "--connections"},
		{nil, exitError, "contains no database"},
		{[]string{"--duration", "1s"}, exitError, "contains no database"},
		{[]string{"tls"}, exitError, "contains no database"},
		{[]string{"compare"}, exitError, "contains no database"},
		{[]string{"idle"}, exitError, "contains no database"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			data := t.TempDir()
			code := run(t.Context(), &env{
				args: append([]string{"bench"}, tt.args...),
				getenv: func(name string) string {
					return map[string]string{"MOORING_DATA": data}[name]
				},
				in: strings.NewReader(""), out: &out, err: &errs,
			})
			if code != tt.code || !strings.Contains(errs.String(), tt.want) || out.Len() > 0 {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit %d and %q", code, &out, &errs, tt.code, tt.want)
			}
		})
	}
}
