package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// addCompletion adds cobra's commands that print completion scripts, in the manner of
// the others: wrong usage is refused, and each has an example. It comes last, when the
// root has its commands.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "completion" })
	completion := root.Commands()[i]
	completion.Short = "Print the completion script for your shell"
	completion.Args = noArgs
	completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	examples := map[string]string{
		"bash":       "  source <(mooring completion bash)",
		"zsh":        "  source <(mooring completion zsh)",
		"fish":       "  mooring completion fish | source",
		"powershell": "  mooring completion powershell | Out-String | Invoke-Expression",
	}
	for _, shell := range completion.Commands() {
		shell.Short = "Print the completion script for " + shell.Name()
		shell.Example = examples[shell.Name()]
		shell.Args = noArgs
	}
}

// azFlags are other names of flags in az iot dps, most of them short names of several
// letters. Sources: azure-iot-cli-extension, azext_iot/_params.py and dps/params.py;
// azure-cli, command_modules/iot/_params.py.
var azFlags = map[string]string{
	"eid": "enrollment-id", "rid": "registration-id", "at": "attestation-type",
	"cp": "certificate-path", "scp": "secondary-certificate-path",
	"rc": "remove-certificate", "rsc": "remove-secondary-certificate",
	"cn": "ca-name", "scn": "secondary-ca-name", "root-ca-name": "ca-name", "secondary-root-ca-name": "secondary-ca-name",
	"ek": "endorsement-key", "pk": "primary-key", "sk": "secondary-key", "kt": "key-type", "keys": "show-keys",
	"ps": "provisioning-status", "ap": "allocation-policy", "ih": "iot-hubs", "rp": "reprovision-policy",
	"tags": "initial-twin-tags", "props": "initial-twin-properties", "device-info": "device-information",
	"ee": "edge-enabled", "wh": "webhook-url", "av": "api-version",
	"pn": "policy-name", "linked-hub": "hub-name", "hn": "hub-name", "gid": "enrollment-group-id", "group-id": "enrollment-group-id",
}

// azNames lets a command take the names of az iot dps besides its flags' own. more are names
// that only this command takes, each followed by that of its flag.
func azNames(cmd *cobra.Command, more ...string) {
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if i := slices.Index(more, name); i >= 0 && i%2 == 0 {
			return pflag.NormalizedName(more[i+1])
		}
		if long, ok := azFlags[name]; ok {
			name = long
		}
		return pflag.NormalizedName(name)
	})
}

// completeWords lets the shell complete the words that a flag takes.
func completeWords(cmd *cobra.Command, flag string, words []string) {
	mustComplete(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

// mustComplete fails only for a flag that the command does not have.
func mustComplete(err error) {
	if err != nil {
		panic(err)
	}
}

// Bounds of what a shell waits for and shows.
const (
	completeWithin = 2 * time.Second
	completeMost   = 100
)

// completeEnrollments lets the shell complete IDs of enrollments, as the first argument
// and as --enrollment-id, when the service can be asked.
func completeEnrollments(cmd *cobra.Command, e *env, kind dps.EntryKind, l *login) {
	ids := func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client, err := newServiceClient(cmd, e, *l)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		return idsBeginning(ctx, client, kind, typed), cobra.ShellCompDirectiveNoFileComp
	}
	mustComplete(cmd.RegisterFlagCompletionFunc("enrollment-id", ids))
	completeArgument(cmd, ids)
}

// completeArgument lets the shell complete the first argument, and no further one.
func completeArgument(cmd *cobra.Command, first cobra.CompletionFunc) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return first(cmd, args, typed)
	}
}

// idsBeginning returns up to completeMost IDs that begin with what was typed. Services
// that ignore conditions are asked for one page, too.
func idsBeginning(ctx context.Context, client *service.Client, kind dps.EntryKind, typed string) []string {
	text := "SELECT *"
	if typed != "" {
		member := "registrationId"
		if kind == dps.Group {
			member = "enrollmentGroupId"
		}
		text = fmt.Sprintf("SELECT * WHERE STARTS_WITH(%s, '%s')", member, strings.ReplaceAll(typed, "'", "''"))
	}
	page, err := records(client, kind).QueryPage(ctx, service.Query{Text: text, PageSize: completeMost})
	if err != nil {
		return nil
	}
	var ids []string
	for _, r := range page.Items {
		if strings.HasPrefix(strings.ToLower(idOf(r)), strings.ToLower(typed)) {
			ids = append(ids, idOf(r))
		}
	}
	return ids
}

// completeNames lets the shell complete names of records, as the first argument and as a
// flag, when the service can be asked.
func completeNames(cmd *cobra.Command, flag string, fetch func(context.Context, *cobra.Command) ([]string, error)) {
	completeFlag(cmd, flag, fetch)
	names, _ := cmd.GetFlagCompletionFunc(flag)
	completeArgument(cmd, names)
}

// completeFlag lets the shell complete names of records as a flag.
func completeFlag(cmd *cobra.Command, flag string, fetch func(context.Context, *cobra.Command) ([]string, error)) {
	names := func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		all, err := fetch(ctx, cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all = slices.DeleteFunc(all, func(name string) bool {
			return !strings.HasPrefix(strings.ToLower(name), strings.ToLower(typed))
		})
		return all[:min(len(all), completeMost)], cobra.ShellCompDirectiveNoFileComp
	}
	mustComplete(cmd.RegisterFlagCompletionFunc(flag, names))
}

func certificateNames(ctx context.Context, cmd *cobra.Command, e *env, l login) ([]string, error) {
	plane, _, err := newControlPlane(cmd, e, l)
	if err != nil {
		return nil, err
	}
	all, err := plane.Certificates().List(ctx)
	return namesFrom(all, func(c wire.CACertificate) string { return c.Name }), err
}

func policyNames(ctx context.Context, cmd *cobra.Command, e *env, l login) ([]string, error) {
	plane, _, err := newControlPlane(cmd, e, l)
	if err != nil {
		return nil, err
	}
	all, err := plane.Policies().List(ctx)
	return namesFrom(all, func(p wire.SharedAccessPolicy) string { return p.KeyName }), err
}

func linkedHubNames(ctx context.Context, cmd *cobra.Command, e *env, l login) ([]string, error) {
	plane, _, err := newControlPlane(cmd, e, l)
	if err != nil {
		return nil, err
	}
	all, err := plane.LinkedHubs().List(ctx)
	return namesFrom(all, func(h wire.LinkedHub) string { return h.Name }), err
}

// completeRegistrations lets the shell complete registration IDs: of registration records
// that begin with what was typed, and of individual enrollments.
func completeRegistrations(cmd *cobra.Command, e *env, flag string, l *login) {
	ids := func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client, err := newServiceClient(cmd, e, *l)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		all := idsBeginning(ctx, client, dps.Individual, typed)
		if typed != "" {
			all = append(all, registeredBeginning(ctx, client, typed)...)
		}
		slices.Sort(all)
		return slices.Compact(all), cobra.ShellCompDirectiveNoFileComp
	}
	if flag != "" {
		mustComplete(cmd.RegisterFlagCompletionFunc(flag, ids))
	}
	completeArgument(cmd, ids)
}

// registeredBeginning returns IDs of registration records; of a service that cannot be
// asked, none.
func registeredBeginning(ctx context.Context, client *service.Client, typed string) []string {
	page, err := client.Registrations().Find(ctx, service.RegistrationFilter{StartsWith: typed, PageSize: completeMost})
	if err != nil {
		return nil
	}
	return namesFrom(page.Value, func(r wire.RegistrationRecord) string { return r.RegistrationID })
}

// completeGroups lets the shell complete IDs of enrollment groups as a flag.
func completeGroups(cmd *cobra.Command, e *env, flag string, l *login) {
	completeFlag(cmd, flag, func(ctx context.Context, cmd *cobra.Command) ([]string, error) {
		client, err := newServiceClient(cmd, e, *l)
		if err != nil {
			return nil, err
		}
		defer client.CloseIdleConnections()
		return idsBeginning(ctx, client, dps.Group, ""), nil
	})
}

func namesFrom[T any](all []T, name func(T) string) []string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = name(one)
	}
	return names
}
