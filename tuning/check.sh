#!/bin/sh
# Is this machine ready for a plan? Changes nothing, needs no root.
#
#   tuning/check.sh [--rps N] [--connections N] [--addresses N] [--new-connections N] [--cores N] [--sink|--local|--own-address]
#                   [--pid PID] [--skip KNOB]… [--knobs FILE] [--tsv]
#
# --connections are all of the run's, to a target that has --addresses addresses; --new-connections are opened every second, to one
# address, all along (0: they are kept). --sink: the built-in target runs with it; --local: the target is on this machine, a process
# of its own, at an address of loopback; --own-address: likewise, at another. Limits are those of --pid (the shell that calls this). --tsv: state, knob, now, wanted,
# whether apply.sh sets it (apply) or somebody has to (tell), and what to know, for programs.
# Ends with 0 if the plan can work, 1 if it cannot, 2 if it was asked wrongly.
set -eu
here=$(dirname -- "$0")
# shellcheck source=lib.sh
. "$here/lib.sh"
defaults
arguments '--rps --connections --addresses --new-connections --cores --sink --local --own-address --pid --skip --knobs --tsv' "$@"

ready=yes settable=''

report() {
  wanted=$want
  case $op in
    listeners) want='those listened on' wanted=$want ;;
    most) wanted="at most $want" ;;
    is) wanted=$(say "$want" | sed 's/ / or /g') ;;
  esac
  if [ -n "$ok" ]; then
    state=ok text=''
  else
    text=$(fill "$means" "$now" "$want")
    if [ "$act" = tell ]; then text="$text; $(fill "$fix" "$now" "$want")"; fi
    state=costs
    if [ -n "$stops" ]; then
      state=stops ready=''
      [ "$act" = tell ] || settable=yes
    fi
  fi
  if [ -n "$tsv" ]; then
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$state" "$name" "$now" "$wanted" "$act" "$text"
  elif [ -n "$ok" ]; then
    printf 'ok     %-32s %s\n' "$name" "$now"
  else
    printf '%-6s %-32s %s, wanted %s\n       %s\n' "$state" "$name" "$now" "$wanted" "$text"
  fi
}

each_knob report
[ -n "$ready" ] && exit 0
if [ -n "$tsv" ]; then exit 1; fi
if [ -n "$settable" ]; then
  say "not ready: as root, apply.sh with the same plan sets what can be set"
else
  say "not ready: apply.sh cannot set what stops the plan; what to do is said there"
fi
exit 1
