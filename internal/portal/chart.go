package portal

import (
	"net/http"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// Geometry of a chart, in units of its view box.
const (
	chartWidth  = 600
	chartHeight = 120
)

// chart is a row of bars over time.
type chart struct {
	ID, Title, Class string
	Total, Most      int64
	From, To         string // times of the wire
	Bars             []bar
	Width, Height    int
}

// bar is one bar, with the span that it stands for.
type bar struct {
	X, Y, W, H string
	Time       string
	Count      int64
}

// newChart draws counts over time. Bars have a gap between them; one that stands for
// anything is seen.
func newChart(id, title, class string, all *wire.Statistics, count func(wire.StatisticsBucket) int64) chart {
	c := chart{ID: id, Title: title, Class: class, From: all.Since, To: all.Until, Width: chartWidth, Height: chartHeight}
	for _, b := range all.Value {
		c.Total += count(b)
		c.Most = max(c.Most, count(b))
	}
	if len(all.Value) == 0 {
		return c
	}
	step := float64(chartWidth) / float64(len(all.Value))
	gap := min(step*0.2, 3)
	for i, b := range all.Value {
		n := count(b)
		height := 0.0
		if n > 0 {
			const least = 2
			height = max(float64(n)/float64(c.Most)*chartHeight, least)
		}
		c.Bars = append(c.Bars, bar{
			X: units(float64(i)*step + gap/2), W: units(step - gap), Y: units(chartHeight - height), H: units(height), Time: b.Time, Count: n,
		})
	}
	return c
}

func units(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

// spans are the spans of time that charts can show.
var spans = []struct {
	Name, Title string
	span, step  time.Duration
}{
	{"hour", "Hour", time.Hour, time.Minute},
	{"day", "Day", 24 * time.Hour, time.Hour},
	{"week", "Week", 7 * 24 * time.Hour, 6 * time.Hour},
	{"month", "Month", 30 * 24 * time.Hour, 24 * time.Hour},
}

// chartsData are the charts of the overview.
type chartsData struct {
	Span   string
	Spans  []namedText
	Charts []chart
	Failed int64
}

// charts asks for the counts of a span.
func (s *server) charts(r *http.Request, client *service.Client) (chartsData, error) {
	chosen := spans[1]
	data := chartsData{}
	for _, sp := range spans {
		if sp.Name == r.URL.Query().Get("span") {
			chosen = sp
		}
		data.Spans = append(data.Spans, namedText{sp.Name, sp.Title})
	}
	data.Span = chosen.Name
	now := s.Now()
	all, err := client.Statistics(r.Context(), service.StatisticsQuery{Since: now.Add(-chosen.span), Until: now, Step: chosen.step})
	if err != nil {
		return data, err
	}
	data.Charts = []chart{
		newChart("assigned", "Devices assigned", "bar-ok", all, func(b wire.StatisticsBucket) int64 { return b.Assigned }),
		newChart("refused", "Refused", "bar-bad", all, func(b wire.StatisticsBucket) int64 { return b.Refused }),
	}
	for _, b := range all.Value {
		data.Failed += b.Failed
	}
	return data, nil
}
