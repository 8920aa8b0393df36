//! Reports of hand-filled recorders, one for every shape a run can have.

use std::collections::BTreeMap;

use blaster_core::load::engine::ConnectFailure;
use blaster_core::load::recorder::{ClassRecord, Failure, Recorder, Series};
use blaster_core::report::collector::Collector;
use blaster_core::report::facts::{AskedRate, CoreFacts, Environment, PlanFacts, RunFacts};
use blaster_core::report::nodes::{Clock, HandedOver, Node, NodeState};
use blaster_core::report::{Events, Report, Requests};
use blaster_core::time::Nanos;

/// Every shape, with its name.
pub fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("open loop", open()),
        ("closed loop", closed()),
        ("unanswered requests", unanswered()),
        ("several classes", classes()),
        ("no answer", silent()),
        ("several nodes", nodes()),
    ]
}

/// A million requests a second for 30 s, some of them refused by the target.
pub fn open() -> Report {
    let mut recorder = recorder(1);
    let class = &mut recorder.classes[0];
    class.scheduled = 30_000_000;
    class.sent = 30_000_000;
    (class.events_sent, class.events_acknowledged) = (30_000_000, 29_928_114);
    answers(class, &[(202, 29_928_114)]);
    class.unexpected_status = 71_002;
    class.status[429] = 71_002;
    class.errors[Failure::Reset as usize] = 884;
    fill(&mut class.response_ok, 412_000, 3_910_000, 22_100_000);
    fill(&mut class.service, 398_000, 3_800_000, 22_000_000);
    fill(&mut recorder.lateness.on_time, 4_000, 41_000, 900_000);
    recorder.bytes_sent = 12_400_000_000;
    recorder.bytes_received = 3_100_000_000;
    recorder.sends = 30_000_000 * 10 / 83;
    let plan = PlanFacts { rate: AskedRate::PerSecond(1e6), depth: 64, depth_auto: true, ..plan() };
    report(facts(plan, "p99<500ms,errors<0.1%"), &["events"], recorder)
}

/// Three nodes: one did its part, one was lost, one took none.
pub fn nodes() -> Report {
    let report = open();
    let node = |name: &str, state, cause: Option<&str>| Node {
        name: name.to_owned(),
        state,
        cause: cause.map(str::to_owned),
        lost_at_s: None,
        handed_over: Vec::new(),
        version: Some("0.1.0".to_owned()),
        share: 0.5,
        measured_rps: Some(1_200_000),
        requests: Requests::default(),
        events: Events::default(),
        clock: Some(Clock { ahead_ns: -3_600_000_000_000, bound_ns: 41_000, drift_ppb: Some(-1_200) }),
        first_due_ns: None,
        first_sent_ns: None,
        response_time_ns: None,
        verdict: None,
        environment: None,
        generator: None,
    };
    let whole = Node {
        requests: report.requests.clone(),
        events: report.events.clone(),
        first_due_ns: Some(12),
        first_sent_ns: Some(30_012),
        response_time_ns: Some(report.response_time_ns.clone()),
        verdict: Some(report.verdict.clone()),
        environment: Some(report.environment.clone()),
        generator: Some(report.generator.clone()),
        ..node("load-1:7400", NodeState::Done, None)
    };
    let lost = Node {
        lost_at_s: Some(12.3),
        handed_over: vec![HandedOver { to: "load-1:7400".to_owned(), share: 0.25, from_s: 17.2 }],
        first_due_ns: Some(-7),
        first_sent_ns: Some(50_000),
        ..node("load-2:7400", NodeState::Lost, Some("nothing was heard of it for 3 s"))
    };
    let out = Node {
        share: 0.0,
        measured_rps: None,
        clock: None,
        version: None,
        ..node("load-3:7400", NodeState::Out, Some("no answer"))
    };
    let mut report = report.with_nodes(vec![whole, lost, out]);
    report.intervals[0].missing = 0.5;
    report
}

/// As fast as answers come.
pub fn closed() -> Report {
    let mut recorder = recorder(1);
    let class = &mut recorder.classes[0];
    (class.scheduled, class.sent) = (600_000, 600_000);
    answers(class, &[(200, 600_000)]);
    fill(&mut class.response_ok, 90_000, 200_000, 900_000);
    fill(&mut class.service, 90_000, 200_000, 900_000);
    recorder.sends = 600_000;
    fill(&mut recorder.wire.before, 2_000, 8_000, 90_000);
    fill(&mut recorder.wire.between, 84_000, 180_000, 800_000);
    fill(&mut recorder.wire.after, 3_000, 11_000, 70_000);
    let plan = PlanFacts {
        rate: AskedRate::max(),
        arrivals: None,
        payload: "GET /".to_owned(),
        events_per_request: None,
        ..plan()
    };
    report(facts(plan, ""), &["GET /"], recorder)
}

/// Stopped by hand, with every failure there is.
pub fn unanswered() -> Report {
    let mut recorder = recorder(1);
    let class = &mut recorder.classes[0];
    class.scheduled = 10_000;
    class.unsent_backlog = 800;
    class.unsent_stopped = 200;
    class.sent = 9_000;
    answers(class, &[(200, 8_000), (302, 100)]);
    class.unexpected_status = 300;
    (class.status[404], class.status[503]) = (200, 100);
    class.errors = [10, 20, 500, 30, 20];
    fill(&mut class.response_ok, 2_000_000, 9_000_000, 40_000_000);
    fill(&mut class.service, 2_000_000, 9_000_000, 40_000_000);
    fill(&mut recorder.lateness.on_time, 5_000, 90_000, 200_000);
    fill(&mut recorder.lateness.blocked_whole, 4_000_000, 9_000_000, 40_000_000);
    fill(&mut recorder.lateness.blocked_own, 5_000, 90_000, 200_000);
    recorder.in_flight_end = 20;
    recorder.connect_failures = [3, 2, 1, 40, 5];
    recorder.reopened = 77;
    recorder.answers_before_close = Some(1000);
    let stages = Some("30s:1000,10s:=5000".to_owned());
    let plan = PlanFacts { rate: AskedRate::PerSecond(5_000.0), stages, ..plan() };
    let facts = RunFacts {
        wire_unavailable: Some("the network device reports no times of departure".to_owned()),
        interrupted: true,
        duration: Nanos::from_millis(12_345),
        ..facts(plan, "max<1s,mean<5ms")
    };
    report(facts, &["events"], recorder)
}

/// Three kinds of request, two shards, a warm-up, and a name that is longer than a line.
pub fn classes() -> Report {
    let long = "http://a-very-long-host-name.in-some-department.example.com:3000/with/a/long/path".to_owned();
    let names = ["single".to_owned(), "batch100".to_owned(), long];
    let mut collector = Collector::new(names, 2, Nanos::from_secs(1));
    for shard in 0..2 {
        let mut recorder = recorder(3);
        for (index, class) in recorder.classes.iter_mut().enumerate() {
            (class.scheduled, class.sent) = (1_000, 1_000);
            class.events_sent = if index == 1 { 100_000 } else { 1_000 };
            class.events_acknowledged = class.events_sent;
            answers(class, &[(202, 1_000)]);
            fill(&mut class.response_ok, 300_000, 900_000, 2_000_000);
            fill(&mut class.service, 300_000, 900_000, 2_000_000);
        }
        fill(&mut recorder.lateness.on_time, 4_000, 41_000, 900_000);
        collector.add(shard, &mut recorder);
    }
    let plan = PlanFacts { rate: AskedRate::PerSecond(200.0), warmup_ns: 5_000_000_000, ..plan() };
    let mut facts = facts(plan, "achieved>99%");
    facts.tags = BTreeMap::from([("build".to_owned(), "42".to_owned())]);
    facts.cores.push(CoreFacts { core: 2, busy: 0.25, cpu_ns: 2_000_000 });
    (facts.steal, facts.retransmits) = (Some(0.01), Some(7));
    Report::build(facts, collector)
}

/// Nobody listens.
pub fn silent() -> Report {
    let mut recorder = recorder(1);
    recorder.connect_failures[ConnectFailure::Refused as usize] = 640;
    (recorder.opened, recorder.connections_open) = (0, 0);
    recorder.classes[0].scheduled = 100_000;
    recorder.classes[0].unsent_backlog = 100_000;
    let plan = PlanFacts { rate: AskedRate::PerSecond(10_000.0), ..plan() };
    report(facts(plan, "p99<500ms"), &["events"], recorder)
}

fn report(facts: RunFacts, names: &[&str], mut recorder: Recorder) -> Report {
    let mut collector = Collector::new(names.iter().map(|name| (*name).to_owned()), 1, Nanos::from_secs(1));
    collector.add(0, &mut recorder);
    Report::build(facts, collector)
}

fn recorder(classes: usize) -> Recorder {
    let mut recorder = Recorder::new(classes);
    recorder.interval = Some(0);
    recorder.opened = 64;
    recorder.connections_open = 64;
    recorder.turns = 1_000;
    fill(&mut recorder.connect_time, 50_000, 90_000, 100_000);
    fill(&mut recorder.turn_time, 5_000, 20_000, 70_000);
    recorder
}

fn answers(class: &mut ClassRecord, ok: &[(usize, u64)]) {
    for (status, count) in ok {
        class.ok += count;
        class.status[*status] += count;
    }
}

/// A thousand times: most of them `p50`, some `p99`, one `max`.
fn fill(series: &mut Series, p50: u64, p99: u64, max: u64) {
    let times = (0..950).map(|_| p50).chain((0..49).map(|_| p99)).chain([max]);
    times.for_each(|time| series.record(Nanos(time)));
}

fn plan() -> PlanFacts {
    PlanFacts {
        targets: vec!["http://api:3000/events".to_owned()],
        arrivals: Some("uniform".to_owned()),
        connections: 64,
        depth: 1,
        threads: 1,
        payload: "events, 1 per request".to_owned(),
        events_per_request: Some(1.0),
        tape_requests: 4096,
        tape_bytes: 1_750_000,
        expect: "200-399".to_owned(),
        timeout_ns: 10_000_000_000,
        duration_ns: 30_000_000_000,
        ..PlanFacts::default()
    }
}

fn facts(plan: PlanFacts, slos: &str) -> RunFacts {
    RunFacts {
        version: "0.1.0".to_owned(),
        started_at: "2026-01-02T03:04:05.678Z".to_owned(),
        duration: Nanos::from_secs(30),
        seed: 7,
        plan,
        environment: Environment {
            kernel: "6.12.0".to_owned(),
            cpu: "a CPU".to_owned(),
            cores: 2,
            cores_allowed: 2,
            congestion_control: "cubic".to_owned(),
            ..Environment::default()
        },
        cores: vec![CoreFacts { core: 1, busy: 0.61, cpu_ns: 12_360_000_000 }],
        slos: slos.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect(),
        ..RunFacts::default()
    }
}
