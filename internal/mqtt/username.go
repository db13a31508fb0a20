package mqtt

import (
	"errors"
	"net/url"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// identity is what a device says of itself in CONNECT.
type identity struct {
	Scope      dps.IDScope
	ID         dps.RegistrationID
	APIVersion string // as sent; whether it is known is seen when it is used
}

// maxUsername bounds a user name, in bytes. Real ones are under 400.
const maxUsername = 2048

var errUsername = errors.New("user name is not {idScope}/registrations/{registrationId}/api-version={version}")

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
	version, _, _ := strings.Cut(query, "&")
	if version, err = url.PathUnescape(version); err != nil || version == "" {
		return identity{}, errUsername
	}
	return identity{Scope: dps.IDScope(scope), ID: id, APIVersion: version}, nil
}
