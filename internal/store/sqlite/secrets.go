package sqlite

import (
	"encoding/json"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// secretsRow is what is sealed of a record. The names are short: it is stored with
// each symmetric key.
type secretsRow struct {
	Primary   []byte `json:"p,omitempty"`
	Secondary []byte `json:"s,omitempty"`
	Webhook   string `json:"w,omitempty"`
}

func (s secretsRow) empty() bool {
	return len(s.Primary) == 0 && len(s.Secondary) == 0 && s.Webhook == ""
}

func (s secretsRow) keys() dps.KeyPair {
	return dps.KeyPair{Primary: dps.NewSecret(s.Primary), Secondary: dps.NewSecret(s.Secondary)}
}

func keysRow(k dps.KeyPair) secretsRow {
	return secretsRow{Primary: k.Primary.Reveal(), Secondary: k.Secondary.Reveal()}
}

// label binds sealed secrets to their record: moved to another row they do not open.
func label(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }

// sealed returns nil when there are no secrets.
func (s *Store) sealed(secrets secretsRow, aad []byte) ([]byte, error) {
	if secrets.empty() {
		return nil, nil
	}
	plain, err := json.Marshal(secrets)
	if err != nil {
		return nil, err
	}
	return s.key.Seal(plain, aad), nil
}

func (s *Store) unsealed(sealed, aad []byte) (secretsRow, error) {
	var secrets secretsRow
	if len(sealed) == 0 {
		return secrets, nil
	}
	plain, err := s.key.Open(sealed, aad)
	if err != nil {
		return secrets, err
	}
	return secrets, json.Unmarshal(plain, &secrets)
}
