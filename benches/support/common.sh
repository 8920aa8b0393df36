# shellcheck shell=bash
# What the scripts share: they source it. Linux only, loopback only. Processes started here are the only ones ended here.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
support=$root/benches/support
target=${CARGO_TARGET_DIR:-$root/target}
blaster=${BLASTER:-$target/release/blaster}
tape=$target/release/tape
: "${support:?}" "${tape:?}"
sink_cpu=0
client_cpu=1
work=$(mktemp -d "${TMPDIR:-/tmp}/blaster-bench.XXXXXX")
started=()
settings_before=()

say() { printf '%s\n' "$*" >&2; }
fail() { say "${0##*/}: $*"; exit 2; }

tidy_up() {
  local status=$? pid setting
  trap - EXIT INT TERM
  for pid in "${started[@]}"; do stop "$pid"; done
  for setting in "${settings_before[@]}"; do sysctl -qw "$setting" || true; done
  rm -rf "$work"
  exit "$status"
}
trap tidy_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Ends a process this script started, at the latest after two seconds.
stop() {
  local tries
  kill -TERM "$1" 2>/dev/null || return 0
  for ((tries = 0; tries < 20; tries++)); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# need COMMAND:PACKAGE…
need() {
  local each missing=()
  for each in "$@"; do
    command -v "${each%%:*}" >/dev/null || missing+=("${each##*:}")
  done
  [ ${#missing[@]} = 0 ] || fail "something is missing: apt-get install -y ${missing[*]}"
}

need_two_cpus() {
  local cpu
  for cpu in "$sink_cpu" "$client_cpu"; do
    taskset -c "$cpu" true 2>/dev/null ||
      fail "want CPUs $sink_cpu and $client_cpu, one for the target and one for the client; allowed are $(taskset -cp $$ | sed 's/.*: //')"
  done
}

# Builds what is measured, unless BLASTER names it.
build_blaster() {
  if [ -z "${BLASTER:-}" ]; then
    need cargo:cargo
    say "building blaster (release) …"
    (cd "$root" && cargo build --quiet --release -p blaster) >&2
  fi
  [ -x "$blaster" ] || fail "no blaster at $blaster"
}

# Builds what writes blaster's tape to a file: $tape.
build_tape() {
  need cargo:cargo
  (cd "$root" && cargo build --quiet --release -p benches --bin tape) >&2
}

# A port nobody listens on, below those that clients are given.
free_port() {
  python3 - <<'PY'
import random, socket
while True:
    port = random.randrange(20000, 32000)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
PY
}

# wait_for URL PID
wait_for() {
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    curl -s -o "$work/ignored" --max-time 1 "$1" && return
    kill -0 "$2" 2>/dev/null || fail "the target ended at once: $(tail -n 3 "$work/target.log")"
    sleep 0.1
  done
  fail "nothing answers at $1"
}

# start_sink PROFILE FLAGS…: sets sink_pid and sink_host.
start_sink() {
  sink_host=127.0.0.1:$(free_port)
  "$blaster" sink --listen "$sink_host" --profile "$@" --cores "$sink_cpu" >"$work/target.log" 2>&1 &
  sink_pid=$!
  started+=("$sink_pid")
  wait_for "http://$sink_host/metrics" "$sink_pid"
}

# Requests the sink has counted; those to /metrics are never among them.
sink_requests() { curl -s --max-time 5 "http://$sink_host/metrics" | awk '$1 == "sink_requests_total" { print $2 }'; }

# User and system time of a process, in clock ticks.
cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

# The two CPUs' stolen time, in clock ticks, summed.
stolen_ticks() { awk -v a="cpu$sink_cpu" -v b="cpu$client_cpu" '$1 == a || $1 == b { sum += $9 } END { print sum }' /proc/stat; }

# set_for_now NAME VALUE: changes a setting of the kernel until the script ends, if it may.
set_for_now() {
  local before
  before=$(sysctl -n "$1")
  sysctl -qw "$1=$2" 2>/dev/null || return 1
  settings_before+=("$1=$before")
}

# blaster and its sink ask for cubic on their own sockets; other tools take the machine's default. The side that
# accepts is the sink, so cubic either way; this makes the other side alike too.
same_congestion_control() {
  local now
  now=$(sysctl -n net.ipv4.tcp_congestion_control)
  if [ "$now" = cubic ]; then
    congestion="cubic on both ends, for all (the machine's default)"
  elif set_for_now net.ipv4.tcp_congestion_control cubic; then
    congestion="cubic on both ends, for all (the machine's default, $now, is put back at the end)"
  else
    congestion="blaster cubic; the other clients $now, the machine's default: run as root for the same on all"
  fi
  say "congestion control: $congestion"
}

# The machine, as Markdown.
machine() {
  printf -- '- %s, %s CPUs (%s)\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
    "$(systemd-detect-virt 2>/dev/null || echo 'virtualization unknown')"
  printf -- '- %s, Linux %s, clock source %s\n' "$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)" \
    "$(uname -r)" "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource 2>/dev/null || echo unknown)"
  printf -- '- %s, commit %s, %s\n' "$("$blaster" --version)" "$(commit)" "$(date -u +%F)"
}

commit() {
  local changed=
  [ -z "$(git -C "$root" status --porcelain 2>/dev/null)" ] || changed=' and changes'
  printf '%s%s' "$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)" "$changed"
}
