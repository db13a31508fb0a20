package portal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// Attestations as the form names them: X.509 has two ways.
const (
	formCertificates = "certificates" // client certificates, or intermediate CAs
	formAuthorities  = "authorities"  // CA certificates of the service
	formKeys         = "symmetricKey"
	formTPM          = "tpm"
)

// Reprovisioning policies as the form names them.
const (
	reprovisionMigrate = "migrate"
	reprovisionReset   = "reset"
	reprovisionNever   = "never"
	reprovisionUnset   = "unset"
)

// reprovisionPolicies are what the form's choices are on the wire.
var reprovisionPolicies = func() map[string]*wire.ReprovisionPolicy {
	yes, no := true, false
	return map[string]*wire.ReprovisionPolicy{
		reprovisionMigrate: {UpdateHubAssignment: &yes, MigrateDeviceData: &yes},
		reprovisionReset:   {UpdateHubAssignment: &yes, MigrateDeviceData: &no},
		reprovisionNever:   {UpdateHubAssignment: &no, MigrateDeviceData: &no},
	}
}()

// enrollmentForm is the form of one enrollment.
type enrollmentForm struct {
	Kind        kind
	New         bool
	ID, ETag    string
	Enabled     bool
	Attestation string

	Primary, Secondary               certificateSlot
	PrimaryCA, SecondaryCA           string
	PrimaryKey, SecondaryKey         string // as typed; never shown again
	EndorsementKey, StorageRootKey   string
	DeviceID, IotHubHostName         string
	Edge                             bool
	Reprovision                      string
	Allocation                       string
	Hubs                             []string
	WebhookURL, WebhookVersion, Twin string
	DeviceInfo                       string

	Authorities []wire.CACertificate // to choose from
	LinkedHubs  []string
	Errors      map[string]string // by field of the form
	Failure     *problem          // what belongs to no field
	Back        string            // where to go without saving
}

// Allocations are the policies to choose from.
func (f *enrollmentForm) Allocations() []string {
	all := []string{"", "hashed", "geoLatency", "static", "custom"}
	if !slices.Contains(all, f.Allocation) { // one that a newer service knows
		all = append(all, f.Allocation)
	}
	return all
}

// certificateSlot is one certificate of the form.
type certificateSlot struct {
	Field  string // of the form
	Title  string
	Use    certificateUse
	PEM    string                // a new one
	Stored *wire.CertificateInfo // the one that is there
	Remove bool
	Shown  *inspection // what is said of the new one
	Error  string
}

// formFields are the fields of the form by the members of the wire; the first that fits
// counts.
var formFields = []struct{ member, field string }{
	{"enrollmentGroupId", "id"},
	{"registrationId", "id"},
	{"deviceId", "deviceId"},
	{"attestation.x509.caReferences.secondary", "secondaryCA"},
	{"attestation.x509.caReferences", "primaryCA"},
	{"attestation.x509.clientCertificates.secondary", "secondary"},
	{"attestation.x509.signingCertificates.secondary", "secondary"},
	{"attestation.x509", "primary"},
	{"attestation.symmetricKey.secondaryKey", "secondaryKey"},
	{"attestation.symmetricKey", "primaryKey"},
	{"attestation.tpm.storageRootKey", "storageRootKey"},
	{"attestation.tpm", "endorsementKey"},
	{"attestation", "attestation"},
	{"initialTwin", "twin"},
	{"optionalDeviceInformation", "deviceInfo"},
	{"iotHubs", "hubs"},
	{"allocationPolicy", "allocation"},
	{"customAllocationDefinition.apiVersion", "webhookVersion"},
	{"customAllocationDefinition", "webhookURL"},
	{"reprovisionPolicy", "reprovision"},
}

// fieldFor returns the field of the form that a member of the wire belongs to, or "".
func fieldFor(member string) string {
	for _, f := range formFields {
		if member == f.member || strings.HasPrefix(member, f.member+".") || strings.HasPrefix(member, f.member+"[") {
			return f.field
		}
	}
	return ""
}

// webhookVersion is the API version that the form proposes for a webhook.
const webhookVersion = "2021-10-01"

// readForm reads what a browser sent.
func readForm(r *http.Request, k kind) *enrollmentForm {
	p := r.PostForm
	f := &enrollmentForm{
		Kind: k, ID: strings.TrimSpace(p.Get("id")), ETag: p.Get("etag"), Enabled: p.Get("enabled") != "", Attestation: p.Get("attestation"),
		PrimaryCA: p.Get("primaryCA"), SecondaryCA: p.Get("secondaryCA"),
		PrimaryKey: strings.TrimSpace(p.Get("primaryKey")), SecondaryKey: strings.TrimSpace(p.Get("secondaryKey")),
		EndorsementKey: strings.TrimSpace(p.Get("endorsementKey")), StorageRootKey: strings.TrimSpace(p.Get("storageRootKey")),
		DeviceID: strings.TrimSpace(p.Get("deviceId")), Edge: p.Get("edge") != "", Reprovision: p.Get("reprovision"),
		Allocation: p.Get("allocation"), Hubs: p["hubs"], WebhookURL: strings.TrimSpace(p.Get("webhookURL")),
		WebhookVersion: strings.TrimSpace(p.Get("webhookVersion")), Twin: p.Get("twin"), DeviceInfo: p.Get("deviceInfo"),
		Errors: make(map[string]string),
	}
	f.Primary = certificateSlot{PEM: certificateText(p, "primary"), Remove: p.Get("primaryRemove") != ""}
	f.Secondary = certificateSlot{PEM: certificateText(p, "secondary"), Remove: p.Get("secondaryRemove") != ""}
	return f
}

// formOf fills the form with an enrollment that is there.
func formOf(k kind, e *wire.Enrollment) *enrollmentForm {
	f := &enrollmentForm{
		Kind:           k,
		ID:             k.IDOf(e),
		ETag:           e.ETag,
		Enabled:        e.ProvisioningStatus.Value != "disabled",
		Attestation:    attestationOf(e),
		DeviceID:       e.DeviceID,
		Edge:           e.Capabilities != nil && e.Capabilities.IotEdge,
		Reprovision:    reprovisionOf(e.ReprovisionPolicy),
		Allocation:     e.AllocationPolicy,
		Hubs:           e.IotHubs,
		IotHubHostName: e.IotHubHostName,
		Twin:           pretty(e.InitialTwin),
		DeviceInfo:     pretty(e.OptionalDeviceInformation),
		Errors:         make(map[string]string),
	}
	f.WebhookVersion = webhookVersion
	if c := e.CustomAllocationDefinition; c != nil {
		f.WebhookURL, f.WebhookVersion = c.WebhookURL, c.APIVersion
	}
	if a := e.Attestation; a != nil {
		if a.X509 != nil && a.X509.CAReferences != nil {
			f.PrimaryCA, f.SecondaryCA = a.X509.CAReferences.Primary, a.X509.CAReferences.Secondary
		}
		if a.TPM != nil {
			f.EndorsementKey, f.StorageRootKey = a.TPM.EndorsementKey, a.TPM.StorageRootKey
		}
	}
	return f
}

func attestationOf(e *wire.Enrollment) string {
	switch {
	case e.Attestation == nil:
		return ""
	case e.Attestation.Type != "x509":
		return e.Attestation.Type
	case e.Attestation.X509 != nil && e.Attestation.X509.CAReferences != nil:
		return formAuthorities
	default:
		return formCertificates
	}
}

func reprovisionOf(p *wire.ReprovisionPolicy) string {
	isTrue := func(b *bool) bool { return b == nil || *b }
	switch {
	case p == nil:
		return reprovisionUnset
	case isTrue(p.UpdateHubAssignment) && isTrue(p.MigrateDeviceData):
		return reprovisionMigrate
	case isTrue(p.UpdateHubAssignment):
		return reprovisionReset
	default:
		return reprovisionNever
	}
}

// values are what a browser sends of the form where nobody touched it.
func (f *enrollmentForm) values() url.Values {
	return url.Values{
		"deviceId": {f.DeviceID}, "enabled": checked(f.Enabled), "edge": checked(f.Edge), "reprovision": {f.Reprovision},
		"allocation": {f.Allocation}, "hubs": f.Hubs, "webhookURL": {f.WebhookURL}, "webhookVersion": {f.WebhookVersion},
		"primaryCA": {f.PrimaryCA}, "secondaryCA": {f.SecondaryCA}, "endorsementKey": {f.EndorsementKey}, "storageRootKey": {f.StorageRootKey},
		"twin": {f.Twin}, "deviceInfo": {f.DeviceInfo},
	}
}

// apply writes what was changed in the form onto an enrollment.
func (f *enrollmentForm) apply(e *wire.Enrollment, ed edits) {
	e.ETag = f.ETag
	if ed.changed("deviceId") {
		e.DeviceID = f.DeviceID
	}
	if ed.changed("enabled") {
		e.ProvisioningStatus = wire.StringValue("disabled")
		if f.Enabled {
			e.ProvisioningStatus = wire.StringValue("enabled")
		}
	}
	if ed.changed("edge") {
		e.Capabilities = &wire.Capabilities{IotEdge: f.Edge}
	}
	f.applyPlacement(e, ed)
	f.applyAttestation(e, ed)
	if ed.changed("twin") {
		e.InitialTwin = f.document("twin", f.Twin)
	}
	if ed.changed("deviceInfo") {
		e.OptionalDeviceInformation = f.document("deviceInfo", f.DeviceInfo)
	}
}

func (f *enrollmentForm) applyPlacement(e *wire.Enrollment, ed edits) {
	if ed.changed("reprovision") {
		e.ReprovisionPolicy = reprovisionPolicies[f.Reprovision]
	}
	if ed.changed("allocation") {
		e.AllocationPolicy = f.Allocation
		if f.Allocation == "" { // only enrollments with a policy of their own may select hubs
			e.IotHubs = nil
		}
	}
	if ed.changed("hubs") {
		e.IotHubs = reordered(e.IotHubs, f.Hubs)
	}
	if ed.changedAny("webhookURL", "webhookVersion") {
		e.CustomAllocationDefinition = &wire.CustomAllocation{WebhookURL: f.WebhookURL, APIVersion: f.WebhookVersion}
	}
}

// applyAttestation writes the proof of a new enrollment, or what was changed of one that is
// there: how devices prove who they are stays.
func (f *enrollmentForm) applyAttestation(e *wire.Enrollment, ed edits) {
	if e.Attestation == nil {
		e.Attestation = &wire.Attestation{Type: f.Attestation}
	}
	a := *e.Attestation
	switch f.Attestation {
	case formKeys:
		f.applyKeys(&a)
	case formTPM:
		if f.New || ed.changedAny("endorsementKey", "storageRootKey") {
			f.require("endorsementKey", f.EndorsementKey != "", "The endorsement key is required.")
			a.TPM = &wire.TPM{EndorsementKey: f.EndorsementKey, StorageRootKey: f.StorageRootKey}
		}
	case formAuthorities:
		f.applyAuthorities(&a, ed)
	case formCertificates:
		a.Type, a.X509 = "x509", f.certificates(a.X509)
	default:
		f.require("attestation", !f.New, "Choose how the devices authenticate.")
	}
	e.Attestation = &a
}

// applyKeys writes the keys that were typed; one that was not stays, or is generated.
func (f *enrollmentForm) applyKeys(a *wire.Attestation) {
	if f.PrimaryKey != "" || f.SecondaryKey != "" {
		a.SymmetricKey = &wire.SymmetricKey{PrimaryKey: f.PrimaryKey, SecondaryKey: f.SecondaryKey}
	}
}

func (f *enrollmentForm) applyAuthorities(a *wire.Attestation, ed edits) {
	if !f.New && !ed.renamed("primaryCA") && !ed.renamed("secondaryCA") {
		return
	}
	f.require("primaryCA", f.PrimaryCA != "" || f.SecondaryCA != "", "Choose a CA certificate.")
	a.Type, a.X509 = "x509", &wire.X509{CAReferences: &wire.CAReferences{Primary: f.PrimaryCA, Secondary: f.SecondaryCA}}
}

// certificates returns the certificates of the form: new ones, and of the stored ones those
// that are not to be removed.
func (f *enrollmentForm) certificates(old *wire.X509) *wire.X509 {
	var stored wire.Certificates
	if old != nil {
		for _, c := range []*wire.Certificates{old.ClientCertificates, old.SigningCertificates} {
			if c != nil {
				stored = *c
			}
		}
	}
	pair := &wire.Certificates{Primary: f.Primary.certificate(stored.Primary), Secondary: f.Secondary.certificate(stored.Secondary)}
	f.require("primary", pair.Primary != nil || pair.Secondary != nil, "A certificate is required.")
	if f.Kind.Group {
		return &wire.X509{SigningCertificates: pair}
	}
	return &wire.X509{ClientCertificates: pair}
}

// require puts a sentence beside a field when it is not there. What the service says of a
// missing proof names a member that the page may hide.
func (f *enrollmentForm) require(field string, there bool, sentence string) {
	if !there {
		f.Errors[field] = sentence
	}
}

// certificate returns what to send: a new one, the stored one by its description, or none.
func (c certificateSlot) certificate(stored *wire.Certificate) *wire.Certificate {
	switch {
	case c.PEM != "":
		return &wire.Certificate{Certificate: c.base64()}
	case c.Remove:
		return nil
	default:
		return stored
	}
}

// base64 returns what to send for what somebody gave: the first certificate, in base64. What
// is none is refused before it is sent.
func (c certificateSlot) base64() string {
	all, problem := readCertificates(c.PEM)
	if problem != "" {
		return ""
	}
	return base64.StdEncoding.EncodeToString(all[0].DER)
}

// show looks at what somebody gave, and keeps it for the page as PEM. What is refused, a
// private key maybe, does not come back into the page.
func (c *certificateSlot) show(s *server) {
	if c.PEM == "" {
		return
	}
	shown := s.inspect(c.PEM, c.Use)
	c.Shown = &shown
	all, _ := readCertificates(c.PEM)
	c.PEM = ""
	for _, cert := range all {
		c.PEM += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.DER}))
	}
}

// document reads JSON of the form, nil for none.
func (f *enrollmentForm) document(field, text string) json.RawMessage {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	if problem := jsonProblem(text); problem != "" {
		f.Errors[field] = problem
		return nil
	}
	return json.RawMessage(text)
}

// pretty writes JSON for people, "" for none.
func pretty(raw json.RawMessage) string {
	var out bytes.Buffer
	if len(raw) == 0 || json.Indent(&out, raw, "", "  ") != nil {
		return ""
	}
	return out.String()
}

func (s *server) newEnrollment(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	f := &enrollmentForm{
		Kind:        k,
		New:         true,
		Enabled:     true,
		Attestation: formCertificates,
		Reprovision: reprovisionMigrate,
		Errors:      make(map[string]string),

		WebhookVersion: webhookVersion,
	}
	if k.Group {
		f.Attestation = formAuthorities
	}
	f.PrimaryCA = r.URL.Query().Get("ca")
	return s.showForm(w, r, v, f, nil)
}

func (s *server) editEnrollment(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	c, err := s.enrollments(r.Context(), k)
	if err != nil {
		return err
	}
	e, err := c.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.showForm(w, r, v, formOf(k, e), e)
}

// showForm shows the form; e is the enrollment that is there, nil for a new one.
func (s *server) showForm(w http.ResponseWriter, r *http.Request, v *visit, f *enrollmentForm, e *wire.Enrollment) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	if f.Authorities, err = control.Certificates().List(r.Context()); err != nil {
		return err
	}
	for _, name := range []string{f.PrimaryCA, f.SecondaryCA} { // one that is no longer there
		if name != "" && !slices.ContainsFunc(f.Authorities, func(c wire.CACertificate) bool { return strings.EqualFold(c.Name, name) }) {
			f.Authorities = append(f.Authorities, wire.CACertificate{Name: name, Properties: wire.CACertificateProperties{Subject: "deleted"}})
		}
	}
	resource, err := control.Get(r.Context())
	if err != nil {
		return err
	}
	for _, h := range resource.Properties.IotHubs {
		f.LinkedHubs = append(f.LinkedHubs, h.Name)
	}
	for _, h := range f.Hubs { // a hub that is no longer linked
		if index(f.LinkedHubs, h) < 0 {
			f.LinkedHubs = append(f.LinkedHubs, h)
		}
	}
	s.fillSlots(f, e)
	title, crumbs, status := "Add "+f.Kind.One, f.Kind.crumbs(), http.StatusOK
	f.Back = f.Kind.path
	if !f.New {
		title, f.Back = "Edit "+f.ID, f.Kind.URL(f.ID)
		crumbs = append(crumbs, crumb{f.ID, f.Back})
	}
	if len(f.Errors) > 0 || f.Failure != nil {
		status = http.StatusUnprocessableEntity
	}
	s.show(w, r, v, "enrollment-form", page{Status: status, Title: title, Nav: groups.path, Crumbs: crumbs, Data: f})
	return nil
}

// fillSlots says what there is and what is new in the two places for certificates.
func (s *server) fillSlots(f *enrollmentForm, e *wire.Enrollment) {
	use := forDevice
	if f.Kind.Group {
		use = forGroup
	}
	for _, slot := range []struct {
		at           *certificateSlot
		field, title string
	}{{&f.Primary, "primary", "Primary certificate"}, {&f.Secondary, "secondary", "Secondary certificate"}} {
		slot.at.Field, slot.at.Title, slot.at.Use, slot.at.Error = slot.field, slot.title, use, f.Errors[slot.field]
		slot.at.show(s)
	}
	if e == nil {
		return
	}
	for _, c := range certificatesOf(e) {
		if c.Name == f.Primary.Title {
			f.Primary.Stored = c.Info
		} else {
			f.Secondary.Stored = c.Info
		}
	}
}

func (s *server) createEnrollment(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	f := readForm(r, k)
	f.New, f.ETag = true, ""
	if f.ID == "" {
		f.Errors["id"] = "A value is required."
		return s.showForm(w, r, v, f, nil)
	}
	return s.save(w, r, v, f, nil)
}

func (s *server) updateEnrollment(w http.ResponseWriter, r *http.Request, v *visit, k kind) error {
	c, err := s.enrollments(r.Context(), k)
	if err != nil {
		return err
	}
	e, err := c.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	f := readForm(r, k)
	f.ID, f.Attestation = k.IDOf(e), attestationOf(e)
	if f.ETag == "" {
		f.ETag = e.ETag
	}
	return s.save(w, r, v, f, e)
}

// save writes what the form says; stored is the enrollment that is there, nil for none.
// The private keys that somebody gives for certificates are refused here, and go nowhere.
func (s *server) save(w http.ResponseWriter, r *http.Request, v *visit, f *enrollmentForm, stored *wire.Enrollment) error {
	e, shown := f.Kind.named(f.ID), url.Values{}
	if stored != nil {
		copied := *stored
		e, shown = &copied, formOf(f.Kind, stored).values()
	}
	f.apply(e, edits{shown: shown, sent: r.PostForm})
	for _, slot := range []struct {
		field string
		pem   string
	}{{"primary", f.Primary.PEM}, {"secondary", f.Secondary.PEM}} {
		if slot.pem == "" || f.Attestation != formCertificates {
			continue
		}
		if _, problem := readCertificates(slot.pem); problem != "" {
			f.Errors[slot.field] = problem
		}
	}
	if len(f.Errors) > 0 {
		return s.showForm(w, r, v, f, stored)
	}
	c, err := s.enrollments(r.Context(), f.Kind)
	if err != nil {
		return err
	}
	saved, err := c.Put(r.Context(), e)
	if err == nil {
		word := "saved"
		if f.New {
			word = "created"
		}
		redirect(w, r, f.Kind.URL(f.Kind.IDOf(saved))+"?done="+word)
		return nil
	}
	if !f.refused(err) {
		return err
	}
	return s.showForm(w, r, v, f, stored)
}

// refused puts a refusal beside the field that it is about. It reports whether err is one.
func (f *enrollmentForm) refused(err error) bool {
	e, ok := errors.AsType[*service.Error](err)
	if !ok || e.Status >= http.StatusInternalServerError {
		return false
	}
	member, rule := fieldOf(e.Message)
	if at := fieldFor(member); at != "" {
		f.Errors[at] = upperFirst(rule) + "."
		return true
	}
	if service.IsConflict(err) && f.New && strings.Contains(e.Message, "exist") {
		f.Errors["id"] = "This name is already in use."
		return true
	}
	_, p := describe(err)
	if service.IsPreconditionFailed(err) {
		p.Message = "Someone else changed this enrollment after you opened the form. Open it again and repeat your change."
	}
	f.Failure = &p
	return true
}

func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.TrimSuffix(strings.ToUpper(text[:1])+text[1:], ".")
}

// checkData is what is said of a text while it is typed.
type checkData struct {
	OK      string
	Problem string
}

func (s *server) checkTwin(w http.ResponseWriter, r *http.Request, _ *visit) error {
	text := strings.TrimSpace(r.PostForm.Get("twin"))
	s.part(w, r, "enrollment-form", "check", checkOfTwin(text))
	return nil
}

func checkOfTwin(text string) checkData {
	if text == "" {
		return checkData{OK: "Empty: devices start with an empty twin."}
	}
	if p := jsonProblem(text); p != "" {
		return checkData{Problem: p}
	}
	if _, err := dps.ParseInitialTwin(json.RawMessage(text)); err != nil {
		return checkData{Problem: upperFirst(dps.MessageOf(err)) + "."}
	}
	var members map[string]json.RawMessage
	_ = json.Unmarshal([]byte(text), &members) // it was read before
	var unknown []string
	for name := range members {
		if name != "tags" && name != "properties" {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return checkData{OK: "Valid. Only tags and properties.desired are used; " + strings.Join(unknown, ", ") + " is ignored."}
	}
	return checkData{OK: "Valid twin."}
}

func (s *server) checkObject(w http.ResponseWriter, r *http.Request, _ *visit) error {
	text := strings.TrimSpace(r.PostForm.Get("deviceInfo"))
	var data checkData
	switch {
	case text == "":
	case jsonProblem(text) != "":
		data.Problem = jsonProblem(text)
	case text[0] != '{':
		data.Problem = "Must be a JSON object."
	default:
		data.OK = "Valid JSON."
	}
	s.part(w, r, "enrollment-form", "check", data)
	return nil
}
