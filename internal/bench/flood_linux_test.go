package bench_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/bench"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// refusalsVariable is how many refusals TestRefusalFlood makes, of a tenth as many
// registration IDs; without it a few.
const refusalsVariable = "MOORING_TEST_REFUSALS"

// flood is devices that are refused as fast as they can come: each source keeps its
// connection and shows a token under a key that nobody knows.
type flood struct {
	info     wire.Info
	roots    *x509.CertPool
	scope    string // another one than the service's is answered with 404
	name     string // of the devices, before their number; of the decisions on one device a few are kept
	status   int    // what every device hears
	refusals int
	ids      int
	begun    atomic.Int64
}

// sources are the addresses that the flood comes from: all of 127/8 is this machine.
const sources = 16

// run ends when all are refused.
func (f *flood) run(t *testing.T) {
	var workers sync.WaitGroup
	for source := range sources {
		workers.Go(func() { f.work(t, source) })
	}
	workers.Wait()
}

func (f *flood) work(t *testing.T, source int) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(source+1))}}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, f.info.Listeners["https"])
		},
		TLSClientConfig: &tls.Config{RootCAs: f.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	for {
		n := int(f.begun.Add(1)) - 1
		if n >= f.refusals || t.Failed() {
			return
		}
		id := fmt.Sprintf("%s-%d", f.name, n%f.ids)
		req, err := http.NewRequestWithContext(
			t.Context(),
			http.MethodPut,
			"https://localhost/"+f.scope+"/registrations/"+id+"/register?api-version=2021-06-01",
			strings.NewReader("{}"),
		)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", sas.Sign(f.scope+"/registrations/"+id, "registration", []byte("nobody's key"), time.Now().Add(time.Hour)))
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != f.status {
			t.Errorf("%s: %d, %v", id, res.StatusCode, err)
			return
		}
	}
}

// TestRefusalFlood holds that refusals beyond any measure neither fill the disk nor keep
// good devices waiting, and says how fast these were before, meanwhile and after.
func TestRefusalFlood(t *testing.T) {
	refusals, devices, span := 2000, 50, time.Duration(0)
	if text := os.Getenv(refusalsVariable); text != "" {
		var err error
		if refusals, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		devices, span = 20_000, 10*time.Second
	}
	info := serve(t)
	service, err := connect(info)
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	good := func(phase string) bench.Report {
		o := options(service, bench.MQTT, bench.X509)
		o.Fleet.Name, o.Fleet.Devices = phase, devices
		o.Load = bench.Load{Concurrency: 16, Rounds: 1, Duration: span}
		report, err := bench.Run(t.Context(), o)
		if err != nil || len(report.Errors) > 0 || report.Registrations == 0 {
			t.Errorf("%s: %+v, %v", phase, report, err)
		}
		t.Logf(
			"%s: %.0f good registrations per second, p50 %.1f ms, p99 %.1f ms; database %d KiB",
			phase,
			report.RatePerSecond,
			report.P50,
			report.P99,
			databaseSize(t, info)>>10,
		)
		return report
	}
	// beside measures again and again while f comes.
	beside := func(f *flood, phase string) time.Duration {
		started := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.run(t)
		}()
		for i := 1; ; i++ {
			good(fmt.Sprintf("%s-%d", phase, i))
			select {
			case <-ended:
				return time.Since(started)
			default:
			}
		}
	}
	good("before")
	strangers := &flood{
		info:     info,
		roots:    roots(t, info),
		scope:    "0neFFFFFFFF",
		name:     "stranger",
		status:   http.StatusNotFound,
		refusals: refusals / 10,
		ids:      refusals / 10,
	}
	alone := beside(strangers, "beside-404")
	f := &flood{
		info:     info,
		roots:    strangers.roots,
		scope:    info.IDScope,
		name:     "flood",
		status:   http.StatusUnauthorized,
		refusals: refusals,
		ids:      refusals / 10,
	}
	took := beside(f, "beside-401")
	good("after")

	kept, seen, dropped := decisionsKept(t, info)
	const limit = 100_000
	if kept > limit || kept == 0 {
		t.Errorf("%d decisions are kept, of at most %d", kept, limit)
	}
	all := int64(refusals + strangers.refusals)
	if seen+dropped > all || refusals <= 2000 && seen+dropped != all {
		t.Errorf("of %d refusals %d are counted and %d dropped", all, seen, dropped)
	}
	const roof = 400 << 20
	if size := databaseSize(t, info); size > roof {
		t.Errorf("the database has %d bytes", size)
	}
	t.Logf(
		"%d requests for another ID scope within %v (%.0f per second)",
		strangers.refusals,
		alone.Round(time.Second),
		float64(strangers.refusals)/alone.Seconds(),
	)
	t.Logf("%d refusals of %d registration IDs from %d addresses within %v (%.0f per second); %d decisions kept, which count %d, %d dropped",
		refusals, f.ids, sources, took.Round(time.Second), float64(refusals)/took.Seconds(), kept, seen, dropped)
}

// databaseSize is the size of the database with its log, in bytes.
func databaseSize(t *testing.T, info wire.Info) int64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(info.CAFile)), "mooring.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var size int64
	for _, file := range files {
		if stat, err := os.Stat(file); err == nil { // the log may go meanwhile
			size += stat.Size()
		}
	}
	return size
}

func roots(t *testing.T, info wire.Info) *x509.CertPool {
	t.Helper()
	ca, err := os.ReadFile(info.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return pool
}

// decisionsKept walks through all decisions.
func decisionsKept(t *testing.T, info wire.Info) (kept int, seen, dropped int64) {
	t.Helper()
	fields := make(map[string]string)
	for part := range strings.SplitSeq(info.ConnectionStrings["provisioningserviceowner"], ";") {
		name, value, _ := strings.Cut(part, "=")
		fields[name] = value
	}
	key, err := base64.StdEncoding.DecodeString(fields["SharedAccessKey"])
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, info.Listeners["https"])
		},
		TLSClientConfig: &tls.Config{RootCAs: roots(t, info), ServerName: "localhost", MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	var page wire.DecisionPage
	for more := true; more; more = page.Continuation != "" {
		req, err := http.NewRequestWithContext(
			t.Context(),
			http.MethodGet,
			"https://localhost"+wire.DecisionsPath+"?top=1000&continuation="+page.Continuation,
			http.NoBody,
		)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", sas.Sign("localhost", fields["SharedAccessKeyName"], key, time.Now().Add(time.Hour)))
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		page = wire.DecisionPage{}
		err = json.NewDecoder(res.Body).Decode(&page)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.StatusCode, err)
		}
		kept += len(page.Value)
		for _, d := range page.Value {
			seen += d.Count
		}
		dropped = page.Dropped
	}
	return kept, seen, dropped
}
