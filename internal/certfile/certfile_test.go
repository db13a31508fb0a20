package certfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/mooring-iot/mooring/internal/certfile"
)

// authority is a CA with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue returns a CA named cn under parent, or a root when parent is nil.
func issue(t testing.TB, cn string, parent *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(3e9, 0),
		BasicConstraintsValid: true, IsCA: true,
	}
	signer := &authority{template, key}
	if parent != nil {
		signer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) der() []byte { return a.cert.Raw }

func (a *authority) pem() string { return block("CERTIFICATE", a.der()) }

func (a *authority) keyPEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func block(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func inUTF16(s string, order binary.AppendByteOrder, mark bool) string {
	var out []byte
	if mark {
		out = order.AppendUint16(out, 0xfeff)
	}
	for _, u := range utf16.Encode([]rune(s)) {
		out = order.AppendUint16(out, u)
	}
	return string(out)
}

func names(certs []*x509.Certificate) string {
	var all []string
	for _, c := range certs {
		all = append(all, c.Subject.CommonName)
	}
	return strings.Join(all, " ")
}

const bom = "\ufeff"

func TestRead(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil)
	line := issue(t, "line", root)
	both := line.pem() + root.pem()
	crlf := strings.ReplaceAll(both, "\n", "\r\n")
	for name, tt := range map[string]struct{ in, want string }{
		"PEM":                          {line.pem(), "line"},
		"two":                          {both, "line root"},
		"byte order mark":              {bom + both, "line root"},
		"byte order mark before each":  {bom + line.pem() + bom + root.pem(), "line root"},
		"CRLF":                         {crlf, "line root"},
		"CRLF after a byte order mark": {bom + crlf, "line root"},
		"CR":                           {strings.ReplaceAll(both, "\n", "\r"), "line root"},
		"no final line break":          {strings.TrimSpace(both), "line root"},
		"blanks at the ends of lines":  {strings.ReplaceAll(both, "\n", " \t\n"), "line root"},
		"openssl -text": {"Certificate:\n    Data:\n        Version: 3 (0x2)\n" + line.pem() +
			"Certificate:\n    Data:\n" + root.pem(), "line root"},
		"Bag Attributes":            {"Bag Attributes\n    friendlyName: back-end B\xfc\xdf\nsubject=/CN=line\n" + both, "line root"},
		"s_client":                  {"---\nCertificate chain\n 0 s:CN=line\n   i:CN=root\n" + line.pem() + " 1 s:CN=root\n" + root.pem() + "---\n", "line root"},
		"old label":                 {block("X509 CERTIFICATE", line.der()) + root.pem(), "line root"},
		"parameters":                {block("EC PARAMETERS", []byte{6, 0}) + line.pem() + block("DH PARAMETERS", []byte{1}), "line"},
		"headers":                   {strings.Replace(line.pem(), "\n", "\nComment: of plant 7\nMore: x\n\n", 1), "line"},
		"DER":                       {string(line.der()), "line"},
		"base64 of DER":             {b64(string(line.der())), "line"},
		"base64 of PEM":             {b64(both), "line root"},
		"base64 of PEM with a mark": {b64(bom + both), "line root"},
		"mark before base64":        {bom + b64(string(line.der())), "line"},
	} {
		got, err := certfile.Read([]byte(tt.in))
		if err != nil || names(got) != tt.want {
			t.Errorf("%s: %q, %v; want %q", name, names(got), err, tt.want)
		}
	}
}

// TestFirstBlockIsNeverPassedOver has the files that made the second certificate the
// first one.
func TestFirstBlockIsNeverPassedOver(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil)
	line := issue(t, "line", root)
	first, second := line.pem(), root.pem()
	n := strings.Count(first, "\n")  // a signature has no fixed length
	at := func(text string) string { // END, 2nd and 2nd+1 stand for lines
		return strings.NewReplacer("%END", strconv.Itoa(n), "%2nd+1", strconv.Itoa(n+2), "%2nd", strconv.Itoa(n+1)).Replace(text)
	}
	indent := func(s string) string { return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") + "\n" }
	for name, tt := range map[string]struct{ in, want string }{
		"damaged base64":             {strings.Replace(first, "\nM", "\n!", 1) + second, `block 1 (CERTIFICATE, line 1): its base64 is damaged: line 2 has the character '!'`},
		"missing base64":             {strings.Replace(first, "\nMII", "\nMI", 1) + second, "block 1 (CERTIFICATE, line 1): its base64 is damaged: characters are missing"},
		"no certificate in it":       {block("CERTIFICATE", []byte("nothing")) + second, "block 1 (CERTIFICATE, line 1): it must be an X.509 certificate"},
		"empty":                      {"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" + second, "block 1 (CERTIFICATE, line 1): its base64 is damaged"},
		"indented":                   {indent(first) + second, "indented line 1; remove the blanks"},
		"indented by a tab":          {strings.Replace(first, "-----B", "\t-----B", 1) + second, "indented line 1"},
		"trusted":                    {block("TRUSTED CERTIFICATE", line.der()) + second, "block 1 (TRUSTED CERTIFICATE, line 1) is a certificate with OpenSSL's trust settings; remove these with: openssl x509"},
		"other label":                {block("SOMETHING", line.der()) + second, "block 1 (SOMETHING, line 1): the label must be CERTIFICATE"},
		"label in lower case":        {strings.ReplaceAll(first, "CERTIFICATE", "certificate") + second, "block 1 (certificate, line 1): the label must be"},
		"all in lower case":          {"-----begin certificate-----\n" + first[28:] + second, "damaged line 1"},
		"four hyphens":               {first[1:] + second, "damaged line 1"},
		"four hyphens behind":        {strings.Replace(first, "-----\n", "----\n", 1) + second, "damaged line 1"},
		"six hyphens":                {"-" + first + second, "damaged line 1"},
		"dashes of a word processor": {"—–" + strings.Trim(first[5:], "") + second, "damaged line 1"},
		"no hyphens":                 {"BEGIN CERTIFICATE\n" + first[28:] + second, "damaged line 1"},
		"quoted mail":                {"> " + first + second, "damaged line 1"},
		"no BEGIN line":              {first[28:] + second, "ends block 1, and no line begins it"},
		"no END line":                {strings.Split(first, "-----END")[0] + second, "block 1 (CERTIFICATE, line 1): its END line is missing: line"},
		"END of another":             {strings.Replace(first, "END CERTIFICATE", "END CMS", 1) + second, `its END line %END has another label, "CMS"`},
		"joined without line break":  {strings.TrimSpace(first) + second, "damaged line %END"},
		"cut off in the second":      {first + second[:200], "block 2 (CERTIFICATE, line %2nd): its END line is missing: the text is cut off"},
		"damaged second":             {first + strings.Replace(second, "\nM", "\n*", 1), "block 2 (CERTIFICATE, line %2nd): its base64 is damaged: line %2nd+1"},
	} {
		got, err := certfile.Read([]byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), at(tt.want)) {
			t.Errorf("%s: %q, %v\nwant %s", name, names(got), err, at(tt.want))
		}
		if _, err := certfile.Read([]byte(b64(tt.in))); err == nil {
			t.Errorf("%s: is taken as base64", name)
		}
		if _, err := certfile.ReadWithKey([]byte(tt.in)); err == nil {
			t.Errorf("%s: is taken beside a key", name)
		}
	}
}

func TestOtherFormats(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil)
	text := root.pem()
	key, err := x509.MarshalPKCS8PrivateKey(root.key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, root.key)
	if err != nil {
		t.Fatal(err)
	}
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Unix(1e9, 0), NextUpdate: time.Unix(2e9, 0)}
	crl, err := x509.CreateRevocationList(rand.Reader, list,
		&x509.Certificate{Subject: root.cert.Subject, SubjectKeyId: []byte{1}, KeyUsage: x509.KeyUsageCRLSign}, root.key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(root.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	p7b, pfx := pkcs7(t, root.der()), pkcs12(t)
	for name, tt := range map[string]struct{ in, want string }{
		"nothing":               {"", "is empty"},
		"blanks":                {bom + " \n", "is empty"},
		"prose":                 {"the certificate", "not a valid base64 string value"},
		"UTF-16LE with mark":    {inUTF16(text, binary.LittleEndian, true), "iconv -f UTF-16 -t UTF-8"},
		"UTF-16BE with mark":    {inUTF16(text, binary.BigEndian, true), "iconv -f UTF-16 -t UTF-8"},
		"UTF-16LE without mark": {inUTF16(text, binary.LittleEndian, false), "iconv -f UTF-16LE -t UTF-8"},
		"UTF-16BE without mark": {inUTF16(text, binary.BigEndian, false), "iconv -f UTF-16BE -t UTF-8"},
		"UTF-16 in base64":      {b64(inUTF16(text, binary.LittleEndian, true)), "iconv -f UTF-16"},
		"PKCS#7":                {string(p7b), "PKCS#7 (.p7b) file; convert it with: openssl pkcs7 -inform DER"},
		"PKCS#7 in base64":      {b64(string(p7b)), "PKCS#7"},
		"PKCS#7 in PEM":         {block("PKCS7", p7b), "openssl pkcs7 -in FILE -print_certs"},
		"PKCS#7 mislabelled":    {block("CERTIFICATE", p7b), "PKCS#7"},
		"PKCS#12":               {string(pfx), "PKCS#12 (.pfx, .p12) file; extract the certificate with: openssl pkcs12"},
		"PKCS#12 in base64":     {b64(string(pfx)), "PKCS#12"},
		"PKCS#12 in BER":        {"\x30\x80\x02\x01\x03\x30\x80", "PKCS#12"},
		"CSR":                   {string(csr), "certificate request (CSR)"},
		"CSR in PEM":            {block("CERTIFICATE REQUEST", csr), "block 1 (CERTIFICATE REQUEST, line 1) is a certificate request (CSR)"},
		"old CSR in PEM":        {block("NEW CERTIFICATE REQUEST", csr), "certificate request (CSR)"},
		"CRL":                   {string(crl), "revocation list"},
		"CRL beside":            {text + block("X509 CRL", crl), " is a certificate revocation list"},
		"public key":            {string(public), "public key"},
		"public key in PEM":     {block("PUBLIC KEY", public), "public key"},
		"Java keystore":         {"\xfe\xed\xfe\xed\x00\x00\x00\x02", "keytool -exportcert"},
		"private key":           {string(key), "holds a private key"},
		"literal n":             {strings.ReplaceAll(text, "\n", `\n`), `printf '%b\n'`},
		"literal r and n":       {strings.ReplaceAll(text, "\n", `\r\n`), `printf '%b\n'`},
		"spaces":                {strings.ReplaceAll(text, "\n", " "), "spaces in their place; convert it with: sed"},
		"no line breaks":        {strings.ReplaceAll(text, "\n", ""), "no line breaks"},
		"URL-encoded":           {url.PathEscape(text), "is URL-encoded"},
		"form-encoded":          {url.QueryEscape(text), "is URL-encoded"},
		"hexadecimal":           {hex.EncodeToString(root.der()), "is hexadecimal"},
		"two in DER":            {string(root.der()) + string(root.der()), "bytes after the certificate"},
		"only parameters":       {block("EC PARAMETERS", []byte{6, 0}), "holds no certificate"},
	} {
		got, err := certfile.Read([]byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, %v\nwant %s", name, names(got), err, tt.want)
		}
	}
}

// TestCommandsConvert runs the commands that errors name.
func TestCommandsConvert(t *testing.T) {
	t.Parallel()
	text := issue(t, "root", nil).pem()
	for name, in := range map[string]string{
		"UTF-16": inUTF16(text, binary.LittleEndian, true), "literal n": strings.ReplaceAll(text, "\n", `\n`),
		"spaces": strings.ReplaceAll(text, "\n", " "), "no line breaks": strings.ReplaceAll(text, "\n", ""),
		"indented": "  " + strings.ReplaceAll(text, "\n", "\n  "), "URL-encoded": url.PathEscape(text),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := certfile.Read([]byte(in))
			if err == nil {
				t.Fatal("is taken as it is")
			}
			_, command, _ := strings.Cut(err.Error(), "with: ")
			if _, err := exec.LookPath(strings.Fields(command)[0]); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "FILE"), []byte(in), 0o600); err != nil {
				t.Fatal(err)
			}
			run := exec.Command("sh", "-c", command)
			run.Dir = dir
			if out, err := run.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", command, err, out)
			}
			got, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
			if err != nil {
				t.Fatal(err)
			}
			if certs, err := certfile.Read(got); err != nil || names(certs) != "root" {
				t.Errorf("%s: %q, %v", command, names(certs), err)
			}
		})
	}
}

func TestPrivateKeys(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil)
	key := root.keyPEM(t)
	_, err := certfile.Read([]byte(root.pem() + key))
	if err == nil || !strings.Contains(err.Error(), "holds a private key (PEM block 2, line ") {
		t.Errorf("beside a certificate: %v", err)
	}
	for name, in := range map[string]string{"behind": root.pem() + key, "before": bom + key + root.pem()} {
		if got, err := certfile.ReadWithKey([]byte(in)); err != nil || names(got) != "root" {
			t.Errorf("ReadWithKey, %s: %q, %v", name, names(got), err)
		}
	}
	if _, err := certfile.ReadWithKey([]byte(key)); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("ReadWithKey of a key alone: %v", err)
	}
}

func TestOne(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil)
	line := issue(t, "line", root)
	cell := issue(t, "cell", line)
	twin := issue(t, "root", nil) // the same name, another key
	many := make([]*authority, 17)
	for i := range many {
		many[i] = root
	}
	for name, tt := range map[string]struct {
		in   []*authority
		want string // of the error, "" for none
	}{
		"one":             {in: []*authority{line}},
		"to the root":     {in: []*authority{cell, line, root}},
		"without it":      {in: []*authority{cell, line}},
		"wrong order":     {in: []*authority{root, line}, want: "certificate 2 (CN=line) did not sign certificate 1 (CN=root)"},
		"gap":             {in: []*authority{cell, root}, want: "certificate 2 (CN=root) did not sign certificate 1 (CN=cell)"},
		"end not related": {in: []*authority{cell, line, cell}, want: "certificate 3 (CN=cell) did not sign certificate 2 (CN=line)"},
		"another key":     {in: []*authority{line, twin}, want: "did not sign"},
		"too many":        {in: many, want: "a chain has at most 16"},
	} {
		var certs []*x509.Certificate
		for _, a := range tt.in {
			certs = append(certs, a.cert)
		}
		got, err := certfile.One(certs)
		if err == nil && got != certs[0] {
			t.Errorf("%s: another certificate than the first", name)
		}
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil)
	line := issue(t, "line", root)
	if got, want := string(certfile.Encode([]*x509.Certificate{line.cert, root.cert})), line.pem()+root.pem(); got != want {
		t.Errorf("Encode = %s", got)
	}
}

// pkcs7 returns a .p7b with one certificate. Source: RFC 5652 section 5.1.
func pkcs7(t testing.TB, cert []byte) []byte {
	t.Helper()
	type contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}
	signed := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	data := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	der := func(v any) []byte {
		out, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	empty := asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSet, IsCompound: true}
	inner := der(struct {
		Version      int
		Digests      asn1.RawValue
		Content      struct{ Type asn1.ObjectIdentifier }
		Certificates asn1.RawValue
		Signers      asn1.RawValue
	}{1, empty, struct{ Type asn1.ObjectIdentifier }{data}, tagged(cert), empty})
	return der(contentInfo{signed, tagged(inner)})
}

// tagged is content under the tag [0].
func tagged(content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: content}
}

// pkcs12 returns the outside of a .pfx. Source: RFC 7292 section 4.
func pkcs12(t testing.TB) []byte {
	t.Helper()
	out, err := asn1.Marshal(struct {
		Version int
		Safe    struct{ Type asn1.ObjectIdentifier }
	}{3, struct{ Type asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzRead(f *testing.F) {
	root := issue(f, "root", nil)
	text, key := issue(f, "line", root).pem(), root.keyPEM(f)
	for _, in := range []string{
		"", text, text + root.pem(), bom + text, b64(text), string(root.der()), b64(string(root.der())), text + key, key,
		strings.ReplaceAll(text, "\n", " "), strings.ReplaceAll(text, "\n", `\n`), inUTF16(text, binary.LittleEndian, true),
		"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", " " + text, text[1:], block("TRUSTED CERTIFICATE", root.der()) + text,
		block("EC PARAMETERS", []byte{6, 0}) + text, "\x30\x80\x02\x01\x03\x30\x80",
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, read := range []func([]byte) ([]*x509.Certificate, error){certfile.Read, certfile.ReadWithKey} {
			got, err := read(in)
			if err != nil {
				if len(got) > 0 || len(err.Error()) > 600 {
					t.Errorf("%d certificates beside %d bytes of error", len(got), len(err.Error()))
				}
				continue
			}
			if len(got) == 0 {
				t.Fatal("neither certificates nor an error")
			}
			if n := bytes.Count(in, []byte("-----BEGIN ")); n > 0 {
				skipped := bytes.Count(in, []byte(" PARAMETERS-----")) + bytes.Count(in, []byte("PRIVATE KEY-----"))
				if n != len(got)+skipped/2 {
					t.Errorf("%d certificates of %d blocks in %q", len(got), n, in)
				}
			}
			again, err := certfile.Read(certfile.Encode(got))
			if err != nil || names(again) != names(got) {
				t.Errorf("written and read again: %q, %v; want %q", names(again), err, names(got))
			}
		}
	})
}
