//! What the summary, the percentile text and the interval log say of known reports.

#[path = "samples/reports.rs"]
mod reports;

use blaster::output::{hgrm, hlog, json, summary};
use blaster_core::load::recorder::Recorder;
use blaster_core::report::Report;
use blaster_core::report::collector::Collector;
use blaster_core::report::verdict::Status;
use blaster_core::time::Nanos;

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|candidate| candidate == *line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for (name, report) in reports::all() {
        for width in [60, 72, 80, 100, 120, 160, 240] {
            for line in summary::render(&report, width, false).lines() {
                assert!(line.chars().count() <= width, "{name} at {width}: {line:?}");
                assert_eq!(line, line.trim_end(), "{name} at {width}");
            }
        }
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    for (name, report) in reports::all() {
        let mut coloured = summary::render(&report, 100, true);
        assert!(coloured.contains("\x1b["), "{name}");
        for code in ["0", "1", "2", "31", "32", "33"] {
            coloured = coloured.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(coloured, summary::render(&report, 100, false), "{name}");
    }
}

#[test]
fn a_summary_of_80_columns_begins_with_the_verdict_and_wraps_explanations() {
    let text = summary::render(&reports::open(), 80, false);
    assert_lines(
        &text,
        &[
            "blaster 0.1.0 · 1,000,000 req/s for 30 s -> http://api:3000/events · events, 1",
            "✓ VALID          the generator kept its schedule: own lateness p99 41 µs, core",
            "                 61 % busy",
            "✓ p99<500ms      3.91 ms (3.91 ms)",
            "✗ errors<0.1%    0.24 %",
            "offered     30,000,000  1,000,000/s",
            "sent        30,000,000  1,000,000/s  100.00 %   12.4 GB sent, 3.1 GB received",
            "202         29,928,114    997,604/s   99.76 %",
            "429             71,002      2,367/s    0.24 %   the target says it is full:",
            "                                                lower the rate or add instances",
            "lateness          4 µs    4 µs    41 µs      –   900 µs  6.71 µs",
            "  response time: from the intended moment; p99 within 3.91 ms (95 %) · service",
        ],
    );
}

#[test]
fn a_summary_of_160_columns_explains_beside_the_numbers() {
    let text = summary::render(&reports::open(), 160, false);
    assert_lines(
        &text,
        &[
            "✓ VALID          the generator kept its schedule: own lateness p99 41 µs, core 61 % busy",
            "429             71,002      2,367/s    0.24 %   the target says it is full: lower the rate or add instances",
            "service time    398 µs  398 µs   3.8 ms      –    22 ms   586 µs   from the actual send",
            "generator     core 1 61 % busy · 412 ns CPU a request · packed 8.3 a send",
        ],
    );
}

#[test]
fn in_closed_loop_nothing_is_offered_or_late() {
    let text = summary::render(&reports::closed(), 160, false);
    assert_lines(
        &text,
        &[
            "closed loop (--rps max): response times leave out the waits an open loop would see",
            "✓ VALID          the generator was not the limit, core 61 % busy",
        ],
    );
    for word in ["offered", "lateness", "service time"] {
        assert!(!text.contains(word), "{word} in\n{text}");
    }
}

#[test]
fn what_was_never_answered_is_endless_and_every_failure_has_its_next_step() {
    let text = summary::render(&reports::unanswered(), 160, false);
    assert_lines(
        &text,
        &[
            "interrupted after 12.3 s of 30 s: all figures cover that time only",
            "✗ max<1s         ∞ (never answered)",
        ],
    );
    for words in [
        "stages 30s:1000,10s:=5000",
        "1,300 never answered rank last (∞)",
        "redirects are reported, never followed: point --target at the final URL",
        "there is nothing at that path: check --path",
        "answer within --timeout: the target is overloaded or stuck; lower the rate",
        "no connection had room for them up to the end",
        "not sent only because the run was stopped",
        "3 refused: nothing accepts there: start the target",
        "40 limits: out of ports, descriptors or memory here: raise `ulimit -n`",
        "64 opened, 77 reopened, 51 attempts failed; the target closes each after 1,000 answers",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn several_classes_have_a_table_and_batches_their_events() {
    let text = summary::render(&reports::classes(), 80, false);
    assert_lines(&text, &["class                    sent        ok     p50     p99  p99.9   max"]);
    for words in [
        "batch100                2,000  100.00 %",
        "http://a-very-long-ho…",
        "acknowledged of 204,000",
        "warm-up",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn nodes_have_a_row_each_and_a_lost_one_makes_the_run_suspect() {
    let report = reports::nodes();
    assert_eq!(report.verdict.status, Status::Suspect);
    let text = summary::render(&report, 100, false);
    for part in [
        "load-2:7400 was found lost after 12.3 s (nothing was heard of it for 3 s)",
        "✗ lost after 12.3 s",
        "+30 µs  ±41 µs  ✓ valid",
        "- load-3:7400: no answer",
        "the nodes started within 20 µs of each other, give or take 41 µs (their clocks)",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    // With less room, what became of a node is still there.
    let text = summary::render(&report, 80, false);
    for part in ["3.91 ms", "✓ valid", "✗ lost after 12.3 s"] {
        let mut row = text.lines().filter(|line| line.starts_with("load-"));
        assert!(row.any(|line| line.contains(part) && line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn a_run_without_answers_says_so_first() {
    let text = summary::render(&reports::silent(), 100, false);
    assert!(text.contains("⚠ SUSPECT"), "{text}");
    assert!(text.contains("not one answer came: connections were refused: start the target"), "{text}");
}

#[test]
fn json_is_read_back_as_the_same_report() {
    for (name, report) in reports::all() {
        assert_eq!(serde_json::from_str::<Report>(&json::render(&report)).unwrap(), report, "{name}");
    }
}

#[test]
fn the_percentile_text_rises_to_one_in_milliseconds() {
    let text = hgrm::render(&reports::open()).unwrap();
    let rows: Vec<Vec<f64>> = table(&text);
    assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{text}");
    assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]), "{text}");
    let last = rows.last().unwrap();
    assert_eq!((last[0].round(), last[1], last[2]), (22.0, 1.0, 1000.0));
    assert!(text.contains("#[Max     =       22.1"), "{text}");
    assert!(text.contains("Total count    =         1000]"), "{text}");
    assert!(text.ends_with("#[Buckets =           32, SubBuckets     =         2048]\n"), "{text}");
}

#[test]
fn the_percentile_text_ends_before_the_unanswered() {
    let text = hgrm::render(&reports::unanswered()).unwrap();
    let last = table(&text).pop().unwrap();
    assert!((last[1] - 1000.0 / 2300.0).abs() < 1e-9 && last[2] == 1000.0, "{text}");
    assert!(text.contains("#[Unanswered = 1300"), "{text}");
}

fn table(text: &str) -> Vec<Vec<f64>> {
    let rows = text.lines().skip(2).take_while(|line| !line.starts_with('#'));
    rows.map(|row| row.split_whitespace().map(|cell| cell.parse().unwrap()).collect()).collect()
}

#[test]
fn the_interval_log_has_a_line_an_interval_that_reads_back() {
    let mut collector = Collector::new(["all".to_owned()], 1, Nanos::from_secs(1));
    let mut log = hlog::IntervalLog::begin(
        Vec::new(),
        "0.1.0",
        1_767_323_045.678,
        collector.interval(),
        false,
        &Default::default(),
    )
    .unwrap();
    for number in 0..3 {
        let mut recorder = Recorder::new(1);
        recorder.interval = Some(number);
        let class = &mut recorder.classes[0];
        (class.scheduled, class.sent, class.ok) = (1, 1, 1);
        class.response_ok.record(Nanos(2_000_000));
        collector.add(0, &mut recorder);
        for interval in collector.take_finished_intervals() {
            log.write(&interval).unwrap();
        }
    }
    let text = String::from_utf8(log.finish().unwrap()).unwrap();
    assert!(
        text.contains(
            "#[Histogram log format version 1.3]\n#[StartTime: 1767323045.678 (seconds since epoch)"
        )
    );
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[2].starts_with("2.000,1.000,2.0"), "{}", lines[2]);
    let encoded = lines[2].rsplit(',').next().unwrap();
    assert_eq!(blaster_core::report::encoding::decode(encoded).unwrap().len(), 1);
}

#[test]
fn the_kernels_times_are_a_line_of_their_own_or_say_why_there_are_none() {
    assert_lines(
        &summary::render(&reports::closed(), 120, false),
        &[
            "wire          1,000 requests timed by the kernel: before the wire 2 µs / 8 µs (p50 / p99) · after it 3 µs / 11 µs",
        ],
    );
    assert_lines(
        &summary::render(&reports::unanswered(), 120, false),
        &["wire          the kernel timed no request: the network device reports no times of departure"],
    );
    assert!(!summary::render(&reports::silent(), 120, false).contains("wire "), "nothing was sent");
}
