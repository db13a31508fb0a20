package embedded

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
)

// statement is a query that was understood. Of the language of IoT Hub it is what the
// official tools send to find devices:
//
//	query  = "SELECT" ( "*" | member { "," member } ) "FROM" "devices" [ "WHERE" test { "AND" test } ]
//	member = "deviceId" | "deviceScope"
//	test   = "capabilities.iotEdge" "=" ( "true" | "false" )
//	       | "deviceId" "=" string | "STARTS_WITH" "(" "deviceId" "," string ")"
//	       | "ARRAY_CONTAINS" "(" "parentScopes" "," string ")"
//
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-query-language.md.
type statement struct {
	members []string // selected; nil: whole twins
	filter  dps.HubDeviceFilter
}

// The members that can be selected.
const (
	deviceIDMember    = "deviceId"
	deviceScopeMember = "deviceScope"
)

func (q statement) twins() bool { return q.members == nil }

func (q statement) selects(member string) bool { return slices.Contains(q.members, member) }

// maxStatement bounds the text, in bytes.
const maxStatement = 16 << 10

// supported ends every refusal.
const supported = "this hub supports SELECT * or SELECT deviceId, deviceScope FROM devices, with WHERE and conditions on " +
	"capabilities.iotEdge, deviceId and parentScopes joined by AND"

var tokenPattern = regexp.MustCompile(`^\s*([A-Za-z_$][A-Za-z0-9_$.]*|'(?:[^']|'')*'|"(?:[^"]|"")*"|[*,=()])`)

// parseStatement reads a query. It fails with Invalid and says what is not understood.
func parseStatement(text string) (statement, error) {
	if len(text) > maxStatement {
		return statement{}, dps.Invalidf("query", "is longer than %d bytes", maxStatement)
	}
	p := &statementParser{all: text, rest: text}
	p.next()
	q := p.statement()
	return q, p.err
}

// statementParser is a recursive descent over the tokens. The first error stays.
type statementParser struct {
	rest string
	all  string
	tok  string // "" at the end
	at   int    // byte where tok begins
	err  error
}

func (p *statementParser) fail(want string) {
	if p.err == nil {
		p.err = dps.Invalidf("query", "at character %d: want %s; %s", utf8.RuneCountInString(p.all[:p.at])+1, want, supported)
	}
	p.tok, p.rest = "", ""
}

func (p *statementParser) next() {
	trimmed := strings.TrimLeft(p.rest, " \t\r\n")
	p.at = len(p.all) - len(trimmed)
	p.tok = ""
	if trimmed == "" {
		p.rest = ""
		return
	}
	m := tokenPattern.FindStringSubmatchIndex(trimmed)
	if m == nil {
		p.fail("a name, a string or an operator")
		return
	}
	p.tok, p.rest = trimmed[m[2]:m[3]], trimmed[m[3]:]
}

// accept passes a token that is one of words, whatever its case.
func (p *statementParser) accept(words ...string) bool {
	if slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(p.tok, w) }) && p.tok != "" {
		p.next()
		return true
	}
	return false
}

func (p *statementParser) want(word string) {
	if !p.accept(word) {
		p.fail(word)
	}
}

func (p *statementParser) statement() statement {
	var q statement
	p.want("SELECT")
	if !p.accept("*") {
		q.members = p.members()
	}
	p.want("FROM")
	p.want("devices")
	if p.accept("WHERE") {
		p.test(&q.filter)
		for p.accept("AND") {
			p.test(&q.filter)
		}
	}
	if p.tok != "" {
		p.fail("the end")
	}
	return q
}

func (p *statementParser) members() []string {
	var all []string
	for p.err == nil {
		switch {
		case p.accept(deviceIDMember, "devices."+deviceIDMember):
			all = append(all, deviceIDMember)
		case p.accept(deviceScopeMember, "devices."+deviceScopeMember):
			all = append(all, deviceScopeMember)
		default:
			p.fail("*, deviceId or deviceScope")
		}
		if !p.accept(",") {
			break
		}
	}
	return all
}

// test reads a condition into f. Each kind is taken once: two of them would have to hold
// together, and a filter has room for one.
func (p *statementParser) test(f *dps.HubDeviceFilter) {
	switch {
	case p.accept("capabilities.iotEdge", "devices.capabilities.iotEdge"):
		p.once(f.Edge == nil)
		p.want("=")
		f.Edge = p.truth()
	case p.accept(deviceIDMember, "devices."+deviceIDMember):
		p.once(f.ID == "")
		p.want("=")
		f.ID = dps.DeviceID(p.text())
	case p.accept("STARTS_WITH"):
		p.once(f.Prefix == "")
		f.Prefix = p.argument(deviceIDMember)
	case p.accept("ARRAY_CONTAINS"):
		p.once(f.Parent == "")
		f.Parent = p.argument("parentScopes")
	default:
		p.fail("a condition")
	}
}

func (p *statementParser) once(free bool) {
	if !free {
		p.fail("another condition; each may appear once")
	}
}

func (p *statementParser) truth() *bool {
	switch {
	case p.accept("true"):
		return new(true)
	case p.accept("false"):
		return new(false)
	}
	p.fail("true or false")
	return nil
}

// argument reads "(member, 'text')".
func (p *statementParser) argument(member string) string {
	p.want("(")
	if !p.accept(member, "devices."+member) {
		p.fail(member)
	}
	p.want(",")
	text := p.text()
	p.want(")")
	return text
}

// text reads a non-empty string: an empty one would leave the filter open.
func (p *statementParser) text() string {
	if len(p.tok) < 3 || p.tok[0] != '\'' && p.tok[0] != '"' {
		p.fail("a non-empty string")
		return ""
	}
	quote := p.tok[:1]
	text := strings.ReplaceAll(p.tok[1:len(p.tok)-1], quote+quote, quote)
	p.next()
	return text
}
