//! What samples say: distances between distributions, dispersion, errors of means, ratios.

/// The largest distance between the sample's distribution and `cdf` (Kolmogorov and Smirnov); 1 for an empty sample.
pub fn ks_distance(sample: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    if sample.is_empty() {
        return 1.0;
    }
    let mut sorted = sample.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let distance = |(index, value): (usize, &f64)| {
        let at = cdf(*value);
        (at - index as f64 / count).max((index + 1) as f64 / count - at)
    };
    sorted.iter().enumerate().map(distance).fold(0.0, f64::max)
}

/// Distribution function of evenly spread values from 0 to `end`.
pub fn uniform(end: f64) -> impl Fn(f64) -> f64 {
    move |value| (value / end).clamp(0.0, 1.0)
}

/// Distribution function of exponential values.
pub fn exponential(mean: f64) -> impl Fn(f64) -> f64 {
    move |value| 1.0 - (-value / mean).exp()
}

/// Variance over mean of the counts in bins of `bin` from 0 up to `end`, and the number of whole bins: 1 for Poisson
/// arrivals, scattering by [`dispersion_error`]. None for fewer than two bins or no arrivals.
pub fn dispersion(times: &[f64], bin: f64, end: f64) -> Option<(f64, usize)> {
    let mut bins = vec![0_u64; (end / bin) as usize];
    for time in times {
        if let Some(count) = bins.get_mut((time / bin) as usize) {
            *count += 1;
        }
    }
    let counts: Vec<f64> = bins.iter().map(|count| *count as f64).collect();
    let average = mean(&counts);
    (counts.len() > 1 && average > 0.0).then(|| (variance(&counts) / average, counts.len()))
}

/// Standard error of the dispersion of `bins` Poisson counts: √(2 / (n − 1)).
pub fn dispersion_error(bins: usize) -> f64 {
    (2.0 / (bins as f64 - 1.0)).sqrt()
}

/// Mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Mean and standard error of a correlated series, from the means of `batches` stretches of it (at least two), which are
/// almost independent if each is much longer than the correlation; what is left over at the end is left out.
pub fn batch_means(values: &[f64], batches: usize) -> (f64, f64) {
    let length = (values.len() / batches).max(1);
    let means: Vec<f64> = values.chunks_exact(length).take(batches).map(mean).collect();
    (mean(&means), (variance(&means) / means.len() as f64).sqrt())
}

/// The value that a share of at least `quantile` of the sorted values does not exceed.
pub fn quantile(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The median: of an even number the mean of the two in the middle. Some values are wanted.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

/// The median of values, and the interval that holds the true one with a confidence of 95 % or the next higher that
/// there is: between order statistics, by the signs (binomial, one half), whatever the distribution. With fewer than six
/// values it reaches from the least to the greatest, with less confidence. Some values are wanted.
pub fn median_interval(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len();
    let median = median(sorted.iter().copied());
    // The most values that may be left out on each side: P(fewer than `out` below the median) stays within 2.5 %.
    let mut out = 0;
    let mut term = 0.5_f64.powi(count as i32);
    let mut below = term;
    while below <= 0.025 && out < (count - 1) / 2 {
        out += 1;
        term *= (count - out + 1) as f64 / out as f64;
        below += term;
    }
    let out = out.saturating_sub(1);
    (sorted[out], median, sorted[count - 1 - out])
}

fn variance(values: &[f64]) -> f64 {
    let average = mean(values);
    let squares: f64 = values.iter().map(|value| (value - average).powi(2)).sum();
    squares / (values.len().max(2) - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_sample_is_near_uniform_and_far_from_exponential() {
        let even: Vec<f64> = (0..1000).map(|n| (f64::from(n) + 0.5) / 1000.0).collect();
        assert!((ks_distance(&even, uniform(1.0)) - 0.0005).abs() < 1e-9);
        assert!(ks_distance(&even, exponential(0.5)) > 0.1);
        assert_eq!(ks_distance(&[], uniform(1.0)), 1.0);
    }

    #[test]
    fn quantiles_of_the_exponential_are_exponential() {
        let sample: Vec<f64> = (0..1000).map(|n| -(1.0 - (f64::from(n) + 0.5) / 1000.0).ln() * 3.0).collect();
        assert!(ks_distance(&sample, exponential(3.0)) < 0.001);
    }

    #[test]
    fn even_arrivals_do_not_disperse_and_bunched_ones_do() {
        let even: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(dispersion(&even, 10.0, 100.0), Some((0.0, 10)));
        let bunched = vec![5.0; 100];
        let (index, bins) = dispersion(&bunched, 10.0, 100.0).unwrap();
        assert!((index - 100.0).abs() < 1e-9 && bins == 10);
        assert_eq!(dispersion(&[], 10.0, 100.0), None);
        assert!((dispersion_error(201) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn means_of_batches_have_the_error_of_their_scatter() {
        let (mean, error) = batch_means(&[1.0, 1.0, 3.0, 3.0, 9.0], 2);
        assert_eq!((mean, error), (2.0, 1.0));
    }

    #[test]
    fn a_quantile_is_a_value_that_enough_do_not_exceed() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!([0.0, 0.5, 0.51, 1.0].map(|at| quantile(&sorted, at)), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn the_interval_of_a_median_is_that_of_the_sign_test() {
        // Fifteen values: the 4th and the 12th (96.5 %), from the tables of the binomial distribution.
        let values: Vec<f64> = (1..=15).rev().map(f64::from).collect();
        assert_eq!(median_interval(&values), (4.0, 8.0, 12.0));
        assert_eq!(median_interval(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        let six: Vec<f64> = (1..=6).map(f64::from).collect();
        assert_eq!(median_interval(&six), (1.0, 3.5, 6.0));
    }
}
