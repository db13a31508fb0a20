package storetest

import (
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/statistics"
)

// counted returns a row of one span, hours after the start of the day.
func counted(in dps.InstanceID, width time.Duration, hour int, c statistics.Counts) statistics.Row {
	return statistics.Row{
		Instance: in,
		Width:    width,
		Bucket:   statistics.Bucket{Start: midnight.Add(time.Duration(hour) * time.Hour), Counts: c},
	}
}

var midnight = start.Truncate(24 * time.Hour)

var statisticsCases = []testCase{
	{"counts add up", func(t *testing.T, w *world) {
		counts := func(in dps.InstanceID, width time.Duration, from, to int) []statistics.Bucket {
			t.Helper()
			return read[[]statistics.Bucket](t)(w.Counts(t.Context(), in, width,
				midnight.Add(time.Duration(from)*time.Hour), midnight.Add(time.Duration(to)*time.Hour)))
		}
		same(t, "none", counts(here, time.Hour, 0, 24), []statistics.Bucket(nil))
		two := counted(here, time.Hour, 2, statistics.Counts{Assigned: 1, Failed: 2, Refused: 3})
		five := counted(here, time.Hour, 5, statistics.Counts{Refused: 1 << 40})
		must(
			t,
			w.AddCounts(
				t.Context(),
				[]statistics.Row{five, two, two, counted(here, time.Minute, 2, two.Counts), counted(there, time.Hour, 2, five.Counts)},
			),
		)
		must(t, w.AddCounts(t.Context(), []statistics.Row{two}))
		sum := statistics.Bucket{Start: two.Start, Counts: statistics.Counts{Assigned: 3, Failed: 6, Refused: 9}}
		same(t, "all", counts(here, time.Hour, 0, 24), []statistics.Bucket{sum, five.Bucket})
		same(t, "from is included, to is not", counts(here, time.Hour, 2, 5), []statistics.Bucket{sum})
		same(t, "minutes", counts(here, time.Minute, 0, 24), []statistics.Bucket{{Start: two.Start, Counts: two.Counts}})
		same(t, "another instance", counts(there, time.Hour, 0, 24), []statistics.Bucket{{Start: two.Start, Counts: five.Counts}})

		must(t, w.ExpireCounts(t.Context(), time.Hour, five.Start))
		same(t, "after expiry", counts(here, time.Hour, 0, 24), []statistics.Bucket{five.Bucket})
		same(t, "minutes stay", len(counts(here, time.Minute, 0, 24)), 1)
	}},
	{"counts are added all or none", func(t *testing.T, w *world) {
		rows := []statistics.Row{
			counted(here, time.Hour, 1, statistics.Counts{Assigned: 1}),
			counted("ghost", time.Hour, 1, statistics.Counts{Assigned: 1}),
		}
		if err := w.AddCounts(t.Context(), rows); err == nil {
			t.Error("counted for an instance that does not exist")
		}
		same(
			t,
			"nothing",
			read[[]statistics.Bucket](t)(w.Counts(t.Context(), here, time.Hour, midnight, midnight.Add(24*time.Hour))),
			[]statistics.Bucket(nil),
		)
	}},
}
