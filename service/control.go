package service

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/internal/certfile"
	"github.com/mooring-iot/mooring/wire"
)

// ControlPlane manages a provisioning service itself, over the API of Azure Resource
// Manager.
// Source: azure-rest-api-specs, specification/deviceprovisioningservices/resource-manager.
type ControlPlane struct{ call *caller }

// NewControlPlane returns a client of the service that resourceID names:
//
//	/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices/provisioningServices/{name}
//
// endpoint is management.azure.com, or the service endpoint of Mooring, where
// 'mooring info' gives the resource ID and a token too. opts may be nil. Nothing is
// sent yet.
func NewControlPlane(endpoint, resourceID string, tokens TokenSource, opts *Options) (*ControlPlane, error) {
	if !strings.HasPrefix(resourceID, "/") || strings.ContainsAny(resourceID, "?#") {
		return nil, fmt.Errorf("%q is not a resource ID: it begins with /subscriptions/", resourceID)
	}
	c, err := newTokenCaller(endpoint, strings.TrimRight(resourceID, "/"), wire.ARMVersion, tokens, opts)
	if err != nil {
		return nil, err
	}
	return &ControlPlane{c}, nil
}

// mooringResource is the resource ID of the one provisioning service that a Mooring has.
const mooringResource = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/mooring" +
	"/providers/Microsoft.Devices/provisioningServices/default"

// NewMooringControlPlane returns a client of the service of a Mooring that proves who it is
// by a shared access policy with all rights, such as provisioningserviceowner. Azure's
// control plane takes no policies: use NewControlPlane there. opts may be nil. Nothing is
// sent yet.
func NewMooringControlPlane(connectionString string, opts *Options) (*ControlPlane, error) {
	conn, err := parseConnectionString(connectionString)
	if err != nil {
		return nil, err
	}
	c, err := newCaller("https://"+conn.host+mooringResource, wire.ARMVersion, opts)
	if err != nil {
		return nil, err
	}
	c.authorize = func(context.Context) (string, error) { return conn.token(c.now()), nil }
	return &ControlPlane{c}, nil
}

// Certificates works on the CA certificates that may sign devices.
func (c *ControlPlane) Certificates() *Certificates { return &Certificates{c.call} }

// Do sends a request for which this package has no method, authorized and repeated
// like all others.
func (c *ControlPlane) Do(ctx context.Context, r Request) (*Response, error) {
	return c.call.do(ctx, r)
}

// CloseIdleConnections closes the connections that no call uses now.
func (c *ControlPlane) CloseIdleConnections() { c.call.http.CloseIdleConnections() }

// Certificates works on CA certificates. They count only once possession of the key
// is proved, in four steps:
//
//  1. Put uploads the certificate.
//  2. GenerateVerificationCode returns a code in Properties.VerificationCode.
//  3. The CA signs a certificate whose common name is that code.
//  4. Verify shows that certificate, with the ETag of step 2.
//
// Source: azure-docs, articles/iot-dps/how-to-verify-certificates.md.
type Certificates struct{ call *caller }

// Upload is a CA certificate to be stored.
type Upload struct {
	Certificate []byte // PEM or DER; of several in PEM, the first
	Verified    bool   // count it as verified without a proof, for CAs that are surely yours
	ETag        string // "" creates; else the version to replace, or AnyETag
}

// List returns all CA certificates.
func (c *Certificates) List(ctx context.Context) ([]wire.CACertificate, error) {
	list, err := fetch[wire.CACertificateList](ctx, c.call, Request{Method: http.MethodGet, Path: "/certificates"})
	if err != nil {
		return nil, err
	}
	return list.Value, nil
}

// Get returns a CA certificate.
func (c *Certificates) Get(ctx context.Context, name string) (*wire.CACertificate, error) {
	return c.one(ctx, http.MethodGet, name, "", Request{})
}

// Put stores a CA certificate, and returns what the service says of it.
func (c *Certificates) Put(ctx context.Context, name string, u Upload) (*wire.CACertificate, error) {
	text, err := encodeCertificate(u.Certificate)
	if err != nil {
		return nil, err
	}
	content := &wire.CACertificateContent{Certificate: text}
	if u.Verified {
		content.IsVerified = &u.Verified
	}
	return c.one(ctx, http.MethodPut, name, "", Request{Header: ifMatch(u.ETag), Body: wire.CACertificateUpload{Properties: content}})
}

// Delete removes a CA certificate: the version of etag, which is required, or AnyETag.
func (c *Certificates) Delete(ctx context.Context, name, etag string) error {
	path, err := certificatePath(name)
	if err != nil {
		return err
	}
	if etag == "" {
		return errETagRequired
	}
	_, err = c.call.do(ctx, Request{Method: http.MethodDelete, Path: path, Header: ifMatch(etag)})
	return err
}

// GenerateVerificationCode starts a proof of possession of the version of etag, which
// is required, and returns the certificate with the code and a new ETag.
func (c *Certificates) GenerateVerificationCode(ctx context.Context, name, etag string) (*wire.CACertificate, error) {
	if etag == "" {
		return nil, errETagRequired
	}
	return c.one(ctx, http.MethodPost, name, "/generateVerificationCode", Request{Header: ifMatch(etag)})
}

// Verify ends a proof of possession with a certificate, PEM or DER, that the CA signed
// and whose common name is the code. etag is required.
func (c *Certificates) Verify(ctx context.Context, name, etag string, proof []byte) (*wire.CACertificate, error) {
	if etag == "" {
		return nil, errETagRequired
	}
	text, err := encodeCertificate(proof)
	if err != nil {
		return nil, err
	}
	return c.one(ctx, http.MethodPost, name, "/verify", Request{Header: ifMatch(etag), Body: wire.VerificationRequest{Certificate: text}})
}

var errETagRequired = errors.New("the ETag of the certificate is required, or AnyETag")

// one sends r about one certificate.
func (c *Certificates) one(ctx context.Context, method, name, action string, r Request) (*wire.CACertificate, error) {
	path, err := certificatePath(name)
	if err != nil {
		return nil, err
	}
	r.Method, r.Path = method, path+action
	return fetch[wire.CACertificate](ctx, c.call, r)
}

func certificatePath(name string) (string, error) {
	s, err := segment("name", name)
	return "/certificates/" + s, err
}

// encodeCertificate returns the base64 of the DER of the one certificate in data. Others
// have to be a chain above it. Nothing else of data is sent.
func encodeCertificate(data []byte) (string, error) {
	certs, err := certfile.Read(data)
	if err != nil {
		return "", fmt.Errorf("certificate: %w", err)
	}
	cert, err := certfile.One(certs)
	if err != nil {
		return "", fmt.Errorf("certificate: %w", err)
	}
	return base64.StdEncoding.EncodeToString(cert.Raw), nil
}
