package app_test

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/config"
)

func TestPortalGivesWayToAnotherProgram(t *testing.T) {
	// Whoever has the port already will do as the other program.
	if l, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil {
		t.Cleanup(func() { must(t, l.Close()) })
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(flags)
	must(t, flags.Parse([]string{"--data", filepath.Join(t.TempDir(), "data"), "--mqtt", "off", "--https", "127.0.0.1:0"}))
	c, err := config.Load(flags, func(string) string { return "" })
	must(t, err)
	a, err := app.New(t.Context(), app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	info, err := a.Info(t.Context())
	must(t, err)
	address := strings.TrimPrefix(info.PortalURL, "http://")
	if !strings.HasPrefix(address, "127.0.0.1:") || address == "127.0.0.1:8080" {
		t.Errorf("portal at %q, want a free port of 127.0.0.1", info.PortalURL)
	}
	if notes := strings.Join(a.Notes(), "\n"); !strings.Contains(notes, address) {
		t.Errorf("notes %q do not name %s", notes, address)
	}
}
