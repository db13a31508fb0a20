// Command arm walks the control plane of a running mooring by the official SDK for
// Go, armdeviceprovisioningservices, unmodified. It is a module of its own, so that
// the SDK is no dependency of the product.
//
//	arm INFO
//
// INFO is a file with what `mooring info --json` prints. It prints what it did, and
// ends with exit code 1 at the first answer that is not as it should be.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"
)

// Where the one instance stands.
const (
	subscription = "00000000-0000-0000-0000-000000000000"
	group        = "mooring"
	name         = "default"
)

// timeout bounds the whole walk: the SDK retries some failures for long.
const timeout = time.Minute

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: arm INFO")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	err := run(ctx, os.Args[1], os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "arm:", err)
		os.Exit(1)
	}
}

// info is what is read of `mooring info --json`.
type info struct {
	ServiceEndpoint   string            `json:"serviceEndpoint"`
	IDScope           string            `json:"idScope"`
	CAFile            string            `json:"caFile"`
	ConnectionStrings map[string]string `json:"connectionStrings"`
	ControlPlane      struct {
		ResourceID string `json:"resourceId"`
		Token      string `json:"token"`
	} `json:"controlPlane"`
	Hubs []struct {
		HostName string `json:"hostName"`
	} `json:"hubs"`
}

// token is a credential that is always the same token.
type token string

// GetToken returns the token.
func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// walk is the walk through the control plane.
type walk struct {
	info         info
	resources    *arms.IotDpsResourceClient
	certificates *arms.DpsCertificateClient
	operations   *arms.OperationsClient
}

func run(ctx context.Context, file string, out io.Writer) error {
	var w walk
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &w.info); err != nil {
		return err
	}
	if err := w.connect(token(w.info.ControlPlane.Token)); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"the resource is read and listed", w.read},
		{"names, sizes and operations", w.small},
		{"tags and allocation policy", w.update},
		{"etags", w.versions},
		{"policies and keys", w.policies},
		{"linked hubs", w.hubs},
		{"what is not offered is refused", w.refusals},
		{"CA certificate with proof of possession", w.proof},
		{"a wrong token is refused", w.stranger},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintln(out, "ok:", step.name)
	}
	return nil
}

// connect makes the clients, which trust the service's authority alone.
func (w *walk) connect(credential token) error {
	pem, err := os.ReadFile(w.info.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", w.info.CAFile)
	}
	transport := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	options := &arm.ClientOptions{
		DisableRPRegistration: true,
		ClientOptions: policy.ClientOptions{
			Transport: transport,
			Cloud: cloud.Configuration{
				ActiveDirectoryAuthorityHost: "https://" + w.info.ServiceEndpoint,
				Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
					cloud.ResourceManager: {Endpoint: "https://" + w.info.ServiceEndpoint, Audience: "https://mooring"},
				},
			},
		},
	}
	clients, err := arms.NewClientFactory(subscription, credential, options)
	if err != nil {
		return err
	}
	w.resources, w.certificates, w.operations = clients.NewIotDpsResourceClient(), clients.NewDpsCertificateClient(), clients.NewOperationsClient()
	return nil
}

// expect fails unless got is want.
func expect[T comparable](what string, got *T, want T) error {
	switch {
	case got == nil:
		return fmt.Errorf("%s is missing, want %v", what, want)
	case *got != want:
		return fmt.Errorf("%s = %v, want %v", what, *got, want)
	}
	return nil
}

// expectTime fails unless got is the moment want.
func expectTime(what string, got *time.Time, want time.Time) error {
	if got == nil || !got.Equal(want) {
		return fmt.Errorf("%s = %v, want %v", what, got, want)
	}
	return nil
}

// refused fails unless err is a refusal with the status, the code and the words.
func refused(what string, err error, status int, code, words string) error {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != status || answer.ErrorCode != code || !strings.Contains(answer.Error(), words) {
		return fmt.Errorf("%s: %w, want %d %s with %q", what, errOrNone(err), status, code, words)
	}
	return nil
}

var errNone = errors.New("no error")

func errOrNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}
