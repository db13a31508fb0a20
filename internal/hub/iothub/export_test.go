package iothub

import (
	"net/http"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Numbers is the table of the hub's codes.
var Numbers = numbers

// MaxCalls is how many calls are under way at one hub.
const MaxCalls = maxCalls

// Words is words.
func Words(body []byte) string { return words(body) }

// RetryAfter is retryAfter.
func RetryAfter(header http.Header, now time.Time) time.Duration { return retryAfter(header, now) }

// ReadRefusal returns what readRefusal finds.
func ReadRefusal(status int, header http.Header, body []byte) (name string, number int, words string) {
	r := readRefusal(status, header, body)
	return r.name, r.number, r.words
}

// ReadBulk is readBulk.
func ReadBulk(status int, body []byte) (withoutTwin bool, err error) { return readBulk(status, body) }

// ReadIdentity returns what readIdentity finds.
func ReadIdentity(header http.Header, body []byte) (etag string, a dps.HubAuthentication, err error) {
	i, err := readIdentity(header, body)
	return i.etag, i.auth, err
}

// ReadTwin is readTwin.
func ReadTwin(body []byte) (dps.Twin, error) { return readTwin(body) }

// Pacers returns of how many hubs the pool remembers the rate.
func (p *Pool) Pacers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pacers)
}
