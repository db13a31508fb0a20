package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func linkedHubCommand(e *env) *cobra.Command {
	return group("linked-hub", "Manage linked hubs",
		`Manage the hubs that devices can be assigned to.

A hub of kind iothub is remote: an Azure IoT Hub, or an embedded hub of another Mooring.
Link it with the connection string of a policy that has the rights RegistryWrite and
ServiceConnect. The service calls the hub before it is linked. A hub of kind embedded runs
inside this service, for development and tests. There may be any number, each with its own
host name.

A change applies to later registrations. Devices stay at their hub until they register
again and their reprovision policy allows a move.

Only Mooring supports these commands; for Azure use az iot dps linked-hub.`,
		linkedHubCreate(e), linkedHubShow(e), linkedHubList(e), linkedHubUpdate(e), linkedHubDelete(e), linkedHubCleanups(e))
}

// linkedHubOptions are what the linked-hub commands take.
type linkedHubOptions struct {
	name, connection, kind, location, apply, etag string
	login                                         login
	weight                                        int
	skipCheck, deleteDevices, yes, json           bool
	read                                          bool // connection was read from its file
}

func addLinkedHubFlags(cmd *cobra.Command, e *env, o *linkedHubOptions) {
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &o.login)
	azNames(cmd)
	cmd.Flags().StringVarP(&o.name, "hub-name", "n", "", "host name of the hub")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	completeNames(cmd, "hub-name", func(ctx context.Context, cmd *cobra.Command) ([]string, error) {
		return linkedHubNames(ctx, cmd, e, o.login)
	})
}

func addLinkedHubContentFlags(cmd *cobra.Command, o *linkedHubOptions) {
	f := cmd.Flags()
	f.StringVar(&o.connection, "connection-string", "", "connection string of a policy of the hub, or @FILE")
	f.StringVarP(&o.location, "location", "l", "", "location of the hub, for the policy geoLatency; \"local\" means none")
	f.IntVar(&o.weight, "allocation-weight", 0, "weight for the policy hashed, 1 to 1000")
	f.StringVar(&o.apply, "apply-allocation-policy", "", "whether enrollments without a list of hubs may select this hub: true or false")
	f.BoolVar(&o.skipCheck, "skip-check", false, "link without calling the hub")
	addServiceVersionFlag(cmd, o)
	f.Lookup("apply-allocation-policy").NoOptDefVal = "true"
	completeWords(cmd, "apply-allocation-policy", []string{"true", "false"})
}

func addServiceVersionFlag(cmd *cobra.Command, o *linkedHubOptions) {
	cmd.Flags().StringVarP(&o.etag, "etag", "e", "", "change only this version of the provisioning service (default: the current one)")
}

func (o *linkedHubOptions) update() *service.UpdateOptions {
	u := &service.UpdateOptions{ETag: o.etag, SkipCheck: o.skipCheck}
	if o.deleteDevices {
		u.DeleteDevices = []string{o.name}
	}
	return u
}

// check reads what can be seen to be wrong without the service.
func (o *linkedHubOptions) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case changed("allocation-weight") && (o.weight < dps.MinHubWeight || o.weight > dps.MaxHubWeight):
		return usagef(cmd, "--allocation-weight: must be %d to %d", dps.MinHubWeight, dps.MaxHubWeight)
	case changed("apply-allocation-policy") && o.apply != "true" && o.apply != "false":
		return usagef(cmd, "--apply-allocation-policy: must be true or false")
	case changed("location") && strings.TrimSpace(o.location) == "":
		return usagef(cmd, "--location: is empty; use %q for none", dps.LocalLocation)
	case changed("connection-string") && o.connection == "":
		return usagef(cmd, "--connection-string: is empty")
	case o.name != "" && !dps.IsHostName(o.name):
		return usagef(cmd, "--hub-name: must be a host name, without a port")
	}
	return o.readConnection()
}

// readConnection reads the connection string from its file, once.
func (o *linkedHubOptions) readConnection() error {
	if o.read {
		return nil
	}
	text, err := textOrFile("--connection-string", o.connection)
	o.connection, o.read = strings.TrimSpace(text), true
	return err
}

// applyTo sets what the command line says.
func (o *linkedHubOptions) applyTo(hub *wire.LinkedHub) {
	if o.connection != "" {
		hub.ConnectionString = o.connection
	}
	if o.location != "" {
		hub.Location = o.location
	}
	if o.weight != 0 {
		hub.AllocationWeight = &o.weight
	}
	if o.apply != "" {
		apply := o.apply == "true"
		hub.ApplyAllocationPolicy = &apply
	}
}

// onLinkedHub runs act on the named hub of the running service.
func onLinkedHub(e *env, o *linkedHubOptions, act func(context.Context, *hubsClient) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		var err error
		if o.name, err = oneID(cmd, "hub-name", o.name, args); err != nil {
			return err
		}
		if err := o.check(cmd); err != nil {
			return err
		}
		client, err := newHubsClient(cmd, e, o.login)
		if err != nil {
			return err
		}
		defer client.close()
		ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
		defer cancel()
		return explainTrust(act(ctx, client))
	}
}

func linkedHubCreate(e *env) *cobra.Command {
	var o linkedHubOptions
	cmd := &cobra.Command{
		Use: "create [HUB-NAME]", Short: "Link a hub",
		Long: `Link a remote hub by its connection string, or create an embedded hub with a host name.
The name of an embedded hub is added to the server certificate immediately, and 'mooring
info' prints its connection string. Clients must be able to resolve the name.

A remote hub is called first, with the policy of the connection string, and linked only if
that works. --skip-check skips the call.`,
		Example: `  mooring linked-hub create --connection-string @plant.txt --location westeurope
  mooring linked-hub create --kind embedded --hub-name hub-a.example --allocation-weight 2`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.create(cmd, e, args) },
	}
	addLinkedHubFlags(cmd, e, &o)
	addLinkedHubContentFlags(cmd, &o)
	cmd.Flags().StringVar(&o.kind, "kind", wire.HubKindIoTHub, "iothub, or embedded for a new hub in this service")
	completeWords(cmd, "kind", []string{wire.HubKindIoTHub, wire.HubKindEmbedded})
	cmd.ValidArgsFunction = cobra.NoFileCompletions // a new one has a new name
	return cmd
}

func (o *linkedHubOptions) create(cmd *cobra.Command, e *env, args []string) error {
	if err := o.named(cmd, args); err != nil {
		return err
	}
	return onLinkedHub(e, o, func(ctx context.Context, c *hubsClient) error {
		hub := wire.LinkedHub{Kind: o.kind, Location: dps.LocalLocation}
		o.applyTo(&hub)
		if o.kind == wire.HubKindEmbedded {
			hub.ConnectionString = "HostName=" + o.name
		}
		created, err := c.hubs.Create(ctx, hub, o.update())
		if err != nil {
			return err
		}
		return c.print(ctx, e, *o, created)
	})(cmd, nil)
}

// named sets the hub's name: for a hub over the wire that of its connection string.
func (o *linkedHubOptions) named(cmd *cobra.Command, args []string) error {
	err := o.readConnection()
	if err != nil {
		return err
	}
	switch o.kind {
	case wire.HubKindEmbedded:
		if o.connection != "" {
			return usagef(cmd, "--connection-string: an embedded hub generates its own keys; name it with --hub-name")
		}
		o.name, err = oneID(cmd, "hub-name", o.name, args)
		return err
	case wire.HubKindIoTHub:
	default:
		return usagef(cmd, "--kind: must be %s or %s", wire.HubKindIoTHub, wire.HubKindEmbedded)
	}
	host := hostOf(o.connection)
	if host == "" {
		return usagef(cmd, "--connection-string %s: HostName=...;SharedAccessKeyName=...;SharedAccessKey=...", missing(o.connection))
	}
	if len(args) > 0 || o.name != "" {
		if o.name, err = oneID(cmd, "hub-name", o.name, args); err != nil {
			return err
		}
		if !strings.EqualFold(o.name, host) {
			return usagef(cmd, "--hub-name and the connection string differ: %q and %q", o.name, host)
		}
	}
	o.name = host
	return nil
}

// missing says what is wrong with a connection string that names no host.
func missing(connection string) string {
	if connection == "" {
		return "is required"
	}
	return "has no HostName; the form is"
}

// hostOf returns the host name in a connection string, "" if there is none.
func hostOf(connection string) string {
	host, _, _ := strings.Cut(hostIn(connection), ":")
	return host
}

func linkedHubShow(e *env) *cobra.Command {
	var o linkedHubOptions
	cmd := &cobra.Command{
		Use: "show [HUB-NAME]", Short: "Show a linked hub",
		Long:    "Show a linked hub and its health. The key is masked.",
		Example: "  mooring linked-hub show plant.azure-devices.net",
	}
	cmd.RunE = onLinkedHub(e, &o, func(ctx context.Context, c *hubsClient) error {
		hub, err := c.hubs.Get(ctx, o.name)
		if err != nil {
			return err
		}
		return c.print(ctx, e, o, hub)
	})
	addLinkedHubFlags(cmd, e, &o)
	return cmd
}

func linkedHubUpdate(e *env) *cobra.Command {
	var o linkedHubOptions
	cmd := &cobra.Command{
		Use: "update [HUB-NAME]", Short: "Change a linked hub or its key",
		Long: `Change a linked hub. Settings that you do not give are kept. --connection-string replaces
the key of a remote hub: the new key is tested before it is stored, and used immediately.
To rotate a key without downtime, switch to the secondary key, regenerate the primary key
at the hub, and switch back.`,
		Example: `  mooring linked-hub update plant.azure-devices.net --allocation-weight 4
  mooring linked-hub update plant.azure-devices.net --connection-string @plant.txt
  mooring linked-hub update plant.azure-devices.net --apply-allocation-policy false`,
	}
	run := onLinkedHub(e, &o, func(ctx context.Context, c *hubsClient) error {
		host := hostOf(o.connection)
		if o.connection != "" && host == "" {
			return usagef(cmd, "--connection-string %s: HostName=...;SharedAccessKeyName=...;SharedAccessKey=...", missing(o.connection))
		}
		if o.connection != "" && !strings.EqualFold(host, o.name) {
			return usagef(cmd, "--connection-string: is for %q, not for %s; link another hub with: mooring linked-hub create", host, o.name)
		}
		hub, err := c.hubs.Update(ctx, o.name, o.applyTo, o.update())
		if err != nil {
			return err
		}
		return c.print(ctx, e, o, hub)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, flag := range []string{"connection-string", "location", "allocation-weight", "apply-allocation-policy"} {
			if cmd.Flags().Changed(flag) {
				return run(cmd, args)
			}
		}
		return usagef(cmd, "nothing to change: give --connection-string, --location, --allocation-weight or --apply-allocation-policy")
	}
	addLinkedHubFlags(cmd, e, &o)
	addLinkedHubContentFlags(cmd, &o)
	return cmd
}

func linkedHubDelete(e *env) *cobra.Command {
	var o linkedHubOptions
	cmd := &cobra.Command{
		Use: "delete [HUB-NAME]", Short: "Unlink a hub",
		Long: `Unlink a hub. Registration records keep its name. A remote hub keeps its devices,
including those with a pending cleanup. An embedded hub is deleted with its keys; if it has
devices, --delete-devices is required and deletes them.

On a terminal the command asks for confirmation; otherwise --yes is required.`,
		Example: `  mooring linked-hub delete plant.azure-devices.net --yes
  mooring linked-hub delete hub-a.example --delete-devices`,
	}
	run := onLinkedHub(e, &o, func(ctx context.Context, c *hubsClient) error {
		err := c.hubs.Delete(ctx, o.name, o.update())
		if refusal, refused := errors.AsType[*service.Error](err); refused && refusal.Status == http.StatusConflict {
			return fmt.Errorf("%w; add --delete-devices to delete them", err)
		}
		if err != nil || o.json {
			return err
		}
		fmt.Fprintf(e.out, "The hub %s is unlinked.\n", o.name)
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := oneID(cmd, "hub-name", o.name, args)
		if err != nil {
			return err
		}
		what := "the link to hub " + name
		if o.deleteDevices {
			what = "hub " + name + " with all its devices"
		}
		if err := confirmDelete(cmd, e, what, o.yes); err != nil {
			return err
		}
		return run(cmd, args)
	}
	addLinkedHubFlags(cmd, e, &o)
	addServiceVersionFlag(cmd, &o)
	cmd.Flags().BoolVar(&o.deleteDevices, "delete-devices", false, "delete the devices of an embedded hub with it")
	addYesFlag(cmd, &o.yes)
	return cmd
}

// hubsClient manages linked hubs of a running service.
type hubsClient struct {
	hubs    *service.LinkedHubs
	control *service.ControlPlane
	own     *service.Client
}

func newHubsClient(cmd *cobra.Command, e *env, l login) (*hubsClient, error) {
	control, t, err := newControlPlane(cmd, e, l)
	if err != nil {
		return nil, err
	}
	var own *service.Client
	if t.connection != "" {
		own, err = service.NewClient(t.connection, t.options)
	} else {
		own, err = service.NewClientWithToken(t.info.ServiceEndpoint, service.StaticToken(t.info.ControlPlane.Token), t.options)
	}
	if err != nil {
		return nil, err
	}
	return &hubsClient{hubs: control.LinkedHubs(), control: control, own: own}, nil
}

func (c *hubsClient) close() { c.own.CloseIdleConnections() }

// get reads what only Mooring has.
func (c *hubsClient) get(ctx context.Context, r service.Request, into any) error {
	r.Method = http.MethodGet
	res, err := c.own.Do(ctx, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(res.Body, into); err != nil {
		return fmt.Errorf("reading the service's answer: %w", err)
	}
	return nil
}
