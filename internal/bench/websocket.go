package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"

	"github.com/mooring-iot/mooring/internal/wsconn"
)

// socketPath is where the official SDKs open their WebSockets.
const socketPath = "/$iothub/websocket"

// upgrade makes a WebSocket of a connection.
func (l *line) upgrade(ctx context.Context, conn *tls.Conn) (net.Conn, error) {
	stream, err := wsconn.Dial(ctx, "wss://"+l.host+socketPath, wsconn.DialOptions{
		Dial:      func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Protocols: []string{"mqtt"},
	})
	if status, ok := errors.AsType[*wsconn.StatusError](err); ok {
		return nil, &refusal{kind: "upgrade " + strconv.Itoa(status.Status)}
	}
	return stream, err
}
