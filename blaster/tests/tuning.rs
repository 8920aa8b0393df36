//! `tuning/*.sh` on sysctls of their own: each test is a script in a new network namespace, which fails at the first command that does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the scripts start with: the plan lacks ports and a place in the accept queue.
const PRELUDE: &str = r#"
set -eux
plan='--connections 40000 --local --cores 1 --skip descriptors --skip memory'
# What is measured for a second is measured elsewhere.
apply() { $SHELL_UNDER_TEST "$TUNING/apply.sh" --skip 'stolen CPU time' --state "$DIR/state" --etc "$DIR/etc" "$@"; }
revert() { $SHELL_UNDER_TEST "$TUNING/revert.sh" --state "$DIR/state" "$@"; }
check() { $SHELL_UNDER_TEST "$TUNING/check.sh" --skip 'stolen CPU time' "$@"; }
get() { tr '\t' ' ' <"/proc/sys/net/$1"; }
put() { echo "$2" >"/proc/sys/net/$1"; }
all() { for name in ipv4/ip_local_port_range ipv4/ip_local_reserved_ports core/somaxconn ipv4/tcp_max_syn_backlog; do get $name; done; }
# fails STATUS COMMAND…: it must end so.
fails() { wanted=$1; shift; status=0; "$@" || status=$?; [ "$status" = "$wanted" ]; }
# What this shell would write into a lock.
own() { echo "$$ $(sed 's/.*) //' /proc/$$/stat | awk '{ print $20 }') $(cat /proc/sys/kernel/random/boot_id)"; }
put core/somaxconn 4096
all >"$DIR/before"
as_before() { all | cmp - "$DIR/before"; [ ! -e "$DIR/state" ]; [ ! -e "$DIR/state.lock" ]; }
"#;

/// Runs a script; false if this user may not make a network namespace.
fn in_namespace(name: &str, shell: &str, script: &str) -> bool {
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "tuning-{name}-{}-{}",
        shell.replace(' ', "-"),
        std::process::id()
    ));
    std::fs::create_dir_all(&folder).expect("the target directory can be written");
    let Output { status, stdout, stderr } = Command::new("unshare")
        .args(["--net", "sh", "-c", &format!("{PRELUDE}{script}")])
        .env("SHELL_UNDER_TEST", shell)
        .env("TUNING", concat!(env!("CARGO_MANIFEST_DIR"), "/../tuning"))
        .env("DIR", &folder)
        .output()
        .expect("unshare (util-linux) is here");
    let _ = std::fs::remove_dir_all(&folder);
    let stderr = String::from_utf8_lossy(&stderr);
    if stderr.starts_with("unshare:") {
        skipped(&format!("SKIPPED: this user may not make a network namespace, {name} was not tested"));
        return false;
    }
    assert!(status.success(), "{shell}, {status}\n{}\n{stderr}", String::from_utf8_lossy(&stdout));
    true
}

/// In every shell that is here.
fn in_shells(name: &str, script: &str) {
    let mut some = false;
    for shell in ["dash", "bash --posix", "busybox sh"] {
        let program = shell.split(' ').next().expect("a name");
        if Command::new(program).args(["-c", "true"]).output().is_ok() {
            some = true;
            if !in_namespace(name, shell, script) {
                return;
            }
        }
    }
    assert!(some, "no shell here");
}

/// Past the test runner, which hides what passing tests print.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "{why}");
}

#[test]
fn apply_sets_what_the_plan_lacks_and_revert_puts_it_back() {
    in_shells(
        "apply",
        r#"
        fails 1 check $plan
        apply $plan >"$DIR/said"
        grep -q 'set .*ip_local_port_range: 32768 60999 -> 1024 65535' "$DIR/said"
        [ "$(get ipv4/ip_local_port_range)" = '1024 65535' ]
        [ "$(get core/somaxconn)" = 40000 ]
        check $plan
        revert
        as_before
        "#,
    );
}

#[test]
fn what_the_plan_does_not_need_is_not_touched() {
    in_shells(
        "modest",
        r#"
        apply --connections 64 --local --skip descriptors >"$DIR/said"
        grep -q 'nothing to change' "$DIR/said"
        as_before
        apply --connections 3000 --new-connections 30000 --local --skip descriptors
        [ "$(get core/somaxconn)" = 4096 ]
        [ "$(get ipv4/ip_local_port_range)" = '1024 65535' ]
        revert
        as_before
        "#,
    );
}

#[test]
fn a_second_apply_keeps_the_first_record() {
    in_shells(
        "double",
        r#"
        apply $plan
        cp "$DIR/state" "$DIR/first"
        apply $plan >"$DIR/said"
        grep -q 'nothing to change' "$DIR/said"
        cmp "$DIR/state" "$DIR/first"
        apply $plan --connections 50000
        [ "$(get core/somaxconn)" = 50000 ]
        revert
        as_before
        "#,
    );
}

#[test]
fn an_apply_that_fails_half_way_puts_everything_back() {
    in_shells(
        "half-way",
        r#"
        knob() { printf 'knob %s\nfrom %s\n%s\nact apply\nmeans x\n\n' "$@"; }
        { knob a 'sysctl net.core.somaxconn' 'least 5000'; knob b 'sysctl net.ipv4.tcp_congestion_control' 'is nosuch'; } >"$DIR/refused"
        { knob a 'sysctl net.core.somaxconn' 'least 5000'; knob b "file /dev/null" 'is kept'; } >"$DIR/forgotten"
        for knobs in refused forgotten; do
            fails 1 apply --knobs "$DIR/$knobs" 2>"$DIR/error"
            grep -q 'cannot set .*; everything is as before' "$DIR/error"
            as_before
        done
        # And one on top of an apply that went well takes nothing of that.
        apply $plan
        all >"$DIR/applied"
        cp "$DIR/state" "$DIR/first"
        sed -i 's/5000/45000/' "$DIR/refused"
        fails 1 apply --knobs "$DIR/refused"
        all | cmp - "$DIR/applied"
        cmp "$DIR/state" "$DIR/first"
        revert
        as_before
        "#,
    );
}

#[test]
fn whoever_stops_reading_or_has_no_room_gets_all_of_it_or_nothing() {
    in_shells(
        "deaf",
        r#"
        # Nobody listens: it is done all the same.
        apply $plan >/dev/full
        [ "$(get ipv4/ip_local_port_range)" = '1024 65535' ]
        { revert; echo $? >"$DIR/status"; } | true
        as_before
        apply $plan | head -1
        [ "$(get ipv4/ip_local_port_range)" = '1024 65535' ]
        check $plan
        revert
        as_before
        # No room for the record: nothing is done.
        mkdir -p "$DIR/small"
        # 4 KiB: none for the number in the lock; 8: none for a record; 12: none for a copy of the one before; 16: none for it to grow.
        for size in 4 8 12 16; do
            unshare --mount sh -euxc "mount -t tmpfs -o size=${size}k none '$DIR/small' || exit 7
                cd '$DIR/small'
                if [ $size -gt 8 ]; then
                    $SHELL_UNDER_TEST '$TUNING/apply.sh' --state state $plan
                    head -c \$((4090 - \$(wc -c <state))) /dev/zero | tr '\\0' '\\n' >>state
                    cp state ../first
                fi
                cat /proc/sys/net/core/somaxconn >../set
                head -c 4096 /dev/zero >full
                status=0
                $SHELL_UNDER_TEST '$TUNING/apply.sh' --state state $plan --connections 45000 2>../error || status=\$?
                [ \$status = 1 ]
                grep -q 'disk full' ../error
                [ ! -e state.lock ]
                cmp ../set /proc/sys/net/core/somaxconn
                if [ $size -gt 8 ]; then cmp state ../first; else [ ! -e state ]; fi
                rm full
                $SHELL_UNDER_TEST '$TUNING/revert.sh' --state state" || [ $? = 7 ]
            as_before
        done
        "#,
    );
}

#[test]
fn an_apply_beside_a_revert_loses_nothing() {
    in_shells(
        "beside",
        r#"
        for round in 1 2 3; do
            apply $plan
            revert & apply --connections 45000 --local --cores 1 --skip descriptors --skip memory || true
            wait
            revert
            as_before
        done
        "#,
    );
}

#[test]
fn a_revert_is_not_ended_half_way() {
    in_shells(
        "ended",
        r#"
        apply $plan
        # The first that it comes to is a pipe: it waits there for what is written to it.
        mkfifo "$DIR/pipe"
        echo "file|$DIR/pipe|was|set" >>"$DIR/state"
        $SHELL_UNDER_TEST "$TUNING/revert.sh" --state "$DIR/state" &
        exec 4>"$DIR/pipe"
        for signal in INT TERM HUP; do kill -$signal $!; done
        echo other >&4
        exec 4>&-
        wait $!
        as_before
        "#,
    );
}

#[test]
fn ports_are_reused_only_where_connections_are_opened_anew() {
    in_shells(
        "anew",
        r#"
        check --connections 70000 >"$DIR/said" || true
        if grep tcp_tw_reuse "$DIR/said"; then exit 1; fi
        check --connections 70000 --new-connections 10 >"$DIR/said" || true
        grep tcp_tw_reuse "$DIR/said"
        "#,
    );
}

#[test]
fn what_somebody_set_between_two_applies_is_what_was() {
    in_shells(
        "between",
        r#"
        apply $plan
        put core/somaxconn 41000
        apply --connections 45000 --local --cores 1 --skip descriptors --skip memory
        [ "$(get core/somaxconn)" = 45000 ]
        revert
        [ "$(get core/somaxconn)" = 41000 ]
        put core/somaxconn 4096
        as_before
        "#,
    );
}

#[test]
fn revert_without_apply_has_nothing_to_do() {
    in_shells(
        "nothing",
        r#"
        revert >"$DIR/said"
        grep -q 'nothing was applied' "$DIR/said"
        as_before
        "#,
    );
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    in_shells(
        "dry",
        r#"
        apply $plan --dry-run >"$DIR/said"
        grep -q 'would set .*somaxconn: 4096 -> 40000' "$DIR/said"
        as_before
        apply $plan
        all >"$DIR/applied"
        revert --dry-run >"$DIR/said"
        grep -q 'would set .*somaxconn: 40000 -> 4096' "$DIR/said"
        all | cmp - "$DIR/applied"
        revert
        as_before
        "#,
    );
}

#[test]
fn persisted_settings_are_put_back_after_a_reboot() {
    in_shells(
        "persist",
        r#"
        apply $plan --persist
        file=$DIR/etc/sysctl.d/99-zz-blaster.conf
        grep -qx 'net.ipv4.ip_local_port_range = 1024 65535' "$file"
        # A reboot: another boot's id, maybe another number of the namespace, and the values that the file has.
        sed -i 's/^boot|.*/boot|another/; s/^netns|.*/netns|another/' "$DIR/state"
        put core/somaxconn 4096
        sed -n 's/ = /=/p' "$file" | while IFS== read -r name value; do echo "$value" >"/proc/sys/$(echo "$name" | tr . /)"; done
        [ "$(get core/somaxconn)" = 40000 ]
        revert
        as_before
        [ ! -e "$file" ]
        # One that somebody else wrote is not taken for ours.
        echo 'net.core.somaxconn = 1' >"$file"
        fails 1 apply $plan --persist
        as_before
        grep -qx 'net.core.somaxconn = 1' "$file"
        "#,
    );
}

#[test]
fn persist_keeps_what_somebody_else_has_set_already() {
    in_shells(
        "already",
        r#"
        put core/somaxconn 50000
        put ipv4/tcp_max_syn_backlog 50000
        put ipv4/ip_local_port_range '1024 65535'
        all >"$DIR/before"
        apply $plan --persist --dry-run >"$DIR/said"
        grep -q 'would keep net.core.somaxconn: 50000' "$DIR/said"
        as_before
        cd "$DIR"
        apply $plan --persist --etc etc
        cd /
        file=$DIR/etc/sysctl.d/99-zz-blaster.conf
        grep -qx 'net.core.somaxconn = 50000' "$file"
        grep -qx 'net.ipv4.ip_local_port_range = 1024 65535' "$file"
        # The same again adds nothing; a smaller plan takes nothing away, a larger one's numbers are the last.
        cp "$file" "$DIR/first"
        cp "$DIR/state" "$DIR/record"
        apply $plan --persist
        apply --connections 10 --local --cores 1 --skip descriptors --skip memory --persist
        cmp "$file" "$DIR/first"
        cmp "$DIR/state" "$DIR/record"
        apply --connections 60000 --local --cores 1 --skip descriptors --skip memory --persist
        grep somaxconn "$file" | cmp - <<END
net.core.somaxconn = 60000
END
        revert
        as_before
        [ ! -e "$file" ]
        "#,
    );
}

#[test]
fn without_persist_a_reboot_leaves_only_the_record() {
    in_shells(
        "reboot",
        r#"
        apply $plan
        sed -i 's/^boot|.*/boot|another/' "$DIR/state"
        while read -r name value; do put $name "$value"; done <<END
ipv4/ip_local_port_range 32768 60999
core/somaxconn 4096
ipv4/tcp_max_syn_backlog $(sed -n 4p "$DIR/before")
END
        revert
        as_before
        "#,
    );
}

#[test]
fn what_was_set_in_a_namespace_that_is_gone_went_with_it() {
    in_shells(
        "gone",
        r#"
        # Never in the namespace of the others.
        unshare --net $SHELL_UNDER_TEST "$TUNING/apply.sh" --state "$DIR/state" $plan
        # Its number may be that of a new one already.
        sed -i 's/^netns|.*/netns|net:[1]/' "$DIR/state"
        fails 1 apply $plan 2>"$DIR/said"
        grep -q 'revert.sh first' "$DIR/said"
        revert >"$DIR/said"
        grep -q 'gone .*ip_local_port_range' "$DIR/said"
        as_before
        # One that is still somewhere is another matter.
        mkfifo "$DIR/end"
        unshare --net sh -c "$SHELL_UNDER_TEST '$TUNING/apply.sh' --state '$DIR/state' $plan && echo >'$DIR/applied' && read -r _ <'$DIR/end'" &
        until [ -e "$DIR/applied" ]; do sleep 0.1; done
        fails 1 revert 2>"$DIR/said"
        grep -q 'in another network namespace' "$DIR/said"
        echo >"$DIR/end"
        wait
        revert
        as_before
        "#,
    );
}

#[test]
fn what_somebody_else_changed_since_is_left_as_it_is() {
    in_shells(
        "others",
        r#"
        apply $plan
        put core/somaxconn 12345
        revert >"$DIR/said"
        grep -q 'left alone .*somaxconn.*somebody else changed it' "$DIR/said"
        [ "$(get core/somaxconn)" = 12345 ]
        put core/somaxconn 4096
        as_before
        "#,
    );
}

#[test]
fn what_other_programs_feel_is_left_alone_or_refused() {
    in_shells(
        "shared",
        r#"
        printf 'knob a\nfrom sysctl net.core.somaxconn\nleast 5000\nact apply\nshared yes\nmeans x\n' >"$DIR/costs"
        { cat "$DIR/costs"; echo 'stops yes'; } >"$DIR/stops"
        apply --knobs "$DIR/costs" >"$DIR/said"
        grep -q 'left alone a:' "$DIR/said"
        as_before
        fails 3 apply --knobs "$DIR/stops" 2>"$DIR/error"
        grep -q 'allow-shared' "$DIR/error"
        as_before
        apply --knobs "$DIR/stops" --allow-shared
        [ "$(get core/somaxconn)" = 5000 ]
        revert
        as_before
        "#,
    );
}

#[test]
fn ports_that_servers_listen_on_are_reserved() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("SKIPPED: no python3 to listen");
    }
    in_shells(
        "reserved",
        r#"
        ip link set lo up
        put ipv4/ip_local_reserved_ports 7000-7001
        all >"$DIR/before"
        mkfifo "$DIR/ready" "$DIR/end"
        python3 -c 'import socket, sys
sockets = [socket.create_server(("127.0.0.1", port)) for port in (7002, 9000)]
open(sys.argv[1], "w").close()
open(sys.argv[2]).read()' "$DIR/ready" "$DIR/end" &
        cat "$DIR/ready"
        apply $plan
        [ "$(get ipv4/ip_local_reserved_ports)" = '7000-7002,9000' ]
        check $plan
        revert
        echo >"$DIR/end"
        wait
        as_before
        "#,
    );
}

#[test]
fn reserved_ports_are_not_counted() {
    in_shells(
        "counted",
        r#"
        # 40000 to 50000 of the range, and 1500 and 60000 of all.
        put ipv4/ip_local_reserved_ports 1000,1500,40000-50000,60000
        all >"$DIR/before"
        modest='--local --cores 1 --skip descriptors --skip memory'
        check --connections 18230 $modest | grep -q '^ok .*ip_local_port_range  *18230$'
        fails 1 check --connections 18231 $modest >"$DIR/said"
        grep -q '^stops .*ip_local_port_range  *18230, wanted 18231$' "$DIR/said"
        # As many as there are can be had, and not one more.
        apply --connections 54509 $modest
        check --connections 54509 $modest
        fails 1 check --connections 54510 $modest >"$DIR/said"
        grep -q '^stops  *source addresses  *54509, wanted 54510$' "$DIR/said"
        apply --connections 54510 $modest >"$DIR/said"
        if grep -q 'set .*ip_local_port_range' "$DIR/said"; then exit 1; fi
        revert
        as_before
        "#,
    );
}

#[test]
fn a_lock_whose_owner_is_gone_or_another_by_now_is_taken_over() {
    in_shells(
        "lock-of",
        r#"
        mkdir "$DIR/state.lock"
        # That number is somebody's, but not who wrote it.
        echo "1 5 $(cat /proc/sys/kernel/random/boot_id)" >"$DIR/state.lock/pid"
        apply $plan
        revert
        as_before
        # Nobody is left who could put it back.
        fails 1 apply $plan --owner 4194304 2>"$DIR/said"
        grep -q 'is gone' "$DIR/said"
        as_before
        "#,
    );
}

#[test]
fn closed_connections_hold_their_ports_where_the_kernel_does_not_reuse_them() {
    in_shells(
        "reuse-where",
        r#"
        put ipv4/ip_local_port_range '20000 21999'
        churn='--connections 40 --new-connections 200 --cores 1 --skip descriptors --skip memory'
        check $churn --local
        fails 1 check $churn --own-address
        check --connections 40 --new-connections 20 --cores 1 --skip descriptors --own-address
        put ipv4/tcp_timestamps 0
        fails 1 check --connections 40 --new-connections 2000 --cores 1 --skip descriptors --local >"$DIR/said"
        grep -q 'stops .*tcp_timestamps' "$DIR/said"
        "#,
    );
}

#[test]
fn two_at_a_time_do_not_mix() {
    in_shells(
        "lock",
        r#"
        mkdir "$DIR/state.lock"
        own >"$DIR/state.lock/pid"
        fails 1 apply $plan
        rm -r "$DIR/state.lock"
        as_before
        # One that has not yet written its number is not taken for a dead one, until it would have long done so.
        mkdir "$DIR/state.lock"
        { sleep 0.5; own >"$DIR/state.lock/pid"; } &
        fails 1 apply $plan --skip 'stolen CPU time'
        rm -r "$DIR/state.lock"
        as_before
        # One that was killed holds nothing up.
        mkdir "$DIR/state.lock"
        echo 4194305 >"$DIR/state.lock/pid"
        apply $plan
        revert
        as_before
        "#,
    );
}

#[test]
fn a_limit_is_raised_for_the_process_that_will_run() {
    if !may_raise_limits() {
        return skipped("SKIPPED: raising limits takes root with CAP_SYS_RESOURCE");
    }
    in_shells(
        "limits",
        r#"
        ulimit -n 500
        apply --connections 1000 --cores 1 --local --pid $$
        [ "$(ulimit -n)" = 1080 ]
        revert
        [ "$(ulimit -n)" = 500 ]
        as_before
        "#,
    );
}

/// Whether bit 24 of the effective capabilities is set.
fn may_raise_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> 24 & 1 == 1)
}

#[test]
fn wrong_arguments_are_told() {
    in_shells(
        "usage",
        r#"
        fails 2 apply --connections many
        fails 2 apply --connections 99999999999999999999 2>"$DIR/error"
        grep -q 'at most 999999999999999' "$DIR/error"
        fails 1 check --connections 999999999999999 --new-connections 999999999999999 --sink 2>"$DIR/error"
        if grep -qi illegal "$DIR/error"; then exit 1; fi
        fails 2 check --nonsense
        fails 2 check --rps
        as_before
        "#,
    );
}
