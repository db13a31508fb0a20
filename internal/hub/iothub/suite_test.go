package iothub_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/hubtest"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/test/fakehub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestHubs runs the suite against every hub there is: another one is another line.
func TestHubs(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) hubtest.World{
		"fake":                      func(t *testing.T) hubtest.World { return newFake(t, fakehub.Options{}).world(t) },
		"fake with JSON errors":     func(t *testing.T) hubtest.World { return newFake(t, fakehub.Options{JSONErrors: true}).world(t) },
		"fake with names in errors": func(t *testing.T) hubtest.World { return newFake(t, fakehub.Options{NamedBulkErrors: true}).world(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hubtest.Run(t, open)
		})
	}
}

// fake is a fake hub on a real port, with TLS.
type fake struct {
	*fakehub.Hub
	server *httptest.Server
}

const hubName = "hub.example"

var hubKey = []byte("the key of the fake hub")

func newFake(t *testing.T, o fakehub.Options) *fake {
	t.Helper()
	o.HostName = hubName
	if o.Policies == nil {
		o.Policies = map[string]fakehub.Policy{dps.HubOwnerPolicy: fakehub.Owner(hubKey)}
	}
	f := &fake{Hub: fakehub.New(o)}
	l, err := f.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Listener.Close()
	f.server.Listener = l
	f.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	f.server.StartTLS()
	t.Cleanup(func() {
		f.Hub.Close()
		f.server.CloseClientConnections()
		f.server.Close()
	})
	return f
}

// link is the hub as it is linked: by another name than the one it is dialled by.
func (f *fake) link() dps.LinkedHub {
	return dps.LinkedHub{
		Instance: dps.DefaultInstance, ID: "hub", Kind: dps.KindIoTHub, HostName: hubName, Weight: 1,
		Access: &dps.HubAccess{Endpoint: f.server.Listener.Addr().String(), KeyName: dps.HubOwnerPolicy, Key: dps.NewSecret(hubKey)},
	}
}

// client is an HTTP client as package outbound makes it, but for whom it trusts.
func (f *fake) client() *http.Client {
	c := f.server.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

func (f *fake) pool(t *testing.T, change func(*iothub.Options)) *iothub.Pool {
	t.Helper()
	o := iothub.Options{Client: f.client(), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	p := iothub.NewPool(o)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func (f *fake) world(t *testing.T) hubtest.World {
	t.Helper()
	return hubtest.World{Remote: f.pool(t, nil).Hub(f.link()), Link: f.link(), Client: f.client()}
}
