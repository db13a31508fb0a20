package serviceapi

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/mooring-iot/mooring/internal/dps"
)

// callLimit bounds the calls of the whole service; nil does not. A bulk operation and a
// page of a query are one call each, as DPS counts them.
// Source: azure-docs, includes/iot-dps-limits.md, "Operations".
type callLimit struct{ limiter *rate.Limiter }

// newCallLimit allows perMinute calls, all at once or spread; 0 is no limit.
func newCallLimit(perMinute int) *callLimit {
	if perMinute <= 0 {
		return nil
	}
	return &callLimit{rate.NewLimiter(rate.Every(time.Minute/time.Duration(perMinute)), perMinute)}
}

// take counts a call, or fails with Throttled.
func (l *callLimit) take(now time.Time) error {
	if l == nil {
		return nil
	}
	r := l.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return &dps.Error{Code: dps.Throttled, RetryAfter: wait}
}
