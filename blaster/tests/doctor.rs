//! Doctor and `--tune`, end to end: a run that cannot work here works once the machine is put right, and the machine is as before afterwards,
//! however the run ended. Each test is a script in a network namespace of its own, whose sysctls are too; it fails at the first command
//! that does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A target, and a hundred ports to reach it from.
const PRELUDE: &str = r#"
set -eu
ip link set lo up
export BLASTER_STATE="$DIR/state"
ports() { tr '\t' ' ' </proc/sys/net/ipv4/ip_local_port_range; }
echo '20000 20099' >/proc/sys/net/ipv4/ip_local_port_range
"$BLASTER" sink --listen 127.0.0.1:3000 >"$DIR/sink" 2>&1 &
sink=$!
trap 'kill -9 $sink 2>/dev/null || true' EXIT
plan='--target 127.0.0.1:3000 --rps 200 -c 150 --tape 16'
# until COMMAND…: it must come true in a while.
wait_until() { n=0; until "$@"; do n=$((n + 1)); [ $n -lt 3000 ] || { echo "never: $*"; cat "$DIR"/run 2>/dev/null; exit 1; }; sleep 0.01; done; }
has() { [ "$(ports)" = "$1" ]; }
wait_until grep -q 3000 "$DIR/sink"
run() { "$BLASTER" run $plan -d 300ms --quiet --allow-invalid "$@"; }
doctor() { "$BLASTER" doctor $plan "$@"; }
# fails STATUS COMMAND…: it must end so.
fails() { wanted=$1; shift; status=0; "$@" || status=$?; [ "$status" = "$wanted" ] || { echo "$* ended with $status"; exit 1; }; }
is_ports() { [ "$(ports)" = "$1" ] || { echo "ports are $(ports), not $1"; exit 1; }; }
as_before() { is_ports '20000 20099'; [ ! -e "$DIR/state/run.state" ]; [ ! -e "$DIR/state/tuning.state" ]; }
"#;

fn in_namespace(name: &str, script: &str) {
    let folder: PathBuf =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the target directory can be written");
    let Output { status, stdout, stderr } = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", &format!("{PRELUDE}{script}")])
        .env("BLASTER", env!("CARGO_BIN_EXE_blaster"))
        .env("DIR", &folder)
        .output()
        .expect("unshare (util-linux) is here");
    let _ = std::fs::remove_dir_all(&folder);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if stderr.starts_with("unshare:") {
        // Past the test runner, which hides what passing tests print.
        let line = format!("SKIPPED: this user may not make a network namespace, {name} was not tested\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    for line in stderr.lines().filter(|line| line.starts_with("SKIPPED: ")) {
        let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    }
}

#[test]
fn what_lacks_ports_works_after_a_fix_and_all_is_as_before_after_an_undo() {
    in_namespace(
        "fix",
        r#"
fails 2 run
fails 1 doctor --json "$DIR/doctor.json" >"$DIR/table"
grep -q '✗ net.ipv4.ip_local_port_range: 100, wanted 150' "$DIR/table"
grep -q 'gives out *first: ports to the target: there for 66 % of the plan' "$DIR/table"
grep -q '"first": "ports"' "$DIR/doctor.json"
doctor --fix
is_ports '1024 65535'
run
doctor >"$DIR/table"
grep -q 'ready' "$DIR/table"
doctor --undo
as_before
fails 2 run
doctor --undo
"#,
    );
}

#[test]
fn a_tuned_run_works_says_what_was_set_and_leaves_nothing() {
    in_namespace(
        "tune",
        r#"
run --tune --json "$DIR/report.json"
as_before
grep -q 'net.ipv4.ip_local_port_range: 20000 20099 -> 1024 65535' "$DIR/report.json"
"#,
    );
}

#[test]
fn an_interrupted_run_puts_back_and_a_killed_one_is_put_back_by_the_next() {
    in_namespace(
        "kill",
        r#"
begin() { env --default-signal=HUP "$BLASTER" run $plan -d 60s --no-progress --tune >"$DIR/run" 2>&1 & run=$!; wait_until has '1024 65535'; }
begin
# Another that would tune the same machine is told who does.
fails 2 run --tune 2>"$DIR/told"
grep -q "process $run has tuned this machine" "$DIR/told"
fails 2 doctor --undo 2>"$DIR/told"
fails 2 doctor --fix 2>"$DIR/told"
is_ports '1024 65535'
kill -INT $run
fails 130 wait $run
as_before
begin
kill -9 $run
wait $run || true
is_ports '1024 65535'
fails 2 run 2>"$DIR/told"
grep -q 'of a run that was killed: put back' "$DIR/told"
as_before
# A terminal that hangs up ends a run like Ctrl-C; and any start puts back.
begin
kill -HUP $run
fails 130 wait $run
as_before
begin
kill -9 $run
wait $run || true
"$BLASTER" payloads list >/dev/null 2>"$DIR/told"
grep -q 'of a run that was killed: put back' "$DIR/told"
as_before
"#,
    );
}

#[test]
fn ready_means_that_the_ports_that_are_left_suffice_for_the_target_that_gets_most() {
    in_namespace(
        "shares",
        r#"
"$BLASTER" sink --listen 127.0.0.1:3001 >"$DIR/other" 2>&1 &
other=$!
trap 'kill -9 $sink $other 2>/dev/null || true' EXIT
wait_until grep -q 3001 "$DIR/other"
plan='--rps 200 --tape 16 -c 120 http://127.0.0.1:3000/=9 http://127.0.0.1:3001/=1'
fails 2 run
fails 1 doctor >"$DIR/table"
plan='--rps 200 --tape 16 -c 120 http://127.0.0.1:3000/ http://127.0.0.1:3001/'
run
doctor >"$DIR/table"
echo 20000-20059 >/proc/sys/net/ipv4/ip_local_reserved_ports
fails 2 run
fails 1 doctor >"$DIR/table"
grep -q 'gives out *first: ports' "$DIR/table"
"#,
    );
}

#[test]
fn what_a_control_group_leaves_of_memory_is_what_there_is() {
    in_namespace(
        "memory",
        r#"
folder=/sys/fs/cgroup/memory limit=memory.limit_in_bytes
[ -d $folder ] || folder=/sys/fs/cgroup limit=memory.max
group=$folder/blaster-test-$$
mkdir $group 2>/dev/null && echo 100M >$group/$limit 2>/dev/null && sh -c 'echo $$ >'$group/cgroup.procs 2>/dev/null || {
    rmdir $group 2>/dev/null || true
    echo 'SKIPPED: no control group of memory can be made here, what it leaves was not tested' >&2
    exit 0
}
trap 'kill -9 $sink 2>/dev/null || true; rmdir $group' EXIT
fails 1 sh -c 'echo $$ >'$group/cgroup.procs'; exec "$BLASTER" doctor --target 127.0.0.1:3000 --rps 200 -c 20000 --tape 16' >"$DIR/table"
cat "$DIR/table"
grep -q '✗ memory: ' "$DIR/table"
grep -q 'its control group leaves it' "$DIR/table"
"#,
    );
}

#[test]
fn what_cannot_be_written_is_told_and_nothing_is_changed() {
    in_namespace(
        "refused",
        r#"
mount -o bind,ro /proc/sys /proc/sys 2>/dev/null || exit 0
fails 2 run --tune 2>"$DIR/told"
grep -q 'run as root' "$DIR/told"
umount /proc/sys
as_before
"#,
    );
}

#[test]
fn a_doctor_that_is_stopped_leaves_nothing_behind() {
    in_namespace(
        "stopped",
        r#"
        mkdir "$DIR/tmp"
        TMPDIR="$DIR/tmp" "$BLASTER" doctor $plan >"$DIR/run" 2>&1 &
        asked=$!
        is_at_work() { [ -n "$(ls "$DIR/tmp")" ]; }
        wait_until is_at_work
        kill -TERM $asked
        fails 130 wait $asked
        [ -z "$(ls "$DIR/tmp")" ]
        "#,
    );
}

#[test]
fn what_a_run_raises_for_itself_keeps_no_doctor_from_measuring() {
    in_namespace(
        "soft",
        r#"
        echo '20000 20999' >/proc/sys/net/ipv4/ip_local_port_range
        (ulimit -Sn 120; run; doctor >"$DIR/run")
        grep -q 'can send' "$DIR/run"
        ! grep -q 'not measured' "$DIR/run"
        "#,
    );
}

#[test]
fn a_killed_run_that_nobody_buries_is_put_back_too() {
    in_namespace(
        "unburied",
        r#"
        # Its parent becomes somebody who does not wait for it.
        (
            "$BLASTER" run $plan -d 60s --no-progress --tune >"$DIR/run" 2>&1 &
            echo $! >"$DIR/pid"
            exec sleep 60
        ) &
        parent=$!
        wait_until has '1024 65535'
        kill -9 "$(cat "$DIR/pid")"
        is_unburied() { grep -q '^State:.*Z' "/proc/$(cat "$DIR/pid")/status"; }
        wait_until is_unburied
        doctor --undo >"$DIR/said" 2>&1
        as_before
        kill $parent
        "#,
    );
}
