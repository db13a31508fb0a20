package portal

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// soon is how long before its end a certificate is worth a word.
const soon = 30 * 24 * time.Hour

// certificateText returns what somebody gave for a certificate in a field: a text, or the
// bytes of a file that is no text.
func certificateText(form url.Values, field string) string {
	file := form.Get(field + "File")
	if file == "" {
		return strings.TrimSpace(form.Get(field))
	}
	raw, err := base64.StdEncoding.DecodeString(file)
	if err != nil {
		return file
	}
	return string(raw)
}

// readCertificates returns the certificates of what somebody gave, at least one; the first
// is used. Its error says what is wrong with the text.
func readCertificates(text string) (all []dps.Certificate, problem string) {
	all, err := dps.ParseCertificates("certificate", []byte(text))
	if err != nil {
		_, rule := fieldOf(dps.MessageOf(err))
		return nil, "The certificate " + rule + "."
	}
	return all, ""
}

// inspection is what is shown of a certificate before it is saved.
type inspection struct {
	Problem  string // why it cannot be saved
	Subject  string
	Issuer   string
	From, To string // RFC 3339
	SHA1     string
	SHA256   string
	Key      string
	CA       bool
	Warnings []string
}

// certificateUse is what a certificate is given for.
type certificateUse string

// The uses of certificates; any other is that of a verification certificate.
const (
	forUpload certificateUse = "ca"     // a CA certificate of the service
	forGroup  certificateUse = "group"  // the signer of a group's devices
	forDevice certificateUse = "device" // that of one device
)

// inspect looks at what somebody gave for a certificate.
func (s *server) inspect(text string, use certificateUse) inspection {
	all, problem := readCertificates(text)
	if problem != "" {
		return inspection{Problem: problem}
	}
	cert := all[0]
	info, err := cert.Info()
	if err != nil {
		return inspection{Problem: "This is not a certificate."}
	}
	parsed, err := cert.Parse()
	if err != nil {
		return inspection{Problem: "This is not a certificate."}
	}
	i := inspection{
		Subject: info.Subject, Issuer: info.Issuer, From: info.NotBefore.Format(time.RFC3339), To: info.NotAfter.Format(time.RFC3339),
		SHA1: info.SHA1, SHA256: info.SHA256, Key: keyOf(parsed), CA: parsed.IsCA,
	}
	if problem := dps.SignerProblem(parsed); use == forGroup && problem != "" && !dps.SaysNothing(parsed) {
		i.Problem = "The certificate " + problem + ". An enrollment group needs the certificate of a CA."
	}
	i.Warnings = append(others(all), warnings(parsed, use, s.Now())...)
	return i
}

// others says of several certificates which one is used, and what the other ones are.
func others(all []dps.Certificate) []string {
	if len(all) == 1 {
		return nil
	}
	used := "This contains " + strconv.Itoa(len(all)) + " certificates. Only the first is used: " + all[0].Name() + "."
	return append([]string{used}, dps.Unused(all)...)
}

// warnings says what may keep devices out, although the certificate can be saved.
func warnings(c *x509.Certificate, use certificateUse, now time.Time) (all []string) {
	switch {
	case now.After(c.NotAfter):
		all = append(all, "The certificate has expired: devices that use it are refused.")
	case now.Add(soon).After(c.NotAfter):
		all = append(all, "The certificate expires in less than 30 days.")
	case now.Before(c.NotBefore):
		all = append(all, "The certificate is not valid yet: devices that use it are refused until then.")
	}
	if problem := dps.SignerProblem(c); use == forUpload && problem != "" && !dps.SaysNothing(c) {
		all = append(all, "The certificate "+problem+". Device certificates that it signed are refused.")
	}
	if use == forDevice && c.IsCA {
		all = append(all, "This is a CA certificate. An individual enrollment needs the certificate of one device.")
	}
	if dps.SignedWithSHA1(c) && c.Subject.String() != c.Issuer.String() {
		all = append(all, "The certificate is signed with SHA-1, which is insecure: it is refused in a chain.")
	}
	const leastRSA = 2048
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < leastRSA {
		all = append(all, "The RSA key has only "+strconv.Itoa(key.N.BitLen())+" bits; use at least 2048.")
	}
	return all
}

func keyOf(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return "RSA " + strconv.Itoa(key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return c.PublicKeyAlgorithm.String()
	}
}

// inspectCertificate shows a certificate that somebody is about to save.
func (s *server) inspectCertificate(w http.ResponseWriter, r *http.Request, _ *visit) error {
	for _, name := range []string{"certificate", "primary", "secondary"} {
		if text := certificateText(r.PostForm, name); text != "" {
			s.part(w, r, "certificates", "inspection", s.inspect(text, certificateUse(r.URL.Query().Get("use"))))
			return nil
		}
	}
	return nil // nothing given is nothing to show
}

// certificateRow is a CA certificate in the list.
type certificateRow struct {
	wire.CACertificate
	Expired, Soon bool
}

func (s *server) rowOf(c wire.CACertificate) certificateRow {
	row := certificateRow{CACertificate: c}
	if t, ok := parseTime(c.Properties.Expiry); ok {
		row.Expired = s.Now().After(t)
		row.Soon = !row.Expired && s.Now().Add(soon).After(t)
	}
	return row
}

func (s *server) certificatesPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	all, err := control.Certificates().List(r.Context())
	if err != nil {
		return err
	}
	rows := make([]certificateRow, len(all))
	for i, c := range all {
		rows[i] = s.rowOf(c)
	}
	s.show(w, r, v, "certificates", page{Title: "Certificates", Nav: "/certificates", Data: rows})
	return nil
}

// uploadForm is the form of a CA certificate.
type uploadForm struct {
	Name     string
	Verified bool
	Slot     certificateSlot
	Errors   map[string]string
}

func (s *server) newCertificate(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showUpload(w, r, v, uploadForm{})
}

func (s *server) showUpload(w http.ResponseWriter, r *http.Request, v *visit, f uploadForm) error {
	f.Slot.Field, f.Slot.Title, f.Slot.Use, f.Slot.Error = "certificate", "Certificate", forUpload, f.Errors["certificate"]
	f.Slot.show(s)
	status := http.StatusOK
	if len(f.Errors) > 0 {
		status = http.StatusUnprocessableEntity
	}
	s.show(w, r, v, "certificate-new", page{
		Status: status, Title: "Add certificate", Nav: "/certificates", Crumbs: []crumb{{"Certificates", "/certificates"}}, Data: f,
	})
	return nil
}

func (s *server) uploadCertificate(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := uploadForm{
		Name: strings.TrimSpace(r.PostForm.Get("name")), Verified: r.PostForm.Get("verified") != "",
		Slot: certificateSlot{PEM: certificateText(r.PostForm, "certificate")}, Errors: make(map[string]string),
	}
	if f.Name == "" {
		f.Errors["name"] = "A name is required."
	}
	der, problem := derOf(f.Slot.PEM)
	if problem != "" {
		f.Errors["certificate"] = problem
	}
	if len(f.Errors) > 0 {
		return s.showUpload(w, r, v, f)
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	c, err := control.Certificates().Put(r.Context(), f.Name, service.Upload{Certificate: der, Verified: f.Verified})
	if err != nil {
		e, ok := errors.AsType[*service.Error](err)
		if !ok || e.Status >= http.StatusInternalServerError {
			return err
		}
		at := "certificate"
		field, rule := fieldOf(e.Message)
		if !strings.Contains(field, "ertificate") || (service.IsConflict(err) && strings.Contains(e.Message, f.Name)) {
			at = "name"
		}
		f.Errors[at] = upperFirst(rule) + "."
		return s.showUpload(w, r, v, f)
	}
	word := "uploaded"
	if c.Properties.IsVerified {
		word = "verified"
	}
	redirect(w, r, certificateURL(c.Name)+"?done="+word)
	return nil
}

// derOf returns the certificate that somebody gave, or what is wrong with it. A private
// key in its place goes no further.
func derOf(text string) (der []byte, problem string) {
	if text == "" {
		return nil, "A certificate is required."
	}
	all, problem := readCertificates(text)
	if problem != "" {
		return nil, problem
	}
	return all[0].DER, ""
}

func (s *server) certificatePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	c, err := control.Certificates().Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	s.show(w, r, v, "certificate", page{
		Title: c.Name, Nav: "/certificates", Crumbs: []crumb{{"Certificates", "/certificates"}}, Data: s.rowOf(*c),
	})
	return nil
}

// usersData says which enrollments name a CA certificate.
type usersData struct {
	Name    string
	Groups  []string
	Devices []string
	More    bool
}

// certificateUsers is asked for by the page of a certificate: it may take a moment.
func (s *server) certificateUsers(w http.ResponseWriter, r *http.Request, _ *visit) error {
	client, err := s.API.Service(r.Context())
	if err != nil {
		return err
	}
	data := usersData{Name: r.PathValue("name")}
	const most = 20
	name := quoted(data.Name)
	text := "SELECT * WHERE attestation.x509.caReferences.primary = " + name + " OR attestation.x509.caReferences.secondary = " + name
	for _, k := range []kind{groups, individuals} {
		found, err := k.client(client).QueryPage(r.Context(), service.Query{Text: text, PageSize: most})
		if err != nil {
			return err
		}
		for _, e := range found.Items {
			if k.Group {
				data.Groups = append(data.Groups, e.EnrollmentGroupID)
			} else {
				data.Devices = append(data.Devices, e.RegistrationID)
			}
		}
		data.More = data.More || found.Continuation != ""
	}
	s.part(w, r, "certificate", "users", data)
	return nil
}

// proofData is the dialogue that proves possession of a key.
type proofData struct {
	Name, Code, ETag string
	File             string // of the CA certificate, as a guess
	Slot             certificateSlot
	Problem          string
}

// certificateCode begins a proof of possession and shows what to do.
func (s *server) certificateCode(w http.ResponseWriter, r *http.Request, _ *visit) error {
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	c, err := control.Certificates().GenerateVerificationCode(r.Context(), r.PathValue("name"), service.AnyETag)
	if err != nil {
		return err
	}
	s.part(w, r, "certificate", "proof", proofOf(c.Name, c.Properties.VerificationCode, c.ETag, fileOf(c.Properties.Subject)))
	return nil
}

func proofOf(name, code, etag, file string) proofData {
	return proofData{
		Name: name,
		Code: code,
		ETag: etag,
		File: file,
		Slot: certificateSlot{Field: "certificate", Title: "Verification certificate"},
	}
}

// fileOf guesses how 'mooring pki' calls the file of a CA.
func fileOf(subject string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return r
		case r == ' ':
			return '-'
		default:
			return -1
		}
	}, strings.ToLower(subject))
	if name == "" {
		return "ca"
	}
	return name
}

// verifyCertificate ends a proof of possession.
func (s *server) verifyCertificate(w http.ResponseWriter, r *http.Request, _ *visit) error {
	data := proofOf(r.PathValue("name"), r.PostForm.Get("code"), r.PostForm.Get("etag"), r.PostForm.Get("file"))
	der, problem := derOf(certificateText(r.PostForm, "certificate"))
	if problem != "" {
		data.Problem = problem
		s.part(w, r, "certificate", "proof", data)
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	_, err = control.Certificates().Verify(r.Context(), data.Name, data.ETag, der)
	if e, ok := errors.AsType[*service.Error](err); ok && e.Status < http.StatusInternalServerError {
		_, rule := fieldOf(e.Message)
		data.Problem = upperFirst(rule) + "."
		if service.IsPreconditionFailed(err) {
			data.Problem = "A newer verification code was generated. Close this dialog and start again."
		}
		s.part(w, r, "certificate", "proof", data)
		return nil
	}
	if err != nil {
		return err
	}
	redirect(w, r, certificateURL(data.Name)+"?done=verified")
	return nil
}

// deleteCertificateDetail says what a deletion does.
const deleteCertificateDetail = "A certificate that an enrollment uses cannot be deleted."

func (s *server) deleteCertificate(w http.ResponseWriter, r *http.Request, v *visit) error {
	name := r.PathValue("name")
	if !s.confirmed(w, r, v, confirmData{
		Question: "Delete the certificate " + name + "?", Detail: deleteCertificateDetail,
		Button: "Delete", Back: certificateURL(name),
	}) {
		return nil
	}
	control, err := s.API.Control(r.Context())
	if err != nil {
		return err
	}
	if err := control.Certificates().Delete(r.Context(), name, service.AnyETag); err != nil {
		return err
	}
	redirect(w, r, "/certificates?done=deleted")
	return nil
}

// caFile sends the CA that clients of this service have to trust. It is public.
func (s *server) caFile(w http.ResponseWriter, r *http.Request, _ *visit) error {
	if s.CAFile == "" {
		return errNoPage
	}
	text, err := readCA(s.CAFile)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Disposition", `attachment; filename="mooring-ca.cert.pem"`)
	_, _ = w.Write(text) // a browser that has gone is no failure of ours
	return nil
}

// onlyCertificates returns the certificates of a PEM text, and nothing else of it.
func onlyCertificates(text []byte) (out []byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
	}
	return out
}
