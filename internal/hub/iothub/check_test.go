package iothub_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/outbound"
	"github.com/mooring-iot/mooring/test/fakehub"
)

func TestCheckOfAGoodLink(t *testing.T) {
	t.Parallel()
	f := newFake(t, fakehub.Options{})
	seen := &watcher{}
	pool := f.pool(t, func(o *iothub.Options) { o.Observer = seen })
	if _, err := pool.Hub(f.link()).Put(t.Context(), put("a")); err != nil {
		t.Fatal(err)
	}
	before, heard := f.Devices(), len(seen.all())
	f.ForgetCalls()
	if err := pool.Check(t.Context(), f.link()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, f.Devices()); diff != "" {
		t.Errorf("the check changed something:\n%s", diff)
	}
	if got := names(f.Hub); got != "list, get twin, delete device" {
		t.Errorf("it asked %s", got)
	}
	if len(seen.all()) != heard {
		t.Errorf("metrics of a link that is only tried: %v", seen.all()[heard:])
	}
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := newFake(t, fakehub.Options{Policies: map[string]fakehub.Policy{
		"all":     fakehub.Owner(hubKey),
		"service": {Key: hubKey, Rights: []fakehub.Right{fakehub.ServiceConnect}},
		"read":    {Key: hubKey, Rights: []fakehub.Right{fakehub.RegistryRead}},
		"noWrite": {Key: hubKey, Rights: []fakehub.Right{fakehub.RegistryRead, fakehub.ServiceConnect}},
		"noTwins": {Key: hubKey, Rights: []fakehub.Right{fakehub.RegistryWrite}},
	}})
	pool := f.pool(t, nil)
	for _, tt := range []struct {
		name   string
		change func(*dps.LinkedHub)
		want   string
		number int
	}{
		{"all", func(l *dps.LinkedHub) { l.Access.KeyName = "all" }, "", 0},
		{"no such policy", func(l *dps.LinkedHub) { l.Access.KeyName = "ghost" }, `hub hub.example refuses policy "ghost": wrong key, unknown policy, or missing right RegistryRead`, 401002},
		{"another key", func(l *dps.LinkedHub) {
			l.Access.KeyName, l.Access.Key = "all", dps.NewSecret([]byte("another"))
		}, `hub hub.example refuses policy "all": wrong key`, 401002},
		{"another name", func(l *dps.LinkedHub) { l.Access.KeyName, l.HostName = "all", "other.example" }, `hub other.example refuses policy "all"`, 401002},
		{"no right to read", func(l *dps.LinkedHub) { l.Access.KeyName = "service" }, "or missing right RegistryRead", 401002},
		{"no right to twins", func(l *dps.LinkedHub) { l.Access.KeyName = "noTwins" }, `policy "noTwins" of hub hub.example lacks the right ServiceConnect`, 401002},
		{"no right to twins either", func(l *dps.LinkedHub) { l.Access.KeyName = "read" }, `policy "read" of hub hub.example lacks the right ServiceConnect`, 401002},
		{"no right to write", func(l *dps.LinkedHub) { l.Access.KeyName = "noWrite" }, `policy "noWrite" of hub hub.example lacks the right RegistryWrite`, 401002},
	} {
		link := f.link()
		tt.change(&link)
		err := pool.Check(t.Context(), link)
		checkProblem(t, tt.name, err, dps.HubRefused, tt.want)
		if err != nil && dps.FailureOf(err).Number != tt.number {
			t.Errorf("%s: number %d", tt.name, dps.FailureOf(err).Number)
		}
	}
}

// checkProblem wants an error of that code whose message has want; "" is no error.
func checkProblem(t *testing.T, name string, err error, code dps.Code, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	if dps.CodeOf(err) != code || !strings.Contains(dps.MessageOf(err), want) {
		t.Errorf("%s: %v %q, want %v with %q", name, dps.CodeOf(err), dps.MessageOf(err), code, want)
	}
}

func TestCheckSaysWhyTheHubIsNotReached(t *testing.T) {
	t.Parallel()
	f := newFake(t, fakehub.Options{})
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	stranger, err := outbound.New(outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.CloseIdleConnections)
	for _, tt := range []struct {
		name, endpoint string
		client         *http.Client
		want           string
	}{
		{"a name that is none", "no-such-hub.invalid", stranger, "host no-such-hub.invalid not found"},
		{"nobody listens", closed.Addr().String(), stranger, "connection refused"},
		{"no TLS", plain.Listener.Addr().String(), stranger, "it does not use TLS"},
		{"a CA that is not trusted", f.link().Access.Endpoint, stranger, "its certificate is signed by an unknown authority (add it with --hub-ca)"},
		{"another name in the certificate", strings.Replace(f.link().Access.Endpoint, "127.0.0.1", "localhost", 1), f.client(), "its certificate is not for localhost"},
	} {
		client := tt.client
		if tt.name == "a name that is none" {
			client = &http.Client{Transport: trip(func(*http.Request) (*http.Response, error) { // whatever resolver this machine has
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: tt.endpoint, IsNotFound: true}}
			})}
		}
		pool := iothub.NewPool(iothub.Options{Client: client, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		link := f.link()
		link.Access.Endpoint = tt.endpoint
		checkProblem(t, tt.name, pool.Check(t.Context(), link), dps.HubUnavailable, "hub hub.example cannot be used: "+tt.want)
	}
}

func TestCheckOfWhatIsNoGoodHub(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault fakehub.Fault
		code  dps.Code
		want  string
	}{
		{fakehub.Fault{Kind: fakehub.Deleted}, dps.HubRefused, "there is no hub hub.example at hub.example"},
		{fakehub.Fault{Kind: fakehub.Fail}, dps.HubUnavailable, "hub hub.example cannot be used: it returned 500"},
		{fakehub.Fault{Kind: fakehub.Throttle}, dps.Throttled, "Throttling"},
		{fakehub.Fault{Kind: fakehub.Garbage}, dps.HubUnavailable, "malformed answer"},
		{fakehub.Fault{Kind: fakehub.Redirect}, dps.HubUnavailable, "redirects are not followed"},
	} {
		hub := inMemory(fakehub.Options{})
		hub.SetFaults(tt.fault)
		checkProblem(t, string(tt.fault.Kind), poolOf(direct(hub), nil).Check(t.Context(), someLink), tt.code, tt.want)
	}
	checkProblem(t, "a web server", poolOf(says(404, nil, "404 page not found"), nil).Check(t.Context(), someLink), dps.HubRefused,
		"hub.example does not implement the registry REST API of an IoT hub (it returned 404: 404 page not found)")
	checkProblem(
		t,
		"another refusal",
		poolOf(says(400, map[string]string{"iothub-errorcode": "ArgumentInvalid"}, "bad version"), nil).Check(t.Context(), someLink),
		dps.HubRefused,
		"hub hub.example refuses (400 ArgumentInvalid): bad version",
	)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := poolOf(direct(inMemory(fakehub.Options{})), nil).Check(ctx, someLink); err == nil {
		t.Error("a check that was stopped finds the link good")
	}
}

func TestCheckSeesTheClocks(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]string{
		2 * time.Hour:  `refuses the token of policy "iothubowner": the clock of this machine is 2h0m0s behind that of the hub`,
		-2 * time.Hour: `refuses the token of policy "iothubowner": the clock of this machine is 2h0m0s ahead of that of the hub`,
		time.Minute:    `wrong key`,
	} {
		refusing := says(401, map[string]string{"Date": now.Add(skew).Format(http.TimeFormat)}, oldForm)
		pool := poolOf(refusing, func(o *iothub.Options) { o.Now = func() time.Time { return now } })
		checkProblem(t, skew.String(), pool.Check(t.Context(), someLink), dps.HubRefused, want)
	}
}
