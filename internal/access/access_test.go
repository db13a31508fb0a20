package access_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var errDown = errors.New("the store is down")

// store keeps policies in memory.
type store struct {
	instances map[dps.InstanceID]dps.Instance
	policies  map[string]dps.Policy
	hub       map[string]dps.HubPolicy
	down      bool
	broken    bool // only the policies
}

func (s *store) Instance(_ context.Context, id dps.InstanceID) (dps.Instance, error) {
	if in, ok := s.instances[id]; ok && !s.down {
		return in, nil
	}
	return dps.Instance{}, dps.Errorf(dps.InstanceNotFound, "Provisioning service not found.")
}

func (s *store) Policy(_ context.Context, _ dps.InstanceID, name string) (dps.Policy, error) {
	if s.down || s.broken {
		return dps.Policy{}, errDown
	}
	if p, ok := s.policies[name]; ok {
		return p, nil
	}
	return dps.Policy{}, dps.Errorf(dps.Unauthorized, "Unauthorized")
}

func (s *store) HubPolicy(_ context.Context, _ dps.InstanceID, _ dps.HubID, name string) (dps.HubPolicy, error) {
	if s.down {
		return dps.HubPolicy{}, errDown
	}
	if p, ok := s.hub[name]; ok {
		return p, nil
	}
	return dps.HubPolicy{}, dps.Errorf(dps.Unauthorized, "Unauthorized")
}

// world is a guard over a store with some policies.
type world struct {
	*access.Guard
	store *store
}

func newWorld() world {
	s := &store{
		instances: map[dps.InstanceID]dps.Instance{"default": dps.NewInstance("default", now), "other": dps.NewInstance("other", now)},
		policies:  make(map[string]dps.Policy), hub: make(map[string]dps.HubPolicy),
	}
	for name, rights := range map[string]dps.Rights{
		"owner": dps.OwnerRights, "reader": dps.EnrollmentRead, "writer": dps.EnrollmentWrite, "status": dps.RegistrationStatusRead,
	} {
		s.policies[name] = dps.Policy{Instance: "default", Name: name, Rights: rights, Keys: dps.NewKeyPair()}
	}
	for name, rights := range map[string]dps.HubRights{
		"iothubowner": dps.HubOwnerRights, "service": dps.ServiceConnect, "registryReadWrite": dps.RegistryWrite,
	} {
		s.hub[name] = dps.HubPolicy{Instance: "default", Hub: "embedded", Name: name, Rights: rights, Keys: dps.NewKeyPair()}
	}
	guard := access.New(access.Options{Store: s, Names: []string{"dps.example", "::1"}, Now: func() time.Time { return now }})
	return world{guard, s}
}

func request(path, authorization string) *http.Request {
	r := httptest.NewRequest("GET", path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func (w world) token(policy string) string {
	return sas.Sign("dps.example", policy, w.store.policies[policy].Keys.Primary.Reveal(), now.Add(time.Hour))
}

func TestServiceRights(t *testing.T) {
	t.Parallel()
	w := newWorld()
	tests := []struct {
		policy  string
		want    dps.Rights
		refused bool
	}{
		{policy: "owner", want: dps.EnrollmentWrite},
		{policy: "owner", want: dps.EnrollmentRead},
		{policy: "owner", want: dps.RegistrationStatusWrite},
		{policy: "writer", want: dps.EnrollmentRead},
		{policy: "reader", want: dps.EnrollmentRead},
		{policy: "reader", want: dps.EnrollmentWrite, refused: true},
		{policy: "reader", want: dps.RegistrationStatusRead, refused: true},
		{policy: "writer", want: dps.ServiceConfig, refused: true},
		{policy: "status", want: dps.EnrollmentRead, refused: true},
	}
	for _, tt := range tests {
		err := w.Service(request("/enrollments/x", w.token(tt.policy)), "default", tt.want)
		if (err != nil) != tt.refused || (tt.refused && dps.CodeOf(err) != dps.Unauthorized) {
			t.Errorf("policy %s wanting %s: %v, want refused = %v", tt.policy, tt.want, err, tt.refused)
		}
	}
}

func TestServiceTokens(t *testing.T) {
	t.Parallel()
	w := newWorld()
	keys := w.store.policies["owner"].Keys
	sign := func(resource string, key dps.Secret, at time.Time) string {
		return sas.Sign(resource, "owner", key.Reveal(), at)
	}
	tests := []struct {
		name, token string
		refused     bool
		cause       string // in the log
	}{
		{name: "primary key", token: sign("dps.example", keys.Primary, now.Add(time.Hour))},
		{name: "secondary key", token: sign("dps.example", keys.Secondary, now.Add(time.Hour))},
		{name: "expired as long as clocks may differ", token: sign("dps.example", keys.Primary, now.Add(-sas.Leeway))},
		{name: "an IPv6 address", token: sign("[::1]:443", keys.Primary, now.Add(time.Hour))},
		{name: "the path as written", token: sign("dps.example/enrollments/a%3Ab", keys.Primary, now.Add(time.Hour))},
		{name: "the path decoded", token: sign("dps.example/enrollments/a:b", keys.Primary, now.Add(time.Hour))},
		{name: "expired longer ago", token: sign("dps.example", keys.Primary, now.Add(-sas.Leeway-time.Second)), refused: true, cause: "the token expired at 2026-03-01T11:54:59Z"},
		{name: "another host", token: sign("other.example", keys.Primary, now.Add(time.Hour)), refused: true, cause: "the token is for another host or path"},
		{name: "another path", token: sign("dps.example/enrollments/a", keys.Primary, now.Add(time.Hour)), refused: true, cause: "the token is for another host or path"},
		{name: "another key", token: sign("dps.example", dps.NewKey(), now.Add(time.Hour)), refused: true, cause: "no key of the policy signed the token"},
		{name: "no key at all", token: sign("dps.example", dps.Secret{}, now.Add(time.Hour)), refused: true, cause: "no key of the policy signed the token"},
		{name: "nothing", refused: true, cause: "malformed SAS token"},
		{name: "no SAS token", token: "Basic YTpi", refused: true, cause: "malformed SAS token"},
	}
	for _, tt := range tests {
		err := w.Service(request("/enrollments/a%3Ab", tt.token), "default", dps.EnrollmentRead)
		if (err != nil) != tt.refused {
			t.Errorf("%s: %v, want refused = %v", tt.name, err, tt.refused)
		}
		if tt.refused && (dps.CodeOf(err) != dps.Unauthorized || dps.MessageOf(err) != "Unauthorized") {
			t.Errorf("%s: the caller is told %v %q", tt.name, dps.CodeOf(err), dps.MessageOf(err))
		}
		if tt.refused && !strings.Contains(err.Error(), tt.cause) {
			t.Errorf("%s: the log is told %v, want %q", tt.name, err, tt.cause)
		}
	}
}

func TestRefusalsKeepKeysOutOfTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld()
	token := w.token("reader")
	err := w.Service(request("/enrollments/x", token), "default", dps.EnrollmentWrite)
	if err == nil || !strings.Contains(err.Error(), "reader lacks the right EnrollmentWrite") {
		t.Errorf("the cause does not say what is missing: %v", err)
	}
	if strings.Contains(err.Error(), "sig=") || strings.Contains(err.Error(), w.store.policies["reader"].Keys.Primary.Base64()) {
		t.Errorf("the cause has a secret: %v", err)
	}
}

func TestHub(t *testing.T) {
	t.Parallel()
	w := newWorld()
	hub := dps.LinkedHub{Instance: "default", ID: "embedded", HostName: "DPS.example"}
	tests := []struct {
		policy  string
		want    dps.HubRights
		refused bool
	}{
		{policy: "iothubowner", want: dps.RegistryRead},
		{policy: "iothubowner", want: dps.ServiceConnect},
		{policy: "registryReadWrite", want: dps.RegistryRead},
		{policy: "service", want: dps.ServiceConnect},
		{policy: "service", want: dps.RegistryRead, refused: true},
		{policy: "registryReadWrite", want: dps.ServiceConnect, refused: true},
	}
	for _, tt := range tests {
		token := sas.Sign("dps.example", tt.policy, w.store.hub[tt.policy].Keys.Primary.Reveal(), now.Add(time.Hour))
		err := w.Hub(request("/devices/x", token), hub, tt.want)
		if (err != nil) != tt.refused || (tt.refused && dps.CodeOf(err) != dps.Unauthorized) {
			t.Errorf("policy %s wanting %d: %v, want refused = %v", tt.policy, tt.want, err, tt.refused)
		}
	}
	for name, token := range map[string]string{
		"none": "", "a policy of the service": w.token("owner"),
		"another key": sas.Sign("dps.example", "iothubowner", []byte("another"), now.Add(time.Hour)),
	} {
		if err := w.Hub(request("/devices/x", token), hub, dps.RegistryRead); dps.CodeOf(err) != dps.Unauthorized {
			t.Errorf("%s: %v, want Unauthorized", name, err)
		}
	}
}

// A token is for the hub whose name it bears: the same keys do not open another one.
func TestHubNames(t *testing.T) {
	t.Parallel()
	w := newWorld()
	key := w.store.hub["iothubowner"].Keys.Primary.Reveal()
	tests := []struct {
		hub      dps.HostName
		resource string
		refused  bool
	}{
		{hub: "hub-b.example", resource: "hub-b.example"},
		{hub: "hub-b.example", resource: "HUB-B.example:8443"},
		{hub: "hub-b.example", resource: "hub-b.example/devices/x"},
		{hub: "hub-b.example", resource: "hub-b.example/devices/y", refused: true},
		{hub: "hub-b.example", resource: "hub-a.example", refused: true},
		{hub: "hub-b.example", resource: "dps.example", refused: true},
		{hub: "dps.example", resource: "[::1]"},
		{hub: "dps.example", resource: "hub-b.example", refused: true},
		{hub: "", resource: "", refused: true},
	}
	for _, tt := range tests {
		token := sas.Sign(tt.resource, "iothubowner", key, now.Add(time.Hour))
		err := w.Hub(request("/devices/x", token), dps.LinkedHub{Instance: "default", ID: "h", HostName: tt.hub}, dps.RegistryRead)
		if (err != nil) != tt.refused || (tt.refused && dps.CodeOf(err) != dps.Unauthorized) {
			t.Errorf("a token for %q at hub %q: %v, want refused = %v", tt.resource, tt.hub, err, tt.refused)
		}
	}
}

func TestStoreFailureIsNoRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld()
	token := w.token("owner")
	w.store.down = true
	if err := w.Service(request("/", token), "default", dps.EnrollmentRead); !errors.Is(err, errDown) {
		t.Errorf("service: %v, want %v", err, errDown)
	}
	if err := w.Hub(request("/", token), dps.LinkedHub{HostName: "dps.example"}, dps.RegistryRead); !errors.Is(err, errDown) {
		t.Errorf("hub: %v, want %v", err, errDown)
	}
	w.store.down, w.store.broken = false, true
	if err := w.Manage(request("/", token), "default"); !errors.Is(err, errDown) {
		t.Errorf("control plane: %v, want %v", err, errDown)
	}
}

// bearer signs claims with the key of the default instance.
func (w world) bearer(t *testing.T, method jwt.SigningMethod, edit func(*jwt.RegisteredClaims)) string {
	t.Helper()
	claims := jwt.RegisteredClaims{
		Issuer: "mooring", Audience: jwt.ClaimStrings{"mooring/control-plane/default"}, ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute)),
	}
	edit(&claims)
	var key any = w.store.instances[dps.DefaultInstance].TokenKey.Reveal()
	if method == jwt.SigningMethodNone {
		key = jwt.UnsafeAllowNoneSignatureType
	}
	text, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + text
}

func TestControl(t *testing.T) {
	t.Parallel()
	w := newWorld()
	same := func(*jwt.RegisteredClaims) {}
	fresh, err := access.NewToken(w.store.instances["default"], now)
	if err != nil {
		t.Fatal(err)
	}
	old, err := access.NewToken(w.store.instances["default"], now.Add(-access.TokenLifetime-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := access.NewToken(w.store.instances["other"], now)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(fresh, ".")
	tests := []struct {
		name, header string
		refused      bool
	}{
		{name: "fresh", header: "Bearer " + fresh},
		{name: "scheme in lower case", header: "bearer  " + fresh},
		{name: "made by hand", header: w.bearer(t, jwt.SigningMethodHS256, same)},
		{name: "none", refused: true},
		{name: "scheme alone", header: "Bearer", refused: true},
		{name: "no scheme", header: fresh, refused: true},
		{name: "another scheme", header: "Basic " + fresh, refused: true},
		{name: "expired", header: "Bearer " + old, refused: true},
		{name: "of another instance", header: "Bearer " + foreign, refused: true},
		{name: "alg none", header: w.bearer(t, jwt.SigningMethodNone, same), refused: true},
		{name: "another algorithm", header: w.bearer(t, jwt.SigningMethodHS512, same), refused: true},
		{name: "no expiry", header: w.bearer(t, jwt.SigningMethodHS256, func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }), refused: true},
		{name: "not valid yet", header: w.bearer(t, jwt.SigningMethodHS256, func(c *jwt.RegisteredClaims) { c.NotBefore = jwt.NewNumericDate(now.Add(time.Second)) }), refused: true},
		{name: "another issuer", header: w.bearer(t, jwt.SigningMethodHS256, func(c *jwt.RegisteredClaims) { c.Issuer = "x" }), refused: true},
		{name: "another audience", header: w.bearer(t, jwt.SigningMethodHS256, func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"mooring/control-plane/other"} }), refused: true},
		{name: "no audience", header: w.bearer(t, jwt.SigningMethodHS256, func(c *jwt.RegisteredClaims) { c.Audience = nil }), refused: true},
		{name: "changed", header: "Bearer " + head + "." + strings.ToUpper(body), refused: true},
		{name: "longest", header: "Bearer " + fresh + strings.Repeat(" ", 8<<10-len("Bearer "+fresh))},
		{name: "a byte too long", header: "Bearer " + fresh + strings.Repeat(" ", 8<<10-len("Bearer "+fresh)+1), refused: true},
		{name: "too long", header: "Bearer " + fresh + strings.Repeat(" ", 9000), refused: true},
		{name: "a SAS token", header: w.token("owner"), refused: true},
	}
	for _, tt := range tests {
		err := w.Control(request("/subscriptions/x", tt.header), "default")
		if (err != nil) != tt.refused || (tt.refused && dps.CodeOf(err) != dps.Unauthorized) {
			t.Errorf("%s: %v, want refused = %v", tt.name, err, tt.refused)
		}
		if tt.refused && !strings.Contains(dps.MessageOf(err), "mooring info") {
			t.Errorf("%s: the message does not say where a token comes from: %q", tt.name, dps.MessageOf(err))
		}
		if tt.name == "a SAS token" {
			continue
		}
		err = w.Service(request("/enrollments/x", tt.header), "default", dps.EnrollmentWrite)
		if (err != nil) != tt.refused || (tt.refused && dps.CodeOf(err) != dps.Unauthorized) {
			t.Errorf("service, %s: %v, want refused = %v", tt.name, err, tt.refused)
		}
		if tt.refused && dps.MessageOf(err) != "Unauthorized" {
			t.Errorf("service, %s: %q", tt.name, dps.MessageOf(err))
		}
	}
	if err := w.Control(request("/", "Bearer "+fresh), "nobody"); dps.CodeOf(err) != dps.InstanceNotFound {
		t.Errorf("an instance that is not there: %v, want InstanceNotFound", err)
	}
	if err := w.Service(request("/", "Bearer "+fresh), "nobody", dps.EnrollmentRead); dps.CodeOf(err) != dps.InstanceNotFound {
		t.Errorf("service of an instance that is not there: %v, want InstanceNotFound", err)
	}
}

// An instance without a key takes no token, not even one that is signed with no key.
func TestNoTokenKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.store.instances[dps.DefaultInstance]
	in.TokenKey = dps.Secret{}
	w.store.instances[dps.DefaultInstance] = in
	for _, key := range [][]byte{{}, {0}} {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
			Issuer: "mooring", Audience: jwt.ClaimStrings{"mooring/control-plane/default"}, ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute)),
		}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		r := request("/enrollments/x", "Bearer "+text)
		if err := w.Control(r, "default"); dps.CodeOf(err) != dps.Unauthorized {
			t.Errorf("control plane: %v", err)
		}
		if err := w.Service(r, "default", dps.EnrollmentRead); dps.CodeOf(err) != dps.Unauthorized {
			t.Errorf("service: %v", err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	want := []string{"dps.example", "localhost", "127.0.0.1", "::1"}
	if got := access.Names([]string{"dps.example", "localhost"}); !slices.Equal(
		got,
		want,
	) {
		t.Errorf("Names = %v, want %v", got, want)
	}
	if got := access.Names([]string{"dps.example"}); !slices.Equal(got, []string{"dps.example"}) {
		t.Errorf("Names = %v, want the name alone", got)
	}
}

// TestManage checks who may use the control plane by a policy: one with all rights. The
// other surfaces of bearer tokens take no policy.
func TestManage(t *testing.T) {
	t.Parallel()
	w := newWorld()
	expired := sas.Sign("dps.example", "owner", w.store.policies["owner"].Keys.Primary.Reveal(), now.Add(-time.Hour))
	bearer, err := access.NewToken(w.store.instances["default"], now)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		authorization string
		instance      dps.InstanceID
		code          dps.Code // of the refusal; 0 when it is taken
	}{
		"a bearer token":           {"Bearer " + bearer, "default", 0},
		"a policy with all rights": {w.token("owner"), "default", 0},
		"a policy that may write":  {w.token("writer"), "default", dps.Unauthorized},
		"a policy that may read":   {w.token("reader"), "default", dps.Unauthorized},
		"an expired token":         {expired, "default", dps.Unauthorized},
		"another key":              {sas.Sign("dps.example", "owner", []byte("another"), now.Add(time.Hour)), "default", dps.Unauthorized},
		"another host":             {sas.Sign("other.example", "owner", w.store.policies["owner"].Keys.Primary.Reveal(), now.Add(time.Hour)), "default", dps.Unauthorized},
		"an unknown policy":        {sas.Sign("dps.example", "ghost", []byte("any"), now.Add(time.Hour)), "default", dps.Unauthorized},
		"an unknown instance":      {w.token("owner"), "ghost", dps.InstanceNotFound},
		"nothing":                  {"", "default", dps.Unauthorized},
	} {
		err := w.Manage(request("/subscriptions/x", tt.authorization), tt.instance)
		if (err != nil) != (tt.code != 0) || (err != nil && dps.CodeOf(err) != tt.code) {
			t.Errorf("%s: %v, want %v", name, err, tt.code)
		}
	}
	if err := w.Control(request("/subscriptions/x", w.token("owner")), "default"); dps.CodeOf(err) != dps.Unauthorized {
		t.Errorf("Control took a policy: %v", err)
	}
}
