//go:build !unix

package mqtt

// resourcesShort knows no such errors on this system.
func resourcesShort(error) bool { return false }
