//! What each step of a request's way costs, without a kernel. `cargo bench -p benches [-- NAME…]`; `-- --test` runs
//! each once.

mod fresh;
mod gather;
mod http1;
mod recorder;
mod schedule;
mod tape;
mod worker;

use benches::stopwatch::Stopwatch;

fn main() {
    let stopwatch = Stopwatch::from_args();
    http1::measure(&stopwatch);
    schedule::measure(&stopwatch);
    recorder::measure(&stopwatch);
    worker::measure(&stopwatch);
    fresh::measure(&stopwatch);
    tape::measure(&stopwatch);
    gather::measure(&stopwatch);
}
