package app_test

import (
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

type noObserver struct{}

func (noObserver) Committed(int, time.Duration, error) {}

// startAs starts the service of a data directory under a host name, and stops it again.
func startAs(t *testing.T, data, host string) error {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(flags)
	must(t, flags.Parse([]string{"--data", data, "--hostname", host, "--https", "127.0.0.1:0", "--mqtt", "off", "--portal", "off"}))
	c, err := config.Load(flags, func(string) string { return "" })
	must(t, err)
	a, err := app.New(t.Context(), app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return a.Close()
}

// linkIn links hubs in a data directory that nobody serves.
func linkIn(t *testing.T, data string, c dps.HubsChange) {
	t.Helper()
	key, err := seal.OpenKey(filepath.Join(data, "master.key"), false)
	must(t, err)
	s, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(data, "mooring.db"), Key: key, Observer: noObserver{}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	must(t, err)
	in, err := s.Instance(t.Context(), dps.DefaultInstance)
	must(t, err)
	change := dps.InstanceChange{Instance: in, IfMatch: in.ETag, Hubs: c}
	change.Instance.ETag = dps.NewETag()
	must(t, s.Configure(t.Context(), change))
	must(t, s.Close())
}

// The certificate has the names of embedded hubs from the start on, and info lists these
// hubs alone.
func TestEmbeddedHubNames(t *testing.T) {
	data := newData(t)
	own, policy := dps.NewEmbeddedHub(dps.DefaultInstance, dps.NewHubID(), "Hub-A.example")
	plant := dps.LinkedHub{
		Instance: dps.DefaultInstance, ID: dps.NewHubID(), Kind: dps.KindIoTHub, HostName: "plant.example", Weight: 1,
		Access: &dps.HubAccess{Endpoint: "plant.example", KeyName: "p", Key: dps.NewKey()},
	}
	linkIn(t, data, dps.HubsChange{Link: []dps.LinkedHub{own, plant}, Policies: []dps.HubPolicy{policy}})
	must(t, startAs(t, data, "dps.example"))
	// The CA of the data directory, made for localhost, permits none of them: they are in a
	// certificate under the CA that replaced it.
	files, err := filepath.Glob(filepath.Join(data, "tls", "server-ecdsa*.cert.pem"))
	must(t, err)
	var certificates []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		block, _ := pem.Decode(text)
		leaf, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		certificates = append(certificates, strings.Join(leaf.DNSNames, " "))
	}
	if !slices.Contains(certificates, "dps.example hub-a.example") {
		t.Errorf("the server certificates are for %q", certificates)
	}
	info, err := app.ReadInfo(t.Context(), data)
	must(t, err)
	var names []string
	for _, h := range info.Hubs {
		names = append(names, h.HostName)
		if !strings.HasPrefix(h.ConnectionStrings[dps.HubOwnerPolicy], "HostName="+h.HostName+":") {
			t.Errorf("connection strings of %s: %v", h.HostName, len(h.ConnectionStrings))
		}
	}
	if got := strings.Join(names, " "); got != "dps.example Hub-A.example" {
		t.Errorf("info lists %s", got)
	}
}

// The first embedded hub follows the service's name, unless another hub has it.
func TestHostNameOfAnotherHub(t *testing.T) {
	data := newData(t)
	own, policy := dps.NewEmbeddedHub(dps.DefaultInstance, dps.NewHubID(), "hub-a.example")
	linkIn(t, data, dps.HubsChange{Link: []dps.LinkedHub{own}, Policies: []dps.HubPolicy{policy}})
	err := startAs(t, data, "HUB-a.example")
	const want = "--hostname: the first embedded hub would get the name hub-a.example of another linked hub"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v", err)
	}
	linkIn(t, data, dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: own}}})
	must(t, startAs(t, data, "hub-a.example"))
}
