package config

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Field describes one setting, for help and documentation.
type Field struct {
	Name    string // of the flag, without dashes, and of the YAML key
	Env     string // the environment variable
	Value   string // what kind of value it takes, in a word
	Default string // as one would write it; empty if there is none
	Usage   string
	// List says that several values may be given: the flag repeated, a YAML list, or
	// any source with commas.
	List bool
	// Switch says that the flag alone, without a value, means true.
	Switch bool
	// InFile says whether the YAML file may have it.
	InFile bool
}

// Fields returns every setting, in the order of the documentation.
func Fields() []Field {
	var all []Field
	for _, f := range fields() {
		all = append(all, f.Field)
	}
	return all
}

// field is a setting with what makes it work.
type field struct {
	Field
	set func(*Config, input) error
	// check looks at the whole when this field was given by any source; may be nil.
	check func(Config) error
}

// input is what a setter gets.
type input struct {
	values   []string // one, unless the field is a list
	explicit bool     // false for the default
}

// Names of the fields that code refers to.
const (
	nameData   = "data"
	nameConfig = "config"
)

// fields is the one table that flags, environment variables, YAML keys and
// documentation come from.
func fields() []field {
	table := slices.Concat(endpointFields(), tlsFields(), deviceFields(), upkeepFields())
	for i := range table {
		f := &table[i]
		f.Env = "MOORING_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		f.InFile = f.Name != nameConfig
	}
	return table
}

// endpointFields say where the service is, and under which names.
func endpointFields() []field {
	return []field{
		{
			Field: Field{
				Name:    nameData,
				Value:   "directory",
				Default: "./mooring-data",
				Usage:   "directory for all data of the service; created if absent",
			},
			set: one(func(c *Config) *string { return &c.Data }, parseDirectory),
		},
		{
			Field: Field{
				Name:  "recreate",
				Value: "part",
				Usage: "recreate a missing part of a data directory that was in use: database (new, empty " +
					"service) or tls (new TLS authority that all clients must trust); repeatable",
				List: true,
			},
			set: optional(func(c *Config) *[]Part { return &c.Recreate }, parsePart),
		},
		{
			Field: Field{
				Name:    "hostname",
				Value:   "name",
				Default: "localhost",
				Usage:   "DNS name or IP address that devices and SDKs use; the first is the service's own; repeatable",
				List:    true,
			},
			set: many(func(c *Config) *[]string { return &c.Hostnames }, parseHostname),
		},
		{
			Field: Field{
				Name:    "https",
				Value:   "address",
				Default: ":443",
				Usage:   "address of HTTPS, or off; the default falls back to :8443 if 443 cannot be bound",
			},
			set:   address(func(c *Config) *Listen { return &c.HTTPS }, ParseListen),
			check: checkSomeListener,
		},
		{
			Field: Field{Name: "mqtt", Value: "address", Default: ":8883", Usage: "address of MQTT for devices, or off"},
			set:   address(func(c *Config) *Listen { return &c.MQTT }, ParseListen),
		},
		{
			Field: Field{
				Name:    "portal",
				Value:   "address",
				Default: "127.0.0.1:8080",
				Usage: "address of the portal, metrics and health, or off; plain HTTP on loopback, TLS elsewhere; " +
					"the default falls back to a free port if 8080 is in use",
			},
			set: address(func(c *Config) *Listen { return &c.Portal }, ParseListen),
		},
	}
}

// tlsFields say which certificate the service has.
func tlsFields() []field {
	return []field{
		{
			Field: Field{
				Name:  "tls-cert",
				Value: "file",
				Usage: "server certificate chain in PEM, leaf first, instead of one from Mooring's own CA; reloaded when it changes",
			},
			set:   one(func(c *Config) *string { return &c.TLSCert }, parseText),
			check: checkTLSPair,
		},
		{
			Field: Field{Name: "tls-key", Value: "file", Usage: "private key of tls-cert in PEM"},
			set:   one(func(c *Config) *string { return &c.TLSKey }, parseText),
			check: checkTLSPair,
		},
		{
			Field: Field{
				Name:  "tls-ca",
				Value: "file",
				Usage: "CA certificates in PEM that clients must trust when tls-cert is used; shown by mooring info and the portal",
			},
			set:   one(func(c *Config) *string { return &c.TLSCA }, parseText),
			check: checkTLSCA,
		},
		{
			Field: Field{
				Name:    "tls-compat",
				Value:   "boolean",
				Default: "false",
				Usage:   "also accept TLS 1.0 and 1.1, weak cipher suites and SHA-1 signatures on the device listeners, for old devices",
				Switch:  true,
			},
			set: one(func(c *Config) *bool { return &c.TLSCompat }, parseSwitch),
		},
	}
}

// deviceFields say where devices go, and how fast.
func deviceFields() []field {
	return []field{
		{
			Field: Field{
				Name:  "network",
				Value: "network",
				Usage: "hub locations for the devices of a network, nearest first, for the geoLatency policy: " +
					"10.20.0.0/16=westeurope,northeurope; repeatable",
				List: true,
			},
			set: setNetworks,
		},
		{
			Field: Field{
				Name:    "webhook-budget",
				Value:   "duration",
				Default: "10m",
				Usage:   "maximum time for calling the allocation webhook for one device, retries included",
			},
			set: one(func(c *Config) *time.Duration { return &c.WebhookBudget }, parseWebhookBudget),
		},
		{
			Field: Field{
				Name:  "webhook-allow",
				Value: "target",
				Usage: "additional targets that allocation webhooks may have: http, loopback, link-local; repeatable",
				List:  true,
			},
			set: setWebhookAllow,
		},
		{
			Field: Field{
				Name:    "takeover",
				Value:   "allow|refuse",
				Default: "allow",
				Usage: "whether a device may take over the hub identity of another enabled enrollment: allow, as " +
					"DPS does, or refuse until an operator releases it",
			},
			set: one(func(c *Config) *Takeover { return &c.Takeover }, parseTakeover),
		},
		{
			Field: Field{
				Name:    "registration-rate",
				Value:   "number",
				Default: "0",
				Usage:   "maximum device registrations per minute; 0 is unlimited",
			},
			set: one(func(c *Config) *int { return &c.RegistrationRate }, parseRate),
		},
		{
			Field: Field{
				Name:    "management-rate",
				Value:   "number",
				Default: "0",
				Usage:   "maximum calls of the service API per minute; 0 is unlimited",
			},
			set: one(func(c *Config) *int { return &c.ManagementRate }, parseRate),
		},
		{
			Field: Field{
				Name:    "hub-rate",
				Value:   "number",
				Default: "100",
				Usage:   "maximum registry writes per minute at each linked hub, or host=number for one hub; 0 is unlimited; repeatable",
				List:    true,
			},
			set: setHubRates,
		},
		{
			Field: Field{
				Name:  "hub-ca",
				Value: "file",
				Usage: "CA certificates in PEM to trust for linked hubs and webhooks, in addition to the system's",
			},
			set: one(func(c *Config) *string { return &c.HubCA }, parseText),
		},
	}
}

// upkeepFields say what is kept, and what is told.
func upkeepFields() []field {
	return []field{
		{
			Field: Field{
				Name:    "audit-retention",
				Value:   "duration",
				Default: "90d",
				Usage:   "how long audit entries are kept, in days (90d) or hours (36h); 0 keeps them forever",
			},
			set: one(func(c *Config) *time.Duration { return &c.AuditRetention }, parseRetention),
		},
		{
			Field: Field{
				Name:    "decision-retention",
				Value:   "duration",
				Default: "7d",
				Usage:   "how long refusals are kept, in days (7d) or hours (36h); 0 keeps them forever, within decision-limit",
			},
			set: one(func(c *Config) *time.Duration { return &c.DecisionRetention }, parseRetention),
		},
		{
			Field: Field{
				Name:    "decision-limit",
				Value:   "number",
				Default: "100000",
				Usage:   "maximum number of refusals that are kept; repeats count as one; the oldest are removed first",
			},
			set: one(func(c *Config) *int { return &c.DecisionLimit }, parseDecisionLimit),
		},
		{
			Field: Field{Name: nameConfig, Value: "file", Usage: "YAML file with any of these settings"},
			set:   one(func(c *Config) *string { return &c.File }, parseText),
		},
		{
			Field: Field{Name: "log-level", Value: "level", Default: "info", Usage: "minimum log level: debug, info, warn or error"},
			set:   one(func(c *Config) *slog.Level { return &c.LogLevel }, parseLogLevel),
		},
		{
			Field: Field{Name: "log-format", Value: "format", Default: "text", Usage: "log format: text or json"},
			set:   one(func(c *Config) *LogFormat { return &c.LogFormat }, parseLogFormat),
		},
	}
}

func dataField() field { return named(nameData) }
func fileField() field { return named(nameConfig) }

func named(name string) field {
	for _, f := range fields() {
		if f.Name == name {
			return f
		}
	}
	panic("config: no field " + name)
}

// one sets a single value.
func one[T any](at func(*Config) *T, parse func(string) (T, error)) func(*Config, input) error {
	return func(c *Config, in input) error {
		value, err := parse(in.values[0])
		if err != nil {
			return err
		}
		*at(c) = value
		return nil
	}
}

// many sets a list, without the values that come again.
func many[T comparable](at func(*Config) *[]T, parse func(string) (T, error)) func(*Config, input) error {
	return func(c *Config, in input) error {
		values, err := parseAll(in.values, parse)
		if err != nil {
			return err
		}
		*at(c) = values
		return nil
	}
}

// optional is many for a list that may be empty.
func optional[T comparable](at func(*Config) *[]T, parse func(string) (T, error)) func(*Config, input) error {
	return func(c *Config, in input) error {
		if len(in.values) == 0 || len(in.values) == 1 && in.values[0] == "" {
			*at(c) = nil
			return nil
		}
		return many(at, parse)(c, in)
	}
}

// address sets a listener's address and whether somebody asked for it.
func address(at func(*Config) *Listen, parse func(string) (Listen, error)) func(*Config, input) error {
	return func(c *Config, in input) error {
		value, err := parse(in.values[0])
		if err != nil {
			return err
		}
		value.explicit = in.explicit
		*at(c) = value
		return nil
	}
}

// defaults is the default as a source would give it.
func (f field) defaults() []string { return []string{f.Default} }

func (f field) addFlag(fs *pflag.FlagSet) {
	fs.Var(&flagValue{values: f.defaults(), field: f}, f.Name, f.Usage)
	if f.Switch {
		fs.Lookup(f.Name).NoOptDefVal = "true"
	}
}

// fromFlag returns what the command line says, or nil.
func (f field) fromFlag(fs *pflag.FlagSet) *given {
	if !fs.Changed(f.Name) {
		return nil
	}
	value, ok := fs.Lookup(f.Name).Value.(*flagValue)
	if !ok {
		return nil // a flag of somebody else's
	}
	return &given{source: "--" + f.Name, values: value.values}
}

// fromEnv returns what the environment says, or nil.
func (f field) fromEnv(getenv func(string) string) *given {
	value := getenv(f.Env)
	if value == "" {
		return nil
	}
	return &given{source: f.Env, values: []string{value}}
}

// flagValue is the pflag.Value of every field: text, to be checked by Load.
type flagValue struct {
	field  field
	values []string
	isSet  bool
}

// String returns the value as one would write it.
func (v *flagValue) String() string { return strings.Join(v.values, ",") }

// Set takes one more value of a list, or the only value of another field.
func (v *flagValue) Set(value string) error {
	if !v.isSet || !v.field.List {
		v.values = nil
	}
	v.values = append(v.values, value)
	v.isSet = true
	return nil
}

// Type names the kind of value in the help.
func (v *flagValue) Type() string { return v.field.Value }
