package wire_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki/oddcert"
)

// bothListeners are those that shake hands; MQTT over WebSocket is on the one of https.
var bothListeners = []string{"https", "mqtt"}

// handshakeAttempts are the ways in which a TLS handshake fails.
func handshakeAttempts(t *testing.T, w *world) []attempt {
	t.Helper()
	shake := func(reason dps.Reason, edit func(*tls.Config)) attempt {
		return attempt{reason, bothListeners, func(t *testing.T, w *world, transport, _ string) heard {
			t.Helper()
			return w.shakes(t, transport, edit, func(c net.Conn) net.Conn { return c })
		}}
	}
	through := func(reason dps.Reason, edit func(*tls.Config), wrap func(net.Conn) net.Conn) attempt {
		return attempt{reason, bothListeners, func(t *testing.T, w *world, transport, _ string) heard {
			t.Helper()
			return w.shakes(t, transport, edit, wrap)
		}}
	}
	raw := func(reason dps.Reason, text string) attempt {
		return attempt{reason, bothListeners, func(t *testing.T, w *world, transport, _ string) heard {
			t.Helper()
			c := w.connects(t, transport)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			return inPlainText(t, c)
		}}
	}
	all := []attempt{
		raw(dps.ReasonNotTLS, "\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04dev1"),
		raw(dps.ReasonNotTLS, "GET / HTTP/1.1\r\n\r\n"),
		raw(dps.ReasonNotTLS, "SSH-2.0-OpenSSH_9.9\r\n"),
	}
	for _, old := range oldClients {
		if old.name == "TLS 1.1" || old.name == "RSA-3DES" {
			all = append(all, shake(dps.Reason(old.reason), old.edit))
		}
	}
	all = append(
		all,
		through(dps.ReasonTLSGroup, func(c *tls.Config) {
			c.MaxVersion, c.CurvePreferences = tls.VersionTLS12, []tls.CurveID{tls.CurveP256}
		}, offering(10, 0, 26)), // brainpoolP256r1
		through(dps.ReasonTLSGroup, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }, offering(10, 0, 26)),
		through(dps.ReasonTLSSignatureAlgorithm, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, offering(13, 2, 3)), // ECDSA with SHA-1
		attempt{dps.ReasonTLSProtocol, []string{"https"}, func(t *testing.T, w *world, transport, _ string) heard {
			t.Helper()
			return w.shakes(t, transport, func(c *tls.Config) { c.NextProtos = []string{"h2"} }, func(c net.Conn) net.Conn { return c })
		}},
		shake(dps.ReasonServerRejected, func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }),
		through(dps.ReasonServerRejected, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, alerting(48)),
		through(dps.ReasonServerRejected, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, alerting(45)),
		through(dps.ReasonClientAlert, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, alerting(40)),
		through(dps.ReasonHandshakeAborted, func(*tls.Config) {}, func(c net.Conn) net.Conn { return &leaving{c} }),
		raw(dps.ReasonHandshakeInvalid, "\x16\x03\x01\x00\x08\x01\x00\x00\x04oops"),
	)
	return append(all, clientCertificateAttempts(t, w)...)
}

// clientCertificateAttempts are client certificates with which no handshake succeeds.
func clientCertificateAttempts(t *testing.T, w *world) []attempt {
	t.Helper()
	presenting := func(reason dps.Reason, edit func(*tls.Config), shown func(t *testing.T, mark string) *tls.Certificate) attempt {
		return attempt{reason, bothListeners, func(t *testing.T, w *world, transport, mark string) heard {
			t.Helper()
			c := shown(t, mark)
			return w.shakes(t, transport, func(config *tls.Config) {
				edit(config)
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
			}, func(c net.Conn) net.Conn { return c })
		}}
	}
	before13 := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	var all []attempt
	for _, kind := range oddcert.Kinds() {
		if kind == oddcert.NegativeSerial { // is accepted
			continue
		}
		all = append(all, presenting(dps.ReasonCertificateUnreadable, before13, func(t *testing.T, mark string) *tls.Certificate {
			t.Helper()
			der, key, err := oddcert.Make(kind, "dev_"+mark)
			if err != nil {
				t.Fatal(err)
			}
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		}))
	}
	all = append(all, presenting(dps.ReasonCertificateUnreadable, func(*tls.Config) {}, func(t *testing.T, mark string) *tls.Certificate {
		t.Helper()
		der, key, err := oddcert.Make(oddcert.TwoAlgorithms, "dev_"+mark)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}))
	mismatch := func(t *testing.T, mark string) *tls.Certificate {
		t.Helper()
		w.declare(t, mark+` = device "dev-`+mark+`"`)
		return &tls.Certificate{Certificate: [][]byte{w.get(t, mark).cert.Raw}, PrivateKey: newKey(t)}
	}
	large := func(t *testing.T, mark string) *tls.Certificate {
		t.Helper()
		modulus := new(big.Int).SetBit(big.NewInt(1), 8200, 1)
		return w.withKey(t, "dev-"+mark, &rsa.PublicKey{N: modulus, E: 65537})
	}
	return append(
		all,
		presenting(dps.ReasonClientKeyMismatch, before13, mismatch),
		presenting(dps.ReasonClientKeyMismatch, func(*tls.Config) {}, mismatch),
		presenting(dps.ReasonClientKeyUnsupported, before13, large),
		presenting(dps.ReasonClientKeyUnsupported, func(*tls.Config) {}, large),
	)
}

// withKey returns a certificate for a public key of which the device has no private key.
func (w *world) withKey(t *testing.T, name string, key crypto.PublicKey) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	own, ok := newKey(t).(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("no ECDSA key")
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "Root"}, PublicKey: own.Public()}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key, own)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
}

// connects opens a connection to a listener, below TLS.
func (w *world) connects(t *testing.T, transport string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.addresses()[transport])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// shakes shakes hands by a client's configuration, and returns how that ended.
func (w *world) shakes(t *testing.T, transport string, edit func(*tls.Config), wrap func(net.Conn) net.Conn) heard {
	t.Helper()
	below := w.connects(t, transport)
	config := &tls.Config{RootCAs: w.roots, ServerName: "localhost"} //nolint:gosec // old versions are tested too
	edit(config)
	c := tls.Client(wrap(below), config)
	err := c.HandshakeContext(t.Context())
	if err == nil { // since TLS 1.3 the server speaks last
		_, err = c.Read(make([]byte, 1))
	}
	_ = below.Close()
	switch number, alert := remoteAlert(err); {
	case alert:
		return heard{"TLS alert `" + alertNames[number] + "`", "TLS alert " + alertNames[number]}
	case errors.Is(err, errAlerting) || errors.As(err, new(*tls.CertificateVerificationError)):
		return heard{"nothing; the client ends the handshake", "Nothing; the client ended the handshake."}
	case errors.Is(err, io.EOF):
		return closed
	default:
		t.Fatalf("the handshake over %s ended with %v", transport, err)
		return heard{}
	}
}

// closed is what a client hears that is not told anything.
var closed = heard{"the connection is closed", "The connection was closed."}

// inPlainText returns what a client reads that speaks no TLS, or no TLS that can be understood.
func inPlainText(t *testing.T, c net.Conn) heard {
	t.Helper()
	text, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is not closed")
	}
	switch {
	case len(text) == 0:
		return closed
	case len(text) == 7 && text[0] == 21: // RFC 8446 section 5.1
		return heard{"TLS alert `" + alertNames[text[6]] + "`", "TLS alert " + alertNames[text[6]]}
	case strings.HasPrefix(string(text), "HTTP/1.0 400 "):
		_, body, _ := strings.Cut(string(text), "\r\n\r\n")
		return heard{"status 400: " + strings.TrimSpace(body), "HTTP status 400"}
	default:
		t.Fatalf("received %q", text)
		return heard{}
	}
}

// remoteAlert returns the number of the alert with which the server ended the handshake: the
// type of crypto/tls has no exported name.
func remoteAlert(err error) (number uint8, ok bool) {
	op, is := errors.AsType[*net.OpError](err)
	if !is || op.Op != "remote error" {
		return 0, false
	}
	if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
		return uint8(v.Uint()), true //nolint:gosec // it has 8 bits
	}
	return 0, false
}

// alertNames are those that the service sends. Source: RFC 8446 section 6.
var alertNames = map[uint8]string{
	10: "unexpected_message", 40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate", 47: "illegal_parameter",
	50: "decode_error", 51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
	120: "no_application_protocol",
}

// offering returns a client's connection that offers one value alone in the list of an
// extension of its ClientHello.
func offering(extension byte, value ...byte) func(net.Conn) net.Conn {
	return func(c net.Conn) net.Conn { return &rewriting{Conn: c, extension: extension, value: value} }
}

// alerting returns a client's connection that answers the server's first message with an
// alert.
func alerting(number byte) func(net.Conn) net.Conn {
	return func(c net.Conn) net.Conn { return &alertingConn{c, number} }
}

type alertingConn struct {
	net.Conn
	number byte
}

var errAlerting = errors.New("the client sent an alert")

func (c *alertingConn) Read(p []byte) (int, error) {
	if _, err := c.Conn.Read(p); err != nil {
		return 0, err
	}
	_, err := c.Conn.Write([]byte{21, 3, 3, 0, 2, 2, c.number})
	return 0, errors.Join(errAlerting, err)
}

// leaving is a client's connection that ends when the server has answered.
type leaving struct{ net.Conn }

func (c *leaving) Read(p []byte) (int, error) {
	if _, err := c.Conn.Read(p); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// rewriting is a client's connection that changes its ClientHello.
type rewriting struct {
	net.Conn
	extension byte
	value     []byte
	done      bool
}

func (c *rewriting) Write(p []byte) (int, error) {
	if !c.done {
		p = bytes.Clone(p)
		c.done = offer(p, c.extension, c.value)
	}
	return c.Conn.Write(p)
}

// offer fills the list of an extension with one value, and reports whether it was found.
func offer(hello []byte, extension byte, value []byte) bool {
	for i := range max(0, len(hello)-6) {
		outer, inner := binary.BigEndian.Uint16(hello[i+2:]), int(binary.BigEndian.Uint16(hello[i+4:]))
		if hello[i] != 0 || hello[i+1] != extension || inner == 0 || int(outer) != inner+2 || i+6+inner > len(hello) {
			continue
		}
		copy(hello[i+6:i+6+inner], bytes.Repeat(value, inner))
		return true
	}
	return false
}
