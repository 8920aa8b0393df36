#!/usr/bin/env bash
# blaster next to wrk, h2load and, where there is one, gcannon: closed loop, 64 connections, the built-in sink on CPU 0, the
# client on CPU 1. Prints a Markdown table with each tool's CPU time per request and throughput.
#
#   benches/side-by-side.sh [--quick] [--rounds N] [--seconds N]
#   GCANNON=/path/to/gcannon benches/side-by-side.sh      (github.com/MDA2AV/gcannon, built by you)
#   BLASTER=/path/to/blaster …                            (instead of building this one)
#
# What is fair about it:
# - Depth 1 is GET /health, with the same headers from all. Depths 16 and 64 are POST /events, single events: wrk gets the
#   4096 requests that blaster's tape holds (same seed), gcannon the first of them only, as it can send but one.
#   h2load cannot pipeline POSTs: its rows at depth 16 and 64 are GETs, and compared with nothing.
# - Requests are those the sink counted; CPU time is user + system time of the client's whole process, start included.
# - Tools take turns. A measurement in which neither core was above 80 % busy lost CPU time to somebody else: it is
#   repeated, at most twice, and if it stays so, kept and counted below the table.
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

rounds=5 seconds=4 repeats_max=2
while [ $# != 0 ]; do
  case $1 in
    --quick) rounds=1 seconds=1 repeats_max=0 ;;
    --rounds) rounds=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    *) fail "unknown argument $1: there are --quick, --rounds N and --seconds N" ;;
  esac
  shift
done
need wrk:wrk h2load:nghttp2-client curl:curl python3:python3 taskset:util-linux sysctl:procps
need_two_cpus
gcannon=${GCANNON:-}
[ -z "$gcannon" ] || [ -x "$gcannon" ] || fail "GCANNON=$gcannon is no program"
[ -n "$gcannon" ] || say "no GCANNON=/path/to/gcannon given: measured without it"
build_blaster
build_tape
same_congestion_control

seed=42
rows=$work/rows
repeats=0
TIMEFORMAT='%3R %3U %3S'

# measure ROUND DEPTH TOOL COMMAND…
measure() {
  local round=$1 depth=$2 tool=$3 tries idle before after sink_before sink_after stolen_before stolen_after timing wall cpu
  shift 3
  for ((tries = 0; ; tries++)); do
    before=$(sink_requests)
    sink_before=$(cpu_ticks "$sink_pid")
    stolen_before=$(stolen_ticks)
    timing=$({ time "$@" >"$work/out" 2>&1; } 2>&1) ||
      fail "$tool failed at depth $depth: $(tail -n 5 "$work/out")"
    stolen_after=$(stolen_ticks)
    sink_after=$(cpu_ticks "$sink_pid")
    after=$(sink_requests)
    ((after > before)) || fail "the sink saw no request from $tool at depth $depth: $(tail -n 5 "$work/out")"
    if grep -E 'Non-2xx|Socket errors' "$work/out" >&2; then say "… from $tool at depth $depth"; fi
    read -r wall cpu idle <<<"$(awk -v t="$timing" -v s=$((sink_after - sink_before)) 'BEGIN {
      split(t, a, " "); cpu = a[2] + a[3]; print a[1], cpu, (cpu < 0.8 * a[1] && s / 100 < 0.8 * a[1]) }')"
    if [ "$idle" = 0 ] || ((tries >= repeats_max)); then break; fi
    repeats=$((repeats + 1))
  done
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$depth" "$tool" "$round" $((after - before)) "$wall" "$cpu" \
    "$(hundredths $((sink_after - sink_before)))" "$(hundredths $((stolen_after - stolen_before)))" "$idle" >>"$rows"
  say "$(awk -v r="$round" -v d="$depth" -v t="$tool" -v n=$((after - before)) -v w="$wall" -v c="$cpu" 'BEGIN {
    printf "round %s depth %-2s %-12s %10.0f/s %7.3f µs/request", r, d, t, n / w, c * 1e6 / n }')"
}

# Clock ticks (100 a second, on every Linux there is) in seconds.
hundredths() { awk -v t="$1" 'BEGIN { print t / 100 }'; }

client() { taskset -c "$client_cpu" "$@"; }
closed_loop=("$blaster" --cores "$client_cpu" --rps max -d "${seconds}s" -c 64 --seed "$seed" --quiet)

start_sink control
url=http://$sink_host/health
"$tape" get "$sink_host" /health >"$work/get.raw"
agent=$(sed -n 's/\r$//; /^User-Agent:/p' "$work/get.raw")
for ((round = 1; round <= rounds; round++)); do
  measure "$round" 1 blaster "${closed_loop[@]}" -p 1 "$url"
  measure "$round" 1 wrk client wrk -t1 -c64 -d"${seconds}s" -H "$agent" "$url"
  [ -z "$gcannon" ] || measure "$round" 1 gcannon client "$gcannon" "http://$sink_host" --raw "$work/get.raw" -c 64 -t 1 -p 1 -d "${seconds}s" -s 200
  measure "$round" 1 h2load client h2load --h1 -t1 -c64 -m1 -D "$seconds" -H "$agent" "$url"
  for depth in 16 64; do
    measure "$round" "$depth" 'h2load (GET)' client h2load --h1 -t1 -c64 -m"$depth" -D "$seconds" -H "$agent" "$url"
  done
done
stop "$sink_pid"

start_sink event-api
url=http://$sink_host/events
"$tape" events "$sink_host" "$seed" >"$work/events.raw"
python3 - "$work" <<'PY'
import pathlib, re, sys
work = pathlib.Path(sys.argv[1])
tape = (work / "events.raw").read_bytes()
head = tape.index(b"\r\n\r\n") + 4
(work / "event.raw").write_bytes(tape[: head + int(re.search(rb"Content-Length: (\d+)", tape)[1])])
PY
for ((round = 1; round <= rounds; round++)); do
  for depth in 16 64; do
    measure "$round" "$depth" blaster "${closed_loop[@]}" -p "$depth" -T "$sink_host"
    measure "$round" "$depth" wrk client wrk -t1 -c64 -d"${seconds}s" -s "$support/pipeline.lua" "$url" -- "$depth" "$work/events.raw"
    [ -z "$gcannon" ] || measure "$round" "$depth" gcannon client "$gcannon" "http://$sink_host" --raw "$work/event.raw" -c 64 -t 1 -p "$depth" -d "${seconds}s" -s 202 --recv-buf 16384
  done
done

printf '## Side by side\n\n'
machine
{ wrk -v || true; } 2>&1 | sed -n 's/^\(wrk [^ ]*\).*/- \1/p'
printf -- '- %s\n' "$(h2load --version)"
[ -z "$gcannon" ] || printf -- '- gcannon, with --recv-buf 16384 where it pipelines; sends one request over and over\n'
printf -- '- congestion control: %s\n' "$congestion"
printf -- '- %s s a measurement; repeated because neither core was above 80 %% busy: %s\n\n' "$seconds" "$repeats"
python3 "$support/side_by_side.py" "$rows"
