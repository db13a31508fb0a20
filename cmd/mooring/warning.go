package main

import (
	"context"
	"fmt"
	"sync"
)

// warnings returns what prints warnings of the service on the error output: each once,
// as a command may read a record before it writes it.
func warnings(e *env) func(context.Context, string) {
	var mu sync.Mutex
	seen := make(map[string]bool)
	return func(_ context.Context, text string) {
		mu.Lock()
		defer mu.Unlock()
		if !seen[text] {
			seen[text] = true
			fmt.Fprintln(e.err, "Warning: "+text)
		}
	}
}
