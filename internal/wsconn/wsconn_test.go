package wsconn_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/wsconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server that gives each accepted connection to handle and closes it
// afterwards; it returns the server's address as ws or wss.
func serve(t *testing.T, secure bool, handle func(c net.Conn, protocol string)) (string, *httptest.Server) {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, protocol, err := wsconn.Accept(w, r, "mqtt")
		if err != nil {
			return
		}
		defer c.Close()
		handle(c, protocol)
	})
	srv := httptest.NewUnstartedServer(handler)
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "http", "ws", 1) + "/$iothub/websocket", srv
}

func dial(t *testing.T, url string, o wsconn.DialOptions) net.Conn {
	t.Helper()
	if o.Protocols == nil {
		o.Protocols = []string{"mqtt"}
	}
	c, err := wsconn.Dial(t.Context(), url, o)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func echo(c net.Conn, _ string) { _, _ = io.Copy(c, c) }

func TestStream(t *testing.T) {
	url, _ := serve(t, false, echo)
	c := dial(t, url, wsconn.DialOptions{})
	sent := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MB, in messages of all sizes
	failed := make(chan error, 1)
	go func() {
		for rest, n := sent, 1; len(rest) > 0; n = n*2 + 1 {
			n = min(n, len(rest), wsconn.MaxMessage)
			if _, err := c.Write(rest[:n]); err != nil {
				failed <- err
				return
			}
			rest = rest[n:]
		}
		failed <- nil
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("reading: %v", err)
	}
	if err := <-failed; err != nil {
		t.Fatalf("writing: %v", err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("what came back is not what was sent")
	}
}

func TestSmallReads(t *testing.T) {
	url, _ := serve(t, false, func(c net.Conn, _ string) {
		_, _ = c.Write([]byte("one "))
		_, _ = c.Write(nil)
		_, _ = c.Write([]byte("stream"))
	})
	got, err := io.ReadAll(iotest.OneByteReader(dial(t, url, wsconn.DialOptions{})))
	if string(got) != "one stream" || err != nil {
		t.Errorf("ReadAll = %q, %v", got, err)
	}
}

func TestProtocol(t *testing.T) {
	tests := []struct {
		name   string
		offer  []string // one header line each
		status int
		echo   string
	}{
		{"lower case", []string{"mqtt"}, 101, "mqtt"},
		{"upper case", []string{"MQTT"}, 101, "MQTT"},
		{"behind another", []string{"mqttv5, Mqtt"}, 101, "Mqtt"},
		{"second line", []string{"amqp", "mqtt"}, 101, "mqtt"},
		{"none", nil, 400, ""},
		{"another", []string{"AMQPWSB10"}, 400, ""},
		{"prefix only", []string{"mqtt2"}, 400, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url, _ := serve(t, false, func(c net.Conn, protocol string) {
				if protocol != "mqtt" {
					t.Errorf("protocol = %q, want the server's spelling", protocol)
				}
			})
			header := http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"MDEyMzQ1Njc4OTAxMjM0NQ=="}, "Origin": {"https://elsewhere.example"},
				"Sec-Websocket-Protocol": tt.offer, "Sec-Websocket-Extensions": {"permessage-deflate"},
			}
			status, answer := get(t, url, header)
			if status != tt.status || answer.Get("Sec-Websocket-Protocol") != tt.echo {
				t.Errorf("answer = %d %q, want %d %q", status, answer.Get("Sec-Websocket-Protocol"), tt.status, tt.echo)
			}
			if got := answer.Get("Sec-Websocket-Extensions"); got != "" {
				t.Errorf("extensions = %q, want none", got)
			}
		})
	}
}

func get(t *testing.T, url string, header http.Header) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(url, "ws", "http", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode, res.Header
}

func TestNotWebSocket(t *testing.T) {
	url, _ := serve(t, false, echo)
	if status, _ := get(t, url, http.Header{}); status != http.StatusUpgradeRequired {
		t.Errorf("status = %d, want 426", status)
	}
}

func TestDialRefused(t *testing.T) {
	url, _ := serve(t, false, echo)
	_, err := wsconn.Dial(t.Context(), url, wsconn.DialOptions{Protocols: []string{"amqp"}})
	var status *wsconn.StatusError
	if !errors.As(err, &status) || status.Status != 400 {
		t.Errorf("error = %v, want a StatusError with 400", err)
	}
	srv := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	defer srv.Close()
	_, err = wsconn.Dial(t.Context(), strings.Replace(srv.URL, "http", "ws", 1), wsconn.DialOptions{Protocols: []string{"mqtt"}})
	if !errors.As(err, &status) || status.Status != 302 {
		t.Errorf("error = %v, want a StatusError with 302", err)
	}
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := websocket.Accept(w, r, nil); err == nil {
			defer func() { _ = c.CloseNow() }()
			_, _, _ = c.Reader(r.Context())
		}
	}))
	defer silent.Close()
	_, err = wsconn.Dial(t.Context(), strings.Replace(silent.URL, "http", "ws", 1), wsconn.DialOptions{Protocols: []string{"mqtt"}})
	if !errors.Is(err, wsconn.ErrNoProtocol) {
		t.Errorf("error = %v, want ErrNoProtocol", err)
	}
}

func TestDialCancelled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, _ = c.Read(make([]byte, 1))
			cancel()
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	if _, err := wsconn.Dial(ctx, "ws://"+l.Addr().String(), wsconn.DialOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}

func tlsVersion(t *testing.T, c net.Conn) uint16 {
	secure, ok := c.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		t.Fatalf("%T has no TLS state", c)
	}
	return secure.ConnectionState().Version
}

func TestTLSState(t *testing.T) {
	version := make(chan uint16, 1)
	url, srv := serve(t, true, func(c net.Conn, _ string) {
		version <- tlsVersion(t, c)
		echo(c, "")
	})
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	c := dial(t, url, wsconn.DialOptions{Dial: (&tls.Dialer{Config: config}).DialContext})
	if got := <-version; got != tls.VersionTLS13 {
		t.Errorf("the server sees TLS version %x", got)
	}
	if got := tlsVersion(t, c); got != tls.VersionTLS13 {
		t.Errorf("the client sees TLS version %x", got)
	}
	if c.RemoteAddr().String() != srv.Listener.Addr().String() {
		t.Errorf("RemoteAddr = %v", c.RemoteAddr())
	}
}

func TestReadDeadline(t *testing.T) {
	url, _ := serve(t, false, func(c net.Conn, _ string) {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		for range 2 {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read = %v, want os.ErrDeadlineExceeded", err)
			}
			_ = c.SetReadDeadline(time.Time{})
		}
		if _, err := c.Write([]byte("still here")); err != nil {
			t.Errorf("Write after a read deadline: %v", err)
		}
	})
	c := dial(t, url, wsconn.DialOptions{})
	got, err := io.ReadAll(c)
	if string(got) != "still here" || err != nil {
		t.Errorf("ReadAll = %q, %v", got, err)
	}
}

func TestDeadlineMoved(t *testing.T) {
	url, _ := serve(t, false, echo)
	c := dial(t, url, wsconn.DialOptions{})
	for range 20 {
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteDeadline(t *testing.T) {
	release := make(chan struct{})
	url, _ := serve(t, false, func(net.Conn, string) { <-release })
	defer close(release)
	c := dial(t, url, wsconn.DialOptions{})
	_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	var err error
	for block := make([]byte, 64<<10); err == nil; {
		_, err = c.Write(block)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write = %v, want os.ErrDeadlineExceeded", err)
	}
	_ = c.SetWriteDeadline(time.Time{})
	if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("second Write = %v, want os.ErrDeadlineExceeded", err)
	}
}

// TestCloseIsQuick closes while a read waits, and while a write waits for a peer
// that does not read.
func TestCloseIsQuick(t *testing.T) {
	release := make(chan struct{})
	url, _ := serve(t, false, func(net.Conn, string) { <-release })
	defer close(release)
	for _, busy := range []bool{false, true} {
		c := dial(t, url, wsconn.DialOptions{})
		ended := make(chan error, 2)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		if busy {
			if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			go func() { // fills every buffer and waits
				_, err := c.Write(make([]byte, 32<<20))
				ended <- err
			}()
		}
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("a call that waited returned without an error")
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("Close took %v", took)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close = %v, want net.ErrClosed", err)
		}
		if err := c.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline after Close = %v, want net.ErrClosed", err)
		}
		if busy {
			if err := <-ended; err == nil {
				t.Error("the other call returned without an error")
			}
		}
	}
}

func TestPeerGone(t *testing.T) {
	url, _ := serve(t, false, func(c net.Conn, _ string) {
		if below, ok := c.(interface{ NetConn() net.Conn }); ok {
			_ = below.NetConn().Close()
		}
	})
	if n, err := dial(t, url, wsconn.DialOptions{}).Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read = %d, %v, want io.EOF", n, err)
	}
}

// frames talks to a server that reads everything, in frames of the test's own
// making, and returns what the server read and how its reading ended.
func frames(t *testing.T, send func(w *websocket.Conn, raw net.Conn)) ([]byte, error) {
	t.Helper()
	type result struct {
		data []byte
		err  error
	}
	results := make(chan result, 1)
	url, _ := serve(t, false, func(c net.Conn, _ string) {
		data, err := io.ReadAll(c)
		results <- result{data, err}
	})
	var raw net.Conn
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var err error
		raw, err = new(net.Dialer).DialContext(ctx, network, addr)
		return raw, err
	}}}
	options := &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPClient: client}
	ws, _, err := websocket.Dial(t.Context(), url, options) //nolint:bodyclose // websocket.Dial closed it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	send(ws, raw)
	r := <-results
	return r.data, r.err
}

func TestFrames(t *testing.T) {
	ctx := t.Context()
	tests := []struct {
		name string
		send func(ws *websocket.Conn, raw net.Conn)
		want string
		err  error // nil: the stream ends well
	}{
		{"continuation frames", func(ws *websocket.Conn, _ net.Conn) {
			w, _ := ws.Writer(ctx, websocket.MessageBinary)
			_, _ = w.Write(bytes.Repeat([]byte("a"), 5000)) // more than the buffer: several frames
			_, _ = w.Write([]byte("b"))
			_ = w.Close()
			_ = ws.Close(websocket.StatusGoingAway, "")
		}, strings.Repeat("a", 5000) + "b", nil},
		{"text", func(ws *websocket.Conn, _ net.Conn) {
			_ = ws.Write(ctx, websocket.MessageText, []byte("hello"))
			if _, _, err := ws.Reader(ctx); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
				t.Errorf("the client hears %v, want status 1003", err)
			}
		}, "", errAny},
		{"too long", func(ws *websocket.Conn, _ net.Conn) {
			_ = ws.Write(ctx, websocket.MessageBinary, make([]byte, wsconn.MaxMessage+2))
		}, strings.Repeat("\x00", wsconn.MaxMessage+1), websocket.ErrMessageTooBig},
		{"half a frame", func(_ *websocket.Conn, raw net.Conn) {
			_, _ = raw.Write([]byte{0x82, 0xff, 0, 0})
			_ = raw.Close()
		}, "", errAny},
		{"a length that cannot be", func(_ *websocket.Conn, raw net.Conn) {
			_, _ = raw.Write([]byte{0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 'x'})
			_ = raw.Close()
		}, "", errAny},
		{"not masked", func(_ *websocket.Conn, raw net.Conn) {
			_, _ = raw.Write([]byte{0x82, 1, 'x'})
		}, "", errAny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := frames(t, tt.send)
			if string(got) != tt.want {
				t.Errorf("the server read %d bytes, %.20q", len(got), got)
			}
			switch {
			case tt.err == nil && err != nil, tt.err != nil && err == nil:
				t.Errorf("error = %v, want %v", err, tt.err)
			case tt.err != nil && !errors.Is(tt.err, errAny) && !errors.Is(err, tt.err):
				t.Errorf("error = %v, want %v", err, tt.err)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestPingIsAnswered(t *testing.T) {
	url, _ := serve(t, false, echo)
	options := &websocket.DialOptions{Subprotocols: []string{"mqtt"}}
	ws, _, err := websocket.Dial(t.Context(), url, options) //nolint:bodyclose // websocket.Dial closed it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	ws.CloseRead(t.Context())
	if err := ws.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

// TestBytesBehindTheHandshake sends the first frame together with the request.
func TestBytesBehindTheHandshake(t *testing.T) {
	_, srv := serve(t, false, echo)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if _, err := c.Write(append([]byte(request), 0x82, 0x81, 0, 0, 0, 0, 'x')); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	frame := make([]byte, 3)
	if _, err := io.ReadFull(r, frame); err != nil || !bytes.Equal(frame, []byte{0x82, 1, 'x'}) {
		t.Errorf("frame = %x, %v", frame, err)
	}
}
