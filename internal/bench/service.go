package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/connstring"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

const (
	callTimeout   = 30 * time.Second // one call to an API for operators
	maxAnswer     = 1 << 20          // bytes of an answer
	setupWorkers  = 32               // calls at the same time
	tokenLife     = 12 * time.Hour   // of SAS tokens: longer than a run
	serviceAPI    = "2021-10-01"
	ownerPolicy   = "provisioningserviceowner"
	httpsListener = "https"
	mqttListener  = "mqtt"
)

// Service is a running service as its operator sees it.
type Service struct {
	info  wire.Info
	roots *x509.CertPool
	http  *http.Client
	token string // for the service API
}

// NewService returns the service that info describes. Its listeners have to be
// addresses that can be dialled from here; roots say which server certificate to trust.
func NewService(info wire.Info, roots *x509.CertPool) (*Service, error) {
	listener, on := info.Listeners[httpsListener]
	if !on {
		return nil, errors.New("the service runs without its https listener; nothing can be set up through it")
	}
	token, err := ownerToken(info.ConnectionStrings[ownerPolicy])
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: setupWorkers,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, listener)
		},
	}
	return &Service{info: info, roots: roots, token: token, http: &http.Client{Transport: transport, Timeout: callTimeout}}, nil
}

// Close ends idle connections.
func (s *Service) Close() { s.http.CloseIdleConnections() }

// HasMQTT reports whether the service listens for MQTT.
func (s *Service) HasMQTT() bool {
	_, on := s.info.Listeners[mqttListener]
	return on
}

// ownerToken returns a SAS token for the service API.
func ownerToken(connectionString string) (string, error) {
	fields, err := connstring.Parse(connectionString)
	if err != nil {
		return "", errNoOwner
	}
	key, err := fields.Key()
	if err != nil {
		return "", errNoOwner
	}
	return sas.Sign(fields.Get(connstring.HostName), fields.Get(connstring.KeyName), key, time.Now().Add(tokenLife)), nil
}

var errNoOwner = errors.New("the service has no connection string of " + ownerPolicy)

// host returns the name that devices ask TLS for.
func (s *Service) host() string {
	if host, _, err := net.SplitHostPort(s.info.DeviceEndpoint); err == nil {
		return host
	}
	return s.info.DeviceEndpoint
}

// address returns where devices of a transport connect.
func (s *Service) address(t Transport) (string, error) {
	name := httpsListener
	if t == MQTT {
		name = mqttListener
	}
	addr, on := s.info.Listeners[name]
	if !on {
		return "", fmt.Errorf("the service runs without its %s listener; start it with --%s", name, name)
	}
	return addr, nil
}

// refusedCall is an answer of an API for operators that is no success.
type refusedCall struct {
	status int
	what   string
	body   string
}

func (r *refusedCall) Error() string {
	return fmt.Sprintf("%s: the service answered %d: %s", r.what, r.status, r.body)
}

// statusOf returns the status of a refused call; 0 for other errors.
func statusOf(err error) int {
	if r, ok := errors.AsType[*refusedCall](err); ok {
		return r.status
	}
	return 0
}

// enrollments calls the service API on one enrollment: path is a collection.
func (s *Service) enrollments(ctx context.Context, method, path, id string, body any) error {
	return s.call(ctx, request{
		method: method, path: path + "/" + url.PathEscape(id) + "?api-version=" + serviceAPI, authorization: s.token, body: body,
	}, nil)
}

// certificate calls the control plane on one CA certificate.
func (s *Service) certificate(ctx context.Context, method, name, action string, body any) (wire.CACertificate, error) {
	r := request{
		method:        method,
		path:          s.info.ControlPlane.ResourceID + "/certificates/" + url.PathEscape(name) + action + "?api-version=" + wire.ARMVersion,
		authorization: "Bearer " + s.info.ControlPlane.Token, body: body,
	}
	if method != http.MethodPut {
		r.ifMatch = "*"
	}
	var c wire.CACertificate
	var into any = &c
	if method == http.MethodDelete {
		into = nil
	}
	err := s.call(ctx, r, into)
	return c, err
}

// request is one call to an API for operators.
type request struct {
	method, path, authorization, ifMatch string
	body                                 any
}

func (s *Service) call(ctx context.Context, r request, into any) error {
	var text []byte
	if r.body != nil {
		var err error
		if text, err = json.Marshal(r.body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "https://"+s.info.ServiceEndpoint+r.path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", r.authorization)
	req.Header.Set("Content-Type", "application/json")
	if r.ifMatch != "" {
		req.Header.Set("If-Match", r.ifMatch)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return &refusedCall{status: res.StatusCode, what: r.method + " " + req.URL.Path, body: strings.TrimSpace(string(answer))}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// usage is what the service's process has used so far.
type usage struct {
	cpuSeconds float64
	resident   float64 // bytes
	heap       float64 // bytes in use: heap and stacks
}

// usage reads the metrics of the service. ok is false where they are not to be had.
func (s *Service) usage(ctx context.Context) (u usage, ok bool) {
	if s.info.PortalURL == "" {
		return u, false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.info.PortalURL+"/metrics", http.NoBody)
	if err != nil {
		return u, false
	}
	client := http.Client{Timeout: callTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return u, false
	}
	defer res.Body.Close()
	values := readMetrics(io.LimitReader(res.Body, maxAnswer))
	cpu, ok := values["process_cpu_seconds_total"]
	return usage{
		cpuSeconds: cpu, resident: values["process_resident_memory_bytes"],
		heap: values["go_memstats_heap_inuse_bytes"] + values["go_memstats_stack_inuse_bytes"],
	}, ok
}

// readMetrics returns the metrics without labels of a page in the text format of
// Prometheus.
func readMetrics(r io.Reader) map[string]float64 {
	values := make(map[string]float64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = v
		}
	}
	return values
}
