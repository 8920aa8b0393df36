#!/usr/bin/env bash
# Are the numbers true? Every claim held against what can be computed, or against what the sink counted: accounting,
# coordinated omission, queueing, latencies, the schedule, self-knowledge and the cost of timing single requests; blaster
# on CPU 1, the sink on CPU 0. The table goes to standard output, or with --keep to benches/TRUTH.md.
# Status 1 if a claim on counts failed; without --quick, also for any other.
#
#   benches/truth.sh [--quick | --soak] [--only NAME]… [--keep]
# shellcheck source=support/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/support/common.sh"

effort='' keep='' only='' flags=()
while [ $# != 0 ]; do
  case $1 in
    --quick | --soak) effort=$1 ;;
    --only) flags+=(--only "${2:?}") && only+=" --only $2" && shift ;;
    --keep) keep=yes ;;
    *) fail "unknown argument $1: there are --quick, --soak, --only NAME and --keep" ;;
  esac
  shift
done
need cargo:cargo taskset:util-linux prlimit:util-linux ip:iproute2
need_two_cpus
build_blaster
say "building the proofs (release) …"
(cd "$root" && cargo build --quiet --release -p benches --bin truth) >&2

# Client and sink go before other processes where that is allowed; a run beside them would be measured too.
first=()
if nice -n -20 true 2>/dev/null && [ "$(nice -n -20 nice)" = -20 ]; then first=(nice -n -20); fi

status=0
"${first[@]}" "$target/release/truth" --blaster "$blaster" --work "$work" --sink-cpu "$sink_cpu" --client-cpu "$client_cpu" \
  ${effort:+"$effort"} "${flags[@]}" >"$work/table.md" || status=$?
[ "$status" -le 1 ] || exit "$status"

page() {
  cat <<TEXT
# What is claimed, and what was measured

Made by \`benches/truth.sh${effort:+ $effort}${only:+$only}\`${first:+, before other processes (nice -20)}. Theory is what can be computed before or beside the run: counts of the
other side, Lindley's recursion over recorded arrivals, a mixture, a distribution. The error is measured less theory, with the
limit it was held against; behind it stands what disturbed the run: time the hypervisor took from the two CPUs, the share
of it that the client's threads waited for a CPU, and the time that the sink's waited. A claim that fails stays in the table.

TEXT
  machine
  printf '\n'
  cat "$work/table.md"
}
if [ -n "$keep" ]; then
  # What was found about failures is written by hand: it stays below the table.
  found=$(sed -n '/^## /,$p' "$root/benches/TRUTH.md")
  { page && printf '\n%s\n' "$found"; } >"$work/page.md" && cp "$work/page.md" "$root/benches/TRUTH.md"
else
  page
fi
exit "$status"
