#!/usr/bin/env bash
# cover.sh MIN PACKAGE...: fails when the tests of one of the packages cover less
# than MIN percent of its statements. Each package is measured by its own tests.
set -euo pipefail

min=$1
shift
output=$(go test -cover "$@") || { echo "$output"; exit 1; }
echo "$output"

awk -v min="$min" -v want="$#" '
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
