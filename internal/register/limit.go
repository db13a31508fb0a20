package register

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mooring-iot/mooring/internal/dps"
)

// throttled is the refusal of a call that comes too early.
// Source of the text: azure-docs issue 69789.
func throttled(wait time.Duration) error {
	return &dps.Error{Code: dps.Throttled, Message: "Operations are being throttled for this tenant.", RetryAfter: wait}
}

// tooMany is the refusal of a call that comes too early, with which limit it exceeded and
// what to do about it.
func tooMany(wait time.Duration, detail, remedy string) error {
	return dps.Explained(dps.ReasonThrottled, throttled(wait), detail, remedy)
}

// rateLimit bounds the registrations of the whole service; nil does not.
type rateLimit struct{ limiter *rate.Limiter }

// newRateLimit allows perMinute registrations, all at once or spread.
func newRateLimit(perMinute int) *rateLimit {
	if perMinute <= 0 {
		return nil
	}
	return &rateLimit{rate.NewLimiter(rate.Every(time.Minute/time.Duration(perMinute)), perMinute)}
}

// take counts one registration at now, or returns how long to wait for it.
func (l *rateLimit) take(now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	r := l.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// exceeded is the refusal of a registration over the limit.
func (l *rateLimit) exceeded(wait time.Duration) error {
	return tooMany(wait, fmt.Sprintf("the service received more than %d registrations in a minute", l.limiter.Burst()),
		"Retry after the time given in the answer, or raise --registration-rate.")
}

// pollsExceeded is the refusal of a poll over the limit.
func pollsExceeded(wait time.Duration) error {
	return tooMany(wait, fmt.Sprintf("the device polled more than %d times in %d seconds", pollBurst, int(pollWindow.Seconds())),
		"Poll again after the time given in the answer (Retry-After, or retry-after in the MQTT topic).")
}

// The limit of polls for each device.
// Source: azure-docs, includes/iot-dps-limits.md, "Device polling".
const (
	pollBurst  = 5
	pollWindow = 10 * time.Second
)

// pollLimit bounds the polls of each device. It remembers only devices that polled
// within the last two windows.
type pollLimit struct {
	mu           sync.Mutex
	turned       time.Time // when current began
	current, old map[deviceKey]polls
}

// deviceKey names a device, however its ID is spelled.
type deviceKey struct {
	instance dps.InstanceID
	id       string
}

// polls is a bucket that fills up again within one window.
type polls struct {
	used float64 // of pollBurst
	at   time.Time
}

const pollsPerSecond = pollBurst / (float64(pollWindow) / float64(time.Second))

// wait returns how long until one more poll fits.
func (p polls) wait() time.Duration {
	over := max(0, p.used+1-pollBurst)
	return time.Duration(over / pollsPerSecond * float64(time.Second))
}

func newPollLimit() *pollLimit {
	return &pollLimit{current: make(map[deviceKey]polls)}
}

// take counts one poll at now, or returns how long to wait for it.
func (l *pollLimit) take(in dps.InstanceID, id dps.RegistrationID, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	key := deviceKey{in, id.Key()}
	p := l.bucket(key, now)
	wait := p.wait()
	if wait == 0 {
		p.used++
	}
	l.current[key] = p
	return wait
}

// next returns how long a device has to wait before its next poll is none too many.
func (l *pollLimit) next(in dps.InstanceID, id dps.RegistrationID, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	return l.bucket(deviceKey{in, id.Key()}, now).wait()
}

// bucket returns the bucket of a device as it is now.
func (l *pollLimit) bucket(key deviceKey, now time.Time) polls {
	p, known := l.current[key]
	if !known {
		p = l.old[key]
	}
	p.used = max(0, p.used-pollsPerSecond*now.Sub(p.at).Seconds())
	p.at = now
	return p
}

// turn forgets devices whose buckets have filled up.
func (l *pollLimit) turn(now time.Time) {
	switch age := now.Sub(l.turned); {
	case age >= 2*pollWindow || age < 0:
		l.old, l.current = nil, make(map[deviceKey]polls)
	case age >= pollWindow:
		l.old, l.current = l.current, make(map[deviceKey]polls)
	default:
		return
	}
	l.turned = now
}
