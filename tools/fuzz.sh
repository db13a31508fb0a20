#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (10s when unset), one after the
# other, and fails on the first finding. Targets are found, not listed.
set -euo pipefail

fuzztime=${FUZZTIME:-10s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz PACKAGE TARGET runs one target, its output copied to $log.
fuzz() {
    go test -run='^$' -fuzz="^$2\$" -fuzztime="$fuzztime" "$1" 2>&1 | tee "$log"
}

# spurious says whether the last failure was the race of Go's fuzz coordinator at the
# end of -fuzztime, which is no finding: https://go.dev/issue/75804, open in Go 1.26.
spurious() {
    grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"
}

# targets prints "PACKAGE TARGET" for every fuzz target, the test files taken from go list.
targets() {
    local format='{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}'
    format+='{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}'
    go list -f "$format" ./... | while read -r package file; do
        [[ -z $package ]] || sed -nE "s|^func (Fuzz[A-Za-z0-9_]*)\(.*|$package \1|p" "$file"
    done
}

found=$(targets)
if [[ -z $found ]]; then
    echo "fuzz: no targets found" >&2
    exit 1
fi
while read -r package target; do
    echo "-- $package $target"
    if ! fuzz "$package" "$target" </dev/null; then
        spurious || exit 1
        echo "-- once more: go.dev/issue/75804"
        fuzz "$package" "$target" </dev/null
    fi
done <<<"$found"
echo "fuzz: $(wc -l <<<"$found") targets, no findings"
