package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
)

// notePorts says what follows from an HTTPS port that is not 443.
const notePorts = "Devices over MQTT (port 8883) are not affected. " +
	"SDKs over HTTPS or MQTT over WebSocket use 443 and cannot be configured; " +
	"curl, the mooring commands and most service SDKs accept another port."

// fallbackNote says what the second choice of a port costs and how to get the first.
func fallbackNote(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return "Cannot bind port 443: permission denied. HTTPS is on port 8443. " + notePorts + " " + permissionHint("443")
	}
	return "Port 443 is in use by another program. HTTPS is on port 8443. " + notePorts +
		" To use 443, stop that program, or set another address with --https."
}

// permissionHint says how to allow this program, as it was started, to bind a privileged port.
func permissionHint(port string) string {
	if goruntime.GOOS != "linux" {
		return "To use port " + port + ", run with the permission to bind it."
	}
	sysctl := "sudo sysctl net.ipv4.ip_unprivileged_port_start=" + port
	program, err := os.Executable()
	if err != nil || strings.HasPrefix(program, filepath.Join(os.TempDir(), "go-build")) { // go run: another file each time
		return "To allow port " + port + " for every program until the next boot: " + sysctl
	}
	return fmt.Sprintf("To allow port %s for this binary: sudo setcap cap_net_bind_service=+ep %s (repeat it after each build), "+
		"or for every program until the next boot: %s", port, quoted(program), sysctl)
}

// quoted returns a path as a word for a shell.
func quoted(path string) string {
	if strings.ContainsAny(path, " '\"\\$`&|;<>()*?[]#~!") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

// permitted adds to the error of a privileged port how to allow it.
func permitted(err error, addr string) error {
	_, port, splitErr := net.SplitHostPort(addr)
	if splitErr == nil && errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w. %s", err, permissionHint(port))
	}
	return err
}

// noteReach says what the listeners and the host names do not do together.
func (a *App) noteReach() {
	devices := a.listener(httpsListener) != nil || a.listener(mqttListener) != nil
	if !devices {
		a.notes = append(a.notes, "HTTPS and MQTT are off: no device or SDK can connect.")
		return
	}
	if slices.ContainsFunc(a.options.Config.Hostnames, func(name string) bool { return !isLocalName(name) }) {
		return
	}
	for _, name := range []string{httpsListener, mqttListener} {
		l := a.listener(name)
		if l == nil {
			continue
		}
		if ip := addressOf(l.Addr()).Addr(); ip.IsValid() && !ip.IsLoopback() {
			a.notes = append(a.notes, fmt.Sprintf("Other machines can reach %s, but the server certificate is for %s only. "+
				"Set --hostname to the name that devices use; or, to serve this machine only, set %s.",
				l.Addr(), strings.Join(a.options.Config.Hostnames, ", "), a.loopbackFlags()))
			return
		}
	}
}

// loopbackFlags are the flags that keep the ports of this start, on the loopback address.
func (a *App) loopbackFlags() string {
	var flags []string
	for _, name := range []string{httpsListener, mqttListener} {
		if l := a.listener(name); l != nil {
			flags = append(flags, fmt.Sprintf("--%s 127.0.0.1:%d", name, addressOf(l.Addr()).Port()))
		}
	}
	return strings.Join(flags, " ")
}

func (a *App) listener(name string) net.Listener {
	for _, s := range a.servers {
		if s.name == name {
			return s.listener
		}
	}
	return nil
}

// addressOf is the zero value for an address that is not an IP address with a port.
func addressOf(a net.Addr) netip.AddrPort {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return at
}

// isLocalName reports whether a host name means the machine itself wherever it is used.
func isLocalName(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.IsLoopback()
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
