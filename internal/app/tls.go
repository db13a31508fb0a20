package app

import (
	"crypto/tls"
	"os"
	"slices"
	"strings"
)

// deviceTLS is the TLS of the listeners for devices. It requests client certificates and
// leaves judging them to attestation.
func (a *App) deviceTLS() *tls.Config {
	config := a.tlsConfig()
	config.ClientAuth, config.GetConfigForClient = tls.RequestClientCert, a.handshakes.Hello
	if a.options.Config.TLSCompat {
		config.MinVersion, config.CipherSuites = tls.VersionTLS10, everySuite()
		allowSHA1()
		a.options.Log.Warn("--tls-compat is on: TLS 1.0, weak cipher suites and SHA-1 signatures are accepted on the device listeners")
	}
	return config
}

// everySuite returns the cipher suites of crypto/tls that are configurable, the good ones
// first. Which one is used crypto/tls decides by an order of its own, in which weak ones
// come last.
func everySuite() []uint16 {
	var all []uint16
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		all = append(all, s.ID)
	}
	return all
}

// allowSHA1 lets TLS 1.2 use SHA-1 signatures, in the whole process: crypto/tls has no
// other switch for it (since Go 1.25).
func allowSHA1() {
	const setting = "tlssha1=1"
	now := os.Getenv("GODEBUG")
	if strings.Contains(now, "tlssha1=") {
		return // the operator has decided
	}
	if now != "" {
		now += ","
	}
	_ = os.Setenv("GODEBUG", now+setting) // fails for malformed names only
}
