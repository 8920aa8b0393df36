//! Claims about verdicts.

use super::*;
use crate::report::machine::Usage;

/// A run at which there is nothing to find fault with.
fn good() -> Evidence {
    Evidence {
        own_lateness_p50_ns: Some(4_000),
        own_lateness_p99_ns: Some(41_000),
        offered: Some(10_000.0),
        achieved: Some(1.0),
        scheduled: 100_000,
        sent: 100_000,
        completed: 100_000,
        connections: 64,
        depth: 1,
        unloaded_service_ns: Some(400_000),
        busy_max: Some(0.6),
        ..Evidence::default()
    }
}

#[track_caller]
fn assert_verdict(evidence: &Evidence, status: Status, limiter: Limiter, codes: &[&str]) -> Verdict {
    let verdict = judge(evidence);
    let found: Vec<_> = verdict.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!((verdict.status, verdict.limiter, found.as_slice()), (status, limiter, codes));
    verdict
}

#[test]
fn a_run_on_schedule_is_valid_and_unlimited() {
    assert_verdict(&good(), Status::Valid, Limiter::None, &[]);
}

#[test]
fn own_lateness_of_the_median_makes_a_run_client_limited() {
    let late =
        Evidence { own_lateness_p50_ns: Some(1_000_001), own_lateness_p99_ns: Some(1_500_000), ..good() };
    let verdict = assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
    assert_eq!((verdict.reasons[0].value, verdict.reasons[0].limit), (1_000_001.0, 1e6));
}

#[test]
fn own_lateness_of_the_tail_makes_a_run_client_limited() {
    let late = Evidence { own_lateness_p99_ns: Some(10_000_001), ..good() };
    let verdict = assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
    assert!(verdict.reasons[0].text.contains("p99 10 ms, the limit is 10 ms"), "{}", verdict.reasons[0].text);
}

#[test]
fn some_own_lateness_of_the_tail_is_suspect() {
    let late = Evidence { own_lateness_p99_ns: Some(1_000_001), ..good() };
    assert_verdict(&late, Status::Suspect, Limiter::Client, &["own_lateness"]);
    let at_the_limit = Evidence { own_lateness_p99_ns: Some(1_000_000), ..good() };
    assert_verdict(&at_the_limit, Status::Valid, Limiter::None, &[]);
}

#[test]
fn too_few_connections_for_the_rate_are_the_plans_fault() {
    // 64 connections at 20 ms carry 3200 of 10,000 requests a second.
    let small =
        Evidence { unloaded_service_ns: Some(20_000_000), achieved: Some(0.32), blocked: 99_000, ..good() };
    let verdict = assert_verdict(&small, Status::Suspect, Limiter::Plan, &["plan_limited"]);
    let reason = &verdict.reasons[0];
    assert_eq!((reason.value.round(), reason.limit), (3200.0, 10_000.0));
    assert!(
        reason.text.ends_with("give at least 240 connections (-c 240) or pipeline (-p 4)"),
        "{}",
        reason.text
    );
}

#[test]
fn a_pipeline_too_deep_to_help_is_not_proposed() {
    let small =
        Evidence { connections: 1, unloaded_service_ns: Some(20_000_000), achieved: Some(0.01), ..good() };
    let verdict = assert_verdict(&small, Status::Suspect, Limiter::Plan, &["plan_limited"]);
    assert!(verdict.reasons[0].text.ends_with("give at least 240 connections (-c 240)"));
}

#[test]
fn a_big_enough_plan_that_fell_behind_is_the_targets_doing_and_valid() {
    let slow = Evidence { achieved: Some(0.8), blocked: 60_000, ..good() };
    let verdict = assert_verdict(&slow, Status::Valid, Limiter::Target, &["target_limited"]);
    assert_eq!(verdict.reasons[0].value, 0.8);
}

#[test]
fn waiting_for_connections_is_noticed_even_if_all_was_sent_in_the_end() {
    let stalled = Evidence { blocked: 1_001, ..good() };
    assert_verdict(&stalled, Status::Valid, Limiter::Target, &["target_limited"]);
    let few = Evidence { blocked: 1_000, ..good() };
    assert_verdict(&few, Status::Valid, Limiter::None, &[]);
}

#[test]
fn without_a_service_time_the_plan_is_not_accused() {
    let unknown = Evidence { unloaded_service_ns: None, achieved: Some(0.5), ..good() };
    assert_verdict(&unknown, Status::Valid, Limiter::Target, &["target_limited"]);
}

#[test]
fn a_late_generator_does_not_accuse_the_plan_or_the_target() {
    let late =
        Evidence { own_lateness_p50_ns: Some(5_000_000), achieved: Some(0.5), blocked: 50_000, ..good() };
    assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
}

#[test]
fn a_suspect_generator_and_a_slow_target_are_both_named() {
    let both = Evidence { own_lateness_p99_ns: Some(2_000_000), achieved: Some(0.5), ..good() };
    assert_verdict(&both, Status::Suspect, Limiter::Target, &["own_lateness", "target_limited"]);
}

#[test]
fn running_out_of_descriptors_is_this_machines_fault() {
    let mut starved = Evidence { achieved: Some(0.5), ..good() };
    starved.connect_failures[ConnectFailure::Limits as usize] = 7;
    let verdict = assert_verdict(&starved, Status::ClientLimited, Limiter::Client, &["connection_limits"]);
    assert!(verdict.reasons[0].text.contains("--source-ips"));
}

#[test]
fn a_schedule_not_kept_by_a_full_core_is_the_generators_limit() {
    let full = Evidence { blocked: 300_000, busy_max: Some(0.99), ..good() };
    assert_verdict(&full, Status::ClientLimited, Limiter::Client, &["generator_busy"]);
    assert_verdict(&Evidence { busy_max: Some(0.99), ..good() }, Status::Valid, Limiter::None, &[]);
}

#[test]
fn a_handful_of_late_requests_is_doubtful_and_stolen_time_is_named() {
    let late = Evidence { own_lateness_p50_ns: Some(2_000_000), steal: Some(0.02), ..good() };
    let verdict = assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
    assert!(verdict.reasons[0].text.contains("the hypervisor took 2.00 % of its CPU time"));
    assert_verdict(&Evidence { sent: 16, ..late }, Status::Suspect, Limiter::None, &["own_lateness"]);
}

#[test]
fn errors_of_the_target_leave_a_run_valid() {
    let failing = Evidence { unexpected_status: 900, errors: 200, ..good() };
    assert_verdict(&failing, Status::Valid, Limiter::Target, &["target_errors"]);
    let few = Evidence { unexpected_status: 900, errors: 100, ..good() };
    assert_verdict(&few, Status::Valid, Limiter::None, &[]);
}

#[test]
fn sharing_the_only_core_is_suspect() {
    let shared = Evidence { shared_core: true, ..good() };
    assert_verdict(&shared, Status::Suspect, Limiter::None, &["shared_core"]);
}

#[test]
fn a_run_without_answers_says_why() {
    let silent = Evidence { completed: 0, achieved: Some(0.01), errors: 100, ..good() };
    assert_verdict(&silent, Status::Suspect, Limiter::Target, &["no_answers"]);
    let mut refused = Evidence { completed: 0, sent: 0, own_lateness_p50_ns: None, ..good() };
    refused.connect_failures[ConnectFailure::Refused as usize] = 3;
    refused.connect_failures[ConnectFailure::Timeout as usize] = 1;
    let verdict = assert_verdict(&refused, Status::Suspect, Limiter::Target, &["no_answers"]);
    assert!(verdict.reasons[0].text.contains("refused: start the target"), "{}", verdict.reasons[0].text);
    refused.connect_failures[ConnectFailure::Limits as usize] = 9;
    assert_verdict(&refused, Status::Suspect, Limiter::Client, &["no_answers"]);
    let cut = Evidence { completed: 0, sent: 0, scheduled: 0, ..Evidence::default() };
    assert_verdict(&cut, Status::Suspect, Limiter::None, &["no_answers"]);
}

#[test]
fn closed_loop_is_judged_by_its_cores_alone() {
    let closed = Evidence {
        closed_loop: true,
        own_lateness_p50_ns: None,
        own_lateness_p99_ns: None,
        offered: None,
        busy_max: Some(0.95),
        ..good()
    };
    assert_verdict(&closed, Status::Valid, Limiter::None, &[]);
    let full = Evidence { busy_max: Some(0.99), ..closed };
    assert_verdict(&full, Status::Suspect, Limiter::Client, &["generator_busy"]);
}

#[test]
fn a_full_core_that_keeps_its_schedule_is_no_reason() {
    assert_verdict(&Evidence { busy_max: Some(1.0), ..good() }, Status::Valid, Limiter::None, &[]);
}

#[test]
fn every_reason_names_its_limit_and_a_next_step() {
    let all = Evidence {
        own_lateness_p99_ns: Some(2_000_000),
        achieved: Some(0.5),
        unexpected_status: 50_000,
        shared_core: true,
        ..good()
    };
    for reason in judge(&all).reasons {
        assert!(reason.text.matches(": ").count() >= 1 && reason.value != reason.limit, "{reason:?}");
    }
}

fn with(machine: Machine) -> Evidence {
    Evidence { machine, ..good() }
}

#[test]
fn connections_that_could_not_be_opened_are_told_also_if_the_others_sufficed() {
    let mut short = good();
    short.connect_failures[ConnectFailure::Limits as usize] = 1;
    assert_verdict(&short, Status::Suspect, Limiter::Client, &["connection_limits"]);
}

#[test]
fn a_cpu_limit_that_stopped_the_generator_is_this_machines() {
    let stopped = with(Machine { throttled: Some(0.02), ..Machine::default() });
    assert_verdict(&stopped, Status::Suspect, Limiter::Client, &["cpu_throttled"]);
    let late = Evidence { own_lateness_p99_ns: Some(50_000_000), ..stopped };
    let codes = ["own_lateness", "cpu_throttled"];
    let verdict = assert_verdict(&late, Status::ClientLimited, Limiter::Client, &codes);
    assert!(verdict.reasons[0].text.contains("a CPU limit took 2.00 % of its CPU time meanwhile"));
}

#[test]
fn time_waited_for_behind_other_processes_is_named_beside_a_lateness() {
    let machine = Machine { waited: Some(0.4), ..Machine::default() };
    assert_verdict(&with(machine.clone()), Status::Valid, Limiter::None, &[]);
    let late = Evidence { own_lateness_p99_ns: Some(4_000_000), ..with(machine) };
    let verdict = assert_verdict(&late, Status::Suspect, Limiter::Client, &["own_lateness"]);
    assert!(verdict.reasons[0].text.contains("other processes took 40"));
}

#[test]
fn a_closed_loop_without_its_cpu_is_suspect() {
    let closed = |waited| Evidence {
        closed_loop: true,
        own_lateness_p50_ns: None,
        own_lateness_p99_ns: None,
        offered: None,
        ..with(Machine { waited: Some(waited), ..Machine::default() })
    };
    assert_verdict(&closed(0.02), Status::Suspect, Limiter::Client, &["cpu_contended"]);
    assert_verdict(&closed(0.005), Status::Valid, Limiter::None, &[]);
}

#[test]
fn bbr_without_fq_is_the_networks() {
    let bbr = Evidence { congestion_control: "bbr".to_owned(), ..good() };
    assert_verdict(&bbr, Status::Suspect, Limiter::Network, &["congestion_control"]);
    let paced = Evidence { queue_discipline: Some("fq".to_owned()), ..bbr };
    assert_verdict(&paced, Status::Valid, Limiter::None, &[]);
}

#[test]
fn segments_sent_again_are_held_against_all() {
    let lossy = |retransmits| Evidence {
        retransmits: Some(retransmits),
        ..with(Machine { segments_sent: Some(100_000), ..Machine::default() })
    };
    assert_verdict(&lossy(101), Status::Suspect, Limiter::Network, &["retransmits"]);
    assert_verdict(&lossy(100), Status::Valid, Limiter::None, &[]);
}

#[test]
fn receive_buffers_that_ran_out_are_the_networks() {
    let pressed = |zero_windows, receive_pruned| {
        with(Machine {
            segments_received: Some(100_000),
            zero_windows: Some(zero_windows),
            receive_pruned: Some(receive_pruned),
            ..Machine::default()
        })
    };
    assert_verdict(&pressed(100, 100), Status::Suspect, Limiter::Network, &["receive_buffer"]);
    assert_verdict(&pressed(50, 50), Status::Valid, Limiter::None, &[]);
    let small = Machine { receive_buffer_max: Some(4_096), ..Machine::default() };
    let small = |answers_bytes| Evidence { answers_bytes, ..with(small.clone()) };
    assert_verdict(&small(2_049), Status::Suspect, Limiter::Network, &["receive_buffer"]);
    assert_verdict(&small(2_048), Status::Valid, Limiter::None, &[]);
}

#[test]
fn shortage_in_the_ring_is_the_generators() {
    let starved =
        Evidence { receives: 100_000, ..with(Machine { buffers_starved: 1_001, ..Machine::default() }) };
    assert_verdict(&starved, Status::Suspect, Limiter::Client, &["buffers_starved"]);
}

#[test]
fn dropped_packets_are_the_networks() {
    let dropping = with(Machine { softnet_drops: Some(1), ..Machine::default() });
    assert_verdict(&dropping, Status::Suspect, Limiter::Network, &["softnet_drops"]);
}

#[test]
fn a_clock_that_runs_off_is_told_whichever_way() {
    for drift in [1_200.0, -1_200.0] {
        let off = with(Machine { clock_drift_ppm: Some(drift), ..Machine::default() });
        assert_verdict(&off, Status::Suspect, Limiter::Client, &["clock_drift"]);
    }
    let usual = with(Machine { clock_drift_ppm: Some(500.0), ..Machine::default() });
    assert_verdict(&usual, Status::Valid, Limiter::None, &[]);
}

#[test]
fn the_end_of_ports_and_descriptors_is_told_before_it_comes() {
    let used = |used| Some(Usage { used, limit: 1_000 });
    let descriptors = with(Machine { descriptors: used(901), ..Machine::default() });
    assert_verdict(&descriptors, Status::Valid, Limiter::None, &["descriptors_near_end"]);
    let ports = with(Machine { ports: used(950), ..Machine::default() });
    assert_verdict(&ports, Status::Valid, Limiter::None, &[]);
    let reopening = Evidence { reopened: 500, ..ports };
    assert_verdict(&reopening, Status::Valid, Limiter::None, &["ports_near_end"]);
}

#[test]
fn a_listen_queue_without_room_is_the_targets() {
    let full = with(Machine { listen_overflows: Some(3), ..Machine::default() });
    assert_verdict(&full, Status::Valid, Limiter::Target, &["listen_overflows"]);
}

#[test]
fn some_late_seconds_are_told_and_condemn_nothing() {
    let hiccup = Evidence { intervals: 60, intervals_not_valid: 2, ..good() };
    let verdict = assert_verdict(&hiccup, Status::Valid, Limiter::None, &["intervals_not_valid"]);
    assert!(verdict.reasons[0].text.starts_with("in 2 of 60 intervals"), "{}", verdict.reasons[0].text);
}

#[test]
fn an_interval_is_judged_like_a_run_by_its_own_lateness() {
    let status = |p50, p99| interval_status(Some(p50), Some(p99), 1_000);
    assert_eq!(status(4_000, 1_000_000), Status::Valid);
    assert_eq!(status(4_000, 1_000_001), Status::Suspect);
    assert_eq!(status(4_000, 10_000_001), Status::ClientLimited);
    assert_eq!(status(1_000_001, 1_000_001), Status::ClientLimited);
    assert_eq!(interval_status(Some(2_000_000), Some(2_000_000), 99), Status::Suspect);
    assert_eq!(interval_status(None, None, 0), Status::Valid);
}

#[test]
fn service_times_beyond_the_time_in_flight_are_a_fault_of_ours() {
    let wrong = Evidence { littles_law_excess: 0.003, ..good() };
    assert_verdict(&wrong, Status::Suspect, Limiter::Client, &["littles_law"]);
}

#[test]
fn a_late_generator_that_sent_all_blames_its_own_bursts_on_nobody() {
    let bursts = Evidence { own_lateness_p99_ns: Some(4_000_000), blocked: 30_000, ..good() };
    assert_verdict(&bursts, Status::Suspect, Limiter::Client, &["own_lateness"]);
}
