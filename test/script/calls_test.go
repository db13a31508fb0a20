package script_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// put is the command "put PATH FILE": it writes FILE to PATH of the service API, as
// an operator's program would, and must be answered with 200.
func put(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: put path file")
	}
	at := describe(ts)
	fields := make(map[string]string)
	for part := range strings.SplitSeq(at.ConnectionStrings["provisioningserviceowner"], ";") {
		name, value, _ := strings.Cut(part, "=")
		fields[name] = value
	}
	key, err := base64.StdEncoding.DecodeString(fields["SharedAccessKey"])
	ts.Check(err)
	token := sas.Sign(fields["HostName"], fields["SharedAccessKeyName"], key, time.Now().Add(time.Hour))
	status, body := call(ts, at, nil, http.MethodPut, args[0]+"?api-version=2021-10-01", token, ts.ReadFile(args[1]))
	if status != http.StatusOK {
		ts.Fatalf("PUT %s: %d %s", args[0], status, body)
	}
}

// register is the command "register ID CHAIN KEY STATUS": a device registers over
// HTTPS and must end with STATUS.
func register(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: register id chain-file key-file status")
	}
	at := describe(ts)
	pair, err := tls.LoadX509KeyPair(ts.MkAbs(args[1]), ts.MkAbs(args[2]))
	ts.Check(err)
	base := "/" + at.IDScope + "/registrations/" + args[0]
	status, body := call(ts, at, &pair, http.MethodPut, base+"/register?api-version=2021-06-01", "", "")
	if status == http.StatusAccepted {
		var op wire.RegistrationOperation
		ts.Check(json.Unmarshal(body, &op))
		status, body = call(ts, at, &pair, http.MethodGet, base+"/operations/"+op.OperationID+"?api-version=2021-06-01", "", "")
	}
	got := fmt.Sprint(status)
	if status == http.StatusOK {
		var op wire.RegistrationOperation
		ts.Check(json.Unmarshal(body, &op))
		got = op.Status
	}
	if got != args[3] {
		ts.Fatalf("%s ended as %s, want %s: %s", args[0], got, args[3], body)
	}
}

// describe asks the binary about the script's service.
func describe(ts *testscript.TestScript) wire.Info {
	out, err := exec.Command(filepath.Join(binDir, "mooring"), "info", "--json", "--data", ts.Getenv("DATA")).Output()
	ts.Check(err)
	var at wire.Info
	ts.Check(json.Unmarshal(out, &at))
	return at
}

// call sends one request over real TLS and returns status and body.
func call(ts *testscript.TestScript, at wire.Info, pair *tls.Certificate, method, path, token, body string) (int, []byte) {
	ca, err := os.ReadFile(at.CAFile)
	ts.Check(err)
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AppendCertsFromPEM(ca)
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: readyWithin}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(method, "https://"+at.ServiceEndpoint+path, bytes.NewReader([]byte(body)))
	ts.Check(err)
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	res, err := client.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	ts.Check(err)
	return res.StatusCode, answer
}
