//! What to try next, and what is known.
//!
//! The load is doubled until it fails; then trials go where the limit probably is, from both sides, until nineteen parts in twenty of its
//! probability lie within the precision; then a longer trial makes sure of the answer. A trial that the generator spoiled is done again and says
//! nothing of the target. If longer trials fail where shorter ones held, the shorter ones deceived: from then on all are long.

use super::belief::Belief;

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

/// A trial that was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Requests per second.
    pub rate: f64,
    /// What it says of the objective.
    pub said: Said,
    /// It was as long as one that makes sure of an answer.
    pub is_long: bool,
}

/// Bounds of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The lowest rate.
    pub from: f64,
    /// The highest.
    pub to: f64,
    /// How close, as a share.
    pub precision: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Raise the load until it fails.
    Double(f64),
    /// Try where the limit may be.
    Close(f64),
    /// Likewise with a long trial.
    CloseLong(f64),
    /// Make sure of the answer with a long trial.
    Confirm(f64),
    /// There is no more to find out.
    Done(End),
}

/// Why a search is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The limit is known.
    Known,
    /// Not even the lowest rate holds.
    Never,
    /// The highest rate that was to be tried holds.
    Reach,
    /// The generator cannot say.
    Client,
}

/// What is known of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// A rate that holds; none if nothing is known to.
    pub holds: Option<f64>,
    /// The limit lies between, with [`CONFIDENCE`] where that was computed; an end that is not known is none.
    pub interval: [Option<f64>; 2],
    /// That of the interval; none before anything failed.
    pub confidence: Option<f64>,
    /// The limit probably moves: the interval is that of the end of the search.
    pub drifts: bool,
    /// Trials probably fail below the limit as well, more than a few.
    pub unsteady: bool,
}

/// Of intervals.
pub const CONFIDENCE: f64 = 0.95;

const TAIL: f64 = (1.0 - CONFIDENCE) / 2.0;

/// Where in the probability of the limit trials go, one after another: the middle halves it, the others look from either side.
const PLACES: [f64; 4] = [0.5, 0.25, 0.5, 0.75];

/// Where an answer stands in it.
const ANSWER: f64 = 0.3;

/// An answer stands on so many trials close to it on either side. That one holds by chance is rare, that one fails is not.
const SIDE: f64 = 1.15;
const HELD_MIN: usize = 2;
const FAILED_MIN: usize = 5;

/// So many spoiled trials of a rate, and nothing else, are enough.
const SPOILED_MAX: usize = 3;

/// A generator's own limit is not told closer than this.
const CLIENT_PRECISION: f64 = 1.1;

/// A probability at an end of what was thought possible that calls for more room.
const AT_END_MAX: f64 = 0.02;

/// Of a doubt that is told.
const DOUBTFUL: f64 = 0.3;

/// A search for the limit of one objective.
#[derive(Clone, Debug)]
pub struct Search {
    bounds: Bounds,
    trials: Vec<Trial>,
    /// Short trials deceived: their holding counts no more.
    long_only: bool,
    /// Once something failed.
    belief: Option<Belief>,
    /// What the belief is about.
    bracket: (f64, f64),
}

impl Search {
    /// Before any trial.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, trials: Vec::new(), long_only: false, belief: None, bracket: (0.0, 0.0) }
    }

    /// After these trials, whoever chose them.
    pub fn of(bounds: Bounds, trials: impl IntoIterator<Item = Trial>) -> Self {
        let mut search = Self::new(bounds);
        trials.into_iter().for_each(|trial| search.learn(trial));
        search
    }

    /// Takes a trial in.
    pub fn learn(&mut self, trial: Trial) {
        self.trials.push(trial);
        if !self.long_only && self.has_deceived() {
            (self.long_only, self.belief) = (true, None);
        }
        let said = self.counted(trial);
        match &mut self.belief {
            Some(belief) => belief.learn(trial.rate, said),
            None => self.begin_to_believe(),
        }
        while self.needs_room() {
            self.believe();
        }
    }

    fn counted(&self, trial: Trial) -> Said {
        match trial.said {
            Said::Good if self.long_only && !trial.is_long => Said::Spoiled,
            said => said,
        }
    }

    /// Long trials fail more often than they hold, where short ones held.
    fn has_deceived(&self) -> bool {
        let long = |said: Said| self.trials.iter().filter(move |trial| trial.is_long && trial.said == said);
        let held = |rate: f64| {
            self.trials.iter().any(|trial| !trial.is_long && trial.said == Said::Good && trial.rate >= rate)
        };
        let failed: Vec<_> = long(Said::Bad).filter(|trial| held(trial.rate)).collect();
        failed.len() >= 2 && failed.iter().all(|failed| long(Said::Good).all(|good| good.rate < failed.rate))
    }

    /// Once two trials failed at a rate.
    fn begin_to_believe(&mut self) {
        let Some(high) = self.lowest_failed() else { return };
        let low = self.highest_good(high).unwrap_or(self.bounds.from.min(high / 2.0));
        self.bracket = (low, high);
        self.believe();
    }

    fn believe(&mut self) {
        let (low, high) = self.bracket;
        let mut belief = Belief::between(low, high, self.bounds.precision);
        for &trial in &self.trials {
            belief.learn(trial.rate, self.counted(trial));
        }
        self.belief = Some(belief);
    }

    /// Widens what is thought possible.
    fn needs_room(&mut self) -> bool {
        let Some(belief) = &self.belief else { return false };
        let (low, high) = belief.at_ends();
        let (at_low, at_high) = (
            low > AT_END_MAX && self.bracket.0 > self.bounds.from / 2.0,
            high > AT_END_MAX && self.bracket.1 < self.bounds.to * 2.0,
        );
        if at_low {
            self.bracket.0 /= 2.0;
        }
        if at_high {
            self.bracket.1 *= 2.0;
        }
        at_low || at_high
    }

    fn votes(&self, rate: f64, said: Said) -> usize {
        let of_rate = self.trials.iter().filter(|trial| trial.rate == rate);
        of_rate.filter(|&&trial| self.counted(trial) == said).count()
    }

    fn lowest_failed(&self) -> Option<f64> {
        let rates = self.trials.iter().map(|trial| trial.rate);
        rates.filter(|&rate| self.votes(rate, Said::Bad) >= 2).min_by(f64::total_cmp)
    }

    fn highest_good(&self, below: f64) -> Option<f64> {
        let good =
            self.trials.iter().filter(|&&trial| self.counted(trial) == Said::Good && trial.rate < below);
        good.map(|trial| trial.rate).max_by(f64::total_cmp)
    }

    /// A rate that the generator spoils, as often as it is tried.
    fn ceiling(&self) -> Option<f64> {
        let rates = self.trials.iter().map(|trial| trial.rate);
        let is_spoiled = |&rate: &f64| {
            let said = |said: Said| {
                self.trials.iter().filter(|trial| trial.rate == rate && trial.said == said).count()
            };
            said(Said::Good) + said(Said::Bad) == 0 && said(Said::Spoiled) >= SPOILED_MAX
        };
        rates.filter(is_spoiled).min_by(f64::total_cmp)
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        // What was spoiled is done again before anything else is.
        if let Some(last) = self.trials.last().filter(|last| last.said == Said::Spoiled)
            && self.ceiling().is_none_or(|ceiling| last.rate < ceiling)
        {
            return match (&self.belief, last.is_long) {
                (None, _) => Next::Double(last.rate),
                (Some(_), false) => Next::Close(last.rate),
                (Some(_), true) => Next::CloseLong(last.rate),
            };
        }
        match &self.belief {
            None => self.double(),
            Some(belief) => self.close(belief),
        }
    }

    fn double(&self) -> Next {
        let Bounds { from, to, .. } = self.bounds;
        let failed_once = self
            .trials
            .iter()
            .find(|trial| self.votes(trial.rate, Said::Bad) == 1 && self.votes(trial.rate, Said::Good) == 0);
        if let Some(trial) = failed_once {
            return Next::Double(trial.rate);
        }
        let Some(held) = self.highest_good(f64::INFINITY) else {
            return if self.ceiling().is_some() { Next::Done(End::Client) } else { Next::Double(from) };
        };
        if held >= to {
            return Next::Done(End::Reach);
        }
        let rate = (held * 2.0).min(to);
        match self.ceiling().filter(|&ceiling| ceiling <= rate) {
            Some(ceiling) if ceiling <= held * CLIENT_PRECISION => Next::Done(End::Client),
            Some(ceiling) => Next::Double(rounded((held * ceiling).sqrt())),
            None => Next::Double(rate),
        }
    }

    fn close(&self, belief: &Belief) -> Next {
        let Bounds { from, to, precision } = self.bounds;
        let [low, answer, high] = belief.quantiles([TAIL, ANSWER, 1.0 - TAIL]);
        if high <= from {
            return if self.votes(from, Said::Bad) < FAILED_MIN {
                Next::Close(from)
            } else {
                Next::Done(End::Never)
            };
        }
        if low >= to {
            return Next::Done(End::Reach);
        }
        if high <= low * (1.0 + precision) {
            // An answer stands on trials on both sides of it.
            let (failed, held) =
                (self.beside(Said::Bad, high, high * SIDE), self.beside(Said::Good, low / SIDE, low));
            return match self.confirmed(low, high) {
                None => Next::Confirm(rounded(answer).min(to)),
                // Above the highest rate that is to be tried none can fail.
                Some(_) if failed < FAILED_MIN && rounded(high * (1.0 + precision)) <= to => {
                    Next::Close(rounded(high * (1.0 + precision)))
                }
                Some(_) if held < HELD_MIN => Next::Close(rounded(low / (1.0 + precision))),
                Some(_) => Next::Done(End::Known),
            };
        }
        let place = PLACES[self.trials.len() % PLACES.len()];
        let rate = rounded(belief.quantiles([place])[0]).clamp(from, to);
        match self.ceiling().filter(|&ceiling| ceiling <= rate) {
            Some(ceiling) => {
                let held = self.highest_good(ceiling).unwrap_or(from);
                if ceiling <= held * CLIENT_PRECISION {
                    return Next::Done(End::Client);
                }
                Next::Close(rounded((held * ceiling).sqrt()))
            }
            None if self.long_only => Next::CloseLong(rate),
            None => Next::Close(rate),
        }
    }

    /// Trials between these rates that said so.
    fn beside(&self, said: Said, low: f64, high: f64) -> usize {
        let is_beside = |trial: &&Trial| self.counted(**trial) == said && (low..=high).contains(&trial.rate);
        self.trials.iter().filter(is_beside).count()
    }

    /// The highest rate between at which a long trial held.
    fn confirmed(&self, low: f64, high: f64) -> Option<f64> {
        let is_long = |trial: &&Trial| trial.is_long && trial.said == Said::Good;
        let long = self.trials.iter().filter(is_long).map(|trial| trial.rate);
        long.filter(|&rate| low <= rate && rate <= high).max_by(f64::total_cmp)
    }

    /// What is known by now.
    pub fn finding(&self) -> Finding {
        let Some(belief) = &self.belief else {
            let holds = self.highest_good(f64::INFINITY);
            return Finding {
                holds,
                interval: [holds, None],
                confidence: None,
                drifts: false,
                unsteady: false,
            };
        };
        let [low, answer, high] = belief.quantiles([TAIL, ANSWER, 1.0 - TAIL]);
        let (drifts, unsteady) = (belief.drifts() > DOUBTFUL, belief.is_unsteady() > DOUBTFUL);
        if high <= self.bounds.from {
            let interval = [None, Some(self.bounds.from)];
            return Finding { holds: None, interval, confidence: Some(CONFIDENCE), drifts, unsteady };
        }
        // What was not tried is not told, however probable it is.
        let tried = match self.next() {
            Next::Done(End::Client) => Some(self.ceiling().unwrap_or(f64::INFINITY)),
            Next::Done(End::Reach) => Some(f64::INFINITY),
            _ => None,
        };
        if let Some(below) = tried {
            let holds = self.highest_good(below);
            return Finding { holds, interval: [holds, None], confidence: None, drifts, unsteady };
        }
        let holds = self.confirmed(low, high).unwrap_or(answer);
        Finding {
            holds: Some(holds),
            interval: [Some(low), Some(high)],
            confidence: Some(CONFIDENCE),
            drifts,
            unsteady,
        }
    }
}

/// To four digits.
fn rounded(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 3.0);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { from: 100.0, to: 1e6, precision: 0.02 };

    /// Trials until it is over, of a target that says this of a rate and a length.
    fn search(mut target: impl FnMut(f64, bool) -> Said) -> (End, Finding, Search) {
        let mut search = Search::new(BOUNDS);
        for _ in 0..200 {
            let (rate, is_long) = match search.next() {
                Next::Double(rate) | Next::Close(rate) => (rate, false),
                Next::CloseLong(rate) | Next::Confirm(rate) => (rate, true),
                Next::Done(end) => return (end, search.finding(), search),
            };
            search.learn(Trial { rate, said: target(rate, is_long), is_long });
        }
        panic!("no end: {:?}", search.trials);
    }

    fn cliff(limit: f64) -> impl FnMut(f64, bool) -> Said {
        move |rate, _| if rate <= limit { Said::Good } else { Said::Bad }
    }

    #[test]
    fn a_generator_that_cannot_say_does_not_make_a_ceiling() {
        let (end, finding, _) = search(|rate, _| if rate <= 5_000.0 { Said::Good } else { Said::Spoiled });
        assert_eq!((end, finding.interval[1], finding.confidence), (End::Client, None, None));
        let holds = finding.holds.unwrap();
        assert!((5_000.0 / CLIENT_PRECISION..=5_000.0).contains(&holds), "{holds}");
    }

    #[test]
    fn a_trial_that_was_spoiled_is_done_again() {
        let mut spoiled = false;
        let (end, finding, search) = search(move |rate, _| {
            spoiled = !spoiled;
            if spoiled { Said::Spoiled } else { cliff(7_000.0)(rate, false) }
        });
        assert_eq!(end, End::Known);
        assert!(
            finding.interval[0].unwrap() <= 7_000.0 && 7_000.0 <= finding.interval[1].unwrap(),
            "{finding:?}"
        );
        assert!(search.trials.chunks(2).all(|pair| pair[0].rate == pair[1].rate), "{:?}", search.trials);
    }

    #[test]
    fn what_never_fails_or_always_does_is_told() {
        let (end, finding, _) = search(cliff(f64::INFINITY));
        assert_eq!((end, finding.holds, finding.interval[1]), (End::Reach, Some(1e6), None));
        let (end, finding, _) = search(cliff(1.0));
        assert_eq!((end, finding.holds, finding.interval), (End::Never, None, [None, Some(100.0)]));
    }

    #[test]
    fn long_trials_that_fail_where_short_ones_held_decide() {
        // What piles up breaks the objective only after a while.
        let (end, finding, search) =
            search(|rate, is_long| cliff(if is_long { 5_000.0 } else { 8_000.0 })(rate, is_long));
        assert_eq!(end, End::Known);
        let [low, high] = finding.interval.map(Option::unwrap);
        assert!(low <= 5_000.0 && 5_000.0 <= high && search.long_only, "{finding:?}");
    }

    #[test]
    fn a_search_is_a_function_of_its_trials() {
        let (end, finding, search) = search(cliff(31_415.0));
        let again = Search::of(BOUNDS, search.trials.clone());
        assert_eq!((again.next(), again.finding()), (Next::Done(end), finding));
    }
}
