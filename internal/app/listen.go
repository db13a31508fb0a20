package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/deviceapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/handshake"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/hub/embedded"
	"github.com/mooring-iot/mooring/internal/mooringapi"
	"github.com/mooring-iot/mooring/internal/mqtt"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/serviceapi"
	"github.com/mooring-iot/mooring/internal/transferapi"
	"github.com/mooring-iot/mooring/internal/wsconn"
)

// Names of the listeners, as `mooring info` shows them.
const (
	httpsListener  = "https"
	mqttListener   = "mqtt"
	portalListener = "portal"
)

// fallbackHTTPS is where https goes when the default address is not allowed.
const fallbackHTTPS = ":8443"

// Deadlines and bounds of a connection.
const (
	headerTime   = 10 * time.Second // TLS handshake, and request header
	requestTime  = 30 * time.Second // whole request
	answerTime   = 60 * time.Second
	idleTime     = 2 * time.Minute
	maxHeader    = 64 << 10
	readyTimeout = 2 * time.Second
)

// listen binds every listener.
func (a *App) listen(ctx context.Context) error {
	c := a.options.Config
	webhooks, err := a.webhooks()
	if err != nil {
		return err
	}
	a.devices = register.New(register.Options{
		Store: a.store, Observer: observer{a.metrics, a.diagnostics.statistics}, Decisions: a.diagnostics.decisions,
		Log: a.options.Log, Now: time.Now, Rate: c.RegistrationRate,
		Takeover: dps.Takeover(c.Takeover), Networks: networks(c), Hubs: a.hubs, Webhook: webhooks, WebhookBudget: c.WebhookBudget,
	})
	a.handshakes = handshake.New(handshake.Options{
		Refusals: a.diagnostics.decisions, Instance: dps.DefaultInstance, Log: a.options.Log, Now: time.Now,
	})
	a.mqtt = mqtt.New(mqtt.Options{
		Register: a.devices, Observer: a.metrics, Handshakes: a.handshakes, Log: a.options.Log, Now: time.Now,
	})
	endpoint, api := c.Hostnames[0], http.Handler(nil)
	if !c.HTTPS.Off() {
		l, err := a.listenHTTPS(ctx)
		if err != nil {
			return err
		}
		endpoint = withPort(c.Hostnames[0], l.Addr().String())
		api = a.https(endpoint)
		a.addHTTP(httpsListener, tls.NewListener(a.handshakes.Listener(l, dps.HTTPS), a.deviceTLS()), api)
	} else {
		api = a.https(endpoint)
	}
	if !c.MQTT.Off() {
		if err := a.listenMQTT(ctx); err != nil {
			return err
		}
	}
	if !c.Portal.Off() {
		if err := a.listenPortal(ctx, api, endpoint); err != nil {
			return err
		}
	}
	if len(a.servers) == 0 {
		return errors.New("nothing to listen on: https and portal are off, and the port of mqtt is in use by another program")
	}
	a.noteReach()
	return nil
}

func (a *App) addHTTP(name string, l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ConnState: a.connState(name),
		ErrorLog: slog.NewLogLogger(a.options.Log.With("listener", name).Handler(), slog.LevelDebug),
	}
	a.servers = append(a.servers, &server{
		name: name, listener: l,
		serve: func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
		stop: func(ctx context.Context) error {
			if err := srv.Shutdown(ctx); err != nil {
				return errors.Join(err, srv.Close())
			}
			return nil
		},
	})
}

// connState counts connections, and hears of handshakes that failed.
func (a *App) connState(name string) func(net.Conn, http.ConnState) {
	count := a.metrics.ConnState(name)
	return func(c net.Conn, s http.ConnState) {
		count(c, s)
		a.handshakes.ConnState(c, s)
	}
}

// listenMQTT binds the mqtt listener. Where its default address is taken by another
// program the service goes without, and says so.
func (a *App) listenMQTT(ctx context.Context) error {
	addr := a.options.Config.MQTT
	l, err := bind(ctx, "--mqtt", addr.Addr())
	if err != nil && !addr.Explicit() && errors.Is(err, syscall.EADDRINUSE) {
		note := "Port 8883 is in use by another program: MQTT is off, except over WebSocket. To use it, stop that program, or set another " +
			"address with --mqtt."
		a.notes = append(a.notes, note)
		a.options.Log.Warn("no MQTT listener", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	config := a.deviceTLS()
	config.NextProtos = nil // MQTT has no name that clients agree on
	// A device does all of its registration on one connection: a ticket to resume it
	// would cost each of them and serve none.
	config.SessionTicketsDisabled = true
	a.servers = append(a.servers, &server{
		name: mqttListener, listener: l,
		serve: func() error { return a.mqtt.Serve(l, config) },
		stop:  func(ctx context.Context) error { return errors.Join(l.Close(), a.mqtt.Shutdown(ctx)) },
	})
	return nil
}

func bind(ctx context.Context, flag, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, permitted(fmt.Errorf("%s: cannot listen on %s: %w", flag, addr, err), addr)
	}
	return l, nil
}

// listenHTTPS binds the https listener. Only the default address has a second
// choice: an explicit one is never replaced.
func (a *App) listenHTTPS(ctx context.Context) (net.Listener, error) {
	addr := a.options.Config.HTTPS
	l, err := bind(ctx, "--https", addr.Addr())
	if err == nil || addr.Explicit() || !(errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EADDRINUSE)) {
		return l, err
	}
	l, second := bind(ctx, "--https", fallbackHTTPS)
	if second != nil {
		return nil, errors.Join(err, second)
	}
	a.notes = append(a.notes, fallbackNote(err))
	return l, nil
}

// tlsConfig is what all listeners have.
func (a *App) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.tls.GetCertificate, NextProtos: []string{"http/1.1"}}
}

// https is everything on the https listener: the API is told by the first segment
// of the path, and what is left are devices, which begin with their ID scope. endpoint
// is where clients find it.
func (a *App) https(endpoint string) http.Handler {
	o, guard := a.options, a.guard()
	enrolling := enroll.New(a.store, time.Now).Allowing(webhookRules(o.Config))
	changes := audit.New(audit.Options{Store: a.store, Log: o.Log})
	service := serviceapi.New(serviceapi.Options{
		Guard: guard, Enroll: enrolling, Register: a.devices, Instance: dps.DefaultInstance, Log: o.Log, Now: time.Now,
		Audit: changes, Rate: o.Config.ManagementRate,
	})
	control := controlapi.New(controlapi.Options{
		Guard: guard, Enroll: enrolling, Configure: a.configuring(), Instance: dps.DefaultInstance, Endpoint: endpoint, Log: o.Log,
		Audit: changes,
	})
	own := mooringapi.New(mooringapi.Options{
		Guard: guard, Audit: changes, Allocator: a.devices, Registrations: a.devices, Instance: dps.DefaultInstance, Log: o.Log, Now: time.Now,
		Links: a.store, Hubs: a.devices,
		Decisions: a.diagnostics.decisions, Statistics: a.diagnostics.statistics,
		Portal: a.signin,
		Routes: transferapi.Routes(transferapi.Options{
			Guard: guard, Audit: changes, Enroll: enrolling, Instance: dps.DefaultInstance, Log: o.Log, Now: time.Now,
		}),
	})
	hub := embedded.New(embedded.Options{
		Store: a.store, Guard: guard, Hub: embedded.ByHost(a.store, dps.DefaultInstance), Log: o.Log, Now: time.Now,
	})
	device := deviceapi.New(deviceapi.Options{Register: a.devices, Log: o.Log, Now: time.Now})

	apis := make(map[string]http.Handler)
	for _, api := range []struct {
		name     string
		prefixes []string
		handler  http.Handler
	}{
		{"service", serviceapi.Prefixes(), service},
		{"control", controlapi.Prefixes(), control},
		{"hub", embedded.Prefixes(), hub},
		{"mooring", mooringapi.Prefixes(), own},
	} {
		for _, p := range api.prefixes {
			apis[strings.ToLower(p)] = a.metrics.Measure(api.name, api.handler)
		}
	}
	devices := a.metrics.Measure("device", device)
	plain := httpio.Track(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
		if api, ok := apis[strings.ToLower(first)]; ok {
			api.ServeHTTP(w, r)
			return
		}
		devices.ServeHTTP(w, r)
	}), o.Log, a.metrics)
	sockets := httpio.Track(http.HandlerFunc(a.webSocket), o.Log, a.metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isWebSocket(r) {
			sockets.ServeHTTP(w, r)
			return
		}
		plain.ServeHTTP(w, r)
	})
}

// webSocketPaths are where clients ask for a WebSocket: the Azure SDKs, Paho, and
// the .NET SDK, which names no path.
var webSocketPaths = []string{"/$iothub/websocket", "/mqtt", "/"}

func isWebSocket(r *http.Request) bool {
	path := r.URL.Path
	if path == "" {
		path = "/"
	}
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && slices.Contains(webSocketPaths, strings.ToLower(path))
}

// webSocket speaks MQTT over a WebSocket until the device leaves.
func (a *App) webSocket(w http.ResponseWriter, r *http.Request) {
	c, _, err := wsconn.Accept(w, r, "mqtt")
	if err != nil {
		a.refuseWebSocket(r, err)
		return
	}
	defer a.metrics.Connected("websocket")()
	a.mqtt.ServeConn(c, r.TLS.PeerCertificates)
}

// refuseWebSocket records a WebSocket handshake that was refused.
func (a *App) refuseWebSocket(r *http.Request, err error) {
	req := register.Request{
		Evidence: register.Evidence{Chain: r.TLS.PeerCertificates}, Transport: dps.MQTTWebSocket, TrackingID: httpio.TrackingID(r.Context()),
		Remote: r.RemoteAddr,
	}
	answer, detail := "The connection was closed.", err.Error()
	if refusal, ok := errors.AsType[*wsconn.Refusal](err); ok && refusal.Status != 0 {
		answer, detail = fmt.Sprintf("status %d: %s", refusal.Status, refusal.Text), refusal.Text
	}
	d := dps.RefusedFor(dps.ReasonWebSocketRefused, "WebSocket handshake", detail, answer, "")
	a.devices.Refused(req, d)
	a.options.Log.Info("WebSocket refused", "trackingId", req.TrackingID, "remote", r.RemoteAddr, "decision", &d)
}
