#!/usr/bin/env bash
# Does a sweep find the limit? Of three sinks whose capacity is exact, measured by the sink itself under an overload: a queue
# served at 50 µs each, an event API with a bounded buffer, and a server that does not come back after an overload. Of nginx limited by
# limit_req, and of a one-process Node.js server, beside what doubling wrk's connections says. Target on CPU 0, blaster on CPU 1.
#
#   benches/sweep.sh [--quick] [--runs N] [--budget TIME] [--only queue|buffer|metastable|servers]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

runs=5 metastable_runs=3 budget=10m measure_s=5 wrk_s=5 only=
while [ $# != 0 ]; do
  case $1 in
    --quick) runs=1 budget=12s measure_s=1 only=queue+buffer ;;
    --runs) runs=${2:?} metastable_runs=${2:?} && shift ;;
    --budget) budget=${2:?} && shift ;;
    --only) only=${2:?} && shift ;;
    *) fail "unknown argument $1: there are --quick, --runs N, --budget TIME and --only queue|buffer|metastable|servers" ;;
  esac
  shift
done
case $only in
  '' | queue | buffer | metastable | servers | queue+buffer) ;;
  *) fail "unknown --only $only: there are queue, buffer, metastable and servers" ;;
esac
wanted() { [[ -z $only || +$only+ == *+$1+* ]]; }
PATH=$PATH:/usr/sbin
need curl:curl python3:python3 taskset:util-linux
! wanted servers || need nginx:nginx-light node:nodejs wrk:wrk
need_two_cpus
build_blaster

# sweep NAME N FLAGS…: leaves NAME.N.json.
sweep() {
  local name=$work/$1.$2 status=0
  shift 2
  "$blaster" sweep --cores "$client_cpu" --seed 42 --budget "$budget" --json "$name.json" --quiet "$@" >"$name.out" 2>&1 || status=$?
  case $status in
    0 | 3 | 99) ;;
    *) fail "the sweep ended with $status: $(tail -n 5 "$name.out")" ;;
  esac
  say "${name##*/}: $(sed -n 's/^. p99[^ ]* *//p' "$name.out" | head -n 1)"
}

# measured NAME URL RATE: what the sink answered as wanted in a second, by its own count, while RATE were offered.
measured() {
  local load
  "$blaster" --cores "$client_cpu" --rps "$3" --duration $((measure_s + 3))s -c 1024 --quiet --allow-invalid "$2" >/dev/null 2>&1 &
  load=$!
  started+=("$load")
  python3 "$support/sweep.py" capacity "http://$sink_host/metrics" "$measure_s" >"$work/$1.capacity"
  wait "$load" || true
  say "$1: the sink itself answered $(cat "$work/$1.capacity")/s"
}

names=()
if wanted queue; then
  names+=(queue)
  start_sink control --service spin:50us
  measured queue "http://$sink_host/" 30k
  for ((n = 1; n <= runs; n++)); do sweep queue "$n" --slo 'p99<20ms,errors<1%' --from 1k "http://$sink_host/"; done
  stop "$sink_pid"
fi

if wanted buffer; then
  names+=(buffer)
  start_sink event-api --capacity 5000 --buffer 100
  measured buffer "$sink_host" 8k
  for ((n = 1; n <= runs; n++)); do sweep buffer "$n" --slo 'p99<500ms,errors<1%' --from 500 "$sink_host"; done
  stop "$sink_pid"
fi

if wanted metastable; then
  names+=(metastable)
  for ((n = 1; n <= metastable_runs; n++)); do
    # A server of its own for each: one that is down would stay so.
    start_sink metastable
    echo 1000 >"$work/metastable.capacity"
    sweep metastable "$n" --slo 'p99<500ms,errors<1%' -c 1024 "http://$sink_host/"
    stop "$sink_pid"
  done
fi

# doubled NAME URL: the highest rate at which wrk keeps the objective, by doubling its connections.
doubled() {
  local connections
  : >"$work/$1.wrk"
  for ((connections = 1; connections <= 1024; connections *= 2)); do
    printf 'connections %s\n' "$connections" >>"$work/$1.wrk"
    taskset -c "$client_cpu" wrk -t1 -c"$connections" -d"${wrk_s}s" --latency ${3:+-s "$3"} "$2" >>"$work/$1.wrk"
  done
}

if wanted servers; then
  names+=(nginx node)
  host=127.0.0.1:$(free_port)
  sed "s|@WORK@|$work|; s|@HOST@|$host|" "$support/nginx-limited.conf" >"$work/nginx.conf"
  echo 2000 >"$work/nginx.capacity"
  taskset -c "$sink_cpu" nginx -p "$work" -e "$work/target.log" -c "$work/nginx.conf" &
  nginx_pid=$!
  started+=("$nginx_pid")
  wait_for "http://$host/" "$nginx_pid"
  sweep nginx 1 --slo 'p99<500ms,errors<1%' "http://$host/"
  doubled nginx "http://$host/"
  stop "$nginx_pid"

  host=127.0.0.1:$(free_port)
  taskset -c "$sink_cpu" node "$root/benches/server.js" "${host##*:}" >"$work/target.log" 2>&1 &
  started+=("$!")
  wait_for "http://$host/" "$!"
  sweep node 1 --slo 'p99<100ms,errors<1%' "$host"
  printf 'wrk.method="POST"; wrk.body=[[{"type":"page_view"}]]; wrk.headers["Content-Type"]="application/json"\n' >"$work/post.lua"
  doubled node "http://$host/events" "$work/post.lua"
fi

printf '## Sweep\n\n'
machine
printf -- '- budget %s a sweep; capacity: what the sink itself answered in a second under an overload; of nginx what limit_req says\n\n' "$budget"
python3 "$support/sweep.py" table "$work" "${names[@]}"
