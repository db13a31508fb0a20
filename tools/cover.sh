#!/usr/bin/env bash
# cover.sh MIN [FLAG...] PACKAGE...: runs 'go test -cover FLAG... PACKAGE...', and fails
# when the tests of one of the packages cover less than MIN percent of its statements.
# Each package is measured by its own tests. A package starts with "./".
set -euo pipefail

min=$1
shift
output=$(go test -cover "$@") || { echo "$output"; exit 1; }
echo "$output"

want=0
for argument; do
    [[ $argument != ./* ]] || want=$((want + 1))
done
awk -v min="$min" -v want="$want" '
    match($0, /coverage: [0-9.]+% of statements/) {
        measured++
        percent = substr($0, RSTART + 10) + 0
        if (percent < min) {
            printf "cover: %s %% is below %s %%: %s\n", percent, min, $0
            failed = 1
        }
    }
    END {
        if (measured != want) {
            printf "cover: measured %d of %d packages\n", measured, want
            failed = 1
        }
        exit failed
    }' <<<"$output"
