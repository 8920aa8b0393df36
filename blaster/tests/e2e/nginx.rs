//! nginx from the distribution, with its default `keepalive_requests`: closes are learnt, and its log agrees.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::child::{ALLOWANCE, Directory, Load, Running, skipped};

const BINARY: &str = "/usr/sbin/nginx";

/// nginx's own default, not set in the configuration.
const KEEPALIVE_REQUESTS: u64 = 1000;

struct Nginx {
    running: Running,
    address: String,
    directory: Directory,
}

impl Nginx {
    /// Listens on a port that was free a moment ago; another if that is gone by then.
    fn start() -> Self {
        for _ in 0..5 {
            let directory = Directory::new();
            let address =
                TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("loopback");
            fs::write(directory.path("nginx.conf"), configuration(&address.to_string()))
                .expect("a new directory");
            let prefix = directory.path("");
            let configured = directory.path("nginx.conf");
            let running = Running::start(
                Command::new(BINARY).arg("-p").arg(&prefix).arg("-c").arg(&configured).args(["-e", "stderr"]),
            );
            // What nginx notes once it has its port.
            loop {
                let line = running.error_line();
                if line.contains("event method") {
                    return Self { running, address: address.to_string(), directory };
                }
                if line.contains("bind()") {
                    break;
                }
            }
        }
        panic!("no port stays free");
    }

    /// Ends it in good order, so that its log is complete, and counts the requests there.
    fn requests(self) -> u64 {
        self.running.signal("QUIT");
        let ended = self.running.within(ALLOWANCE);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let log = fs::File::open(self.directory.path("access.log")).expect("nginx keeps a log");
        BufReader::new(log).lines().map(|line| assert_eq!(line.expect("text"), "POST /events 202")).count()
            as u64
    }
}

fn configuration(address: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr notice;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           log_format short '$request_method $uri $status'; access_log access.log short;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           server {{ listen {address}; location = /events {{ return 202 '{{\"count\":1}}'; }} }}\n\
         }}\n"
    )
}

fn is_missing() -> bool {
    let missing = !Path::new(BINARY).exists();
    if missing {
        skipped(&format!("SKIPPED: {BINARY} is not installed (apt-get install nginx-light)"));
    }
    missing
}

#[test]
fn at_depth_1_nothing_is_lost_when_nginx_closes() {
    if is_missing() {
        return;
    }
    let nginx = Nginx::start();
    let load = Load { rate: "3k", duration: Duration::from_secs(3), ..Load::at(&nginx.address) };
    let outcome = Load { timeout: Duration::from_secs(8), ..load }.run();
    let report = outcome.report;
    report.assert_all("/requests/ok");
    assert_eq!(report.count("/requests/scheduled"), 9000);
    assert_eq!(report.status(202), report.sent());
    assert_ne!(
        report.count("/connections/reopened"),
        0,
        "{KEEPALIVE_REQUESTS} answers a connection were reached"
    );
    assert_eq!(report.count("/connections/answers_before_close"), KEEPALIVE_REQUESTS);
    assert_eq!(outcome.ended.status, Some(0), "{:?}", outcome.ended);
    assert_eq!(nginx.requests(), report.sent());
}

#[test]
fn pipelined_only_what_was_behind_the_close_is_lost_until_it_is_learnt() {
    if is_missing() {
        return;
    }
    let nginx = Nginx::start();
    let load = Load { rate: "max", depth: 8, duration: Duration::from_secs(1), ..Load::at(&nginx.address) };
    let report = Load { timeout: Duration::from_secs(8), ..load }.run().report;
    assert_eq!(report.count("/connections/answers_before_close"), KEEPALIVE_REQUESTS);
    assert_eq!(report.ok() + report.error("closed") + report.error("reset"), report.sent());
    assert_eq!(report.status(202), report.ok());
    // Each of four connections, and each of the two that taught it, loses less than a pipeline.
    assert!(report.errors() <= (4 + 2) * 8, "{:#}", report.at("/requests"));
    // nginx logs what it answered; what it closes upon it never reads.
    assert_eq!(nginx.requests(), report.ok());
}
