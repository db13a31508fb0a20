package interop_test

import "testing"

// TestQuickstart is the whole way of the quickstart: the CA certificate is uploaded and
// proved, the Python SDK makes the group, the Node.js SDK registers a device with a
// certificate of that CA, and the device stands in the hub.
func TestQuickstart(t *testing.T) {
	requirePython(t)
	requireNode(t)
	s := startService(t, t.TempDir())
	root := newRoot(t, "Acme Root CA")
	pem := writeFile(t, t.TempDir(), "root.pem", root.CertificatePEM())

	s.proveCA(t, "acme-root", root)
	s.createGroupByQuickstart(t, pem, "acme")
	leaf := newDevice(t, "device-0001", root)
	s.checkGroupDevice(t, leaf, "acme")
	s.checkTwin(t, "device-0001", nil, nil)
}
