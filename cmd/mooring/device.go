package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/device"
	"github.com/mooring-iot/mooring/internal/certfile"
)

// Environment variables that hold keys in base64, for those who do not want them on
// a command line.
const (
	deviceKeyVariable = "MOORING_DEVICE_KEY"
	groupKeyVariable  = "MOORING_GROUP_KEY"
)

func deviceCommand(e *env) *cobra.Command {
	return group("device", "Act as a device", "Act as a device, with the device SDK.", deviceRegister(e))
}

// deviceOptions are the flags of 'mooring device register' as they are typed.
type deviceOptions struct {
	registrationID, endpoint, idScope, transport string
	certificate, key, deviceKey, groupKey        string
	payload, caFile                              string
	timeout                                      time.Duration
	computeKey, json                             bool
}

func deviceRegister(e *env) *cobra.Command {
	var o deviceOptions
	cmd := &cobra.Command{
		Use:   "register [REGISTRATION-ID]",
		Short: "Register one device and print its hub",
		Long: `Register one device and print its hub. The target is the running service of the data
directory, or with --endpoint any provisioning service, including Azure's.

The device authenticates with one of: a certificate (--certificate-path; its common name is
the registration ID), its own key (--key), or the key of its enrollment group (--group-key).
Other users of this machine can read a command line: give keys as @FILE, or in base64 in
` + deviceKeyVariable + ` or ` + groupKeyVariable + `.`,
		Example: `  mooring device register --certificate-path sensor-1.chain.pem --key-path sensor-1.key.pem
  mooring device register sensor-7 --group-key @group.key --transport mqtt
  mooring device register sensor-8 --key @sensor-8.key --endpoint global.azure-devices-provisioning.net --id-scope 0ne00000001`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	addDataFlag(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.registrationID, "registration-id", "r", "", "registration ID (default: the common name of the certificate)")
	f.Var((*givenText)(&o.endpoint), "endpoint", "`host` or host:port of the service (default: the local service)")
	f.StringVar(&o.idScope, "id-scope", "", "ID scope (default: that of the local service)")
	f.StringVar(&o.transport, "transport", device.HTTPS.String(), "https, mqtt or mqtt-ws")
	f.StringVar(&o.certificate, "certificate-path", "", "PEM `file` with the device's certificate and its intermediates")
	f.StringVar(&o.key, "key-path", "", "PEM `file` with the certificate's private key (default: the certificate's file)")
	f.StringVar(&o.deviceKey, "key", "", "the device's symmetric key: `base64` or @FILE")
	f.StringVar(&o.groupKey, "group-key", "", "the enrollment group's symmetric key: `base64` or @FILE")
	f.StringVar(&o.payload, "payload", "", "payload for the service: `JSON` or @FILE")
	f.StringVar(&o.caFile, "ca-file", "", "PEM `file` of the CA certificates to trust instead of those of the local service or of the system")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "time limit")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.computeKey, "compute-key", false, "--key is the key of the enrollment group, as in az iot device registration")
	azNames(cmd, "host", "endpoint", "provisioning-host", "endpoint", "scope", "id-scope", "symmetric-key", "key", "ck", "compute-key",
		"certificate-file-path", "certificate-path", "key-file-path", "key-path", "kp", "key-path")
	completeWords(cmd, "transport", []string{device.HTTPS.String(), device.MQTT.String(), device.MQTTWebSocket.String()})
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

func (o *deviceOptions) run(cmd *cobra.Command, e *env, args []string) error {
	options, err := o.device(cmd, e, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	a, err := device.Register(ctx, options)
	if err != nil {
		return o.explain(cmd, err)
	}
	if o.json {
		return printJSON(e, newRegistered(a))
	}
	return printAssignment(e, a)
}

// explain adds to a refusal by the local service the command that says why.
func (o *deviceOptions) explain(cmd *cobra.Command, err error) error {
	refused, ok := errors.AsType[*device.Error](err)
	if !ok {
		return explainTLS(err)
	}
	if o.endpoint != "" || refused.Status != http.StatusUnauthorized || refused.TrackingID == "" {
		return err
	}
	command := []string{"mooring", "why", refused.TrackingID}
	if f := cmd.Flags().Lookup("data"); f.Changed {
		command = append(command, "--data", f.Value.String())
	}
	return fmt.Errorf("%w\nFor the reason, run: %s", err, strings.TrimSpace(commands(command)))
}

// device returns the options of the SDK for what was typed.
func (o *deviceOptions) device(cmd *cobra.Command, e *env, args []string) (device.Options, error) {
	d := device.Options{UserAgent: "mooring/" + version}
	var err error
	if d.Transport, err = o.chosenTransport(cmd); err != nil {
		return d, err
	}
	if o.timeout <= 0 {
		return d, usagef(cmd, "--timeout: must be positive")
	}
	if d.Credential, err = o.credential(cmd, e); err != nil {
		return d, err
	}
	if d.RegistrationID, err = o.id(cmd, args); err != nil {
		return d, err
	}
	if d.Payload, err = o.readPayload(cmd); err != nil {
		return d, err
	}
	return d, o.address(cmd, e, &d)
}

func (o *deviceOptions) chosenTransport(cmd *cobra.Command) (device.Transport, error) {
	for _, t := range []device.Transport{device.HTTPS, device.MQTT, device.MQTTWebSocket} {
		if o.transport == t.String() {
			return t, nil
		}
	}
	return 0, usagef(cmd, "--transport: %q is not one of https, mqtt, mqtt-ws", o.transport)
}

// id returns the registration ID. Only a certificate tells it by itself.
func (o *deviceOptions) id(cmd *cobra.Command, args []string) (string, error) {
	if o.certificate != "" && o.registrationID == "" && len(args) == 0 {
		return "", nil
	}
	return oneID(cmd, "registration-id", o.registrationID, args)
}

// credential returns the one proof that was given, by flag or else by environment.
func (o *deviceOptions) credential(cmd *cobra.Command, e *env) (device.Credential, error) {
	if o.computeKey && o.deviceKey == "" {
		return nil, usagef(cmd, "--compute-key goes with --key, the key of the enrollment group")
	}
	if o.computeKey {
		o.deviceKey, o.groupKey = "", o.deviceKey
	}
	given := namesGiven("--certificate-path", o.certificate, "--key", o.deviceKey, "--group-key", o.groupKey)
	if len(given) == 0 {
		o.deviceKey, o.groupKey = e.getenv(deviceKeyVariable), e.getenv(groupKeyVariable)
		given = namesGiven(deviceKeyVariable, o.deviceKey, groupKeyVariable, o.groupKey)
	}
	switch {
	case len(given) == 0:
		return nil, usagef(cmd, "give a credential: --certificate-path, --key or --group-key")
	case len(given) > 1:
		return nil, usagef(cmd, "%s: give only one", strings.Join(given, " and "))
	case o.certificate == "" && o.key != "":
		return nil, usagef(cmd, "--key-path requires --certificate-path")
	case o.certificate != "":
		return o.x509()
	case o.deviceKey != "":
		key, err := decodeKey(cmd, given[0], o.deviceKey)
		return device.SymmetricKey(key), err
	default:
		key, err := decodeKey(cmd, given[0], o.groupKey)
		return device.GroupKey(key), err
	}
}

// namesGiven returns, of names each followed by its value, those whose value is not "".
func namesGiven(namesAndValues ...string) []string {
	var names []string
	for pair := range slices.Chunk(namesAndValues, 2) {
		if pair[1] != "" {
			names = append(names, pair[0])
		}
	}
	return names
}

func (o *deviceOptions) x509() (device.Credential, error) {
	key := o.key
	if key == "" {
		key = o.certificate
	}
	certs, err := readCertificates(o.certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %w", err)
	}
	keyText, err := readBounded(key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %w", err)
	}
	if keyText, err = certfile.Text(keyText); err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %s %w", key, err)
	}
	if o.key == "" && !bytes.Contains(keyText, []byte("PRIVATE KEY-----")) {
		return nil, fmt.Errorf("%s contains no private key; give its file with --key-path", o.certificate)
	}
	cert, err := tls.X509KeyPair(certfile.Encode(certs), keyText)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %s", o.certificate, key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return device.X509(cert), nil
}

// decodeKey reads a key in base64, or from the file behind an '@'. What is wrong with
// it is told without showing it.
func decodeKey(cmd *cobra.Command, source, value string) ([]byte, error) {
	text, err := textOrFile(source, value)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) == 0 {
		return nil, usagef(cmd, "%s: must be a key in base64", source)
	}
	return key, nil
}

// readPayload returns the payload, or nil without one.
func (o *deviceOptions) readPayload(cmd *cobra.Command) (any, error) {
	if o.payload == "" {
		return nil, nil //nolint:nilnil // nothing is what the SDK takes for no payload
	}
	text, err := textOrFile("--payload", o.payload)
	if err != nil {
		return nil, err
	}
	raw, err := jsonText(text)
	if err != nil {
		return nil, usagef(cmd, "--payload: %w", err)
	}
	return raw, nil
}

// address says which service is meant: the one of --endpoint, else the local one.
func (o *deviceOptions) address(cmd *cobra.Command, e *env, d *device.Options) error {
	switch {
	case o.endpoint == "":
		if err := o.localAddress(cmd, e, d); err != nil {
			return err
		}
	case cmd.Flags().Changed("data"):
		return usagef(cmd, "--endpoint and --data: give only one")
	case o.idScope == "":
		return usagef(cmd, "--id-scope is required with --endpoint")
	default:
		d.Endpoint = o.endpoint
	}
	if o.idScope != "" {
		d.IDScope = o.idScope
	}
	if o.caFile == "" {
		return nil
	}
	d.RootCAs = x509.NewCertPool()
	if err := addCertificates(d.RootCAs, o.caFile); err != nil {
		return fmt.Errorf("--ca-file: %w", err)
	}
	return nil
}

// localAddress points d at the running service of the data directory. It connects to
// the real listener, whatever the host name resolves to here.
func (o *deviceOptions) localAddress(cmd *cobra.Command, e *env, d *device.Options) error {
	info, err := readInfo(cmd, e)
	if err != nil {
		return err
	}
	if !info.Running {
		return fmt.Errorf("the service of %s is not running; start it with: mooring serve --data %s", info.Data, info.Data)
	}
	name := "https"
	if d.Transport == device.MQTT {
		name = "mqtt"
	}
	listener, on := info.Listeners[name]
	if !on {
		return fmt.Errorf("the service runs without its %s listener", name)
	}
	host, _, err := net.SplitHostPort(info.DeviceEndpoint)
	if err != nil {
		host = info.DeviceEndpoint // without a port
	}
	_, port, err := net.SplitHostPort(listener)
	if err != nil {
		return fmt.Errorf("reading the address of the %s listener: %w", name, err)
	}
	d.Endpoint, d.IDScope = net.JoinHostPort(host, port), info.IDScope
	d.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, local(listener))
	}
	d.RootCAs, err = trust(info.Trust)
	return err
}

// registered is an assignment in the words of the wire.
type registered struct {
	OperationID            string          `json:"operationId"`
	RegistrationID         string          `json:"registrationId"`
	Status                 string          `json:"status"`
	Substatus              string          `json:"substatus,omitempty"`
	AssignedHub            string          `json:"assignedHub"`
	DeviceID               string          `json:"deviceId"`
	EnrollmentGroupID      string          `json:"enrollmentGroupId,omitempty"`
	CreatedDateTimeUTC     time.Time       `json:"createdDateTimeUtc,omitzero"`
	LastUpdatedDateTimeUTC time.Time       `json:"lastUpdatedDateTimeUtc,omitzero"`
	ETag                   string          `json:"etag,omitempty"`
	Payload                json.RawMessage `json:"payload,omitempty"`
}

func newRegistered(a *device.Assignment) registered {
	return registered{
		OperationID: a.OperationID, RegistrationID: a.RegistrationID, Status: "assigned", Substatus: a.Substatus,
		AssignedHub: a.Hub, DeviceID: a.DeviceID, EnrollmentGroupID: a.EnrollmentGroupID,
		CreatedDateTimeUTC: a.Created, LastUpdatedDateTimeUTC: a.Updated, ETag: a.ETag, Payload: a.Payload,
	}
}

func printAssignment(e *env, a *device.Assignment) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Hub\t%s\nDevice ID\t%s\n", a.Hub, a.DeviceID)
	for _, row := range [][2]string{
		{"Substatus", a.Substatus}, {"Enrollment group", a.EnrollmentGroupID}, {"Payload", string(a.Payload)},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	return w.Flush()
}
