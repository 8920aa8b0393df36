//! Where a limit lies, as a probability.
//!
//! A trial at rate r holds with probability `(1 - e - LUCK) * logistic((ln L - ln r) / w) + LUCK`: sharply below the limit L and not above
//! it if the width w is small, less sharply where times scatter. With probability e a trial fails wherever it is: a pause of the target, a
//! bad mode. ln L may drift by d from trial to trial. Over a grid of (L now, w, d, e) each trial multiplies each cell by what the cell gave
//! it (Bayes' rule), so that it does not matter in which order or why loads were tried; the limit is what is left of L.
//!
//! The limit is that of a trial: the rate at which it holds with probability one half, bad luck aside.

use super::search::Said;

/// ln L moves by so much from trial to trial, and how probable that is beforehand.
const DRIFTS: [(f64, f64); 3] = [(0.0, 0.9), (0.0012, 0.05), (-0.0012, 0.05)];

/// Widths of the step from holding to failing, in ln r, likewise.
const WIDTHS: [(f64, f64); 5] = [(0.0004, 0.35), (0.003, 0.15), (0.008, 0.25), (0.02, 0.2), (0.06, 0.05)];

/// Shares of trials that fail wherever they are, likewise.
const LAPSES: [(f64, f64); 3] = [(0.01, 0.6), (0.08, 0.15), (0.3, 0.25)];

/// From this share on a target is told to be unsteady.
const LAPSES_MANY: f64 = 0.2;

/// The share of trials that hold wherever they are.
const LUCK: f64 = 0.002;

/// Cells that share less than this are let go.
const NEGLIGIBLE: f64 = 1e-7;

/// Beyond the bracket in ln r: so much more is thought possible.
const BEYOND: f64 = 0.4;

/// Cells of the grid a precision.
const CELLS_A_PRECISION: f64 = 5.0;

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// ln L at the trial of number 0.
    at: f64,
    drift: u8,
    width: u8,
    lapses: u8,
    weight: f64,
}

/// What trials leave possible.
#[derive(Clone, Debug)]
pub struct Belief {
    cells: Vec<Cell>,
    /// ln L lies between them.
    range: (f64, f64),
    spacing: f64,
    /// Trials so far.
    count: usize,
}

impl Belief {
    /// Before any trial, of a limit about between these rates.
    pub fn between(low: f64, high: f64, precision: f64) -> Self {
        let range = (low.ln() - BEYOND, high.ln() + BEYOND);
        let spacing = (1.0 + precision).ln() / CELLS_A_PRECISION;
        let steps = ((range.1 - range.0) / spacing).ceil() as usize;
        let mut cells = Vec::with_capacity(steps * DRIFTS.len() * WIDTHS.len() * LAPSES.len());
        for step in 0..steps {
            let at = range.0 + (step as f64 + 0.5) * spacing;
            for (drift, (_, p_drift)) in (0..).zip(DRIFTS) {
                for (width, (_, p_width)) in (0..).zip(WIDTHS) {
                    for (lapses, (_, p_lapses)) in (0..).zip(LAPSES) {
                        cells.push(Cell { at, drift, width, lapses, weight: p_drift * p_width * p_lapses });
                    }
                }
            }
        }
        let mut belief = Self { cells, range, spacing, count: 0 };
        belief.normalize();
        belief
    }

    /// Takes the next trial in. One that was spoiled says nothing, but time has passed.
    pub fn learn(&mut self, rate: f64, said: Said) {
        let (x, number) = (rate.ln(), self.count as f64);
        self.count += 1;
        if said == Said::Spoiled {
            return;
        }
        for cell in &mut self.cells {
            let (lapses, drift) = (LAPSES[cell.lapses as usize].0, DRIFTS[cell.drift as usize].0);
            let z = (cell.at + drift * number - x) / WIDTHS[cell.width as usize].0;
            let below = if z > 40.0 {
                1.0
            } else if z < -40.0 {
                0.0
            } else {
                1.0 / (1.0 + (-z).exp())
            };
            let holds = LUCK + (1.0 - lapses - LUCK) * below;
            cell.weight *= if said == Said::Good { holds } else { 1.0 - holds };
        }
        self.normalize();
    }

    fn normalize(&mut self) {
        let sum: f64 = self.cells.iter().map(|cell| cell.weight).sum();
        self.cells.retain_mut(|cell| {
            cell.weight /= sum;
            cell.weight > NEGLIGIBLE
        });
    }

    /// ln L at the latest trial.
    fn now(&self, cell: &Cell) -> f64 {
        cell.at + DRIFTS[cell.drift as usize].0 * self.count.saturating_sub(1) as f64
    }

    /// The rates that the limit is below with these probabilities, which rise.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let least = self.cells.iter().map(|cell| self.now(cell)).fold(f64::INFINITY, f64::min);
        let mut bins: Vec<f64> = Vec::new();
        for cell in &self.cells {
            let bin = ((self.now(cell) - least) / self.spacing + 0.5) as usize;
            if bin >= bins.len() {
                bins.resize(bin + 1, 0.0);
            }
            bins[bin] += cell.weight;
        }
        let (mut bin, mut below) = (0, 0.0);
        shares.map(|share| {
            while bin + 1 < bins.len() && below + bins[bin] < share {
                below += bins[bin];
                bin += 1;
            }
            let within = if bins[bin] > 0.0 { ((share - below) / bins[bin]).clamp(0.0, 1.0) } else { 0.5 };
            (least + (bin as f64 - 0.5 + within) * self.spacing).exp()
        })
    }

    /// The probability that the limit lies at an end of what was thought possible: below, above.
    pub fn at_ends(&self) -> (f64, f64) {
        let near = BEYOND / 3.0;
        self.cells.iter().fold((0.0, 0.0), |(low, high), cell| {
            let at = cell.at;
            (
                low + if at < self.range.0 + near { cell.weight } else { 0.0 },
                high + if at > self.range.1 - near { cell.weight } else { 0.0 },
            )
        })
    }

    /// The probability that it moves.
    pub fn drifts(&self) -> f64 {
        self.cells.iter().filter(|cell| cell.drift > 0).map(|cell| cell.weight).sum()
    }

    /// The probability that many trials fail below it as well.
    pub fn is_unsteady(&self) -> f64 {
        let many = |cell: &&Cell| LAPSES[cell.lapses as usize].0 >= LAPSES_MANY;
        self.cells.iter().filter(many).map(|cell| cell.weight).sum()
    }
}
