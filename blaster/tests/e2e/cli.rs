//! The command line: what cannot be is told with the next step and an exit status, and nothing is lost on the way.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::child::{ALLOWANCE, BLASTER, Directory, Ended, Load, Outcome, Running, skipped};
use crate::report::Report;
use crate::server::{Server, answer};

fn blaster(args: &[&str]) -> Ended {
    Running::start(Command::new(BLASTER).args(args)).within(ALLOWANCE)
}

/// Runs the blaster from a shell that first does what `before` says.
fn blaster_after(before: &str, args: &[&str]) -> Ended {
    let script = format!("{before}; exec \"$0\" \"$@\"");
    Running::start(Command::new("sh").args(["-c", &script, BLASTER]).args(args)).within(ALLOWANCE)
}

/// It ends with this status, says all of this on standard error, and writes nothing to standard output.
fn assert_refused(ended: &Ended, status: i32, words: &[&str]) {
    assert_eq!(ended.status, Some(status), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in {}", ended.stderr);
    }
}

/// A server that answers everything well.
fn healthy() -> Server {
    Server::answering(|_, _| answer(200, "ok"))
}

/// An address nobody listens on, and nobody else can while the socket lives.
fn refused() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    (socket, address)
}

#[test]
fn usage_errors_say_what_to_write_instead() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--congestion", "no-such", "a:1"], &["no congestion control \"no-such\"", "tcp_available"]),
        (&["--rps", "0", "a:1"], &["rate of 0 sends nothing", "`max`"]),
        (&["--rps", "-1", "a:1"], &["rate of -1 sends nothing"]),
        (&["--rps=-1", "a:1"], &["rate of -1 sends nothing"]),
        (&["--rps", "9e99", "a:1"], &["no rate", "10k"]),
        (&["--rps", "99999999g", "a:1"], &["out of range"]),
        (&["--rps", "nan", "a:1"], &["no rate"]),
        (&["--rps", "", "a:1"], &["rate"]),
        (&["--duration", "0s", "a:1"], &["--duration 0s measures nothing"]),
        (&["--duration", "-5s", "a:1"], &["no time"]),
        (&["--duration", "10", "a:1"], &["10s"]),
        (&["--timeout", "0s", "a:1"], &["--timeout 0s"]),
        (&["--duration", "5s", "--stages", "5s:10", "a:1"], &["cannot be used with"]),
        (&["--stages", "5s", "a:1"], &["no stage", "30s:10k"]),
        (&["--stages", "5s:0", "a:1"], &["send nothing"]),
        (&["--rps", "max", "--stages", "5s:10", "a:1"], &["closed loop"]),
        (&["--rps", "max", "--arrivals", "poisson", "a:1"], &["closed loop"]),
        (&["https://example.test/"], &["https:// comes with version"]),
        (&["ftp://example.test/"], &["want http://"]),
        (&["example.test"], &["has no port", "example.test:80"]),
        (&["a:99999"], &["no port"]),
        (&["http://"], &["no host"]),
        (&["--path", "/x", "http://a:1/y"], &["path is given twice"]),
        (&["--json", "-", "--hgrm", "-", "a:1"], &["standard output"]),
        (&["-c", "0", "a:1"], &["--connections"]),
        (&["-c", "1", "a:1", "b:1"], &["at least 2 connections"]),
        (&["-p", "0", "a:1"], &["--pipeline"]),
        (&["-t", "0", "a:1"], &["--threads"]),
        (&["--cores", "4095", "127.0.0.1:1"], &["--cores names CPU 4095"]),
        (&["--preset", "none", "a:1"], &["none", "events"]),
        (&["--preset", "events", "-b", "x", "a:1"], &["leave one of them out"]),
        (&["-b", "@/no/such/file", "a:1"], &["/no/such/file"]),
        (&["-H", "no colon", "a:1"], &["no colon"]),
        (&["-X", "B AD", "a:1"], &["B AD"]),
        (&["--expect", "twohundred", "a:1"], &["no set of statuses"]),
        (&["--slo", "p99<<1", "a:1"], &["p99"]),
        (&["--nonsense", "a:1"], &["--nonsense"]),
        (&["sink", "--profile", "none"], &["event-api, control, null"]),
        (&["sink", "--listen", "nowhere"], &["--listen"]),
        (&["sink", "--profile", "null", "--validate"], &["--validate", "null", "use --profile event-api"]),
    ];
    for (args, words) in cases {
        assert_refused(&blaster(args), 2, words);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for flag in ["--help", "--version"] {
        let ended = blaster(&[flag]);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    }
}

#[test]
fn an_unknown_host_is_named() {
    // RFC 6761: never resolves.
    let ended = blaster(&["--quiet", "http://no-such-host.invalid:80/"]);
    assert_refused(&ended, 1, &["cannot resolve no-such-host.invalid", "check the name"]);
}

#[test]
fn a_refused_port_is_told_before_the_run() {
    let (_held, target) = refused();
    let ended = blaster(&["--quiet", "-d", "60s", &target]);
    assert_refused(&ended, 1, &["cannot connect", &target, "connection refused", "is the server running"]);
}

#[test]
fn a_server_that_closes_at_once_is_told_apart_from_one_that_is_not_there() {
    // As a port mapping without a server behind it does.
    let server = Server::start(|_| Ok(()));
    let ended = blaster(&["--quiet", "-R", "100", "-d", "200ms", "-c", "2", &server.target()]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    // Unless a connection lasted until the start: then requests were lost on it, and the summary says so.
    let told = ended.stderr.contains("accepts them and closes them at once");
    assert!(told || ended.stdout.contains("not one answer came"), "{ended:?}");
}

#[test]
fn one_refused_target_of_two_is_named() {
    let server = healthy();
    let (_held, target) = refused();
    let ended = blaster(&["--quiet", "-d", "60s", &server.target(), &format!("http://{target}/")]);
    assert_refused(&ended, 1, &["cannot connect", &target, "connection refused"]);
    assert_eq!(server.requests(), 0, "nothing was sent");
}

#[test]
fn a_json_path_that_cannot_be_written_is_found_before_the_run() {
    let server = healthy();
    for path in ["/no/such/directory/report.json", "/"] {
        for flag in ["--json", "--hgrm", "--hlog"] {
            let ended = blaster(&["--quiet", flag, path, &server.target()]);
            assert_refused(&ended, 2, &["cannot write", path, "choose another path"]);
        }
    }
    assert_eq!(server.requests(), 0, "nothing was sent");
}

#[test]
fn a_run_that_cannot_begin_leaves_an_older_report_as_it_was() {
    let directory = Directory::new();
    let json = directory.path("report.json");
    fs::write(&json, "precious").unwrap();
    let (_held, target) = refused();
    let ended = blaster(&["--quiet", "--json", json.to_str().unwrap(), &target]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(fs::read_to_string(&json).unwrap(), "precious");
}

#[test]
fn more_connections_than_descriptors_are_refused_with_the_numbers() {
    let server = healthy();
    let ended = blaster_after("ulimit -n 256", &["--quiet", "-c", "1000", &server.target()]);
    assert_refused(&ended, 2, &["file descriptors, the limit is 256", "ulimit -n", "--connections"]);
    assert_eq!(server.requests(), 0, "nothing was sent");
    // As many as do fit work.
    let ended = blaster_after(
        "ulimit -n 256",
        &["--quiet", "-R", "100", "-d", "200ms", "-c", "150", &server.target()],
    );
    assert_ne!(server.requests(), 0, "{ended:?}");
}

#[test]
fn too_little_locked_memory_is_refused_with_the_numbers() {
    let server = healthy();
    let ended = blaster_after("ulimit -l 64", &["--quiet", &server.target()]);
    assert_refused(&ended, 2, &["need 512 KiB of locked memory", "the limit is 64 KiB", "ulimit -l 512"]);
    assert_eq!(server.requests(), 0, "nothing was sent");
}

#[test]
fn more_connections_than_ports_are_refused_with_the_numbers() {
    // In a network namespace of its own, where the range of ports can be made small.
    let narrow = "echo '40000 40009' > /proc/sys/net/ipv4/ip_local_port_range && ip link set lo up";
    let script = format!("{narrow} || exit 77; exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script, BLASTER, "--quiet", "-c", "64", "127.0.0.1:1"]);
    let Ok(status) = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status() else {
        return skipped("SKIPPED: no unshare here");
    };
    if !status.success() {
        return skipped("SKIPPED: this user may not make a network namespace");
    }
    let ended = Running::start(&mut command).within(ALLOWANCE);
    if ended.status == Some(77) {
        return skipped(&format!("SKIPPED: {}", ended.stderr));
    }
    assert_refused(
        &ended,
        2,
        &["need 64 local ports", "there are 10", "ip_local_port_range", "--connections"],
    );
}

/// Allows every system call but io_uring_setup, which fails as in a container, then runs what it is given.
const WITHOUT_IO_URING: &str = r#"
import ctypes, os, struct, sys
setup, errno = 425, int(sys.argv[1])
code = [(0x20, 0, 0, 0), (0x15, 0, 1, setup), (0x06, 0, 0, 0x00050000 | errno), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
class Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
wanted = Filter(len(code), ctypes.addressof(program))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(wanted)):
    sys.exit(77)
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn where_io_uring_is_forbidden_the_sandbox_is_named() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("SKIPPED: no python3 to set up a seccomp filter with");
    }
    let server = healthy();
    // EPERM is Docker's answer, ENOSYS that of others.
    for errno in ["1", "38"] {
        for args in [&["--quiet", &server.target()][..], &["--quiet"], &["sink", "--listen", "127.0.0.1:0"]] {
            let mut command = Command::new("python3");
            command.args(["-c", WITHOUT_IO_URING, errno, BLASTER]).args(args);
            let ended = Running::start(&mut command).within(ALLOWANCE);
            if ended.status == Some(77) {
                return skipped("SKIPPED: no seccomp filters here");
            }
            assert_refused(&ended, 2, &["io_uring is forbidden here", "seccomp"]);
        }
    }
    assert_eq!(server.requests(), 0, "nothing was sent");
    skipped("SKIPPED: kernel.io_uring_disabled is one setting for the whole machine, and not ours to change");
}

#[test]
fn a_promise_that_is_not_kept_is_99() {
    let server = Server::answering(|number, _| answer(if number % 2 == 0 { 200 } else { 500 }, ""));
    for (slo, status) in [("errors<1%", 99), ("errors<90%", 0)] {
        let Outcome { report, ended } = Load { flags: &["--slo", slo], ..Load::at(server.target()) }.run();
        assert_eq!(ended.status, Some(status), "{ended:?}");
        assert_eq!(report.at("/slo/0/ok"), status == 0);
    }
}

#[test]
fn ctrl_c_waits_for_what_is_in_flight_and_sums_up() {
    for signal in ["INT", "TERM"] {
        let directory = Directory::new();
        let json = directory.path("report.json");
        let (seen, told) = std::sync::mpsc::channel();
        let server = Server::answering(move |_, _| {
            let _ = seen.send(());
            answer(200, "ok")
        });
        let hour = Duration::from_secs(3600);
        let load = Load { duration: hour, timeout: hour, ..Load::at(server.target()) };
        let running = Running::start(&mut load.command(&json));
        told.recv_timeout(ALLOWANCE).expect("requests are sent");
        running.signal(signal);
        let ended = running.within(ALLOWANCE);
        let report = read(&json);
        assert_eq!(ended.status, Some(130), "{ended:?}");
        assert!(ended.stdout.contains("response time"), "a summary: {ended:?}");
        assert_eq!(report.at("/interrupted"), true);
        report.assert_all("/requests/ok");
        assert_eq!(server.requests(), report.sent());
    }
}

/// A report that adds up.
fn read(json: &Path) -> Report {
    let text = fs::read_to_string(json).expect("a report was written");
    let report = Report::new(serde_json::from_str(&text).expect("JSON"));
    report.check_identities();
    report
}

#[test]
fn a_second_ctrl_c_does_not_wait_and_still_sums_up() {
    let directory = Directory::new();
    let json = directory.path("report.json");
    let (seen, told) = std::sync::mpsc::channel();
    let server = Server::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = seen.send(());
        }
        Ok(())
    });
    // With progress on, what it says to the first tells when to send the second: two at once could count as one.
    let mut command = Command::new(BLASTER);
    command.args(["-R", "100", "-d", "1h", "--timeout", "30m", "-c", "4", "-t", "1", "--json"]);
    let running = Running::start(command.arg(&json).arg(server.target()));
    told.recv_timeout(ALLOWANCE).expect("requests are sent");
    running.signal("INT");
    while !running.error_line().contains("waiting for answers") {}
    running.signal("INT");
    let ended = running.within(ALLOWANCE);
    assert_eq!(ended.status, Some(130), "{ended:?}");
    assert!(ended.stdout.contains("in flight"), "a summary: {ended:?}");
    read(&json).assert_all("/requests/in_flight_at_end");
}

#[test]
fn a_full_disk_is_told_and_the_report_is_kept_elsewhere() {
    let server = healthy();
    let directory = Directory::new();
    for flag in ["--json", "--hgrm", "--hlog"] {
        let mut command = Command::new(BLASTER);
        command.env("TMPDIR", directory.path(""));
        command.args([
            "--quiet",
            "--allow-invalid",
            "-R",
            "100",
            "-d",
            "200ms",
            "-c",
            "2",
            flag,
            "/dev/full",
        ]);
        let ended = Running::start(command.arg(server.target())).within(ALLOWANCE);
        assert_eq!(ended.status, Some(1), "{flag}: {ended:?}");
        assert!(ended.stderr.contains("cannot write /dev/full: No space left"), "{flag}: {ended:?}");
        assert!(ended.stdout.contains("sent"), "the summary is still printed: {ended:?}");
    }
    let kept: Vec<_> = fs::read_dir(directory.path("")).unwrap().map(|file| file.unwrap().path()).collect();
    let reports = kept
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok());
    assert_eq!(reports.filter(|report: &Value| report["schema"] == 1).count(), 1, "{kept:?}");
}

#[test]
fn a_report_on_standard_output_is_all_that_is_there() {
    let server = healthy();
    let args = ["--allow-invalid", "-R", "100", "-d", "200ms", "-c", "2", "--json", "-"];
    let ended = Running::start(Command::new(BLASTER).args(args).arg(server.target())).within(ALLOWANCE);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = Report::new(serde_json::from_str(&ended.stdout).expect("pure JSON"));
    report.assert_all("/requests/ok");
    assert!(ended.stderr.contains("response time"), "the summary is on standard error: {ended:?}");
}

/// Runs the blaster with descriptor 4 a pipe that nobody reads, so that a write to it fails, and with this redirection.
fn start_unheard(redirection: &str, args: &[&str], directory: &Directory) -> Running {
    // Descriptor 5 keeps the watchdog in touch.
    let script = format!("mkfifo pipe && exec 3<>pipe 4>pipe 5>&2 3>&-; exec \"$0\" \"$@\" {redirection}");
    let mut command = Command::new("sh");
    Running::start(
        command
            .current_dir(directory.path(""))
            .env("TMPDIR", directory.path(""))
            .args(["-c", &script, BLASTER])
            .args(args),
    )
}

#[test]
fn whoever_stops_reading_has_seen_enough() {
    let server = healthy();
    let target = server.target();
    let run = ["--allow-invalid", "-R", "100", "-d", "200ms", "-c", "2", &target];
    for (redirection, flags) in [
        (">&4", &[][..]),
        (">&4", &["--json", "-"]),
        (">&4", &["--hgrm", "-"]),
        (">&4", &["--hlog", "-"]),
        (">&4 2>&4", &[]),
        (">&4 2>&4", &["--json", "-"]),
        ("2>&4", &["--json", "-"]),
        (">&-", &[]),
        (">&-", &["--json", "-"]),
        (">&- 2>&-", &[]),
    ] {
        let directory = Directory::new();
        let ended = start_unheard(redirection, &[&run[..], flags].concat(), &directory).within(ALLOWANCE);
        assert_eq!(ended.status, Some(0), "{redirection} {flags:?}: {ended:?}");
    }
}

#[test]
fn an_error_that_nobody_hears_keeps_its_status() {
    let server = healthy();
    let (_held, refused) = refused();
    let json = ["-R", "100", "-d", "100ms", "--json", "/dev/full", &server.target()];
    let directory = Directory::new();
    for (args, status) in [(&["--rps", "0"][..], 2), (&["--json", "/"], 2), (&[&refused], 1), (&json, 1)] {
        let directory = Directory::new();
        let ended = start_unheard("2>&4", args, &directory).within(ALLOWANCE);
        assert_eq!(ended.status, Some(status), "{args:?}: {ended:?}");
    }
    // What it says on being interrupted, likewise.
    let (seen, told) = std::sync::mpsc::channel();
    let server = Server::answering(move |_, _| {
        let _ = seen.send(());
        answer(200, "ok")
    });
    let running = start_unheard("2>&4", &["-R", "100", "-d", "1h", "-c", "2", &server.target()], &directory);
    told.recv_timeout(ALLOWANCE).expect("requests are sent");
    running.signal("INT");
    assert_eq!(running.within(ALLOWANCE).status, Some(130));
}

#[test]
fn an_address_in_use_is_told_by_the_sink() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = blaster(&["sink", "--listen", &address]);
    assert_refused(&ended, 1, &["cannot listen on", &address, "--listen"]);
}

#[test]
fn the_sink_survives_a_standard_output_that_is_closed() {
    // Reading one line, then interrupting: its last words find nobody.
    let mut command = Command::new("sh");
    let script =
        "{ \"$0\" sink --listen 127.0.0.1:0 & echo $! >&2; wait $!; echo \"status $?\" >&2; } | head -1 >&2";
    let running = Running::start(command.args(["-c", script, BLASTER]));
    let (mut id, mut listens) = (String::new(), false);
    while id.is_empty() || !listens {
        let line = running.error_line();
        match line.trim().parse::<u32>() {
            Ok(number) => id = number.to_string(),
            Err(_) => listens |= line.contains("http://"),
        }
    }
    Command::new("kill").args(["-s", "TERM", &id]).status().unwrap();
    let ended = running.within(ALLOWANCE);
    assert!(ended.stderr.contains("status 0"), "{ended:?}");
}

#[test]
fn bbr_is_flagged_where_nothing_paces_its_packets() {
    let read = |name| fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap_or_default();
    let offered = read("ipv4/tcp_available_congestion_control");
    if !offered.split_whitespace().any(|name| name == "bbr") || read("core/default_qdisc").trim() == "fq" {
        return skipped("a verdict on bbr: this kernel offers no bbr, or paces it by fq");
    }
    let server = healthy();
    let run = Load { flags: &["--congestion", "bbr"], ..Load::at(server.target()) }.run();
    assert_eq!(run.report.at("/environment/congestion_control"), "bbr");
    let codes: Vec<_> =
        run.report.at("/verdict/reasons").as_array().unwrap().iter().map(|reason| &reason["code"]).collect();
    assert!(codes.iter().any(|code| *code == "congestion_control"), "{codes:?}");
    assert_ne!(run.report.at("/verdict/status"), "valid");
}

#[test]
fn the_report_has_what_the_machine_counted() {
    let server = healthy();
    let run = Load::at(server.target()).run();
    let machine = |key: &str| run.report.at(&format!("/generator/machine/{key}")).clone();
    assert!(machine("segments_sent").as_u64() >= Some(run.report.sent()), "{run:#?}");
    assert_eq!(machine("tcp")["connections"], 4);
    assert!(machine("descriptors")["used"].as_u64() >= Some(4));
    for interval in run.report.at("/intervals").as_array().unwrap() {
        let (in_flight, service) = (interval["in_flight_ns"].as_u64(), interval["service_sum_ns"].as_u64());
        assert!(in_flight.is_some() && service.is_some() && interval["status"].is_string(), "{interval}");
    }
}
