package allocate

import "github.com/mooring-iot/mooring/internal/dps"

// StepName says what a step is about.
type StepName string

// What steps are about, in the order in which they come.
const (
	StepPolicy     StepName = "policy"
	StepLeftOut    StepName = "excluded" // a hub that is no candidate
	StepCandidates StepName = "candidates"
	StepNetwork    StepName = "network"
	StepLocation   StepName = "location"
	StepScores     StepName = "scores"
	StepHub        StepName = "hub"
	StepFailed     StepName = "failed"
)

// Step is one thing that was considered, in words.
type Step struct {
	Name StepName
	Text string
}

// trace collects steps. A nil one collects none: whoever has to build a text asks on
// first.
type trace struct{ steps []Step }

func (t *trace) on() bool { return t != nil }

func (t *trace) add(name StepName, text string) {
	if t != nil {
		t.steps = append(t.steps, Step{name, text})
	}
}

// fail adds a failure and returns it.
func (t *trace) fail(err error) error {
	if t.on() {
		t.add(StepFailed, dps.MessageOf(err))
	}
	return err
}
