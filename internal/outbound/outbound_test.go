package outbound_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mooring-iot/mooring/internal/outbound"
	"github.com/mooring-iot/mooring/internal/pki"
)

func write(t *testing.T, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func client(t *testing.T, o outbound.Options) *http.Client {
	t.Helper()
	c, err := outbound.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// call makes one request and returns the status of its answer.
func call(t *testing.T, c *http.Client, url string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

func TestTrust(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("HTTP/%d", r.ProtoMajor)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	ca := write(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))

	status, err := call(t, client(t, outbound.Options{CAFile: ca}), server.URL)
	if err != nil || status != http.StatusNoContent {
		t.Errorf("with the CA: %v", err)
	}
	_, err = call(t, client(t, outbound.Options{}), server.URL)
	if err == nil || !strings.Contains(outbound.Reason(err), "--hub-ca") {
		t.Errorf("without the CA: %v, %q", err, outbound.Reason(err))
	}
	other := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	_, err = call(t, client(t, outbound.Options{CAFile: ca}), other)
	if err == nil || outbound.Reason(err) != "its certificate is not for localhost" {
		t.Errorf("another name: %v, %q", err, outbound.Reason(err))
	}
}

func TestCAFileForms(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(server.Close)
	der := server.Certificate().Raw
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for name, content := range map[string]string{
		"DER": string(der), "byte order mark": "\ufeff" + text, "remarks": "Our CA\r\n" + strings.ReplaceAll(text, "\n", "\r\n"),
	} {
		if _, err := call(t, client(t, outbound.Options{CAFile: write(t, []byte(content))}), server.URL); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusesCAFiles(t *testing.T) {
	t.Parallel()
	root, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "root"})
	if err != nil {
		t.Fatal(err)
	}
	ca := string(root.CertificatePEM())
	for name, tt := range map[string]struct{ content, want string }{
		"empty":            {"", "is empty"},
		"no PEM":           {"hello", "must be PEM, DER or base64 of either"},
		"a key":            {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a private key (PEM block 1, line 1)"},
		"damaged second":   {ca + "-----BEGIN CERTIFICATE-----\nAA*A\n-----END CERTIFICATE-----\n", "block 2"},
		"indented first":   {" " + ca, "indented line 1"},
		"UTF-16":           {"\xff\xfe-\x00", "is in UTF-16"},
		"no certificate":   {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"},
		"larger than 4 MB": {strings.Repeat("x", 4<<20+1), "is larger than 4 MB"},
	} {
		_, err := outbound.New(outbound.Options{CAFile: write(t, []byte(tt.content))})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := outbound.New(outbound.Options{CAFile: "/no/such/file"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var calls int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	status, err := call(t, client(t, outbound.Options{}), server.URL)
	if err != nil || status != http.StatusTemporaryRedirect || calls != 1 {
		t.Errorf("%d, %v, %d calls", status, err, calls)
	}
}

func TestReasonOfRealFailures(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	cutting := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(cutting.Close)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for url, want := range map[string]string{
		closed.URL: "connection refused",
		strings.Replace(plain.URL, "http", "https", 1): "it does not use TLS",
		cutting.URL: "connection closed",
	} {
		_, err := call(t, client(t, outbound.Options{}), url)
		if got := outbound.Reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.DNSError{Err: "no such host", Name: "hub.example", IsNotFound: true}, "host hub.example not found"},
		{&net.DNSError{Err: "server misbehaving", Name: "hub.example", IsTemporary: true}, "DNS lookup of hub.example failed"},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, "no route to host"},
		{fmt.Errorf("calling: %w", context.DeadlineExceeded), "timed out"},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "connection closed"},
		{io.ErrUnexpectedEOF, "connection closed"},
		{errors.New("password=secret"), "request failed"},
	} {
		if got := outbound.Reason(fmt.Errorf("wrapped: %w", tt.err)); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
