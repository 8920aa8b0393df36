#!/usr/bin/env bash
# Five million events a second from one core? The guides' mixture, 1:100,10:10,100:3, which carries 4.4 events a request:
# blaster on CPU 1, the sink on CPU 0.
#
# 1. 1,130,000 requests/s for 60 s into event-api, which counts every event: what was sent, answered and counted.
# 2. Its ceiling: as fast as answers come, into the null profile, which only frames requests; every event fresh, and --stale;
#    singles alone too.
# 3. The same by the size of the tape.
# 4. Every event checked by the sink: millions of them at 150,000 requests/s, and how far occurredAt is from the moment
#    the sink receives it at 1,000 requests/s.
#
#   benches/events.sh [--quick] [--runs N] [--rounds N]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

runs=3 guide_s=60 rounds=5 seconds=5 checked_s=20 tapes='256 1024 4096 16384 65536'
while [ $# != 0 ]; do
  case $1 in
    --quick) runs=1 guide_s=2 rounds=1 seconds=1 checked_s=2 tapes='1024 4096' ;;
    --runs) runs=${2:?} && shift ;;
    --rounds) rounds=${2:?} && shift ;;
    *) fail "unknown argument $1: there are --quick, --runs N and --rounds N" ;;
  esac
  shift
done
need curl:curl python3:python3 taskset:util-linux
need_two_cpus
build_blaster

mix=1:100,10:10,100:3

sink_events() { curl -s --max-time 5 "http://$sink_host/metrics" | awk '$1 == "sink_events_total" { print $2 }'; }

# run NAME N FLAGS…: leaves NAME.N.json, and in NAME.N.sink the requests, events and CPU ticks of the sink.
run() {
  local name=$work/$1.$2 requests events ticks status=0
  shift 2
  requests=$(sink_requests) events=$(sink_events) ticks=$(cpu_ticks "$sink_pid")
  "$blaster" --cores "$client_cpu" --seed 42 --json "$name.json" --quiet "$@" "$sink_host" >"$name.out" 2>&1 ||
    status=$?
  # 3 is a verdict (client-limited), and has its row; all else is a failed run.
  case $status in
    0 | 3) ;;
    *) fail "blaster ended with $status: $(tail -n 5 "$name.out")" ;;
  esac
  ticks=$(($(cpu_ticks "$sink_pid") - ticks))
  echo "$(($(sink_requests) - requests)) $(($(sink_events) - events)) $ticks" >"$name.sink"
  say "${name##*/}: $(grep -m 1 -E 'VALID|SUSPECT|CLIENT-LIMITED' "$name.out" || echo 'no verdict')"
}

start_sink event-api
for ((n = 1; n <= runs; n++)); do run guide "$n" --batch "$mix" --rps 1130000 --duration "${guide_s}s"; done
stop "$sink_pid"

start_sink null
ceiling=(--batch "$mix" --rps max --pipeline 64 --expect 200 --duration "${seconds}s")
single=(--batch 1 --rps max --pipeline 64 --expect 200 --duration "${seconds}s")
for ((n = 1; n <= rounds; n++)); do
  run fresh "$n" "${ceiling[@]}"
  run stale "$n" "${ceiling[@]}" --stale
  run single-fresh "$n" "${single[@]}"
  run single-stale "$n" "${single[@]}" --stale
  for tape in $tapes; do run "tape-$tape" "$n" "${ceiling[@]}" --tape "$tape"; done
done

stop "$sink_pid"

metric() { curl -s --max-time 5 "http://$sink_host/metrics" | awk -v name="sink_$1" '$1 == name { print $2 }'; }

# checked NAME N FLAGS…: a run into a sink of its own that checks every event.
checked() {
  start_sink event-api --validate
  run "$@"
  echo "$(metric events_invalid_total) $(metric occurred_at_skew_ms_max) $(metric occurred_at_over_2ms_total)" >"$work/$1.$2.checked"
  stop "$sink_pid"
}
for ((n = 1; n <= runs; n++)); do
  checked millions "$n" --batch "$mix" --rps 150000 --duration "${checked_s}s"
  checked modest "$n" --rps 1000 --batch 1 --duration "${checked_s}s"
done

printf '## Five million events a second\n\n'
machine
printf -- '- the mixture %s, 64 connections; %s s at 1,130,000 requests/s, %s rounds of %s s as fast as answers come, depth 64\n\n' \
  "$mix" "$guide_s" "$rounds" "$seconds"
python3 "$support/events.py" "$work"
