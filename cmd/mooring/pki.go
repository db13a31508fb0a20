package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/pki"
)

// maxDays is the longest validity that --days takes: about a century.
const maxDays = 36500

// pkiCommand is 'mooring pki': certificate chains for tests.
func pkiCommand(e *env) *cobra.Command {
	return group("pki", "Make test certificate chains",
		`Make X.509 certificate chains for trying out device provisioning: keys and PEM
files, correct by construction. Nothing here needs a running service.

Each certificate becomes NAME.cert.pem (the certificate alone) and NAME.key.pem
(its private key, not encrypted). An intermediate, and a device under a CA, also
get NAME.chain.pem: the certificate, then its intermediates, without the root. It
is what TLS and the device SDKs want to be given. In NAME, characters other than
letters, digits and . _ - become a hyphen, and names of CAs are in lower case.
Files are never overwritten.

For tests only: the keys lie in plain files.`,
		pkiSubcommand(e, pki.Root, cobra.Command{
			Use:   "root [NAME]",
			Short: "Create a self-signed root CA",
			Long:  `Create a self-signed root CA.`,
			Example: `  mooring pki root
  mooring pki root "Plant 7 Root CA" --key-type p384 --out certs`,
		}),
		pkiSubcommand(e, pki.Intermediate, cobra.Command{
			Use:   "intermediate [NAME]",
			Short: "Create a CA signed by another CA",
			Long: `Create a CA signed by another CA, a root or an intermediate, to any depth.

--ca may be a .cert.pem or a .chain.pem file. For the .cert.pem file of an intermediate, the
.chain.pem file next to it is used, so that the new chain is complete.`,
			Example: `  mooring pki intermediate "Line 7 CA" --ca mooring-test-root-ca.cert.pem --ca-key mooring-test-root-ca.key.pem
  mooring pki intermediate "Cell 3 CA" --ca line-7-ca.cert.pem --ca-key line-7-ca.key.pem`,
		}),
		pkiSubcommand(e, pki.Device, cobra.Command{
			Use:   "device [REGISTRATION-ID]",
			Short: "Create a device certificate",
			Long: `Create a device certificate. Its common name is the registration ID: 1 to 64 letters,
digits and . _ : -, ending with a letter, a digit or -.

With --ca and --ca-key that CA signs it, for an enrollment group. Without them it
is self-signed, for an individual enrollment.`,
			Example: `  mooring pki device sensor-1 --ca line-7-ca.chain.pem --ca-key line-7-ca.key.pem
  mooring pki device sensor-2 --not-before 2020-01-01T00:00:00Z --not-after 2021-01-01T00:00:00Z`,
		}),
		pkiSubcommand(e, pki.Verification, cobra.Command{
			Use:   "verification [CODE]",
			Short: "Create the certificate for proof of possession",
			Long: `Create the certificate for the proof of possession of a CA. Its common name is
the code from 'mooring certificate generate-verification-code': 48 upper-case hexadecimal
digits.`,
			Example: `  mooring pki verification 7D07A6A51F8AF1469499A1D92074D629894BE9FA8A013E49 \
    --ca mooring-test-root-ca.cert.pem --ca-key mooring-test-root-ca.key.pem`,
		}),
	)
}

// pkiNameFlag returns the flag that gives the common name of a kind, what it means,
// and the name taken when it is not given ("" when it must be).
func pkiNameFlag(k pki.Kind) (flag, usage, byDefault string) {
	switch k {
	case pki.Device:
		return "registration-id", "registration ID of the device; the same as the first argument", ""
	case pki.Verification:
		return "code", "verification code; the same as the first argument", ""
	case pki.Intermediate:
		return "name", "name of the CA; the same as the first argument", "Mooring Test Intermediate CA"
	default:
		return "name", "name of the CA; the same as the first argument", "Mooring Test Root CA"
	}
}

// pkiOptions are the flags of one pki subcommand as they are typed.
type pkiOptions struct {
	kind                pki.Kind
	name                string
	ca, caKey           string
	out, keyType        string
	days                int
	notBefore, notAfter string
	json                bool
}

// pkiSubcommand adds flags and work to cmd, which makes one kind of certificate.
func pkiSubcommand(e *env, kind pki.Kind, cmd cobra.Command) *cobra.Command {
	o := pkiOptions{kind: kind}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef(cmd, "unexpected argument %q: quote a name that contains spaces", args[1])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.run(cmd, args, e)
	}
	o.addFlags(&cmd)
	return &cmd
}

// addFlags declares the flags of o's kind.
func (o *pkiOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	flag, usage, byDefault := pkiNameFlag(o.kind)
	f.StringVar(&o.name, flag, byDefault, usage)
	if o.kind != pki.Root {
		f.StringVar(&o.ca, "ca", "", "PEM `file` of the CA that signs: its certificate or its chain")
		f.StringVar(&o.caKey, "ca-key", "", "PEM `file` of that CA's private key")
	}
	f.StringVar(&o.out, "out", ".", "`directory` for the files; created if absent")
	f.StringVar(&o.keyType, "key-type", string(pki.P256), "p256, p384, rsa2048, rsa3072 or rsa4096")
	f.IntVar(&o.days, "days", o.kind.DefaultDays(), "validity in days from --not-before, else from now: 1 to 36500")
	f.StringVar(&o.notBefore, "not-before", "", "start of the validity as a `time` like 2026-01-31T12:00:00Z (default 5 minutes ago)")
	f.StringVar(&o.notAfter, "not-after", "", "end of the validity as a `time` like 2027-01-31T12:00:00Z, instead of --days")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
}

// run makes the certificate, writes its files and says what to do with them.
func (o *pkiOptions) run(cmd *cobra.Command, args []string, e *env) error {
	request, err := o.request(cmd, args, time.Now())
	if err != nil {
		return err
	}
	if request.Issuer, err = o.issuer(); err != nil {
		return err
	}
	issued, err := pki.Issue(request)
	if err != nil {
		return err
	}
	files, err := issued.Write(o.out)
	if err != nil {
		return o.explainWrite(err, request.CommonName)
	}
	if request.Issuer != nil {
		for _, w := range request.Issuer.Warnings(issued.Certificate, time.Now()) {
			fmt.Fprintln(e.err, "warning:", w)
		}
	}
	report := pkiReport{options: o, issued: issued, issuer: request.Issuer, files: files}
	if o.json {
		return report.json(e)
	}
	_, err = fmt.Fprint(e.out, report.text())
	return err
}

// request checks the flags and returns what they ask for, but for the issuer. Every
// error is wrong usage.
func (o *pkiOptions) request(cmd *cobra.Command, args []string, now time.Time) (pki.Request, error) {
	none := pki.Request{}
	name, err := o.commonName(cmd, args)
	if err != nil {
		return none, err
	}
	keyType, err := pki.ParseKeyType(o.keyType)
	if err != nil {
		return none, usagef(cmd, "--key-type %q: %w", o.keyType, err)
	}
	if err := o.checkIssuerFlags(cmd); err != nil {
		return none, err
	}
	if o.out == "" {
		return none, usagef(cmd, "--out: must not be empty")
	}
	from, to, err := o.validity(cmd, now)
	if err != nil {
		return none, err
	}
	return pki.Request{Kind: o.kind, CommonName: name, KeyType: keyType, NotBefore: from, NotAfter: to}, nil
}

// commonName returns the name from the flag or the first argument.
func (o *pkiOptions) commonName(cmd *cobra.Command, args []string) (string, error) {
	flag, _, _ := pkiNameFlag(o.kind)
	given := cmd.Flags().Changed(flag)
	name := o.name
	if len(args) > 0 {
		if given && args[0] != name {
			return "", usagef(cmd, "--%s %q and the argument %q differ: give one of them", flag, name, args[0])
		}
		given, name = true, args[0]
	}
	if !given && name == "" {
		return "", usagef(cmd, "--%s is required, as a flag or as the first argument", flag)
	}
	if err := pki.CheckCommonName(o.kind, name); err != nil {
		return "", usagef(cmd, "--%s %q: %w", flag, name, err)
	}
	return name, nil
}

// checkIssuerFlags checks that --ca and --ca-key come together, and where they must.
func (o *pkiOptions) checkIssuerFlags(cmd *cobra.Command) error {
	switch {
	case o.kind == pki.Root:
		return nil
	case o.ca == "" && o.caKey == "" && o.kind == pki.Device:
		if cmd.Flags().Changed("ca") || cmd.Flags().Changed("ca-key") {
			return usagef(cmd, "--ca and --ca-key: must not be empty; leave both out for a self-signed certificate")
		}
		return nil
	case o.ca == "" && o.caKey == "":
		return usagef(cmd, "--ca and --ca-key are required: the certificate and the private key of the CA that signs")
	case o.ca == "":
		return usagef(cmd, "--ca is required with --ca-key: the certificate of the CA that signs")
	case o.caKey == "":
		return usagef(cmd, "--ca-key is required with --ca: the private key of the CA that signs")
	}
	return nil
}

// validity returns the first and the last moment of the validity asked for.
func (o *pkiOptions) validity(cmd *cobra.Command, now time.Time) (from, to time.Time, err error) {
	if o.days < 1 || o.days > maxDays {
		return from, to, usagef(cmd, "--days %d: must be between 1 and %d", o.days, maxDays)
	}
	from = now.Add(-pki.ClockSkew)
	to = now.AddDate(0, 0, o.days)
	if cmd.Flags().Changed("not-before") {
		if from, err = parseMoment(cmd, "not-before", o.notBefore); err != nil {
			return from, to, err
		}
		to = from.AddDate(0, 0, o.days)
	}
	if !cmd.Flags().Changed("not-after") {
		return from, to, nil
	}
	if cmd.Flags().Changed("days") {
		return from, to, usagef(cmd, "--days and --not-after exclude each other: both set the end of the validity")
	}
	if to, err = parseMoment(cmd, "not-after", o.notAfter); err != nil {
		return from, to, err
	}
	if !to.After(from) {
		return from, to, usagef(cmd, "--not-after %s: must be after --not-before, which is %s",
			o.notAfter, from.UTC().Format(time.RFC3339))
	}
	return from, to, nil
}

// parseMoment reads the value of a flag that is a time in RFC 3339.
func parseMoment(cmd *cobra.Command, flag, value string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return t, usagef(cmd, "--%s %q: must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z", flag, value)
	}
	return t.UTC().Truncate(time.Second), nil
}

// issuer reads the CA that signs; nil when there is none.
func (o *pkiOptions) issuer() (*pki.Issuer, error) {
	if o.ca == "" {
		return nil, nil
	}
	authority, err := pki.ReadAuthority(o.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	key, err := pki.ReadKey(o.caKey)
	if err != nil {
		return nil, fmt.Errorf("--ca-key: %w", err)
	}
	issuer, err := pki.NewIssuer(authority, key)
	if err != nil {
		return nil, fmt.Errorf("--ca-key %s: %w", o.caKey, err)
	}
	return issuer, nil
}

// explainWrite adds to an error of writing what to do about it.
func (o *pkiOptions) explainWrite(err error, name string) error {
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--out %s: %w", o.out, err)
	}
	hint := "choose another --out or remove them"
	if slug := pki.Slug(o.kind, name); slug != name {
		hint += fmt.Sprintf("; %q is written as %q in file names, and so may be another name", name, slug)
	}
	return fmt.Errorf("--out %s: %w (%s)", o.out, err, hint)
}

// pkiReport tells of one new certificate.
type pkiReport struct {
	options *pkiOptions
	issued  *pki.Issued
	issuer  *pki.Issuer // nil when self-signed
	files   pki.Files
}

// json prints the report for machines, alone on the standard output.
func (r pkiReport) json(e *env) error {
	if note := r.chainNote(); note != "" {
		fmt.Fprintln(e.err, "note:", note)
	}
	cert := r.issued.Certificate
	enc := json.NewEncoder(e.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Certificate      string    `json:"certificate"`
		Key              string    `json:"key"`
		Chain            string    `json:"chain,omitempty"`
		Subject          string    `json:"subject"`
		NotBefore        time.Time `json:"notBefore"`
		NotAfter         time.Time `json:"notAfter"`
		SHA1Thumbprint   string    `json:"sha1Thumbprint"`
		SHA256Thumbprint string    `json:"sha256Thumbprint"`
	}{
		r.files.Certificate, r.files.Key, r.files.Chain, cert.Subject.String(),
		cert.NotBefore, cert.NotAfter, r.issued.SHA1Thumbprint(), r.issued.SHA256Thumbprint(),
	})
}

// text returns the report for people.
func (r pkiReport) text() string {
	var b strings.Builder
	cert := r.issued.Certificate
	fmt.Fprintln(&b, "Written:")
	width := max(len(r.files.Certificate), len(r.files.Chain), len(r.files.Key))
	fmt.Fprintf(&b, "  %-*s  the certificate alone\n", width, r.files.Certificate)
	if r.files.Chain != "" {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, r.files.Chain, r.chainMeaning())
	}
	fmt.Fprintf(&b, "  %-*s  its private key, not encrypted: keep it secret\n\n", width, r.files.Key)
	fmt.Fprintf(&b, "Subject  %s\n", cert.Subject)
	if r.issuer == nil {
		fmt.Fprintln(&b, "Issuer   itself")
	} else {
		fmt.Fprintf(&b, "Issuer   %s\n", cert.Issuer)
	}
	fmt.Fprintf(&b, "Valid    %s to %s\n", cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339))
	fmt.Fprintf(&b, "SHA-256  %s\n", r.issued.SHA256Thumbprint())
	fmt.Fprintf(&b, "SHA-1    %s\n", r.issued.SHA1Thumbprint())
	if note := r.chainNote(); note != "" {
		fmt.Fprintf(&b, "\nNote: %s\n", note)
	}
	fmt.Fprintf(&b, "\n%s", r.next())
	return b.String()
}

// chainMeaning says in one line what the chain file holds.
func (r pkiReport) chainMeaning() string {
	chain := r.issued.Chain
	var b strings.Builder
	b.WriteString("the certificate")
	for _, c := range chain[1:] {
		fmt.Fprintf(&b, ", then %s", c.Subject)
	}
	fmt.Fprintf(&b, ", without its root %s", chain[len(chain)-1].Issuer)
	return b.String()
}

// chainNote says that the CA's chain came from a file that was not named; "" when it
// did not, or no chain was needed.
func (r pkiReport) chainNote() string {
	if r.issuer == nil || r.issuer.ChainFile == "" || r.files.Chain == "" {
		return ""
	}
	return fmt.Sprintf("the chain above %s was taken from %s", r.options.ca, r.issuer.ChainFile)
}

// nextHeading stands above the commands that follow.
const nextHeading = "Next:\n"

// next says what follows: commands, each on a line, and what to give the device.
func (r pkiReport) next() string {
	switch r.options.kind {
	case pki.Root:
		return r.nextRoot()
	case pki.Intermediate:
		return nextHeading + commands([]string{
			"mooring", "pki", "device", "sensor-1",
			"--ca", r.files.Chain, "--ca-key", r.files.Key, "--out", r.options.out,
		})
	case pki.Device:
		return r.nextDevice()
	default:
		name := pki.Slug(pki.Root, r.issuer.Certificate.Subject.CommonName)
		return nextHeading + commands([]string{
			"mooring", "certificate", "verify",
			"--certificate-name", name, "--path", r.files.Certificate,
		}) + fmt.Sprintf("where %s is the name that the CA was given at the service.\n", name)
	}
}

// nextRoot returns how to upload a root and prove that its key is at hand.
func (r pkiReport) nextRoot() string {
	name := pki.Slug(pki.Root, r.issued.Certificate.Subject.CommonName)
	return nextHeading + commands(
		[]string{"mooring", "certificate", "create", "--certificate-name", name, "--path", r.files.Certificate},
		[]string{"mooring", "certificate", "generate-verification-code", "--certificate-name", name},
		[]string{
			"mooring", "pki", "verification", "CODE",
			"--ca", r.files.Certificate, "--ca-key", r.files.Key, "--out", r.options.out,
		},
	) + "where CODE is the verification code that the second command prints.\n"
}

// nextDevice returns what to give to the SDK and, for a self-signed certificate, how
// to enroll it.
func (r pkiReport) nextDevice() string {
	id := r.issued.Certificate.Subject.CommonName
	certificate, first := r.files.Chain, "Next, give"
	if r.issuer == nil {
		certificate = r.files.Certificate
		first = "Next, create an individual enrollment with this certificate:\n" + commands([]string{
			"mooring", "enrollment", "create",
			"--enrollment-id", id, "--attestation-type", "x509", "--certificate-path", certificate,
		}) + "Then give"
	}
	return first + fmt.Sprintf(" the device SDK:\n  registration ID  %s\n  certificate      %s\n  private key      %s\n",
		id, certificate, r.files.Key)
}

// commands returns command lines for a POSIX shell, each indented on its own line.
func commands(lines ...[]string) string {
	var b strings.Builder
	for _, words := range lines {
		b.WriteString(" ")
		for _, w := range words {
			b.WriteString(" " + shellWord(w))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// shellWord quotes w where a POSIX shell would not take it as it is.
func shellWord(w string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=@+", r)
	}
	if w != "" && strings.TrimLeftFunc(w, plain) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
