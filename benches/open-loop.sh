#!/usr/bin/env bash
# Does blaster keep its schedule? Single-event POSTs, open loop, one core of its own (CPU 1), the sink on CPU 0:
# 1,000,000/s for 60 s, and 50,000/s without pipelining for 20 s; three runs each. Prints what was scheduled, sent and
# answered, how late the generator itself was, and next to it the CPU time that others took: the hypervisor (stolen), and
# other processes here (the time blaster's threads waited for a CPU).
#
#   benches/open-loop.sh [--quick] [--runs N]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

runs=3 million_s=60 depth_1_s=20
while [ $# != 0 ]; do
  case $1 in
    --quick) runs=1 million_s=2 depth_1_s=2 ;;
    --runs) runs=${2:?} && shift ;;
    *) fail "unknown argument $1: there are --quick and --runs N" ;;
  esac
  shift
done
need curl:curl python3:python3 taskset:util-linux
need_two_cpus
build_blaster

# run NAME N FLAGS…
run() {
  local name=$work/$1.$2 before status=0 client
  shift 2
  before=$(sink_requests)
  "$blaster" --cores "$client_cpu" --seed 42 --json "$name.json" --quiet "$@" "$sink_host" >"$name.out" 2>&1 &
  client=$!
  started+=("$client")
  taskset -c "$sink_cpu" python3 "$support/lost_time.py" "$client" "$sink_cpu" "$client_cpu" >"$name.lost"
  wait "$client" || status=$?
  # 3 is a verdict (client-limited), and has its row; all else is a failed run.
  case $status in
    0 | 3) ;;
    *) fail "blaster ended with $status: $(tail -n 5 "$name.out")" ;;
  esac
  echo $(($(sink_requests) - before)) >"$name.sink"
  say "${name##*/}: $(grep -m 1 -E 'VALID|SUSPECT|CLIENT-LIMITED' "$name.out" || echo 'no verdict')"
}

start_sink event-api
for ((n = 1; n <= runs; n++)); do run million "$n" --rps 1000000 --duration "${million_s}s"; done
for ((n = 1; n <= runs; n++)); do run depth-1 "$n" --rps 50000 --pipeline 1 --duration "${depth_1_s}s"; done

printf '## Open loop\n\n'
machine
printf -- '- 1,000,000/s for %s s and 50,000/s for %s s, 64 connections\n\n' "$million_s" "$depth_1_s"
python3 "$support/open_loop.py" "$work"
