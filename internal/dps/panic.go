package dps

import (
	"fmt"
	"runtime/debug"
)

// PanicObserver counts panics.
type PanicObserver interface {
	// Panicked is called with each panic that was caught; where is "http", "mqtt", "worker"
	// or "writer".
	Panicked(where string)
}

// Recovered returns a value that recover returned as an error of code Internal, with the
// stack for the log. observer hears of it if it is a PanicObserver.
//
// The rule: a panic ends what it happened in, and nothing else. That is one HTTP request,
// one MQTT connection, one step of a registration (which is tried again later) or one
// change of the store (which is rolled back). It is logged as an error, with the tracking
// ID that the caller is told. Anywhere else a panic ends the process, because nobody knows
// what it left behind; the store is consistent at every moment.
func Recovered(p, observer any, where string) error {
	if o, ok := observer.(PanicObserver); ok {
		o.Panicked(where)
	}
	return Wrap(Internal, fmt.Errorf("panic: %v\n%s", p, debug.Stack()), "Internal server error.")
}
