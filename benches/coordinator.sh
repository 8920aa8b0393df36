#!/usr/bin/env bash
# Many nodes, one run: what `coordinator` promises, on one machine.
#
# 1. Start skew of two agents over 50 runs, by their common clock, next to what the run itself says of it; and whether the stated bound of
#    each clock holds the truth: plainly, with the agents' monotonic clocks hours apart (time namespaces; root), and behind a relay whose
#    ways there and back differ.
# 2. CPU time of an agent per request next to plain blaster's in the midst of a run, all threads of the process, alternating pairs.
# 3. What two agents and a target reach on this machine's CPUs: the guides' mixture and single events, open loop and closed.
# 4. The interval log, read back by another implementation of HdrHistogram (PyPI's hdrhistogram, in a venv of its own): counts are equal
#    bucket for bucket to the report's, and survive being written again.
#
#   benches/coordinator.sh [--quick] [--runs N] [--pairs N] [--only skew|cpu|ceiling|hlog]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

runs=50 crooked_runs=20 pairs=15 pair_s=3 ceiling_s=10 rounds=5 only=
while [ $# != 0 ]; do
  case $1 in
    --quick) runs=2 crooked_runs=1 pairs=1 pair_s=1 ceiling_s=1 rounds=1 ;;
    --runs) runs=${2:?} && shift ;;
    --pairs) pairs=${2:?} && shift ;;
    --only) only=${2:?} && shift ;;
    *) fail "unknown argument $1: there are --quick, --runs N, --pairs N and --only PART" ;;
  esac
  shift
done
need curl:curl python3:python3 taskset:util-linux
need_two_cpus
build_blaster
coordinator=${COORDINATOR:-$target/release/coordinator}
if [ -z "${COORDINATOR:-}" ]; then
  say "building coordinator (release) …"
  (cd "$root" && cargo build --quiet --release -p coordinator) >&2
fi
[ -x "$coordinator" ] || fail "no coordinator at $coordinator"

bench() { python3 "$support/coordinator.py" "$@"; }
wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

printf '## Many nodes\n\n'
machine

if wanted skew; then bench skew "$coordinator" "$blaster" "$work" "$runs" "$crooked_runs"; fi

if wanted cpu; then
  start_sink null
  bench cpu "$coordinator" "$blaster" "$work" "$sink_host" "$client_cpu" "$pairs" "$pair_s"
  stop "$sink_pid"
fi

if wanted ceiling; then bench ceiling "$coordinator" "$work" "$rounds" "$ceiling_s"; fi

if wanted hlog; then
  venv=$target/hdrhistogram-venv
  if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import hdrh' 2>/dev/null; then
    say "installing PyPI's hdrhistogram into $venv …"
    { python3 -m venv "$venv" && "$venv/bin/pip" --quiet --disable-pip-version-check install hdrhistogram; } >&2 || true
  fi
  if "$venv/bin/python" -c 'import hdrh' 2>/dev/null; then
    "$coordinator" run --local 2 --rps 20k -d 3s -c 8 --allow-invalid --quiet --json "$work/hlog.json" --hlog "$work/run.hlog" \
      >"$work/hlog.out" 2>&1 || fail "coordinator failed: $(tail -n 5 "$work/hlog.out")"
    "$venv/bin/python" "$support/hlog.py" "$work/run.hlog" "$work/hlog.json"
  else
    say 'SKIPPED: the interval log was not read back: no venv with hdrhistogram (python3-venv, and a way to PyPI)'
  fi
fi
