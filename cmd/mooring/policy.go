package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/plaintext"
	"github.com/mooring-iot/mooring/wire"
)

func policyCommand(e *env) *cobra.Command {
	return group("policy", "Manage shared access policies",
		`Manage shared access policies. A key of a policy grants the rights of the policy.

Rights: ServiceConfig, EnrollmentRead, EnrollmentWrite, DeviceConnect,
RegistrationStatusRead, RegistrationStatusWrite. A write right includes the read right;
EnrollmentWrite also includes the rights on registration records. At least one policy must
have ServiceConfig.

Only Mooring supports these commands; for Azure use az iot dps policy.`,
		policyCreate(e), policyShow(e), policyList(e), policyUpdate(e), policyDelete(e))
}

// rights are the words that --rights takes.
var rights = []string{
	"ServiceConfig", "EnrollmentRead", "EnrollmentWrite", "DeviceConnect", "RegistrationStatusRead", "RegistrationStatusWrite",
}

// policyOptions are what the policy commands take.
type policyOptions struct {
	name               string
	rights             []string
	primary, secondary string
	regenerate         string
	login              login
	showKeys, hideKeys bool
	yes, json          bool
}

func addPolicyFlags(cmd *cobra.Command, e *env, o *policyOptions) {
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &o.login)
	azNames(cmd)
	cmd.Flags().StringVarP(&o.name, "policy-name", "n", "", "name of the policy")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	completeNames(cmd, "policy-name", func(ctx context.Context, cmd *cobra.Command) ([]string, error) {
		return policyNames(ctx, cmd, e, o.login)
	})
}

func addPolicyContentFlags(cmd *cobra.Command, o *policyOptions) {
	cmd.Flags().StringSliceVarP(&o.rights, "rights", "r", nil, "rights of the policy, separated by commas or blanks")
	completeWords(cmd, "rights", rights)
	cmd.Flags().StringVar(&o.primary, "primary-key", "", "primary key, base64 of 16 to 64 bytes, or @FILE; update: '' generates a new one")
	cmd.Flags().StringVar(&o.secondary, "secondary-key", "",
		"secondary key, base64 of 16 to 64 bytes, or @FILE; update: '' generates a new one")
}

// onPolicy runs act on the named policy of the running service.
func onPolicy(e *env, o *policyOptions, act func(context.Context, *policyClient) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		var err error
		if o.name, err = oneID(cmd, "policy-name", o.name, args); err != nil {
			return err
		}
		if err := o.check(cmd); err != nil {
			return err
		}
		client, err := newPolicyClient(cmd, e, o.login)
		if err != nil {
			return err
		}
		return act(cmd.Context(), client)
	}
}

// check refuses what can be seen to be wrong without asking the service.
func (o *policyOptions) check(cmd *cobra.Command) error {
	if _, err := dps.ParsePolicyName(o.name); err != nil {
		return usagef(cmd, "--policy-name: %s", strings.TrimPrefix(dps.MessageOf(err), "keyName: "))
	}
	o.rights = splitList(o.rights)
	if cmd.Flags().Changed("rights") {
		if _, err := dps.ParseRights(strings.Join(o.rights, ",")); err != nil {
			return usagef(cmd, "--%s%s; rights are %s", dps.MessageOf(err), o.nearestRight(), strings.Join(rights, ", "))
		}
	}
	for flag, key := range map[string]*string{"primary-key": &o.primary, "secondary-key": &o.secondary} {
		text, err := textOrFile("--"+flag, *key)
		if err != nil {
			return err
		}
		*key = strings.TrimSpace(text)
		if _, err := dps.ParseKey("--"+flag, *key); err != nil {
			return usagef(cmd, "%s", dps.MessageOf(err))
		}
	}
	return nil
}

// nearestRight is the hint for the first word that is not a right.
func (o *policyOptions) nearestRight() string {
	for _, word := range o.rights {
		if _, err := dps.ParseRights(word); err != nil {
			return plaintext.DidYouMean(word, rights)
		}
	}
	return ""
}

func policyCreate(e *env) *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{
		Use: "create [NAME]", Short: "Create a policy",
		Long:    "Create a policy, and print it with its keys. Keys that you do not give are generated.",
		Example: "  mooring policy create --policy-name line-7 --rights EnrollmentRead,RegistrationStatusRead",
	}
	run := onPolicy(e, &o, func(ctx context.Context, c *policyClient) error {
		err := c.change(ctx, func(all []wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error) {
			if at(all, o.name) >= 0 {
				return nil, fmt.Errorf("policy %s exists already; change it with: mooring policy update", o.name)
			}
			return append(all, o.applied(wire.SharedAccessPolicy{KeyName: o.name})), nil
		})
		if err != nil {
			return err
		}
		return c.show(ctx, e, o)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(o.rights) == 0 {
			return usagef(cmd, "--rights is required")
		}
		return run(cmd, args)
	}
	addPolicyFlags(cmd, e, &o)
	addPolicyContentFlags(cmd, &o)
	cmd.ValidArgsFunction = cobra.NoFileCompletions // a new one has a new name
	return cmd
}

func policyShow(e *env) *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{
		Use: "show [NAME]", Short: "Show a policy",
		Long:    "Show a policy with its keys and its connection string. Treat the output as a secret.",
		Example: "  mooring policy show --policy-name provisioningserviceowner",
	}
	cmd.RunE = onPolicy(e, &o, func(ctx context.Context, c *policyClient) error { return c.show(ctx, e, o) })
	addPolicyFlags(cmd, e, &o)
	return cmd
}

func policyList(e *env) *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List policies", Args: noArgs,
		Long:    "List the policies with their rights, sorted by name. --json --show-keys includes their keys.",
		Example: "  mooring policy list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := newPolicyClient(cmd, e, o.login)
			if err != nil {
				return err
			}
			raw, all, err := client.list(cmd.Context())
			if err != nil {
				return err
			}
			if o.json && !o.showKeys {
				return printJSON(e, wire.List[policyWithoutKeys]{Value: withoutKeys(all)})
			}
			if o.json {
				return printJSON(e, raw)
			}
			w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tRIGHTS")
			for _, p := range all {
				fmt.Fprintf(w, "%s\t%s\n", p.KeyName, p.Rights)
			}
			return w.Flush()
		},
	}
	addDataFlag(cmd)
	addControlLoginFlags(cmd, &o.login)
	azNames(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&o.showKeys, "show-keys", false, "include the keys in --json; treat the output as a secret")
	return cmd
}

// policyWithoutKeys is a policy as it is listed.
type policyWithoutKeys struct {
	KeyName string `json:"keyName"`
	Rights  string `json:"rights"`
}

func withoutKeys(all []wire.SharedAccessPolicy) []policyWithoutKeys {
	out := make([]policyWithoutKeys, len(all))
	for i, p := range all {
		out[i] = policyWithoutKeys{p.KeyName, p.Rights}
	}
	return out
}

func policyUpdate(e *env) *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{
		Use: "update [NAME]", Short: "Change rights or keys of a policy",
		Long: `Change the rights or the keys of a policy. The old key stops working immediately. To
rotate a key without downtime, switch clients to the secondary key, regenerate the primary
key, and switch back. Keys are shown only with --show-keys, or when they change.`,
		Example: `  mooring policy update --policy-name line-7 --rights EnrollmentRead
  mooring policy update --policy-name line-7 --regenerate primary`,
	}
	run := onPolicy(e, &o, func(ctx context.Context, c *policyClient) error {
		err := c.change(ctx, func(all []wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error) {
			i := at(all, o.name)
			if i < 0 {
				return nil, noPolicy(o.name)
			}
			all[i] = o.applied(all[i])
			return all, nil
		})
		if err != nil {
			return err
		}
		return c.show(ctx, e, o)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.readRegenerate(cmd); err != nil {
			return err
		}
		if len(o.rights) == 0 && o.primary == "" && o.secondary == "" {
			return usagef(cmd, "nothing to change: give --rights, --primary-key, --secondary-key or --regenerate")
		}
		o.hideKeys = o.primary == "" && o.secondary == "" && !o.showKeys
		return run(cmd, args)
	}
	addPolicyFlags(cmd, e, &o)
	addPolicyContentFlags(cmd, &o)
	cmd.Flags().BoolVar(&o.showKeys, "show-keys", false, "show the keys even if they did not change; treat the output as a secret")
	cmd.Flags().StringVar(&o.regenerate, "regenerate", "", "generate a new key: primary, secondary or both")
	return cmd
}

// readRegenerate puts random keys where the command line asks for them.
func (o *policyOptions) readRegenerate(cmd *cobra.Command) error {
	var slots []*string
	switch o.regenerate {
	case "": // as az iot dps: an empty key is replaced by a new one
		for flag, slot := range map[string]*string{"primary-key": &o.primary, "secondary-key": &o.secondary} {
			if cmd.Flags().Changed(flag) && *slot == "" {
				slots = append(slots, slot)
			}
		}
	case "primary":
		slots = []*string{&o.primary}
	case "secondary":
		slots = []*string{&o.secondary}
	case "both":
		slots = []*string{&o.primary, &o.secondary}
	default:
		return usagef(cmd, "--regenerate: must be primary, secondary or both")
	}
	for _, slot := range slots {
		if *slot != "" {
			return usagef(cmd, "--regenerate %s and a given key cannot be combined", o.regenerate)
		}
		*slot = dps.NewKey().Base64()
	}
	return nil
}

// applied returns a policy with what the command line says.
func (o *policyOptions) applied(p wire.SharedAccessPolicy) wire.SharedAccessPolicy {
	if len(o.rights) > 0 {
		p.Rights = strings.Join(o.rights, ", ")
	}
	if o.primary != "" {
		p.PrimaryKey = o.primary
	}
	if o.secondary != "" {
		p.SecondaryKey = o.secondary
	}
	return p
}

func policyDelete(e *env) *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{
		Use: "delete [NAME]", Short: "Delete a policy",
		Long:    "Delete a policy. Its keys stop working immediately.",
		Example: "  mooring policy delete --policy-name line-7 --yes",
	}
	cmd.RunE = onPolicy(e, &o, func(ctx context.Context, c *policyClient) error {
		if _, _, err := c.get(ctx, o.name); err != nil {
			return err
		}
		if err := confirmPolicyDelete(e, o); err != nil {
			return err
		}
		err := c.change(ctx, func(all []wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error) {
			i := at(all, o.name)
			if i < 0 {
				return nil, noPolicy(o.name)
			}
			return slices.Delete(all, i, i+1), nil
		})
		if err != nil || o.json {
			return err
		}
		fmt.Fprintf(e.out, "Policy %s is deleted.\n", o.name)
		return nil
	})
	addPolicyFlags(cmd, e, &o)
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "delete without asking")
	return cmd
}

// maxAnswerLine bounds what a person types at a question, in bytes.
const maxAnswerLine = 1 << 10

// confirmPolicyDelete asks, unless --yes says it all. Nobody there means no.
func confirmPolicyDelete(e *env, o policyOptions) error {
	if o.yes {
		return nil
	}
	fmt.Fprintf(e.err, "Clients that use policy %s will be refused. Delete it? [y/N] ", o.name)
	line, err := bufio.NewReader(io.LimitReader(e.in, maxAnswerLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	default:
		return fmt.Errorf("policy %s was not deleted; add --yes to skip the question", o.name)
	}
}

// at returns the index of a policy, -1 if it is not there.
func at(all []wire.SharedAccessPolicy, name string) int {
	return slices.IndexFunc(all, func(p wire.SharedAccessPolicy) bool { return strings.EqualFold(p.KeyName, name) })
}

func noPolicy(name string) error { return fmt.Errorf("there is no policy %s", name) }

// policyClient manages policies through the control plane.
type policyClient struct {
	control *controlClient
	host    string // of connection strings
}

func newPolicyClient(cmd *cobra.Command, e *env, l login) (*policyClient, error) {
	control, err := newControlClient(cmd, e, l)
	if err != nil {
		return nil, err
	}
	return &policyClient{control: control, host: control.host}, nil
}

func (c *policyClient) list(ctx context.Context) (json.RawMessage, []wire.SharedAccessPolicy, error) {
	raw, err := c.control.call(ctx, http.MethodPost, "/listkeys", "", nil)
	if err != nil {
		return nil, nil, err
	}
	var all wire.List[wire.SharedAccessPolicy]
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, nil, fmt.Errorf("reading the service's answer: %w", err)
	}
	return raw, all.Value, nil
}

func (c *policyClient) get(ctx context.Context, name string) (json.RawMessage, wire.SharedAccessPolicy, error) {
	var p wire.SharedAccessPolicy
	raw, err := c.control.call(ctx, http.MethodPost, "/keys/"+escaped(name)+"/listkeys", "", nil)
	if err != nil {
		return nil, p, err
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, p, fmt.Errorf("reading the service's answer: %w", err)
	}
	return raw, p, nil
}

// change writes what edit makes of all policies. Policies have no resource of their
// own: the whole service is read and put back, at the version that was read.
func (c *policyClient) change(ctx context.Context, edit func([]wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error)) error {
	raw, err := c.control.call(ctx, http.MethodGet, "", "", nil)
	if err != nil {
		return err
	}
	var resource wire.ProvisioningService
	var members, properties map[string]json.RawMessage
	for _, into := range []any{&resource, &members} {
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("reading the service's answer: %w", err)
		}
	}
	if err := json.Unmarshal(members["properties"], &properties); err != nil {
		return fmt.Errorf("reading the service's answer: %w", err)
	}
	_, all, err := c.list(ctx)
	if err != nil {
		return err
	}
	if all, err = edit(all); err != nil {
		return err
	}
	if properties["authorizationPolicies"], err = json.Marshal(all); err != nil {
		return err
	}
	if members["properties"], err = json.Marshal(properties); err != nil {
		return err
	}
	_, err = c.control.call(ctx, http.MethodPut, "", resource.ETag, members)
	return err
}

// show prints one policy.
func (c *policyClient) show(ctx context.Context, e *env, o policyOptions) error {
	raw, p, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	if o.hideKeys {
		return o.printWithoutKeys(e, p)
	}
	if o.json {
		return printJSON(e, raw)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(
		w,
		"Name\t%s\nRights\t%s\nPrimary key\t%s\nSecondary key\t%s\nConnection string\tHostName=%s;SharedAccessKeyName=%s;SharedAccessKey=%s\n",
		p.KeyName,
		p.Rights,
		p.PrimaryKey,
		p.SecondaryKey,
		c.host,
		p.KeyName,
		p.PrimaryKey,
	)
	return w.Flush()
}

// printWithoutKeys shows a policy whose keys nobody asked for.
func (o *policyOptions) printWithoutKeys(e *env, p wire.SharedAccessPolicy) error {
	if o.json {
		return printJSON(e, policyWithoutKeys{p.KeyName, p.Rights})
	}
	_, err := fmt.Fprintf(e.out, "Name    %s\nRights  %s\n", p.KeyName, p.Rights)
	return err
}
