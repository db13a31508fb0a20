//go:build unix

package mqtt_test

import (
	"net"
	"os"
	"syscall"
)

// shortages are failures of accept that pass.
func shortages() []error {
	var all []error
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		all = append(all, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)})
	}
	return all
}
