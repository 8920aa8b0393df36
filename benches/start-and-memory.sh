#!/usr/bin/env bash
# How soon blaster sends its first request, and how much memory it takes.
# Start: a listener on CPU 0 notes when the first bytes of a request arrive, counted from just before the process is made.
# Memory: the peak of resident memory (VmHWM) of runs against a sink in another process, at 64 and at 20,000 connections; and what
# 100,000 requests of the mixture 1:100,10:10,100:3 take while they are sent (VmRSS).
#
#   benches/start-and-memory.sh [--quick]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

starts=21 seconds=5 connections=20000
case ${1:-} in
  '') ;;
  --quick) starts=3 seconds=1 connections=2000 ;;
  *) fail "unknown argument $1: there is --quick" ;;
esac
need curl:curl python3:python3 taskset:util-linux sysctl:procps
need_two_cpus
build_blaster
build_tape
# blaster and the sink each want a descriptor a connection. Raising the hard limit takes root, and containers may forbid it:
# then it is as many connections as fit, and the table says how many.
ulimit -Hn 65536 2>/dev/null || true
set_for_now net.ipv4.ip_local_port_range '10000 65535' ||
  say 'cannot widen ip_local_port_range: ports still in TIME_WAIT from an earlier run may be missed'
descriptors=$(ulimit -Hn)
ulimit -Sn "$descriptors"
if [ "$descriptors" != unlimited ] && ((connections > descriptors - 500)); then
  connections=$((descriptors - 500))
  say "only $descriptors descriptors are allowed: $connections connections instead of 20000"
fi
((connections >= 1000)) || fail "want at least 1500 descriptors, the limit is $descriptors: ulimit -Hn"

printf '## Start and memory\n\n'
machine
printf '\n'
python3 "$support/start_and_memory.py" start "$blaster" "$client_cpu" "$sink_cpu" "$starts"
start_sink event-api
tape_bytes=$("$tape" events "$sink_host" | wc -c)
printf '\nThe tape is %s bytes.\n\n' "$tape_bytes"
python3 "$support/start_and_memory.py" memory "$blaster" "$client_cpu" "$sink_host" "$tape_bytes" "$seconds" "$connections"
printf '\n'
python3 "$support/start_and_memory.py" tape "$blaster" "$client_cpu" "$sink_host" "$seconds"
