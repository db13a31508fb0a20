package handshake

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// failure is a handshake that failed, explained.
type failure struct {
	id       dps.RegistrationID // as the certificate says; "" if there is none
	decision dps.Decision
	evidence dps.EvidenceSummary
}

// finding is one reason with what was found.
type finding struct {
	reason                 dps.Reason
	detail, answer, remedy string
}

// checkName is what all these decisions have as their one check.
const checkName = "TLS handshake"

// explain says why a handshake failed with err; chain are the client certificates that
// could be parsed. ok is false for what is not worth a record: the client went away
// without a ClientHello, or the service is stopping.
func explain(c *conn, chain []*x509.Certificate, err error) (f failure, ok bool) {
	if errors.Is(err, net.ErrClosed) || (c.hello == nil && gone(err)) {
		return failure{}, false
	}
	found := find(c, err)
	f.evidence = dps.SummarizeChain(chain)
	name := ""
	if len(chain) > 0 {
		name = chain[0].Subject.CommonName
	} else if c.flight != nil {
		f.evidence, name = glimpseChain(*c.flight)
	}
	if id, err := dps.ParseRegistrationID(name); err == nil {
		f.id = id
	}
	f.evidence.Hello = describe(c.hello)
	f.decision = dps.RefusedFor(found.reason, checkName, found.detail, found.answer, found.remedy)
	return f, true
}

// gone reports whether an error says no more than that the other side went away.
func gone(err error) bool {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return true
	}
	if _, record := errors.AsType[tls.RecordHeaderError](err); record {
		return false
	}
	op, ok := errors.AsType[*net.OpError](err)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		ok && (op.Op == "read" || op.Op == "write")
}

// find finds the reason.
func find(c *conn, err error) finding {
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && c.hello == nil {
		return notTLS(record.RecordHeader[:], c.transport)
	}
	if number, ok := remoteAlert(err); ok {
		return alerted(number)
	}
	if gone(err) {
		detail := "the client closed the connection after the service had sent its certificate"
		if errors.Is(err, os.ErrDeadlineExceeded) {
			detail = "the client stopped answering"
		}
		return finding{reason: dps.ReasonHandshakeAborted, detail: detail, answer: "The connection was closed."}
	}
	f := local(c.hello, err.Error())
	if sent := c.alert.Load(); sent > 0 {
		f.answer = "TLS alert " + alertName(uint8(sent-1)) //nolint:gosec // it has 8 bits
	}
	return f
}

// methods are the beginnings of HTTP requests.
var methods = []string{"GET ", "PUT ", "POST ", "HEAD ", "OPTIO", "PATCH", "DELET", "CONNE"}

// notTLS tells by the first bytes what a client speaks instead of TLS.
func notTLS(head []byte, t dps.Transport) finding {
	f := finding{reason: dps.ReasonNotTLS, answer: "The connection was closed."}
	text := string(head)
	switch {
	case head[0] == 0x10:
		f.detail, f.remedy = "the client sent an MQTT CONNECT packet without TLS", "Enable TLS in the MQTT client."
		if t == dps.HTTPS {
			f.remedy = "Enable TLS in the MQTT client, and connect to the MQTT port; this port only serves HTTPS and MQTT over WebSocket."
		}
	case slices.ContainsFunc(methods, func(method string) bool { return strings.HasPrefix(text, method) }):
		f.detail, f.remedy = "the client sent an HTTP request without TLS", "Use https:// and the HTTPS port; this port only serves MQTT."
		if t == dps.HTTPS {
			f.answer, f.remedy = "HTTP status 400", "Use https:// instead of http://."
		}
	default:
		f.detail = fmt.Sprintf("the first bytes are %X", head)
	}
	return f
}

// text is a piece of an error of crypto/tls, which has no types for them, and what it
// means. The tests produce each of them by a handshake, so that a change of Go shows.
type text struct {
	piece  string
	reason dps.Reason
	answer string // the alert that crypto/tls sends
}

var texts = []text{
	{"only unsupported versions", dps.ReasonTLSVersion, "TLS alert protocol_version"},
	{"no cipher suite supported", dps.ReasonTLSCipherSuite, "TLS alert handshake_failure"},
	{"no key exchanges supported", dps.ReasonTLSGroup, "TLS alert handshake_failure"},
	{"no supported elliptic curves", dps.ReasonTLSGroup, "TLS alert handshake_failure"},
	{"incompatible point formats", dps.ReasonTLSGroup, "TLS alert handshake_failure"},
	{"certificate's signature algorithms", dps.ReasonTLSSignatureAlgorithm, "TLS alert handshake_failure"},
	{"missing signature_algorithms", dps.ReasonTLSSignatureAlgorithm, "TLS alert handshake_failure"},
	{"unsupported application protocols", dps.ReasonTLSProtocol, "TLS alert no_application_protocol"},
	{parseText, dps.ReasonCertificateUnreadable, "TLS alert decode_error"},
	{"invalid signature by the client certificate", dps.ReasonClientKeyMismatch, "TLS alert decrypt_error"},
	{"certificate used with invalid signature algorithm", dps.ReasonClientKeyUnsupported, "TLS alert illegal_parameter"},
	{"containing RSA key larger than", dps.ReasonClientKeyUnsupported, "TLS alert bad_certificate"},
	{"unsupported public key", dps.ReasonClientKeyUnsupported, "TLS alert unsupported_certificate"},
}

// parseText precedes what crypto/x509 says of a certificate.
const parseText = "failed to parse client certificate: "

// local explains a failure that crypto/tls found itself.
func local(hello *tls.ClientHelloInfo, message string) finding {
	message = strings.TrimPrefix(strings.TrimPrefix(message, "local error: "), "tls: ")
	f := finding{reason: dps.ReasonHandshakeInvalid, detail: message, answer: "A TLS alert."}
	for _, t := range texts {
		if strings.Contains(message, t.piece) {
			f.reason, f.answer = t.reason, t.answer
			break
		}
	}
	switch f.reason {
	case dps.ReasonTLSCipherSuite:
		if f.detail = "none of the client's cipher suites is enabled here"; noGroup(hello) {
			f.reason, f.detail = dps.ReasonTLSGroup, "the client's cipher suites need an elliptic curve, and none of its curves is supported here"
		}
	case dps.ReasonTLSVersion:
		f.detail = "none of the client's TLS versions is enabled here"
	case dps.ReasonCertificateUnreadable:
		_, cause, _ := strings.Cut(message, parseText)
		f.detail, f.remedy = unreadable(strings.TrimPrefix(cause, "x509: "))
	}
	return f
}

// noGroup reports whether the client offers a cipher suite that needs a group, and none
// that is known here.
func noGroup(hello *tls.ClientHelloInfo) bool {
	if hello == nil || len(hello.SupportedCurves) == 0 || slices.ContainsFunc(hello.SupportedCurves, knownGroup) {
		return false
	}
	known := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
	return slices.ContainsFunc(known, func(s *tls.CipherSuite) bool {
		return strings.Contains(s.Name, "_ECDHE_") && slices.Contains(hello.CipherSuites, s.ID)
	})
}

func knownGroup(g tls.CurveID) bool {
	switch g {
	case tls.CurveP256, tls.CurveP384, tls.CurveP521, tls.X25519, tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024:
		return true
	}
	return false
}

// remoteAlert returns the number of the alert with which the client ended the handshake.
// The type of crypto/tls has no exported name.
func remoteAlert(err error) (number uint8, ok bool) {
	op, is := errors.AsType[*net.OpError](err)
	if !is || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}

// alerts are those about certificates, and the others that clients send; RFC 8446 section 6.
var alerts = map[uint8]string{
	0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure", 42: "bad_certificate",
	43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter",
	48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security",
	80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled", 109: "missing_extension", 110: "unsupported_extension",
	112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol",
}

func alertName(number uint8) string { return cmp.Or(alerts[number], fmt.Sprint(number)) }

// alerted explains an alert of the client.
func alerted(number uint8) finding {
	name := alertName(number)
	f := finding{
		reason: dps.ReasonClientAlert, detail: "the client sent the TLS alert " + name,
		answer: "Nothing; the client ended the handshake.",
	}
	switch number {
	case 48:
		f.remedy = "Install the service's CA file (see `mooring info`) as a trusted CA in the client."
	case 45:
		f.remedy = "Check the client's clock, and the validity of the server's certificate."
	case 42, 43, 44, 46:
	default:
		return f
	}
	f.reason = dps.ReasonServerRejected
	return f
}
