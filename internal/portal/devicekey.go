package portal

import (
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// deviceKey shows the key of one device under a group, which nobody stores.
func (s *server) deviceKey(w http.ResponseWriter, r *http.Request, _ *visit) error {
	c, err := s.enrollments(r.Context(), groups)
	if err != nil {
		return err
	}
	id, err := dps.ParseRegistrationID(strings.TrimSpace(r.PostForm.Get("device")))
	if err != nil {
		_, rule := fieldOf(dps.MessageOf(err))
		s.part(w, r, "enrollment", "device-key", deviceKeyData{Problem: "The registration ID " + rule + "."})
		return nil
	}
	a, err := c.AttestationMechanism(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if a.SymmetricKey == nil {
		return dps.Errorf(dps.Invalid, "This group has no symmetric keys.")
	}
	key, err := dps.ParseKey("primaryKey", a.SymmetricKey.PrimaryKey)
	if err != nil {
		return err
	}
	s.part(w, r, "enrollment", "device-key", deviceKeyData{ID: string(id), Key: dps.DeriveKey(key, id).Base64()})
	return nil
}

// deviceKeyData is the key of a device, or why there is none.
type deviceKeyData struct{ ID, Key, Problem string }
