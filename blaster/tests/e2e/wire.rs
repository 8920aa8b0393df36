//! The kernel's times of single requests: of some of them, in order, at no other request's cost.

use std::time::Duration;

use crate::child::{Load, Outcome, skipped};
use crate::server::{Server, answer};

/// A server that answers at once.
fn server() -> Server {
    Server::answering(|_, _| answer(202, ""))
}

#[test]
fn the_kernel_times_requests_over_loopback() {
    let server = server();
    for load in [
        Load { rate: "4k", duration: Duration::from_secs(1), connections: 2, ..Load::at(server.target()) },
        Load { duration: Duration::from_millis(500), ..Load::pipelined(server.target()) },
    ] {
        let Outcome { report, ended } = load.run();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let wire = report.at("/generator/wire");
        if let Some(why) = wire["unavailable"].as_str() {
            skipped(&format!("SKIPPED: the kernel timed no request here: {why}"));
            continue;
        }
        let samples = report.count("/generator/wire/samples");
        assert!(samples > 0 && samples <= report.sent() / 128 + 2, "{samples} of {}", report.sent());
        let service_max = report.count("/service_time_ns/max");
        for part in ["before_ns", "wire_ns", "after_ns"] {
            assert_eq!(wire[part]["count"].as_u64(), Some(samples), "{wire:#}");
            // Histograms are exact to a thousandth.
            assert!(
                wire[part]["max"].as_u64().unwrap() <= service_max + service_max / 500,
                "{part} of {wire:#}"
            );
        }
        assert_eq!((report.errors(), report.connects()), (0, report.count("/connections/peak")));
    }
}

#[test]
fn answers_in_pieces_are_read_alike_where_the_kernel_times_them() {
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {
            peer.send_in_pieces(&answer(200, "in pieces"), 7)?;
        }
        Ok(())
    });
    let load = Load {
        rate: "3k",
        connections: 1,
        duration: Duration::from_millis(800),
        ..Load::at(server.target())
    };
    let report = load.run().report;
    assert_eq!((report.ok(), report.errors(), report.connects()), (report.sent(), 0, 1));
    assert_eq!(server.requests(), report.sent());
}

#[test]
fn connections_that_are_closed_while_a_request_is_timed_do_not_end_the_timing() {
    let server = Server::start(|peer| {
        // The second request of every connection, which is the one that is timed, has no answer.
        if peer.request()?.is_some() {
            peer.send(&answer(200, ""))?;
            peer.request()?;
        }
        Ok(())
    });
    let load = Load {
        rate: "500",
        connections: 4,
        duration: Duration::from_millis(500),
        ..Load::at(server.target())
    };
    let report = load.run().report;
    assert!(report.errors() > 0 && report.ok() > 10, "{}", report.at("/requests"));
}

#[test]
fn without_wire_times_none_are_reported_and_the_report_says_so() {
    let server = server();
    let load = Load { flags: &["--no-wire-times"], ..Load::at(server.target()) };
    let report = load.run().report;
    assert_eq!(report.count("/generator/wire/samples"), 0);
    assert!(report.at("/generator/wire/unavailable").as_str().unwrap().contains("switched off"));
    report.assert_all("/requests/ok");
}
