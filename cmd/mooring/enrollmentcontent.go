package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// enrollmentContent is what flags say of an enrollment's content. After parse, values
// are as the wire has them, and files are read.
type enrollmentContent struct {
	attestation attestationFlags

	deviceID, status, policy, reprovision string
	hubs                                  []string
	webhook, apiVersion                   string
	tags, properties, twin, deviceInfo    string
	edge                                  bool

	given map[string]bool // names of the flags on the command line
}

// changed reports whether one of these flags is on the command line.
func (c *enrollmentContent) changed(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return c.given[name] })
}

// Values of flags, as the wire spells them.
var (
	statuses            = []string{"enabled", "disabled"}
	allocationPolicies  = []string{"hashed", "geoLatency", "static", "custom"}
	reprovisionPolicies = []string{"reprovisionandmigratedata", "reprovisionandresetdata", "never"}
)

// contentFlags are the flags of an enrollment's content besides those of attestation.
var contentFlags = []string{
	"device-id", "provisioning-status", "allocation-policy", "iot-hubs", "reprovision-policy", "webhook-url", "api-version",
	"initial-twin-tags", "initial-twin-properties", "initial-twin", "device-information", "edge-enabled",
}

func (c *enrollmentContent) addFlags(cmd *cobra.Command, kind dps.EntryKind) {
	c.attestation.addFlags(cmd, kind)
	f := cmd.Flags()
	if kind == dps.Individual {
		f.StringVarP(&c.deviceID, "device-id", "d", "", "ID of the device at its hub (default: the registration ID)")
		f.StringVar(&c.deviceInfo, "device-information", "", "free-form information about the device: a JSON object, or @FILE")
	}
	f.StringVar(&c.status, "provisioning-status", "", "whether devices may register: enabled or disabled")
	f.StringVar(&c.policy, "allocation-policy", "", "allocation policy: hashed, geoLatency, static or custom (default: that of the service)")
	f.StringSliceVar(&c.hubs, "iot-hubs", nil,
		"host names of the hubs to select from, separated by commas or blanks; repeatable (default: all)")
	f.StringVar(
		&c.reprovision,
		"reprovision-policy",
		"",
		"when a device registers again: reprovisionandmigratedata, reprovisionandresetdata or never",
	)
	f.StringVar(&c.webhook, "webhook-url", "", "URL of the webhook of the custom allocation policy, or @FILE")
	f.StringVar(&c.apiVersion, "api-version", "", "api-version that the webhook receives")
	f.StringVar(&c.tags, "initial-twin-tags", "", "tags of the initial twin: a JSON object, or @FILE")
	f.StringVar(&c.properties, "initial-twin-properties", "", "desired properties of the initial twin: a JSON object, or @FILE")
	f.StringVar(&c.twin, "initial-twin", "", "the whole initial twin: a JSON object with tags and properties, or @FILE")
	f.BoolVar(&c.edge, "edge-enabled", false, "the device is an IoT Edge device (--edge-enabled false: it is not)")
	completeWords(cmd, "provisioning-status", statuses)
	completeWords(cmd, "allocation-policy", allocationPolicies)
	completeWords(cmd, "reprovision-policy", reprovisionPolicies)
}

// addRemoveFlags adds the flags that only an existing enrollment has a use for.
func (c *enrollmentContent) addRemoveFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.attestation.remove, "remove-certificate", false, "remove the primary certificate")
	cmd.Flags().BoolVar(&c.attestation.removeSecondary, "remove-secondary-certificate", false, "remove the secondary certificate")
}

// flagText is a flag with the text that it was given.
type flagText struct {
	name  string
	value *string
}

// parse reads the flags: for a new enrollment, or for changes of one.
func (c *enrollmentContent) parse(cmd *cobra.Command, kind dps.EntryKind, create bool) error {
	c.given = make(map[string]bool)
	for _, name := range slices.Concat(contentFlags, attestationFlagNames) {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			c.given[name] = true
		}
	}
	if !create && len(c.given) == 0 {
		return usagef(cmd, "nothing to change: give at least one flag that says what")
	}
	c.attestation.given = c.given
	if err := c.parseWords(cmd); err != nil {
		return err
	}
	err := c.parseJSON(cmd)
	if err != nil {
		return err
	}
	if c.webhook, err = textOrFile("--webhook-url", c.webhook); err != nil {
		return err
	}
	c.webhook, c.hubs = strings.TrimSpace(c.webhook), splitList(c.hubs)
	return c.attestation.parse(cmd, kind, create)
}

// parseWords puts words of a closed set into the spelling of the wire.
func (c *enrollmentContent) parseWords(cmd *cobra.Command) error {
	for _, f := range []struct {
		name    string
		value   *string
		allowed []string
		empty   bool // may be taken away
	}{
		{"provisioning-status", &c.status, statuses, false},
		{"allocation-policy", &c.policy, allocationPolicies, true},
		{"reprovision-policy", &c.reprovision, reprovisionPolicies, true},
	} {
		if !c.changed(f.name) || (f.empty && *f.value == "") {
			continue
		}
		word, err := oneOf(cmd, f.name, *f.value, f.allowed)
		if err != nil {
			return err
		}
		*f.value = word
	}
	return nil
}

// oneOf returns the allowed word that a flag's value spells in any case.
func oneOf(cmd *cobra.Command, flag, value string, allowed []string) (string, error) {
	for _, word := range allowed {
		if strings.EqualFold(word, value) {
			return word, nil
		}
	}
	last := len(allowed) - 1
	return "", usagef(cmd, "--%s: must be %s or %s, not %q", flag, strings.Join(allowed[:last], ", "), allowed[last], value)
}

// parseJSON reads the flags that hold JSON or name a file with it.
func (c *enrollmentContent) parseJSON(cmd *cobra.Command) error {
	if c.changed("initial-twin") && c.changed("initial-twin-tags", "initial-twin-properties") {
		return usagef(cmd, "--initial-twin replaces the whole twin; give either it or --initial-twin-tags and --initial-twin-properties")
	}
	for _, f := range []flagText{
		{"initial-twin-tags", &c.tags},
		{"initial-twin-properties", &c.properties},
		{"initial-twin", &c.twin},
		{"device-information", &c.deviceInfo},
	} {
		if !c.changed(f.name) {
			continue
		}
		text, err := textOrFile("--"+f.name, *f.value)
		if err != nil {
			return err
		}
		if *f.value, err = objectText(text); err != nil {
			return usagef(cmd, "--%s: %w", f.name, err)
		}
	}
	if err := translate.CheckTwinNames(json.RawMessage(c.twin)); err != nil {
		return usagef(cmd, "--initial-twin: %s", strings.TrimPrefix(dps.MessageOf(err), "initialTwin."))
	}
	return nil
}

// splitList separates words at commas and white space.
func splitList(values []string) []string {
	return strings.FieldsFunc(strings.Join(values, ","), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// apply puts what the flags say into r and leaves the rest as it is.
func (c *enrollmentContent) apply(r *wire.Enrollment) error {
	for name, set := range map[string]func(){
		"device-id":           func() { r.DeviceID = c.deviceID },
		"provisioning-status": func() { r.ProvisioningStatus = wire.StringValue(c.status) },
		"allocation-policy":   func() { r.AllocationPolicy = c.policy },
		"iot-hubs":            func() { r.IotHubs = c.hubs },
		"reprovision-policy":  func() { r.ReprovisionPolicy = reprovisionPolicy(c.reprovision) },
		"edge-enabled":        func() { r.Capabilities = &wire.Capabilities{IotEdge: c.edge} },
		"device-information":  func() { r.OptionalDeviceInformation = json.RawMessage(c.deviceInfo) },
		"initial-twin":        func() { r.InitialTwin = json.RawMessage(c.twin) },
	} {
		if c.changed(name) {
			set()
		}
	}
	c.applyWebhook(r)
	if err := c.applyTwin(r); err != nil {
		return err
	}
	return c.attestation.apply(r)
}

func reprovisionPolicy(word string) *wire.ReprovisionPolicy {
	if word == "" {
		return nil
	}
	update := word != "never"
	migrate := word == "reprovisionandmigratedata"
	return &wire.ReprovisionPolicy{UpdateHubAssignment: &update, MigrateDeviceData: &migrate}
}

func (c *enrollmentContent) applyWebhook(r *wire.Enrollment) {
	var webhook wire.CustomAllocation
	if r.CustomAllocationDefinition != nil {
		webhook = *r.CustomAllocationDefinition
	}
	if c.changed("webhook-url") {
		webhook.WebhookURL = c.webhook
	}
	if c.changed("api-version") {
		webhook.APIVersion = c.apiVersion
	}
	r.CustomAllocationDefinition = &webhook
	if webhook == (wire.CustomAllocation{}) {
		r.CustomAllocationDefinition = nil
	}
}

// applyTwin changes one part of the twin and leaves the others.
func (c *enrollmentContent) applyTwin(r *wire.Enrollment) error {
	if !c.changed("initial-twin-tags", "initial-twin-properties") {
		return nil
	}
	twin, err := members(r.InitialTwin)
	if err != nil {
		return fmt.Errorf("reading the initial twin: %w", err)
	}
	if c.changed("initial-twin-tags") {
		setMember(twin, "tags", c.tags)
	}
	if c.changed("initial-twin-properties") {
		properties, err := members(twin["properties"])
		if err != nil {
			return fmt.Errorf("reading the properties of the initial twin: %w", err)
		}
		setMember(properties, "desired", c.properties)
		setMember(twin, "properties", string(joined(properties)))
	}
	r.InitialTwin = joined(twin)
	return nil
}

// members takes a JSON object apart; nothing and null are an empty one.
func members(raw json.RawMessage) (map[string]json.RawMessage, error) {
	parts := make(map[string]json.RawMessage)
	if len(raw) == 0 {
		return parts, nil
	}
	err := json.Unmarshal(raw, &parts)
	if parts == nil {
		parts = make(map[string]json.RawMessage)
	}
	return parts, err
}

// setMember sets a member, or takes it away when there is no value.
func setMember(parts map[string]json.RawMessage, name, value string) {
	if value == "" {
		delete(parts, name)
		return
	}
	parts[name] = json.RawMessage(value)
}

// joined puts an object together; an empty one is nothing.
func joined(parts map[string]json.RawMessage) json.RawMessage {
	if len(parts) == 0 {
		return nil
	}
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // every part was read as JSON
	}
	return text
}
