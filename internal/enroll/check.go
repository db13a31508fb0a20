package enroll

import (
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Limits of an enrollment.
const (
	maxHubs       = 50 // Source: azure-docs, includes/iot-dps-limits.md, linked IoT hubs
	maxAPIVersion = 64
)

// check tests the rules of an enrollment that do not need the store. Errors have the code
// Invalid and name the member as the wire spells it.
func (s *Service) check(e dps.Enrollment) error {
	if e.DeviceID != "" {
		if _, err := dps.ParseDeviceID(string(e.DeviceID)); err != nil {
			return err
		}
	}
	if err := checkPlacement(e.Placement); err != nil {
		return err
	}
	if err := s.checkCustom(e.Placement); err != nil {
		return err
	}
	_, err := dps.ParseInitialTwin(e.InitialTwin)
	return err
}

func checkPlacement(p dps.Placement) error {
	if len(p.IotHubs) > 0 && p.Policy == "" {
		return dps.Errorf(dps.Invalid, "Enrollment allocationPolicy must be specified when iotHubs are specified.")
	}
	if len(p.IotHubs) > maxHubs {
		return dps.Invalidf("iotHubs", "contains %d hubs; the limit is %d", len(p.IotHubs), maxHubs)
	}
	seen := make(map[string]bool, len(p.IotHubs))
	for _, h := range p.IotHubs {
		if err := checkHostName("iotHubs", h); err != nil {
			return err
		}
		if seen[h.Key()] {
			return dps.Invalidf("iotHubs", "contains %s twice", h)
		}
		seen[h.Key()] = true
	}
	if p.HubHostName != "" {
		if err := checkHostName("iotHubHostName", p.HubHostName); err != nil {
			return err
		}
	}
	return nil
}

func checkHostName(field string, h dps.HostName) error {
	if !dps.IsHostName(string(h)) {
		return dps.Invalidf(field, "must be host names without scheme, port or path")
	}
	return nil
}

func (s *Service) checkCustom(p dps.Placement) error {
	if p.Custom == nil {
		if p.Policy == dps.Custom {
			return dps.Invalidf("customAllocationDefinition", "is required when allocationPolicy is custom")
		}
		return nil
	}
	const field = "customAllocationDefinition"
	if err := s.webhooks.CheckURL(field+".webhookUrl", p.Custom.WebhookURL); err != nil {
		return err
	}
	if v := p.Custom.APIVersion; strings.TrimSpace(v) == "" || len(v) > maxAPIVersion {
		return dps.Invalidf(field+".apiVersion", "is required, with at most %d characters", maxAPIVersion)
	}
	return nil
}
