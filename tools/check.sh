#!/usr/bin/env bash
# Says which of the programs that everything else needs is missing, all at once.
set -euo pipefail

missing=0
need() { # need PROGRAM WHAT-FOR
    if ! command -v "$1" >/dev/null; then
        echo "deps: $1 is missing: $2" >&2
        missing=1
    fi
}

need go "Go 1.26 or newer, https://go.dev/dl/"
need gcc "a C compiler, for the race detector (Debian: apt-get install gcc libc6-dev)"
need node "Node.js 20 or newer, for the device SDK tests (Debian: apt-get install nodejs)"
need npm "comes with Node.js (Debian: apt-get install npm)"
need python3 "Python 3.11 or newer, for the service SDK tests (Debian: apt-get install python3-venv)"


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
exit "$missing"
