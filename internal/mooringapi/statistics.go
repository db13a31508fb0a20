package mooringapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/wire"
)

func (s *server) statisticsRoutes() []route.Route {
	return []route.Route{{Method: "GET", Pattern: wire.StatisticsPath, Handle: s.guarded(dps.RegistrationStatusRead, s.showStatistics)}}
}

// What is answered to who does not say: the last day, in hours.
const (
	statisticsSpan = 24 * time.Hour
	statisticsStep = time.Hour
	maxStep        = 7 * 24 * time.Hour
)

// showStatistics answers with counts of registrations over time.
func (s *server) showStatistics(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	given, err := parameters(r, "since", "until", "step")
	if err != nil {
		return err
	}
	step, until := statisticsStep, s.Now()
	if text := given["step"]; text != "" {
		if step, err = readStep(text); err != nil {
			return err
		}
	}
	if text := given["until"]; text != "" {
		if until, err = readTime("until", text); err != nil {
			return err
		}
	}
	since := until.Add(-statisticsSpan)
	if text := given["since"]; text != "" {
		if since, err = readTime("since", text); err != nil {
			return err
		}
	}
	series, err := s.Statistics.Series(r.Context(), s.Instance, since, until, step)
	if err != nil {
		return err
	}
	answer := wire.Statistics{
		Since: moment(series[0].Start), Until: moment(until), StepSeconds: int64(step / time.Second),
		Value: make([]wire.StatisticsBucket, len(series)),
	}
	for i, b := range series {
		answer.Value[i] = wire.StatisticsBucket{Time: moment(b.Start), Assigned: b.Assigned, Failed: b.Failed, Refused: b.Refused}
	}
	return httpio.WriteJSON(w, http.StatusOK, answer)
}

// readStep reads a number with m, h or d: "5m", "1h", "1d".
func readStep(text string) (time.Duration, error) {
	for unit, d := range map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour} {
		number, found := strings.CutSuffix(text, unit)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if step := time.Duration(n) * d; err == nil && step > 0 && step <= maxStep { //nolint:gosec // at most 65535
			return step, nil
		}
	}
	return 0, dps.Invalidf("step", "must be a duration such as 1m, 5m, 1h or 1d, at most 7d")
}
