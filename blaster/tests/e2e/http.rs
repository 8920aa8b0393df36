//! HTTP/1.1 as servers really speak it, and as broken ones do: what each does to the counts.

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::child::{Directory, Load, Outcome};
use crate::report::Report;
use crate::server::{Peer, Request, Server, answer, last_answer};

/// Runs at depth 1 and with full pipelines; every request is to be answered, over the connections opened at first.
fn assert_all_answered(server: &Server, flags: &[&str], expect: &str) {
    let mut seen = 0;
    for load in [short(server), Load::pipelined(server.target())] {
        let flags = [flags, &["--expect", expect]].concat();
        let Outcome { report, ended } = Load { flags: &flags, ..load }.run();
        report.assert_all("/requests/ok");
        assert_eq!(report.connects(), report.count("/connections/peak"), "nothing was reopened");
        assert_eq!(*report.at("/connections/answers_before_close"), serde_json::Value::Null);
        assert_eq!(server.requests() - seen, report.sent(), "the server received what was sent");
        assert_eq!(ended.status, Some(0), "{ended:?}");
        seen = server.requests();
    }
}

/// For tables of many cases.
fn short(server: &Server) -> Load<'static> {
    Load { duration: Duration::from_millis(100), ..Load::at(server.target()) }
}

/// Answers every request with these bytes.
fn always(bytes: impl Into<Vec<u8>>) -> Server {
    let bytes = bytes.into();
    Server::answering(move |_, _| bytes.clone())
}

/// Answers of every framing that leaves the connection open, with their statuses.
fn good_answers() -> Vec<(u16, Vec<u8>)> {
    vec![
        (200, answer(200, "plain")),
        (202, answer(202, "")),
        (204, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        (304, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n".to_vec()),
        (200, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()),
        (
            201,
            b"HTTP/1.1 201 Created\r\ntransfer-encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n\
              5;name=\"va;lue\"\r\nhello\r\nA ; x\r\n0123456789\r\n000;last\r\nX-Sum: 17\r\nX-Other:\r\n\r\n"
                .to_vec(),
        ),
        (
            200,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                .to_vec(),
        ),
        (200, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold".to_vec()),
        (404, answer(404, "not here")),
        (200, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nsame".to_vec()),
        (302, b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_vec()),
        (503, answer(503, &"x".repeat(10_000))),
    ]
}

#[test]
fn answers_of_every_framing_are_read() {
    for (status, bytes) in good_answers() {
        assert_all_answered(&always(bytes), &[], &status.to_string());
    }
}

#[test]
fn answers_of_every_framing_follow_each_other_and_are_counted_by_status() {
    let answers = good_answers();
    let count = answers.len();
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    let server = Server::answering(move |number, _| answers[number as usize % count].1.clone());
    let report = Load { connections: 1, ..Load::at(server.target()) }.run().report;
    for status in [200, 201, 202, 204, 302, 304, 404, 503] {
        let due = (0..report.sent()).filter(|number| statuses[*number as usize % count] == status).count();
        assert_eq!(report.status(status), due as u64, "{status}");
    }
    assert_eq!(report.count("/requests/unexpected_status"), report.status(404) + report.status(503));
    assert_eq!((report.errors(), server.requests()), (0, report.sent()));
}

#[test]
fn answers_split_at_every_byte_are_read() {
    let answers = good_answers();
    let server = Server::start(move |peer| {
        let mut number = 0;
        while peer.request()?.is_some() {
            // Every framing, cut at every place, over the connection's life.
            let (_, bytes) = &answers[number % (answers.len() - 1)];
            let cut = number / (answers.len() - 1) % bytes.len();
            peer.send(&bytes[..cut])?;
            peer.send(&bytes[cut..])?;
            number += 1;
        }
        Ok(())
    });
    assert_all_answered(&server, &[], "200-499");
}

#[test]
fn answers_that_come_byte_by_byte_are_read() {
    let answers = good_answers();
    let server = Server::start(move |peer| {
        let mut number = peer.index as usize;
        while peer.request()?.is_some() {
            peer.send_in_pieces(&answers[number % (answers.len() - 1)].1, 1)?;
            number += 1;
        }
        Ok(())
    });
    assert_all_answered(&server, &[], "200-499");
}

#[test]
fn many_answers_in_one_write_are_told_apart() {
    let answers = good_answers();
    let server = Server::start(move |peer| {
        loop {
            let count = peer.batch()?;
            if count == 0 {
                return Ok(());
            }
            let batch: Vec<u8> =
                answers.iter().cycle().take(count).flat_map(|(_, bytes)| bytes.clone()).collect();
            peer.send(&batch)?;
        }
    });
    assert_all_answered(&server, &[], "200-599");
}

#[test]
fn open_loop_pipelines_are_answered_in_order() {
    let server = Server::start(|peer| {
        loop {
            let count = peer.batch()?;
            if count == 0 {
                return Ok(());
            }
            peer.send(&answer(200, "ok").repeat(count))?;
        }
    });
    let load = Load { rate: "20k", connections: 2, depth: 16, ..Load::at(server.target()) };
    let report = load.run().report;
    report.assert_all("/requests/ok");
    assert_eq!((report.count("/requests/scheduled"), server.requests()), (6000, report.sent()));
}

#[test]
fn heads_of_60_kib_are_read() {
    let long: String = (0..60).map(|i| format!("X-Long-{i}: {}\r\n", "v".repeat(1020))).collect();
    let bytes = format!("HTTP/1.1 200 OK\r\n{long}Content-Length: 2\r\n\r\nok").into_bytes();
    assert!(bytes.len() > 60 * 1024);
    let server = Server::start(move |peer| {
        while peer.request()?.is_some() {
            peer.send_in_pieces(&bytes, 7001)?;
        }
        Ok(())
    });
    assert_all_answered(&server, &[], "200");
}

#[test]
fn answers_to_head_have_no_body_whatever_they_say() {
    let server = Server::answering(|number, request| {
        assert!(request.head.starts_with("HEAD "), "{request:?}");
        let framing = ["Content-Length: 1000", "Transfer-Encoding: chunked", "Content-Length: 0"];
        format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing[number as usize % 3]).into_bytes()
    });
    assert_all_answered(&server, &["-X", "HEAD"], "200");
}

#[test]
fn errors_of_the_server_are_answers_and_redirects_are_not_followed() {
    let server = always(answer(500, "oops"));
    let Outcome { report, ended } = Load::at(server.target()).run();
    report.assert_all("/requests/unexpected_status");
    assert_eq!(
        (report.status(500), server.requests(), ended.status),
        (report.sent(), report.sent(), Some(0))
    );
}

/// One answer a connection, which says so in some way.
fn assert_one_answer_each(bytes: &[u8], how_it_ends: fn(&mut Peer) -> std::io::Result<()>) {
    let bytes = bytes.to_vec();
    let answered = Arc::new(AtomicU64::new(0));
    let server = Server::start({
        let answered = answered.clone();
        move |peer| {
            if peer.request()?.is_some() {
                answered.fetch_add(1, Ordering::SeqCst);
                peer.send(&bytes)?;
                how_it_ends(peer)?;
            }
            Ok(())
        }
    });
    let Outcome { report, ended } = Load::at(server.target()).run();
    report.assert_all("/requests/ok");
    assert_eq!(server.requests(), report.sent());
    assert_eq!(report.count("/connections/answers_before_close"), 1, "{ended:?}");
    assert!(report.connects() >= report.sent(), "a connection for every request");

    // What is pipelined behind the only answer is lost until the habit is learnt, and nothing after.
    answered.store(0, Ordering::SeqCst);
    let report = Load::pipelined(server.target()).run().report;
    assert_eq!(report.ok(), answered.load(Ordering::SeqCst));
    assert_eq!(report.errors(), report.error("closed") + report.error("reset"), "{report:?}");
    let (lives, behind) = (16 + 2, 15);
    assert!(report.errors() <= lives * behind, "{:#}", report.at("/requests"));
    assert!(report.ok() > lives, "the run went on: {:#}", report.at("/requests"));
    assert_eq!(report.count("/connections/answers_before_close"), 1);
}

#[test]
fn connection_close_is_believed() {
    assert_one_answer_each(&last_answer(200, "bye"), Peer::finish);
    // A server that leaves the closing to us.
    assert_one_answer_each(&last_answer(200, "bye"), |peer| {
        while peer.request()?.is_some() {}
        Ok(())
    });
}

#[test]
fn http_1_0_without_keep_alive_is_one_answer_a_connection() {
    assert_one_answer_each(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Peer::finish);
}

#[test]
fn a_body_without_length_lasts_until_the_close() {
    assert_one_answer_each(b"HTTP/1.1 200 OK\r\n\r\nsome of the body", |peer| {
        peer.send(b" and the rest")?;
        peer.finish()
    });
    assert_one_answer_each(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n", Peer::finish);
}

/// A server that closes each connection after `limit` answers, however it says so.
fn closing_after(limit: u64, announced: bool) -> (Server, Arc<AtomicU64>) {
    let answers = Arc::new(AtomicU64::new(0));
    let server = Server::start({
        let answers = answers.clone();
        move |peer| {
            for number in 1..=limit {
                if peer.request()?.is_none() {
                    return Ok(());
                }
                let last = announced && number == limit;
                answers.fetch_add(1, Ordering::SeqCst);
                peer.send(&if last { last_answer(200, "ok") } else { answer(200, "ok") })?;
            }
            peer.finish()
        }
    });
    (server, answers)
}

#[test]
fn a_close_after_so_many_answers_is_learnt() {
    for announced in [true, false] {
        let (server, answers) = closing_after(10, announced);
        let report = Load::at(server.target()).run().report;
        assert_eq!(report.ok(), answers.load(Ordering::SeqCst));
        assert_eq!(server.requests(), report.sent());
        assert_eq!(report.count("/connections/answers_before_close"), 10, "announced: {announced}");
        assert!(report.count("/connections/reopened") > 0);
        // A request may be on its way when an unannounced close comes; not once it is expected.
        assert!(report.errors() <= if announced { 0 } else { 4 + 2 }, "{:#}", report.at("/requests"));
    }
}

#[test]
fn a_close_in_the_middle_of_a_pipelined_batch_costs_what_was_behind_it() {
    for announced in [true, false] {
        let (server, answers) = closing_after(3, announced);
        let report = Load::pipelined(server.target()).run().report;
        assert_eq!(report.ok(), answers.load(Ordering::SeqCst), "every answer is an answer");
        assert_eq!(report.count("/connections/answers_before_close"), 3);
        assert!(report.error("closed") > 0, "the first batches were longer: {:#}", report.at("/requests"));
        assert_eq!(report.errors(), report.error("closed") + report.error("reset"));
        assert!(report.errors() <= (2 + 2) * 16, "{:#}", report.at("/requests"));
    }
}

#[test]
fn a_close_at_random_counts_teaches_nothing() {
    let server = Server::start(|peer| {
        // Never the same twice in a row.
        for _ in 0..3 + peer.index % 5 {
            if peer.request()?.is_none() {
                return Ok(());
            }
            peer.send(&answer(200, "ok"))?;
        }
        peer.finish()
    });
    let report = Load { connections: 1, ..Load::at(server.target()) }.run().report;
    assert_eq!(*report.at("/connections/answers_before_close"), serde_json::Value::Null);
    assert_eq!(report.errors() + report.ok(), report.sent());
    assert_eq!(server.requests(), report.sent());
}

/// No request gets an answer: all end as this error, at depth 1 and pipelined (where `behind` is the error of those behind the
/// first), and the command says that nothing was answered.
fn assert_all_fail(server: &Server, kind: &str, behind: &str) {
    let Outcome { report, ended } = Load::at(server.target()).run();
    report.assert_all(&format!("/requests/errors/{kind}"));
    assert_eq!(ended.status, Some(1), "{ended:?}");
    if kind != "reset" {
        assert_eq!(server.requests(), report.sent());
    }
    let Outcome { report, ended } = Load::pipelined(server.target()).run();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert_ne!(report.error(kind), 0, "{:#}", report.at("/requests"));
    let others = if behind == kind { 0 } else { report.error(behind) };
    assert_eq!(report.error(kind) + others, report.sent(), "{:#}", report.at("/requests"));
}

#[test]
fn a_close_instead_of_an_answer_is_closed() {
    assert_all_fail(
        &Server::start(|peer| {
            peer.request()?;
            peer.finish()
        }),
        "closed",
        "closed",
    );
}

#[test]
fn a_close_in_the_middle_of_an_answer_is_closed() {
    for half in [
        &b"HTTP/1.1 200 OK\r\nContent-Le"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let server = Server::start(move |peer| {
            peer.request()?;
            peer.send(half)?;
            peer.finish()
        });
        assert_all_fail(&server, "closed", "closed");
    }
}

#[test]
fn a_reset_is_a_reset() {
    for half in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let server = Server::start(move |peer| {
            peer.request()?;
            peer.send(half)?;
            peer.reset()
        });
        assert_all_fail(&server, "reset", "reset");
    }
}

#[test]
fn a_reset_after_some_answers_costs_what_is_in_flight() {
    let server = Server::start(|peer| {
        for _ in 0..3 {
            peer.request()?;
            peer.send(&answer(200, "ok"))?;
        }
        peer.request()?;
        peer.reset()
    });
    for load in [Load::at(server.target()), Load::pipelined(server.target())] {
        let report = load.run().report;
        assert_ne!(report.error("reset"), 0);
        assert_eq!(report.ok() + report.error("reset"), report.sent(), "{:#}", report.at("/requests"));
    }
}

#[test]
fn a_server_that_never_answers_is_a_timeout() {
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {}
        Ok(())
    });
    assert_all_fail(&server, "timeout", "aborted");
    // Not even accepted: the kernel completes the connection.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let report = Load::at(format!("http://{}/", silent.local_addr().unwrap())).run().report;
    report.assert_all("/requests/errors/timeout");
}

#[test]
fn a_timeout_takes_those_behind_it_along_as_aborted() {
    // Two requests are sent one after the other: the second only once the first was received.
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {}
        Ok(())
    });
    let load = Load { rate: "20", connections: 1, depth: 16, ..Load::at(server.target()) };
    let report = Load { duration: Duration::from_millis(900), ..load }.run().report;
    assert_ne!(report.error("timeout"), 0);
    assert_ne!(
        report.error("aborted"),
        0,
        "sent 50 ms apart, looked at every 16: {:#}",
        report.at("/requests")
    );
    assert_eq!(report.error("timeout") + report.error("aborted"), report.sent());
    assert_eq!(server.requests(), report.sent(), "none is sent again");
}

#[test]
fn what_is_no_http_answer_is_malformed() {
    let heads = [
        "garbage\r\n\r\n",
        "\u{1}\u{2}\u{3}\u{4}",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 000 Zero\r\n\r\n",
        "HTTP/1.1 20 Short\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
    ];
    for head in heads {
        let server = Server::start(move |peer| {
            while peer.request()?.is_some() {
                peer.send(head.as_bytes())?;
            }
            Ok(())
        });
        let Outcome { report, ended } = short(&server).run();
        report.assert_all("/requests/errors/malformed");
        assert!(report.at("/requests/malformed_because").is_string(), "{head:?}");
        assert_eq!((server.requests(), ended.status), (report.sent(), Some(1)), "{head:?}");
    }
}

#[test]
fn a_malformed_answer_takes_those_behind_it_along_as_aborted() {
    let server = Server::start(|peer| {
        for _ in 0..3 {
            peer.request()?;
            peer.send(&answer(200, "ok"))?;
        }
        peer.request()?;
        peer.send(b"nonsense\r\n\r\n")?;
        while peer.request()?.is_some() {}
        Ok(())
    });
    let report = Load { connections: 1, ..Load::pipelined(server.target()) }.run().report;
    let malformed = report.error("malformed");
    assert_ne!(malformed, 0);
    assert_eq!(report.ok(), 3 * malformed + report.ok() % 3, "three answers before each");
    assert_eq!(report.errors(), malformed + report.error("aborted"), "{:#}", report.at("/requests"));
}

#[test]
fn a_head_without_end_is_malformed() {
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            peer.send(&b"X-More: and more\r\n".repeat(100))?;
        }
    });
    assert_all_fail(&server, "malformed", "aborted");
}

#[test]
fn a_body_of_10_gib_is_counted_off_until_the_timeout() {
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")?;
        let piece = vec![b'x'; 1 << 20];
        loop {
            peer.send(&piece)?;
        }
    });
    let load = Load { connections: 1, rate: "10", ..Load::at(server.target()) };
    let Outcome { report, ended } = load.run();
    report.assert_all("/requests/errors/timeout");
    assert!(report.count("/bytes/received") > 1 << 20, "{ended:?}");
}

#[test]
fn an_answer_before_the_request_is_complete_counts_and_the_rest_is_still_sent() {
    let directory = Directory::new();
    let body = directory.path("body");
    std::fs::write(&body, vec![b'x'; 8 << 20]).unwrap();
    let body = format!("@{}", body.display());
    let server = Server::start(|peer| {
        while let Some(head) = peer.head()? {
            peer.send(&answer(200, "early"))?;
            peer.body(&head)?;
        }
        Ok(())
    });
    for depth in [1, 4] {
        let before = server.requests();
        let load =
            Load { rate: "20", connections: 2, depth, flags: &["-b", &body], ..Load::at(server.target()) };
        let report = load.run().report;
        report.assert_all("/requests/ok");
        assert_eq!(report.count("/connections/reopened"), 0);
        // The very last bodies may still be on their way when their answers have come: no more than one a connection.
        assert!(server.requests() - before + 2 >= report.sent());
    }
}

#[test]
fn a_refusal_before_the_request_is_complete_is_an_answer() {
    let directory = Directory::new();
    let body = directory.path("body");
    std::fs::write(&body, vec![b'x'; 8 << 20]).unwrap();
    let body = format!("@{}", body.display());
    let server = Server::start(|peer| {
        peer.head()?;
        peer.send(&last_answer(413, "too much"))?;
        peer.finish()
    });
    let load = Load { rate: "20", connections: 2, flags: &["-b", &body], ..Load::at(server.target()) };
    let report = load.run().report;
    report.assert_all("/requests/unexpected_status");
    assert_eq!(report.status(413), report.sent());
}

#[test]
fn a_server_that_answers_early_and_then_reads_no_more_does_not_hold_its_connections_for_ever() {
    let directory = Directory::new();
    let body = directory.path("body");
    std::fs::write(&body, vec![b'x'; 32 << 20]).unwrap();
    let body = format!("@{}", body.display());
    let server = Server::start(|peer| {
        peer.head()?;
        peer.send(&answer(200, "early"))?;
        peer.park()
    });
    let load = Load { rate: "20", connections: 1, flags: &["-b", &body], ..Load::at(server.target()) };
    let load = Load { duration: Duration::from_millis(1500), timeout: Duration::from_millis(300), ..load };
    let report = load.run().report;
    assert!(report.ok() > 1, "the connection was given up and opened again: {:#}", report.at("/requests"));
}

#[test]
fn an_answer_nobody_asked_for_ends_the_connection_and_counts_for_nothing() {
    // An idle limit: 408 and close, once the answer before it is through.
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send(&[answer(200, "ok"), last_answer(408, "idle")].concat())?;
        peer.finish()
    });
    let report = Load::at(server.target()).run().report;
    report.assert_all("/requests/ok");
    assert_eq!((report.status(408), server.requests()), (0, report.sent()));
    assert_ne!(report.count("/connections/reopened"), 0);
}

#[test]
fn an_idle_connection_that_is_told_408_and_closed_is_opened_again() {
    let server = Server::start(|peer| {
        if peer.index < 3 {
            peer.send(&last_answer(408, "idle"))?;
            return peer.finish();
        }
        while peer.request()?.is_some() {
            peer.send(&answer(200, "ok"))?;
        }
        Ok(())
    });
    let report = Load::at(server.target()).run().report;
    // A request that crosses the 408 on its way takes it for its answer: nobody could tell.
    assert_eq!(report.ok() + report.status(408) + report.errors(), report.sent());
    assert!(report.status(408) + report.errors() <= 3, "{:#}", report.at("/requests"));
    assert_eq!(report.count("/connections/reopened"), 3);
}

#[test]
fn a_switch_of_protocols_is_an_answer_and_the_end() {
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x01\x02\x03")?;
        while peer.request()?.is_some() {}
        Ok(())
    });
    let report = Load::at(server.target()).run().report;
    report.assert_all("/requests/unexpected_status");
    assert_eq!(report.status(101), report.sent());
}

#[test]
fn a_stall_is_waited_out() {
    let server = Server::start(|peer| {
        let mut first = true;
        while peer.request()?.is_some() {
            if std::mem::take(&mut first) {
                std::thread::sleep(Duration::from_millis(150));
            }
            peer.send(&answer(200, "ok"))?;
        }
        Ok(())
    });
    // A timeout that only a stall of the test machine itself could reach.
    let load = Load { timeout: Duration::from_secs(5), ..Load::at(server.target()) };
    let report = load.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(report.count("/requests/scheduled"), Load::SCHEDULED);
    assert!(report.count("/response_time_ns/max") >= 150_000_000, "the stall shows");
    assert!(report.count("/lateness_ns/blocked") > 0, "requests due meanwhile waited for a connection");
}

#[test]
fn a_server_that_goes_away_is_refused_from_then_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut reader = BufReader::new(&stream);
        let mut byte = [0];
        // Any byte of the first request.
        reader.read_exact(&mut byte).unwrap();
        (&stream).write_all(&last_answer(200, "bye")).unwrap();
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    });
    let report = Load { connections: 1, ..Load::at(target) }.run().report;
    server.join().unwrap();
    assert_eq!((report.sent(), report.ok()), (1, 1));
    assert!(report.count("/connections/failed/refused") > 0);
    assert_eq!(report.count("/requests/unsent/backlog"), Load::SCHEDULED - 1);
}

#[test]
fn the_requests_are_what_was_asked_for() {
    let server = Server::answering(|_, request: &Request| {
        let head = request.head.to_ascii_lowercase();
        let right = request.head.starts_with("PUT /a/b?c=d HTTP/1.1\r\n")
            && head.contains("\r\nhost: 127.0.0.1:")
            && head.contains("\r\nx-key: k=1\r\n")
            && head.contains("\r\ncontent-length: 4\r\n")
            && request.body == b"body";
        if right { answer(200, "") } else { answer(400, &request.head) }
    });
    let flags = ["-X", "PUT", "-H", "X-Key: k=1", "-b", "body", "--path", "/a/b?c=d"];
    let target = server.target();
    let bare = target.trim_end_matches('/');
    let report: Report = Load { flags: &flags, ..Load::at(bare) }.run().report;
    report.assert_all("/requests/ok");
}

#[test]
fn a_slow_reader_gets_every_byte_once() {
    // 64 KiB bodies into small buffers: sends are continued where they stopped.
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            let right =
                request.body.chunks(8).enumerate().all(|(i, chunk)| chunk == format!("{i:08}").as_bytes());
            peer.send(&answer(if right { 200 } else { 400 }, ""))?;
        }
        Ok(())
    });
    let directory = Directory::new();
    let path = directory.path("body");
    let body: String = (0..(1 << 20) / 8).map(|i| format!("{i:08}")).collect();
    std::fs::write(&path, &body).unwrap();
    let flags = ["-b", &format!("@{}", path.display())];
    for depth in [1, 4] {
        let load = Load { rate: "50", connections: 2, depth, flags: &flags, ..Load::at(server.target()) };
        load.run().report.assert_all("/requests/ok");
    }
}
