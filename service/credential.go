package service

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/connstring"
	"github.com/mooring-iot/mooring/internal/sas"
)

// tokenLifetime is how long a SAS token of ours is good. Each request has its own;
// the time is for clocks that differ.
const tokenLifetime = 10 * time.Minute

// Scopes of the tokens that Azure takes, for credentials that ask for one.
// Source: azure-sdk-for-python, sdk/iothub/azure-iot-deviceprovisioning.
const (
	Scope             = "https://azure-devices-provisioning.net/.default"
	ControlPlaneScope = "https://management.azure.com/.default"
)

// TokenSource gives bearer tokens. It is asked for every request, by several
// goroutines at once, and so is expected to keep a token as long as that is good.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// TokenFunc is a function as a TokenSource. A credential of the Azure SDK becomes
// one by
//
//	service.TokenFunc(func(ctx context.Context) (string, error) {
//		t, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{service.Scope}})
//		return t.Token, err
//	})
type TokenFunc func(ctx context.Context) (string, error)

// Token calls f.
func (f TokenFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// StaticToken is a TokenSource that always gives the same token, such as that of
// 'mooring info'.
type StaticToken string

// Token returns t.
func (t StaticToken) Token(context.Context) (string, error) { return string(t), nil }

// String hides the token from logs.
func (StaticToken) String() string { return "[redacted]" }

// GoString hides the token from logs.
func (StaticToken) GoString() string { return "[redacted]" }

// newTokenCaller returns a caller of path at endpoint that authorizes itself by
// bearer tokens.
func newTokenCaller(endpoint, path, version string, tokens TokenSource, opts *Options) (*caller, error) {
	host := strings.TrimSuffix(strings.TrimPrefix(endpoint, "https://"), "/")
	if err := checkHost(host); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if tokens == nil {
		return nil, errors.New("a source of tokens is required")
	}
	c, err := newCaller("https://"+host+path, version, opts)
	if err != nil {
		return nil, err
	}
	c.authorize = func(ctx context.Context) (string, error) {
		token, err := tokens.Token(ctx)
		if err != nil {
			return "", fmt.Errorf("getting a token: %w", err)
		}
		return "Bearer " + token, nil
	}
	return c, nil
}

// connection is a parsed connection string.
type connection struct {
	host, keyName string
	key           []byte
}

// errConnectionString says what a connection string is, and never shows one.
var errConnectionString = errors.New(
	"connection string: must have HostName, SharedAccessKeyName and SharedAccessKey, each once as name=value, separated by ;",
)

// parseConnectionString takes names in any case and order, and ignores those that it
// does not know.
func parseConnectionString(text string) (connection, error) {
	fields, err := connstring.Parse(text)
	if err != nil {
		return connection{}, errConnectionString
	}
	c := connection{host: fields.Get(connstring.HostName), keyName: fields.Get(connstring.KeyName)}
	if c.host == "" || c.keyName == "" || fields.Get(connstring.Key) == "" {
		return connection{}, errConnectionString
	}
	if err := checkHost(c.host); err != nil {
		return connection{}, fmt.Errorf("connection string: HostName: %w", err)
	}
	if c.key, err = fields.Key(); err != nil {
		return connection{}, err
	}
	return c, nil
}

// checkHost refuses what is no host, or host:port, that https can be spoken with.
func checkHost(host string) error {
	u, err := url.Parse("https://" + host)
	if err != nil || host == "" || u.Host != host || u.Hostname() == "" {
		return fmt.Errorf("%q is not a host name, with or without a port", host)
	}
	return nil
}

// token returns the Authorization of a request at now.
func (c connection) token(now time.Time) string {
	return sas.Sign(c.host, c.keyName, c.key, now.Add(tokenLifetime))
}
