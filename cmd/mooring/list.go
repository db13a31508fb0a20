package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// listOptions are what the commands that list records of a service take.
type listOptions struct {
	login login
	query string
	top   int
	json  bool
}

func addListFlags(cmd *cobra.Command, o *listOptions) {
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	cmd.Flags().StringVar(&o.query, "query", "", "list what this query selects, or @FILE (default: all)")
	cmd.Flags().IntVar(&o.top, "top", 0, "maximum number to list (default: all)")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the service's own JSON, as one array")
	azNames(cmd)
}

// check reads what can be seen to be wrong without the service.
func (o *listOptions) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("top") && o.top < 1 {
		return usagef(cmd, "--top: must be at least 1")
	}
	var err error
	if o.query, err = textOrFile("--query", o.query); err != nil {
		return err
	}
	if cmd.Flags().Changed("query") && strings.TrimSpace(o.query) == "" {
		return usagef(cmd, "--query: is empty; a query begins with SELECT *")
	}
	return nil
}

// maxPage is how many records are asked for at once when all are wanted.
const maxPage = 1000

// asked returns the query for the service.
func (o *listOptions) asked() service.Query {
	q := service.Query{Text: o.query, PageSize: maxPage}
	if o.top > 0 {
		q.PageSize = min(o.top, maxPage)
	}
	return q
}

func enrollmentList(e *env, kind dps.EntryKind) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List " + noun(kind) + "s", Args: noArgs,
		Long: "List " + noun(kind) + `s: all, or those that a query selects.
Azure accepts query conditions and ignores them; Mooring evaluates them.`,
		Example: exampleFor(kind,
			`  mooring enrollment list --query "SELECT * FROM enrollments WHERE initialTwin.tags.site = 'hall 3'"`,
			`  mooring enrollment-group list --query "SELECT * FROM enrollmentGroups WHERE provisioningStatus = 'disabled'"`),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			client, err := newServiceClient(cmd, e, o.login)
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			found := records(client, kind).Query(cmd.Context(), o.asked())
			return explainTrust(printList(e, o, found, enrollmentTable(kind)))
		},
	}
	addListFlags(cmd, &o)
	return cmd
}

// table is how records are shown to people.
type table[T any] struct {
	header string
	none   string // said when there is none
	row    func(T) []string
}

func enrollmentTable(kind dps.EntryKind) table[*wire.Enrollment] {
	return table[*wire.Enrollment]{
		header: "ENROLLMENT ID\tSTATUS\tATTESTATION\tALLOCATION\tUPDATED",
		none:   "There are no " + noun(kind) + "s to list.",
		row: func(r *wire.Enrollment) []string {
			return []string{idOf(r), r.ProvisioningStatus.Value, attestationText(r), r.AllocationPolicy, shortTime(r.LastUpdatedDateTimeUTC)}
		},
	}
}

// printList prints records as they come, up to the number that is wanted.
func printList[T any](e *env, o listOptions, found iter.Seq2[T, error], as table[T]) error {
	if o.top > 0 {
		found = first(found, o.top)
	}
	if o.json {
		return printArray(e, found)
	}
	return printTable(e, found, as)
}

// first ends a sequence after n elements.
func first[T any](all iter.Seq2[T, error], n int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		left := n
		for v, err := range all {
			left--
			if !yield(v, err) || left == 0 {
				return
			}
		}
	}
}

// printArray prints records as one JSON array, without keeping them: after an error the
// array stays open, so that nobody takes it for the whole.
func printArray[T any](e *env, found iter.Seq2[T, error]) error {
	separator := "[\n  "
	for v, err := range found {
		if err != nil {
			return err
		}
		text, err := json.MarshalIndent(v, "  ", "  ")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(e.out, "%s%s", separator, text); err != nil {
			return err
		}
		separator = ",\n  "
	}
	end := "\n]\n"
	if strings.HasPrefix(separator, "[") {
		end = "[]\n"
	}
	_, err := fmt.Fprint(e.out, end)
	return err
}

// tableRows is after how many rows a table is aligned anew: it bounds memory.
const tableRows = 1000

func printTable[T any](e *env, found iter.Seq2[T, error], as table[T]) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	rows := 0
	for v, err := range found {
		if err != nil {
			return flushed(w, err)
		}
		if rows == 0 {
			fmt.Fprintln(w, as.header)
		}
		rows++
		fmt.Fprintln(w, strings.Join(as.row(v), "\t"))
		if rows%tableRows != 0 {
			continue
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if rows == 0 {
		fmt.Fprintln(e.out, as.none)
	}
	return w.Flush()
}

// flushed shows the rows that came before err.
func flushed(w *tabwriter.Writer, err error) error {
	_ = w.Flush() // err is the one to tell
	return err
}

// compactJSON returns JSON on one line.
func compactJSON(raw json.RawMessage) string {
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return string(raw)
	}
	return out.String()
}
