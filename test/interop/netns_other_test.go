//go:build !linux

package interop_test

// runInNamespace reports that there is none: only Linux has network namespaces.
func runInNamespace() (code int, ok bool) { return 0, false }

// raiseLoopback has nothing to do.
func raiseLoopback() error { return nil }
