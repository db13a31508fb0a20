package query_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/query"
)

func TestProject(t *testing.T) {
	t.Parallel()
	const record = `{"registrationId":"A","etag":"e","attestation":{"type":"x509","x509":{}},"initialTwin":{"tags":{"site":"oslo","floor":3}},"iotHubs":["x"]}`
	for text, want := range map[string]string{
		"SELECT *":                             record,
		"*":                                    record,
		"":                                     record,
		"SELECT e.* FROM anything e":           record,
		"SELECT etag":                          `{"etag":"e","registrationId":"A"}`,
		"SELECT registrationId":                `{"registrationId":"A"}`,
		"select ETAG, iotHubs":                 `{"etag":"e","iotHubs":["x"],"registrationId":"A"}`,
		"SELECT deviceId":                      `{"registrationId":"A"}`,
		"SELECT attestation.type":              `{"attestation":{"type":"x509"},"registrationId":"A"}`,
		"SELECT attestation.type, attestation": `{"attestation":{"type":"x509","x509":{}},"registrationId":"A"}`,
		"SELECT e.initialTwin.tags.site FROM enrollments AS e":              `{"initialTwin":{"tags":{"site":"oslo"}},"registrationId":"A"}`,
		"SELECT initialTwin.tags['floor'] WHERE etag = 'e'":                 `{"initialTwin":{"tags":{"floor":3}},"registrationId":"A"}`,
		"SELECT enrollments.etag FROM enrollments ORDER BY registrationId;": `{"etag":"e","registrationId":"A"}`,
		"SELECT initialTwin.tags.site.deeper":                               `{"initialTwin":{"tags":{"site":"oslo"}},"registrationId":"A"}`,
	} {
		q, err := query.Parse(text, query.Enrollments())
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := q.Project(json.RawMessage(record), query.Enrollments())
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, diff)
		}
	}
}
