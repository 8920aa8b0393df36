//! The report as JSON (`--json`); `report.schema.json` describes it.

use blaster_core::report::Report;

/// Pretty JSON, with a newline at its end.
pub fn render(report: &Report) -> String {
    let mut text =
        serde_json::to_string_pretty(report).expect("a report has only plain values and string keys");
    text.push('\n');
    text
}
