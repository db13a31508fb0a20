package interop_test

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// requireJava returns the java program and the directory of the libraries of pom.xml.
func requireJava(t *testing.T) (name, libraries string) {
	t.Helper()
	name, err := exec.LookPath("java")
	if err != nil {
		unavailable(t, "Java is not installed: %v", err)
	}
	libraries = os.Getenv(javaDirVar)
	if found, _ := filepath.Glob(filepath.Join(libraries, "provisioning-device-client-*.jar")); len(found) == 0 {
		unavailable(t, "%s names no directory with the libraries of java/pom.xml", javaDirVar)
	}
	return name, libraries
}

// java is one of the programs in the directory java, which the launcher compiles in
// memory. It trusts the authorities of the trust store alone; none when that is empty.
func java(t *testing.T, trustStore, file string, args ...string) program {
	t.Helper()
	name, libraries := requireJava(t)
	all := []string{"-XX:TieredStopAtLevel=1", "-cp", filepath.Join(libraries, "*")}
	if trustStore != "" {
		all = append(all, "-Djavax.net.ssl.trustStore="+trustStore, "-Djavax.net.ssl.trustStorePassword="+trustStorePassword)
	}
	return program{name: name, args: append(append(all, filepath.Join("java", file)), args...)}
}

const trustStorePassword = "changeit" // Java insists on one

// trustStore writes the certificates of the service's authority as Java reads them.
func (s *service) trustStore(t *testing.T) string {
	t.Helper()
	rest, err := os.ReadFile(s.info.CAFile)
	if err != nil {
		t.Fatalf("reading the CA file that info names: %v", err)
	}
	dir := t.TempDir()
	store := filepath.Join(dir, "trust.p12")
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return store
		}
		file := writeFile(t, dir, fmt.Sprintf("ca-%d.pem", i), pem.EncodeToMemory(block))
		out, err := exec.Command("keytool", "-importcert", "-noprompt", "-alias", fmt.Sprintf("ca-%d", i), "-file", file,
			"-keystore", store, "-storetype", "PKCS12", "-storepass", trustStorePassword).CombinedOutput()
		if err != nil {
			t.Fatalf("keytool: %v\n%s", err, out)
		}
	}
}

// TestJavaServiceSDK runs every operation of the service SDK.
func TestJavaServiceSDK(t *testing.T) {
	requireJava(t)
	s := startService(t, t.TempDir())
	s.prepareFleet(t, overHTTPS, (*service).runJava)
	dir := t.TempDir()
	ca := writeFile(t, dir, "ca.pem", newRoot(t, "java-ca").CertificatePEM())
	leaf := writeFile(t, dir, "leaf.pem", newDevice(t, "leaf-1", nil).CertificatePEM())

	out := s.run(t, java(t, s.trustStore(t), "Service.java", append(s.fleetArgs(), ca, leaf)...))
	if out.code != 0 {
		t.Errorf("Service.java ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}
