package translate

import (
	"cmp"
	"encoding/json"
	"net"
	"reflect"
	"strconv"
	"strings"

	"github.com/mooring-iot/mooring/internal/connstring"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// LinkedHub writes a linked hub, with a mask for its key.
func LinkedHub(l dps.HubLink) wire.LinkedHub {
	location, endpoint := l.Hub.Location, string(l.Hub.HostName)
	if location == "" {
		location = Location
	}
	if l.Hub.Access != nil {
		endpoint = l.Hub.Access.Endpoint
	}
	host := endpoint
	if bare, _ := splitEndpoint(endpoint); !bare.Equal(l.Hub.HostName) {
		host = string(l.Hub.HostName) + ";GatewayHostName=" + endpoint
	}
	return wire.LinkedHub{
		ConnectionString: "HostName=" + host + ";SharedAccessKeyName=" + l.Policy.Name + ";SharedAccessKey=" + keyMask,
		Location:         location, Name: string(l.Hub.HostName), HostName: string(l.Hub.HostName), Kind: string(l.Hub.Kind),
		AllocationWeight: &l.Hub.Weight, ApplyAllocationPolicy: &l.Hub.ApplyPolicy, AuthenticationType: wire.AuthenticationKeyBased,
	}
}

// knownOfHubs refuses unknown members of linked hubs, as decodeKnown does
// of what is around them.
func knownOfHubs(body []byte) error {
	var req struct {
		Properties struct {
			IotHubs []map[string]json.RawMessage `json:"iotHubs"`
		} `json:"properties"`
	}
	if err := Decode(body, &req); err != nil {
		return err
	}
	for i, members := range req.Properties.IotHubs {
		if err := known(hubPath(i), members, reflect.TypeFor[wire.LinkedHub]()); err != nil {
			return err
		}
	}
	return nil
}

func hubPath(i int) string { return "properties.iotHubs[" + strconv.Itoa(i) + "]." }

// hubDrafts reads linked hubs; nil stays nil.
func hubDrafts(hubs []wire.LinkedHub) ([]dps.HubDraft, error) {
	if hubs == nil {
		return nil, nil
	}
	drafts := make([]dps.HubDraft, len(hubs))
	for i, h := range hubs {
		var err error
		if drafts[i], err = hubDraft(h); err != nil {
			return nil, prefixed(hubPath(i), err)
		}
	}
	return drafts, nil
}

func hubDraft(h wire.LinkedHub) (dps.HubDraft, error) {
	if err := keyBased(h); err != nil {
		return dps.HubDraft{}, err
	}
	draft := dps.HubDraft{HostName: dps.HostName(cmp.Or(h.HostName, h.Name))}
	if h.ConnectionString != "" {
		var err error
		if draft, err = hubConnection(h.ConnectionString); err != nil {
			return draft, err
		}
	}
	if h.HostName != "" && !draft.HostName.Equal(dps.HostName(h.HostName)) {
		return draft, dps.Invalidf("hostName", "must be the HostName of the connection string, %s", draft.HostName)
	}
	if draft.HostName == "" {
		return draft, dps.Invalidf("connectionString", "must name the hub: HostName=...;SharedAccessKeyName=...;SharedAccessKey=...")
	}
	draft.Location, draft.Weight, draft.ApplyPolicy = strings.TrimSpace(h.Location), h.AllocationWeight, h.ApplyAllocationPolicy
	for _, kind := range []dps.HubKind{"", dps.KindEmbedded, dps.KindIoTHub} {
		if equalFold(kind, h.Kind) {
			draft.Kind = kind
			return draft, nil
		}
	}
	return draft, dps.Invalidf("kind", "must be %s or %s", dps.KindIoTHub, dps.KindEmbedded)
}

// keyBased refuses what asks for calls by a managed identity.
func keyBased(h wire.LinkedHub) error {
	if h.AuthenticationType != "" && !strings.EqualFold(h.AuthenticationType, wire.AuthenticationKeyBased) {
		return dps.Invalidf("authenticationType", "must be %s: managed identities are not supported", wire.AuthenticationKeyBased)
	}
	if !saysNothing(h.SelectedUserAssignedIdentityResourceID) {
		return dps.Invalidf("selectedUserAssignedIdentityResourceId", notSupported)
	}
	return nil
}

// maxConnectionString bounds the connection string of a hub, in bytes.
const maxConnectionString = 1024

// hubConnection reads a connection string. Its errors never repeat it: there is a key
// in it.
func hubConnection(text string) (dps.HubDraft, error) {
	const field = "connectionString"
	var d dps.HubDraft
	if len(text) > maxConnectionString {
		return d, dps.Invalidf(field, "is longer than %d bytes", maxConnectionString)
	}
	fields, err := connstring.Parse(text)
	if err != nil {
		return d, dps.Invalidf(field, "must have the form HostName=...;SharedAccessKeyName=...;SharedAccessKey=..., each once")
	}
	for _, f := range fields {
		if err := connectionPart(&d, f); err != nil {
			return d, err
		}
	}
	return d, nil
}

func connectionPart(d *dps.HubDraft, f connstring.Field) (err error) {
	const field = "connectionString"
	value := f.Value
	switch {
	case f.Is(connstring.HostName):
		if d.Endpoint == "" { // a gateway may have come before
			d.Endpoint = value
		}
		var ok bool
		if d.HostName, ok = splitEndpoint(value); !ok || !dps.IsHostName(string(d.HostName)) {
			return dps.Invalidf(field, "HostName must be a host name, with or without a port")
		}
	case f.Is(connstring.GatewayHostName):
		d.Endpoint = value
		if name, ok := splitEndpoint(value); !ok || !dps.IsHostName(string(name)) {
			return dps.Invalidf(field, "GatewayHostName must be a host name, with or without a port")
		}
	case f.Is(connstring.KeyName):
		if d.KeyName, err = dps.ParsePolicyName(value); err != nil {
			return dps.Invalidf(field, "SharedAccessKeyName must be 1 to 64 letters, digits, '-', '_', '.' or '@'")
		}
	case f.Is(connstring.Key):
		if value == keyMask {
			return nil
		}
		if d.Key, err = dps.ParseKey(field, value); err != nil {
			return dps.Invalidf(field, "SharedAccessKey %s", strings.TrimPrefix(dps.MessageOf(err), field+": "))
		}
	default:
		return dps.Invalidf(
			field,
			"may contain only HostName, GatewayHostName, SharedAccessKeyName and SharedAccessKey; "+
				"use that of a hub policy, not of a device or module",
		)
	}
	return nil
}

// splitEndpoint returns the host name of an endpoint, and whether its port, if it has
// one, is one that a server can have.
func splitEndpoint(endpoint string) (dps.HostName, bool) {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return dps.HostName(endpoint), !strings.Contains(endpoint, ":")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return dps.HostName(host), err == nil && n > 0
}
