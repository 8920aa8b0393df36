//! A limit between two loads: doubling until it fails, then the geometric mean of the highest load that held and the lowest that did not,
//! until they are close.
//!
//! What comes next is a function of the trials so far alone. A load has failed once two trials say so and fewer say otherwise; one that
//! held needs to hold three times before it is an answer. No confidence is computed from that, and none is claimed.

/// What one trial says of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It held.
    Good,
    /// It did not.
    Bad,
    /// Nothing: the generator was the limit.
    Spoiled,
}

/// Where the search for one objective stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket {
    /// The highest load that held, below all that failed.
    pub low: Option<f64>,
    /// The lowest that failed.
    pub high: Option<f64>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Raise the load until it fails.
    Double(f64),
    /// Halve what lies between.
    Close(f64),
    /// Make sure of it.
    Confirm(f64),
    /// It is known.
    Known,
    /// The highest rate that was to be tried holds.
    Reach,
    /// The generator cannot say.
    Client,
}

/// Bounds of a search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The lowest rate.
    pub from: f64,
    /// The highest.
    pub to: f64,
    /// How close.
    pub precision: f64,
}

/// So many trials in a row that the generator spoils are enough.
const SPOILED_MAX: usize = 3;

/// So often an answer has held.
const CONFIRMED_MIN: usize = 3;

#[derive(Clone, Copy, Default)]
struct Votes {
    good: usize,
    bad: usize,
    spoiled: usize,
}

/// All that was said of each load, in ascending order.
fn votes(trials: &[(f64, Said)]) -> Vec<(f64, Votes)> {
    let mut rates: Vec<f64> = trials.iter().map(|(rate, _)| *rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let of = |rate: f64| {
        trials.iter().filter(|(tried, _)| *tried == rate).fold(Votes::default(), |mut votes, (_, said)| {
            match said {
                Said::Good => votes.good += 1,
                Said::Bad => votes.bad += 1,
                Said::Spoiled => votes.spoiled += 1,
            }
            votes
        })
    };
    rates.into_iter().map(|rate| (rate, of(rate))).collect()
}

impl Votes {
    fn has_failed(self) -> bool {
        self.bad >= 2 && self.bad > self.good
    }

    fn has_held(self) -> bool {
        self.good > self.bad
    }
}

impl Bracket {
    /// Of these trials.
    pub fn of(trials: &[(f64, Said)]) -> Self {
        let votes = votes(trials);
        let high = votes.iter().find(|(_, votes)| votes.has_failed()).map(|(rate, _)| *rate);
        let is_below = |rate: f64| high.is_none_or(|high| rate < high);
        let low = votes.iter().rev().find(|(rate, votes)| is_below(*rate) && votes.has_held());
        Self { low: low.map(|(rate, _)| *rate), high }
    }
}

/// What to do after these trials.
pub fn next(trials: &[(f64, Said)], bounds: Bounds) -> Next {
    let votes = votes(trials);
    let of = |rate: f64| {
        votes.iter().find(|(tried, _)| *tried == rate).map_or(Votes::default(), |(_, votes)| *votes)
    };
    // What is undecided is tried again before anything else is.
    if let Some((rate, Votes { good, bad, spoiled })) =
        votes.iter().find(|(_, votes)| !votes.has_held() && !votes.has_failed())
    {
        let is_spoiled = good + bad == 0 && *spoiled >= SPOILED_MAX;
        return if is_spoiled { Next::Client } else { Next::Close(*rate) };
    }
    match Bracket::of(trials) {
        Bracket { low: None, high: None } => Next::Double(bounds.from),
        Bracket { low: None, high: Some(high) } if high <= bounds.from => Next::Known,
        Bracket { low: None, high: Some(high) } => Next::Close((high / 2.0).max(bounds.from)),
        Bracket { low: Some(low), high: None } if low >= bounds.to => Next::Reach,
        Bracket { low: Some(low), high: None } => Next::Double((low * 2.0).min(bounds.to)),
        Bracket { low: Some(low), high: Some(high) } if high / low > 1.0 + bounds.precision => {
            Next::Close(rounded((low * high).sqrt(), low, high))
        }
        Bracket { low: Some(low), .. } if of(low).good < CONFIRMED_MIN + of(low).bad => Next::Confirm(low),
        Bracket { .. } => Next::Known,
    }
}

/// To four digits where that stays between.
fn rounded(rate: f64, low: f64, high: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 3.0);
    let round = (rate / unit).round() * unit;
    if low < round && round < high { round } else { rate }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { from: 100.0, to: 1e6, precision: 0.02 };

    /// Trials until it is known, of a server that says this.
    fn search(mut server: impl FnMut(f64, usize) -> Said, bounds: Bounds) -> (Next, Bracket, usize) {
        let mut trials = Vec::new();
        loop {
            match next(&trials, bounds) {
                Next::Double(rate) | Next::Close(rate) | Next::Confirm(rate) => {
                    let said = server(rate, trials.len());
                    trials.push((rate, said));
                    assert!(trials.len() < 200, "{trials:?}");
                }
                end => return (end, Bracket::of(&trials), trials.len()),
            }
        }
    }

    fn cliff(limit: f64) -> impl FnMut(f64, usize) -> Said {
        move |rate, _| if rate <= limit { Said::Good } else { Said::Bad }
    }

    #[test]
    fn a_cliff_is_found_wherever_it_is() {
        for n in 0..200 {
            let limit = 110.0 * 1.04_f64.powi(n);
            let (end, bracket, trials) = search(cliff(limit), BOUNDS);
            let (low, high) = (bracket.low.unwrap(), bracket.high.unwrap());
            assert!(
                end == Next::Known && low <= limit && limit < high && high / low <= 1.02,
                "{limit}: {bracket:?}"
            );
            assert!(trials < 50, "{limit}: {trials} trials");
        }
    }

    #[test]
    fn a_trial_that_fails_by_chance_does_not_move_the_limit() {
        for chance in 0..25 {
            let mut server = cliff(7_000.0);
            let (_, bracket, _) =
                search(|rate, n| if n == chance { Said::Bad } else { server(rate, n) }, BOUNDS);
            assert!(
                bracket.low.unwrap() <= 7_000.0 && bracket.high.unwrap() > 7_000.0,
                "{chance}: {bracket:?}"
            );
        }
    }

    #[test]
    fn a_generator_that_cannot_say_does_not_make_a_ceiling() {
        let server = |rate, _| if rate <= 5_000.0 { Said::Good } else { Said::Spoiled };
        let (end, bracket, _) = search(server, BOUNDS);
        assert_eq!((end, bracket), (Next::Client, Bracket { low: Some(3_200.0), high: None }));
    }

    #[test]
    fn what_never_fails_or_always_does_is_told() {
        assert_eq!(search(cliff(f64::INFINITY), BOUNDS).0, Next::Reach);
        let (end, bracket, _) = search(cliff(1.0), BOUNDS);
        assert_eq!((end, bracket), (Next::Known, Bracket { low: None, high: Some(100.0) }));
    }
}
