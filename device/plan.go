package device

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/mooring-iot/mooring/wire"
)

// apiVersion is the newest that every service speaks.
const apiVersion = "2021-06-01"

// defaultUserAgent is what a service sees when Options name nothing.
const defaultUserAgent = "mooring-device-go"

const (
	maxID        = 128 // of a registration ID or an ID scope, in characters
	maxUserAgent = 256
)

const defaultRetries = 4

// plan is Options after they were checked.
type plan struct {
	proof
	scope     string
	addr      string // host:port to dial
	host      string // and the authority of URLs, without a default port
	tls       *tls.Config
	body      []byte // of register
	agent     string
	transport Transport
	retries   int
	trace     Trace
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
}

// plan checks o. Its error names every member that is wrong.
func (o Options) plan() (*plan, error) {
	p := &plan{scope: o.IDScope, agent: o.UserAgent, transport: o.Transport, retries: o.Retries, dial: o.Dial}
	err := errors.Join(
		p.setProof(o),
		p.setAddress(o),
		checkName("IDScope", o.IDScope),
		p.setBody(o),
		p.setAgent(),
	)
	if err != nil {
		return nil, fmt.Errorf("device options: %w", err)
	}
	if o.Trace != nil {
		p.trace = *o.Trace
	}
	if p.dial == nil {
		p.dial = new(net.Dialer).DialContext
	}
	if p.retries == 0 {
		p.retries = defaultRetries
	}
	return p, nil
}

// badOption says what is wrong with a member of Options.
func badOption(member, format string, args ...any) error {
	return fmt.Errorf("%s: %w", member, fmt.Errorf(format, args...))
}

func (p *plan) setProof(o Options) error {
	if o.Credential == nil {
		return badOption("Credential", "is missing")
	}
	var err error
	if p.proof, err = o.Credential.prepare(o.RegistrationID); err != nil {
		return err
	}
	return checkName("RegistrationID", p.registrationID)
}

// checkName lets through what the topics, paths and user names can carry.
func checkName(field, name string) error {
	switch {
	case name == "":
		return badOption(field, "is missing")
	case len(name) > maxID:
		return badOption(field, "is longer than %d characters", maxID)
	case strings.ContainsFunc(name, func(c rune) bool { return !isNameRune(c) }):
		return badOption(field, "%q has something else than letters, digits and any of -._:", name)
	}
	return nil
}

func isNameRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._:", c)
}

// defaultPort of the transport.
func (t Transport) defaultPort() string {
	if t == MQTT {
		return "8883"
	}
	return "443"
}

// setAddress takes the endpoint apart, and builds the TLS settings, whose server
// name is its host.
func (p *plan) setAddress(o Options) error {
	if o.Transport > MQTTWebSocket {
		return badOption("Transport", "%d is not a transport", o.Transport)
	}
	u, err := url.Parse("//" + bracketed(o.Endpoint))
	if err != nil || u.Hostname() == "" || u.Host != bracketed(o.Endpoint) {
		return badOption("Endpoint", "%q is not host or host:port", o.Endpoint)
	}
	port := u.Port()
	if port == "" {
		port = o.Transport.defaultPort()
	}
	p.addr, p.host = net.JoinHostPort(u.Hostname(), port), u.Host
	p.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	if p.certificate != nil {
		// Sent whatever authorities the service names: it knows better than its TLS.
		p.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.certificate, nil }
		if o.Transport != MQTT {
			// Web front ends may ask for the certificate after they saw the path; TLS 1.2 only.
			p.tls.Renegotiation = tls.RenegotiateOnceAsClient
		}
	}
	return nil
}

// bracketed puts a bare IPv6 address in brackets.
func bracketed(endpoint string) string {
	if ip := net.ParseIP(endpoint); ip != nil && ip.To4() == nil {
		return "[" + endpoint + "]"
	}
	return endpoint
}

func (p *plan) setBody(o Options) error {
	request := wire.DeviceRegistration{RegistrationID: p.registrationID}
	if o.Payload != nil {
		payload, err := json.Marshal(o.Payload)
		if err != nil {
			return badOption("Payload", "%w", err)
		}
		request.Payload = payload
	}
	var err error
	p.body, err = json.Marshal(request)
	return err
}

func (p *plan) setAgent() error {
	if p.agent == "" {
		p.agent = defaultUserAgent
	}
	if len(p.agent) > maxUserAgent || strings.ContainsFunc(p.agent, func(c rune) bool { return c < ' ' || c > '~' }) {
		return badOption("UserAgent", "is not up to %d printable ASCII characters", maxUserAgent)
	}
	return nil
}
