package mqtt

import "github.com/mooring-iot/mooring/internal/dps"

// Names for the tests outside.
var (
	ParseUsername = parseUsername
	AnswerTopic   = answerTopic
)

const MaxUnread = maxUnread

// ParseTopic returns what parseTopic read.
func ParseTopic(topic string) (poll bool, requestID string, operation dps.OperationID, err error) {
	r, err := parseTopic(topic)
	return r.poll, r.requestID, r.operation, err
}
