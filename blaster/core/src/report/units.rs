//! Numbers as people read them. Times are [`crate::time::Nanos`]'s own `Display`.

/// With thousands separated: `1,000,000`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second, whole and grouped from ten on, with two digits below: `1,000,000`, `2.5`, `0.33`.
pub fn rate(per_second: f64) -> String {
    if per_second >= 10.0 || per_second == per_second.trunc() {
        return grouped(per_second.round() as u64);
    }
    let text = format!("{per_second:.2}");
    text.trim_end_matches('0').to_owned()
}

/// A fraction as a percentage that is never rounded to a whole that it is not: `100.00 %` is all, `0.00 %` none.
pub fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if fraction > 0.0 && percent < 0.01 {
        return "<0.01 %".to_owned();
    }
    if fraction < 1.0 && percent > 99.99 {
        return "99.99 %".to_owned();
    }
    format!("{percent:.2} %")
}

/// A size in decimal units: `512 B`, `12.4 GB`.
pub fn bytes(size: u64) -> String {
    let mut value = size as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        // What rounds to a thousand is one of the next unit.
        if value < 999.5 || unit == "TB" {
            let decimals = if unit == "B" || value >= 99.95 { 0 } else { 1 };
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1000.0;
    }
    unreachable!("the last unit takes every size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(
            ["0", "999", "1,000", "30,000,000"],
            [0, 999, 1000, 30_000_000].map(grouped).each_ref().map(|s| &**s)
        );
    }

    #[test]
    fn rates_keep_digits_only_where_they_are_small() {
        assert_eq!(rate(1_000_000.4), "1,000,000");
        assert_eq!(rate(2.0), "2");
        assert_eq!(rate(0.333), "0.33");
        assert_eq!(rate(2.5), "2.5");
        assert_eq!(rate(0.0), "0");
    }

    #[test]
    fn one_missing_of_many_is_not_shown_as_all_and_one_of_many_not_as_none() {
        assert_eq!(percent(1.0), "100.00 %");
        assert_eq!(percent(0.999_999), "99.99 %");
        assert_eq!(percent(0.000_001), "<0.01 %");
        assert_eq!(percent(0.0), "0.00 %");
        assert_eq!(percent(0.0236), "2.36 %");
    }

    #[test]
    fn sizes_have_three_digits_in_decimal_units() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(999_600), "1.0 MB");
        assert_eq!(bytes(12_400_000_000), "12.4 GB");
        assert_eq!(bytes(999_700_000_000_000_000), "999700 TB");
    }
}
