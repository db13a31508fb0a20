package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// refusal is an answer of the service that is not the one hoped for.
type refusal struct {
	kind   string // few values: failures are counted by it
	detail string
}

func (r *refusal) Error() string {
	if r.detail == "" {
		return r.kind
	}
	return r.kind + ": " + r.detail
}

func refused(kind, format string, args ...any) error {
	return &refusal{kind: kind, detail: fmt.Sprintf(format, args...)}
}

// kindOf returns a few words for a failure, the same for all of its kind.
func kindOf(err error) string {
	var answer *refusal
	var alert tls.AlertError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &answer):
		return answer.kind
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no free local port"
	case errors.Is(err, syscall.EMFILE):
		return "too many open files"
	case errors.As(err, &alert):
		return "TLS alert " + alert.Error()
	case errors.As(err, &certificate):
		return "server certificate not trusted"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "connection closed"
	default:
		return "other"
	}
}
