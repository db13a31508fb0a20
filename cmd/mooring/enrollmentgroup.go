package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
)

func enrollmentGroupCommand(e *env) *cobra.Command {
	return group("enrollment-group", "Manage enrollment groups",
		`Manage enrollment groups. Each one allows all devices to register whose certificate a CA
signed, or whose key is derived from the key of the group.

`+whichService, append(enrollmentCommands(e, dps.Group), enrollmentGroupComputeDeviceKey(e))...)
}

// deviceKeyOptions are what compute-device-key takes.
type deviceKeyOptions struct {
	registration, key, group, keyType string
	login                             login
	json                              bool
}

func enrollmentGroupComputeDeviceKey(e *env) *cobra.Command {
	var o deviceKeyOptions
	cmd := &cobra.Command{
		Use: "compute-device-key [REGISTRATION-ID]", Short: "Derive the key of one device of a group",
		Long: `Derive the symmetric key of one device from the key of its enrollment group, and print
it. With --key the command works offline. With --enrollment-id it fetches the key of the
group from the service of --login, or of MOORING_CONNECTION_STRING, or from the running
service of the data directory.

A derived key is valid for one device only. Put derived keys on devices, and keep the
key of the group secret.`,
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
	addLoginFlags(cmd, &o.login)
	flags := cmd.Flags()
	flags.StringVar(&o.registration, "registration-id", "", "registration ID of the device, spelled as the device does")
	flags.StringVar(&o.key, "key", "", "the group's key in base64, or @FILE")
	flags.StringVar(&o.group, "enrollment-id", "", "the enrollment group whose key is fetched")
	flags.StringVar(&o.keyType, "key-type", "primary", "which key of the group: primary or secondary")
	flags.BoolVar(&o.json, "json", false, "print the key as a JSON string")
	azNames(cmd)
	completeRegistrations(cmd, e, "registration-id", &o.login)
	completeGroups(cmd, e, "enrollment-id", &o.login)
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
		return "", usagef(cmd, "--key-type applies to --enrollment-id and cannot be combined with --key")
	case o.key != "" && o.login.connection != "":
		return "", usagef(cmd, "--login applies to --enrollment-id and cannot be combined with --key")
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
		return dps.Secret{}, fmt.Errorf("enrollment group %s has no symmetric key; its attestation type is %s", o.group, mechanism.Type)
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
