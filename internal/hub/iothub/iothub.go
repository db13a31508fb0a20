// Package iothub calls a hub over its registry REST: any service that speaks that
// of Azure IoT Hub, an embedded hub of this program among them.
//
// Pool holds the linked hubs for provisioning: it paces writes, keeps away from hubs
// that asked for it or are down, and repeats nothing by itself but what another
// writer's change made void. Client is the plain one for commands.
// Source: azure-iot-hub-python, service.json.
package iothub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/connstring"
	"github.com/mooring-iot/mooring/wire"
)

// maxList bounds what is read of a list, in bytes: 1000 identities are under 2 MB.
const maxList = 16 << 20

// ConnectionString says where a hub is and how to get in.
type ConnectionString struct {
	HostName string // of the hub; may have a port
	Endpoint string // what is dialled: GatewayHostName where there is one; HostName when ""
	KeyName  string
	Key      []byte
}

// ParseConnectionString reads "HostName=...;SharedAccessKeyName=...;SharedAccessKey=...",
// and GatewayHostName where the hub is called through another host.
func ParseConnectionString(text string) (ConnectionString, error) {
	fields, err := connstring.Parse(text)
	if err != nil {
		return ConnectionString{}, errors.New(
			"connection string: must have HostName, SharedAccessKeyName and SharedAccessKey, each once as name=value, separated by ;",
		)
	}
	c := ConnectionString{
		HostName: fields.Get(connstring.HostName), Endpoint: fields.Get(connstring.GatewayHostName), KeyName: fields.Get(connstring.KeyName),
	}
	if c.HostName == "" || c.KeyName == "" {
		return c, errors.New("connection string: HostName and SharedAccessKeyName are required")
	}
	key, err := fields.Key()
	if err != nil {
		return c, err
	}
	c.Key = key
	return c, nil
}

// Client calls one hub. It is safe for concurrent use.
type Client struct{ door door }

// New returns a client that sends through c and takes the time from now.
func New(conn ConnectionString, c *http.Client, now func() time.Time) *Client {
	endpoint := conn.Endpoint
	if endpoint == "" {
		endpoint = conn.HostName
	}
	return &Client{door: door{
		hostName: conn.HostName, endpoint: endpoint, keyName: conn.KeyName, key: conn.Key, http: c, now: now, token: new(token),
	}}
}

// Error is a refusal of the hub.
type Error struct {
	Status  int
	Code    string // its name for the failure, as in header iothub-errorcode
	Message string
}

// Error returns what the hub said.
func (e *Error) Error() string {
	return fmt.Sprintf("the hub returned %d %s: %s", e.Status, e.Code, e.Message)
}

// Devices returns up to top identities, as the hub wrote them; top is 1 to 1000.
func (c *Client) Devices(ctx context.Context, top int) (json.RawMessage, error) {
	return c.get(ctx, "/devices", url.Values{"top": {strconv.Itoa(top)}})
}

// Device returns an identity, as the hub wrote it.
func (c *Client) Device(ctx context.Context, id string) (json.RawMessage, error) {
	return c.get(ctx, "/devices/"+url.PathEscape(id), nil)
}

// Twin returns the twin of a device, as the hub wrote it.
func (c *Client) Twin(ctx context.Context, id string) (json.RawMessage, error) {
	return c.get(ctx, "/twins/"+url.PathEscape(id), nil)
}

func (c *Client) get(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	a, err := c.door.send(ctx, request{method: http.MethodGet, path: path, query: query, limit: maxList})
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, refusal(a)
	}
	return a.body, nil
}

func refusal(a answer) error {
	var text wire.HubError
	message := strings.TrimSpace(string(a.body))
	if json.Unmarshal(a.body, &text) == nil && text.Message != "" {
		_, message, _ = strings.Cut(text.Message, ";")
	}
	return &Error{Status: a.status, Code: a.header.Get(wire.HeaderHubErrorCode), Message: message}
}
