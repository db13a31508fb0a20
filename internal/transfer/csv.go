package transfer

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/plaintext"
	"github.com/mooring-iot/mooring/wire"
)

// column is a column of CSV: how its cell is written and read.
type column struct {
	name  string
	write func(*wire.Enrollment) string
	read  func(*wire.EnrollmentRequest, string) error // the text is not empty
}

// ids are the first columns, one for each kind.
var ids = map[dps.EntryKind]column{
	dps.Individual: {
		"registrationId",
		func(e *wire.Enrollment) string { return e.RegistrationID },
		func(e *wire.EnrollmentRequest, text string) error { e.RegistrationID = text; return nil },
	},
	dps.Group: {
		"enrollmentGroupId",
		func(e *wire.Enrollment) string { return e.EnrollmentGroupID },
		func(e *wire.EnrollmentRequest, text string) error { e.EnrollmentGroupID = text; return nil },
	},
}

// columns returns those of a kind, in the order in which they are written.
func columns(kind dps.EntryKind) []column {
	out := []column{ids[kind]}
	if kind == dps.Individual {
		out = append(out, text("deviceId", func(e *wire.Enrollment) *string { return &e.DeviceID }))
	}
	out = append(out, attestationColumns(kind)...)
	out = append(out, placementColumns()...)
	out = append(out, twinColumns()...)
	if kind == dps.Individual {
		out = append(
			out,
			rawColumn("optionalDeviceInformation", func(e *wire.Enrollment) *json.RawMessage { return &e.OptionalDeviceInformation }),
		)
	}
	return append(out,
		text("webhookUrl", func(e *wire.Enrollment) *string { return &custom(e).WebhookURL }),
		text("webhookApiVersion", func(e *wire.Enrollment) *string { return &custom(e).APIVersion }))
}

// text is a column of a string, which at finds and makes room for.
func text(name string, at func(*wire.Enrollment) *string) column {
	return column{
		name,
		func(e *wire.Enrollment) string { return *at(e) },
		func(e *wire.EnrollmentRequest, cell string) error { *at(&e.Enrollment) = cell; return nil },
	}
}

func custom(e *wire.Enrollment) *wire.CustomAllocation {
	if e.CustomAllocationDefinition == nil {
		e.CustomAllocationDefinition = &wire.CustomAllocation{}
	}
	return e.CustomAllocationDefinition
}

func mechanism(e *wire.Enrollment) *wire.Attestation {
	if e.Attestation == nil {
		e.Attestation = &wire.Attestation{}
	}
	return e.Attestation
}

func attestationColumns(kind dps.EntryKind) []column {
	x509 := func(e *wire.Enrollment) *wire.X509 {
		a := mechanism(e)
		if a.X509 == nil {
			a.X509 = &wire.X509{}
		}
		return a.X509
	}
	out := []column{
		text("attestationType", func(e *wire.Enrollment) *string { return &mechanism(e).Type }),
		text("certificate", func(e *wire.Enrollment) *string { return &certificate(&pair(x509(e), kind).Primary).Certificate }),
		text("secondaryCertificate", func(e *wire.Enrollment) *string { return &certificate(&pair(x509(e), kind).Secondary).Certificate }),
		text("caReference", func(e *wire.Enrollment) *string { return &references(x509(e)).Primary }),
		text("secondaryCaReference", func(e *wire.Enrollment) *string { return &references(x509(e)).Secondary }),
		text("primaryKey", func(e *wire.Enrollment) *string { return &keys(e).PrimaryKey }),
		text("secondaryKey", func(e *wire.Enrollment) *string { return &keys(e).SecondaryKey }),
	}
	if kind == dps.Individual {
		out = append(out,
			text("endorsementKey", func(e *wire.Enrollment) *string { return &tpm(e).EndorsementKey }),
			text("storageRootKey", func(e *wire.Enrollment) *string { return &tpm(e).StorageRootKey }))
	}
	return out
}

func pair(x *wire.X509, kind dps.EntryKind) *wire.Certificates {
	at := &x.ClientCertificates
	if kind == dps.Group {
		at = &x.SigningCertificates
	}
	if *at == nil {
		*at = &wire.Certificates{}
	}
	return *at
}

func certificate(at **wire.Certificate) *wire.Certificate {
	if *at == nil {
		*at = &wire.Certificate{}
	}
	return *at
}

func references(x *wire.X509) *wire.CAReferences {
	if x.CAReferences == nil {
		x.CAReferences = &wire.CAReferences{}
	}
	return x.CAReferences
}

func keys(e *wire.Enrollment) *wire.SymmetricKey {
	a := mechanism(e)
	if a.SymmetricKey == nil {
		a.SymmetricKey = &wire.SymmetricKey{}
	}
	return a.SymmetricKey
}

func tpm(e *wire.Enrollment) *wire.TPM {
	a := mechanism(e)
	if a.TPM == nil {
		a.TPM = &wire.TPM{}
	}
	return a.TPM
}

func placementColumns() []column {
	policy := func(e *wire.Enrollment) *wire.ReprovisionPolicy {
		if e.ReprovisionPolicy == nil {
			e.ReprovisionPolicy = &wire.ReprovisionPolicy{}
		}
		return e.ReprovisionPolicy
	}
	return []column{
		{"provisioningStatus", writeStatus, readStatus},
		text("allocationPolicy", func(e *wire.Enrollment) *string { return &e.AllocationPolicy }),
		{
			"iotHubs",
			func(e *wire.Enrollment) string { return strings.Join(e.IotHubs, " ") },
			func(e *wire.EnrollmentRequest, cell string) error { e.IotHubs = strings.Fields(cell); return nil },
		},
		text("iotHubHostName", func(e *wire.Enrollment) *string { return &e.IotHubHostName }),
		flag("reprovisionUpdate", func(e *wire.Enrollment) **bool { return &policy(e).UpdateHubAssignment }),
		flag("reprovisionMigrate", func(e *wire.Enrollment) **bool { return &policy(e).MigrateDeviceData }),
		{"iotEdge", writeEdge, readEdge},
	}
}

// null is the cell of a status that a client set to null.
const null = "null"

func writeStatus(e *wire.Enrollment) string {
	if e.ProvisioningStatus.Null {
		return null
	}
	return e.ProvisioningStatus.Value
}

func readStatus(e *wire.EnrollmentRequest, cell string) error {
	e.ProvisioningStatus = wire.StringValue(cell)
	if cell == null {
		e.ProvisioningStatus = wire.NullableString{Present: true, Null: true}
	}
	return nil
}

// flag is a column of true or false.
func flag(name string, at func(*wire.Enrollment) **bool) column {
	return column{
		name,
		func(e *wire.Enrollment) string {
			if b := *at(e); b != nil {
				return strconv.FormatBool(*b)
			}
			return ""
		},
		func(e *wire.EnrollmentRequest, cell string) error {
			b, err := readFlag(name, cell)
			*at(&e.Enrollment) = &b
			return err
		},
	}
}

func readFlag(name, cell string) (bool, error) {
	switch strings.ToLower(cell) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, dps.Invalidf(name, "must be true or false")
	}
}

func writeEdge(e *wire.Enrollment) string {
	if e.Capabilities == nil {
		return ""
	}
	return strconv.FormatBool(e.Capabilities.IotEdge)
}

func readEdge(e *wire.EnrollmentRequest, cell string) error {
	b, err := readFlag("iotEdge", cell)
	e.Capabilities = &wire.Capabilities{IotEdge: b}
	return err
}

// rawColumn is a column of JSON.
func rawColumn(name string, at func(*wire.Enrollment) *json.RawMessage) column {
	return column{
		name,
		func(e *wire.Enrollment) string { return string(*at(e)) },
		func(e *wire.EnrollmentRequest, cell string) error {
			raw, err := readRaw(name, cell)
			*at(&e.Enrollment) = raw
			return err
		},
	}
}

func readRaw(name, cell string) (json.RawMessage, error) {
	if !json.Valid([]byte(cell)) {
		return nil, dps.Invalidf(name, "must be JSON")
	}
	return json.RawMessage(cell), nil
}

// WriteJSON writes a record as one line.
func WriteJSON(w io.Writer, e wire.Enrollment) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false) // twins stay as they are stored
	return out.Encode(e)
}

// CSVWriter writes records as CSV.
type CSVWriter struct {
	out     *csv.Writer
	columns []column
}

// NewCSVWriter returns a CSVWriter after it wrote the header.
func NewCSVWriter(w io.Writer, kind dps.EntryKind) (*CSVWriter, error) {
	out := &CSVWriter{out: csv.NewWriter(w), columns: columns(kind)}
	return out, out.out.Write(Header(kind))
}

// Header returns the names of the columns.
func Header(kind dps.EntryKind) []string {
	var names []string
	for _, c := range columns(kind) {
		names = append(names, c.name)
	}
	return names
}

// Write writes one record.
func (w *CSVWriter) Write(e wire.Enrollment) error {
	e = deepen(e)
	cells := make([]string, len(w.columns))
	for i, c := range w.columns {
		cells[i] = c.write(&e)
	}
	return w.out.Write(cells)
}

// deepen copies what columns make room in, so that the caller's record stays.
func deepen(e wire.Enrollment) wire.Enrollment {
	a := wire.Attestation{}
	if e.Attestation != nil {
		a = *e.Attestation
	}
	if a.X509 != nil {
		x := *a.X509
		for _, at := range []**wire.Certificates{&x.ClientCertificates, &x.SigningCertificates} {
			if *at != nil {
				c := **at
				*at = &c
			}
		}
		a.X509 = &x
	}
	e.Attestation = &a
	return e
}

// Flush ends writing.
func (w *CSVWriter) Flush() error {
	w.out.Flush()
	return w.out.Error()
}

// separators are the characters that may stand between cells.
const separators = ",;\t"

// separatorOf returns the separator that a header uses: a semicolon or a tab where there
// is no comma outside quotes, as some spreadsheets write them; else a comma. Names of
// columns hold none of them.
func separatorOf(header []byte) byte {
	quoted := false
	var seen [256]bool
	for _, c := range header {
		if c == '"' {
			quoted = !quoted
		}
		seen[c] = seen[c] || !quoted
	}
	for _, c := range []byte(separators) {
		if seen[c] {
			return c
		}
	}
	return ','
}

// Columns is the header of a file that was read.
type Columns struct {
	columns   []column
	separator byte
}

// ReadHeader reads the header of a file with records of a kind: names in any order
// and any case, each at most once, the ID among them. It fails with Invalid.
func ReadHeader(line []byte, kind dps.EntryKind) (Columns, error) {
	out := Columns{separator: separatorOf(line)}
	if bytes.IndexByte(line, '\r') >= 0 {
		return out, dps.Invalidf("header", "lines end with CR alone; write LF or CR LF at the end of each line")
	}
	cells, err := fields(line, out.separator)
	if err != nil {
		return out, dps.Invalidf("header", "%s", err.Error())
	}
	known := columns(kind)
	for _, name := range withoutTrailing(cells) {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(known, func(c column) bool { return strings.EqualFold(c.name, name) })
		if i < 0 {
			return out, dps.Invalidf("header", "%q is not a column%s; columns are %s",
				clip(name), plaintext.DidYouMean(name, Header(kind)), strings.Join(Header(kind), ", "))
		}
		if slices.ContainsFunc(out.columns, func(c column) bool { return c.name == known[i].name }) {
			return out, dps.Invalidf("header", "has the column %s twice", known[i].name)
		}
		out.columns = append(out.columns, known[i])
	}
	if id := ids[kind].name; !slices.ContainsFunc(out.columns, func(c column) bool { return c.name == id }) {
		return out, dps.Invalidf("header", "must have the column %s", id)
	}
	return out, nil
}

// withoutTrailing returns cells without the empty ones at the end, which spreadsheets
// write for columns that were emptied.
func withoutTrailing(cells []string) []string {
	for len(cells) > 0 && strings.TrimSpace(cells[len(cells)-1]) == "" {
		cells = cells[:len(cells)-1]
	}
	return cells
}

// clip bounds text of a caller that an error repeats.
func clip(text string) string {
	const most = 64
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

// Read reads one record. It fails with Malformed or Invalid.
func (c Columns) Read(line []byte) (wire.EnrollmentRequest, error) {
	var e wire.EnrollmentRequest
	cells, err := fields(line, c.separator)
	if err != nil {
		return e, dps.Errorf(dps.Malformed, "%s", err.Error())
	}
	if len(cells) > len(c.columns) && len(withoutTrailing(cells)) <= len(c.columns) {
		cells = cells[:len(c.columns)]
	}
	if len(cells) != len(c.columns) {
		return e, dps.Errorf(dps.Malformed, "the header has %d columns and this line %d%s",
			len(c.columns), len(cells), c.quoteHint(len(cells)))
	}
	for i, cell := range cells {
		if cell == "" {
			continue
		}
		if err := c.columns[i].read(&e, cell); err != nil {
			return e, err
		}
	}
	return e, nil
}

// quoteHint is the usual cause of too many cells.
func (c Columns) quoteHint(cells int) string {
	if cells < len(c.columns) {
		return ""
	}
	return fmt.Sprintf("; put a cell that contains %q in quotes", c.separator)
}

// Errors of a line that is no CSV.
var (
	errBareQuote  = errors.New(`a field contains a quote; put the field in quotes and write "" for each quote in it`)
	errAfterQuote = errors.New("there is text between a closing quote and the next separator")
	errOpenQuote  = errors.New("a quote is opened and never closed")
)

// fields cuts a record into its cells (RFC 4180). Unlike encoding/csv it keeps line
// ends inside quotes as they are.
func fields(line []byte, separator byte) ([]string, error) {
	var cells []string
	for {
		var cell string
		var err error
		more := false
		if bytes.HasPrefix(line, []byte{'"'}) {
			if cell, line, err = quotedField(line[1:]); err != nil {
				return nil, err
			}
			more = len(line) > 0
			if more && line[0] != separator {
				return nil, errAfterQuote
			}
			line = bytes.TrimPrefix(line, []byte{separator})
		} else {
			var plain []byte
			if plain, line, more = bytes.Cut(line, []byte{separator}); bytes.IndexByte(plain, '"') >= 0 {
				return nil, errBareQuote
			}
			cell = string(plain)
		}
		cells = append(cells, cell)
		if !more {
			return cells, nil
		}
	}
}

// quotedField returns a cell behind its opening quote, and what follows its closing one.
func quotedField(line []byte) (string, []byte, error) {
	var cell []byte
	for {
		part, rest, closed := bytes.Cut(line, []byte{'"'})
		if !closed {
			return "", nil, errOpenQuote
		}
		cell = append(cell, part...)
		if !bytes.HasPrefix(rest, []byte{'"'}) {
			return string(cell), rest, nil
		}
		cell = append(cell, '"')
		line = rest[1:]
	}
}
