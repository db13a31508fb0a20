package main

import (
	"fmt"
	"strings"
	"time"
)

// Shape of the progress bar.
const (
	barWidth  = 30
	barPauses = 200 * time.Millisecond // between two pictures
)

// importMeter shows on stderr how far an import is, when that is a terminal.
type importMeter struct {
	line    *meter
	source  *importSource
	started time.Time
	before  int // records that earlier runs did
	drawn   time.Time
}

func newImportMeter(e *env, s *importSource) *importMeter {
	return &importMeter{line: newMeter(e), source: s, started: time.Now(), before: s.Report.records()}
}

// show draws the bar, unless it was drawn just now.
func (m *importMeter) show() {
	now := time.Now()
	if !m.line.terminal || now.Sub(m.drawn) < barPauses {
		return
	}
	m.drawn, m.line.shown = now, true
	done := m.source.Report.records()
	rate := float64(done-m.before) / now.Sub(m.started).Seconds()
	fmt.Fprintf(m.line.e.err, "\r%s %d records  %.0f per second  %d refused \x1b[K", m.bar(), done, rate, m.source.Report.Refused)
}

// bar pictures which part of the file is done; of the standard input nobody knows.
func (m *importMeter) bar() string {
	if m.source.Size == 0 {
		return ""
	}
	share := float64(m.source.Offset) / float64(m.source.Size)
	full := int(share * barWidth)
	return fmt.Sprintf("%3.0f %% |%s%s| %.1f of %.1f MB ", share*100, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full),
		float64(m.source.Offset)/1e6, float64(m.source.Size)/1e6)
}

func (m *importMeter) end() {
	m.drawn = time.Time{}
	m.show()
	m.line.end()
}
