//go:build unix

package mqtt

import (
	"errors"
	"syscall"
)

// resourcesShort reports whether accept failed for want of file descriptors or
// memory, or because the client had gone already: others may fare better.
func resourcesShort(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ECONNABORTED)
}
