//! Claims about a worker, each in a run made for it.

use super::scenario::{Ending, Outcome, Scenario, Stream};
use super::server::{Answer, Behaviour, CloseAfter, Whim};
use super::{Costs, Span};
use crate::load::engine::{ConnectFailure, EndCause};
use crate::load::http1::Malformed;
use crate::load::recorder::{ClassRecord, Failure, Recorder, Series, histogram};
use crate::load::worker::{END_GRACE, Progress};
use crate::time::Nanos;

/// Everything of all recorders in one.
fn total(outcome: &Outcome) -> Recorder {
    let mut total = Recorder::new(outcome.recorders[0].main_classes().len());
    for recorder in &outcome.recorders {
        for (sum, class) in total.classes.iter_mut().zip(&recorder.classes) {
            sum.merge(class);
        }
        total.lateness.merge(&recorder.lateness);
        total.opened += recorder.opened;
        total.reopened += recorder.reopened;
        total.sends += recorder.sends;
        for (sum, count) in total.connect_failures.iter_mut().zip(recorder.connect_failures) {
            *sum += count;
        }
        total.malformed = total.malformed.or(recorder.malformed);
        total.answers_before_close = recorder.answers_before_close;
    }
    total
}

/// Runs, holds the accounts to balance, and gives all recorders in one.
fn run(scenario: &Scenario) -> Recorder {
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    total(&outcome)
}

fn errors(class: &ClassRecord, failure: Failure) -> u64 {
    class.errors[failure as usize]
}

fn max(series: &Series) -> Nanos {
    Nanos(series.histogram().max())
}

const SECOND: Nanos = Nanos::from_secs(1);

fn millis(millis: u64) -> Nanos {
    Nanos::from_millis(millis)
}

#[test]
fn a_healthy_server_gets_and_answers_every_request() {
    for depth in [1, 16] {
        let scenario = Scenario::simple(2_000.0, SECOND, 8, depth, Behaviour::healthy(0));
        let outcome = scenario.run();
        scenario.assert_accounts(&outcome);
        let class = &total(&outcome).classes[0];
        assert_eq!((class.scheduled, class.sent, class.ok), (2_000, 2_000, 2_000));
        assert_eq!((outcome.counts.received, outcome.counts.closed), (2_000, 0));
        assert!(outcome.was_ready);
    }
}

#[test]
fn requests_that_are_due_together_are_packed_when_pipelining_is_allowed() {
    let scenario = Scenario::simple(1_000_000.0, millis(20), 8, 64, Behaviour::healthy(0));
    let total = run(&scenario);
    assert_eq!(total.classes[0].ok, 20_000);
    assert!(total.sends * 6 < 20_000, "{} sends for 20,000 requests", total.sends);
    assert!(max(&total.lateness.on_time) < Nanos::from_micros(100), "{}", max(&total.lateness.on_time));
}

#[test]
fn late_response_is_measured_from_intended_time() {
    let behaviour = Behaviour { service: Span::micros(9_960, 9_960), ..Behaviour::healthy(0) };
    let scenario =
        Scenario { costs: Costs::default(), ..Scenario::simple(1_000.0, millis(20), 1, 1, behaviour) };
    let total = run(&scenario);
    // One at a time, 10 ms each: the tenth is sent 90 ms after the start, and was wanted after 9.
    let class = &total.classes[0];
    assert_eq!(class.unsent_backlog, 20 - class.sent);
    let sent = class.sent;
    let response = max(&class.response_ok);
    let expected = millis(10 * sent - (sent - 1));
    assert!(response >= expected && response < expected + millis(1), "{response}, expected {expected}");
    assert!(max(&class.service) < millis(11));
    let whole = max(&total.lateness.blocked_whole);
    assert!(whole + millis(11) > response && whole + millis(9) < response, "{whole}");
    assert!(max(&total.lateness.blocked_own) < Nanos::from_micros(10));
}

/// A server frozen from 1 s to 2 s, with room for all requests that come due meanwhile, and without.
#[test]
fn a_stall_is_charged_to_every_request_that_was_due_meanwhile() {
    for (connections, depth) in [(16, 64), (8, 1)] {
        let mut scenario =
            Scenario::simple(1_000.0, Nanos::from_secs(3), connections, depth, Behaviour::healthy(0));
        scenario.costs = Costs::default();
        let start = millis(4);
        let stall = start + SECOND..start + SECOND + SECOND;
        scenario.behaviours[0].stall = Some(stall.clone());
        let outcome = scenario.run();
        assert_eq!(outcome.start, start, "the stall is set for this start");
        scenario.assert_accounts(&outcome);
        let total = total(&outcome);

        // The same, said plainly: first come, first served by whatever request slot is free first.
        let mut expected = histogram();
        let mut free_at = vec![Nanos::ZERO; (connections * depth) as usize];
        let mut blocked = 0;
        for i in 0..3_000 {
            let intended = start + Nanos(i * 1_000_000);
            let slot = (0..free_at.len()).min_by_key(|&slot| free_at[slot]).unwrap();
            let sent = intended.max(free_at[slot]);
            blocked += u64::from(sent > intended);
            let arrived = sent + Nanos::from_micros(20);
            let served = if stall.contains(&arrived) { stall.end } else { arrived };
            free_at[slot] = served + Nanos::from_micros(70);
            expected.record((free_at[slot] - intended).0).unwrap();
        }
        let class = &total.classes[0];
        assert_eq!(class.ok, 3_000);
        let response = class.response_ok.histogram();
        for per_mille in 0..=1000 {
            let quantile = f64::from(per_mille) / 1000.0;
            let (is, wanted) = (response.value_at_quantile(quantile), expected.value_at_quantile(quantile));
            let apart = is.abs_diff(wanted);
            assert!(apart < 20_000 + wanted / 500, "{per_mille} per mille: {is} ns, expected {wanted} ns");
        }
        assert!(response.max() > 999_000_000);
        let lateness = &total.lateness;
        assert_eq!(lateness.blocked_whole.histogram().len(), blocked);
        assert!(max(&lateness.blocked_own) < Nanos::from_micros(10), "{}", max(&lateness.blocked_own));
        assert!(max(&lateness.on_time) < Nanos::from_micros(10), "{}", max(&lateness.on_time));
        assert_eq!(blocked > 900, depth == 1);
    }
}

#[test]
fn a_slow_generator_is_late_by_its_own_fault() {
    let mut scenario = Scenario::simple(1_000.0, SECOND, 64, 1, Behaviour::healthy(0));
    scenario.costs.turn = millis(5);
    let total = run(&scenario);
    assert_eq!(total.classes[0].ok, 1_000);
    assert_eq!(total.lateness.blocked_whole.histogram().len(), 0);
    assert!(max(&total.lateness.on_time) > millis(5));
}

#[test]
fn working_off_a_stall_of_the_target_is_not_the_generators_lateness() {
    let start = millis(50);
    let mut scenario = Scenario::simple(20_000.0, Nanos::from_secs(5), 64, 1, Behaviour::healthy(0));
    // A send as dear as on a real machine: what piled up takes many turns.
    scenario.costs = Costs { turn: Nanos(2_000), send: Nanos(4_000), partial: 0 };
    scenario.behaviours[0].stall = Some(start + SECOND..start + SECOND + SECOND);
    let total = run(&scenario);
    assert_eq!(total.classes[0].ok, 100_000);
    assert!(max(&total.lateness.blocked_whole) > millis(990), "20,000 waited for the target");
    let own = [&total.lateness.on_time, &total.lateness.blocked_own].map(max);
    assert!(own.iter().all(|own| *own < millis(1)), "own lateness {own:?}");
}

/// Too few connections to make up for it at once, so that most of what came due meanwhile waits for room as well.
#[test]
fn a_frozen_generator_owns_what_came_due_meanwhile() {
    let behaviour = Behaviour { service: Span::micros(300, 300), ..Behaviour::healthy(0) };
    let mut worker = Scenario::simple(10_000.0, Nanos::from_secs(3), 8, 1, behaviour).worker();
    let start = millis(50);
    worker.start(start);
    let (mut frozen, mut total) = (false, Recorder::new(1));
    loop {
        let progress = worker.turn();
        if !frozen && worker.now() > start + SECOND {
            worker.engine().clock += SECOND;
            frozen = true;
        }
        while let Some(mut full) = worker.take_full() {
            full.settle();
            total.lateness.merge(&full.lateness);
            full.clear();
            worker.give_spare(full);
        }
        if progress == Progress::Done {
            break;
        }
    }
    let mut own = total.lateness.on_time.clone();
    own.merge(&total.lateness.blocked_own);
    // 10,000 of 30,000 requests were due in the second that the generator slept through.
    let late = own.histogram().count_between(millis(10).0, u64::MAX);
    assert!((9_500..10_500).contains(&late), "{late} requests late by the generator's fault");
}

#[test]
fn backlog_at_the_end_is_unsent_after_the_grace() {
    let behaviour = Behaviour { service: Span::micros(30_000, 30_000), ..Behaviour::healthy(0) };
    let scenario = Scenario::simple(1_000.0, millis(100), 1, 1, behaviour);
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    let class = &total(&outcome).classes[0];
    // One every 30 ms, for the length and the grace.
    assert_eq!((class.scheduled, class.sent, class.ok), (100, 7, 7));
    assert_eq!((class.unsent_backlog, class.unsent_stopped), (93, 0));
    let elapsed = outcome.end - outcome.start;
    assert!(
        elapsed >= scenario.length + END_GRACE && elapsed < scenario.length + END_GRACE + millis(40),
        "{elapsed}"
    );
}

#[test]
fn a_stopped_run_says_what_only_the_stop_kept_from_being_sent() {
    // Turns of 5 ms: some requests are due and have room when the stop comes.
    let mut scenario = Scenario::simple(1_000.0, SECOND, 64, 1, Behaviour::healthy(0));
    scenario.costs.turn = millis(5);
    scenario.ending = Ending::Stopped(millis(500));
    let class = &run(&scenario).classes[0];
    assert!((500..510).contains(&class.scheduled), "{}", class.scheduled);
    assert!(class.unsent_stopped > 0 && class.unsent_stopped < 10, "{}", class.unsent_stopped);
    assert_eq!((class.unsent_backlog, class.ok), (0, class.sent));

    // Blocked: what waited for room would not have been sent without the stop either.
    let behaviour = Behaviour { service: Span::micros(30_000, 30_000), ..Behaviour::healthy(0) };
    let mut scenario = Scenario::simple(1_000.0, SECOND, 1, 1, behaviour);
    scenario.ending = Ending::Stopped(millis(500));
    let class = &run(&scenario).classes[0];
    assert_eq!((class.unsent_stopped, class.unsent_backlog), (0, class.scheduled - class.sent));
}

/// Held up from 200 ms on for 5 s, with a permit until 600 ms: the first turn after it must not send, and answers of what was sent
/// before still count. The run itself asserts that nothing was sent.
#[test]
fn a_worker_held_up_beyond_its_permit_sends_nothing_any_more() {
    let mut scenario = Scenario::simple(1_000.0, Nanos::from_secs(3), 8, 1, Behaviour::healthy(0));
    scenario.ending =
        Ending::Lapsed { frozen: millis(200), permitted: millis(600), pause: Nanos::from_secs(5) };
    let class = &run(&scenario).classes[0];
    assert!((195..=202).contains(&class.sent), "{}", class.sent);
    assert_eq!(class.scheduled, 601, "what is intended after the permit does not come due");
    assert_eq!((class.ok, class.unsent_stopped), (class.sent, class.scheduled - class.sent));
}

#[test]
fn a_permit_that_ends_before_the_start_ends_the_run_without_a_request() {
    let mut worker = Scenario::simple(1_000.0, SECOND, 4, 1, Behaviour::healthy(0)).worker();
    worker.permit(millis(100));
    worker.start(millis(200));
    while worker.turn() != Progress::Done {
        assert!(worker.now() <= millis(110));
    }
    assert_eq!((worker.lapsed(), worker.first_sent()), (Some(millis(100)), None));
    assert_eq!(worker.engine().counts().requests_sent, 0);
}

#[test]
fn a_permit_that_is_renewed_in_time_changes_nothing() {
    let scenario = Scenario::simple(1_000.0, SECOND, 4, 1, Behaviour::healthy(0));
    let mut worker = scenario.worker();
    let start = millis(50);
    worker.start(start);
    worker.permit(start);
    while worker.turn() != Progress::Done {
        let until = worker.now() + millis(100);
        worker.permit(until);
        while let Some(full) = worker.take_full() {
            worker.give_spare(full);
        }
    }
    assert_eq!((worker.lapsed(), worker.engine().counts().requests_sent), (None, 1_000));
    assert_eq!(worker.first_due(), Some(start));
    let until = start + Nanos::from_micros(10);
    assert!(
        worker.first_sent().is_some_and(|first| start <= first && first < until),
        "not when its answer came"
    );
}

#[test]
fn a_first_request_that_is_expected_is_timed_by_the_kernel() {
    let first_sent = |expects: bool| {
        let scenario = Scenario::simple(1_000.0, millis(100), 4, 1, Behaviour::healthy(0));
        let mut worker = scenario.worker();
        while worker.turn() != Progress::Ready {}
        worker.start(millis(50));
        if expects {
            worker.expect_first();
        }
        while worker.turn() != Progress::Done {}
        worker.first_sent().unwrap()
    };
    let (left, submitted) = (first_sent(true), first_sent(false));
    assert!(millis(50) <= left && left < submitted, "it left at {left}, the call returned at {submitted}");
}

#[test]
fn a_halted_run_leaves_in_flight_what_was_not_answered() {
    let behaviour = Behaviour { answers: vec![(Answer::Never, 1)], ..Behaviour::healthy(0) };
    let mut scenario = Scenario::simple(1_000.0, SECOND, 8, 64, behaviour);
    scenario.ending = Ending::Halted(millis(100));
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    assert!(outcome.end - outcome.start < millis(102));
    let last = outcome.recorders.last().unwrap();
    let class = &total(&outcome).classes[0];
    assert_eq!((last.in_flight_end, class.finished()), (class.sent, 0));
    assert!(class.sent > 95);
}

#[test]
fn a_run_stopped_before_its_start_ends_at_once_and_counts_nothing() {
    let mut worker = Scenario::simple(1_000.0, SECOND, 4, 1, Behaviour::healthy(0)).worker();
    worker.start(millis(50));
    worker.turn();
    worker.stop();
    // Whoever hosts the loop comes back late.
    worker.engine().clock += Nanos::from_secs(5);
    while worker.turn() != Progress::Done {}
    while let Some(full) = worker.take_full() {
        let class = &full.classes[0];
        assert_eq!((class.scheduled, class.sent, full.backlog_end), (0, 0, 0));
    }
}

#[test]
fn past_their_deadline_requests_time_out_and_those_behind_them_are_aborted() {
    let behaviour = Behaviour { answers: vec![(Answer::Never, 1)], ..Behaviour::healthy(0) };
    let mut scenario = Scenario::simple(100.0, millis(95), 1, 64, behaviour);
    scenario.timeout = millis(200);
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    let total = total(&outcome);
    let class = &total.classes[0];
    // Ten, 10 ms apart; a deadline is noticed within a thirty-second of the timeout.
    assert_eq!((class.sent, errors(class, Failure::Timeout), errors(class, Failure::Aborted)), (10, 1, 9));
    assert_eq!(class.response_rest.histogram().len(), 9);
    assert!(outcome.end - outcome.start < millis(220));
}

#[test]
fn nothing_is_sent_on_a_connection_in_the_turn_that_gives_it_up() {
    let behaviour = Behaviour { answers: vec![(Answer::Never, 1)], ..Behaviour::healthy(0) };
    let mut scenario = Scenario::simple(1_000.0, SECOND, 1, 256, behaviour);
    scenario.timeout = millis(100);
    let class = &run(&scenario).classes[0];
    assert!(errors(class, Failure::Aborted) > 500);
    assert!(
        class.service.histogram().min() > 100_000,
        "lost {} ns after it was sent",
        class.service.histogram().min()
    );
}

#[test]
fn the_first_malformed_answer_is_malformed_and_those_behind_it_are_aborted() {
    let behaviour = Behaviour {
        answers: vec![(Answer::Garbage, 1)],
        service: Span::micros(5_000, 5_000),
        ..Behaviour::healthy(0)
    };
    let total = run(&Scenario::simple(1_000.0, millis(4), 1, 64, behaviour));
    let class = &total.classes[0];
    assert_eq!((class.sent, errors(class, Failure::Malformed), errors(class, Failure::Aborted)), (4, 1, 3));
    assert!(matches!(total.malformed, Some(Malformed::NotHttp1(_))));
}

#[test]
fn a_half_answer_is_lost_with_its_connection() {
    for (cause, failure) in [(EndCause::Closed, Failure::Closed), (EndCause::Reset, Failure::Reset)] {
        let behaviour = Behaviour { answers: vec![(Answer::Half(cause), 1)], ..Behaviour::healthy(0) };
        let class = &run(&Scenario::simple(100.0, SECOND, 4, 1, behaviour)).classes[0];
        assert_eq!((class.ok, errors(class, failure)), (0, class.sent));
        assert!(class.sent > 0);
    }
}

#[test]
fn after_the_limit_of_answers_is_learnt_no_request_is_lost_to_it() {
    for announced in [false, true] {
        for depth in [1, 8] {
            let habit = CloseAfter { answers: 10, announced };
            let behaviour = Behaviour { close_after: Some(habit), ..Behaviour::healthy(0) };
            let mut scenario = Scenario::simple(20_000.0, Nanos::from_secs(3), 5, depth, behaviour);
            // Each connection is given a batch that does not divide the limit.
            scenario.costs.turn = Nanos::from_micros(150);
            let outcome = scenario.run();
            scenario.assert_accounts(&outcome);
            assert!(outcome.recorders.iter().all(|recorder| recorder.answers_before_close == Some(10)));
            for recorder in &outcome.recorders[1..3] {
                assert_eq!(recorder.classes[0].errors, [0; 5], "interval {:?}", recorder.interval);
                assert!(recorder.classes[0].ok > 5_000 && recorder.reopened > 500);
            }
        }
    }
}

#[test]
fn a_server_that_closes_at_random_is_not_taken_for_one_with_a_limit() {
    for seed in 1..10 {
        let behaviour =
            Behaviour { answers: vec![(Answer::Accepted, 19), (Answer::Last, 1)], ..Behaviour::healthy(0) };
        let mut scenario = Scenario::simple(2_000.0, Nanos::from_secs(5), 8, 1, behaviour);
        scenario.seed = seed;
        let total = run(&scenario);
        assert_eq!(total.classes[0].ok, 10_000);
        // One answer in twenty ends a connection: about 500, were the server left to it.
        assert!(total.reopened < 1_000, "seed {seed}: {} connections were opened again", total.reopened);
    }
}

#[test]
fn a_connection_that_was_given_more_than_a_limit_learnt_later_lives_no_longer() {
    // The second address closes after 3, the first never does: all connections must go on carrying requests.
    let habit = CloseAfter { answers: 3, announced: false };
    let second = Behaviour { close_after: Some(habit), ..Behaviour::healthy(0) };
    let mut scenario = Scenario::simple(2_000.0, Nanos::from_secs(2), 8, 4, Behaviour::healthy(0));
    scenario.behaviours.push(second);
    scenario.streams[0].addresses = vec![0, 1];
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    let last = outcome.recorders.last().unwrap();
    assert_eq!((last.answers_before_close, last.classes[0].errors), (Some(3), [0; 5]));
    assert!(max(&last.classes[0].response_ok) < millis(1));
}

#[test]
fn a_stalled_target_does_not_hold_up_the_other() {
    let stalled = Behaviour { answers: vec![(Answer::Never, 1)], ..Behaviour::healthy(0) };
    let scenario = two_targets(stalled);
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    assert_other_is_well(&outcome);
}

#[test]
fn a_target_that_never_answers_a_connect_does_not_hold_up_the_other() {
    let silent = Behaviour { ignore: 1000, ..Behaviour::healthy(0) };
    let mut scenario = two_targets(silent);
    // More than may be in the act of connecting to a target at a time.
    scenario.streams[0].connections = 100;
    scenario.behaviours[1].close_after = Some(CloseAfter { answers: 5, announced: true });
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    assert_other_is_well(&outcome);
    let timeouts = total(&outcome).connect_failures[ConnectFailure::Timeout as usize];
    assert!(timeouts >= 64, "{timeouts}");
}

/// A first target with this behaviour, and a healthy second of the same rate and its own class.
fn two_targets(first: Behaviour) -> Scenario {
    let mut scenario = Scenario::simple(1_000.0, SECOND, 4, 1, first);
    let mut second = scenario.streams[0].clone();
    second.addresses = vec![1];
    second.requests = vec![(1, 0); 3];
    second.connections = 4;
    scenario.streams.push(second);
    scenario.behaviours.push(Behaviour::healthy(1));
    scenario.classes = 2;
    scenario.timeout = millis(300);
    scenario
}

fn assert_other_is_well(outcome: &Outcome) {
    let total = total(outcome);
    let other = &total.classes[1];
    assert_eq!((other.scheduled, other.ok), (1_000, 1_000));
    assert!(max(&other.response_ok) < millis(10), "{}", max(&other.response_ok));
    assert_eq!(total.classes[0].ok, 0);
}

#[test]
fn a_worker_is_ready_once_every_connection_was_opened_or_failed_once() {
    for behaviour in [
        Behaviour { ignore: 1000, ..Behaviour::healthy(0) },
        Behaviour { refuse: 1000, ..Behaviour::healthy(0) },
        Behaviour { ignore: 500, refuse: 500, ..Behaviour::healthy(0) },
    ] {
        let mut scenario = Scenario::simple(1_000.0, SECOND, 12, 1, behaviour);
        scenario.timeout = millis(3_000);
        let mut worker = scenario.worker();
        while worker.turn() != Progress::Ready {
            assert!(
                worker.engine().clock < millis(3_200),
                "not ready though every connection had its chance"
            );
        }
    }
}

#[test]
fn a_target_that_refuses_is_tried_again_with_pauses() {
    let scenario = Scenario::simple(
        1_000.0,
        Nanos::from_secs(10),
        4,
        1,
        Behaviour { refuse: 1000, ..Behaviour::healthy(0) },
    );
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    let class = &total(&outcome).classes[0];
    assert_eq!((class.sent, class.unsent_backlog), (0, 10_000));
    // 1 ms doubled ten times, then 0.5 to 1 s each: about 25 a connection.
    assert!((60..160).contains(&outcome.counts.connects), "{} attempts", outcome.counts.connects);
}

#[test]
fn an_idle_connection_that_the_server_gives_up_costs_no_request() {
    for whim in [Whim::End(EndCause::Closed), Whim::End(EndCause::Reset), Whim::Unsolicited] {
        let behaviour = Behaviour {
            whim: 1000,
            whims: vec![whim],
            // Between two requests.
            whim_after: Span::micros(50_500, 50_500),
            ..Behaviour::healthy(0)
        };
        let scenario = Scenario::simple(20.0, SECOND, 1, 1, behaviour);
        let total = run(&scenario);
        assert_eq!((total.classes[0].ok, total.classes[0].errors), (20, [0; 5]), "{whim:?}");
        assert!(total.reopened > 0);
    }
}

#[test]
fn closed_loop_sends_what_it_schedules_and_is_never_late() {
    let scenario = Scenario::closed(millis(200), 4, 8, Behaviour::healthy(0));
    let total = run(&scenario);
    let class = &total.classes[0];
    assert_eq!((class.scheduled, class.ok), (class.sent, class.sent));
    assert!(class.sent > 4 * 200 * 8, "{}", class.sent);
    assert_eq!(class.response_ok.histogram(), class.service.histogram());
}

#[test]
fn a_late_reporter_makes_an_interval_longer_and_loses_nothing() {
    let mut scenario = Scenario::simple(200.0, Nanos::from_secs(9), 4, 1, Behaviour::healthy(0));
    scenario.reporting_late_turns = u64::MAX;
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    assert_eq!(outcome.recorders.len(), 4);
    assert_eq!(total(&outcome).classes[0].ok, 1_800);
}

#[test]
fn a_seed_repeats_a_run_to_the_last_bucket() {
    for seed in 0..20 {
        let (one, two) = (Scenario::random(seed).run(), Scenario::random(seed).run());
        assert_eq!((one.end, one.counts, one.recorders.len()), (two.end, two.counts, two.recorders.len()));
        for (one, two) in one.recorders.iter().zip(&two.recorders) {
            assert_eq!(
                (one.interval, one.turns, one.bytes_received),
                (two.interval, two.turns, two.bytes_received)
            );
            for (one, two) in one.classes.iter().zip(&two.classes) {
                assert_eq!((one.sent, one.ok, one.errors), (two.sent, two.ok, two.errors), "seed {seed}");
                assert_eq!(one.response_ok.histogram(), two.response_ok.histogram(), "seed {seed}");
                assert_eq!(one.response_rest.histogram(), two.response_rest.histogram(), "seed {seed}");
                assert_eq!(one.service.histogram(), two.service.histogram(), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_request_that_a_stalled_connection_still_sends_goes_out_as_a_copy() {
    // Two requests on the tape, and sockets that take a part at once and the rest much later: almost always both are covered.
    let behaviour =
        Behaviour { full_socket: 500, full_for: Span::micros(500, 2_000), ..Behaviour::healthy(0) };
    for depth in [1, 16] {
        let mut scenario = Scenario::simple(1_000.0, SECOND, 16, depth, behaviour.clone());
        scenario.streams[0].requests = vec![(0, 20), (0, 300)];
        let outcome = scenario.run();
        scenario.assert_accounts(&outcome);
        let class = &total(&outcome).classes[0];
        assert_eq!((class.sent, class.ok), (1_000, 1_000));
        assert!(outcome.counts.copies > 100, "depth {depth}: {} copies", outcome.counts.copies);
    }
}

#[test]
fn events_are_acknowledged_as_answers_count_them_and_else_by_their_status() {
    // Requests carry 100 events each; an accepted answer counts one, a chunked one does not count. (Class 0 carries none: one is
    // more than were sent.)
    for (answer, acknowledged, by_status) in
        [(Answer::Accepted, 1_000, 0), (Answer::Chunked, 100_000, 100_000)]
    {
        let behaviour =
            Behaviour { answers: vec![(answer, 1)], piece_bytes_max: Some(5), ..Behaviour::healthy(0) };
        let mut scenario = Scenario::simple(1_000.0, SECOND, 4, 4, behaviour);
        (scenario.streams[0].requests, scenario.classes) = (vec![(2, 40)], 3);
        scenario.streams[0].count_key = Some("count");
        let class = &total(&scenario.run()).classes[2];
        assert_eq!((class.ok, class.events_sent), (1_000, 100_000));
        assert_eq!((class.events_acknowledged, class.events_by_status), (acknowledged, by_status));
    }
}

/// 16 connections at 1 ms each carry 16,000 of 20,000 requests a second.
#[test]
fn the_first_answers_tell_what_the_target_takes_before_queues_grow() {
    let behaviour = Behaviour { service: Span::micros(1_000, 1_000), ..Behaviour::healthy(0) };
    let scenario = Scenario::simple(20_000.0, millis(500), 16, 1, behaviour);
    let outcome = scenario.run();
    let first: u64 = outcome.recorders.iter().map(|recorder| recorder.first_service.histogram().len()).sum();
    assert_eq!(first, 8);
    let longest = outcome.recorders.iter().map(|recorder| max(&recorder.first_service)).max();
    assert!(longest < Some(millis(2)), "{longest:?}");
}

/// From the first attempt to connect to the last.
fn attempts_took(outcome: &Outcome) -> Nanos {
    let at = |index: usize| outcome.connects[index].0;
    at(outcome.connects.len() - 1) - at(0)
}

#[test]
fn connections_are_opened_at_the_pace_asked_for() {
    let scenario = Scenario {
        connect_gap: millis(1),
        ..Scenario::simple(1_000.0, SECOND, 100, 1, Behaviour::healthy(0))
    };
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    assert_eq!((outcome.connects.len(), total(&outcome).classes[0].ok), (100, 1_000));
    assert!((millis(99)..millis(101)).contains(&attempts_took(&outcome)), "{}", attempts_took(&outcome));
    assert!(outcome.opening_took.is_some_and(|took| took >= attempts_took(&outcome)));
}

#[test]
fn a_shard_that_was_held_up_opens_no_more_than_a_few_connections_at_once() {
    let costs = Costs { turn: millis(50), ..Costs::default() };
    let scenario = Scenario {
        costs,
        connect_gap: millis(1),
        ..Scenario::simple(100.0, Nanos::from_secs(3), 60, 1, Behaviour::healthy(0))
    };
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    // Six a turn: what was due in five milliseconds, and the next.
    assert!((millis(450)..millis(600)).contains(&attempts_took(&outcome)), "{}", attempts_took(&outcome));
}

#[test]
fn paced_attempts_do_not_wait_for_the_answers_of_a_far_target() {
    let far = Behaviour { delay: Span::micros(100_000, 100_000), ..Behaviour::healthy(0) };
    let scenario = Scenario {
        connect_gap: Nanos::from_micros(100),
        ..Scenario::simple(100.0, Nanos::from_secs(2), 1_000, 1, far)
    };
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    let took = outcome.opening_took.expect("all were opened");
    assert!((millis(290)..millis(310)).contains(&took), "{took}");
}

#[test]
fn targets_take_turns_when_connections_are_paced() {
    let mut scenario = Scenario {
        connect_gap: millis(1),
        ..Scenario::simple(1_000.0, SECOND, 20, 1, Behaviour::healthy(0))
    };
    scenario.behaviours.push(Behaviour::healthy(1));
    let second = Stream { addresses: vec![1], ..scenario.streams[0].clone() };
    scenario.streams.push(second);
    let outcome = scenario.run();
    scenario.assert_accounts(&outcome);
    let turns: Vec<usize> = outcome.connects.iter().map(|&(_, address)| address).collect();
    assert_eq!(turns, [0, 1].repeat(20));
}

#[test]
fn how_long_opening_took_is_told_once_every_slot_was_tried() {
    let never = Behaviour { ignore: 1_000, ..Behaviour::healthy(0) };
    let scenario =
        Scenario { timeout: millis(500), ..Scenario::simple(10.0, millis(100), 4, 1, never.clone()) };
    let outcome = scenario.run();
    assert_eq!(outcome.opening_took, None, "the run was over before the attempts were");
    let refused = Behaviour { refuse: 1_000, ..Behaviour::healthy(0) };
    assert!(Scenario::simple(10.0, millis(100), 4, 1, refused).run().opening_took.is_some());
}
