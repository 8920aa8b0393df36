# shellcheck shell=sh
# What check.sh, apply.sh and revert.sh share: the plan, the list, reading and writing. Plain POSIX sh and awk, nothing else.

program=${0##*/}

fail() {
  status=$1
  shift
  printf '%s: %s\n' "$program" "$*" >&2 2>/dev/null || :
  exit "$status"
}

say() { printf '%s\n' "$*"; }

# For whoever listens; nothing hangs on it.
tell() { printf '%s\n' "$*" 2>/dev/null || :; }

# Numbers of the plan; a suffix k or m, as in 50k or 1.5m.
number() {
  awk -v text="$2" -v flag="$1" -v program="$program" 'BEGIN {
    factor = 1; digits = text
    if (text ~ /[kK]$/) factor = 1000
    if (text ~ /[mM]$/) factor = 1000000
    if (factor > 1) digits = substr(text, 1, length(text) - 1)
    if (digits !~ /^[0-9]+(\.[0-9]+)?$/) {
      printf "%s: %s wants a number, as in 20000, 20k or 1.5m, not \"%s\"\n", program, flag, text | "cat >&2"
      exit 2
    }
    if (digits * factor >= 1e15) {
      printf "%s: %s is at most 999999999999999, not \"%s\"\n", program, flag, text | "cat >&2"
      exit 2
    }
    printf "%.0f\n", digits * factor
  }' || exit 2
}

defaults() {
  rps=10000 connections=64 addresses=1 churn=0 cores='' sink=0 local=0 loopback=0
  pid=$(shell_that_calls) owner='' dry_run='' persist='' allow_shared='' tsv='' skip='' only_applied=''
  knobs=$here/knobs.conf
  state=${BLASTER_STATE:-/var/lib/blaster}/tuning.state
  etc=${BLASTER_ETC:-/etc}
}

# arguments ALLOWED ARGUMENTS…: sets the variables of `defaults`. ALLOWED are the flags this script takes.
arguments() {
  allowed=" $1 "
  shift
  while [ $# != 0 ]; do
    flag=$1
    case $allowed in
      *" $flag "*) ;;
      *) fail 2 "unknown argument $flag: see README.md, or sed -n 2,20p $0" ;;
    esac
    case $flag in
      --sink) sink=1 local=1 loopback=1 ;;
      --local) local=1 loopback=1 ;;
      --own-address) local=1 loopback=0 ;;
      --dry-run) dry_run=yes ;;
      --persist) persist=yes ;;
      --allow-shared) allow_shared=yes ;;
      --tsv) tsv=yes ;;
      *)
        [ $# -gt 1 ] || fail 2 "$flag wants a value"
        value "$flag" "$2"
        shift
        ;;
    esac
    shift
  done
  [ "$addresses" -gt 0 ] || fail 2 "--addresses is 0: a target has one at least"
  [ -d "/proc/$pid" ] || fail 2 "--pid: there is no process $pid"
  if [ -z "$cores" ]; then cores=$(grep -c '^processor' /proc/cpuinfo) || cores=1; fi
  per_address=$(((connections + addresses - 1) / addresses))
  ports=$(free_ports 1024 65535)
  case $etc in /*) ;; *) etc=$PWD/$etc ;; esac
}

value() {
  case $1 in
    --rps) rps=$(number "$@") || exit 2 ;;
    --connections) connections=$(number "$@") || exit 2 ;;
    --addresses) addresses=$(number "$@") || exit 2 ;;
    --new-connections) churn=$(number "$@") || exit 2 ;;
    --cores) cores=$(number "$@") || exit 2 ;;
    --pid) pid=$(number "$@") || exit 2 ;;
    --owner) owner=$(number "$@") || exit 2 ;;
    --knobs) knobs=$2 ;;
    --state) state=$2 ;;
    --etc) etc=$2 ;;
    --skip) skip="$skip|$2|" ;;
  esac
}

# The plan's variables for awk, and expressions: see knobs.conf.
awk_plan() {
  awk -v rps="$rps" -v connections="$connections" -v per_address="$per_address" -v churn="$churn" \
    -v cores="$cores" -v sink="$sink" -v local="$local" -v loopback="$loopback" -v ports="$ports" "$@"
}

# shellcheck disable=SC2016 # awk's variables
expressions='
function plan() {
  V["rps"] = rps; V["connections"] = connections; V["per_address"] = per_address; V["churn"] = churn
  V["cores"] = cores; V["sink"] = sink; V["local"] = local; V["remote"] = 1 - local; V["loopback"] = loopback
  V["routed"] = 1 - loopback; V["ports"] = ports
}
function operand(word) {
  if (word ~ /^[0-9]+$/) return word + 0
  if (word in V) return V[word] + 0
  printf "knobs: \"%s\" is neither a number nor of the plan\n", word | "cat >&2"
  broken = 1
  exit 2
}
function calculate(text,    t, n, i, sum, sign, term) {
  n = split(text, t, " "); sign = 1; sum = 0; term = operand(t[1])
  for (i = 2; i < n; i += 2) {
    if (t[i] == "*") term *= operand(t[i + 1])
    else if (t[i] == "/") term = int(term / operand(t[i + 1]))
    else { sum += sign * term; sign = t[i] == "-" ? -1 : 1; term = operand(t[i + 1]) }
  }
  sum += sign * term
  # More than the shell can compare is as impossible.
  return sprintf("%.0f", sum > 9e18 ? 9e18 : sum)
}
function grouped(digits,    tail) {
  if (digits !~ /^-?[0-9]+$/) return digits
  while (length(digits) > 3) { tail = "," substr(digits, length(digits) - 2) tail; digits = substr(digits, 1, length(digits) - 3) }
  return digits tail
}
'

# Knobs that this plan has, a line each: name|kind|arg|form|only kind|only arg|op|wanted|set|act|stops|shared|means|fix
plan_knobs() {
  [ -r "$knobs" ] || fail 2 "cannot read $knobs: it belongs beside $program"
  # shellcheck disable=SC2016 # awk's variables
  awk_plan "$expressions"'
    BEGIN { plan(); OFS = "|" }
    function flush(    kind, arg, only, form, want, out) {
      if (!("knob" in K)) return
      if (applies) {
        kind = arg = K["from"]; sub(/ .*/, "", kind); sub(/^[^ ]+ ?/, "", arg)
        only = K["only"]; sub(/^[^ ]+ ?/, "", only)
        form = K["as"] == "" ? (op == "is" ? "word" : "number") : K["as"]
        want = op == "least" || op == "most" ? calculate(K[op]) : K[op]
        if (kind == "number") arg = calculate(arg)
        if ("enough" in K && want + 0 > calculate(K["enough"]) + 0) want = calculate(K["enough"])
        sub(/ .*/, "", K["only"])
        out = K["set"]
        if (out == "") { out = want; if (op == "is") sub(/ .*/, "", out) }
        print K["knob"], kind, arg, form, K["only"], only, op, want, out, K["act"], K["stops"], K["shared"], K["means"], K["fix"]
      }
      for (key in K) delete K[key]
    }
    /^#/ { next }
    /^[ \t]*$/ { flush(); next }
    {
      key = $1; text = $0; sub(/^[^ ]+ ?/, "", text)
      if (key == "knob") { flush(); applies = 1; op = "" }
      if (key == "least" || key == "most" || key == "is" || key == "has" || key == "listeners") op = key
      if (key == "when") {
        split(text, sides, " > ")
        if (calculate(sides[1]) + 0 <= calculate(sides[2]) + 0) applies = 0
      } else K[key] = text
    }
    END { if (!broken) flush() }
  ' "$knobs"
}

# fill TEXT NOW WANT: what stands in {} becomes numbers.
fill() {
  # shellcheck disable=SC2016 # awk's variables
  awk_plan -v text="$1" -v now="$2" -v want="$3" "$expressions"'
    BEGIN {
      plan(); V["now"] = now; V["want"] = want
      while (match(text, /[{][^}]*[}]/)) {
        inner = substr(text, RSTART + 1, RLENGTH - 2)
        result = inner == "now" && now !~ /^-?[0-9]+$/ ? now : calculate(inner)
        text = substr(text, 1, RSTART - 1) grouped(result) substr(text, RSTART + RLENGTH)
      }
      print text
    }'
}

sysctl_path() { printf '/proc/sys/%s' "$1" | tr . /; }

# one line, one space between words
flat() { tr -s ' \t\n' '   ' <"$1" 2>/dev/null | sed 's/^ //; s/ $//'; }

# read_now KIND ARG: what is there now; fails where there is no such thing. Of several files, a line each.
read_now() {
  case $1 in
    sysctl)
      path=$(sysctl_path "$2")
      [ -r "$path" ] && flat "$path"
      ;;
    limit) limit_of "$pid" "$2" hard ;;
    file)
      some=1
      # The list's patterns are meant to be split and matched.
      # shellcheck disable=SC2086
      for path in $2; do
        if [ -r "$path" ]; then some=0 && flat "$path"; fi
      done
      return $some
      ;;
    nic) read_nic "$2" ;;
    memory) awk '$1 == "MemAvailable:" { printf "%.0f\n", $2 * 1024; found = 1 } END { exit !found }' /proc/meminfo ;;
    stolen) stolen ;;
    number) say "$2" ;;
    *) fail 2 "$knobs: nobody knows how to read \"$1\"" ;;
  esac
}

# limit_of PID nofile|memlock hard|soft; -1 is unlimited
limit_of() {
  [ -r "/proc/$1/limits" ] || return 1
  awk -v what="$2" -v which="$3" '
    (what == "nofile" && /^Max open files/) || (what == "memlock" && /^Max locked memory/) {
      value = which == "hard" ? $5 : $4
      print (value == "unlimited" ? -1 : value)
    }' "/proc/$1/limits"
}

interface() { awk 'NR > 1 && $2 == "00000000" { print $1; exit }' /proc/net/route; }

read_nic() {
  nic=$(interface)
  [ -n "$nic" ] && [ -e "/sys/class/net/$nic/device" ] || return 1
  case $1 in
    queues)
      set -- "/sys/class/net/$nic/queues"/rx-*
      [ -e "$1" ] && say $#
      ;;
    xps) queues_of_no_cpu "$nic" ;;
    cpus) interrupt_cpus "$nic" ;;
    *)
      command -v ethtool >/dev/null 2>&1 || return 1
      case $1 in
        ring_max) ethtool -g "$nic" 2>/dev/null | awk '$1 == "RX:" { print $2; found = 1; exit } END { exit !found }' ;;
        ring) ethtool -g "$nic" 2>/dev/null | awk '$1 == "RX:" { n++; if (n == 2) print $2 } END { exit n < 2 }' ;;
        gro) ethtool -k "$nic" 2>/dev/null | awk '$1 == "generic-receive-offload:" { print $2; found = 1 } END { exit !found }' ;;
        usecs) ethtool -c "$nic" 2>/dev/null | awk '$1 == "rx-usecs:" && $2 ~ /^[0-9]+$/ { print $2; found = 1 } END { exit !found }' ;;
      esac
      ;;
  esac
}

# How many of several transmit queues belong to no CPU; a single one has no such file to read.
queues_of_no_cpu() {
  some='' nobodys=0
  for mask in "/sys/class/net/$1"/queues/tx-*/xps_cpus; do
    cpus=$(cat "$mask" 2>/dev/null) || continue
    some=yes
    case $cpus in *[1-9a-f]*) ;; *) nobodys=$((nobodys + 1)) ;; esac
  done
  [ -n "$some" ] && say "$nobodys"
}

# How many CPUs the interface's interrupts come to.
interrupt_cpus() {
  for irqs in "/sys/class/net/$1/device/msi_irqs" "/sys/class/net/$1/device/../msi_irqs"; do
    [ -d "$irqs" ] || continue
    for irq in "$irqs"/*; do cat "/proc/irq/${irq##*/}/effective_affinity_list" 2>/dev/null; done |
      sort -u | awk 'NF { n++ } END { if (!n) exit 1; print n }'
    return
  done
  return 1
}

# Percent of all CPU time that the hypervisor gave to others, over a second.
stolen() {
  before=$(sed -n 1p /proc/stat)
  sleep 1
  printf '%s\n%s\n' "$before" "$(sed -n 1p /proc/stat)" | awk '
    { total = 0; for (i = 2; i <= 9; i++) total += $i; if (NR == 1) { t = total; s = $9 } }
    END { if (total > t) share = 100 * ($9 - s) / (total - t); printf "%.0f\n", share }'
}

# Ports that somebody listens on, in the range that connections may come to use.
listening() {
  for table in /proc/net/tcp /proc/net/tcp6; do
    [ -r "$table" ] && cat "$table"
  done | awk '
    $4 == "0A" {
      hex = toupper(substr($2, length($2) - 3)); port = 0
      for (i = 1; i <= 4; i++) port = port * 16 + index("0123456789ABCDEF", substr(hex, i, 1)) - 1
      if (port >= 1024) print port
    }' | sort -nu
}

# ports_joined LIST: the list and what is on standard input, as the kernel writes it: 3000,8080-8081
ports_joined() {
  { say "$1" | tr , '\n'; cat; } | awk '
    /^[0-9]+-[0-9]+$/ { split($1, e, "-"); for (p = e[1]; p <= e[2]; p++) S[p + 0] = 1; next }
    /^[0-9]+$/ { S[$1 + 0] = 1 }
    END {
      for (p = 1; p <= 65536; p++) {
        if (p in S) { if (!first) first = p; continue }
        if (first) { out = out (out == "" ? "" : ",") first (p - 1 > first ? "-" (p - 1) : ""); first = 0 }
      }
      print out
    }'
}

# free_ports LOW HIGH: how many of them are not reserved, so that the kernel gives them to connections.
free_ports() {
  { flat "$(sysctl_path net.ipv4.ip_local_reserved_ports)" || :; } | tr , '\n' | awk -F - -v low="$1" -v high="$2" '
    BEGIN { free = high - low + 1 }
    /^[0-9]/ {
      from = $1 + 0; to = $NF + 0
      if (from < low) from = low + 0
      if (to > high) to = high + 0
      if (to >= from) free -= to - from + 1
    }
    END { print free }'
}

has_word() {
  case " $1 " in *" $2 "*) return 0 ;; *) return 1 ;; esac
}

# judge FORM OP WANT VALUE: sets `now`; fails if that is not as wanted.
judge() {
  now=$4
  case $1 in
    span) now=$(free_ports "${4%% *}" "${4##* }") ;;
    third) now=${4##* } ;;
    ports) now=${now:-none} ;;
  esac
  case $2 in
    least) [ "$now" = -1 ] || [ "$now" -ge "$3" ] ;;
    most) [ "$now" -le "$3" ] ;;
    is) has_word "$3" "$now" ;;
    has) has_word "$now" "$3" ;;
    listeners) [ "$(listening | ports_joined "$4")" = "$(ports_joined "$4" </dev/null)" ] ;;
    *) fail 2 "$knobs: a knob says nothing of what is wanted" ;;
  esac
}

# worst FORM OP WANT, values on standard input: judges all, and leaves the first that is not as wanted in `now`.
worst() {
  verdict=0 worst_now=''
  while IFS= read -r line; do
    if judge "$1" "$2" "$3" "$line"; then worst_now=${worst_now:-$now}; else
      verdict=1 worst_now=$now
      break
    fi
  done
  now=$worst_now
  return $verdict
}

# each_knob FUNCTION: calls it for every knob of the plan that this machine has, with these variables set: name kind arg form op want
# set act stops shared means fix, value (as read) and now (what of it counts); ok is yes or empty.
each_knob() {
  table=$(plan_knobs) || exit 2
  while IFS='|' read -r name kind arg form only only_arg op want set act stops shared means fix <&3; do
    case $skip in *"|$name|"*) continue ;; esac
    [ -z "$only_applied" ] || [ "$act" = apply ] || continue
    if [ -n "$only" ]; then
      count=$(read_now "$only" "$only_arg") || continue
      [ "${count:-0}" -gt 0 ] || continue
    fi
    value=$(read_now "$kind" "$arg") || continue
    ok=''
    if worst "$form" "$op" "$want" <<VALUES; then ok=yes; fi
$value
VALUES
    "$1"
  done 3<<TABLE
$table
TABLE
}

boot_id() { cat /proc/sys/kernel/random/boot_id; }
network_namespace() { readlink /proc/self/ns/net; }

# started PID: when it started, in ticks since boot: tells it from a later process with its number.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '{ print $20 }'; }

# read_target KIND TARGET: the value to record. A limit's target is WHICH:PID.
read_target() {
  case $1 in
    sysctl) flat "$(sysctl_path "$2")" ;;
    file) flat "$2" ;;
    limit) printf '%s:%s' "$(limit_of "${2#*:}" "${2%:*}" soft)" "$(limit_of "${2#*:}" "${2%:*}" hard)" ;;
  esac
}

# write_target KIND TARGET VALUE: writes, and reads back. What the system says of it is in `complaint`.
write_target() {
  case $1 in
    sysctl) complaint=$(write_file "$(sysctl_path "$2")" "$3" 2>&1) || return 1 ;;
    file) complaint=$(write_file "$2" "$3" 2>&1) || return 1 ;;
    limit)
      complaint=$(prlimit --pid "${2#*:}" "--${2%:*}=$(unlimited "$3")" 2>&1) || return 1
      ;;
  esac
  read_back=$(read_target "$1" "$2")
  complaint="it reads \"$read_back\" afterwards"
  [ "$read_back" = "$3" ]
}

write_file() { printf '%s\n' "$2" >"$1"; }
unlimited() { say "$1" | sed 's/-1/unlimited/g'; }

# The shell that calls, behind those who only make it root; who comes from without a container is not to be seen.
shell_that_calls() {
  process=$PPID
  while case $(cat "/proc/$process/comm" 2>/dev/null) in sudo | su | doas | pkexec) ;; *) false ;; esac; do
    process=$(sed 's/.*) //' "/proc/$process/stat" | awk '{ print $2 }')
  done
  if [ -d "/proc/$process" ]; then say "$process"; else say $$; fi
}

# is_alive PID STARTED BOOT: whether that process is still there, and not only its number, or its body.
is_alive() {
  [ "${3:-}" = "$(boot_id)" ] && [ "$(started "$1")" = "$2" ] &&
    case $(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) in '' | Z | X) false ;; esac
}

# Others who change the same machine are told who does. Leaves in `holder` who had the lock, and is no more.
refuse_others() {
  holder=$(cat "$state.lock/pid" 2>/dev/null) || holder=''
  # Three words.
  # shellcheck disable=SC2086
  if [ -n "$holder" ] && is_alive $holder; then fail 1 "process ${holder%% *} is changing this machine: wait for it"; fi
}

lock() {
  folder=$(dirname -- "$state")
  mkdir -p "$folder" 2>/dev/null || fail 1 "cannot make $folder, where the values that were are kept: run as root, or name another place with --state"
  if ! mkdir "$state.lock" 2>/dev/null; then
    [ -d "$state.lock" ] || [ -w "$folder" ] || fail 1 "cannot write in $folder: run as root, or name another place with --state"
    take_over
  fi
  if ! say "$$ $(started $$) $(boot_id)" 2>/dev/null >"$state.lock/pid"; then
    unlock
    fail 1 "cannot write in $folder: is the disk full?"
  fi
}

# The lock of one that was killed. A lock without a number is just being taken, unless it stays so; of several that come to take it over one
# makes the folder that is named after the dead; and one that comes so late that the lock is another's by then finds another number.
take_over() {
  refuse_others
  if [ -z "$holder" ]; then
    sleep 1
    refuse_others
  fi
  if mkdir "$state.lock/after.${holder%% *}" 2>/dev/null && [ "$(cat "$state.lock/pid" 2>/dev/null)" = "$holder" ]; then return; fi
  fail 1 "somebody else is taking $state.lock: try again, and remove it if it is still there"
}
unlock() { rm -rf "$state.lock"; }

# The state file holds, a line each: its version; boot, netns and owner; every change as kind|target|was|set; files of --persist, and what
# is in them without having been changed, as hold|kind|target|value.
# Of several changes to a target the first says what was, the last what was set; where somebody else has changed it in between, what he set is
# what was.
state_header='blaster tuning 1'
state_says() { awk -F '|' -v key="$1" '$1 == key { value = $2 } END { print value }' "$state"; }

# Leaves in `namespace_gone` whether what was recorded of the network went with its namespace.
check_state() {
  namespace_gone=''
  [ "$(sed -n 1p "$state")" = "$state_header" ] ||
    fail 1 "$state is not of this version: revert with the version that wrote it, or remove it"
  [ "$(state_says boot)" = "$(boot_id)" ] || return 0
  recorded=$(state_says netns)
  if [ "$recorded" = "$(network_namespace)" ]; then return; fi
  if is_somewhere "$recorded"; then
    fail 1 "$state was recorded in another network namespace, $recorded: revert there, or name another --state"
  fi
  namespace_gone=yes
}

# Whether a process, or a name, holds a network namespace.
is_somewhere() {
  if grep -qsF " $1 " /proc/[0-9]*/mountinfo; then return; fi
  number=${1#*[}
  stat -L -c %i /proc/[0-9]*/ns/net /run/netns/* /run/docker/netns/* 2>/dev/null | grep -qxF "${number%]}"
}

# kind|target|was|set, each target once, in the order of the first changes
state_changes() {
  awk -F '|' '
    $1 == "sysctl" || $1 == "file" || $1 == "limit" {
      id = $1 "|" $2
      if (!(id in was)) { was[id] = $3; order[++n] = id }
      else if (set[id] != $3) was[id] = $3
      set[id] = $4
    }
    END { for (i = 1; i <= n; i++) print order[i] "|" was[order[i]] "|" set[order[i]] }' "$state"
}
