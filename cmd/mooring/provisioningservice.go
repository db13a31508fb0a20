package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func provisioningServiceCommand(e *env) *cobra.Command {
	return group("service", "Show and change the provisioning service",
		"Show and change the provisioning service: its allocation policy and its tags.",
		serviceShow(e), serviceUpdate(e))
}

func serviceShow(e *env) *cobra.Command {
	var asJSON bool
	var l login
	cmd := &cobra.Command{
		Use: "show", Short: "Show the provisioning service", Args: noArgs,
		Long:    "Show the provisioning service, as 'az iot dps show' does.",
		Example: "  mooring service show --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := newHubsClient(cmd, e, l)
			if err != nil {
				return err
			}
			defer client.close()
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			s, err := client.control.Get(ctx)
			if err != nil {
				return explainTrust(err)
			}
			return printService(e, s, asJSON)
		},
	}
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &l)
	azNames(cmd, "name", "dps-name", "tags", "tags")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func serviceUpdate(e *env) *cobra.Command {
	var policy, etag string
	var tags []string
	var asJSON bool
	var l login
	cmd := &cobra.Command{
		Use: "update", Short: "Change the provisioning service", Args: noArgs,
		Long: `Change the default allocation policy or the tags of the provisioning service. The policy
applies to enrollments without one. Settings that you do not give are kept.`,
		Example: `  mooring service update --allocation-policy geoLatency
  mooring service update --tags site=hall-3 --tags line=7`,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		changed := cmd.Flags().Changed
		if !changed("allocation-policy") && !changed("tags") {
			return usagef(cmd, "nothing to change: give --allocation-policy or --tags")
		}
		all, err := parseTags(cmd, tags)
		if err != nil {
			return err
		}
		if changed("allocation-policy") && !isServicePolicy(policy) {
			return usagef(cmd, "--allocation-policy: must be hashed, geoLatency or static; custom is for enrollments")
		}
		client, err := newHubsClient(cmd, e, l)
		if err != nil {
			return err
		}
		defer client.close()
		ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
		defer cancel()
		s, err := client.control.Update(ctx, func(draft *wire.ProvisioningServiceRequest) error {
			if policy != "" {
				draft.Properties.AllocationPolicy = policy
			}
			if changed("tags") {
				draft.Tags = all
			}
			return nil
		}, &service.UpdateOptions{ETag: etag})
		if err != nil {
			return explainTrust(err)
		}
		return printService(e, s, asJSON)
	}
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &l)
	azNames(cmd, "name", "dps-name", "tags", "tags")
	cmd.Flags().
		StringVar(&policy, "allocation-policy", "", "default allocation policy: hashed, geoLatency or static")
	cmd.Flags().StringArrayVar(&tags, "tags", nil, "all tags, each as NAME=VALUE; repeatable; '' removes all")
	cmd.Flags().StringVarP(&etag, "etag", "e", "", "change only this version (default: the current one)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	completeWords(cmd, "allocation-policy", []string{string(dps.Hashed), string(dps.GeoLatency), string(dps.Static)})
	return cmd
}

func isServicePolicy(text string) bool {
	for _, p := range []dps.AllocationPolicy{dps.Hashed, dps.GeoLatency, dps.Static} {
		if strings.EqualFold(string(p), text) {
			return true
		}
	}
	return false
}

// parseTags reads NAME=VALUE; a single empty text is no tag.
func parseTags(cmd *cobra.Command, tags []string) (map[string]string, error) {
	all := map[string]string{}
	if len(tags) == 1 && tags[0] == "" {
		return all, nil
	}
	for _, tag := range tags {
		name, value, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return nil, usagef(cmd, "--tags: %q is not NAME=VALUE", tag)
		}
		all[name] = value
	}
	return all, nil
}

func printService(e *env, s *wire.ProvisioningService, asJSON bool) error {
	if asJSON {
		return printJSON(e, s)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Name\t%s\nID scope\t%s\nService endpoint\t%s\nAllocation policy\t%s\nLinked hubs\t%d\nETag\t%s\n",
		s.Name, s.Properties.IDScope, s.Properties.ServiceOperationsHostName, s.Properties.AllocationPolicy, len(s.Properties.IotHubs), s.ETag)
	for _, name := range sortedKeys(s.Tags) {
		fmt.Fprintf(w, "Tag %s\t%s\n", printable(name), printable(s.Tags[name]))
	}
	return w.Flush()
}
