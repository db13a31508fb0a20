// Package iothub calls a hub over its registry REST: any service that speaks that
// of Azure IoT Hub, an embedded hub of this program among them.
// Source: azure-iot-hub-python, service.json.
package iothub

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// tokenLifetime is how long a token of ours is good.
const tokenLifetime = 5 * time.Minute

// maxAnswer bounds what is read of an answer, in bytes: 1000 identities are under 2 MB.
const maxAnswer = 16 << 20

// ConnectionString says where a hub is and how to get in.
type ConnectionString struct {
	HostName string // may have a port
	KeyName  string
	Key      []byte
}

// ParseConnectionString reads "HostName=...;SharedAccessKeyName=...;SharedAccessKey=...".
func ParseConnectionString(text string) (ConnectionString, error) {
	fields := make(map[string]string, 3)
	for part := range strings.SplitSeq(strings.TrimSpace(text), ";") {
		if part == "" {
			continue // behind a ; at the end
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return ConnectionString{}, errors.New("connection string: want HostName, SharedAccessKeyName and SharedAccessKey, each as name=value, separated by ;")
		}
		fields[strings.ToLower(name)] = value
	}
	c := ConnectionString{HostName: fields["hostname"], KeyName: fields["sharedaccesskeyname"]}
	if c.HostName == "" || c.KeyName == "" {
		return c, errors.New("connection string: HostName and SharedAccessKeyName are required")
	}
	key, err := base64.StdEncoding.DecodeString(fields["sharedaccesskey"])
	if err != nil || len(key) == 0 {
		return c, errors.New("connection string: SharedAccessKey must be base64")
	}
	c.Key = key
	return c, nil
}

// Client calls one hub. It is safe for concurrent use.
type Client struct {
	conn ConnectionString
	http *http.Client
	now  func() time.Time
}

// New returns a client that sends through c and takes the time from now.
func New(conn ConnectionString, c *http.Client, now func() time.Time) *Client {
	return &Client{conn: conn, http: c, now: now}
}

// Error is a refusal of the hub.
type Error struct {
	Status  int
	Code    string // its name for the failure, as in header iothub-errorcode
	Message string
}

// Error returns what the hub said.
func (e *Error) Error() string {
	return fmt.Sprintf("the hub answered %d %s: %s", e.Status, e.Code, e.Message)
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
	if query == nil {
		query = url.Values{}
	}
	query.Set("api-version", wire.HubAPIVersion)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.conn.HostName+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", sas.Sign(c.conn.HostName, c.conn.KeyName, c.conn.Key, c.now().Add(tokenLifetime)))
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the hub's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, refusal(res, body)
	}
	return body, nil
}

func refusal(res *http.Response, body []byte) error {
	var text wire.HubError
	message := strings.TrimSpace(string(body))
	if json.Unmarshal(body, &text) == nil && text.Message != "" {
		_, message, _ = strings.Cut(text.Message, ";")
	}
	return &Error{Status: res.StatusCode, Code: res.Header.Get(wire.HeaderHubErrorCode), Message: message}
}
