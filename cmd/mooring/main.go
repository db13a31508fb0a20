// Command mooring is a self-hosted Device Provisioning Service and the tools
// around it: one binary, one file for each subcommand.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of the binary.
const (
	exitOK    = 0
	exitError = 1 // the command was understood and failed
	exitUsage = 2 // the command line itself is wrong
)

// env is what a command may know of the world outside: tests give their own.
type env struct {
	args     []string
	getenv   func(string) string
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, &env{args: os.Args[1:], getenv: os.Getenv, in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, e *env) int {
	root := rootCommand(e)
	args, err := azArgs(root, e.args)
	if err == nil {
		root.SetArgs(args)
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(e.err, "mooring:", err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(e.err, "See '%s --help'.\n", usage.command)
		return exitUsage
	}
	return exitError
}

// rootCommand builds the whole command tree.
func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "mooring",
		Short: "A self-hosted Device Provisioning Service",
		Long: `Mooring is a self-hosted Device Provisioning Service. It implements the API of Azure
IoT Hub Device Provisioning Service, so the official SDKs work with it unmodified.

Start with 'mooring serve'. 'mooring info' then prints the settings for devices and
scripts.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetFlagErrorFunc(unknownFlag)
	root.AddCommand(
		serveCommand(e),
		infoCommand(e),
		enrollmentCommand(e),
		enrollmentGroupCommand(e),
		registrationCommand(e),
		whyCommand(e),
		certificateCommand(e),
		linkedHubCommand(e),
		allocateCommand(e),
		policyCommand(e),
		provisioningServiceCommand(e),
		auditCommand(e),
		hubCommand(e),
		pkiCommand(e),
		deviceCommand(e),
		benchCommand(e),
		backupCommand(e),
		restoreCommand(e),
	)
	root.AddCommand(portalCommand(e), versionCommand(e))
	addCompletion(root)
	return root
}

// usageError is a command line that cannot be understood: exit code 2.
type usageError struct {
	command string // the command path, for the hint
	err     error
}

func (u usageError) Error() string { return u.err.Error() }

func (u usageError) Unwrap() error { return u.err }

// usagef returns a usageError of cmd.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return usageError{command: cmd.CommandPath(), err: fmt.Errorf(format, args...)}
}

// noArgs refuses positional arguments, as wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return unknownCommand(cmd, args[0])
	}
	return usagef(cmd, "unexpected argument %q", args[0])
}

// group is a command that only holds subcommands: alone it prints its help.
func group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	cmd.AddCommand(subs...)
	return cmd
}
