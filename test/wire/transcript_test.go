// Package wire_test replays requests against the real service over real TLS and
// compares what it answers, to the member.
//
// The conversations stand in testdata as text. A file is one conversation with one
// fresh service:
//
//	# A comment, outside of bodies.
//	certificate root = root "Factory Root"
//	certificate dev = device "press-0042" by root
//
//	--- what this exchange shows
//	PUT /enrollmentGroups/line-7
//	If-Match: *
//
//	{"enrollmentGroupId": "line-7", ...}
//	=== 200
//	ETag: -
//
//	{"enrollmentGroupId": "line-7", "etag": "{{etag e1}}", ...}
//
// A request that starts with an HTTP method goes to the https listener; one that
// starts with register, poll or lookup is an operation of the device API and goes
// over the transport under test:
//
//	--- the first registration
//	register press-0042
//	With: dev
//
//	{"registrationId": "press-0042"}
//	=== 202
//	Retry-After: 1
//
//	{"operationId": "{{operation op}}", "status": "assigning"}
//
// Requests know, beside headers, With (the certificates that the client shows, leaf
// first), Body (a quoted Go string, for bodies that are no lines of text) and, on
// device operations, Version, Scope, Key or GroupKey (what the device signs its token
// with, and what that is derived from) and Transport (the only one that can say this;
// what a protocol does not have at all is left out by itself). The right token for the
// path is added unless Authorization is there; "Authorization: -" sends none. A path
// without a query gets the api-version of its API; one that ends in '?' gets none.
//
// A line such as "serve --management-rate 2" before the first exchange gives the service flags.
//
// A line "function" there starts an operator's function for custom allocation, at
// {{function}}. Lines such as "function 429" or "function 200 {...}" before an exchange
// say what it answers from then on: one for each call, the last one for all that follow.
// The request "asked" shows what it was asked last, with the number of calls as status. A poll with "Await: the end" is sent
// once the registration is no longer under way.
//
// A certificate may also be declared between exchanges, and then use what was
// remembered before.
//
// In answers a header "-" must be absent, no body means an empty one, and "..." is a
// body that does not matter. Members must be the same ones, neither more nor fewer.
// {{kind}} stands for any value of a kind, {{kind name}} also remembers it, and
// {{name}} is a remembered value; {{pem:root}} and the like are facts of a
// certificate.
package wire_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// transcript is one file.
type transcript struct {
	flags     []string // of mooring serve
	function  bool     // whether there is one
	exchanges []exchange
}

// exchange is one request with the answer that is expected.
type exchange struct {
	declares []string // certificates to make before
	steps    []string // of the function, from here on

	title   string
	at      string // file and line
	request string // "PUT /enrollments/x" or "register x"
	headers []header
	body    string
	status  int
	expects []header
	want    string
}

// header is one "Name: value" line.
type header struct{ name, value string }

// take removes the header called name and returns its value.
func take(headers []header, name string) (value string, found bool, rest []header) {
	for _, h := range headers {
		if strings.EqualFold(h.name, name) {
			value, found = h.value, true
			continue
		}
		rest = append(rest, h)
	}
	return value, found, rest
}

// readTranscript parses a file.
func readTranscript(t *testing.T, file string) transcript {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &parser{t: t, file: file, lines: strings.Split(string(text), "\n")}
	var out transcript
	var declared, steps []string
	for p.more() {
		switch line := p.line(); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, serveLine) && len(out.exchanges) == 0:
			out.flags = strings.Fields(strings.TrimPrefix(line, serveLine))
		case line == strings.TrimSpace(functionLine) && len(out.exchanges) == 0:
			out.function = true
		case strings.HasPrefix(line, functionLine):
			steps = append(steps, strings.TrimPrefix(line, functionLine))
		case strings.HasPrefix(line, certificateLine):
			declared = append(declared, strings.TrimPrefix(line, certificateLine))
		case strings.HasPrefix(line, titleLine):
			e := p.exchange(strings.TrimPrefix(line, titleLine))
			e.declares, e.steps, declared, steps = declared, steps, nil, nil
			out.exchanges = append(out.exchanges, e)
		default:
			p.fail("unexpected line %q", line)
		}
	}
	return out
}

// What the lines between bodies start with.
const (
	serveLine       = "serve "
	certificateLine = "certificate "
	functionLine    = "function "
	titleLine       = "--- "
	statusLine      = "=== "
)

type parser struct {
	t     *testing.T
	file  string
	lines []string
	next  int
}

func (p *parser) more() bool   { return p.next < len(p.lines) }
func (p *parser) peek() string { return strings.TrimRight(p.lines[p.next], " ") }

func (p *parser) line() string {
	line := p.peek()
	p.next++
	return line
}

func (p *parser) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s:%d: %s", p.file, p.next, fmt.Sprintf(format, args...))
}

func (p *parser) exchange(title string) exchange {
	e := exchange{title: title, at: fmt.Sprintf("%s:%d", p.file, p.next), request: p.line()}
	e.headers = p.headers()
	e.body = p.body(statusLine)
	if raw, ok, rest := take(e.headers, "Body"); ok {
		text, err := strconv.Unquote(raw)
		if err != nil {
			p.fail("Body: %v", err)
		}
		e.body, e.headers = text, rest
	}
	if !p.more() {
		p.fail("no answer to %s", e.request)
	}
	status, err := strconv.Atoi(strings.TrimPrefix(p.line(), statusLine))
	if err != nil {
		p.fail("want a line like === 200")
	}
	e.status, e.expects = status, p.headers()
	e.want = p.body(titleLine, certificateLine, functionLine)
	return e
}

// headers reads lines up to a blank one, which it skips, or the next part.
func (p *parser) headers() []header {
	var all []header
	for p.more() && !p.at(statusLine, titleLine, certificateLine, functionLine) {
		line := p.line()
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			p.fail("want a header, not %q", line)
		}
		all = append(all, header{name, strings.TrimSpace(value)})
	}
	return all
}

// at reports whether the next line starts with one of prefixes.
func (p *parser) at(prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p.peek(), prefix) })
}

// body reads lines up to one that starts with one of stops.
func (p *parser) body(stops ...string) string {
	var lines []string
	for p.more() && !p.at(stops...) {
		if line := p.line(); !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
