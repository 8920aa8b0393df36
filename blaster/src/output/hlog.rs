//! HdrHistogram's interval log, version 1.3 (`--hlog`): a line an interval, while the run goes on.

use std::collections::BTreeMap;
use std::io;

use blaster_core::report::collector::{FinishedInterval, IntervalRow};
use blaster_core::report::encoding::encode;
use blaster_core::time::Nanos;

const NS_PER_MS: f64 = 1e6;

/// Writes the log; times in its histograms are nanoseconds, the maximum before each is in milliseconds.
pub struct IntervalLog<W> {
    out: W,
    interval: Nanos,
}

impl<W: io::Write> IntervalLog<W> {
    /// Begins a log of a run whose measured part starts that many seconds after 1970.
    pub fn begin(
        mut out: W,
        version: &str,
        start_epoch_s: f64,
        interval: Nanos,
        closed_loop: bool,
        tags: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let from = if closed_loop {
            "the send (closed loop: the waits an open loop would see are left out)"
        } else {
            "the intended moment"
        };
        write!(
            out,
            "#[Logged by blaster {version}: response times from {from}; histograms in ns, Interval_Max in ms]\n\
             #[Histogram log format version 1.3]\n\
             #[StartTime: {start_epoch_s:.3} (seconds since epoch)]\n\
             #[BaseTime: {start_epoch_s:.3} (seconds since epoch)]\n",
        )?;
        for (key, value) in tags {
            writeln!(out, "#[{}={}]", one_line(key), one_line(value))?;
        }
        writeln!(
            out,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        Ok(Self { out, interval })
    }

    /// Adds an interval. Endless waits are in no histogram; the report counts them.
    pub fn write(&mut self, interval: &FinishedInterval) -> io::Result<()> {
        writeln!(
            self.out,
            "{:.3},{:.3},{:.3},{}",
            interval.row.t_s,
            self.interval.as_secs_f64(),
            interval.response_time.max() as f64 / NS_PER_MS,
            encode(&interval.response_time),
        )
    }

    /// Says of intervals of which a share of the run was missing that it was: their histograms are those of the rest.
    pub fn mark_gaps(&mut self, rows: &[IntervalRow]) -> io::Result<()> {
        for row in rows.iter().filter(|row| row.of_earlier > 0) {
            let (count, at) = (row.of_earlier, row.t_s);
            writeln!(self.out, "#[Late: {count} requests in the interval at {at:.3} are of earlier ones]")?;
        }
        for row in rows.iter().filter(|row| row.missing > 0.0) {
            writeln!(
                self.out,
                "#[Gap: {:.2} % of the run is missing in the interval at {:.3}]",
                row.missing * 100.0,
                row.t_s
            )?;
        }
        Ok(())
    }

    /// Brings what was written to where it belongs.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A comment must not end its line early.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
