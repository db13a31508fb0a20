package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func enrollmentCommand(e *env) *cobra.Command {
	return group("enrollment", "Manage individual enrollments",
		`Manage individual enrollments. Each one allows a single device to register.

`+whichService, enrollmentCommands(e, dps.Individual)...)
}

// whichService is said by every group of commands that needs a service.
const whichService = `The target is the service of --login, or of MOORING_CONNECTION_STRING, or the running
service of the data directory, in this order. It may be Mooring or Azure IoT Hub Device
Provisioning Service.`

// enrollmentCommands are the commands that both kinds of enrollments have.
func enrollmentCommands(e *env, kind dps.EntryKind) []*cobra.Command {
	return []*cobra.Command{
		enrollmentCreate(e, kind), enrollmentShow(e, kind), enrollmentList(e, kind),
		enrollmentUpdate(e, kind), enrollmentDelete(e, kind), importCommand(e, kind), exportCommand(e, kind),
	}
}

// enrollmentOptions are what the commands on one enrollment take.
type enrollmentOptions struct {
	kind      dps.EntryKind
	id, etag  string
	login     login
	showKeys  bool
	yes, json bool
	content   enrollmentContent
	check     func(*cobra.Command) error // what else the command line must say; nil if nothing
}

// noun is what a kind is called.
func noun(kind dps.EntryKind) string {
	if kind == dps.Group {
		return "enrollment group"
	}
	return "enrollment"
}

// article returns a noun with its article.
func article(kind dps.EntryKind) string {
	if kind == dps.Group {
		return "an enrollment group"
	}
	return "an individual enrollment"
}

// exampleFor fits an example to the kind: what stands before the ID, and the ID.
func exampleFor(kind dps.EntryKind, individual, group string) string {
	if kind == dps.Group {
		return group
	}
	return individual
}

// records returns the client's calls for a kind.
func records(client *service.Client, kind dps.EntryKind) *service.Enrollments {
	if kind == dps.Group {
		return client.Groups()
	}
	return client.Enrollments()
}

func addEnrollmentFlags(cmd *cobra.Command, e *env, o *enrollmentOptions) {
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	cmd.Flags().StringVar(&o.id, "enrollment-id", "", "ID of the "+noun(o.kind)+"; the same as the first argument")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the service's own JSON")
	azNames(cmd)
	completeEnrollments(cmd, e, o.kind, &o.login)
}

// onEnrollment runs act on the enrollment that the command line names.
func onEnrollment(e *env, o *enrollmentOptions, act func(context.Context, *service.Client) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := o.read(cmd, args); err != nil {
			return err
		}
		client, err := newServiceClient(cmd, e, o.login)
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		return explainTrust(act(cmd.Context(), client))
	}
}

// read checks what can be seen to be wrong without the service.
func (o *enrollmentOptions) read(cmd *cobra.Command, args []string) error {
	var err error
	if o.id, err = oneID(cmd, "enrollment-id", o.id, args); err != nil {
		return err
	}
	if _, err := dps.ParseEntryID(o.kind, "--enrollment-id", o.id); err != nil {
		return usagef(cmd, "%s", dps.MessageOf(err))
	}
	if o.check != nil {
		return o.check(cmd)
	}
	return nil
}

func enrollmentCreate(e *env, kind dps.EntryKind) *cobra.Command {
	o := enrollmentOptions{kind: kind}
	cmd := &cobra.Command{
		Use: "create [ENROLLMENT-ID]", Short: "Create " + article(kind),
		Long: "Create " + article(kind) + `. The flags select the attestation type, or
--attestation-type does. Symmetric keys that you do not give are generated and printed:
treat the output as a secret.`,
		Example: exampleFor(kind,
			`  mooring enrollment create sensor-7 --attestation-type symmetricKey --device-id hall-3-sensor-7
  mooring enrollment create sensor-8 --certificate-path sensor-8.cert.pem --initial-twin-tags '{"site": "hall 3"}'`,
			`  mooring enrollment-group create line-7 --ca-name factory --initial-twin-tags '{"site": "hall 3"}'
  mooring enrollment-group create line-8 --allocation-policy static --iot-hubs plant.example`),
	}
	cmd.RunE = onEnrollment(e, &o, func(ctx context.Context, client *service.Client) error {
		draft := newEnrollment(kind, o.id)
		if err := o.content.apply(draft); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		created, err := records(client, kind).Put(ctx, draft)
		if err != nil {
			return err
		}
		return o.print(e, created)
	})
	o.check = func(cmd *cobra.Command) error { return o.content.parse(cmd, kind, true) }
	addEnrollmentFlags(cmd, e, &o)
	cmd.ValidArgsFunction = cobra.NoFileCompletions // a new one has a new ID
	o.content.addFlags(cmd, kind)
	return cmd
}

// newEnrollment returns an enrollment that says nothing but its ID.
func newEnrollment(kind dps.EntryKind, id string) *wire.Enrollment {
	if kind == dps.Group {
		return &wire.Enrollment{EnrollmentGroupID: id}
	}
	return &wire.Enrollment{RegistrationID: id}
}

func enrollmentShow(e *env, kind dps.EntryKind) *cobra.Command {
	o := enrollmentOptions{kind: kind}
	cmd := &cobra.Command{
		Use: "show [ENROLLMENT-ID]", Short: "Show " + article(kind),
		Long:    "Show " + article(kind) + ". Symmetric keys are shown only with --show-keys.",
		Example: exampleFor(kind, "  mooring enrollment show sensor-7 --show-keys", "  mooring enrollment-group show line-7 --show-keys"),
	}
	cmd.RunE = onEnrollment(e, &o, func(ctx context.Context, client *service.Client) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		found, err := getEnrollment(ctx, records(client, kind), o.id, o.showKeys)
		if err != nil {
			return err
		}
		return o.print(e, found)
	})
	addEnrollmentFlags(cmd, e, &o)
	cmd.Flags().BoolVar(&o.showKeys, "show-keys", false, "show symmetric keys; treat the output as a secret")
	return cmd
}

// getEnrollment returns an enrollment, with its symmetric keys if asked for.
func getEnrollment(ctx context.Context, from *service.Enrollments, id string, withKeys bool) (*wire.Enrollment, error) {
	found, err := from.Get(ctx, id)
	if err != nil || !withKeys || attestationOf(found) != symmetricKeyType {
		return found, err
	}
	found.Attestation, err = from.AttestationMechanism(ctx, id)
	return found, err
}

func enrollmentUpdate(e *env, kind dps.EntryKind) *cobra.Command {
	o := enrollmentOptions{kind: kind}
	cmd := &cobra.Command{
		Use: "update [ENROLLMENT-ID]", Short: "Change " + article(kind),
		Long: "Change " + article(kind) + `. Only what the flags name changes; keys and certificates are
kept. An empty value removes a setting: --iot-hubs ''. Concurrent changes are not
overwritten. Keys are shown only with --show-keys, or when they change.`,
		Example: exampleFor(kind,
			`  mooring enrollment update sensor-7 --provisioning-status disabled
  mooring enrollment update sensor-8 --secondary-certificate-path sensor-8-new.cert.pem`,
			`  mooring enrollment-group update line-7 --provisioning-status disabled
  mooring enrollment-group update line-7 --initial-twin-properties '{"interval": 30}'`),
	}
	cmd.RunE = onEnrollment(e, &o, func(ctx context.Context, client *service.Client) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		updated, err := o.update(ctx, records(client, kind))
		if err != nil {
			return err
		}
		if !o.showKeys && !o.content.changed("primary-key", "secondary-key", "attestation-type") {
			hideKeys(updated) // nobody asked for them
		}
		return o.print(e, updated)
	})
	o.check = func(cmd *cobra.Command) error { return o.content.parse(cmd, kind, false) }
	addEnrollmentFlags(cmd, e, &o)
	addVersionFlag(cmd, &o.etag)
	cmd.Flags().BoolVar(&o.showKeys, "show-keys", false, "show symmetric keys even if they did not change; treat the output as a secret")
	o.content.addFlags(cmd, kind)
	o.content.addRemoveFlags(cmd)
	return cmd
}

func addVersionFlag(cmd *cobra.Command, etag *string) {
	cmd.Flags().StringVarP(etag, "etag", "e", "", "change only this version (default: the current one)")
}

// update reads an enrollment, changes it and writes it back at the version that was
// read. Without --etag a change by somebody else in between is taken in, once.
func (o *enrollmentOptions) update(ctx context.Context, in *service.Enrollments) (*wire.Enrollment, error) {
	for again := false; ; again = true {
		stored, err := getEnrollment(ctx, in, o.id, true)
		if err != nil {
			return nil, err
		}
		if err := o.content.apply(stored); err != nil {
			return nil, err
		}
		if o.etag != "" {
			stored.ETag = o.etag
		}
		updated, err := in.Put(ctx, stored)
		if err == nil || again || o.etag != "" || !service.IsPreconditionFailed(err) {
			return updated, err
		}
	}
}

func enrollmentDelete(e *env, kind dps.EntryKind) *cobra.Command {
	o := enrollmentOptions{kind: kind}
	cmd := &cobra.Command{
		Use: "delete [ENROLLMENT-ID]", Short: "Delete " + article(kind),
		Long: "Delete " + article(kind) + `. Its devices keep their identity at the hub, but can no longer
register. On a terminal the command asks for confirmation; otherwise --yes is required.`,
		Example: exampleFor(kind, "  mooring enrollment delete sensor-7 --yes", "  mooring enrollment-group delete line-7 --yes"),
	}
	cmd.RunE = onEnrollment(e, &o, func(ctx context.Context, client *service.Client) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if err := records(client, kind).Delete(ctx, o.id, o.etag); err != nil {
			return err
		}
		if !o.json {
			fmt.Fprintf(e.out, "%s %s is deleted.\n", upperFirst(noun(kind)), o.id)
		}
		return nil
	})
	addEnrollmentFlags(cmd, e, &o)
	o.check = func(cmd *cobra.Command) error { return confirmDelete(cmd, e, noun(kind)+" "+o.id, o.yes) }
	addDeleteVersionFlag(cmd, &o.etag)
	addYesFlag(cmd, &o.yes)
	return cmd
}

func addDeleteVersionFlag(cmd *cobra.Command, etag *string) {
	cmd.Flags().StringVarP(etag, "etag", "e", "", "delete only this version (default: any)")
}
