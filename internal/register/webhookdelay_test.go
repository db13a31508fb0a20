package register_test

import (
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/register"
)

// Ten times more, after a second at first, then after nine seconds more each time.
func TestWebhookDelay(t *testing.T) {
	var total time.Duration
	calls := 1
	for ; ; calls++ {
		wait, again := register.WebhookDelay(calls)
		if !again {
			break
		}
		if want := time.Duration(1+9*(calls-1)) * time.Second; wait != want {
			t.Errorf("after %d calls: %v, want %v", calls, wait, want)
		}
		total += wait
	}
	if calls != 11 || total != 415*time.Second {
		t.Errorf("%d calls over %v, want 11 over 415 s", calls, total)
	}
	if _, again := register.WebhookDelay(0); again {
		t.Error("a webhook that was not called is called again")
	}
}
