#!/usr/bin/env bash
# Says which of the programs that everything else needs is missing or too old, all at once.
set -euo pipefail

missing=0
need() { # need PROGRAM WHAT-FOR
    if ! command -v "$1" >/dev/null; then
        echo "deps: $1 is missing: $2" >&2
        missing=1
    fi
}

# atleast MINIMUM PROGRAM ARG...: the first version in what the program prints must be
# that or newer.
atleast() {
    local minimum=$1 found
    shift
    command -v "$1" >/dev/null || return 0 # need says so
    found=$("$@" 2>&1 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1 || true)
    if [ -z "$found" ] || [ "$(printf '%s\n%s\n' "$minimum" "$found" | sort -V | head -n 1)" != "$minimum" ]; then
        echo "deps: $1 is version ${found:-unknown}; $minimum or newer is required" >&2
        missing=1
    fi
}

need go "Go 1.26 or newer, https://go.dev/dl/"
need gcc "a C compiler, for the race detector (Debian: apt-get install gcc libc6-dev)"
need node "Node.js 20 or newer, for the Node.js SDK tests (Debian: apt-get install nodejs)"
need npm "npm 9 or newer, comes with Node.js (Debian: apt-get install npm)"
need python3 "Python 3.11 or newer, for the Python SDK tests (Debian: apt-get install python3-venv)"

atleast 1.26 go env GOVERSION
atleast 20.0 node --version
atleast 9.0 npm --version
atleast 3.11 python3 --version

if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "deps: python3 cannot make virtual environments (Debian: apt-get install python3-venv)" >&2
    missing=1
fi

# install PROGRAM PACKAGE installs a Debian package that no package manager of a language
# brings, where that is possible: as root, with apt-get.
install() {
    if [ ! -x "$(command -v "$1")" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "deps: $2, by apt-get"
        apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "$2" >/dev/null || true
    fi
}

chromium=${MOORING_TEST_CHROMIUM:-/usr/bin/chromium}
install "$chromium" chromium
if [ ! -x "$chromium" ]; then
    echo "deps: $chromium is missing: the browser of the portal's tests (Debian: apt-get install chromium; or name one in MOORING_TEST_CHROMIUM)" >&2
    missing=1
fi
install mosquitto_pub mosquitto-clients
need mosquitto_pub "the MQTT clients of Mosquitto (Debian: apt-get install mosquitto-clients)"
install java default-jdk-headless
need java "Java 17 or newer, for the Java SDK tests (Debian: apt-get install default-jdk-headless)"
install mvn maven
need mvn "Maven 3.8 or newer, for the Java SDKs (Debian: apt-get install maven)"
atleast 17.0 java -version
atleast 3.8 mvn --version
exit "$missing"
