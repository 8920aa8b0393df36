//! Claims about whole reports.

use super::*;
use crate::load::http1::Malformed;
use crate::load::recorder::Recorder;
use facts::CoreFacts;

fn facts(rate: AskedRate, slos: &str) -> RunFacts {
    RunFacts {
        version: "0.1.0".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        duration: Nanos::from_secs(2),
        plan: PlanFacts { rate, connections: 4, depth: 8, ..PlanFacts::default() },
        cores: vec![CoreFacts { core: 1, busy: 0.5, cpu_ns: 30_000 }],
        slos: slos.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect(),
        ..RunFacts::default()
    }
}

fn open() -> AskedRate {
    AskedRate::PerSecond(50.0)
}

/// Two classes with answers of both kinds, every error and unsent requests.
fn recorder() -> Recorder {
    let mut recorder = Recorder::new(2);
    recorder.interval = Some(0);
    recorder.sends = 10;
    recorder.connections_open = 4;
    recorder.opened = 4;
    recorder.connect_failures = [3, 2, 0, 1, 0];
    recorder.malformed = Some(Malformed::LineEnd);
    for (index, class) in recorder.classes[..2].iter_mut().enumerate() {
        class.scheduled = 100;
        class.unsent_backlog = 10;
        class.sent = 90;
        class.ok = 80;
        class.unexpected_status = 5;
        class.errors = [1; 5];
        class.status[202] = 80;
        class.status[503] = 5;
        class.events_sent = 900;
        (class.events_acknowledged, class.events_by_status) = (800, 700);
        for request in 0..80 {
            class.response_ok.record(Nanos(1_000 * (request + 1) + index as u64));
            class.service.record(Nanos(900));
        }
        for _ in 0..9 {
            class.response_rest.record(Nanos(500_000));
            class.service.record(Nanos(900));
        }
    }
    for _ in 0..170 {
        recorder.lateness.on_time.record(Nanos(4_000));
    }
    for _ in 0..10 {
        recorder.lateness.blocked_whole.record(Nanos(7_000_000));
        recorder.lateness.blocked_own.record(Nanos(5_000));
    }
    recorder
}

fn report_of(facts: RunFacts, recorder: &mut Recorder) -> Report {
    let mut collector = Collector::new(["a".to_owned(), "b".to_owned()], 1, Nanos::from_secs(1));
    collector.add(0, recorder);
    Report::build(facts, collector)
}

#[test]
fn counts_of_classes_sum_to_the_run_and_obey_the_identities() {
    let report = report_of(facts(open(), ""), &mut recorder());
    assert_eq!(report.check_identities(), Ok(()));
    assert_eq!((report.requests.scheduled, report.requests.completed), (200, 170));
    assert_eq!(report.requests.status, BTreeMap::from([(202, 160), (503, 10)]));
    assert_eq!((report.rate.offered, report.rate.ok), (Some(100.0), 80.0));
    assert_eq!(report.events, Events { sent: 1800, acknowledged: 1600, acknowledged_by_status: 1400 });
    assert!(report.requests.malformed_because.is_some());
    assert_eq!(report.connections.failed.refused, 3);
}

#[test]
fn timeouts_and_unsent_backlog_rank_last() {
    let report = report_of(facts(open(), ""), &mut recorder());
    let times = &report.response_time_ns;
    // 178 finite times of 200: 2 timeouts and 20 unsent.
    assert_eq!((times.count, times.unanswered), (178, 22));
    assert!(times.p75.is_some() && times.p90.is_none() && times.max.is_none());
    assert!(times.mean.is_some());
    assert_eq!((report.response_time_ok_ns.count, report.response_time_ok_ns.unanswered), (160, 0));
    assert_eq!(report.service_time_ns.unanswered, 2);
    assert_eq!(report.lateness_ns.as_ref().unwrap().whole.unanswered, 20);
}

#[test]
fn own_lateness_leaves_out_the_wait_for_a_connection() {
    let report = report_of(facts(open(), ""), &mut recorder());
    let lateness = report.lateness_ns.unwrap();
    assert_eq!(lateness.blocked, 10);
    assert!(lateness.own.max < Some(6_000));
    assert!(lateness.whole.p90 > Some(6_900_000), "{:?}", lateness.whole);
}

#[test]
fn promises_are_judged_on_all_requests() {
    let slos = "p50<1s,p95<1h,max<1h,mean<1h,errors<25%,errors<15%,achieved>=90%";
    let report = report_of(facts(open(), slos), &mut recorder());
    let kept: Vec<_> = report.slo.iter().map(|slo| slo.ok).collect();
    assert_eq!(kept, [true, false, false, false, true, false, true]);
    assert_eq!(report.slo[1].observed, None);
    assert_eq!(report.slo[6].observed, Some(0.9));
    assert!((report.slo[4].observed.unwrap() - 0.2).abs() < 1e-9);
}

#[test]
fn a_percentile_that_is_surely_endless_is_decided() {
    // 22 of 200 were never answered: of p95 even the lower end of the interval is endless.
    let report = report_of(facts(open(), "p95<1h,p90<1h,p50<1h"), &mut recorder());
    assert_eq!(report.response_time_ns.interval_95.p95, [None, None]);
    let decided: Vec<_> = report.slo.iter().map(|slo| (slo.decided, slo.ok)).collect();
    assert_eq!(decided, [(true, false), (false, false), (true, true)], "{:?}", report.slo);
}

#[test]
fn the_same_times_are_worth_less_where_they_come_in_bursts() {
    let intervals = |interval_of: fn(u64) -> u64| {
        let mut collector = Collector::new(["a".to_owned()], 1, Nanos::from_secs(1));
        for interval in 0..10 {
            let mut recorder = Recorder::new(1);
            recorder.interval = Some(interval);
            let class = &mut recorder.classes[0];
            for time in (0..1_000).filter(|time| interval_of(*time) == u64::from(interval)) {
                class.response_ok.record(Nanos(1_000 + time));
                class.scheduled += 1;
            }
            (class.sent, class.ok, class.status[200]) = (class.scheduled, class.scheduled, class.scheduled);
            collector.add(0, &mut recorder);
        }
        let report = Report::build(facts(open(), "p50<1s"), collector);
        assert_eq!(report.response_time_ns.p50, Some(1_499));
        let ends = report.response_time_ns.interval_95.p50;
        assert_eq!(report.slo[0].interval_95, Some(ends));
        assert_eq!(report.classes[0].response_time_ok_ns.interval_95.p50, ends);
        ends.map(Option::unwrap)
    };
    // Evenly over all seconds, and every second slower than the one before.
    assert_eq!(intervals(|time| time % 10), [1_468, 1_531]);
    let [low, high] = intervals(|time| time / 100);
    assert!(low < 1_200 && high > 1_800, "{low} {high}");
}

#[test]
fn requests_a_stop_cut_off_are_nobodys_error() {
    let requests = Requests {
        scheduled: 100,
        sent: 90,
        unsent: Unsent { backlog: 0, stopped: 10 },
        ok: 80,
        in_flight_at_end: 10,
        ..Requests::default()
    };
    assert_eq!((requests.error_rate(), requests.achieved()), (Some(0.0), Some(1.0)));
    assert_eq!(Requests::default().error_rate(), None);
}

#[test]
fn in_closed_loop_nothing_is_offered_or_late() {
    let report = report_of(facts(AskedRate::max(), ""), &mut recorder());
    assert_eq!((&report.rate.offered, &report.lateness_ns), (&None, &None));
    assert_eq!(report.histograms.lateness, None);
}

#[test]
fn cpu_and_packing_are_per_request_sent() {
    let report = report_of(facts(open(), ""), &mut recorder());
    assert_eq!(report.generator.requests_per_send, Some(18.0));
    assert!(report.generator.packed);
    assert!((report.generator.cpu_ns_per_request.unwrap() - 30_000.0 / 180.0).abs() < 1e-9);
}

#[test]
fn a_report_survives_its_json() {
    for rate in [open(), AskedRate::max()] {
        let report = report_of(facts(rate, "p50<1s,p99<1s"), &mut recorder());
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}

#[test]
fn histograms_in_the_report_hold_the_finite_times() {
    let report = report_of(facts(open(), ""), &mut recorder());
    let decoded = encoding::decode(&report.histograms.response_time).unwrap();
    assert_eq!(decoded.len(), report.response_time_ns.count);
    assert_eq!(encoding::decode(&report.histograms.lateness.unwrap()).unwrap().len(), 180);
}

#[test]
fn a_broken_identity_is_named() {
    let mut report = report_of(facts(open(), ""), &mut recorder());
    report.intervals[0].backlog_end += 1;
    let error = report.check_identities().unwrap_err();
    assert!(error.starts_with("backlog_start + scheduled of the interval at 0 s"), "{error}");
    report.requests.sent += 1;
    assert!(report.check_identities().unwrap_err().starts_with("scheduled of the run"));
}

#[test]
fn a_run_in_which_nothing_happened_has_a_report() {
    let collector = Collector::new(["a".to_owned()], 2, Nanos::from_secs(1));
    let report = Report::build(RunFacts { duration: Nanos::ZERO, ..facts(open(), "errors<1%") }, collector);
    assert_eq!(report.check_identities(), Ok(()));
    assert_eq!((report.rate.sent, report.slo[0].ok), (0.0, false));
    assert_eq!(report.verdict.reasons[0].code, "no_answers");
    serde_json::to_string(&report).unwrap();
}

#[test]
fn the_warm_up_is_in_no_other_figure() {
    let mut recorder = recorder();
    recorder.classes[2].scheduled = 7;
    recorder.classes[2].sent = 7;
    recorder.classes[2].ok = 7;
    recorder.classes[2].status[200] = 7;
    let mut facts = facts(open(), "");
    facts.plan.warmup_ns = 1_000_000_000;
    let report = report_of(facts, &mut recorder);
    assert_eq!(report.warmup.as_ref().unwrap().requests.ok, 7);
    assert_eq!((report.requests.scheduled, report.intervals[0].scheduled), (200, 200));
    assert_eq!(report.check_identities(), Ok(()));
}
