package interop_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
)

func TestPythonServiceSDK(t *testing.T) {
	requirePython(t)
	s := startService(t, t.TempDir())
	dir := t.TempDir()
	for _, name := range []string{"ca-1", "ca-2"} {
		writeFile(t, dir, name+".pem", newRoot(t, name).CertificatePEM())
	}
	for _, name := range []string{"device-1", "device-2", "device-3"} {
		writeFile(t, dir, name+".pem", newDevice(t, name, nil).CertificatePEM())
	}
	s.uploadCA(t, "interop-ca", newRoot(t, "interop-ca"), true)

	out := s.python(t, "service_crud.py",
		s.info.ConnectionStrings["provisioningserviceowner"], s.info.Hubs[0].HostName, dir)
	if out.code != 0 {
		t.Errorf("service_crud.py ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}

// TestPythonQuickstart runs the program of the quickstart twice: the first run creates
// the group, and the second fails because it exists, as it does against DPS.
func TestPythonQuickstart(t *testing.T) {
	requirePython(t)
	s := startService(t, t.TempDir())
	ca := newRoot(t, "Quickstart Root")
	pem := writeFile(t, t.TempDir(), "root.pem", ca.CertificatePEM())

	s.createGroupByQuickstart(t, pem, "quickstart")
	again := s.python(t, "quickstart.py", s.info.ConnectionStrings["provisioningserviceowner"], pem, "quickstart")
	if want := "Service Error 409 - Conflict"; again.code == 0 || !strings.Contains(again.stderr, want) {
		t.Errorf("the second run ended with code %d and not with %q:\n%s%s", again.code, want, again.stdout, again.stderr)
	}
	s.checkGroup(t, "quickstart", ca)
}

// createGroupByQuickstart runs the program of the quickstart, which must succeed.
func (s *service) createGroupByQuickstart(t *testing.T, pemFile, group string) {
	t.Helper()
	out := s.python(t, "quickstart.py", s.info.ConnectionStrings["provisioningserviceowner"], pemFile, group)
	if out.code != 0 || !strings.Contains(out.stdout, "Enrollment group created.") {
		t.Fatalf("quickstart.py ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}

// checkGroup reads a group back and compares its signing certificate.
func (s *service) checkGroup(t *testing.T, id string, ca *pki.Issued) {
	t.Helper()
	var group struct {
		EnrollmentGroupID string `json:"enrollmentGroupId"`
		Attestation       struct {
			X509 struct {
				SigningCertificates struct {
					Primary struct {
						Info struct {
							SHA256Thumbprint string `json:"sha256Thumbprint"`
						} `json:"info"`
					} `json:"primary"`
				} `json:"signingCertificates"`
			} `json:"x509"`
		} `json:"attestation"`
	}
	s.serviceCall(t, http.MethodGet, "/enrollmentGroups/"+id, nil, &group)
	got := group.Attestation.X509.SigningCertificates.Primary.Info.SHA256Thumbprint
	if group.EnrollmentGroupID != id || got != ca.SHA256Thumbprint() {
		t.Errorf("group %q has signing certificate %q; want %q with %q", group.EnrollmentGroupID, got, id, ca.SHA256Thumbprint())
	}
}
