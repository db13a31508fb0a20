package sqlite

import (
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

// enrollmentDocument is a row as a query.Document: it reads of the row only what a
// condition asks for.
type enrollmentDocument struct {
	store       *Store
	sel         *selection
	row         enrollmentColumns
	record      query.Record
	attestation string // JSON, once it was asked for
	opened      bool   // the record has everything, secrets too
	err         error  // the row cannot be read
}

func (d *enrollmentDocument) scan(rows *sql.Rows) error {
	r := &d.row
	r.Instance, r.Kind = d.sel.instance, d.sel.kind
	var state *stateRow
	dest := []any{&r.ID, &r.Body, &r.Secrets, &r.ETag, &r.Created, &r.Updated}
	if d.sel.states {
		state = &stateRow{}
		dest = append(dest, state.columns()...)
	}
	if err := rows.Scan(dest...); err != nil {
		return err
	}
	d.record = query.Record{Enrollment: r.bare(), Registration: state.registration(), Number: d.sel.q.Number}
	if reg := d.record.Registration; reg != nil && reg.Assignment != nil {
		d.record.Hub = d.sel.hubs[reg.Assignment.Hub]
	}
	return nil
}

// Member reads what stands at a path. What the row keeps as the wire shows it is found in its
// JSON, which is not read whole.
func (d *enrollmentDocument) Member(path []string) (any, bool) {
	switch path[0] {
	case "deviceId", "iotHubHostName", "iotHubs", "allocationPolicy", "reprovisionPolicy", "capabilities":
		return query.FindOnce(d.row.Body, path)
	case "initialTwin", "optionalDeviceInformation":
		return query.Find(d.text(d.row.Body, path[0]), path[1:])
	case "provisioningStatus":
		d.record.Enrollment.Status = dps.ProvisioningStatus(d.text(d.row.Body, path[0]))
	case "customAllocationDefinition":
		if len(path) == 1 || path[1] != "webhookUrl" {
			return query.FindOnce(d.row.Body, path)
		}
		d.open()
	case "attestation":
		if len(path) > 1 {
			return d.attested(path[1], path)
		}
	}
	return d.record.Member(path)
}

// text returns a member that is a string, "" if there is none.
func (d *enrollmentDocument) text(object, member string) string {
	value, _ := query.FindOnce(object, []string{member})
	text, _ := value.(string)
	return text
}

// attested reads a path within the attestation; kind is the member that is of one type
// of attestation, or the type itself.
func (d *enrollmentDocument) attested(kind string, path []string) (any, bool) {
	if d.attestation == "" {
		d.attestation, _ = query.RawOnce(d.row.Body, "attestation")
	}
	switch a := &d.record.Enrollment.Attestation; {
	case kind == "type":
		return query.FindOnce(d.attestation, path[1:])
	case d.text(d.attestation, "type") != kind:
		return nil, false
	case kind == "tpm":
		return query.FindOnce(d.attestation, path[2:])
	case a.X509 == nil:
		var err error
		a.X509, err = d.x509()
		d.err = errors.Join(d.err, err)
	}
	return d.record.Member(path)
}

func (d *enrollmentDocument) x509() (*dps.X509Attestation, error) {
	x := dps.X509Attestation{
		CAPrimary: dps.CAName(d.text(d.attestation, "caPrimary")), CASecondary: dps.CAName(d.text(d.attestation, "caSecondary")),
	}
	var primaryErr, secondaryErr error
	x.Primary, primaryErr = d.certificate("primary")
	x.Secondary, secondaryErr = d.certificate("secondary")
	return &x, errors.Join(primaryErr, secondaryErr)
}

func (d *enrollmentDocument) certificate(member string) (*dps.Certificate, error) {
	text := d.text(d.attestation, member)
	if text == "" {
		return nil, nil
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("reading the %s certificate of enrollment %q: %w", member, d.row.ID, err)
	}
	return certificateOf(der), nil
}

// open reads everything, secrets too, of a row that has a webhook.
func (d *enrollmentDocument) open() {
	if _, calls := query.RawOnce(d.row.Body, "customAllocationDefinition"); calls && !d.opened && d.err == nil {
		d.opened = true
		d.record.Enrollment, d.err = d.store.enrollmentOf(d.row.keyed())
	}
}
