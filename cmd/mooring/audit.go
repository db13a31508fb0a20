package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// defaultAuditTop is how many entries the audit command shows unless it is told.
const defaultAuditTop = 100

// auditOptions are what the audit command takes.
type auditOptions struct {
	from, to, principal, operation, kind, id, result string
	login                                            login
	top                                              int
	json                                             bool
}

func auditCommand(e *env) *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{
		Use: "audit", Short: "Show who changed what", Args: noArgs,
		Long: `Show the management changes of a service, newest first: time, policy or token, operation,
record and result. --json also has the etags of the record before and after.

A bulk change is one entry with counts. Calls that were refused for a missing right are
not included; they are in the log of the service.

--from and --to accept a time (2026-03-01T12:00:00Z), a day (2026-03-01, 00:00 UTC), or an
age (36h, 7d). The target is the service of --login, or of MOORING_CONNECTION_STRING, or
the running service of the data directory. The policy needs the right ServiceConfig.`,
		Example: `  mooring audit --from 7d
  mooring audit --kind enrollment --id sensor-7 --top 0
  mooring audit --principal policy:line-7 --result failed --json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, e) },
	}
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "only changes since this time, day or age")
	flags.StringVar(&o.to, "to", "", "only changes before this time, day or age")
	flags.StringVar(&o.principal, "principal", "",
		"only changes by this one: policy:NAME, token:SUBJECT, portal:ACCOUNT or device:REGISTRATION-ID")
	flags.StringVar(&o.operation, "operation", "", "only this operation, such as put or delete")
	flags.StringVar(
		&o.kind,
		"kind",
		"",
		"only records of this kind: enrollment, enrollment-group, registration, certificate, provisioning-service, "+
			"linked-hub, portal-account, hub-identity",
	)
	flags.StringVar(&o.id, "id", "", "only the record with this ID or name")
	flags.StringVar(&o.result, "result", "", "only with this result: ok, failed, or the name of an error")
	flags.IntVar(&o.top, "top", defaultAuditTop, "maximum number of entries; 0 shows all")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (o *auditOptions) run(cmd *cobra.Command, e *env) error {
	query, err := o.query(cmd, time.Now())
	if err != nil {
		return err
	}
	client, err := newServiceClient(cmd, e, o.login)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	if o.json {
		return o.printJSON(cmd.Context(), e, client, query)
	}
	return o.printTable(cmd.Context(), e, client, query)
}

// query checks the flags and returns what they ask the service for.
func (o *auditOptions) query(cmd *cobra.Command, now time.Time) (url.Values, error) {
	if o.top < 0 {
		return nil, usagef(cmd, "--top: must be 0 or more")
	}
	query := url.Values{}
	for _, f := range []struct{ name, value string }{
		{"principal", o.principal}, {"operation", o.operation}, {"kind", o.kind}, {"id", o.id}, {"result", o.result},
	} {
		if f.value != "" {
			query.Set(f.name, f.value)
		}
	}
	for _, f := range []struct{ name, value string }{{"from", o.from}, {"to", o.to}} {
		if f.value == "" {
			continue
		}
		at, err := moment(f.value, now)
		if err != nil {
			return nil, usagef(cmd, "--%s: %w", f.name, err)
		}
		query.Set(f.name, at)
	}
	return query, nil
}

// moment returns a time, a day or an age as the service takes it.
func moment(text string, now time.Time) (string, error) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if _, err := time.Parse(form, text); err == nil {
			return text, nil
		}
	}
	const day, maxDays = 24 * time.Hour, 36_500
	age, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		age = time.Duration(min(n, maxDays)) * day //nolint:gosec // a century, which fits
	}
	if err != nil || age < 0 {
		return "", fmt.Errorf("%q is not a time, day or age (use 2026-03-01T12:00:00Z, 2026-03-01, 36h or 7d)", text)
	}
	return now.Add(-age).UTC().Format(time.RFC3339Nano), nil
}

// eachPage calls show with each page of what query asks for, up to --top entries, and
// returns the continuation behind them, if there are more.
func (o *auditOptions) eachPage(
	ctx context.Context,
	client *service.Client,
	query url.Values,
	show func([]wire.AuditEntry) error,
) (string, error) {
	for left := o.top; ; {
		size := wire.MaxAuditPage
		if o.top > 0 {
			size = min(size, left)
		}
		query.Set("top", strconv.Itoa(size))
		page, err := auditPage(ctx, client, query)
		if err != nil {
			return "", err
		}
		if err := show(page.Value); err != nil {
			return "", err
		}
		left -= len(page.Value)
		if page.Continuation == "" || (o.top > 0 && left <= 0) {
			return page.Continuation, nil
		}
		query.Set("continuation", page.Continuation)
	}
}

func auditPage(ctx context.Context, client *service.Client, query url.Values) (wire.AuditPage, error) {
	var page wire.AuditPage
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := client.Do(ctx, service.Request{Method: http.MethodGet, Path: wire.AuditPath, Query: query})
	if err != nil {
		return page, explainTrust(err)
	}
	if err := json.Unmarshal(res.Body, &page); err != nil {
		return page, fmt.Errorf("reading the service's answer: %w", err)
	}
	return page, nil
}

func (o *auditOptions) printJSON(ctx context.Context, e *env, client *service.Client, query url.Values) error {
	all := wire.AuditPage{Value: []wire.AuditEntry{}}
	var err error
	all.Continuation, err = o.eachPage(ctx, client, query, func(entries []wire.AuditEntry) error {
		all.Value = append(all.Value, entries...)
		return nil
	})
	if err != nil {
		return err
	}
	return printJSON(e, all)
}

func (o *auditOptions) printTable(ctx context.Context, e *env, client *service.Client, query url.Values) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	shown := 0
	more, err := o.eachPage(ctx, client, query, func(entries []wire.AuditEntry) error {
		for _, entry := range entries {
			if shown == 0 {
				fmt.Fprintln(w, "TIME\tPRINCIPAL\tOPERATION\tKIND\tID\tRESULT\tREMOTE\tTRACKING ID")
			}
			shown++
			fmt.Fprintln(w, strings.Join(auditRow(entry), "\t"))
		}
		return w.Flush()
	})
	if err != nil {
		return err
	}
	if shown == 0 {
		fmt.Fprintln(e.out, "There are no matching changes.")
	}
	if more != "" {
		fmt.Fprintln(e.err, "There are older entries; --top 0 shows all.")
	}
	return nil
}

// auditRow is an entry as cells of the table. What a caller chose may hold anything, and
// is quoted where a terminal could take it for more than text.
func auditRow(a wire.AuditEntry) []string {
	id, result := printable(a.ID), a.Result
	if a.Succeeded != nil && a.Failed != nil {
		id = fmt.Sprintf("(%d records)", *a.Succeeded+*a.Failed)
		result = fmt.Sprintf("%s, %d done, %d failed", a.Result, *a.Succeeded, *a.Failed)
	}
	if outcome := outcomeOf(a); outcome != "" {
		result += ", " + outcome
	}
	if a.Detail != "" {
		result += ": " + onOneLine(a.Detail)
	}
	return []string{a.Time, printable(a.Principal), a.Operation, a.Kind, id, result, printable(a.Remote), a.TrackingID}
}

// outcomeOf says what became of one record; --json has its versions.
func outcomeOf(a wire.AuditEntry) string {
	switch {
	case a.OldETag == "" && a.NewETag == "":
		return ""
	case a.OldETag == "":
		return "created"
	case a.NewETag == "":
		return "deleted"
	default:
		return "changed"
	}
}

// printable returns text as it is, or quoted when it holds what is not to be printed,
// or nothing.
func printable(text string) string {
	quoted := strconv.Quote(text)
	if text == "" || len(quoted) != len(text)+2 || strings.ContainsAny(text, " ") {
		return quoted
	}
	return text
}
