package main

import "fmt"

// score counts mutants by what became of them.
type score struct {
	found               int // whether tried or not
	killed, late        int // late: by a time-out
	survived, unreached int // without an explanation
	explained, ofErrors int // ofErrors: not reached, in the answer to an error
	explainedButKilled  int
}

func (s *score) count(m mutant, end outcome, isExplained bool) {
	switch {
	case end == killed || end == timedOut:
		s.killed++
		if end == timedOut {
			s.late++
		}
		if isExplained {
			s.explainedButKilled++
		}
	case isExplained:
		s.explained++
	case end == survived:
		s.survived++
	case m.ofError:
		s.ofErrors++
	default:
		s.unreached++
	}
}

func (s *score) add(other score) {
	s.found += other.found
	s.killed += other.killed
	s.late += other.late
	s.survived += other.survived
	s.unreached += other.unreached
	s.explained += other.explained
	s.ofErrors += other.ofErrors
	s.explainedButKilled += other.explainedButKilled
}

// percent is how many are killed of those that should be: not of those whose survival is
// explained, nor of those that only a failure below would reach.
func (s score) percent() float64 {
	should := s.killed + s.survived + s.unreached
	if should == 0 {
		return 100
	}
	return 100 * float64(s.killed) / float64(should)
}

// String is one line for people.
func (s score) String() string {
	return fmt.Sprintf("%.1f %% killed: %d killed (%d by time-out), %d survived, %d not reached; "+
		"%d explained (%d of the explained were killed), %d not reached in answers to errors; %d mutants in the package",
		s.percent(), s.killed, s.late, s.survived, s.unreached, s.explained, s.explainedButKilled, s.ofErrors, s.found)
}
