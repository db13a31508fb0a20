//go:build !linux

package fault_test

import (
	"syscall"
	"testing"
)

// runInNamespace reports that there is none: only Linux has mount namespaces.
func runInNamespace() (code int, ok bool) { return 0, false }

// attributes are the defaults.
func attributes() *syscall.SysProcAttr { return nil }

// isolateMounts has nothing to do.
func isolateMounts() error { return nil }

// smallDisk is not available.
func smallDisk(t *testing.T, _ int) string {
	t.Helper()
	unavailable(t, "a small disk can be mounted on Linux only")
	return ""
}
