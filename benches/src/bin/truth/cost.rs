//! What it costs to have the kernel time single requests.

use anyhow::{Result, anyhow};
use benches::truth::sample::median_interval;

use crate::sink::Sink;
use crate::stage::Stage;
use crate::table::{Kind, Table};

const RATIO_MAX: f64 = 1.01;

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let (pairs, seconds) = stage.pick((3, 2), (15, 5), (45, 10));
    let sink = Sink::start(stage, "--profile control")?;
    let cost = |flag: &str| -> Result<f64> {
        let plan = format!("--rps 100000 -d {seconds}s --pipeline 1 -c 64 --path / {flag}");
        let cost = stage.run(&sink, &plan)?.report.generator.cpu_ns_per_request;
        cost.ok_or_else(|| anyhow!("the client does not know its CPU time"))
    };
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        // Which comes first changes, so that a drift of the machine favours neither.
        let (on, off) = if pair % 2 == 0 {
            let on = cost("")?;
            (on, cost("--no-wire-times")?)
        } else {
            let off = cost("--no-wire-times")?;
            (cost("")?, off)
        };
        ratios.push(on / off);
    }
    let (low, median, high) = median_interval(&ratios);
    table.row(
        Kind::Times,
        format!("CPU time a request with wire times over that without, median of {pairs} pairs"),
        [
            format!("interval below {RATIO_MAX}"),
            format!("{median:.4} ({low:.4} – {high:.4})"),
            format!("{:+.2} %", (median - 1.0) * 100.0),
        ],
        high < RATIO_MAX,
    );
    Ok(())
}
