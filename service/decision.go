package service

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// Decisions reads why devices were refused. Only Mooring has them.
type Decisions struct{ call *caller }

// Decisions reads why devices were refused. The policy needs the right
// RegistrationStatusRead.
func (c *Client) Decisions() *Decisions { return &Decisions{c.call} }

// DecisionFilter selects decisions. The zero DecisionFilter selects all.
type DecisionFilter struct {
	RegistrationID    string // in any case
	EnrollmentID      string // the individual enrollment that was reached
	EnrollmentGroupID string // the group that was reached
	Reason            string // one of Reasons
	Remote            string // IP address of the device; one of IPv6 stands for its /64
	Since, Until      time.Time

	PageSize     int    // most decisions of a page; 0 leaves it to the service
	Continuation string // where to go on: that of an earlier page of the same filter
}

func (f DecisionFilter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"registrationId": f.RegistrationID, "enrollmentId": f.EnrollmentID, "group": f.EnrollmentGroupID,
		"reason": f.Reason, "remote": f.Remote, "continuation": f.Continuation,
		"since": timeText(f.Since), "until": timeText(f.Until),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.PageSize > 0 {
		query.Set("top", strconv.Itoa(f.PageSize))
	}
	return query
}

// timeText writes a time as the service takes it, "" for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Get returns the decision whose latest refusal has a tracking ID, which is the one that
// the device was told. Of refusals that repeat each other only the latest can be found
// by it.
func (c *Decisions) Get(ctx context.Context, trackingID string) (*wire.Decision, error) {
	id, err := segment("trackingID", trackingID)
	if err != nil {
		return nil, err
	}
	return fetch[wire.Decision](ctx, c.call, Request{Method: http.MethodGet, Path: wire.DecisionsPath + "/" + id})
}

// All returns the decisions that a filter selects, those with the latest refusals first.
// It asks for a page when the one before is used up, and ends with the first error. A
// decision that is repeated meanwhile moves to the front, where it is not met again.
func (c *Decisions) All(ctx context.Context, f DecisionFilter) iter.Seq2[*wire.Decision, error] {
	return func(yield func(*wire.Decision, error) bool) {
		for at := f; ; {
			p, err := c.Page(ctx, at)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range p.Value {
				if !yield(&p.Value[i], nil) {
					return
				}
			}
			if p.Continuation == "" {
				return
			}
			at.Continuation = p.Continuation
		}
	}
}

// Page returns one page of decisions, for those who keep the token of the next page
// themselves, or who want to know how many refusals were not kept.
func (c *Decisions) Page(ctx context.Context, f DecisionFilter) (*wire.DecisionPage, error) {
	p, err := fetch[wire.DecisionPage](ctx, c.call, Request{Method: http.MethodGet, Path: wire.DecisionsPath, Query: f.query()})
	if err == nil && p.Continuation != "" && p.Continuation == f.Continuation {
		return nil, errors.New("the service gives the same page again and again (continuation)")
	}
	return p, err
}

// Reasons returns every reason for which a device can be refused, with what it means and
// what mends it in general.
func (c *Decisions) Reasons(ctx context.Context) ([]wire.DecisionReason, error) {
	all, err := fetch[wire.DecisionReasons](ctx, c.call, Request{Method: http.MethodGet, Path: wire.DecisionReasonsPath})
	if err != nil {
		return nil, err
	}
	return all.Value, nil
}

// StatisticsQuery selects counts of registrations. The zero StatisticsQuery selects the
// last day, hour by hour.
type StatisticsQuery struct {
	Since, Until time.Time     // by default a day before Until, and now
	Step         time.Duration // whole minutes up to an hour, or whole hours; minutes are kept for a day
}

// Statistics returns how many registrations ended how, over time. Only Mooring has it.
// The policy needs the right RegistrationStatusRead.
func (c *Client) Statistics(ctx context.Context, q StatisticsQuery) (*wire.Statistics, error) {
	query := url.Values{}
	for name, value := range map[string]string{"since": timeText(q.Since), "until": timeText(q.Until)} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Step != 0 {
		if q.Step < 0 || q.Step%time.Minute != 0 {
			return nil, errors.New("step must be whole minutes")
		}
		query.Set("step", strconv.FormatInt(int64(q.Step/time.Minute), 10)+"m")
	}
	return fetch[wire.Statistics](ctx, c.call, Request{Method: http.MethodGet, Path: wire.StatisticsPath, Query: query})
}
