//! Numbers that an axis is labelled with.

/// Multiples of 1, 2 or 5 times a power of ten, from 0 to at most `max`: some four to eight of them.
pub(super) fn ticks(max: f64) -> Vec<f64> {
    if max <= 0.0 || !max.is_finite() {
        return vec![0.0];
    }
    let magnitude = 10_f64.powf((max / 4.0).log10().floor());
    let step = [5.0, 2.0, 1.0].into_iter().map(|n| n * magnitude).find(|step| max / step >= 4.0);
    let step = step.unwrap_or(magnitude);
    (0..=(max / step).floor() as u32).map(|n| f64::from(n) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks(20_400.0), [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]);
        assert_eq!(ticks(1.1), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
        for max in [1.0, 3.3, 4.0, 7.9, 9.99, 123.4, 8e6] {
            assert!((4..=9).contains(&ticks(max).len()), "{max}: {:?}", ticks(max));
        }
        assert_eq!(ticks(0.0), [0.0]);
    }
}
