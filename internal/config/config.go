// Package config reads the configuration of "mooring serve" from flags, environment
// variables and a YAML file, checks all of it, and reports every problem at once.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/pflag"
)

// Config is a checked configuration. What each value means stands in Fields.
type Config struct {
	Data      string
	Hostnames []string // lower case, each once, at least one; the first is the service's name
	HTTPS     Listen
	MQTT      Listen
	Portal    Listen // plain HTTP on loopback, TLS elsewhere

	Networks      []Network       // which locations are near to whom, in the order given
	WebhookBudget time.Duration   // how long a device waits for its allocation webhook in all
	Takeover      Takeover        // whether a device may take over the hub identity of another enrollment
	WebhookAllow  []WebhookTarget // what webhooks may be beyond the default, each once

	RegistrationRate int           // registrations per minute; 0 is no limit
	ManagementRate   int           // calls of the service API per minute; 0 is no limit
	AuditRetention   time.Duration // how long audit entries are kept; 0 is for ever

	HubRates HubRates // registry writes per minute at linked hubs
	HubCA    string   // PEM file of authorities to trust in outgoing calls; empty if none

	DecisionRetention time.Duration // how long decisions on refused devices are kept; 0 is for ever
	DecisionLimit     int           // how many of them there are at most

	TLSCert   string // with TLSKey, or empty like it
	TLSKey    string
	TLSCompat bool   // whether old devices may use weak TLS
	TLSCA     string // what clients must trust with TLSCert; may be empty
	Recreate  []Part // parts of the data directory that may be created again, each once
	File      string // the YAML file that was read; empty if none
	LogLevel  slog.Level
	LogFormat LogFormat
}

// maxFile bounds the YAML file, in bytes.
const maxFile = 1 << 20

// AddFlags adds a flag to fs for every field.
func AddFlags(fs *pflag.FlagSet) {
	for _, f := range fields() {
		f.addFlag(fs)
	}
}

// AddDataFlag adds --data alone, for commands that only need the data directory.
func AddDataFlag(fs *pflag.FlagSet) { dataField().addFlag(fs) }

// DataDir returns the data directory: from --data if fs has that flag and it was
// given, else from MOORING_DATA, else the default. The YAML file has no say in it.
func DataDir(fs *pflag.FlagSet, getenv func(string) string) (string, error) {
	l := newLoader()
	f := dataField()
	l.apply(f, f.fromFlag(fs), f.fromEnv(getenv))
	return l.config.Data, l.err()
}

// Load returns the configuration. For each field the first of these counts that is
// given: the flag in fs (AddFlags), the environment variable (empty means not given),
// the key in the YAML file, the default.
//
// Every value given is checked, even one that another overrides. The error has one
// line for each problem, in the order of the fields, with the source of the value;
// unknown keys of the file come last.
func Load(fs *pflag.FlagSet, getenv func(string) string) (Config, error) {
	l := newLoader()
	file := l.readFile(fs, getenv)
	for _, f := range fields() {
		l.apply(f, f.fromFlag(fs), f.fromEnv(getenv), file[f.Name])
	}
	l.crossCheck()
	if err := l.err(); err != nil {
		return Config{}, err
	}
	return l.config, nil
}

// given is the text that one source has for a field.
type given struct {
	source string // as the user knows it: "--https", "MOORING_HTTPS", "m.yaml line 3: https"
	values []string
	err    error // why there are no values
}

// loader collects values and problems.
type loader struct {
	config   Config
	winners  map[string]*given  // by field name; absent: the default counts
	problems map[string][]error // by field name; those of no field under ""
}

func newLoader() *loader {
	return &loader{winners: make(map[string]*given), problems: make(map[string][]error)}
}

// readFile returns what the YAML file says, by field name, if a file is given.
func (l *loader) readFile(fs *pflag.FlagSet, getenv func(string) string) map[string]*given {
	f := fileField()
	from := f.fromFlag(fs)
	if from == nil {
		from = f.fromEnv(getenv)
	}
	if from == nil || from.values[0] == "" {
		return nil
	}
	name := from.values[0]
	content, err := readLimited(name)
	if err != nil {
		l.problem(f, from, err)
		return nil
	}
	file, problems := parseFile(name, content)
	l.problems[""] = append(l.problems[""], problems...)
	return file
}

// apply sets f from the first of sources that is there, and checks the others.
func (l *loader) apply(f field, sources ...*given) {
	if err := f.set(&l.config, input{values: f.defaults()}); err != nil {
		l.problem(f, &given{source: "default of " + f.Name}, err)
	}
	for _, g := range sources {
		if g == nil {
			continue
		}
		into := &Config{} // of no use but the check
		if l.winners[f.Name] == nil {
			into = &l.config
			l.winners[f.Name] = g
		}
		err := g.err
		if err == nil {
			err = f.set(into, input{values: g.values, explicit: true})
		}
		if err != nil {
			l.problem(f, g, err)
		}
	}
}

// crossCheck runs the checks that look at more than one field.
func (l *loader) crossCheck() {
	for _, f := range fields() {
		g := l.winners[f.Name]
		if f.check == nil || g == nil || len(l.problems[f.Name]) > 0 {
			continue
		}
		if err := f.check(l.config); err != nil {
			l.problem(f, g, err)
		}
	}
}

// problem adds what is wrong with a value, one problem for each of joined errors.
func (l *loader) problem(f field, g *given, err error) {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		l.problems[f.Name] = append(l.problems[f.Name], fmt.Errorf("%s: %w", g.source, err))
	}
}

// err joins the problems in the order of the fields.
func (l *loader) err() error {
	var all []error
	for _, f := range fields() {
		all = append(all, l.problems[f.Name]...)
	}
	return errors.Join(append(all, l.problems[""]...)...)
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s is larger than 1 MB", name)
	}
	return content, nil
}
