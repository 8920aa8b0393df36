#!/usr/bin/env bash
# Does what `blaster doctor` predicts come true, within 20 %? For each of ports, descriptors and rate: what it says this machine can do, and
# what a run then does. Ports and descriptors in a network namespace and under a limit of their own (root); target on CPU 0, blaster on CPU 1.
#
#   benches/doctor.sh [--quick]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

seconds=5 ports=400 descriptors=700
case ${1:-} in
  '') ;;
  --quick) seconds=1 ports=100 descriptors=300 ;;
  *) fail "unknown argument $1: there is --quick" ;;
esac
need curl:curl python3:python3 taskset:util-linux unshare:util-linux ip:iproute2
need_two_cpus
build_blaster

# predicted WHAT FLAGS…: where doctor says that ends.
predicted() {
  local what=$1
  shift
  "$blaster" doctor --json "$work/doctor.json" "$@" >/dev/null 2>&1 || [ $? = 1 ]
  python3 -c 'import json, sys; print(next(round(e["at"]) for e in json.load(open(sys.argv[1]))["prediction"]["ends"] if e["what"] == sys.argv[2]))' \
    "$work/doctor.json" "$what"
}

# most FLAGS…: the most connections that a run opens all of, found by halving.
most() {
  local low=1 high=2000 middle
  while ((high - low > 1)); do
    middle=$(((low + high) / 2))
    if "$blaster" "$@" --rps 100 -d 100ms --tape 16 -t 1 -c "$middle" --quiet --allow-invalid --json "$work/run.json" >/dev/null 2>&1; then
      low=$middle
    else
      high=$middle
    fi
  done
  echo "$low"
}

row() {
  python3 -c '
import sys
what, said, came = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
off = said / came - 1
verdict = "PASS" if abs(off) <= 0.2 else "FAIL"
print(f"| {what} | {said:,.0f} | {came:,.0f} | {off:+.1%} {verdict} |")' "$@"
}

printf '## Doctor\n\n'
machine
printf '\n| | predicted | came to | off |\n|---|---|---|---|\n'

start_sink null
rate_flags=(--cores "$client_cpu" --target "$sink_host")
said=$(predicted cpu --rps 100k -p 16 "${rate_flags[@]}")
"$blaster" "${rate_flags[@]}" -p 16 --rps max -d "${seconds}s" --quiet --allow-invalid --json "$work/run.json" >/dev/null
came=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["rate"]["completed"])' "$work/run.json")
row 'requests/s' "$said" "$came"

flags=(--cores "$client_cpu" --target "$sink_host")
if [ "$(id -u)" = 0 ]; then
  export -f predicted most
  export blaster work
  read -r said came < <(unshare --net bash -c "
    ip link set lo up
    echo 20000 $((20000 + ports - 1)) >/proc/sys/net/ipv4/ip_local_port_range
    '$blaster' sink --listen 127.0.0.1:3000 --cores $sink_cpu >/dev/null 2>&1 & sink=\$!
    until curl -s -o /dev/null 127.0.0.1:3000/; do :; done
    echo \$(predicted ports --rps 100 -t 1 --cores $client_cpu --target 127.0.0.1:3000) \$(most --cores $client_cpu --target 127.0.0.1:3000)
    kill \$sink")
  row "ports: connections to one address" "$said" "$came"
else
  say 'SKIPPED: ports (a network namespace wants root)'
fi
read -r said came < <(
  ulimit -n "$descriptors"
  echo "$(predicted descriptors --rps 100 -t 1 "${flags[@]}")" "$(most "${flags[@]}")"
)
row 'descriptors: connections' "$said" "$came"
stop "$sink_pid"
