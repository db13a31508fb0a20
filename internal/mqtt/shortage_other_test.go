//go:build !unix

package mqtt_test

import (
	"net"
	"os"
)

// shortages are failures of accept that pass.
func shortages() []error { return []error{&net.OpError{Op: "accept", Err: os.ErrDeadlineExceeded}} }
