package mqtt

import (
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Names for the tests outside.
var (
	ParseUsername = parseUsername
	AnswerTopic   = answerTopic
	IsHubLogin    = isHubLogin
)

const MaxUnread = maxUnread

// ParseTopic returns what parseTopic read.
func ParseTopic(topic string) (poll bool, requestID string, operation dps.OperationID, err error) {
	r, err := parseTopic(topic)
	return r.poll, r.requestID, r.operation, err
}

const JavaAnswerDelay = javaAnswerDelay

// SetAfter replaces the clock by which s delays answers.
func (s *Server) SetAfter(after func(time.Duration) <-chan time.Time) { s.after = after }
