package sqlite

import (
	"context"
	"encoding/json"

	"github.com/mooring-iot/mooring/internal/dps"
)

// PutMany stores new enrollments and registrations in one transaction.
func (s *Store) PutMany(ctx context.Context, all []dps.Enrollment, registered []dps.Registration) error {
	return s.change(ctx, func(t tx) error {
		for _, e := range all {
			if err := s.putFresh(t, e); err != nil {
				return err
			}
		}
		for _, reg := range registered {
			if err := putRegistration(t, reg, ""); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) putFresh(t tx, e dps.Enrollment) error {
	row, secrets := rowOf(e)
	body, err := json.Marshal(row)
	if err != nil {
		return err
	}
	sealed, err := s.sealed(secrets, label("enrollment", string(e.Instance), string(e.Ref.Kind), e.Ref.Key()))
	if err != nil {
		return err
	}
	if err := writeEnrollment(t, e, string(body), sealed, ""); err != nil {
		return err
	}
	return addIndex(t, e)
}
