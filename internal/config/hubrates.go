package config

import (
	"fmt"
	"strconv"
	"strings"
)

// HubRates are how many registry writes linked hubs are sent in a minute; 0 is no limit.
type HubRates struct {
	PerMinute int
	ByHost    map[string]int // by host name in lower case, instead of PerMinute; nil if none
}

// DefaultHubRate is what the smallest unit of an Azure IoT hub takes.
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-quotas-throttling.md.
const DefaultHubRate = 100

// setHubRates reads numbers and host=number. A list with hosts alone leaves the others
// at the default.
func setHubRates(c *Config, in input) error {
	rates := HubRates{PerMinute: DefaultHubRate}
	general := false
	for part := range strings.SplitSeq(strings.Join(in.values, ","), ",") {
		part = strings.TrimSpace(part)
		host, number, named := strings.Cut(part, "=")
		if !named {
			host, number = "", part
		}
		rate, err := strconv.Atoi(number)
		if err != nil || rate < 0 || rate > maxRate {
			return fmt.Errorf("%q is not a rate (use a number of writes per minute, 0 to %d, or host=number)", part, maxRate)
		}
		if !named {
			if general {
				return fmt.Errorf("%q is a second rate for all hubs (use one number, and host=number for single hubs)", part)
			}
			rates.PerMinute, general = rate, true
			continue
		}
		if err := rates.add(host, rate); err != nil {
			return err
		}
	}
	c.HubRates = rates
	return nil
}

func (r *HubRates) add(host string, rate int) error {
	name, err := parseHostname(host)
	if err != nil {
		return err
	}
	if _, again := r.ByHost[name]; again {
		return fmt.Errorf("%q has two rates", name)
	}
	if r.ByHost == nil {
		r.ByHost = make(map[string]int)
	}
	r.ByHost[name] = rate
	return nil
}
