package handshake

import (
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// describe returns what a client offered, in words; nil of nothing.
func describe(hello *tls.ClientHelloInfo) *dps.ClientHello {
	if hello == nil {
		return nil
	}
	return &dps.ClientHello{
		ServerName:       hello.ServerName,
		Versions:         names(hello.SupportedVersions, tls.VersionName),
		CipherSuites:     names(hello.CipherSuites, suiteName),
		Groups:           names(hello.SupportedCurves, groupName),
		SignatureSchemes: names(hello.SignatureSchemes, schemeName),
		Protocols:        names(hello.SupportedProtos, func(p string) string { return p }),
	}
}

// maxNames bounds one list. A ClientHello may have thirty thousand suites.
const maxNames = 40

// names names what has values, without the placeholders of RFC 8701.
func names[T ~uint16 | ~string](values []T, name func(T) string) []string {
	var all []string
	for _, v := range values {
		if len(all) == maxNames {
			break
		}
		if n := name(v); n != "" {
			all = append(all, n)
		}
	}
	return all
}

// grease reports whether a value is a placeholder (RFC 8701).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// suiteName names a cipher suite: as crypto/tls or IANA does.
func suiteName(id uint16) string {
	if grease(id) {
		return ""
	}
	if name := suites[id]; name != "" {
		return name
	}
	return tls.CipherSuiteName(id)
}

// suites are those that devices offer and crypto/tls does not know.
// Source: IANA, "TLS Cipher Suites".
var suites = map[uint16]string{
	0x0016: "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA",
	0x0033: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
	0x0039: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
	0x003D: "TLS_RSA_WITH_AES_256_CBC_SHA256",
	0x0067: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256",
	0x006B: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256",
	0x008C: "TLS_PSK_WITH_AES_128_CBC_SHA",
	0x009E: "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
	0x009F: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
	0x00A8: "TLS_PSK_WITH_AES_128_GCM_SHA256",
	0x00AE: "TLS_PSK_WITH_AES_128_CBC_SHA256",
	0x00FF: "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
	0x1304: "TLS_AES_128_CCM_SHA256",
	0x1305: "TLS_AES_128_CCM_8_SHA256",
	0x5600: "TLS_FALLBACK_SCSV",
	0xC004: "TLS_ECDH_ECDSA_WITH_AES_128_CBC_SHA",
	0xC005: "TLS_ECDH_ECDSA_WITH_AES_256_CBC_SHA",
	0xC00E: "TLS_ECDH_RSA_WITH_AES_128_CBC_SHA",
	0xC00F: "TLS_ECDH_RSA_WITH_AES_256_CBC_SHA",
	0xC024: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
	0xC028: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
	0xC09C: "TLS_RSA_WITH_AES_128_CCM",
	0xC09D: "TLS_RSA_WITH_AES_256_CCM",
	0xC0A0: "TLS_RSA_WITH_AES_128_CCM_8",
	0xC0AC: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
	0xC0AD: "TLS_ECDHE_ECDSA_WITH_AES_256_CCM",
	0xC0AE: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
	0xC0AF: "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8",
	0xCCAA: "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

// schemeName names a signature algorithm: as crypto/tls or IANA does.
func schemeName(s tls.SignatureScheme) string {
	if grease(uint16(s)) {
		return ""
	}
	switch s {
	case 0x0101:
		return "PKCS1WithMD5"
	case 0x0301:
		return "PKCS1WithSHA224"
	case 0x0202, 0x0302, 0x0402, 0x0502, 0x0602:
		return "DSAWith" + map[byte]string{2: "SHA1", 3: "SHA224", 4: "SHA256", 5: "SHA384", 6: "SHA512"}[byte(s>>8)]
	case 0x0303:
		return "ECDSAWithSHA224"
	case 0x0808:
		return "Ed448"
	}
	if name := s.String(); !strings.HasPrefix(name, "SignatureScheme(") {
		return name
	}
	return fmt.Sprintf("0x%04X", uint16(s))
}

// groupName names a group: as curves are called, or as IANA does.
func groupName(g tls.CurveID) string {
	if grease(uint16(g)) {
		return ""
	}
	switch g {
	case tls.CurveP256:
		return "P-256"
	case tls.CurveP384:
		return "P-384"
	case tls.CurveP521:
		return "P-521"
	case 19:
		return "P-192"
	case 21:
		return "P-224"
	case 22:
		return "secp256k1"
	case 26, 27, 28:
		return "brainpoolP" + []string{"256", "384", "512"}[g-26] + "r1"
	case 29:
		return "X25519"
	case 30:
		return "X448"
	}
	if name := g.String(); !strings.HasPrefix(name, "CurveID(") {
		return name
	}
	return fmt.Sprintf("0x%04X", uint16(g))
}
