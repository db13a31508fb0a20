package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// whyOptions are what the why command takes.
type whyOptions struct {
	login  login
	remote string
	json   bool
}

// byAddress says where to look for devices that never said who they are.
const byAddress = "A device that was refused before it sent its name is found by its address: mooring why --remote ADDRESS"

// How many refusals are shown: of a device a service keeps ten.
const (
	whyShown  = 10
	whyRemote = 50
)

func whyCommand(e *env) *cobra.Command {
	var o whyOptions
	cmd := &cobra.Command{
		Use: "why {TRACKING-ID | REGISTRATION-ID | --remote ADDRESS}", Short: "Explain why a device was refused",
		Long: `Explain why a device was refused: the checks in their order, the one that failed, what the
device presented, and the remedy. Refused TLS handshakes and MQTT connections are included.

The tracking ID is in the answer to the device and in the log. A registration ID shows the
latest refusal of the device, the number of earlier refusals for the same reason from the
same address, and its current registration record. Of repeated refusals, only the latest
tracking ID is stored.

--remote finds the latest refusals from an IP address (an IPv6 address stands for its /64).
Use it when a device cannot even connect: if the TLS handshake fails, its registration ID is
known only where its certificate was readable.

--json prints the decision of a tracking ID, and the page of decisions of a registration
ID or an address. The exit code is 1 when nothing is recorded.

The service is that of --login, else of MOORING_CONNECTION_STRING, else the running one
of the data directory; the policy needs the right RegistrationStatusRead.`,
		Example: `  mooring why sensor-7
  mooring why --remote 192.0.2.7
  mooring why 0a60b0b8-91a0-4d61-9d6c-4c6aa1b3b02b --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.remote != "" && len(args) == 0 {
				return nil
			}
			if o.remote != "" || len(args) != 1 || args[0] == "" {
				return usagef(cmd, "exactly one of a tracking ID, a registration ID and --remote is required")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.remote != "" {
				return o.run(cmd, e, "")
			}
			return o.run(cmd, e, args[0])
		},
	}
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	cmd.Flags().StringVar(&o.remote, "remote", "", "IP `address` of the device, instead of an ID")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the service's own JSON")
	completeRegistrations(cmd, e, "", &o.login)
	return cmd
}

func (o *whyOptions) run(cmd *cobra.Command, e *env, id string) error {
	_, notID := dps.ParseRegistrationID(id)
	tracked := uuid.Validate(id) == nil
	if notID != nil && !tracked && o.remote == "" {
		return usagef(cmd, "%q is neither a tracking ID nor a registration ID: %s", id, dps.MessageOf(notID))
	}
	client, err := newServiceClient(cmd, e, o.login)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
	defer cancel()
	w := why{options: o, env: e, client: client}
	if o.remote != "" {
		return explainTrust(w.remote(ctx, o.remote))
	}
	if tracked {
		done, err := w.tracked(ctx, id)
		if done || err != nil {
			return explainTrust(err)
		}
	}
	return explainTrust(w.device(ctx, id, tracked))
}

// why answers one question.
type why struct {
	options *whyOptions
	env     *env
	client  *service.Client
}

// tracked answers about a tracking ID, unless the service knows none like it.
func (w why) tracked(ctx context.Context, id string) (done bool, err error) {
	d, err := w.client.Decisions().Get(ctx, id)
	if service.IsNotFound(err) {
		return false, nil // it may be a registration ID that looks like one
	}
	if err != nil {
		return true, err
	}
	if w.options.json {
		return true, printJSON(w.env, d)
	}
	record, err := w.record(ctx, d.RegistrationID)
	if err != nil {
		return true, err
	}
	return true, w.print([]wire.Decision{*d}, record)
}

// remote answers about an address.
func (w why) remote(ctx context.Context, address string) error {
	page, err := w.client.Decisions().Page(ctx, service.DecisionFilter{Remote: address, PageSize: whyRemote})
	if err != nil {
		return err
	}
	if w.options.json {
		page.Continuation = ""
		if err := printJSON(w.env, page); err != nil {
			return err
		}
	}
	switch {
	case len(page.Value) == 0:
		return errors.New(nothingRecorded(address, page.Dropped) + " Does the device reach this service?")
	case w.options.json:
		return nil
	default:
		return w.print(page.Value, nil)
	}
}

// device answers about a registration ID; tracked says that it was tried as a tracking
// ID before.
func (w why) device(ctx context.Context, id string, tracked bool) error {
	page, err := w.client.Decisions().Page(ctx, service.DecisionFilter{RegistrationID: id, PageSize: whyShown})
	if err != nil {
		return err
	}
	record, err := w.record(ctx, id)
	if err != nil {
		return err
	}
	if len(page.Value) == 0 && record == nil && tracked {
		return fmt.Errorf(
			"no refusal with the tracking ID %s is recorded, and no device has it as its registration ID; of refusals that repeat each other "+
				"only the latest can be found by its tracking ID, so use the registration ID. %s",
			id,
			byAddress,
		)
	}
	if w.options.json {
		page.Continuation = "" // there is nobody to go on
		if err := printJSON(w.env, page); err != nil {
			return err
		}
	}
	switch {
	case len(page.Value) == 0 && record == nil:
		return errors.New(
			nothingRecorded(
				id,
				page.Dropped,
			) + " It has no registration record either: it never authenticated, or its record was deleted. " +
				"Check that it reaches this service. " + byAddress,
		)
	case w.options.json:
		return nil
	case len(page.Value) == 0:
		fmt.Fprintf(w.env.out, "%s\nIts registration record: %s.\n", nothingRecorded(id, page.Dropped), recordText(record))
		return nil
	default:
		return w.print(page.Value, record)
	}
}

// nothingRecorded says what was looked at.
func nothingRecorded(id string, dropped int64) string {
	text := fmt.Sprintf(
		"No refusal of %s is recorded: it was not refused within the time and the number of refusals that the service keeps "+
			"(--decision-retention, --decision-limit).",
		id,
	)
	if dropped > 0 {
		text += fmt.Sprintf(" But %d refusals of any devices came too fast to be recorded since the service started.", dropped)
	}
	return text
}

// record returns the registration record of a device, nil if there is none, or if the
// device is unknown.
func (w why) record(ctx context.Context, id string) (*wire.RegistrationState, error) {
	if id == "" {
		return nil, nil
	}
	r, err := w.client.Registrations().Get(ctx, id)
	if service.IsNotFound(err) {
		return nil, nil
	}
	return r, err
}

// recordText is a registration record in a few words.
func recordText(r *wire.RegistrationState) string {
	at := ", at " + shortTime(r.LastUpdatedDateTimeUTC)
	switch {
	case r.Status == string(dps.Assigned):
		return fmt.Sprintf("assigned to %s as device %s%s", r.AssignedHub, r.DeviceID, at)
	case r.ErrorCode != 0 || r.ErrorMessage != "":
		return fmt.Sprintf("%s with %d: %s%s", r.Status, r.ErrorCode, onOneLine(r.ErrorMessage), at)
	default:
		return r.Status + at
	}
}

// print shows the first of the refusals of a device in full, and the others in a line
// each.
func (w why) print(all []wire.Decision, record *wire.RegistrationState) error {
	out := tabwriter.NewWriter(w.env.out, 0, 0, 2, ' ', 0)
	d := all[0]
	printDecision(out, d, record)
	fmt.Fprint(out, "\nCHECK\tOUTCOME\tDETAIL\n")
	for _, c := range d.Checks {
		outcome := "ok"
		if !c.OK {
			outcome = "FAILED"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\n", onOneLine(c.Name), outcome, onOneLine(c.Detail))
	}
	if chain := d.Evidence.Chain; len(chain) > 0 {
		fmt.Fprint(out, "\nCERTIFICATE\tISSUER\tVALID\tSHA-1 THUMBPRINT\n")
		for _, c := range chain {
			fmt.Fprintf(
				out,
				"%s\t%s\t%s to %s\t%s\n",
				onOneLine(c.SubjectName),
				onOneLine(c.IssuerName),
				c.NotBeforeUTC,
				c.NotAfterUTC,
				c.SHA1Thumbprint,
			)
		}
		if hidden := d.Evidence.Presented - len(chain); hidden > 0 {
			fmt.Fprintf(out, "(and %d more)\n", hidden)
		}
	}
	if len(all) > 1 {
		fmt.Fprint(out, "\nOTHER REFUSALS\tTIMES\tREASON\tDEVICE\tREMOTE\tTRACKING ID\n")
		for _, other := range all[1:] {
			fmt.Fprintf(
				out,
				"%s\t%d\t%s\t%s\t%s\t%s\n",
				shortTime(other.Time),
				other.Count,
				other.Reason,
				deviceText(other),
				printable(other.Remote),
				printable(other.TrackingID),
			)
		}
	}
	return out.Flush()
}

// printDecision shows what is no table.
func printDecision(out *tabwriter.Writer, d wire.Decision, record *wire.RegistrationState) {
	line := liner(out)
	line("Registration ID", deviceText(d))
	if d.Reason == string(dps.ReasonIdentityMoved) {
		line("Assigned", refusedText(d))
	} else {
		line("Refused", refusedText(d))
	}
	line("Reason", d.Reason)
	line("Meaning", d.Summary)
	line("Remedy", onOneLine(d.Remedy))
	line("Device received", onOneLine(d.Answer))
	line("Tracking ID", printable(d.TrackingID))
	line("Address", printable(d.Remote)+", over "+d.Transport)
	switch {
	case d.EnrollmentID != "":
		line("Enrollment", "individual enrollment "+printable(d.EnrollmentID))
	case d.EnrollmentGroupID != "":
		line("Enrollment", "enrollment group "+printable(d.EnrollmentGroupID))
	}
	line("Credential", shownText(d))
	if t := d.Evidence.Token; t != nil {
		line("Token", fmt.Sprintf("for %s, until %s", printable(t.Resource), t.Expiry))
	}
	printHello(line, d.Evidence.ClientHello)
	if chain := d.Evidence.Chain; len(chain) > 0 {
		line("Leaf SHA-256", chain[0].SHA256Thumbprint)
	}
	if record != nil {
		line("Record now", recordText(record))
	}
}

// deviceText names the device of a decision.
func deviceText(d wire.Decision) string {
	if d.RegistrationID == "" {
		return "unknown"
	}
	return printable(d.RegistrationID)
}

// printHello shows what a client offered in TLS, one line for each list.
func printHello(line func(name, value string), h *wire.DecisionClientHello) {
	if h == nil {
		return
	}
	for _, l := range []struct {
		name   string
		values []string
	}{
		{"Client offered", h.Versions},
		{"  cipher suites", h.CipherSuites},
		{"  groups", h.Groups},
		{"  signatures", h.SignatureAlgorithms},
		{"  ALPN", h.ApplicationProtocols},
		{"  server name", []string{h.ServerName}},
	} {
		if text := onOneLine(strings.Join(l.values, ", ")); text != "" {
			line(l.name, text)
		}
	}
}

func refusedText(d wire.Decision) string {
	if d.Count < 2 {
		return shortTime(d.Time)
	}
	before := "once"
	if d.Count > 2 {
		before = fmt.Sprintf("%d times", d.Count-1)
	}
	return fmt.Sprintf("%s, and %s before since %s", shortTime(d.Time), before, shortTime(d.FirstTime))
}

// shownText says what kind of proof a device showed.
func shownText(d wire.Decision) string {
	switch n := d.Evidence.Presented; {
	case d.Attestation == "" && d.Evidence.ClientHello != nil:
		return "no readable certificate: the TLS handshake failed"
	case d.Attestation == "":
		return "neither a certificate nor a token"
	case n == 1:
		return d.Attestation + ", 1 certificate"
	case n > 1:
		return fmt.Sprintf("%s, %d certificates", d.Attestation, n)
	default:
		return d.Attestation
	}
}

// onOneLine returns text with what is not to be printed spelled out: a terminal takes
// it for text, and a table keeps its columns.
func onOneLine(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
