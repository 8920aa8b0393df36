#!/usr/bin/env bash
# Many users who each ask for something now and then: 200,000 connections that open at a pace and stay open, each with a request
# every 10 s. Prints how many opened, failed or had to be opened again, how long opening one took, and what blaster and the kernel
# need for it, the target's process apart.
# Root is given a network namespace of its own. A process that may not have so many descriptors shares the connections with
# others: agents of a coordinator, each against a sink of its own behind one name.
#
#   benches/connections.sh [--quick]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

connections=200000 seconds=40 connect_rate=20000
case ${1:-} in
  '') ;;
  --quick) connections=5000 seconds=3 connect_rate=10000 ;;
  *) fail "unknown argument $1: there is --quick" ;;
esac
need curl:curl python3:python3 taskset:util-linux unshare:util-linux ip:iproute2
need_two_cpus
build_blaster
coordinator=$target/release/coordinator
# Root may raise it, unless it is forbidden to: then it is as many as it is.
ulimit -Hn $((connections + 2000)) 2>/dev/null || true
descriptors=$(ulimit -Hn)
ulimit -Sn "$descriptors"
[ "$descriptors" != unlimited ] || descriptors=1000000
# Each end of a connection is one, and some files stand beside.
each=$((descriptors - 500))
((each >= 1000)) || fail "want at least 1500 descriptors, the limit is $descriptors: ulimit -Hn"
parts=$(((connections + each - 1) / each))
if ((parts > 1)); then
  say "only $descriptors descriptors are allowed to a process: $connections connections are shared out over $parts"
  (cd "$root" && cargo build --quiet --release -p coordinator) >&2
fi

if [ -z "${IN_NAMESPACE:-}" ] && unshare --net --mount true 2>/dev/null; then
  BLASTER=$blaster IN_NAMESPACE=1 unshare --net --mount "$0" "$@"
  exit
fi
if [ -n "${IN_NAMESPACE:-}" ]; then
  ip link set lo up
else
  ((parts == 1)) || fail 'sharing connections out takes a name of its own for the targets: run as root'
  say 'no network namespace of our own: connections still in TIME_WAIT from an earlier run may be missed'
fi

port=$(free_port)
# As many sinks as processes: a sink may have no more descriptors than they. In a namespace one name stands for all of them.
target_host=127.0.0.1
if ((parts > 1)); then
  target_host=sinks.test
  for ((part = 1; part <= parts; part++)); do printf '127.0.1.%d sinks.test\n' "$part"; done | cat /etc/hosts - >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
fi
sinks=()
for ((part = 1; part <= parts; part++)); do
  sink_host=127.0.0.1:$port
  ((parts == 1)) || sink_host=127.0.1.$part:$port
  held=$((connections < each ? connections + 400 : each))
  "$blaster" sink --listen "$sink_host" --profile event-api --cores "$sink_cpu" --connections "$held" >"$work/target.log" 2>&1 &
  sinks+=("$!")
  started+=("$!")
  wait_for "http://$sink_host/metrics" "$!"
done

printf '## Two hundred thousand connections\n\n'
machine

# measure TARGET PARTS CONNECTIONS SECONDS SINK…
measure() {
  local target=$1 parts=$2 connections=$3 seconds=$4
  shift 4
  printf '\n'
  python3 "$support/connections.py" "$blaster" "$coordinator" "$work" "$client_cpu" "$target" "$parts" "$connections" \
    "$connect_rate" "$seconds" "$(IFS=,; echo "$*")"
}
((parts == 1)) || measure "127.0.1.1:$port" 1 $((each / 1000 * 1000)) 10 "${sinks[0]}"
measure "$target_host:$port" "$parts" "$connections" "$seconds" "${sinks[@]}"
