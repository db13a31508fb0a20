package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// print shows one hub and how it is doing; as JSON the hub alone, as the control plane
// has it.
func (c *hubsClient) print(ctx context.Context, e *env, o linkedHubOptions, hub *wire.LinkedHub) error {
	if o.json {
		return printJSON(e, hub)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Name\t%s\nKind\t%s\nConnection string\t%s\nLocation\t%s\nAllocation weight\t%d\nApply allocation policy\t%s\n",
		hub.Name, hub.Kind, hub.ConnectionString, printable(hub.Location), *hub.AllocationWeight, yesNo(*hub.ApplyAllocationPolicy))
	var all wire.HubStatusList
	if err := c.get(ctx, service.Request{Path: wire.LinkedHubsPath}, &all); err != nil {
		return flushed(w, err)
	}
	for _, s := range all.Value {
		if strings.EqualFold(s.Name, hub.Name) {
			printHealth(w, s)
		}
	}
	return w.Flush()
}

func printHealth(w *tabwriter.Writer, s wire.HubStatus) {
	h := s.Health
	state := h.State
	if h.Since != "" {
		state += " since " + shortTime(h.Since)
	}
	fmt.Fprintf(w, "State\t%s\n", state)
	if h.LastError != "" {
		fmt.Fprintf(w, "Last error\t%s\n", printable(h.LastError))
	}
	if h.PausedUntil != "" {
		fmt.Fprintf(w, "Paused until\t%s\n", shortTime(h.PausedUntil))
	}
	if h.WritesPerMinute > 0 {
		fmt.Fprintf(w, "Writes per minute\t%d\n", h.WritesPerMinute)
	}
	fmt.Fprintf(w, "Waiting\t%s\nPending cleanups\t%d\n", waiting(h), s.PendingCleanups)
}

// waiting says how many registrations wait, and for how long.
func waiting(h wire.HubHealth) string {
	text := strconv.Itoa(h.Waiting)
	if h.Waiting > 0 {
		text += " (" + (time.Duration(h.EstimatedWaitSeconds) * time.Second).String() + ")"
	}
	return text
}

func linkedHubList(e *env) *cobra.Command {
	var o linkedHubOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List linked hubs", Args: noArgs,
		Long: `List the linked hubs and how they are doing: whether they answer, how many
registrations wait for their turn at them, and from how many identities they are still
to be cleaned. A hub that was not called since the service started is unknown.`,
		Example: "  mooring linked-hub list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := newHubsClient(cmd, e, o.login)
			if err != nil {
				return err
			}
			defer client.close()
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			var all wire.HubStatusList
			if err := client.get(ctx, service.Request{Path: wire.LinkedHubsPath}, &all); err != nil {
				return explainTrust(err)
			}
			if o.json {
				return printJSON(e, all)
			}
			return printHubs(e, all.Value)
		},
	}
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &o.login)
	azNames(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func printHubs(e *env, hubs []wire.HubStatus) error {
	if len(hubs) == 0 {
		fmt.Fprintln(e.out, "No hub is linked. Registrations fail until you link one.")
		return nil
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tLOCATION\tWEIGHT\tAPPLIES\tSTATE\tWAITING\tCLEANUPS")
	for _, h := range hubs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\n", h.Name, h.Kind, printable(h.Location), h.AllocationWeight,
			yesNo(h.ApplyAllocationPolicy), h.Health.State, waiting(h.Health), h.PendingCleanups)
	}
	return w.Flush()
}

func linkedHubCleanups(e *env) *cobra.Command {
	var top int
	var o linkedHubOptions
	cmd := &cobra.Command{
		Use: "cleanups", Short: "List pending cleanups at hubs", Args: noArgs,
		Long: `List the device identities that must still be removed from a hub because the device has
moved to another hub. The service retries until the hub no longer has them.`,
		Example: "  mooring linked-hub cleanups --top 20",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if top < 1 {
				return usagef(cmd, "--top: must be at least 1")
			}
			client, err := newHubsClient(cmd, e, o.login)
			if err != nil {
				return err
			}
			defer client.close()
			page, err := client.cleanups(cmd.Context(), top)
			if err != nil {
				return explainTrust(err)
			}
			if page.Continuation != "" {
				fmt.Fprintln(e.err, "There are more; increase --top.")
			}
			if o.json {
				return printJSON(e, page)
			}
			return printCleanups(e, page.Value)
		},
	}
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &o.login)
	azNames(cmd)
	cmd.Flags().IntVar(&top, "top", maxTop, "maximum number")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// cleanups reads pages until there are top.
func (c *hubsClient) cleanups(ctx context.Context, top int) (wire.CleanupPage, error) {
	all := wire.CleanupPage{Value: []wire.Cleanup{}}
	for {
		query := url.Values{"top": {strconv.Itoa(min(top-len(all.Value), maxPage))}}
		if all.Continuation != "" {
			query.Set("continuation", all.Continuation)
		}
		var page wire.CleanupPage
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := c.get(call, service.Request{Path: wire.CleanupsPath, Query: query}, &page)
		cancel()
		if err != nil {
			return all, err
		}
		all.Value, all.Continuation = append(all.Value, page.Value...), page.Continuation
		if page.Continuation == "" || len(all.Value) >= top {
			return all, nil
		}
	}
}

func printCleanups(e *env, all []wire.Cleanup) error {
	if len(all) == 0 {
		fmt.Fprintln(e.out, "There are no pending cleanups.")
		return nil
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HUB\tDEVICE ID\tREGISTRATION ID\tSINCE\tATTEMPTS\tNEXT ATTEMPT\tLAST ERROR")
	for _, m := range all {
		lastError := ""
		if m.LastError != "" {
			lastError = printable(m.LastError)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", m.Hub, m.DeviceID, m.RegistrationID, shortTime(m.Since), m.Attempts,
			cmp.Or(shortTime(m.NextAttempt), "-"), lastError)
	}
	return w.Flush()
}
