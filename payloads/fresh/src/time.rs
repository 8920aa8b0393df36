//! Moments as text of a fixed width, so that a later one fits in the place of an earlier one.

/// How a moment is written, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TimeFormat {
    /// `2026-01-02T03:04:05.678Z` (ISO 8601).
    Iso,
    /// `2026-01-02 03:04:05.678`, as databases take it.
    DateTime,
    /// Seconds since 1970, 10 digits.
    Unix,
    /// Milliseconds since 1970, 13 digits.
    UnixMs,
    /// Microseconds since 1970, 16 digits.
    UnixUs,
    /// Nanoseconds since 1970, 19 digits.
    UnixNs,
}

/// One moment in every format.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    unix_ns: u64,
    /// Those finer than a millisecond are written only when they are asked for.
    texts: [[u8; TEXT_BYTES_MAX]; TimeFormat::ALL.len()],
}

/// Bytes of the longest format.
const TEXT_BYTES_MAX: usize = 24;

/// The last millisecond whose year has four digits; what is later reads as it.
const LAST_MS: u64 = 253_402_300_799_999;

/// The last moment whose nanoseconds have 19 digits and whose seconds have 10.
const LAST_NS: u64 = 9_999_999_999_999_999_999;

impl TimeFormat {
    /// Every format, each with its name in templates.
    pub const ALL: [(&'static str, Self); 6] = [
        ("iso", Self::Iso),
        ("datetime", Self::DateTime),
        ("unix", Self::Unix),
        ("unix_ms", Self::UnixMs),
        ("unix_us", Self::UnixUs),
        ("unix_ns", Self::UnixNs),
    ];

    /// Bytes it takes.
    #[inline]
    pub fn width(self) -> usize {
        match self {
            Self::Iso => 24,
            Self::DateTime => 23,
            Self::Unix => 10,
            Self::UnixMs => 13,
            Self::UnixUs => 16,
            Self::UnixNs => 19,
        }
    }

    /// Appends the moment `unix_ns` nanoseconds after 1970-01-01T00:00:00Z.
    pub fn append(self, out: &mut Vec<u8>, unix_ns: u64) {
        out.extend_from_slice(Times::new(unix_ns).text(self));
    }
}

impl Times {
    pub(crate) fn new(unix_ns: u64) -> Self {
        let mut times = Self { unix_ns: u64::MAX, texts: [[b'0'; TEXT_BYTES_MAX]; TimeFormat::ALL.len()] };
        times.set(unix_ns);
        times
    }

    #[inline]
    pub(crate) fn set(&mut self, unix_ns: u64) {
        let unix_ns = unix_ns.min(LAST_NS);
        let same_ms = unix_ns / 1_000_000 == self.unix_ns / 1_000_000;
        self.unix_ns = unix_ns;
        if !same_ms {
            self.set_ms(unix_ns / 1_000_000);
        }
    }

    #[cold]
    fn set_ms(&mut self, unix_ms: u64) {
        let mut text = iso8601(unix_ms);
        self.put(TimeFormat::Iso, &text);
        text[10] = b' ';
        self.put(TimeFormat::DateTime, &text[..23]);
        self.put(TimeFormat::Unix, &digits::<10>(unix_ms / 1_000));
        self.put(TimeFormat::UnixMs, &digits::<13>(unix_ms));
    }

    #[inline]
    fn put(&mut self, format: TimeFormat, text: &[u8]) {
        self.texts[format as usize][..text.len()].copy_from_slice(text);
    }

    /// The 24 bytes of [`TimeFormat::Iso`].
    #[inline]
    pub(crate) fn iso(&self) -> &[u8; TEXT_BYTES_MAX] {
        &self.texts[TimeFormat::Iso as usize]
    }

    #[inline]
    pub(crate) fn text(&mut self, format: TimeFormat) -> &[u8] {
        match format {
            TimeFormat::UnixUs => self.put(format, &digits::<16>(self.unix_ns / 1_000)),
            TimeFormat::UnixNs => self.put(format, &digits::<19>(self.unix_ns)),
            TimeFormat::Iso | TimeFormat::DateTime | TimeFormat::Unix | TimeFormat::UnixMs => {}
        }
        &self.texts[format as usize][..format.width()]
    }
}

fn iso8601(unix_ms: u64) -> [u8; 24] {
    let unix_ms = unix_ms.min(LAST_MS);
    let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    text[0..4].copy_from_slice(&digits::<4>(year));
    text[5..7].copy_from_slice(&digits::<2>(month));
    text[8..10].copy_from_slice(&digits::<2>(day));
    text[11..13].copy_from_slice(&digits::<2>(ms_of_day / 3_600_000));
    text[14..16].copy_from_slice(&digits::<2>(ms_of_day / 60_000 % 60));
    text[17..19].copy_from_slice(&digits::<2>(ms_of_day / 1_000 % 60));
    text[20..23].copy_from_slice(&digits::<3>(ms_of_day % 1_000));
    text
}

/// Year, month (1-12) and day (1-31) of a day counted from 1970-01-01. Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>) for days that are not before the epoch: years begin in March there,
/// so that the leap day is the last of its year; an era is the 400 years after which the calendar repeats.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The last `N` decimal digits.
#[inline]
pub(crate) fn digits<const N: usize>(mut value: u64) -> [u8; N] {
    let mut text = [0; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_ms: u64) -> String {
        String::from_utf8(iso8601(unix_ms).to_vec()).unwrap()
    }

    #[test]
    fn known_moments_read_right() {
        // Seconds from `date -u -d … +%s`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_799, "2024-02-28T23:59:59"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_709_251_200, "2024-03-01T00:00:00"),
            (1_767_225_599, "2025-12-31T23:59:59"),
            (1_767_225_600, "2026-01-01T00:00:00"),
            (1_772_323_199, "2026-02-28T23:59:59"),
            (1_772_323_200, "2026-03-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(text(seconds * 1_000), format!("{expected}.000Z"));
            assert_eq!(text(seconds * 1_000 + 987), format!("{expected}.987Z"));
        }
    }

    #[test]
    fn every_day_follows_the_one_before_it_by_the_rules_of_the_calendar() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=2_932_896 {
            assert_eq!(civil_from_days(days), (year, month, day), "day {days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_days = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > month_days {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    #[test]
    fn the_width_never_changes() {
        assert_eq!(text(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(253_402_300_800_000), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_format_writes_the_same_moment_at_its_width() {
        for (unix_ns, iso) in
            [(1_767_225_600_123_456_789, "2026-01-01T00:00:00.123Z"), (u64::MAX, "2286-11-20T17:46:39.999Z")]
        {
            let written = TimeFormat::ALL.map(|(_, format)| {
                let mut out = Vec::new();
                format.append(&mut out, unix_ns);
                assert_eq!(out.len(), format.width());
                String::from_utf8(out).unwrap()
            });
            let ns = unix_ns.min(LAST_NS).to_string();
            let datetime = iso.replace('T', " ").replace('Z', "");
            assert_eq!(written, [iso, &datetime, &ns[..10], &ns[..13], &ns[..16], &ns]);
        }
    }

    #[test]
    fn a_time_set_later_is_the_time_set_alone() {
        let mut times = Times::new(0);
        for unix_ns in [1, 999_999, 1_000_000, 1_767_225_600_123_456_789, 1_767_225_600_123_999_999, 5] {
            times.set(unix_ns);
            for (name, format) in TimeFormat::ALL {
                assert_eq!(times.text(format), Times::new(unix_ns).text(format), "{name} at {unix_ns}");
            }
        }
    }
}
