package mqtt

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// The topics. There are no others.
const (
	answerFilter  = "$dps/registrations/res/#"
	answerPrefix  = "$dps/registrations/res/"
	registerTopic = "$dps/registrations/PUT/iotdps-register/"
	pollTopic     = "$dps/registrations/GET/iotdps-get-operationstatus/"
)

// maxRequestID bounds $rid, which comes back in the answer's topic.
const maxRequestID = 256

var errTopic = errors.New("this endpoint has no such topic")

// request is what a topic asks for.
type request struct {
	poll      bool
	requestID string // as written, to be echoed
	operation dps.OperationID
}

// parseTopic reads the topic of a request: a path, then ?$rid={id} and for a poll
// operationId={id}, in any order.
func parseTopic(topic string) (request, error) {
	path, query, found := strings.Cut(topic, "?")
	if !found {
		return request{}, errTopic
	}
	var r request
	switch path {
	case registerTopic:
	case pollTopic:
		r.poll = true
	default:
		return request{}, errTopic
	}
	for part := range strings.SplitSeq(query, "&") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "$rid":
			r.requestID = value
		case "operationId":
			r.operation = dps.OperationID(value)
		}
	}
	if r.requestID == "" || len(r.requestID) > maxRequestID || (r.poll && r.operation == "") {
		return request{}, errTopic
	}
	return r, nil
}

// answerTopic writes the topic of an answer. $rid comes first, and retry-after never
// does: some clients look at the order.
func answerTopic(status int, requestID string, retryAfter time.Duration) string {
	topic := answerPrefix + strconv.Itoa(status) + "/?$rid=" + requestID
	if retryAfter > 0 {
		topic += "&retry-after=" + strconv.FormatInt(int64((retryAfter+time.Second-1)/time.Second), 10)
	}
	return topic
}
