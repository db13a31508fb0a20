#!/usr/bin/env bash
# bench.sh compare|million|idle|hubs: measures bin/mooring on services of its own, which start
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

# start NAME [FLAG...] serves a new data directory and waits until it listens.
start() {
    bin/mooring serve --data "$dir/$1" --https 127.0.0.1:0 --mqtt 127.0.0.1:0 --portal 127.0.0.1:0 "${@:2}" >"$dir/$1.log" 2>&1 &
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

# field NAME FILTER reads a value of what 'mooring info' says of a service.
field() { bin/mooring info --data "$dir/$1" --json | python3 -c "import json, sys; print(json.load(sys.stdin)$2)"; }

# link ADDRESS links the hubs of the service "hubs", which listens there, to the service
# "linked", whose own hub takes no devices.
link() {
    local host key
    for i in 0 1; do
        host=$(field hubs "['hubs'][$i]['hostName']")
        key=$(field hubs "['hubs'][$i]['connectionStrings']['iothubowner'].split('SharedAccessKey=')[1]")
        bin/mooring linked-hub create --data "$dir/linked" \
            --connection-string "HostName=$host;GatewayHostName=$1;SharedAccessKeyName=iothubowner;SharedAccessKey=$key" >/dev/null
    done
    bin/mooring linked-hub update localhost --data "$dir/linked" --apply-allocation-policy false >/dev/null
}

# spent PID prints the processor time of a process so far, in milliseconds.
spent() { awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) * 1000 / hz }' "/proc/$1/stat"; }

# afar lets devices register through two hubs of another process, and through the
# service's own hub, in turn, and says what each registration cost whom.
afar() {
    local devices=${DEVICES:-4000} at round name before after hubs_before hubs_after
    start hubs --hostname hub-a.example --hostname localhost
    bin/mooring linked-hub create --data "$dir/hubs" --kind embedded --hub-name hub-b.example >/dev/null
    start linked --hub-rate 0 --hub-ca "$dir/hubs/tls/ca.cert.pem"
    start own
    at=localhost:$(field hubs "['listeners']['https'].rsplit(':', 1)[1]")
    link "$at"
    for ((round = 1; round <= rounds; round++)); do
        for name in linked own; do
            before=$(spent "${servers[$([[ $name == linked ]] && echo 1 || echo 2)]}")
            hubs_before=$(spent "${servers[0]}")
            bench --data "$dir/$name" --keep --devices "$devices" --concurrency 1000 2>"$dir/bench.log" >"$dir/bench.txt" ||
                { cat "$dir/bench.log" "$dir/bench.txt" >&2; exit 1; }
            after=$(spent "${servers[$([[ $name == linked ]] && echo 1 || echo 2)]}")
            hubs_after=$(spent "${servers[0]}")
            echo "round $round  $name: $(sed -nE '1s/.*: ([0-9.]+) per second.*/\1/p' "$dir/bench.txt") per second," \
                "$(awk -v a="$after" -v b="$before" -v n="$devices" 'BEGIN { printf "%.0f", (a - b) * 1000 / n }') µs of the service's processor each," \
                "$(awk -v a="$hubs_after" -v b="$hubs_before" -v n="$devices" 'BEGIN { printf "%.0f", (a - b) * 1000 / n }') µs of the hubs'"
        done
    done
    echo "Calls at the hubs, as the service counts them:"
    python3 - "$(field linked "['listeners']['portal']")" <<'PY'
import re, sys, urllib.request
text = urllib.request.urlopen(f"http://{sys.argv[1]}/metrics").read().decode()
calls = {}
for kind, labels, value in re.findall(r"mooring_hub_call_seconds_(sum|count)\{(.*?)\} (\S+)", text):
    key = (re.search(r'call="(.*?)"', labels)[1], re.search(r'outcome="(.*?)"', labels)[1])
    calls.setdefault(key, {"sum": 0.0, "count": 0.0})[kind] += float(value)
for (call, outcome), c in sorted(calls.items()):
    print(f"  {call}, {outcome}: {c['count']:.0f} calls, {c['sum'] / c['count'] * 1000:.2f} ms on average")
PY
}

case $mode in
hubs) afar ;;
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
    echo "usage: bench.sh compare|million|idle|hubs" >&2
    exit 2
    ;;
esac
