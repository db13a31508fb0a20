package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// maxCertificateFile bounds a certificate file, in bytes.
const maxCertificateFile = 1 << 20

func certificateCommand(e *env) *cobra.Command {
	return group("certificate", "Manage CA certificates and proof of possession",
		`Manage the CA certificates that sign device certificates.

A CA certificate counts after proof of possession: generate a verification code, sign a
certificate with the code as common name with the CA ('mooring pki verification' does it),
and verify. --verified skips the proof.

Only Mooring supports these commands; for Azure use az iot dps certificate.`,
		certificateCreate(e), certificateShow(e), certificateList(e), certificateDelete(e),
		certificateGenerateCode(e), certificateVerify(e))
}

// certificateOptions are what the certificate commands take.
type certificateOptions struct {
	name, path, etag    string
	login               login
	verified, yes, json bool
}

func addCertificateFlags(cmd *cobra.Command, e *env, o *certificateOptions) {
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &o.login)
	azNames(cmd, "name", "certificate-name")
	cmd.Flags().StringVarP(&o.name, "certificate-name", "n", "", "name of the CA certificate")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	completeNames(cmd, "certificate-name", func(ctx context.Context, cmd *cobra.Command) ([]string, error) {
		return certificateNames(ctx, cmd, e, o.login)
	})
}

func addETagFlag(cmd *cobra.Command, o *certificateOptions) {
	cmd.Flags().StringVarP(&o.etag, "etag", "e", "", "change only this version (default: the current one)")
}

func addPathFlag(cmd *cobra.Command, o *certificateOptions, usage string) {
	cmd.Flags().StringVarP(&o.path, "path", "p", "", usage)
}

// onCertificate runs act on the named certificate of the running service.
func onCertificate(e *env, o *certificateOptions, act func(context.Context, *controlClient) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		var err error
		if o.name, err = oneID(cmd, "certificate-name", o.name, args); err != nil {
			return err
		}
		if cmd.Flags().Lookup("path") != nil && o.path == "" {
			return usagef(cmd, "--path is required")
		}
		if cmd.Flags().Lookup("yes") != nil {
			if err := confirmDelete(cmd, e, "CA certificate "+o.name, o.yes); err != nil {
				return err
			}
		}
		client, err := newControlClient(cmd, e, o.login)
		if err != nil {
			return err
		}
		return act(cmd.Context(), client)
	}
}

func certificateCreate(e *env) *cobra.Command {
	var o certificateOptions
	cmd := &cobra.Command{
		Use: "create [NAME]", Short: "Upload a CA certificate",
		Long:    "Upload a CA certificate. An existing one of that name is replaced only with --etag.",
		Example: "  mooring certificate create --certificate-name factory --path factory-root.cert.pem",
	}
	cmd.RunE = onCertificate(e, &o, func(ctx context.Context, c *controlClient) error {
		der, err := readCertificate(e.err, "--path", o.path)
		if err != nil {
			return err
		}
		content := wire.CACertificateContent{Certificate: base64.StdEncoding.EncodeToString(der)}
		if o.verified {
			content.IsVerified = &o.verified
		}
		raw, cert, err := c.certificate(ctx, http.MethodPut, o.name, "", o.etag, wire.CACertificateUpload{Properties: &content})
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(e, raw)
		}
		printCertificate(e, cert)
		if !cert.Properties.IsVerified {
			fmt.Fprintf(e.err, "Next, prove possession:\n  mooring certificate generate-verification-code --certificate-name %s\n", o.name)
		}
		return nil
	})
	addCertificateFlags(cmd, e, &o)
	addETagFlag(cmd, &o)
	addPathFlag(cmd, &o, "file with the certificate, PEM or DER")
	cmd.Flags().BoolVarP(&o.verified, "verified", "v", false, "mark as verified without proof of possession")
	cmd.ValidArgsFunction = cobra.NoFileCompletions // a new one has a new name
	return cmd
}

// readCertificate reads the one certificate that a flag names the file of. What else the
// file holds is said on the error output, and not sent.
func readCertificate(out io.Writer, flag, path string) ([]byte, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	all, err := dps.ParseCertificates(flag, text)
	if err != nil {
		return nil, err
	}
	if len(all) > 1 {
		fmt.Fprintf(out, "%s holds %d certificates. The first one (%s) is used.\n", path, len(all), all[0].Name())
		for _, text := range dps.Unused(all) {
			fmt.Fprintln(out, "  "+text)
		}
	}
	return all[0].DER, nil
}

func certificateShow(e *env) *cobra.Command {
	var o certificateOptions
	cmd := &cobra.Command{
		Use: "show [NAME]", Short: "Show a CA certificate", Long: "Show a CA certificate.",
		Example: "  mooring certificate show --certificate-name factory",
	}
	cmd.RunE = onCertificate(e, &o, func(ctx context.Context, c *controlClient) error {
		raw, cert, err := c.certificate(ctx, http.MethodGet, o.name, "", "", nil)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(e, raw)
		}
		printCertificate(e, cert)
		return nil
	})
	addCertificateFlags(cmd, e, &o)
	return cmd
}

func certificateList(e *env) *cobra.Command {
	var o certificateOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List CA certificates", Args: noArgs, Long: "List the CA certificates, sorted by name.",
		Example: "  mooring certificate list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := newControlClient(cmd, e, o.login)
			if err != nil {
				return err
			}
			raw, err := client.call(cmd.Context(), http.MethodGet, "/certificates", "", nil)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(e, raw)
			}
			return printCertificates(e, raw)
		},
	}
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &o.login)
	azNames(cmd, "name", "certificate-name")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func certificateDelete(e *env) *cobra.Command {
	var o certificateOptions
	cmd := &cobra.Command{
		Use: "delete [NAME]", Short: "Delete a CA certificate",
		Long: `Delete a CA certificate that no enrollment refers to. On a terminal the command asks for
confirmation; otherwise --yes is required.`,
		Example: "  mooring certificate delete --certificate-name factory --yes",
	}
	cmd.RunE = onCertificate(e, &o, func(ctx context.Context, c *controlClient) error {
		etag, err := c.etag(ctx, o)
		if err != nil {
			return err
		}
		if _, err := c.call(ctx, http.MethodDelete, "/certificates/"+escaped(o.name), etag, nil); err != nil {
			return err
		}
		if !o.json {
			fmt.Fprintf(e.out, "CA certificate %s is deleted.\n", o.name)
		}
		return nil
	})
	addCertificateFlags(cmd, e, &o)
	addETagFlag(cmd, &o)
	addYesFlag(cmd, &o.yes)
	return cmd
}

func certificateGenerateCode(e *env) *cobra.Command {
	var o certificateOptions
	cmd := &cobra.Command{
		Use: "generate-verification-code [NAME]", Short: "Generate a verification code",
		Long: `Generate a verification code for a CA certificate. It is valid for 7 days and replaces an
earlier code of the same certificate.`,
		Example: "  mooring certificate generate-verification-code --certificate-name factory",
	}
	cmd.RunE = onCertificate(e, &o, func(ctx context.Context, c *controlClient) error {
		etag, err := c.etag(ctx, o)
		if err != nil {
			return err
		}
		raw, cert, err := c.certificate(ctx, http.MethodPost, o.name, "/generateVerificationCode", etag, nil)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(e, raw)
		}
		code := cert.Properties.VerificationCode
		fmt.Fprintf(e.out, "Verification code  %s\nETag               %s\n", code, cert.ETag)
		fmt.Fprintf(e.err, "Next, sign a certificate with this common name with the CA, and verify:\n"+
			"  mooring pki verification %s --ca CA.cert.pem --ca-key CA.key.pem\n"+
			"  mooring certificate verify --certificate-name %s --path %s.cert.pem\n", code, o.name, code)
		return nil
	})
	addCertificateFlags(cmd, e, &o)
	addETagFlag(cmd, &o)
	return cmd
}

func certificateVerify(e *env) *cobra.Command {
	var o certificateOptions
	cmd := &cobra.Command{
		Use: "verify [NAME]", Short: "Complete the proof of possession",
		Long: `Complete the proof of possession with a certificate that the CA signed and whose common
name is the verification code.`,
		Example: "  mooring certificate verify --certificate-name factory --path verification.cert.pem",
	}
	cmd.RunE = onCertificate(e, &o, func(ctx context.Context, c *controlClient) error {
		der, err := readCertificate(e.err, "--path", o.path)
		if err != nil {
			return err
		}
		etag, err := c.etag(ctx, o)
		if err != nil {
			return err
		}
		body := wire.VerificationRequest{Certificate: base64.StdEncoding.EncodeToString(der)}
		raw, cert, err := c.certificate(ctx, http.MethodPost, o.name, "/verify", etag, body)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(e, raw)
		}
		printCertificate(e, cert)
		return nil
	})
	addCertificateFlags(cmd, e, &o)
	addETagFlag(cmd, &o)
	addPathFlag(cmd, &o, "file with the verification certificate, PEM or DER")
	return cmd
}

func printCertificate(e *env, c wire.CACertificate) {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Name\t%s\nSubject\t%s\nThumbprint\t%s\nExpires\t%s\nVerified\t%s\nETag\t%s\n",
		c.Name, c.Properties.Subject, c.Properties.Thumbprint, c.Properties.Expiry, yesNo(c.Properties.IsVerified), c.ETag)
	_ = w.Flush() // to the terminal: nothing to do about a failure
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func printCertificates(e *env, raw json.RawMessage) error {
	var list wire.CACertificateList
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("reading the service's answer: %w", err)
	}
	if len(list.Value) == 0 {
		fmt.Fprintln(e.out, "There are no CA certificates.")
		return nil
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSUBJECT\tVERIFIED\tEXPIRES\tTHUMBPRINT")
	for _, c := range list.Value {
		fmt.Fprintf(
			w,
			"%s\t%s\t%s\t%s\t%s\n",
			c.Name,
			c.Properties.Subject,
			yesNo(c.Properties.IsVerified),
			c.Properties.Expiry,
			c.Properties.Thumbprint,
		)
	}
	return w.Flush()
}

// controlClient calls the control plane of the service that a command manages.
type controlClient struct {
	plane *service.ControlPlane
	host  string // of the service
}

func newControlClient(cmd *cobra.Command, e *env, l login) (*controlClient, error) {
	plane, t, err := newControlPlane(cmd, e, l)
	if err != nil {
		return nil, err
	}
	return &controlClient{plane, t.host}, nil
}

// etag returns the version that a command acts on.
func (c *controlClient) etag(ctx context.Context, o certificateOptions) (string, error) {
	if o.etag != "" {
		return o.etag, nil
	}
	_, cert, err := c.certificate(ctx, http.MethodGet, o.name, "", "", nil)
	return cert.ETag, err
}

// certificate runs one operation on a CA certificate and returns the service's own
// JSON beside what it says.
func (c *controlClient) certificate(
	ctx context.Context,
	method, name, action, etag string,
	body any,
) (json.RawMessage, wire.CACertificate, error) {
	var cert wire.CACertificate
	raw, err := c.call(ctx, method, "/certificates/"+escaped(name)+action, etag, body)
	if err != nil {
		return nil, cert, err
	}
	if err := json.Unmarshal(raw, &cert); err != nil {
		return nil, cert, fmt.Errorf("reading the service's answer: %w", err)
	}
	return raw, cert, nil
}

// call runs one operation below the instance.
func (c *controlClient) call(ctx context.Context, method, path, etag string, body any) (json.RawMessage, error) {
	r := service.Request{Method: method, Path: path, Body: body}
	if etag != "" {
		r.Header = http.Header{"If-Match": {etag}}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := c.plane.Do(ctx, r)
	if err != nil {
		return nil, explainTrust(err)
	}
	return res.Body, nil
}
