package register

import "time"

// How a webhook that fails for a while is called again.
// Source: azure-docs, articles/iot-dps/concepts-custom-allocation.md.
const (
	webhookRetries    = 10
	firstWebhookDelay = time.Second
	webhookDelayGrows = 9 * time.Second
)

// WebhookDelay returns how long to wait before a webhook is called again that was called
// so many times; again is false when it is not.
func WebhookDelay(calls int) (wait time.Duration, again bool) {
	if calls < 1 || calls > webhookRetries {
		return 0, false
	}
	return firstWebhookDelay + time.Duration(calls-1)*webhookDelayGrows, true
}
