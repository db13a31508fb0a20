package mqtt

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// identity is what a device says of itself in CONNECT.
type identity struct {
	Scope      dps.IDScope
	ID         dps.RegistrationID
	APIVersion string // as sent; whether it is known is seen when it is used
	Client     string // ClientVersion as sent: name and version of the SDK; often empty
}

// javaAnswerDelay is how long an answer to the Java device SDK waits. The SDK publishes a
// request and then starts to wait for the answer; an answer that comes in between is lost,
// and with it 12 to 60 seconds. docs/divergences.md has what was measured.
// Source: azure-iot-sdk-java, provisioning-device-client, ContractAPIMqtt.java.
const javaAnswerDelay = 100 * time.Millisecond

// answerDelay returns how long an answer has to wait before the client can take it; 0 for all
// clients but the Java device SDK, the only one that sends its api-version as ClientVersion.
func (i identity) answerDelay() time.Duration {
	if i.Client == i.APIVersion {
		return javaAnswerDelay
	}
	return 0
}

// maxUsername bounds a user name, in bytes. Real ones are under 400.
const maxUsername = 2048

var errUsername = errors.New("user name is not {idScope}/registrations/{registrationId}/api-version={version}")

// isHubLogin reports whether a user name is that of a device that connects to its hub,
// {hub}/{deviceId}/?api-version={version}, with a module ID, without the slash or the version.
// Source: azure-docs, articles/iot/iot-mqtt-connect-to-iot-hub.md.
func isHubLogin(name string) bool {
	path, query, _ := strings.Cut(name, "?")
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if last := len(parts) - 1; last > 1 && strings.HasPrefix(parts[last], "api-version=") {
		query, parts = parts[last], parts[:last]
	}
	const withModule = 3
	if len(parts) < 2 || len(parts) > withModule || strings.EqualFold(parts[1], "registrations") {
		return false
	}
	return strings.HasPrefix(query, "api-version=") && strings.Contains(name, "?") || strings.Contains(parts[0], ".")
}

// parseUsername reads the user name of CONNECT:
//
//	{idScope}/registrations/{registrationId}/api-version={version}[&ClientVersion={text}]
//
// Values are percent-encoded. It is split before api-version=, since what follows
// may hold encoded slashes in any spelling.
// Source: azure-docs, articles/iot-dps/iot-mqtt-connect-to-iot-dps.md.
func parseUsername(name string) (identity, error) {
	const marker = "/api-version="
	path, query, found := strings.Cut(name, marker)
	parts := strings.Split(path, "/")
	if !found || len(name) > maxUsername || len(parts) != 3 || parts[0] == "" || !strings.EqualFold(parts[1], "registrations") {
		return identity{}, errUsername
	}
	scope, err := url.PathUnescape(parts[0])
	if err != nil {
		return identity{}, errUsername
	}
	text, err := url.PathUnescape(parts[2])
	if err != nil {
		return identity{}, errUsername
	}
	id, err := dps.ParseRegistrationID(text)
	if err != nil {
		return identity{}, err
	}
	version, rest, _ := strings.Cut(query, "&")
	if version, err = url.PathUnescape(version); err != nil || version == "" {
		return identity{}, errUsername
	}
	return identity{Scope: dps.IDScope(scope), ID: id, APIVersion: version, Client: clientVersion(rest)}, nil
}

// clientVersion returns the value of ClientVersion in the rest of a user name, as sent.
func clientVersion(rest string) string {
	for parameter := range strings.SplitSeq(rest, "&") {
		if value, found := strings.CutPrefix(parameter, "ClientVersion="); found {
			return value
		}
	}
	return ""
}
