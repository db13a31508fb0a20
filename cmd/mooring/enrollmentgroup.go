package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
)

// connectionStringVar is the environment variable with the connection string of the
// service that is managed.
const connectionStringVar = "MOORING_CONNECTION_STRING"

func enrollmentGroupCommand(e *env) *cobra.Command {
	return group("enrollment-group", "Manage enrollment groups",
		`Manage enrollment groups: each admits all devices that a CA signs, or that have a key
derived from the group's.

`+whichService, append(enrollmentCommands(e, dps.Group), enrollmentGroupComputeDeviceKey(e))...)
}

// deviceKeyOptions are what compute-device-key takes.
type deviceKeyOptions struct {
	registration, key, group, keyType, login string
	json                                     bool
}

func enrollmentGroupComputeDeviceKey(e *env) *cobra.Command {
	var o deviceKeyOptions
	cmd := &cobra.Command{
		Use: "compute-device-key [REGISTRATION-ID]", Short: "Derive the key of one device of a group",
		Long: `Derive the symmetric key of one device from the key of its enrollment group, and
print it. With --key nothing is contacted. With --enrollment-id the group's keys are
fetched: from the service of --login, else of MOORING_CONNECTION_STRING, else from the
running service of the data directory.

The device's key proves to be that device and no other: give devices this one, and
keep the group's key to yourself. A key that starts with @ is a file to read it from.`,
		Example: `  mooring enrollment-group compute-device-key --enrollment-id line-7 --registration-id sensor-7
  mooring enrollment-group compute-device-key sensor-7 --key @group.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := o.read(cmd, args)
			if err != nil {
				return err
			}
			key, err := o.groupKey(cmd, e)
			if err != nil {
				return err
			}
			text := dps.DeriveKey(key, id).Base64()
			if o.json {
				return printJSON(e, text)
			}
			fmt.Fprintln(e.out, text)
			return nil
		},
	}
	addDataFlag(cmd)
	addLoginFlag(cmd, &o.login)
	flags := cmd.Flags()
	flags.StringVar(&o.registration, "registration-id", "", "registration ID of the device, spelled as the device does")
	flags.StringVar(&o.key, "key", "", "the group's key in base64, or @FILE")
	flags.StringVar(&o.group, "enrollment-id", "", "the enrollment group whose key is fetched")
	flags.StringVar(&o.keyType, "key-type", "primary", "which key of the group: primary or secondary")
	flags.BoolVar(&o.json, "json", false, "print the key as a JSON string")
	azNames(cmd)
	return cmd
}

// read checks the command line and returns the registration ID.
func (o *deviceKeyOptions) read(cmd *cobra.Command, args []string) (dps.RegistrationID, error) {
	text, err := oneID(cmd, "registration-id", o.registration, args)
	if err != nil {
		return "", err
	}
	id, err := dps.ParseRegistrationID(text)
	switch {
	case err != nil:
		return "", usageError{command: cmd.CommandPath(), err: err}
	case (o.key == "") == (o.group == ""):
		return "", usagef(cmd, "give either --key or --enrollment-id")
	case o.key != "" && cmd.Flags().Changed("key-type"):
		return "", usagef(cmd, "--key-type chooses among the keys of --enrollment-id, and --key is one key")
	case o.key != "" && o.login != "":
		return "", usagef(cmd, "--login is for --enrollment-id; with --key nothing is contacted")
	case o.keyType != "primary" && o.keyType != "secondary":
		return "", usagef(cmd, "--key-type: must be primary or secondary, not %q", o.keyType)
	}
	return id, nil
}

// groupKey returns the key to derive from: the one that was given, else the group's.
func (o *deviceKeyOptions) groupKey(cmd *cobra.Command, e *env) (dps.Secret, error) {
	if o.key == "" {
		return o.fetch(cmd, e)
	}
	text, err := textOrFile("--key", o.key)
	if err != nil {
		return dps.Secret{}, err
	}
	key, err := dps.ParseKey("--key", strings.TrimSpace(text))
	if err == nil && key.IsZero() {
		err = errors.New("--key: the file is empty")
	}
	return key, err
}

// fetch asks the service for the keys of the group.
func (o *deviceKeyOptions) fetch(cmd *cobra.Command, e *env) (dps.Secret, error) {
	client, err := newServiceClient(cmd, e, o.login)
	if err != nil {
		return dps.Secret{}, err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
	defer cancel()
	return o.keyOf(ctx, client)
}

// keyOf reads the key that was chosen.
func (o *deviceKeyOptions) keyOf(ctx context.Context, client *service.Client) (dps.Secret, error) {
	mechanism, err := client.Groups().AttestationMechanism(ctx, o.group)
	if err != nil {
		return dps.Secret{}, explainTrust(err)
	}
	if mechanism.SymmetricKey == nil {
		return dps.Secret{}, fmt.Errorf("enrollment group %s has no symmetric key: its devices attest by %s", o.group, mechanism.Type)
	}
	text := mechanism.SymmetricKey.PrimaryKey
	if o.keyType == "secondary" {
		text = mechanism.SymmetricKey.SecondaryKey
	}
	key, err := dps.ParseKey(o.keyType+"Key", text)
	if err == nil && key.IsZero() {
		err = fmt.Errorf("enrollment group %s has no %s key", o.group, o.keyType)
	}
	return key, err
}

// maxTextFile bounds a file that holds the value of a flag, in bytes.
const maxTextFile = 1 << 20

// textOrFile returns the value of a flag, or of the file that it names with @.
func textOrFile(flag, value string) (string, error) {
	path, named := strings.CutPrefix(value, "@")
	if !named {
		return value, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTextFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if len(text) > maxTextFile {
		return "", fmt.Errorf("%s: %s is larger than %d bytes", flag, path, maxTextFile)
	}
	return string(text), nil
}

func addLoginFlag(cmd *cobra.Command, login *string) {
	cmd.Flags().
		StringVarP(login, "login", "l", "", "connection string of the service (default: MOORING_CONNECTION_STRING, else that of the data directory)")
}

// newServiceClient returns a client of the service that a command manages: that of
// login, else of the environment, else the running one of the data directory.
func newServiceClient(cmd *cobra.Command, e *env, login string) (*service.Client, error) {
	options := &service.Options{UserAgent: "mooring/" + version, Now: time.Now, Warning: warnings(e)}
	if text := cmp.Or(login, e.getenv(connectionStringVar)); text != "" {
		client, err := service.NewClient(text, options)
		if err != nil && login != "" {
			return nil, fmt.Errorf("--login: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", connectionStringVar, err)
		}
		return client, nil
	}
	info, client, err := running(cmd, e)
	if err != nil {
		return nil, err
	}
	text, err := ownConnectionString(info)
	if err != nil {
		return nil, err
	}
	options.HTTPClient = client
	return service.NewClient(text, options)
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

// explainTrust says what to do where one side does not trust the other: about a service
// with a CA of its own, and about a 401, whose reason callers are not told.
func explainTrust(err error) error {
	if e, ok := errors.AsType[*service.Error](err); ok && e.Status == http.StatusUnauthorized {
		return fmt.Errorf(
			"%w\nThe key is wrong or expired, or the policy lacks the right: the log of the service says which, under the tracking ID",
			err,
		)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w; name the file with the service's CA in SSL_CERT_FILE", err)
	}
	return err
}
