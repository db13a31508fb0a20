package storetest

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// holder is one way for an enrollment to own a certificate. The certificate is
// uploaded as the CAs "root" and "copy".
type holder struct {
	name string
	kind dps.EntryKind
	hold func(c dps.Certificate) dps.Attestation
}

var holders = []holder{
	{"individual, primary", dps.Individual, byCertificate},
	{"individual, secondary", dps.Individual, func(c dps.Certificate) dps.Attestation { return byX509(dps.X509Attestation{Secondary: &c}) }},
	{"group, primary", dps.Group, byCertificate},
	{"group, secondary", dps.Group, func(c dps.Certificate) dps.Attestation { return byX509(dps.X509Attestation{Secondary: &c}) }},
	{"group, reference", dps.Group, func(dps.Certificate) dps.Attestation { return byReference("Root") }},
	{"group, second reference", dps.Group, func(dps.Certificate) dps.Attestation {
		return byX509(dps.X509Attestation{CAPrimary: "other", CASecondary: "root"})
	}},
	{"group, reference to a copy", dps.Group, func(dps.Certificate) dps.Attestation { return byReference("copy") }},
}

func (h holder) enrollment(id string, c dps.Certificate) dps.Enrollment {
	return enrollment(dps.EntryRef{Kind: h.kind, ID: id}, h.hold(c))
}

// uploaded is a world's certificate with its uploads.
func (w *world) uploaded(t *testing.T) dps.Certificate {
	t.Helper()
	cert := certificate(t, "shared")
	w.upload(t, "root", cert)
	w.upload(t, "copy", cert)
	w.upload(t, "other", certificate(t, "other"))
	return cert
}

var uniquenessCases = append(pairCases(),
	testCase{"a certificate may be primary and secondary of one enrollment", func(t *testing.T, w *world) {
		cert := certificate(t, "device")
		for _, ref := range []dps.EntryRef{individual("sensor"), group("line")} {
			e := w.put(t, enrollment(ref, byX509(dps.X509Attestation{Primary: &cert, Secondary: &cert})))
			if got := w.owner(t, cert); got != ref.ID {
				t.Errorf("owner = %q, want %q", got, ref.ID)
			}
			must(t, w.DeleteEnrollment(t.Context(), here, ref, e.ETag))
		}
	}},
	testCase{"a replacement keeps, drops and takes certificates", func(t *testing.T, w *world) {
		one, two, three := certificate(t, "one"), certificate(t, "two"), certificate(t, "three")
		first := w.put(t, enrollment(individual("sensor"), byX509(dps.X509Attestation{Primary: &one, Secondary: &two})))
		second := enrollment(individual("sensor"), byX509(dps.X509Attestation{Primary: &two, Secondary: &three}))
		must(t, w.PutEnrollment(t.Context(), second, first.ETag))
		for cert, want := range map[*dps.Certificate]string{&one: "", &two: "sensor", &three: "sensor"} {
			if got := w.owner(t, *cert); got != want {
				t.Errorf("owner of %s = %q, want %q", cert.CommonName(), got, want)
			}
		}
	}},
	testCase{"two references to one certificate are one group's business", func(t *testing.T, w *world) {
		w.uploaded(t)
		w.put(t, enrollment(group("line"), byX509(dps.X509Attestation{CAPrimary: "root", CASecondary: "copy"})))
	}},
	testCase{"individuals may share a reference with each other and with a group", func(t *testing.T, w *world) {
		w.uploaded(t)
		for _, ref := range []dps.EntryRef{individual("a"), individual("b"), group("line"), individual("c")} {
			w.put(t, enrollment(ref, byReference("root")))
		}
	}},
	testCase{"an individual enrollment and a group of one ID are two", func(t *testing.T, w *world) {
		cert := w.uploaded(t)
		w.put(t, enrollment(individual("line"), byCertificate(cert)))
		for _, a := range []dps.Attestation{byReference("root"), byCertificate(cert)} {
			fails(t, "group", w.PutEnrollment(t.Context(), enrollment(group("line"), a), ""), dps.Conflict, "line")
		}
	}},
	testCase{"a refused replacement leaves everything as it was", func(t *testing.T, w *world) {
		taken, own := certificate(t, "taken"), certificate(t, "own")
		w.put(t, enrollment(individual("owner"), byCertificate(taken)))
		e := w.put(t, enrollment(individual("sensor"), byCertificate(own)))
		replaced := enrollment(e.Ref, byCertificate(taken))
		fails(t, "replace", w.PutEnrollment(t.Context(), replaced, e.ETag), dps.Conflict, "owner")
		same(t, "enrollment", w.enrollment(t, e.Ref), e)
		if got := w.owner(t, own); got != "sensor" {
			t.Errorf("owner = %q, want sensor", got)
		}
	}},
	testCase{"a CA certificate that a group refers to cannot become another's", replacedCA},
)

// pairCases tries every way to own a certificate against every other.
func pairCases() []testCase {
	var cases []testCase
	for _, first := range holders {
		for _, second := range holders {
			cases = append(cases, testCase{first.name + " against " + second.name, func(t *testing.T, w *world) {
				ctx, cert := t.Context(), w.uploaded(t)
				owner := w.put(t, first.enrollment("Owner-1", cert))
				late := second.enrollment("late", cert)
				fails(t, "second", w.PutEnrollment(ctx, late, ""), dps.Conflict, "Owner-1")
				if _, err := w.Enrollment(ctx, here, late.Ref); err == nil {
					t.Error("the refused enrollment is stored")
				}
				replaced := enrollment(owner.Ref, byKeys())
				must(t, w.PutEnrollment(ctx, replaced, owner.ETag))
				must(t, w.PutEnrollment(ctx, late, "")) // freed by a replacement
				fails(t, "back", w.PutEnrollment(ctx, owner, replaced.ETag), dps.Conflict, "late")
				must(t, w.DeleteEnrollment(ctx, here, late.Ref, late.ETag))
				must(t, w.PutEnrollment(ctx, owner, replaced.ETag)) // freed by a delete
			}})
		}
	}
	return cases
}

func replacedCA(t *testing.T, w *world) {
	ctx := t.Context()
	held := map[string]dps.Certificate{}
	for _, h := range holders[:4] {
		id := fmt.Sprintf("holder-%d", len(held))
		held[id] = certificate(t, h.name)
		w.put(t, h.enrollment(id, held[id]))
	}
	held["referrer"] = certificate(t, "referred")
	w.upload(t, "referred", held["referrer"])
	w.put(t, enrollment(group("referrer"), byReference("referred")))

	ca := w.upload(t, "root", certificate(t, "root"))
	w.put(t, enrollment(group("line"), byReference("root")))
	for id, cert := range held {
		replaced := caCertificate("root", cert)
		fails(t, id, w.PutCACertificate(ctx, replaced, ca.ETag), dps.Conflict, id)
		same(t, "CA certificate", read[dps.CACertificate](t)(w.CACertificate(ctx, here, "root")), ca)
	}
	free := w.upload(t, "free", certificate(t, "free"))
	w.put(t, enrollment(individual("sensor"), byReference("free")))
	must(t, w.PutCACertificate(ctx, caCertificate("free", held["holder-0"]), free.ETag)) // no group refers to it
}

var certificateCases = []testCase{
	{"missing records", func(t *testing.T, w *world) {
		_, err := w.CACertificate(t.Context(), here, "ghost")
		fails(t, "get", err, dps.CertificateNotFound, "ghost")
		fails(t, "replace", w.PutCACertificate(t.Context(), caCertificate("ghost", certificate(t, "x")), dps.NewETag()), dps.ConcurrentChange)
		fails(t, "delete", w.DeleteCACertificate(t.Context(), here, "ghost", dps.NewETag()), dps.ConcurrentChange)
		same(t, "list", read[[]dps.CACertificate](t)(w.CACertificates(t.Context(), here)), []dps.CACertificate(nil))
		for _, ref := range []dps.EntryRef{individual("sensor"), group("line")} {
			fails(t, "reference", w.PutEnrollment(t.Context(), enrollment(ref, byReference("ghost")), ""), dps.CertificateNotFound, "ghost")
			if _, err := w.Enrollment(t.Context(), here, ref); err == nil {
				t.Error("the refused enrollment is stored")
			}
		}
	}},
	{"what is no certificate is not stored", func(t *testing.T, w *world) {
		junk := dps.Certificate{DER: []byte("junk")}
		if err := w.PutCACertificate(t.Context(), caCertificate("root", junk), ""); err == nil {
			t.Error("stored as CA certificate")
		}
		if err := w.PutEnrollment(t.Context(), enrollment(group("line"), byCertificate(junk)), ""); err == nil {
			t.Error("stored in a group")
		}
	}},
	{"written only at the right version", func(t *testing.T, w *world) {
		ctx := t.Context()
		first := w.upload(t, "Root", certificate(t, "one"))
		second := caCertificate("ROOT", certificate(t, "two"))
		second.Verified, second.Updated = true, start.Add(time.Minute)
		fails(t, "create over it", w.PutCACertificate(ctx, second, ""), dps.ConcurrentChange)
		fails(t, "replace another version", w.PutCACertificate(ctx, second, dps.NewETag()), dps.ConcurrentChange)
		same(t, "still the first", read[dps.CACertificate](t)(w.CACertificate(ctx, here, "rOOT")), first)
		must(t, w.PutCACertificate(ctx, second, first.ETag))
		second.Name = "Root" // the first spelling stays
		same(t, "replaced", read[dps.CACertificate](t)(w.CACertificate(ctx, here, "root")), second)
		fails(t, "delete another version", w.DeleteCACertificate(ctx, here, "root", first.ETag), dps.ConcurrentChange)
		must(t, w.DeleteCACertificate(ctx, here, "root", second.ETag))
		_, err := w.CACertificate(ctx, here, "root")
		fails(t, "deleted", err, dps.CertificateNotFound)
	}},
	{"a challenge is read back", func(t *testing.T, w *world) {
		ca := w.upload(t, "root", certificate(t, "one"))
		challenged := ca
		challenge := dps.NewChallenge(start)
		challenged.Challenge, challenged.ETag = &challenge, dps.NewETag()
		must(t, w.PutCACertificate(t.Context(), challenged, ca.ETag))
		same(t, "with", read[dps.CACertificate](t)(w.CACertificate(t.Context(), here, "root")), challenged)
		ca.Verified, ca.ETag = true, dps.NewETag()
		must(t, w.PutCACertificate(t.Context(), ca, challenged.ETag))
		same(t, "without", read[dps.CACertificate](t)(w.CACertificate(t.Context(), here, "root")), ca)
	}},
	{"listed by name", func(t *testing.T, w *world) {
		var want []string
		for _, name := range []dps.CAName{"Zeta", "alpha", "Mid"} {
			w.upload(t, name, certificate(t, "x"))
		}
		for _, ca := range read[[]dps.CACertificate](t)(w.CACertificates(t.Context(), here)) {
			want = append(want, string(ca.Name))
		}
		same(t, "names", want, []string{"alpha", "Mid", "Zeta"})
	}},
	{"in use it cannot be deleted", func(t *testing.T, w *world) {
		ctx := t.Context()
		ca := w.upload(t, "Root", certificate(t, "one"))
		line := w.put(t, enrollment(group("Line-1"), byReference("root")))
		sensor := w.put(t, enrollment(individual("Sensor-1"), byX509(dps.X509Attestation{CASecondary: "ROOT"})))
		fails(
			t,
			"by two",
			w.DeleteCACertificate(ctx, here, "root", ca.ETag),
			dps.Conflict,
			"enrollment group Line-1",
			"individual enrollment Sensor-1",
		)
		must(t, w.DeleteEnrollment(ctx, here, line.Ref, line.ETag))
		fails(t, "by one", w.DeleteCACertificate(ctx, here, "root", ca.ETag), dps.Conflict, "Sensor-1")
		must(t, w.PutEnrollment(ctx, enrollment(sensor.Ref, byKeys()), sensor.ETag))
		must(t, w.DeleteCACertificate(ctx, here, "root", ca.ETag))
	}},
	{"in use by many, some are named", func(t *testing.T, w *world) {
		ca := w.upload(t, "root", certificate(t, "one"))
		for i := range 30 {
			w.put(t, enrollment(individual(fmt.Sprintf("%0100d", i)), byReference("root")))
		}
		err := w.DeleteCACertificate(t.Context(), here, "root", ca.ETag)
		fails(t, "delete", err, dps.Conflict, fmt.Sprintf("%0100d", 0))
		if n := len(dps.MessageOf(err)); n > 2000 {
			t.Errorf("the message has %d bytes", n)
		}
	}},
}

// commonName returns a name of one attribute, whose value has the string type tag.
func commonName(t *testing.T, tag int, value []byte) []byte {
	t.Helper()
	name := pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: tag, Bytes: value}}}}
	raw, err := asn1.Marshal(name)
	must(t, err)
	return raw
}

// anchors returns what is stored under the subjects of certs.
func (w *world) anchors(t *testing.T, certs ...dps.Certificate) []dps.Anchor {
	t.Helper()
	var subjects [][]byte
	for _, c := range certs {
		subjects = append(subjects, subjectOf(t, c))
	}
	return read[[]dps.Anchor](t)(w.Anchors(t.Context(), here, subjects))
}

var anchorCases = []testCase{
	{"none", func(t *testing.T, w *world) {
		same(t, "no subjects", w.anchors(t), []dps.Anchor(nil))
		same(t, "unknown subject", w.anchors(t, certificate(t, "x")), []dps.Anchor(nil))
	}},
	{"found by subject, each in its role", func(t *testing.T, w *world) {
		root, line, dev := certificate(t, "root"), certificate(t, "line"), certificate(t, "device")
		w.upload(t, "Root", root)
		w.put(t, enrollment(group("Line"), byX509(dps.X509Attestation{Secondary: &line})))
		w.put(t, enrollment(individual("device"), byCertificate(dev)))
		same(t, "CA", w.anchors(t, root), []dps.Anchor{{Certificate: root, CA: "Root"}})
		same(t, "group", w.anchors(t, line), []dps.Anchor{{Certificate: line, Group: "Line"}})
		same(t, "a device's own is none", w.anchors(t, dev), []dps.Anchor(nil))
		if got := w.anchors(t, root, line, dev); len(got) != 2 {
			t.Errorf("all three = %+v, want two", got)
		}
	}},
	{"found by an equal name in another encoding", func(t *testing.T, w *world) {
		line := certificate(t, "Plant  line M\u00fcller")
		w.put(t, enrollment(group("Line"), byX509(dps.X509Attestation{Primary: &line})))
		want := []dps.Anchor{{Certificate: line, Group: "Line"}}
		for _, name := range [][]byte{
			commonName(t, asn1.TagUTF8String, []byte(" plant LINE m\u00dcller ")),
			commonName(t, asn1.TagT61String, []byte("Plant line M\xfcller")),
		} {
			same(t, "anchors", read[[]dps.Anchor](t)(w.Anchors(t.Context(), here, [][]byte{name})), want)
		}
		other := commonName(t, asn1.TagUTF8String, []byte("Plantline M\u00fcller"))
		same(t, "another name", read[[]dps.Anchor](t)(w.Anchors(t.Context(), here, [][]byte{other})), []dps.Anchor(nil))
	}},
	{"several of one subject", func(t *testing.T, w *world) {
		one, two := certificate(t, "same"), certificate(t, "same")
		w.upload(t, "one", one)
		w.upload(t, "two", two)
		if got := w.anchors(t, one); len(got) != 2 {
			t.Errorf("anchors = %+v, want two", got)
		}
	}},
	{"roles of one certificate are merged", func(t *testing.T, w *world) {
		cert := certificate(t, "root")
		w.put(t, enrollment(group("line"), byCertificate(cert)))
		ca := w.upload(t, "root", cert)
		w.upload(t, "copy", cert)
		ca2 := ca
		ca2.Verified, ca2.ETag = true, dps.NewETag()
		must(t, w.PutCACertificate(t.Context(), ca2, ca.ETag))
		same(t, "merged", w.anchors(t, cert),
			[]dps.Anchor{{Certificate: cert, CA: "root", Also: []dps.CAName{"copy"}, Verified: true, Group: "line"}})
	}},
	{"a reference makes a group's anchor", func(t *testing.T, w *world) {
		cert := certificate(t, "root")
		w.upload(t, "root", cert)
		w.put(t, enrollment(individual("sensor"), byReference("root")))
		same(t, "an individual's does not", w.anchors(t, cert), []dps.Anchor{{Certificate: cert, CA: "root"}})
		line := w.put(t, enrollment(group("Line"), byReference("ROOT")))
		same(t, "a group's", w.anchors(t, cert), []dps.Anchor{{Certificate: cert, CA: "root", Group: "Line"}})
		must(t, w.DeleteEnrollment(t.Context(), here, line.Ref, line.ETag))
		same(t, "deleted", w.anchors(t, cert), []dps.Anchor{{Certificate: cert, CA: "root"}})
	}},
	{"a replaced CA certificate takes its referrers along", func(t *testing.T, w *world) {
		before, after := certificate(t, "before"), certificate(t, "after")
		ca := w.upload(t, "root", before)
		line := w.put(t, enrollment(group("line"), byReference("root")))
		must(t, w.PutCACertificate(t.Context(), caCertificate("root", after), ca.ETag))
		same(t, "before", w.anchors(t, before), []dps.Anchor(nil))
		same(t, "after", w.anchors(t, after), []dps.Anchor{{Certificate: after, CA: "root", Group: "line"}})
		same(t, "the group", w.enrollment(t, line.Ref), line)
		w.put(t, enrollment(group("next"), byCertificate(before)))
		fails(t, "the new certificate", w.PutEnrollment(t.Context(), enrollment(group("late"), byCertificate(after)), ""), dps.Conflict, "line")
	}},
	{"a group's certificate goes with it", func(t *testing.T, w *world) {
		one, two := certificate(t, "one"), certificate(t, "two")
		e := w.put(t, enrollment(group("line"), byCertificate(one)))
		next := enrollment(group("LINE"), byCertificate(two))
		must(t, w.PutEnrollment(t.Context(), next, e.ETag))
		same(t, "replaced", w.anchors(t, one, two), []dps.Anchor{{Certificate: two, Group: "line"}})
		must(t, w.DeleteEnrollment(t.Context(), here, e.Ref, next.ETag))
		same(t, "deleted", w.anchors(t, one, two), []dps.Anchor(nil))
	}},
	{"as many subjects as the longest chain has", func(t *testing.T, w *world) {
		var certs []dps.Certificate
		for i := range 12 {
			c := certificate(t, strings.Repeat("x", i+1))
			w.upload(t, dps.CAName(fmt.Sprintf("ca-%d", i)), c)
			certs = append(certs, c)
		}
		if got := w.anchors(t, certs...); len(got) != len(certs) {
			t.Errorf("%d anchors, want %d", len(got), len(certs))
		}
	}},
}
