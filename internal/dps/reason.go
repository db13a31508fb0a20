package dps

import "slices"

// ReasonText says what a reason means and what mends it, one sentence each.
type ReasonText struct {
	Summary string
	Remedy  string // in general; a decision has its own, which names what is at hand
}

// reasonRow is a reason with what it means.
type reasonRow struct {
	reason Reason
	text   ReasonText
}

// reasons has one row for each reason of attestation, in the order in which they are checked.
var reasons = []reasonRow{
	{ReasonNoEvidence, ReasonText{
		"The device showed neither a client certificate nor a token.",
		"Give the device its certificate and key, which it has to show in the TLS handshake, or the key that its tokens are signed with.",
	}},
	{ReasonChainTooLong, ReasonText{
		"The device presented more than 10 certificates.",
		"Let the device send only its own certificate and the intermediates up to an uploaded CA certificate.",
	}},
	{ReasonNameMismatch, ReasonText{
		"The common name of the device's certificate is not its registration ID.",
		"Register with the certificate's common name, or issue the certificate for this registration ID.",
	}},
	{ReasonNoEnrollment, ReasonText{
		"Neither the device, nor a CA of its chain, nor a key that signed its token is enrolled.",
		"Enroll the device, or the CA or the group that it belongs to.",
	}},
	{ReasonOtherAttestation, ReasonText{
		"The enrollment of the device wants another kind of proof than the device showed.",
		"Change the attestation of the enrollment to what the device has, or delete the enrollment so that a group decides.",
	}},
	{ReasonOtherCertificate, ReasonText{
		"The individual enrollment holds another certificate than the device presented.",
		"Put the certificate of the device into its enrollment, as primary or secondary.",
	}},
	{ReasonCertificateTaken, ReasonText{
		"The certificate of the device is enrolled under another registration ID.",
		"Name the enrollment like the certificate's common name.",
	}},
	{ReasonSignerAsDevice, ReasonText{
		"The device presented the certificate of a CA that is uploaded or enrolled, not one of its own.",
		"Issue a certificate to the device with this CA, and let the device present it.",
	}},
	{ReasonLeafNotYetValid, ReasonText{
		"The certificate of the device is not valid yet.",
		"Check the clocks, or wait, or issue the certificate anew.",
	}},
	{ReasonLeafExpired, ReasonText{
		"The certificate of the device has expired.",
		"Issue the certificate of the device anew.",
	}},
	{ReasonSignerNotYetValid, ReasonText{
		"A CA certificate of the chain is not valid yet.",
		"Check the clocks, or wait, or issue the CA certificate anew.",
	}},
	{ReasonSignerExpired, ReasonText{
		"A CA certificate of the chain has expired.",
		"Issue the CA certificate anew, and the device's under it.",
	}},
	{ReasonIssuerMissing, ReasonText{
		"A link of the chain is missing: it was neither presented by the device nor uploaded.",
		"Let the device send its intermediates, its own certificate first, or upload the missing CA certificate.",
	}},
	{ReasonSignature, ReasonText{
		"A CA of the right name is known, but another key signed the certificate.",
		"Find out which CA signed the certificate, and upload, enroll or present that one.",
	}},
	{ReasonWeakSignature, ReasonText{
		"A certificate of the chain is signed in a way that proves nothing any more.",
		"Issue the certificate with a SHA-256 signature, by a CA whose key is long enough.",
	}},
	{ReasonUnsupportedSignature, ReasonText{
		"A certificate of the chain has a signature that cannot be verified, or was signed with such a key.",
		"Issue the certificate with an RSA or ECDSA key, and a signature with SHA-256, SHA-384 or SHA-512.",
	}},
	{ReasonTooManySigners, ReasonText{
		"So many certificates may have signed the chain that not all of them were tried.",
		"Issue certificates with authority and subject key identifiers, and delete CA certificates of the same name that are no longer used.",
	}},
	{ReasonNotCA, ReasonText{
		"A certificate of the chain signed another one without being a CA, or a CA that may.",
		"Issue the signer as a CA (basicConstraints CA:TRUE, keyUsage keyCertSign), or sign the device with one that is.",
	}},
	{ReasonChainRule, ReasonText{
		"A certificate of the chain carries a rule that forbids it, or one that is not understood.",
		"Issue the certificates without the critical extension or the name constraint in question.",
	}},
	{ReasonCANotVerified, ReasonText{
		"The chain reaches no CA certificate whose possession was proved.",
		"Upload the CA certificate if it is not there, and prove possession of its key.",
	}},
	{ReasonOtherCA, ReasonText{
		"The chain reaches none of the CA certificates that the enrollment names.",
		"Sign the device with a CA that the enrollment names, or name the device's CA in the enrollment.",
	}},
	{ReasonTokenMalformed, ReasonText{
		"What the device sent as a token is none.",
		"Let the SDK of the device make the token.",
	}},
	{ReasonTokenResource, ReasonText{
		"The token is for another ID scope or registration ID than the connection.",
		"Use the same ID scope and registration ID for the token as for the connection.",
	}},
	{ReasonTokenExpired, ReasonText{
		"The token expired more than 5 minutes ago.",
		"Check the clock of the device, and let it make a new token for each connection.",
	}},
	{ReasonGroupSearch, ReasonText{
		"There are more enrollment groups with symmetric keys than one request tries, and the device's group is not found yet.",
		"Let the device retry, as its answer says, or create an individual enrollment for it.",
	}},
	{ReasonWrongKey, ReasonText{
		"Neither key of the device's enrollment signed its token.",
		"Give the device the primary or secondary key of its enrollment.",
	}},
	{ReasonDisabled, ReasonText{
		"The device proved who it is, and its enrollment is disabled.",
		"Enable the enrollment, or leave the device out.",
	}},
	{ReasonOperationOwner, ReasonText{
		"The device asked for the outcome of a registration with another proof than it registered with.",
		"Poll with the certificate that the device registered with, or register again.",
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

// Text returns what r means; nothing of ReasonNone.
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
