package dps

import (
	"crypto/x509"
	"net/netip"
	"time"
)

// Transport is how a device reached the service.
type Transport string

// The transports.
const (
	HTTPS         Transport = "https"
	MQTT          Transport = "mqtt"
	MQTTWebSocket Transport = "mqtt-ws"
)

// Refusal is one call of a device that was refused, with what led to it; or one that
// succeeded and that operators have to know of, see Reason.Refuses. It holds no secret:
// neither a key nor the signature of a token.
type Refusal struct {
	Instance    InstanceID
	TrackingID  string // which the device was told, where it was told anything
	Time        time.Time
	ID          RegistrationID  // "" where it is unknown: the handshake failed before the device named itself
	Attestation AttestationType // of what the device showed; "" if it showed nothing
	Transport   Transport
	Remote      string // the caller's address, with the port
	Decision    Decision
	Evidence    EvidenceSummary
	Move        *IdentityMove // for ReasonIdentityMoved and ReasonIdentityHeld; else nil
}

// EvidenceSummary is what a device showed, without what could be used again.
type EvidenceSummary struct {
	Presented int               // how many certificates it presented
	Chain     []CertificateInfo // the first of them as they came, the device's own first
	Token     *TokenInfo        // nil if it showed none that can be read
	Hello     *ClientHello      // nil unless the TLS handshake failed
}

// TokenInfo is what a SAS token says about itself, without its signature.
type TokenInfo struct {
	Resource string
	KeyName  string
	Expiry   time.Time
}

// maxSummary is how many certificates of a chain a summary has.
const maxSummary = 10

// SummarizeChain describes the first certificates of a chain. They may hold anything,
// of any length: nobody has vouched for them.
func SummarizeChain(chain []*x509.Certificate) EvidenceSummary {
	s := EvidenceSummary{Presented: len(chain)}
	for _, c := range chain[:min(len(chain), maxSummary)] {
		s.Chain = append(s.Chain, summarize(Certificate{DER: c.Raw}))
	}
	return s
}

// summarize describes a certificate that was parsed; by its thumbprints alone, should it
// be one that Info cannot read.
func summarize(c Certificate) CertificateInfo {
	info, err := c.Info()
	if err != nil {
		return CertificateInfo{SHA1: SHA1Thumbprint(c.DER), SHA256: c.Thumbprint().String()}
	}
	return info
}

// ipv6Network is how much of an IPv6 address tells one network from another: who has
// one address of it has all of them.
const ipv6Network = 64

// SourceOf returns whom an address counts for, with or without a port: an IPv4 address
// for itself, an IPv6 address for its /64. What is no address counts for itself.
func SourceOf(remote string) string {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		at, err := netip.ParseAddrPort(remote)
		if err != nil {
			return remote
		}
		addr = at.Addr()
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(ipv6Network)
	if err != nil {
		return addr.String()
	}
	return network.String()
}
