package dps

import (
	"cmp"
	"errors"
)

// Reasons of refusals that come before attestation, or beside it: in the TLS handshake,
// in CONNECT, in the requests themselves.
const (
	ReasonNotTLS                Reason = "not-tls"
	ReasonTLSVersion            Reason = "tls-version"
	ReasonTLSCipherSuite        Reason = "tls-cipher-suite"
	ReasonTLSGroup              Reason = "tls-group"
	ReasonTLSSignatureAlgorithm Reason = "tls-signature-algorithm"
	ReasonTLSProtocol           Reason = "tls-application-protocol"
	ReasonServerRejected        Reason = "server-certificate-rejected"
	ReasonClientAlert           Reason = "client-alert"
	ReasonHandshakeAborted      Reason = "handshake-aborted"
	ReasonHandshakeInvalid      Reason = "handshake-invalid"
	ReasonCertificateUnreadable Reason = "certificate-unreadable"
	ReasonClientKeyMismatch     Reason = "client-key-mismatch"
	ReasonClientKeyUnsupported  Reason = "client-key-unsupported"

	ReasonMQTTVersion         Reason = "mqtt-version"
	ReasonPacketMalformed     Reason = "packet-malformed"
	ReasonUsernameMalformed   Reason = "username-malformed"
	ReasonHubLogin            Reason = "hub-login"
	ReasonClientIDMismatch    Reason = "client-id-mismatch"
	ReasonTopicUnknown        Reason = "topic-unknown"
	ReasonQoS2                Reason = "qos-2"
	ReasonSubscriptionRefused Reason = "subscription-refused"
	ReasonNotSubscribed       Reason = "not-subscribed"

	ReasonPathUnknown             Reason = "path-unknown"
	ReasonWebSocketRefused        Reason = "websocket-refused"
	ReasonAPIVersion              Reason = "api-version"
	ReasonRegistrationIDMalformed Reason = "registration-id-malformed"
	ReasonBodyMalformed           Reason = "body-malformed"
	ReasonScopeUnknown            Reason = "id-scope-unknown"
	ReasonOperationUnknown        Reason = "operation-unknown"
	ReasonNotRegistered           Reason = "not-registered"
	ReasonThrottled               Reason = "throttled"
)

// contactReasons has one row for each of them.
var contactReasons = []reasonRow{
	{ReasonNotTLS, ReasonText{
		"The client did not start a TLS handshake.",
		"Enable TLS in the client, and check the port.",
	}},
	{ReasonTLSVersion, ReasonText{
		"The client supports no TLS version that is enabled here.",
		"Enable TLS 1.2 or 1.3 in the client, or start the service with --tls-compat for devices that only support TLS 1.0 or 1.1.",
	}},
	{ReasonTLSCipherSuite, ReasonText{
		"The client and the service have no cipher suite in common.",
		"Enable an ECDHE suite with AES-GCM in the client, or start the service with --tls-compat for devices that only support older suites.",
	}},
	{ReasonTLSGroup, ReasonText{
		"The client and the service have no key exchange group (elliptic curve) in common.",
		"Enable P-256, P-384, P-521 or X25519 in the client.",
	}},
	{ReasonTLSSignatureAlgorithm, ReasonText{
		"The client accepts no signature algorithm that the server certificate can use.",
		"Enable ECDSA or RSA signatures with SHA-256 in the client, or start the service with --tls-compat for devices that only support SHA-1.",
	}},
	{ReasonTLSProtocol, ReasonText{
		"The client requires an application protocol (ALPN) that this port does not serve.",
		"Offer http/1.1 in the client's ALPN list, or send no ALPN extension.",
	}},
	{ReasonServerRejected, ReasonText{
		"The client rejected the server's certificate.",
		"Install the service's CA file (see `mooring info`) in the client, connect by a name that the certificate has, and check the client's " +
			"clock.",
	}},
	{ReasonClientAlert, ReasonText{
		"The client ended the TLS handshake with an alert.",
		"Look up the alert in the client's log, and compare its TLS settings with what the service supports.",
	}},
	{ReasonHandshakeAborted, ReasonText{
		"The client closed the connection, or stopped answering, in the middle of the TLS handshake.",
		"Check the client's log; most often it does not trust the server's certificate, or gave up waiting.",
	}},
	{ReasonHandshakeInvalid, ReasonText{
		"The client sent something in the TLS handshake that violates the protocol.",
		"Update the client's TLS library, and check for a proxy that modifies the connection.",
	}},
	{ReasonCertificateUnreadable, ReasonText{
		"The client certificate violates the encoding rules for certificates, so the TLS handshake failed.",
		"Reissue the client certificate with a tool that follows RFC 5280.",
	}},
	{ReasonClientKeyMismatch, ReasonText{
		"The client's private key does not belong to its certificate.",
		"Install the certificate and the private key of the same pair on the device.",
	}},
	{ReasonClientKeyUnsupported, ReasonText{
		"The client certificate has a key, or the client used a signature algorithm, that is not supported in TLS.",
		"Reissue the client certificate with an ECDSA P-256 or RSA-2048 key, and enable SHA-256 signatures in the client.",
	}},
	{ReasonMQTTVersion, ReasonText{
		"The client speaks another MQTT version than 3.1.1.",
		"Set the client to MQTT 3.1.1 (protocol level 4).",
	}},
	{ReasonPacketMalformed, ReasonText{
		"The client sent a packet that MQTT 3.1.1 does not allow here.",
		"Fix or update the MQTT client.",
	}},
	{ReasonUsernameMalformed, ReasonText{
		"The MQTT user name does not have the required form.",
		"Set the user name to {idScope}/registrations/{registrationId}/api-version=2019-03-31.",
	}},
	{ReasonHubLogin, ReasonText{
		"The client logged in as a device of a hub, and devices cannot connect to an embedded hub.",
		"Link an Azure IoT hub, or another service with its registry API, for devices that have to connect to their hub.",
	}},
	{ReasonClientIDMismatch, ReasonText{
		"The MQTT client ID is not the registration ID in the user name.",
		"Set the MQTT client ID to the registration ID.",
	}},
	{ReasonTopicUnknown, ReasonText{
		"The client published to a topic that does not exist here.",
		"Publish to $dps/registrations/PUT/iotdps-register/?$rid=1, and put the topic into single quotes in a shell.",
	}},
	{ReasonQoS2, ReasonText{
		"The client published with QoS 2.",
		"Publish with QoS 0 or 1.",
	}},
	{ReasonSubscriptionRefused, ReasonText{
		"The client subscribed to a topic filter that does not exist here.",
		"Subscribe to $dps/registrations/res/#, and put the filter into single quotes in a shell.",
	}},
	{ReasonNotSubscribed, ReasonText{
		"The client sent a request without a subscription on which to receive the answer.",
		"Subscribe to $dps/registrations/res/# on the same connection before publishing.",
	}},
	{ReasonPathUnknown, ReasonText{
		"The device API has no such path or method.",
		"Send PUT /{idScope}/registrations/{registrationId}/register?api-version=2019-03-31.",
	}},
	{ReasonWebSocketRefused, ReasonText{
		"The WebSocket handshake is not acceptable.",
		"Send a GET with the headers of RFC 6455, including Sec-WebSocket-Protocol: mqtt, to /$iothub/websocket.",
	}},
	{ReasonAPIVersion, ReasonText{
		"The api-version is missing or not valid.",
		"Set api-version to a date such as 2019-03-31.",
	}},
	{ReasonRegistrationIDMalformed, ReasonText{
		"The registration ID breaks the rules for registration IDs.",
		"Use 1 to 128 letters, digits, dashes, dots, underscores and colons, and end with a letter, digit or dash.",
	}},
	{ReasonBodyMalformed, ReasonText{
		"The body of the request is too large, not JSON, or contradicts the rest of the request.",
		"Send a JSON object with the registration ID of the connection, or no body.",
	}},
	{ReasonScopeUnknown, ReasonText{
		"The ID scope is not the one of this service.",
		"Copy the ID scope from `mooring info` to the device.",
	}},
	{ReasonOperationUnknown, ReasonText{
		"The device asked for an operation that does not exist, has expired, or belongs to another device.",
		"Register again and poll the operation ID from the new answer.",
	}},
	{ReasonNotRegistered, ReasonText{
		"The device asked for its registration before it registered.",
		"Register the device first.",
	}},
	{ReasonThrottled, ReasonText{
		"The request exceeded a rate limit.",
		"Retry after the time given in the answer.",
	}},
}

// ClientHello is what a client offered in its TLS ClientHello, in the client's order.
// Values that have no name are hexadecimal.
type ClientHello struct {
	ServerName       string   // SNI; "" if it sent none
	Versions         []string // "TLS 1.2"
	CipherSuites     []string // "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"
	Groups           []string // "P-256"
	SignatureSchemes []string // "ECDSAWithP256AndSHA256"
	Protocols        []string // ALPN
}

// RefusedFor returns the decision on a call that was refused before attestation for one
// reason. answer is what the client received; remedy "" stands for the reason's own.
func RefusedFor(r Reason, check, detail, answer, remedy string) Decision {
	var d Decision
	d.Refuse(check, detail, Verdict{Reason: r, Answer: answer, Remedy: cmp.Or(remedy, r.Text().Remedy)})
	return d
}

// reasoned is an error whose reason is not plain from its code.
type reasoned struct {
	error
	reason         Reason
	detail, remedy string
}

func (r *reasoned) Unwrap() error { return r.error }

// Because returns err with the reason under which the refusal is recorded; nil stays nil.
func Because(r Reason, err error) error {
	if err == nil {
		return nil
	}
	return &reasoned{error: err, reason: r}
}

// Explained returns err with the reason under which the refusal is recorded, with what was
// found and with what to do about it: more than the device receives.
func Explained(r Reason, err error, detail, remedy string) error {
	return &reasoned{error: err, reason: r, detail: detail, remedy: remedy}
}

// ExplanationOf returns what was found by a call that failed with err, and what to do about
// it; remedy "" stands for the reason's own.
func ExplanationOf(err error) (detail, remedy string) {
	if r, ok := errors.AsType[*reasoned](err); ok && r.detail != "" {
		return r.detail, r.remedy
	}
	return MessageOf(err), ""
}

// ReasonOf returns the reason of a call of a device that failed with err. It is
// ReasonNone where the device is not at fault, and for Unauthorized, on which there is a
// decision already.
func ReasonOf(err error) Reason {
	if r, ok := errors.AsType[*reasoned](err); ok {
		return r.reason
	}
	switch CodeOf(err) {
	case InstanceNotFound:
		return ReasonScopeUnknown
	case OperationNotFound:
		return ReasonOperationUnknown
	case RegistrationNotFound:
		return ReasonNotRegistered
	case Throttled:
		return ReasonThrottled
	case RouteNotFound, MethodNotAllowed:
		return ReasonPathUnknown
	case Malformed, Invalid, TooLarge, UnsupportedMediaType:
		return ReasonBodyMalformed
	default:
		return ReasonNone
	}
}
