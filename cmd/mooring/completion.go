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
)

// addCompletion adds cobra's commands that print completion scripts, in the manner of
// the others: wrong usage is refused, and each has an example. It comes last, when the
// root has its commands.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "completion" })
	completion := root.Commands()[i]
	completion.Short = "Print the script that completes commands in your shell"
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

// azFlags are the short names that az iot gives to flags of several letters.
// Source: azure-iot-cli-extension, azext_iot/_params.py.
var azFlags = map[string]string{
	"eid": "enrollment-id", "rid": "registration-id", "at": "attestation-type",
	"cp": "certificate-path", "scp": "secondary-certificate-path",
	"rc": "remove-certificate", "rsc": "remove-secondary-certificate",
	"cn": "ca-name", "scn": "secondary-ca-name", "ek": "endorsement-key",
	"pk": "primary-key", "sk": "secondary-key", "kt": "key-type", "keys": "show-keys",
	"ps": "provisioning-status", "ap": "allocation-policy", "ih": "iot-hubs", "rp": "reprovision-policy",
	"tags": "initial-twin-tags", "props": "initial-twin-properties", "device-info": "device-information",
	"ee": "edge-enabled", "wh": "webhook-url", "av": "api-version",
}

// azNames lets a command take the short names of az iot beside its flags' own.
func azNames(cmd *cobra.Command) {
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
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
func completeEnrollments(cmd *cobra.Command, e *env, kind dps.EntryKind, login *string) {
	ids := func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client, err := newServiceClient(cmd, e, *login)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		return idsBeginning(ctx, client, kind, typed), cobra.ShellCompDirectiveNoFileComp
	}
	mustComplete(cmd.RegisterFlagCompletionFunc("enrollment-id", ids))
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return ids(cmd, args, typed)
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
