package register_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/sas"
)

// kept collects refusals.
type kept struct{ all []dps.Refusal }

func (k *kept) Refused(r dps.Refusal) { k.all = append(k.all, r) }

// one returns the only refusal since the last call.
func (k *kept) one(t *testing.T, what string) dps.Refusal {
	t.Helper()
	if len(k.all) != 1 {
		t.Fatalf("%s: %d refusals are kept, want 1", what, len(k.all))
	}
	r := k.all[0]
	k.all = nil
	return r
}

// keeping returns the service of the world with somebody who keeps refusals.
func (w *world) keeping() (*register.Service, *kept) {
	k := &kept{}
	return register.New(register.Options{Store: w.store, Observer: w.outcomes, Decisions: k, Log: w.logger(), Now: w.clock}), k
}

func TestEveryRefusalIsKept(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	s, k := w.keeping()
	device := w.leaf(t, "sensor")
	req := w.request("sensor", device)
	req.Transport = dps.MQTTWebSocket
	ticket, err := s.Register(t.Context(), req)
	must(t, err)
	if len(k.all) != 0 {
		t.Errorf("a device that was let in is kept as refused: %+v", k.all)
	}

	stranger := req
	stranger.ID = "stranger"
	_, err = s.Register(t.Context(), stranger)
	fails(t, "register", err, dps.Unauthorized)
	r := k.one(t, "register")
	want := dps.SummarizeChain(device.Chain).Chain[0]
	if r.Instance != in || r.ID != "stranger" || r.TrackingID != req.TrackingID || r.Remote != req.Remote || !r.Time.Equal(w.now) ||
		r.Transport != dps.MQTTWebSocket || r.Attestation != dps.X509 ||
		r.Decision.Reason != dps.ReasonNameMismatch || r.Decision.Entry != (dps.EntryRef{}) ||
		r.Evidence.Presented != len(device.Chain) || r.Evidence.Chain[0] != want {
		t.Errorf("kept %+v", r)
	}
	if want.SHA256 != thumbprint(device.Certificate) || len(want.SHA1) != 40 || !strings.Contains(want.Subject, "sensor") {
		t.Errorf("summary = %+v", want)
	}

	_, err = s.LookUp(t.Context(), stranger)
	fails(t, "look-up", err, dps.Unauthorized)
	k.one(t, "look-up")

	_, err = s.Poll(t.Context(), w.request("sensor", nil), ticket.Operation)
	fails(t, "poll", err, dps.Unauthorized)
	if r := k.one(t, "poll"); r.Decision.Reason != dps.ReasonOperationOwner || r.Decision.Entry != group("line") || r.Attestation != "" ||
		r.Evidence.Chain != nil {
		t.Errorf("poll: kept %+v", r)
	}

	w.group(t, func(e *dps.Enrollment) { e.Status = dps.StatusDisabled })
	ticket, err = s.Register(t.Context(), req)
	must(t, err)
	if r := k.one(t, "disabled"); r.Decision.Reason != dps.ReasonDisabled || r.Decision.Entry != group("line") ||
		r.Decision.Answer != "disabled" {
		t.Errorf("disabled: kept %+v", r)
	}
	_, err = s.Poll(t.Context(), req, ticket.Operation)
	must(t, err)
	_, err = s.LookUp(t.Context(), req)
	must(t, err)
	k.one(t, "look-up of a disabled one")
	if len(k.all) != 0 {
		t.Errorf("a poll of a disabled device is kept as another refusal: %+v", k.all)
	}
}

// What is kept of a token can never be used again, whatever the device made of it.
func TestKeptTokensHoldNoSecret(t *testing.T) {
	w := newWorld(t)
	s, k := w.keeping()
	keys := dps.NewKeyPair()
	e := dps.EnrollmentDraft{Enrollment: dps.Enrollment{
		Instance: in, Ref: individual("sensor"), Attestation: dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys},
	}}
	_, err := w.enroll.Put(t.Context(), e, dps.Condition{})
	must(t, err)
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQ"
	resource := string(w.scope) + "/registrations/sensor"
	good := sas.Sign(resource, "registration", keys.Primary.Reveal(), w.now.Add(time.Hour))
	_, signature, _ := strings.Cut(good, "sig=")
	signature, _, _ = strings.Cut(signature, "&")
	for name, tt := range map[string]struct {
		token  string
		reason dps.Reason
		info   *dps.TokenInfo
	}{
		"a wrong key": {
			sas.Sign(resource, "registration", []byte(secret), w.now.Add(time.Hour)), dps.ReasonWrongKey,
			&dps.TokenInfo{Resource: resource, KeyName: "registration", Expiry: w.now.Add(time.Hour).Truncate(time.Second)},
		},
		"expired": {
			sas.Sign(resource, "", keys.Primary.Reveal(), w.now.Add(-time.Hour)), dps.ReasonTokenExpired,
			&dps.TokenInfo{Resource: resource, Expiry: w.now.Add(-time.Hour).Truncate(time.Second)},
		},
		"the key itself":          {"SharedAccessSignature " + secret, dps.ReasonTokenMalformed, nil},
		"the key as a field":      {"SharedAccessSignature " + secret + "=&" + secret + "=", dps.ReasonTokenMalformed, nil},
		"a connection string":     {"HostName=h;SharedAccessKey=" + secret, dps.ReasonTokenMalformed, nil},
		"escaped as a whole":      {"SharedAccessSignature sr=x%26sig%3D" + secret + "&sig=" + signature + "&se=1", dps.ReasonTokenResource, &dps.TokenInfo{Resource: "x", Expiry: time.Unix(1, 0)}},
		"a name with a signature": {"SharedAccessSignature sr=x&sig=" + signature + "&se=1&skn=a%26sig%3D" + secret, dps.ReasonTokenResource, &dps.TokenInfo{Resource: "x", KeyName: "a", Expiry: time.Unix(1, 0)}},
	} {
		req := w.request("sensor", nil)
		req.Evidence.Token = tt.token
		_, err := s.Register(t.Context(), req)
		fails(t, name, err, dps.UnknownCredential)
		r := k.one(t, name)
		if r.Decision.Reason != tt.reason || r.Attestation != dps.SymmetricKey {
			t.Errorf("%s: kept %+v", name, r)
		}
		if got := r.Evidence.Token; (got == nil) != (tt.info == nil) ||
			got != nil && (got.Resource != tt.info.Resource || got.KeyName != tt.info.KeyName || !got.Expiry.Equal(tt.info.Expiry)) {
			t.Errorf("%s: token %+v, want %+v", name, got, tt.info)
		}
		text := r.Decision.LogValue().String()
		if r.Evidence.Token != nil {
			text += r.Evidence.Token.Resource + r.Evidence.Token.KeyName
		}
		for _, bad := range []string{secret, strings.ToLower(secret), signature, string(keys.Primary.Reveal())} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: a secret is kept: %s", name, text)
			}
		}
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if text := w.log.text.String(); strings.Contains(text, secret) || strings.Contains(text, strings.ToLower(secret)) ||
		strings.Contains(text, signature) {
		t.Errorf("a secret is logged: %s", text)
	}
}
