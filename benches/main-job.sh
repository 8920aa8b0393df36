#!/usr/bin/env bash
# The job blaster is for, on servers that people run: nginx answering 202 (its default keepalive_requests closes every
# connection after 1000 answers) at 10,000 and 100,000 requests/s for 30 s, and a small Node.js server as fast as it stays
# valid: the highest rate that keeps errors<0.1%,p99<100ms and a VALID verdict, found by raising the rate until it breaks and
# bisecting. Server on CPU 0, blaster on CPU 1. Prints every summary, then a table.
#
#   benches/main-job.sh [--quick]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

rates=(10000 100000) nginx_s=30 probe_s=10 confirm_s=30 bisections=5
case ${1:-} in
  '') ;;
  --quick) rates=(10000) nginx_s=2 probe_s=1 confirm_s=2 bisections=1 ;;
  *) fail "unknown argument $1: there is --quick" ;;
esac
PATH=$PATH:/usr/sbin
need nginx:nginx-light node:nodejs curl:curl python3:python3 taskset:util-linux
need_two_cpus
build_blaster
slo='errors<0.1%,p99<100ms'

# drive NAME RATE SECONDS: leaves NAME.json and NAME.out.
drive() {
  local status=0
  "$blaster" --cores "$client_cpu" --seed 42 --rps "$2" --duration "$3s" --slo "$slo" --json "$work/$1.json" --quiet \
    -T "$host" >"$work/$1.out" 2>&1 || status=$?
  case $status in
    0 | 3 | 99) ;;
    *) fail "blaster ended with $status: $(tail -n 5 "$work/$1.out")" ;;
  esac
}

# held NAME: the report is valid, and every SLO was kept.
held() {
  python3 - "$work/$1.json" <<'PY'
import json, sys
report = json.load(open(sys.argv[1]))
sys.exit(not (report["verdict"]["status"] == "valid" and all(slo["ok"] for slo in report["slo"])))
PY
}

fence=$(printf '%0.s`' 1 2 3)
show() { printf '\n### %s\n\n%s\n%s\n%s\n' "$1" "$fence" "$(grep -v '^report: ' "$work/$2.out")" "$fence"; }

printf '## The main job\n\n'
machine
printf -- '- %s, node %s\n' "$(nginx -v 2>&1 | sed 's/nginx version: //')" "$(node --version)"

host=127.0.0.1:$(free_port)
sed "s|@WORK@|$work|; s|@HOST@|$host|" "$support/nginx.conf" >"$work/nginx.conf"
taskset -c "$sink_cpu" nginx -p "$work" -e "$work/target.log" -c "$work/nginx.conf" &
nginx_pid=$!
started+=("$nginx_pid")
wait_for "http://$host/" "$nginx_pid"
names=()
for rate in "${rates[@]}"; do
  say "nginx at $rate/s for $nginx_s s"
  drive "nginx-$rate" "$rate" "$nginx_s"
  show "nginx at $rate requests/s" "nginx-$rate"
  names+=("nginx-$rate")
done
stop "$nginx_pid"

host=127.0.0.1:$(free_port)
taskset -c "$sink_cpu" node "$root/benches/server.js" "${host##*:}" >"$work/target.log" 2>&1 &
started+=("$!")
wait_for "http://$host/" "$!"
say 'node: warming up'
drive node-warm-up 2000 "$probe_s"

# probe RATE: whether it held, in one of two tries: what breaks by chance is no limit of the server's.
probe() {
  local try answer=broke
  for try in first second; do
    drive node-probe "$1" "$probe_s"
    if held node-probe; then answer=held; fi
    say "node at $1/s, $try try: $answer ($(figures node-probe))"
    [ "$answer" = broke ] || return 0
  done
  return 1
}

figures() {
  python3 - "$work/$1.json" <<'PY'
import json, sys
report = json.load(open(sys.argv[1]))
p99 = report["response_time_ns"]["p99"]
print(report["verdict"]["status"] + ", p99", "endless" if p99 is None else f"{p99 / 1e6:.1f} ms")
PY
}

rate_of() { python3 -c 'import json, sys; print(round(json.load(open(sys.argv[1]))["rate"]["offered"]))' "$work/$1.json"; }

low=0 high=4000
while ((high < 1000000)) && probe "$high"; do
  low=$high
  high=$((high * 3 / 2))
done
for ((n = 0; n < bisections; n++)); do
  middle=$(((low + high) / 2))
  if probe "$middle"; then low=$middle; else high=$middle; fi
done
broke=$high
if ((low > 0)); then
  # A short probe may flatter: what is reported must hold three times as long.
  for ((n = 0; n < 4; n++)); do
    say "node at $low/s for $confirm_s s"
    drive node "$low" "$confirm_s"
    if held node; then break; fi
    broke=$low
    low=$((low * 95 / 100))
  done
  names+=(node)
  show "Node.js at $(rate_of node) requests/s; it did not hold at $broke" node
else
  printf '\nNode.js held at no rate down to %s/s: see whether something else runs on its CPU.\n' "$broke"
fi

printf '\n| server | offered/s | ok/s | errors | reopened | answers before close | response p50 | p99 | max | verdict | SLO |\n|---|---|---|---|---|---|---|---|---|---|---|\n'
python3 - "$work" "${names[@]}" <<'PY'
import json, pathlib, sys

def ms(ns):
    return "endless" if ns is None else f"{ns / 1e6:.2f} ms"

for name in sys.argv[2:]:
    report = json.loads(pathlib.Path(sys.argv[1], f"{name}.json").read_text())
    requests, times, connections = report["requests"], report["response_time_ns"], report["connections"]
    errors = {k: v for k, v in requests["errors"].items() if v} | {"unsent": sum(requests["unsent"].values())}
    errors = ", ".join(f"{v:,} {k}" for k, v in errors.items() if v) or "none"
    slo = ", ".join(f"{slo['expr']} {'kept' if slo['ok'] else 'BROKEN'}" for slo in report["slo"])
    verdict = report["verdict"]
    print(
        f"| {name} | {report['rate']['offered']:,.0f} | {report['rate']['ok']:,.0f} | {errors} | {connections['reopened']:,} "
        f"| {connections['answers_before_close'] or '–'} | {ms(times['p50'])} | {ms(times['p99'])} | {ms(times['max'])} "
        f"| {verdict['status']}, limiter {verdict['limiter']} | {slo} |"
    )
PY
