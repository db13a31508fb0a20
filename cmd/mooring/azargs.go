package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/plaintext"
)

// azArgs returns the arguments of a command line in the form that pflag reads. az iot dps
// takes more: a flag of true or false may have its value behind a blank (--edge-enabled
// true), and a list its values (--rights A B). It fails for an unknown command, before
// anything looks at the flags behind it.
func azArgs(root *cobra.Command, args []string) ([]string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) || args[0] == "help" {
		return args, nil
	}
	cmd, rest, err := root.Find(args)
	if err != nil {
		return args, nil //nolint:nilerr // cobra says it again, better
	}
	if cmd.HasSubCommands() {
		if name := firstWord(rest); name != "" {
			return nil, unknownCommand(cmd, name)
		}
	}
	path := strings.Fields(cmd.CommandPath())[1:]
	return append(path, azFlagValues(cmd, rest)...), nil
}

// firstWord returns the first argument that is neither a flag nor the value of one.
func firstWord(args []string) string {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return ""
		case strings.HasPrefix(arg, "--") && !strings.Contains(arg, "=") && arg != "--help" && arg != "--version":
			i++ // its value
		case !strings.HasPrefix(arg, "-"):
			return arg
		}
	}
	return ""
}

// azCommands are commands of az iot dps that have another name here.
var azCommands = map[string]string{
	"mooring iot": "mooring enrollment, for az iot dps enrollment", "mooring dps": "mooring service, for az iot dps",
	"mooring enrollment registration": "mooring registration", "mooring enrollment-group registration": "mooring registration",
	"mooring certificate update": "mooring certificate create --etag ETAG", "mooring access-policy": "mooring policy",
	"mooring service list": "mooring service show", "mooring device registration": "mooring device register",
}

// unknownCommand says which command was meant.
func unknownCommand(parent *cobra.Command, name string) error {
	var known []string
	for _, sub := range parent.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	if here, ok := azCommands[parent.CommandPath()+" "+name]; ok {
		return usagef(parent, "unknown command %q; use %s", name, here)
	}
	return usagef(parent, "unknown command %q%s", name, plaintext.DidYouMean(name, known))
}

// unknownFlag adds to pflag's error about an unknown flag which one was meant.
func unknownFlag(cmd *cobra.Command, err error) error {
	unknown, ok := err.(*pflag.NotExistError) //nolint:errorlint // as pflag returns it
	if !ok || len(unknown.GetSpecifiedName()) == 1 {
		return usageError{command: cmd.CommandPath(), err: err}
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	near := plaintext.Nearest(unknown.GetSpecifiedName(), known)
	if near == "" {
		return usageError{command: cmd.CommandPath(), err: err}
	}
	return usagef(cmd, "%w; did you mean --%s?", err, near)
}

// azFlagValues joins flags of a command with the values behind them.
func azFlagValues(cmd *cobra.Command, args []string) []string {
	out := make([]string, 0, len(args))
	identified := azIdentified(cmd, args)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		f := flagOf(cmd, arg)
		if f == nil || strings.Contains(arg, "=") {
			out = append(out, arg)
			continue
		}
		switch next := following(args, i+1); {
		case f.NoOptDefVal != "" && len(next) > 0 && (isTruth(next[0]) || f.Value.Type() == "string"):
			out, i = append(out, "--"+f.Name+"="+strings.ToLower(next[0])), i+1
		case f.NoOptDefVal != "" || len(next) == 0:
			out = append(out, arg)
		case isList(f):
			n := listLength(f, next, identified)
			for _, value := range next[:n] {
				out = append(out, "--"+f.Name+"="+value)
			}
			i += n
		default:
			out, i = append(out, azShorthand(cmd, f, arg, args), args[i+1]), i+1
		}
	}
	return out
}

// azShorthand returns -n as az iot dps policy means it: where the policy is named by its
// own flag, -n is the name of the service.
func azShorthand(cmd *cobra.Command, f *pflag.Flag, arg string, args []string) string {
	named := slices.ContainsFunc(args, func(a string) bool {
		name, _, _ := strings.Cut(a, "=")
		return name == "--pn" || name == "--policy-name"
	})
	if arg == "-n" && f.Name == "policy-name" && named && cmd.Flags().Lookup("dps-name") != nil {
		return "--dps-name"
	}
	return arg
}

// flagOf returns the flag of a command that an argument names, nil if it names none.
func flagOf(cmd *cobra.Command, arg string) *pflag.Flag {
	name, _, _ := strings.Cut(arg, "=")
	switch {
	case strings.HasPrefix(name, "--") && len(name) > 2:
		return cmd.Flags().Lookup(name[2:])
	case strings.HasPrefix(name, "-") && len(name) == 2:
		return cmd.Flags().ShorthandLookup(name[1:])
	default:
		return nil
	}
}

// following returns the arguments from i on, up to the next flag.
func following(args []string, i int) []string {
	next := args[min(i, len(args)):]
	if n := slices.IndexFunc(next, func(a string) bool { return len(a) > 1 && a[0] == '-' }); n >= 0 {
		next = next[:n]
	}
	return next
}

func isTruth(text string) bool {
	return strings.EqualFold(text, "true") || strings.EqualFold(text, "false")
}

func isList(f *pflag.Flag) bool {
	return f.Value.Type() == "stringSlice" || f.Value.Type() == "stringArray"
}

// azIdentified reports whether the command line names its record by a flag or before any
// flag: what stands behind the values of a list is then no name.
func azIdentified(cmd *cobra.Command, args []string) bool {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return true
	}
	return slices.ContainsFunc(args, func(arg string) bool {
		f := flagOf(cmd, arg)
		return f != nil && slices.Contains([]string{"enrollment-id", "policy-name"}, f.Name)
	})
}

// listLength returns how many of the arguments behind a list are its values: the first,
// and of the others all when the record is named elsewhere; else those that can be
// nothing but a right.
func listLength(f *pflag.Flag, next []string, identified bool) int {
	n := 1
	for n < len(next) {
		_, err := dps.ParseRights(next[n])
		if !identified && (f.Name != "rights" || err != nil) {
			break
		}
		n++
	}
	return n
}
