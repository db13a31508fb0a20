// Package service is the operator's side of a Device Provisioning Service: who may
// come, by which attestation, to which hub, and what became of each device.
//
//	client, err := service.NewClient(connectionString, nil)
//	...
//	group, err := client.Groups().Put(ctx, &wire.Enrollment{
//		EnrollmentGroupID: "line-7",
//		Attestation:       &wire.Attestation{Type: "symmetricKey"},
//	})
//
// It works with Mooring and with Azure IoT Hub Device Provisioning Service alike.
// Records are those of package wire, as they stand in the JSON of the service.
//
// A [Client] manages enrollments, enrollment groups and registration records; a
// [ControlPlane] manages CA certificates, linked hubs and policies. Both are safe for concurrent use. Every
// call ends with its context. Throttled calls (429) and those that find the service
// unavailable (503) are repeated a few times, after the pause that the service asks
// for; this package repeats no other call. What the service refuses is an [Error].
//
// Source: azure-rest-api-specs, specification/deviceprovisioningservices.
package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"
)

// APIVersion is the api-version of the service API that a Client sends.
const APIVersion = "2021-10-01"

// AnyETag as the ETag of a call means: whatever version there is, as long as there
// is one.
const AnyETag = "*"

// defaultUserAgent says who calls unless Options do.
const defaultUserAgent = "mooring-service-go"

// attemptTimeout bounds one attempt of a call with the HTTP client of this package.
const attemptTimeout = time.Minute

// defaultRetries is how often a call is repeated unless Options say otherwise.
const defaultRetries = 3

// Options are settings of a client that may all be left out.
type Options struct {
	// HTTPClient sends the requests; its Timeout bounds one attempt. By default one
	// with an attempt's time limited to a minute, which follows no redirects.
	HTTPClient *http.Client

	// RootCAs are trusted instead of those of this machine, for services with a CA
	// of their own (caFile of 'mooring info'). Not together with HTTPClient.
	RootCAs *x509.CertPool

	UserAgent string           // by default the name of this package
	Retries   int              // how often a call is repeated after 429 or 503: 0 is the default, 3; negative is never
	Now       func() time.Time // the time in SAS tokens, by default the system's

	// Warning is called for each warning that an answer carries: the service accepted the
	// call, and the record may not do what is wanted. ctx is that of the call. nil ignores
	// warnings; only Mooring sends them.
	Warning func(ctx context.Context, text string)
}

// Client manages the enrollments, enrollment groups and registration records of one
// provisioning service.
type Client struct{ call *caller }

// NewClient returns a client that proves who it is by a shared access policy:
//
//	HostName=contoso.azure-devices-provisioning.net;SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=...
//
// It makes a SAS token for each request. HostName may have a port. opts may be nil.
// Nothing is sent yet.
func NewClient(connectionString string, opts *Options) (*Client, error) {
	conn, err := parseConnectionString(connectionString)
	if err != nil {
		return nil, err
	}
	c, err := newCaller("https://"+conn.host, APIVersion, opts)
	if err != nil {
		return nil, err
	}
	c.authorize = func(context.Context) (string, error) { return conn.token(c.now()), nil }
	return &Client{c}, nil
}

// NewClientWithToken returns a client that proves who it is by a bearer token, which
// tokens is asked for with every request. endpoint is a host, with or without a port
// and "https://" before it. opts may be nil. Nothing is sent yet.
func NewClientWithToken(endpoint string, tokens TokenSource, opts *Options) (*Client, error) {
	c, err := newTokenCaller(endpoint, "", APIVersion, tokens, opts)
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// Enrollments works on individual enrollments, which have a RegistrationID.
func (c *Client) Enrollments() *Enrollments { return &Enrollments{c.call, individual} }

// Groups works on enrollment groups, which have an EnrollmentGroupID.
func (c *Client) Groups() *Enrollments { return &Enrollments{c.call, group} }

// Registrations works on the registration records of devices.
func (c *Client) Registrations() *Registrations { return &Registrations{c.call} }

// Do sends a request for which this package has no method, authorized and repeated
// like all others.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) { return c.call.do(ctx, r) }

// CloseIdleConnections closes the connections that no call uses now.
func (c *Client) CloseIdleConnections() { c.call.http.CloseIdleConnections() }

// newCaller returns a caller of base that cannot authorize itself yet.
func newCaller(base, version string, opts *Options) (*caller, error) {
	if opts == nil {
		opts = &Options{}
	}
	if opts.HTTPClient != nil && opts.RootCAs != nil {
		return nil, errors.New("give HTTPClient or RootCAs, not both")
	}
	c := &caller{
		http: opts.HTTPClient, base: base, version: version,
		userAgent: opts.UserAgent, retries: opts.Retries, now: opts.Now, warning: opts.Warning,
	}
	if c.http == nil {
		c.http = newHTTPClient(opts.RootCAs)
	}
	if c.userAgent == "" {
		c.userAgent = defaultUserAgent
	}
	if c.retries == 0 {
		c.retries = defaultRetries
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.warning == nil {
		c.warning = func(context.Context, string) {}
	}
	return c, nil
}

func newHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   10 * time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   8,
			ForceAttemptHTTP2:     true,
			ExpectContinueTimeout: time.Second,
		},
		Timeout:       attemptTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
