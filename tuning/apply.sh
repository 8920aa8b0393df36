#!/bin/sh
# Makes this machine ready for a plan, as root: all of it or nothing.
#
#   tuning/apply.sh [plan, as for check.sh] [--pid PID] [--skip KNOB]… [--dry-run] [--persist] [--allow-shared]
#                   [--state FILE] [--etc DIR] [--knobs FILE]
#
# Changes only what check.sh says is not as this plan wants it. Before each change the value that was goes to the state file
# (/var/lib/blaster/tuning.state), after it the new one is read back; if anything fails, all is put back. Applying again keeps the first
# record. What other programs feel is left alone, or refused where the plan cannot work without it, unless --allow-shared.
# Limits are raised for the process --pid (the shell that calls this), whose children inherit them.
# --persist: also after a reboot, by files in /etc/sysctl.d and /etc/security/limits.d, also what is as wanted only until then. revert.sh
# undoes all of it.
# Ends with 0 if done, 1 if it failed and all is as before, 2 if it was asked wrongly, 3 if it refused.
set -eu
here=$(dirname -- "$0")
# shellcheck source=lib.sh
. "$here/lib.sh"
defaults
arguments '--rps --connections --addresses --new-connections --cores --sink --local --own-address --pid --skip --dry-run --persist --allow-shared --state --etc --knobs --owner' "$@"

newline='
'
sysctl_file=$etc/sysctl.d/99-zz-blaster.conf
limits_file=$etc/security/limits.d/99-zz-blaster.conf
todo='' holds='' refused='' changing='' reason=''
# Whoever reads what is said here may stop when they like.
trap '' PIPE

# Of a knob that is not as wanted: kind|target|value|new value, a line each, onto `todo`. Of one that is, for --persist: onto `holds`.
collect() {
  if [ -n "$ok" ]; then
    [ -z "$persist" ] || hold
    return
  fi
  if [ "$act" != apply ]; then
    tell "for you    $name: $(fill "$means" "$now" "$want"); $(fill "$fix" "$now" "$want")"
  elif [ -n "$shared" ] && [ -z "$allow_shared" ]; then
    if [ -n "$stops" ]; then
      refused="$refused $name"
    else
      [ -n "$only_applied" ] || tell "left alone $name: $(fill "$means" "$now" "$want"); other programs would feel the change, --allow-shared makes it"
    fi
  else
    change
  fi
}

change() {
  case $kind in
    sysctl)
      case $form in
        third) set="${value% *} $want" ;;
        ports) set=$(listening | ports_joined "$value") ;;
      esac
      add sysctl "$arg" "$set"
      ;;
    limit) add limit "$arg:$pid" "$set:$set" ;;
    file)
      # The list's patterns are meant to be split and matched.
      # shellcheck disable=SC2086
      for path in $arg; do
        if [ -r "$path" ] && ! judge "$form" "$op" "$want" "$(flat "$path")"; then add file "$path" "$set"; fi
      done
      ;;
  esac
}

# What a reboot may take back: hold|kind|target|value.
hold() {
  if [ "$act" != apply ] || { [ -n "$shared" ] && [ -z "$allow_shared" ]; }; then return; fi
  case $kind in
    sysctl) [ -z "$value" ] || holds="${holds}hold|sysctl|$arg|$value$newline" ;;
    limit)
      # What processes have from the start needs no holding.
      if first=$(limit_of 1 "$arg" hard) && judge "$form" "$op" "$want" "$first"; then return; fi
      holds="${holds}hold|limit|$arg|$value$newline"
      ;;
  esac
}

add() { todo="$todo$1|$2|$(read_target "$1" "$2")|$3$newline"; }

# What cannot be written is known before anything is.
writable() {
  while IFS='|' read -r kind target _ new; do
    case $kind in
      '') ;;
      limit) can_raise_limits || fail 1 "cannot raise the limit of ${target%:*} to ${new%:*}: that takes prlimit (util-linux) and root with CAP_SYS_RESOURCE; in a container have it started with --ulimit ${target%:*}=${new%:*}; or raise it otherwise and --skip it here" ;;
      sysctl) [ -w "$(sysctl_path "$target")" ] || fail 1 "cannot write $target: run as root (in a container: have it started with --sysctl $target=\"$new\")" ;;
      file) [ -w "$target" ] || fail 1 "cannot write $target: run as root" ;;
    esac
  done <<TODO
$todo
TODO
}

can_raise_limits() {
  command -v prlimit >/dev/null 2>&1 || return 1
  # Bit 24 of the effective capabilities.
  awk '$1 == "CapEff:" { exit substr($2, length($2) - 6, 1) !~ /[13579bdf]/ }' /proc/self/status
}

done_changes=''

make_changes() {
  while IFS='|' read -r kind target was new <&3; do
    [ -n "$kind" ] || continue
    record "$kind|$target|$was|$new"
    [ "$kind" != limit ] || record "started|$target|$(started "${target#*:}")"
    # The last first: the order to put back in.
    done_changes="$kind|$target|$was$newline$done_changes"
    write_target "$kind" "$target" "$new" || give_up "cannot set $target to \"$new\": $complaint"
    tell "set        $target: $(shown "$was") -> $(shown "$new")"
  done 3<<TODO
$todo
TODO
}

shown() { if [ -n "$1" ]; then say "$1"; else say none; fi; }

record() { say "$*" 2>/dev/null >>"$state" || give_up "cannot write $state, where the values that were are kept: is the disk full?"; }

give_up() {
  reason=$1
  exit 1
}

# However it ends: all of it or nothing.
ended() {
  status=$?
  trap '' INT TERM HUP
  trap - EXIT
  set +e
  if [ -n "$changing" ]; then
    status=1
    complain "$(put_all_back)"
  fi
  unlock
  exit "$status"
}

complain() { printf '%s: %s; %s\n' "$program" "${reason:-it was ended}" "$1" >&2 2>/dev/null || :; }

# Says how far that went; what was put back is for standard error as well.
put_all_back() {
  left=''
  while IFS='|' read -r kind target was <&3; do
    [ -n "$kind" ] || continue
    if [ "$(read_target "$kind" "$target")" = "$was" ]; then continue; fi
    write_target "$kind" "$target" "$was" || left="$left $target (was \"$was\": $complaint)"
  done 3<<DONE
$done_changes
DONE
  restore_files
  if [ -n "$left" ]; then
    say "and these could not be put back:$left: $state has what was"
    return
  fi
  # A rename takes no room on a disk that may be full.
  if [ -n "$had_state" ]; then mv -f "$state.lock/before" "$state"; else rm -f "$state"; fi
  say "everything is as before"
}

persist_files='' sysctl_before='' limits_before='' had_sysctl='' had_limits=''

keep_files() {
  for file in "$sysctl_file" "$limits_file"; do
    [ ! -e "$file" ] || grep -qxF "persist|$file" "$state" 2>/dev/null ||
      fail 1 "$file is there, and was not written by an apply that $state knows: remove it first"
  done
  if [ -e "$sysctl_file" ]; then had_sysctl=yes sysctl_before=$(cat "$sysctl_file"); fi
  if [ -e "$limits_file" ]; then had_limits=yes limits_before=$(cat "$limits_file"); fi
}

restore_files() {
  [ -n "$persist_files" ] || return 0
  rm -f "$sysctl_file.new" "$limits_file.new"
  if [ -n "$had_sysctl" ]; then say "$sysctl_before" >"$sysctl_file"; else rm -f "$sysctl_file"; fi
  if [ -n "$had_limits" ]; then say "$limits_before" >"$limits_file"; else rm -f "$limits_file"; fi
}

# write_persisted FILE CONTENT; nothing is written for no content, and the file that was stays whole until the new one is.
write_persisted() {
  [ -n "$2" ] || return 0
  grep -qxF "persist|$1" "$state" || record "persist|$1"
  mkdir -p "$(dirname -- "$1")" 2>/dev/null || give_up "cannot make $(dirname -- "$1")"
  text="# Written by tuning/apply.sh --persist; tuning/revert.sh removes it.$newline$2"
  { say "$text" >"$1.new" && mv -f "$1.new" "$1"; } 2>/dev/null || give_up "cannot write $1"
  tell "persisted  $1"
}

make_persistent() {
  persist_files=yes
  while IFS= read -r line <&3; do
    [ -z "$line" ] || grep -qxF "$line" "$state" || record "$line"
  done 3<<HOLDS
$holds
HOLDS
  write_persisted "$sysctl_file" "$(sysctl_lines)"
  write_persisted "$limits_file" "$(limits_lines)"
  if state_changes | grep -q '^file|'; then tell "for you    what was set under /sys is not persisted: apply again after a reboot"; fi
  sync
}

# Lines of sysctl.d: of each what came last.
sysctl_lines() {
  awk -F '|' '
    $1 == "sysctl" { name = $2 }
    $1 == "hold" && $2 == "sysctl" { name = $3 }
    name != "" {
      if (!(name in value)) order[++n] = name
      value[name] = $4
      name = ""
    }
    END { for (i = 1; i <= n; i++) print order[i] " = " value[order[i]] }' "$state"
}

# Lines of limits.d, never below what processes have from the start; "*" does not mean root.
limits_lines() {
  nofile=$(limit_of 1 nofile hard) || nofile=0
  memlock=$(limit_of 1 memlock hard) || memlock=0
  awk -F '[|:]' -v nofile="${nofile:-0}" -v memlock="${memlock:-0}" '
    $1 == "limit" { what = $2 }
    $1 == "hold" && $2 == "limit" { what = $3 }
    what != "" {
      first = what == "nofile" ? nofile : memlock
      # Of several shells that got one the most.
      if (!(what in most)) most[what] = first + 0
      if ($NF + 0 > most[what]) most[what] = $NF + 0
      if (first == -1 || $NF == -1) endless[what] = 1
      what = ""
    }
    END {
      for (what in most) {
        value = what in endless ? "unlimited" : what == "memlock" ? int((most[what] + 1023) / 1024) : most[what]
        printf "* - %s %s\nroot - %s %s\n", what, value, what, value
      }
    }' "$state"
}

look() {
  todo='' holds='' refused=''
  each_knob collect
  [ -z "$refused" ] ||
    fail 3 "the plan needs a change of$refused, which other programs here would feel: say --allow-shared if that is right; nothing was changed"
}

nothing_to_do() { [ -z "$todo$holds" ] && { [ -z "$persist" ] || [ ! -e "$state" ]; }; }

look
if [ -n "$dry_run" ]; then
  say "$todo" | while IFS='|' read -r kind target was new; do
    [ -z "$kind" ] || say "would set  $target: $(shown "$was") -> $(shown "$new")"
  done
  say "$holds" | while IFS='|' read -r _ _ target value; do
    [ -z "$target" ] || say "would keep $target: $value, after a reboot"
  done
  exit 0
fi
refuse_others
if nothing_to_do; then
  tell "nothing to change"
  exit 0
fi
writable
lock
trap ended EXIT
trap 'give_up interrupted' INT TERM HUP
# What was read before may have been somebody else's, who was just putting it back.
only_applied=yes
look
if nothing_to_do; then
  tell "nothing to change"
  exit 0
fi
writable
had_state=''
if [ -e "$state" ]; then
  check_state
  [ -z "$namespace_gone" ] || fail 1 "$state is of a network namespace that is gone: revert.sh first"
  had_state=yes
  cp "$state" "$state.lock/before" 2>/dev/null || fail 1 "cannot write in $state.lock: is the disk full?"
fi
if [ -n "$persist" ]; then keep_files; fi
if [ -n "$owner" ] && [ -z "$(started "$owner")" ]; then fail 1 "process $owner, which this was for, is gone"; fi
changing=yes
if [ -z "$had_state" ]; then record "$state_header"; fi
if [ "$(state_says boot)" != "$(boot_id)" ]; then record "boot|$(boot_id)${newline}netns|$(network_namespace)"; fi
if [ -z "$had_state" ] && [ -n "$owner" ]; then record "owner|$owner|$(started "$owner")"; fi
make_changes
if [ -n "$persist" ]; then make_persistent; fi
changing=''
tell "revert.sh puts everything back"
