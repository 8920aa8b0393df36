//! Sets of HTTP status codes: which answers count as ok.

use std::fmt;
use std::str::FromStr;

/// A set of status codes, 0 to 999.
#[derive(Clone, PartialEq, Eq)]
pub struct Statuses {
    bits: [u64; 16],
    text: String,
}

/// Why a text is no set of statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no set of statuses: write 200, 200-299, 2xx, or several with commas")]
pub struct StatusesError(String);

impl Statuses {
    /// Whether `status` belongs to it.
    #[inline]
    pub fn contains(&self, status: u16) -> bool {
        self.bits.get(usize::from(status >> 6)).is_some_and(|word| word >> (status & 63) & 1 == 1)
    }
}

/// 200-399.
impl Default for Statuses {
    fn default() -> Self {
        "200-399".parse().expect("a constant")
    }
}

impl FromStr for Statuses {
    type Err = StatusesError;

    fn from_str(text: &str) -> Result<Self, StatusesError> {
        let mut bits = [0; 16];
        for part in text.split(',') {
            let (low, high) = range(part.trim()).ok_or_else(|| StatusesError(text.to_owned()))?;
            for status in low..=high {
                bits[usize::from(status >> 6)] |= 1 << (status & 63);
            }
        }
        Ok(Self { bits, text: text.to_owned() })
    }
}

fn range(part: &str) -> Option<(u16, u16)> {
    let code = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|code: &u16| digits && *code >= 100)
    };
    if let Some(class) = part.strip_suffix("xx") {
        let low = class.parse::<u16>().ok().filter(|class| (1..=9).contains(class))? * 100;
        return Some((low, low + 99));
    }
    match part.split_once('-') {
        Some((low, high)) => Some((code(low)?, code(high)?)).filter(|(low, high)| low <= high),
        None => code(part).map(|code| (code, code)),
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statuses({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_they_say() {
        let set: Statuses = "200-299,409,5xx".parse().unwrap();
        let held: Vec<u16> = (0..1200).filter(|&status| set.contains(status)).collect();
        let expected: Vec<u16> = (200..300).chain([409]).chain(500..600).collect();
        assert_eq!(held, expected);
        assert!(Statuses::default().contains(204) && !Statuses::default().contains(404));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "20", "2000", "300-200", "0xx", "ok", "200,", "200-"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }
}
