//! From the clock to intended times.

use std::hint::black_box;

use benches::stopwatch::Stopwatch;
use blaster_core::load::schedule::Schedule;
use blaster_core::plan::Arrivals;
use blaster_core::plan::lanes::Lanes;
use blaster_core::plan::rate::{Curve, Rate};
use blaster_core::time::Nanos;

/// A million a second for a day, so that no measurement comes to its end.
const RATE: f64 = 1e6;
const LENGTH: Nanos = Nanos(86_400_000_000_000);

/// Between two looks at the clock; about eight requests come due in it.
const TURN: Nanos = Nanos(8_000);

pub fn measure(stopwatch: &Stopwatch) {
    let curve = constant(RATE, LENGTH);
    let ramp = Curve::stages(None, &"86400s:2m".parse().expect("a constant")).expect("sends something");
    for (name, curve, arrivals) in [
        ("schedule, uniform", &curve, Arrivals::Uniform),
        ("schedule, uniform, on a ramp", &ramp, Arrivals::Uniform),
        ("schedule, poisson", &curve, Arrivals::Poisson),
    ] {
        advance_and_take(stopwatch, name, curve, arrivals, &Lanes::whole());
    }
    let lane = &Lanes::whole().split(&[1, 2])[1];
    advance_and_take(stopwatch, "schedule, uniform, a lane of it", &curve, Arrivals::Uniform, lane);
}

/// A constant rate.
pub fn constant(rate: f64, length: Nanos) -> Curve {
    Curve::constant(Rate::new(rate).expect("in range"), length)
}

fn advance_and_take(stopwatch: &Stopwatch, name: &str, curve: &Curve, arrivals: Arrivals, lanes: &Lanes) {
    const OPERATIONS: u64 = 10_000;
    let mut schedule = Schedule::new(curve, arrivals, lanes, 1);
    let mut now = Nanos::ZERO;
    let mut taken = 0;
    stopwatch.measure(name, OPERATIONS, || {
        let wanted = taken + OPERATIONS;
        while taken < wanted {
            now += TURN;
            schedule.advance(black_box(now));
            while taken < wanted && black_box(schedule.take()).is_some() {
                taken += 1;
            }
        }
    });
}
