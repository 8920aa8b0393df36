#!/bin/sh
# Puts back what apply.sh changed, as root, and removes what --persist wrote.
#
#   tuning/revert.sh [--dry-run] [--state FILE]
#
# What somebody else has changed since then is left as it is, and said. After a reboot without --persist there is nothing to put back
# but the record. Ends with 0 if all is as it was (also if nothing was applied), 1 if something could not be put back: the record stays.
set -eu
here=$(dirname -- "$0")
# shellcheck source=lib.sh
. "$here/lib.sh"
defaults
arguments '--dry-run --state' "$@"

# It is not ended half-way, and whoever reads what is said here may stop when they like.
trap '' PIPE
[ -n "$dry_run" ] || trap '' INT TERM HUP
[ -n "$dry_run" ] || refuse_others
if [ ! -e "$state" ]; then
  tell "nothing was applied: there is no $state"
  exit 0
fi

put_back() {
  if [ -n "$namespace_gone" ] && [ "$kind" = sysctl ] && [ "${target#net.}" != "$target" ]; then
    tell "gone       $target, with its network namespace"
    return
  fi
  if [ "$kind" = limit ]; then
    # Limits are the process's own, and end with it; so do those of its number's next owner.
    [ -n "$same_boot" ] && [ -d "/proc/${target#*:}" ] || return 0
    [ "$(awk -F '|' -v target="$target" '$1 == "started" && $2 == target { print $3; exit }' "$state")" = "$(started "${target#*:}")" ] || return 0
  fi
  value=$(read_target "$kind" "$target") || value=''
  if [ "$value" = "$was" ]; then
    tell "as it was  $target: $was"
  elif [ "$value" != "$new" ] && [ "$kind" != limit ]; then
    tell "left alone $target: it is \"$value\", apply.sh had set \"$new\" (before: \"$was\"): somebody else changed it"
  elif [ -n "$dry_run" ]; then
    tell "would set  $target: $value -> $was"
  elif write_target "$kind" "$target" "$was"; then
    tell "put back   $target: $value -> $was"
  else
    tell "FAILED     $target: cannot set it to \"$was\": $complaint"
    left="$left $target"
  fi
}

if [ -z "$dry_run" ]; then
  lock
  trap unlock EXIT
  # Somebody else may have put it back by now.
  if [ ! -e "$state" ]; then exit 0; fi
fi
check_state
same_boot='' left=''
if [ "$(state_says boot)" = "$(boot_id)" ]; then same_boot=yes; fi
# From the last change to the first.
changes=$(state_changes | awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }')
while IFS='|' read -r kind target was new <&3; do
  [ -n "$kind" ] || continue
  put_back
done 3<<CHANGES
$changes
CHANGES

files=$(awk -F '|' '$1 == "persist" { print $2 }' "$state")
while IFS= read -r file <&3; do
  if [ -z "$file" ] || [ ! -e "$file" ]; then continue; fi
  if [ -n "$dry_run" ]; then
    tell "would remove $file"
  elif rm -f "$file" 2>/dev/null; then
    tell "removed    $file"
  else
    left="$left $file"
  fi
done 3<<FILES
$files
FILES
[ -z "$left" ] || fail 1 "not all is as it was:$left: run as root; $state has what was"
[ -n "$dry_run" ] || rm -f "$state"
