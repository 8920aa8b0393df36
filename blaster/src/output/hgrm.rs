//! The percentile text (`--hgrm`) of a report, with comments on what the table cannot show.

use std::fmt::Write;

use blaster_core::report::encoding::{EncodingError, decode};
use blaster_core::report::{Report, spectrum};

/// The percentile text of a report's response times; the error says why its histogram cannot be read.
pub fn render(report: &Report) -> Result<String, EncodingError> {
    let unanswered = report.response_time_ns.unanswered;
    let mut text = spectrum::render(&decode(&report.histograms.response_time)?, unanswered);
    if unanswered > 0 {
        writeln!(
            text,
            "#[Unanswered = {unanswered}, endless: they rank last and the table ends before them]"
        )
        .expect("a string takes all");
    }
    if report.closed_loop() {
        writeln!(text, "#[Closed loop: the waits an open loop would see are left out]")
            .expect("a string takes all");
    }
    for (key, value) in &report.tags {
        let line = format!("{key} = {value}").replace(['\r', '\n'], " ");
        writeln!(text, "#[Tag {line}]").expect("a string takes all");
    }
    Ok(text)
}
