package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/wire"
)

func hubCommand(e *env) *cobra.Command {
	return group(
		"hub",
		"Show devices and twins of hubs",
		`Show the devices and twins of an embedded hub of the running service: the first one, or
--hub-name. For any other hub, give its connection string with --login.`,
		group("device", "Device identities", "Show the device identities of a hub.", hubDeviceList(e), hubDeviceShow(e)),
		group("twin", "Device twins", "Show the device twins of a hub.", hubTwinShow(e)),
	)
}

// hubOptions are what every hub command takes.
type hubOptions struct {
	device, hub string
	login       login // its connection string is that of a hub
	json        bool
}

func addHubFlags(cmd *cobra.Command, e *env, o *hubOptions) {
	addDataFlag(cmd)
	cmd.Flags().VarP((*givenText)(&o.login.connection), "login", "l",
		"connection string of a hub, or @FILE (default: an embedded hub of the local service)")
	cmd.Flags().StringVar(&o.login.caFile, "ca-file", "",
		"PEM `file` of the CA certificates to trust with --login, besides those of the system (default: "+caFileVar+")")
	cmd.Flags().StringVarP(&o.hub, "hub-name", "n", "", "host name of the embedded hub (default: the first one)")
	completeFlag(cmd, "hub-name", func(_ context.Context, cmd *cobra.Command) ([]string, error) { return hubNames(cmd, e) })
	cmd.Flags().BoolVar(&o.json, "json", false, "print the hub's own JSON")
}

// hubClient returns a client for the hub of --login, else for an embedded hub of the running
// service: the one of --hub-name, else the first.
func hubClient(cmd *cobra.Command, e *env, o *hubOptions) (*iothub.Client, error) {
	if o.login.connection != "" {
		return remoteHub(cmd, e, o)
	}
	if o.login.caFile != "" {
		return nil, usagef(cmd, "--ca-file goes with --login; the local service's CA is trusted anyway")
	}
	info, client, err := running(cmd, e)
	if err != nil {
		return nil, err
	}
	text, err := hubAccess(info.Hubs, o.hub)
	if err != nil {
		return nil, err
	}
	conn, err := iothub.ParseConnectionString(text)
	if err != nil {
		return nil, err
	}
	return iothub.New(conn, client, time.Now), nil
}

// remoteHub returns a client for the hub of --login.
func remoteHub(cmd *cobra.Command, e *env, o *hubOptions) (*iothub.Client, error) {
	text, _, err := o.login.text(e)
	if err != nil {
		return nil, err
	}
	conn, err := iothub.ParseConnectionString(text)
	if err != nil {
		return nil, usagef(cmd, "--login: %w", err)
	}
	if o.hub != "" && !strings.EqualFold(o.hub, conn.HostName) {
		return nil, usagef(cmd, "--hub-name and --login differ: %q and %q", o.hub, conn.HostName)
	}
	client, err := o.login.httpClient(e)
	if err != nil {
		return nil, err
	}
	if client == nil {
		client = &http.Client{Timeout: callTimeout}
	}
	return iothub.New(conn, client, time.Now), nil
}

// hubNames returns the names of the embedded hubs of the local service.
func hubNames(cmd *cobra.Command, e *env) ([]string, error) {
	info, err := readInfo(cmd, e)
	return namesFrom(info.Hubs, func(h wire.HubInfo) string { return h.HostName }), err
}

// deviceIDs returns IDs of devices at the hub that the command line names.
func deviceIDs(ctx context.Context, cmd *cobra.Command, e *env, o *hubOptions) ([]string, error) {
	client, err := hubClient(cmd, e, o)
	if err != nil {
		return nil, err
	}
	raw, err := client.Devices(ctx, maxTop)
	if err != nil {
		return nil, err
	}
	var devices []wire.HubDevice
	err = json.Unmarshal(raw, &devices)
	return namesFrom(devices, func(d wire.HubDevice) string { return d.DeviceID }), err
}

// hubAccess returns the connection string of an embedded hub.
func hubAccess(hubs []wire.HubInfo, name string) (string, error) {
	for _, hub := range hubs {
		text, embedded := hub.ConnectionStrings[dps.HubOwnerPolicy]
		if embedded && (name == "" || strings.EqualFold(hub.HostName, name)) {
			return text, nil
		}
	}
	if name == "" {
		return "", errors.New("the service has no embedded hub")
	}
	return "", fmt.Errorf("the service has no embedded hub %s; for a remote hub, give its connection string with --login", name)
}

// maxTop is how many devices a hub lists in one call.
const maxTop = 1000

func hubDeviceList(e *env) *cobra.Command {
	var o hubOptions
	var top int
	cmd := &cobra.Command{
		Use: "list", Short: "List devices", Args: noArgs,
		Long:    "List the devices of a hub, sorted by ID, up to --top.",
		Example: "  mooring hub device list --top 20\n  mooring hub device list --hub-name hub-a.example",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if top < 1 || top > maxTop {
				return usagef(cmd, "--top: must be 1 to %d", maxTop)
			}
			client, err := hubClient(cmd, e, &o)
			if err != nil {
				return err
			}
			raw, err := client.Devices(cmd.Context(), top)
			if err != nil {
				return explainTLS(err)
			}
			return printDevices(e, o, raw, top)
		},
	}
	addHubFlags(cmd, e, &o)
	cmd.Flags().IntVar(&top, "top", maxTop, "maximum number")
	return cmd
}

func printDevices(e *env, o hubOptions, raw json.RawMessage, top int) error {
	var devices []wire.HubDevice
	if err := json.Unmarshal(raw, &devices); err != nil {
		return fmt.Errorf("reading the hub's answer: %w", err)
	}
	if len(devices) == top {
		fmt.Fprintf(e.err, "There may be more than %d.\n", top)
	}
	if o.json {
		return printJSON(e, raw)
	}
	if len(devices) == 0 {
		fmt.Fprintln(e.out, "The hub has no devices.")
		return nil
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE ID\tSTATUS\tAUTHENTICATION\tTHUMBPRINT")
	for _, d := range devices {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.DeviceID, d.Status, d.Authentication.Type, thumbprint(d.Authentication.X509Thumbprint))
	}
	return w.Flush()
}

func thumbprint(t wire.HubThumbprint) string {
	if t.PrimaryThumbprint == nil {
		return ""
	}
	return *t.PrimaryThumbprint
}

func hubDeviceShow(e *env) *cobra.Command {
	var o hubOptions
	cmd := &cobra.Command{
		Use: "show [DEVICE-ID]", Short: "Show one device",
		Long:    "Show the identity of one device.",
		Example: "  mooring hub device show sensor-7",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := identified(cmd, e, &o, args)
			if err != nil {
				return err
			}
			raw, err := client.Device(cmd.Context(), o.device)
			if err != nil {
				return explainTLS(err)
			}
			if o.json {
				return printJSON(e, raw)
			}
			return printDevice(e, raw)
		},
	}
	addHubFlags(cmd, e, &o)
	cmd.Flags().StringVarP(&o.device, "device-id", "d", "", "ID of the device")
	completeNames(cmd, "device-id", func(ctx context.Context, cmd *cobra.Command) ([]string, error) { return deviceIDs(ctx, cmd, e, &o) })
	return cmd
}

// identified reads which device a command is about and connects to its hub.
func identified(cmd *cobra.Command, e *env, o *hubOptions, args []string) (*iothub.Client, error) {
	var err error
	if o.device, err = oneID(cmd, "device-id", o.device, args); err != nil {
		return nil, err
	}
	return hubClient(cmd, e, o)
}

func printDevice(e *env, raw json.RawMessage) error {
	var d wire.HubDevice
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("reading the hub's answer: %w", err)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(
		w,
		"Device ID\t%s\nGeneration\t%s\nStatus\t%s\nAuthentication\t%s\n",
		d.DeviceID,
		d.GenerationID,
		d.Status,
		d.Authentication.Type,
	)
	if t := thumbprint(d.Authentication.X509Thumbprint); t != "" {
		fmt.Fprintf(w, "Thumbprint\t%s\n", t)
	}
	fmt.Fprintf(w, "Edge device\t%t\nETag\t%s\n", d.Capabilities.IotEdge, d.ETag)
	return w.Flush()
}

func hubTwinShow(e *env) *cobra.Command {
	var o hubOptions
	cmd := &cobra.Command{
		Use: "show [DEVICE-ID]", Short: "Show the twin of a device",
		Long:    "Show the twin of one device: tags, desired and reported properties.",
		Example: "  mooring hub twin show sensor-7",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := identified(cmd, e, &o, args)
			if err != nil {
				return err
			}
			raw, err := client.Twin(cmd.Context(), o.device)
			if err != nil {
				return explainTLS(err)
			}
			if o.json {
				return printJSON(e, raw)
			}
			return printTwin(e, raw)
		},
	}
	addHubFlags(cmd, e, &o)
	cmd.Flags().StringVarP(&o.device, "device-id", "d", "", "ID of the device")
	completeNames(cmd, "device-id", func(ctx context.Context, cmd *cobra.Command) ([]string, error) { return deviceIDs(ctx, cmd, e, &o) })
	return cmd
}

// printTwin shows the parts that people look for; --json has all of it.
func printTwin(e *env, raw json.RawMessage) error {
	var t wire.HubTwin
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("reading the hub's answer: %w", err)
	}
	fmt.Fprintf(e.out, "Device ID  %s\nVersion    %d\n", t.DeviceID, t.Version)
	for _, part := range []struct {
		name string
		body json.RawMessage
	}{{"Tags", t.Tags}, {"Desired", t.Properties.Desired}, {"Reported", t.Properties.Reported}} {
		var members map[string]any
		if err := json.Unmarshal(part.body, &members); err != nil {
			return fmt.Errorf("reading the hub's answer: %w", err)
		}
		delete(members, "$metadata")
		text, err := json.MarshalIndent(members, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out, "%s\n%s\n", part.name, text)
	}
	return nil
}

// oneID returns the identifier that a command was given, by flag or as its only
// argument.
func oneID(cmd *cobra.Command, flag, value string, args []string) (string, error) {
	switch {
	case len(args) > 1:
		return "", usagef(cmd, "unexpected argument %q", args[1])
	case len(args) == 1 && value != "" && value != args[0]:
		return "", usagef(cmd, "--%s and the argument differ: %q and %q", flag, value, args[0])
	case len(args) == 1:
		value = args[0]
	}
	if value == "" {
		return "", usagef(cmd, "--%s is required", flag)
	}
	return value, nil
}

// escaped returns an identifier as a path segment.
func escaped(id string) string { return url.PathEscape(id) }
