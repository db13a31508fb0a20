package app

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// knownHosts lets requests pass that name the portal by an address, by localhost or by one
// of names, and refuses others.
//
// The portal on loopback speaks plain HTTP: a page of any site could have its own name
// lead to this machine, and its script would then be of the same origin as the portal. It
// could read metrics, and try passwords from an address that counts as the operator's. A
// browser says by which name it came.
func knownHosts(names []string, next http.Handler) http.Handler {
	known := map[string]bool{"localhost": true, "": true} // HTTP/1.0 need not say; browsers do
	for _, name := range names {
		known[bareName(name)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := bareName(r.Host)
		if _, err := netip.ParseAddr(host); err == nil || known[host] || strings.HasSuffix(host, ".localhost") {
			next.ServeHTTP(w, r)
			return
		}
		http.Error(w, "Unknown host name. Use localhost, an IP address, or a name set with --hostname.",
			http.StatusMisdirectedRequest)
	})
}

// bareName is a host without port, brackets and final dot, in lower case.
func bareName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
