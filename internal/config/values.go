package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LogFormat is the form of the log.
type LogFormat string

// The forms of the log.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Listen says where a listener listens. The zero value is off.
type Listen struct {
	addr     string
	explicit bool
}

// Off says that there is to be no listener.
func (l Listen) Off() bool { return l.addr == "" }

// Addr returns "host:port" or ":port" for net.Listen; it is empty when off.
func (l Listen) Addr() string { return l.addr }

// Explicit says that a flag, variable or file gave the address: it may not be
// replaced by another, as a default may.
func (l Listen) Explicit() bool { return l.explicit }

// String returns the address, or "off".
func (l Listen) String() string {
	if l.Off() {
		return off
	}
	return l.addr
}

const off = "off"

// ParseListen reads "host:port", ":port" or "off", as if a user had given it. The
// port is a number, 0 for any free one; the host is an IP address or a DNS name.
func ParseListen(text string) (Listen, error) {
	if text == off {
		return Listen{explicit: true}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || !isListenHost(host) {
		return Listen{}, fmt.Errorf("%q is not an address (use host:port, :port or off)", text)
	}
	return Listen{addr: net.JoinHostPort(host, port), explicit: true}, nil
}

func isListenHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return host == "" || err == nil || isDNSName(strings.ToLower(host))
}

// parseHostname returns a DNS name in lower case, or an IP address in its usual form.
func parseHostname(text string) (string, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" && !ip.IsUnspecified() {
		return ip.Unmap().String(), nil
	}
	name := strings.ToLower(text)
	if !isDNSName(name) {
		return "", fmt.Errorf("%q is not a DNS name or an IP address (without port, brackets or wildcard)", text)
	}
	return name, nil
}

// isDNSName takes lower-case names. One whose last label is a number could only be a
// mistyped address.
// Source: RFC 1123, section 2.1.
func isDNSName(name string) bool {
	const maxName = 253
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	return len(name) <= maxName && !slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) &&
		strings.Trim(last, "0123456789") != ""
}

func isLabel(label string) bool {
	const maxLabel = 63
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
	return label != "" && len(label) <= maxLabel && strings.Trim(label, allowed) == "" &&
		label[0] != '-' && label[len(label)-1] != '-'
}

// parseAll splits texts at commas, parses each part, and drops what comes again.
func parseAll[T comparable](texts []string, parse func(string) (T, error)) ([]T, error) {
	var values []T
	for part := range strings.SplitSeq(strings.Join(texts, ","), ",") {
		value, err := parse(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values, nil
}

// parseSwitch reads true or false.
func parseSwitch(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

func parseText(text string) (string, error) { return text, nil }

func parseDirectory(text string) (string, error) {
	if text == "" {
		return "", errors.New("is empty (use a directory)")
	}
	return text, nil
}

// maxRate bounds a rate per minute: a million a second.
const maxRate = 60_000_000

func parseRate(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxRate {
		return 0, fmt.Errorf("is not a rate per minute from 0 to %d", maxRate)
	}
	return n, nil
}

// maxRetention bounds how long something is kept: a century, in days.
const maxRetention = 36_500

// parseRetention reads days ("90d"), a Go duration ("36h"), or 0.
func parseRetention(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	var d time.Duration
	var err error
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16) // at most 65535
		d = time.Duration(n) * day               //nolint:gosec // 180 years, which fit
	} else {
		d, err = time.ParseDuration(text)
	}
	if err != nil || d < 0 || d > maxRetention*day {
		return 0, fmt.Errorf(
			"%q is not a retention time (use days such as 90d, hours such as 36h, or 0; at most %dd)",
			text,
			maxRetention,
		)
	}
	return d, nil
}

// Bounds of how many decisions are kept.
const (
	minDecisions = 100
	maxDecisions = 10_000_000
)

func parseDecisionLimit(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < minDecisions || n > maxDecisions {
		return 0, fmt.Errorf("is not a number of refusals from %d to %d", minDecisions, maxDecisions)
	}
	return n, nil
}

func parseLogLevel(text string) (slog.Level, error) {
	switch text {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not a log level (use debug, info, warn or error)", text)
}

func parseLogFormat(text string) (LogFormat, error) {
	if f := LogFormat(text); f == LogText || f == LogJSON {
		return f, nil
	}
	return "", fmt.Errorf("%q is not a log format (use text or json)", text)
}

// Part is a part of the data directory.
type Part string

// The parts that may be created again.
const (
	PartDatabase Part = "database"
	PartTLS      Part = "tls"
)

func parsePart(text string) (Part, error) {
	if p := Part(text); p == PartDatabase || p == PartTLS {
		return p, nil
	}
	return "", fmt.Errorf("%q is not a part of the data directory (use database or tls)", text)
}

// checkTLSCA refuses a CA for a certificate that the service issues itself.
func checkTLSCA(c Config) error {
	if c.TLSCA != "" && c.TLSCert == "" {
		return errors.New("is for tls-cert, which is not given: clients trust the service's own TLS authority")
	}
	return nil
}

// checkSomeListener refuses a service that nobody could reach.
func checkSomeListener(c Config) error {
	if c.HTTPS.Off() && c.MQTT.Off() && c.Portal.Off() {
		return errors.New("https, mqtt and portal are all off: there is nothing to listen on")
	}
	return nil
}

// checkTLSPair is the check of both fields, so it says which one is missing.
func checkTLSPair(c Config) error {
	switch {
	case c.TLSCert != "" && c.TLSKey == "":
		return errors.New("a certificate needs its key: set tls-key too")
	case c.TLSKey != "" && c.TLSCert == "":
		return errors.New("a key needs its certificate: set tls-cert too")
	}
	return nil
}
