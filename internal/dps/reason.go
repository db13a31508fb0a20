package dps

import "slices"

// ReasonText describes a reason and its remedy, one sentence each.
type ReasonText struct {
	Summary string
	Remedy  string // in general; a decision has its own, with the names of the records concerned
}

// reasonRow is a reason with its description.
type reasonRow struct {
	reason Reason
	text   ReasonText
}

// reasons has one row for each reason of attestation, in the order in which they are checked.
var reasons = []reasonRow{
	{ReasonNoEvidence, ReasonText{
		"The device presented neither a client certificate nor a token.",
		"Configure the device with a client certificate and its private key for the TLS handshake, or with a symmetric key for its tokens.",
	}},
	{ReasonChainTooLong, ReasonText{
		"The device presented more than 10 certificates.",
		"Configure the device to send only its own certificate and the intermediates up to an uploaded CA certificate.",
	}},
	{ReasonNameMismatch, ReasonText{
		"The common name of the device's certificate is not its registration ID.",
		"Register with the certificate's common name, or issue the certificate for this registration ID.",
	}},
	{ReasonNoEnrollment, ReasonText{
		"No individual enrollment has the registration ID, and no enrollment group matches the certificate chain or the token.",
		"Create an individual enrollment for the device, or an enrollment group for its CA or symmetric key.",
	}},
	{ReasonOtherAttestation, ReasonText{
		"The device's enrollment requires another attestation type than the device used.",
		"Change the attestation type of the enrollment, or delete the enrollment so that a group applies.",
	}},
	{ReasonOtherCertificate, ReasonText{
		"The device's certificate differs from the one in its individual enrollment.",
		"Set the device's certificate as primary or secondary certificate of its enrollment.",
	}},
	{ReasonCertificateTaken, ReasonText{
		"The device's certificate belongs to an individual enrollment with another registration ID.",
		"Recreate the enrollment with the certificate's common name as its registration ID.",
	}},
	{ReasonSignerAsDevice, ReasonText{
		"The device presented a certificate that is uploaded or enrolled as a CA, instead of a device certificate.",
		"Issue a device certificate with this CA, and configure the device to present it.",
	}},
	{ReasonLeafNotYetValid, ReasonText{
		"The device's certificate is not valid yet.",
		"Check the clocks of the server and of the CA, or reissue the device's certificate with an earlier start.",
	}},
	{ReasonLeafExpired, ReasonText{
		"The device's certificate has expired.",
		"Renew the device's certificate.",
	}},
	{ReasonSignerNotYetValid, ReasonText{
		"A CA certificate in the chain is not valid yet.",
		"Check the clocks of the server and of the CA, or reissue the CA certificate with an earlier start.",
	}},
	{ReasonSignerExpired, ReasonText{
		"A CA certificate in the chain has expired.",
		"Renew the CA certificate, and upload, enroll or present the new one.",
	}},
	{ReasonIssuerMissing, ReasonText{
		"A CA certificate in the chain is missing: the device did not present it, and it is not uploaded.",
		"Configure the device to send its own certificate followed by the intermediates, or upload the missing CA certificate.",
	}},
	{ReasonSignature, ReasonText{
		"A certificate names a known CA as its issuer, but is not signed with the key of that CA.",
		"Find out which CA issued the certificate, and upload, enroll or present that CA's certificate.",
	}},
	{ReasonWeakSignature, ReasonText{
		"A certificate in the chain has a weak signature: SHA-1, MD5, or an RSA key of less than 1024 bits.",
		"Reissue the certificate with a SHA-256 signature, by a CA with an RSA key of at least 2048 bits or an ECDSA key.",
	}},
	{ReasonUnsupportedSignature, ReasonText{
		"A certificate in the chain has a signature algorithm, or its issuer has a key type, that is not supported.",
		"Reissue the certificate with an RSA or ECDSA signature and SHA-256, SHA-384 or SHA-512.",
	}},
	{ReasonTooManySigners, ReasonText{
		"Too many CA certificates have the name of the issuer, and not all of them were tried.",
		"Issue certificates with authority and subject key identifiers, and delete unused CA certificates of the same name.",
	}},
	{ReasonNotCA, ReasonText{
		"An issuer in the chain is not marked as a CA, is not allowed to sign certificates, or exceeds a path length constraint.",
		"Reissue the CA certificate with basicConstraints CA:TRUE, a sufficient pathlen and keyUsage keyCertSign.",
	}},
	{ReasonChainRule, ReasonText{
		"A certificate in the chain violates name constraints or certificate policies, or has a critical extension that is not supported.",
		"Reissue the certificate so that it satisfies the constraints of its issuers, and without unsupported critical extensions.",
	}},
	{ReasonCANotVerified, ReasonText{
		"The chain does not lead to a verified CA certificate.",
		"Upload the CA certificate if it is missing, and verify it by proof of possession.",
	}},
	{ReasonOtherCA, ReasonText{
		"The chain does not lead to any CA certificate that the enrollment refers to.",
		"Issue the device certificate with a CA that the enrollment refers to, or add the device's CA to the enrollment.",
	}},
	{ReasonTokenMalformed, ReasonText{
		"The device sent a malformed SAS token.",
		"Generate the token with a device SDK.",
	}},
	{ReasonTokenResource, ReasonText{
		"The token was issued for another ID scope or registration ID than the connection uses.",
		"Use the same ID scope and registration ID in the token and in the connection.",
	}},
	{ReasonTokenExpired, ReasonText{
		"The token expired more than 5 minutes ago.",
		"Check the device's clock, and generate a new token for each connection.",
	}},
	{ReasonGroupSearch, ReasonText{
		"The device's enrollment group is not found yet, because one request tries a limited number of groups with symmetric keys.",
		"Retry after the time given in the answer, or create an individual enrollment for the device.",
	}},
	{ReasonWrongKey, ReasonText{
		"The token is not signed with a key of the device's enrollment.",
		"Configure the device with the primary or secondary key of its individual enrollment, or with the key derived from its group's key.",
	}},
	{ReasonDisabled, ReasonText{
		"The device proved its identity, but its enrollment is disabled.",
		"Enable the enrollment, or decommission the device.",
	}},
	{ReasonOperationOwner, ReasonText{
		"The device polled a registration with another certificate or key than it registered with.",
		"Poll with the same certificate or key, or register again.",
	}},
	{ReasonIdentityHeld, ReasonText{
		"The identity of the device at its hub belongs to another enrollment, and --takeover refuse keeps it there.",
		"Delete the registration record of the device that has the identity, or disable or delete its enrollment.",
	}},
	{ReasonIdentityMoved, ReasonText{
		"The device was assigned, and took over a hub identity that belonged to another enrollment or to an operator.",
		"If this was not intended, disable the new enrollment and start the service with --takeover refuse.",
	}},
}

// Refuses reports whether a device with r was refused; otherwise it was assigned, and
// operators have to know why.
func (r Reason) Refuses() bool { return r != ReasonNone && r != ReasonIdentityMoved }

// Reasons returns every reason but ReasonNone: first those that come before attestation.
func Reasons() []Reason {
	var all []Reason
	for _, row := range slices.Concat(contactReasons, reasons) {
		all = append(all, row.reason)
	}
	return all
}

// Text returns the description of r, or nothing for ReasonNone.
func (r Reason) Text() ReasonText {
	for _, table := range [][]reasonRow{contactReasons, reasons} {
		for _, row := range table {
			if row.reason == r {
				return row.text
			}
		}
	}
	return ReasonText{}
}
