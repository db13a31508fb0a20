package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
)

// Environment variables that name the service that is managed, and the CA to trust there.
const (
	connectionStringVar = "MOORING_CONNECTION_STRING"
	caFileVar           = "MOORING_CA_FILE"
)

// login says which service a command manages.
type login struct {
	connection  string // of --login
	caFile      string
	group, name string // as az iot dps names the service; checked, and not needed
}

// givenText is the value of a flag that may be absent, but not empty: --login "$CONNECTION" with an
// unset variable must not manage the local service.
type givenText string

// Set implements pflag.Value.
func (g *givenText) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("must not be empty")
	}
	*g = givenText(text)
	return nil
}

func (g *givenText) String() string { return string(*g) }

// Type implements pflag.Value; the help shows it.
func (g *givenText) Type() string { return "string" }

// addLoginFlags gives a command on the service API its flags. -n is the name of the
// service, as in az iot dps.
func addLoginFlags(cmd *cobra.Command, l *login) {
	cmd.Flags().VarP((*givenText)(&l.connection), "login", "l",
		"connection string of the service, or @FILE (default: "+connectionStringVar+", else that of the data directory)")
	cmd.Flags().StringVarP(&l.name, "dps-name", "n", "", "name of the service; checked if given")
	addTrustFlags(cmd, l)
}

// addControlLoginFlags does so for a command on the control plane, where the short names
// mean something else.
func addControlLoginFlags(cmd *cobra.Command, l *login) {
	cmd.Flags().Var((*givenText)(&l.connection), "login",
		"connection string of a Mooring, or @FILE (default: "+connectionStringVar+", else that of the data directory)")
	cmd.Flags().StringVar(&l.name, "dps-name", "", "name of the service; checked if given")
	addTrustFlags(cmd, l)
}

func addTrustFlags(cmd *cobra.Command, l *login) {
	cmd.Flags().StringVarP(&l.group, "resource-group", "g", "", "resource group of the service; checked if given")
	cmd.Flags().StringVar(&l.caFile, "ca-file", "",
		"PEM `file` of the CA certificates to trust with --login, besides those of the system (default: "+caFileVar+")")
}

// text returns the connection string that was given, "" for the local service.
func (l login) text(e *env) (text, source string, err error) {
	if l.connection != "" {
		text, err = textOrFile("--login", l.connection)
		if text = strings.TrimSpace(text); err == nil && text == "" {
			err = errors.New("--login: the file is empty")
		}
		return text, "--login", err
	}
	return e.getenv(connectionStringVar), connectionStringVar, nil
}

// hostIn returns the host name in a connection string, with its port; "" if there is none.
func hostIn(connection string) string {
	for part := range strings.SplitSeq(connection, ";") {
		if name, value, _ := strings.Cut(part, "="); strings.EqualFold(strings.TrimSpace(name), "HostName") {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// azureSuffixes end the names of services of Azure.
// Source: azure-cli-core, cloud.py, for the national clouds.
var azureSuffixes = []string{".azure-devices-provisioning.net", ".azure-devices-provisioning.cn", ".azure-devices-provisioning.us"}

func isAzure(host string) bool {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	for _, suffix := range azureSuffixes {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// check compares --resource-group and --dps-name with the service at host.
func (l login) check(host string) error {
	first, _, _ := strings.Cut(host, ".")
	names := []string{first, host}
	switch {
	case l.group != "" && isAzure(host):
		return errors.New("--resource-group: a connection string does not tell the resource group; leave the flag out")
	case l.group != "" && !strings.EqualFold(l.group, controlapi.ResourceGroup):
		return fmt.Errorf("--resource-group: the service is in resource group %q, not %q", controlapi.ResourceGroup, l.group)
	case !isAzure(host):
		names = append([]string{string(dps.DefaultInstance)}, names...)
	}
	for _, name := range names {
		if l.name == "" || strings.EqualFold(l.name, name) {
			return nil
		}
	}
	return fmt.Errorf("--dps-name: the service is named %q, not %q", names[0], l.name)
}

// httpClient returns a client that trusts the CA file besides the system, nil for the
// default.
func (l login) httpClient(e *env) (*http.Client, error) {
	file := cmp.Or(l.caFile, e.getenv(caFileVar))
	if file == "" {
		return nil, nil //nolint:nilnil // nothing is what the SDK takes for its own client
	}
	pool, err := trust(file)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}
	return &http.Client{Transport: transport, Timeout: callTimeout}, nil
}

// target is the service that a command manages: by a connection string, or the local one.
type target struct {
	connection string // "" for the local service
	source     string // of the connection string: a flag or a variable
	host       string // of the service
	info       app.Info
	options    *service.Options
}

// find finds the service of --login, else of the environment, else the running one of the
// data directory.
func (l login) find(cmd *cobra.Command, e *env) (target, error) {
	t := target{options: &service.Options{UserAgent: "mooring/" + version, Now: time.Now, Warning: warnings(e)}}
	var err error
	if t.connection, t.source, err = l.text(e); err != nil {
		return t, err
	}
	if t.connection != "" {
		t.host = hostIn(t.connection)
		if t.options.HTTPClient, err = l.httpClient(e); err != nil {
			return t, err
		}
		return t, l.check(t.host)
	}
	if l.caFile != "" {
		return t, usagef(cmd, "--ca-file goes with --login; the local service's CA is trusted anyway")
	}
	if t.info, t.options.HTTPClient, err = running(cmd, e); err != nil {
		return t, err
	}
	t.host = t.info.ServiceEndpoint
	return t, l.check(t.host)
}

// newServiceClient returns a client of the service API of the service that a command
// manages.
func newServiceClient(cmd *cobra.Command, e *env, l login) (*service.Client, error) {
	t, err := l.find(cmd, e)
	if err != nil {
		return nil, err
	}
	if t.connection == "" {
		if t.connection, err = ownConnectionString(t.info); err != nil {
			return nil, err
		}
		return service.NewClient(t.connection, t.options)
	}
	client, err := service.NewClient(t.connection, t.options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.source, err)
	}
	return client, nil
}

// newControlPlane returns a client of the control plane of the service that a command
// manages, and the target.
func newControlPlane(cmd *cobra.Command, e *env, l login) (*service.ControlPlane, target, error) {
	t, err := l.find(cmd, e)
	if err != nil {
		return nil, t, err
	}
	if t.connection == "" {
		token := service.StaticToken(t.info.ControlPlane.Token)
		plane, err := service.NewControlPlane(t.info.ServiceEndpoint, t.info.ControlPlane.ResourceID, token, t.options)
		return plane, t, err
	}
	if isAzure(t.host) {
		return nil, t, fmt.Errorf(
			"%s: Azure manages this through Azure Resource Manager, which takes no connection string; use az iot dps", t.source)
	}
	plane, err := service.NewMooringControlPlane(t.connection, t.options)
	if err != nil {
		return nil, t, fmt.Errorf("%s: %w", t.source, err)
	}
	return plane, t, nil
}

// ownConnectionString returns the connection string of the first policy, best the owner's.
func ownConnectionString(info app.Info) (string, error) {
	if text, ok := info.ConnectionStrings[dps.OwnerPolicy]; ok {
		return text, nil
	}
	for _, name := range sortedKeys(info.ConnectionStrings) {
		return info.ConnectionStrings[name], nil
	}
	return "", errors.New("the service has no shared access policy")
}

// explainTrust adds the remedy where one side does not trust the other: for a service with
// a CA of its own, and for a 401, whose reason callers are not told.
func explainTrust(err error) error {
	if e, ok := errors.AsType[*service.Error](err); ok && e.Status == http.StatusUnauthorized {
		return fmt.Errorf(
			"%w\nThe key is wrong or expired, or the policy lacks a right; find the reason in the log of the service by the tracking ID",
			err,
		)
	}
	return explainTLS(explainFlags(err))
}

// explainTLS adds the remedy to a server certificate that was not accepted.
func explainTLS(err error) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w\nThe server certificate is signed by an unknown CA; give its CA certificate with --ca-file. "+
			"A Mooring has it in DATA/tls/ca.cert.pem", err)
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("%w\nThe server certificate is not for %s; connect by a name that it has, or start the service with --hostname %s",
			err, host.Host, host.Host)
	}
	return err
}

// explainFlags puts the flag in place of the header of HTTP that the service's message
// names.
func explainFlags(err error) error {
	e, ok := errors.AsType[*service.Error](err)
	if !ok || !strings.Contains(e.Message, "If-Match") {
		return err
	}
	e.Message = strings.ReplaceAll(strings.ReplaceAll(e.Message, "send If-Match", "give --etag"), "If-Match", "--etag")
	return err
}
