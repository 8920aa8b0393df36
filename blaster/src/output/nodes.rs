//! The nodes of a run beside its total: a row each, and how far apart they started.

use blaster_core::report::Report;
use blaster_core::report::nodes::{Node, NodeState};
use blaster_core::report::units::{grouped, percent};
use blaster_core::report::verdict::Status;
use blaster_core::time::Nanos;

use super::text::{columns, cut, hanging};

/// Nodes listed; a run of more shows those that were not well first.
const LISTED_MAX: usize = 20;

/// The block of the summary; empty for a run without nodes. Its first line is a heading.
pub(super) fn lines(report: &Report, width: usize) -> Vec<String> {
    if report.nodes.is_empty() {
        return Vec::new();
    }
    let mut nodes: Vec<&Node> = report.nodes.iter().collect();
    if nodes.len() > LISTED_MAX {
        nodes.sort_by_key(|node| is_well(node));
    }
    let mut lines = table(&nodes[..nodes.len().min(LISTED_MAX)], width);
    if nodes.len() > LISTED_MAX {
        lines.push(format!(
            "and {} more nodes: see nodes in --json",
            grouped((nodes.len() - LISTED_MAX) as u64)
        ));
    }
    for node in nodes.iter().filter(|node| {
        node.state == NodeState::Out || (node.state == NodeState::Done && node.cause.is_some())
    }) {
        let cause = node.cause.as_deref().unwrap_or_default();
        lines.extend(hanging("  -", 4, &format!("{}: {cause}", node.name), width));
    }
    if let Some(skew) = report.start_skew_ns() {
        let bound =
            report.nodes.iter().filter_map(|node| node.clock.map(|clock| clock.bound_ns)).max().unwrap_or(0);
        let text = format!(
            "the nodes started within {} of each other, give or take {} (their clocks)",
            Nanos(skew),
            Nanos(bound)
        );
        lines.extend(hanging("", 0, &text, width));
    }
    lines
}

/// The rows below their heading. Where there is little room the columns that matter least go first, then the middles of names.
fn table(nodes: &[&Node], width: usize) -> Vec<String> {
    let heading = ["node", "share", "sent", "ok", "p99", "first sent", "clock"].map(str::to_owned).to_vec();
    let states: Vec<_> = std::iter::once(String::new()).chain(nodes.iter().map(|node| state(node))).collect();
    let mut cells: Vec<_> = std::iter::once(heading).chain(nodes.iter().map(|node| cells(node))).collect();
    // A port that all have tells nothing apart.
    let port = nodes.first().and_then(|node| Some(format!(":{}", node.name.rsplit_once(':')?.1)));
    if let Some(port) =
        port.filter(|port| nodes.len() > 1 && nodes.iter().all(|node| node.name.ends_with(port)))
    {
        for row in &mut cells[1..] {
            let length = row[0].len() - port.len();
            row[0].truncate(length);
        }
    }
    let render = |cells: &[Vec<String>]| -> Vec<String> {
        let rows = columns(cells).into_iter().zip(&states);
        rows.map(|(cells, state)| format!("{cells}  {state}").trim_end().to_owned()).collect()
    };
    let too_wide = |lines: &[String]| {
        lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).saturating_sub(width)
    };
    let mut lines = render(&cells);
    while too_wide(&lines) > 0 && cells[0].len() > COLUMNS_MIN {
        cells.iter_mut().for_each(|row| drop(row.pop()));
        lines = render(&cells);
    }
    let longest = cells.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let room = longest.saturating_sub(too_wide(&lines)).max(NAME_MIN);
    if room < longest {
        cells.iter_mut().for_each(|row| row[0] = cut_middle(&row[0], room));
        lines = render(&cells);
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

/// Of a table: name, share, sent, ok, p99.
const COLUMNS_MIN: usize = 5;

/// Of a name, at least so much.
const NAME_MIN: usize = 12;

/// Names of nodes differ at their ends.
fn cut_middle(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= width {
        return text.to_owned();
    }
    let (head, tail) = ((width - 1) / 2, width - 1 - (width - 1) / 2);
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

fn is_well(node: &Node) -> bool {
    node.state == NodeState::Done
        && node.verdict.as_ref().is_some_and(|verdict| verdict.status == Status::Valid)
}

fn cells(node: &Node) -> Vec<String> {
    let p99 = node.response_time_ns.as_ref().map_or("-".to_owned(), |latency| match latency.p99 {
        Some(ns) => Nanos(ns).to_string(),
        None if latency.count + latency.unanswered > 0 => "∞".to_owned(),
        None => "-".to_owned(),
    });
    let first = match (node.first_sent_ns, node.first_due_ns) {
        (Some(sent), Some(due)) => match sent - due {
            late @ 0.. => format!("+{}", Nanos(late as u64)),
            early => format!("−{}", Nanos(early.unsigned_abs())),
        },
        _ => "-".to_owned(),
    };
    vec![
        node.name.clone(),
        percent(node.share),
        grouped(node.requests.sent),
        grouped(node.requests.ok),
        p99,
        first,
        node.clock.map_or("-".to_owned(), |clock| format!("±{}", Nanos(clock.bound_ns))),
    ]
}

fn state(node: &Node) -> String {
    match node.state {
        NodeState::Out => "✗ took no part".to_owned(),
        NodeState::Lost | NodeState::Fetched => {
            let at_s = node.lost_at_s.unwrap_or_default();
            let at = Nanos::from_secs_f64(at_s.abs());
            let fetched = if node.state == NodeState::Fetched { ", results fetched" } else { "" };
            let when = if at_s < 0.0 { "in the warm-up".to_owned() } else { format!("after {at}") };
            format!("✗ lost {when}{fetched}")
        }
        NodeState::Done => match node.verdict.as_ref().map(|verdict| verdict.status) {
            Some(Status::Valid) => "✓ valid".to_owned(),
            Some(Status::Suspect) => "⚠ suspect".to_owned(),
            Some(Status::ClientLimited) => "✗ client-limited".to_owned(),
            None => "✗ no report".to_owned(),
        },
    }
}
