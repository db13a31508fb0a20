package service_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The policy of the fake: its key is "foobar".
const (
	policyName = "provisioningserviceowner"
	policyKey  = "Zm9vYmFy"
	resourceID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/p"
)

// received is a request as the fake saw it.
type received struct {
	Method, Path string // the path as it was escaped
	Header       http.Header
	Body         string
}

// fake is a provisioning service that keeps its records in memory. It answers only
// those who may call.
type fake struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	requests []received
	version  int
	records  map[string]map[string]any // by path
	refuse   func(w http.ResponseWriter, r *http.Request) bool
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, records: make(map[string]map[string]any)}
	f.Server = httptest.NewTLSServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) host() string { return strings.TrimPrefix(f.URL, "https://") }

func (f *fake) connectionString() string {
	return "HostName=" + f.host() + ";SharedAccessKeyName=" + policyName + ";SharedAccessKey=" + policyKey
}

// client returns a client by connection string.
func (f *fake) client() *service.Client {
	f.t.Helper()
	c, err := service.NewClient(f.connectionString(), &service.Options{HTTPClient: f.Client()})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// control returns a client of the control plane, whose token is "t".
func (f *fake) control() *service.Certificates {
	f.t.Helper()
	c, err := service.NewControlPlane(f.URL, resourceID, service.StaticToken("t"), &service.Options{HTTPClient: f.Client()})
	if err != nil {
		f.t.Fatal(err)
	}
	return c.Certificates()
}

// last returns the latest request.
func (f *fake) last() received {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[len(f.requests)-1]
}

// put stores a record without asking.
func (f *fake) put(path string, record map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	record["etag"] = strconv.Itoa(f.version)
	f.records[path] = record
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Errorf("reading a request: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, received{r.Method, r.URL.EscapedPath(), r.Header.Clone(), string(body)})
	control := strings.HasPrefix(r.URL.Path, "/subscriptions")
	switch {
	case f.refuse != nil && f.refuse(w, r):
	case !f.authorized(r, control):
		refuse(w, control, 401, 401002, "Unauthorized")
	case control:
		f.serveControl(w, r, body)
	default:
		f.serveService(w, r, body)
	}
}

// authorized checks SAS tokens on the service API, and "Bearer t" on both planes.
func (f *fake) authorized(r *http.Request, control bool) bool {
	if r.Header.Get("Authorization") == "Bearer t" {
		return true
	}
	token, err := sas.Parse(r.Header.Get("Authorization"))
	return err == nil && !control && token.Verify([]byte("foobar")) && token.KeyName == policyName &&
		!token.Expired(time.Now()) && sas.Covers(token.Resource, r.Host+r.URL.Path)
}

func (f *fake) serveService(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.URL.Query().Get("api-version") != service.APIVersion {
		refuse(w, false, 400, 400004, "api-version")
		return
	}
	path := r.URL.Path
	collection, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/query"):
		f.query(w, r, collection)
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/attestationmechanism"):
		if e := f.records[strings.TrimSuffix(path, "/attestationmechanism")]; e != nil {
			answer(w, e["attestation"])
			return
		}
		refuse(w, false, 404, 404201, "Not found.")
	case r.Method == http.MethodPost:
		f.bulk(w, collection, body)
	default:
		f.record(w, r, body)
	}
}

func (f *fake) serveControl(w http.ResponseWriter, r *http.Request, body []byte) {
	path, action := r.URL.Path, ""
	for _, a := range []string{"/generateVerificationCode", "/verify"} {
		if rest, ok := strings.CutSuffix(path, a); ok {
			path, action = rest, a
		}
	}
	cert := f.records[path]
	switch {
	case r.URL.Query().Get("api-version") != wire.ARMVersion:
		refuse(w, true, 400, 0, "InvalidApiVersion")
	case strings.HasSuffix(path, "/certificates"):
		list := []any{}
		for _, name := range f.under(path) {
			list = append(list, f.records[name])
		}
		answer(w, map[string]any{"value": list})
	case action == "":
		f.record(w, r, body)
	case cert == nil:
		refuse(w, true, 404, 0, "CertificateNotFound")
	case r.Header.Get("If-Match") != cert["etag"]:
		refuse(w, true, 412, 0, "PreconditionFailed")
	case action == "/verify":
		cert["properties"] = map[string]any{"isVerified": true, "thumbprint": string(body)}
		answer(w, cert)
	default:
		cert["properties"] = map[string]any{"verificationCode": "C0DE"}
		answer(w, cert)
	}
}

// record answers GET, PUT and DELETE of one record of either plane.
func (f *fake) record(w http.ResponseWriter, r *http.Request, body []byte) {
	control := strings.HasPrefix(r.URL.Path, "/subscriptions")
	old, match := f.records[r.URL.Path], r.Header.Get("If-Match")
	switch {
	case old == nil && (r.Method != http.MethodPut || match != ""):
		refuse(w, control, 404, 404201, "Not found.")
	case old != nil && match != "" && match != "*" && match != old["etag"]:
		refuse(w, control, 412, 412001, "Precondition failed.")
	case r.Method == http.MethodGet:
		answer(w, old)
	case r.Method == http.MethodDelete:
		delete(f.records, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case old != nil && match == "":
		refuse(w, control, 409, 409201, "Enrollment already exists.")
	default:
		f.store(r.URL.Path, body)
		answer(w, f.records[r.URL.Path])
	}
}

func (f *fake) store(path string, body []byte) {
	record := make(map[string]any)
	if err := json.Unmarshal(body, &record); err != nil {
		f.t.Errorf("PUT %s: %v", path, err)
	}
	f.version++
	record["etag"] = strconv.Itoa(f.version)
	f.records[path] = record
}

// under returns the sorted paths of the records in a collection.
func (f *fake) under(path string) []string {
	var paths []string
	for p := range f.records {
		if strings.HasPrefix(p, path+"/") {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// query answers pages of two, or as many as asked; the token is where to go on.
func (f *fake) query(w http.ResponseWriter, r *http.Request, collection string) {
	paths, size, from := f.under("/"+collection), 2, 0
	if n, err := strconv.Atoi(r.Header.Get("x-ms-max-item-count")); err == nil {
		size = n
	}
	if n, err := strconv.Atoi(r.Header.Get("x-ms-continuation")); err == nil {
		from = n
	}
	to := min(from+size, len(paths))
	items := []any{}
	for _, p := range paths[from:to] {
		items = append(items, f.records[p])
	}
	if to < len(paths) {
		w.Header().Set("x-ms-continuation", strconv.Itoa(to))
	}
	w.Header().Set("x-ms-item-type", "Enrollment")
	answer(w, items)
}

// bulk creates, and refuses what exists.
func (f *fake) bulk(w http.ResponseWriter, collection string, body []byte) {
	var op map[string]json.RawMessage
	var items []map[string]any
	if json.Unmarshal(body, &op) != nil || json.Unmarshal(op[collection], &items) != nil || string(op["mode"]) != `"create"` {
		refuse(w, false, 400, 400004, "not understood")
		return
	}
	id := map[string]string{"enrollments": "registrationId", "enrollmentGroups": "enrollmentGroupId"}[collection]
	errs := []any{}
	for _, item := range items {
		path := "/" + collection + "/" + fmt.Sprint(item[id])
		if f.records[path] != nil {
			errs = append(errs, map[string]any{id: item[id], "errorCode": 409201, "errorStatus": "Enrollment already exists."})
			continue
		}
		f.records[path] = item
	}
	answer(w, map[string]any{"errors": errs, "isSuccessful": len(errs) == 0})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, control bool, status, code int, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if control {
		w.Header().Set("x-ms-request-id", "track-me")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": message, "message": "a sentence"}})
		return
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errorCode": code, "trackingId": "track-me", "message": message})
}
