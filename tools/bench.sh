#!/usr/bin/env bash
# bench.sh compare|million|idle: measures bin/mooring on services of its own, which start
# with empty data directories below .cache (a real disk: registrations are made durable)
# and loopback ports that are free, and are removed at the end.
#
# ROUNDS (5), ROUND_TIME (5s), ENROLLMENTS (1000000) and CONNECTIONS (10000) change the
# size; BENCH_ARGS goes to every 'mooring bench'.
set -euo pipefail

mode=$1
rounds=${ROUNDS:-5}
time=${ROUND_TIME:-5s}
read -ra more <<<"${BENCH_ARGS:-}"

mkdir -p .cache
dir=$(mktemp -d "$PWD/.cache/bench.XXXXXX")
servers=()
finish() {
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
        wait "$server" || true
    done
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start NAME serves a new data directory and waits until it listens.
start() {
    bin/mooring serve --data "$dir/$1" --https 127.0.0.1:0 --mqtt 127.0.0.1:0 --portal 127.0.0.1:0 >"$dir/$1.log" 2>&1 &
    servers+=($!)
    for _ in {1..100}; do
        if bin/mooring info --data "$dir/$1" >/dev/null 2>&1; then
            return
        fi
        sleep 0.1
    done
    cat "$dir/$1.log" >&2
    exit 1
}

bench() { bin/mooring bench "$@" "${more[@]}"; }

# once NAME ENROLLMENTS lets new devices register for a while, and prints the rate.
once() {
    bench --data "$dir/$1" --enrollments "$2" --keep --devices 10000 --rounds 1 --duration "$time" --poll-at-once 2>"$dir/bench.log" >"$dir/bench.txt" ||
        { cat "$dir/bench.log" "$dir/bench.txt" >&2; exit 1; }
    # The first line: "N registrations in S s: RATE per second, ...".
    sed -nE '1s/.*: ([0-9.]+) per second.*/\1/p' "$dir/bench.txt"
}

median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.1f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# against alternates between few and many enrollments.
against() {
    local many=${ENROLLMENTS:-1000000} round few large
    start few
    start many
    bench --data "$dir/few" --enrollments 1000 --keep --devices 1 --poll-at-once >/dev/null
    bench --data "$dir/many" --enrollments "$many" --keep --devices 1 --poll-at-once >/dev/null
    for ((round = 1; round <= rounds; round++)); do
        few=$(once few 1000)
        large=$(once many "$many")
        echo "round $round  1000 enrollments $few per second  $many enrollments $large per second"
        echo "$few" >>"$dir/few.rates"
        echo "$large" >>"$dir/many.rates"
        awk -v a="$large" -v b="$few" 'BEGIN { print a / b * 1000 }' >>"$dir/ratios"
    done
    echo "Medians: 1000 enrollments $(median <"$dir/few.rates") per second, $many enrollments $(median <"$dir/many.rates") per second," \
        "ratio $(median <"$dir/ratios" | awk '{ printf "%.3f", $1 / 1000 }')"
    du -h "$dir/many/mooring.db" | awk '{ print "The database with all of them: " $1 }'
}

case $mode in
compare)
    start service
    bench compare --data "$dir/service" --rounds "$rounds" --duration "$time"
    ;;
million) against ;;
idle)
    start service
    bench idle --data "$dir/service" --connections "${CONNECTIONS:-10000}"
    ;;
*)
    echo "usage: bench.sh compare|million|idle" >&2
    exit 2
    ;;
esac
