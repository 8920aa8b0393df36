//! Which types of events occur, and how often: `page_view:70,purchase:5`.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Types of events, each with its weight; a type that is not named does not occur.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares(Vec<(String, f64)>);

impl Shares {
    /// Names and weights in the order they were given in.
    pub(crate) fn types(&self) -> &[(String, f64)] {
        &self.0
    }
}

impl FromStr for Shares {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |next: String| Error::Shares { given: text.to_owned(), next };
        let mut shares: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            // Names may have colons in them, weights may not.
            let (name, weight) = part
                .rsplit_once(':')
                .ok_or_else(|| wrong(format!("give {part:?} a weight, as in page_view:70")))?;
            let (name, digits) = (name.trim(), weight.trim());
            if name.is_empty() {
                return Err(wrong(format!("put a type's name before :{digits}")));
            }
            let weight = positive(digits).ok_or_else(|| wrong(format!("{digits:?} is no number above 0")))?;
            if shares.iter().any(|(other, _)| other == name) {
                return Err(wrong(format!("{name} is there twice: give it one weight")));
            }
            shares.push((name.to_owned(), weight));
        }
        Ok(Self(shares))
    }
}

/// A number above 0 in decimal digits.
pub(crate) fn positive(digits: &str) -> Option<f64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = digits.parse().ok().filter(|_| plain)?;
    (number.is_finite() && number > 0.0).then_some(number)
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, weight)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}:{weight}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_as_they_are_written() {
        for text in ["page_view:70,purchase:5", "a:0.5", "$pageview:1", "a:b:2"] {
            assert_eq!(text.parse::<Shares>().unwrap().to_string(), text);
        }
        assert_eq!(" a : 1 , b:2".parse::<Shares>().unwrap().to_string(), "a:1,b:2");
    }

    #[test]
    fn what_are_no_shares_is_refused_with_the_next_step() {
        for (text, next) in [
            ("", "give \"\" a weight"),
            ("page_view", "give \"page_view\" a weight, as in page_view:70"),
            ("a:0", "\"0\" is no number above 0"),
            ("a:-1", "\"-1\" is no number above 0"),
            ("a:x", "\"x\" is no number above 0"),
            ("a:inf", "\"inf\" is no number above 0"),
            ("a:", "\"\" is no number above 0"),
            (":1", "put a type's name before :1"),
            ("a:1,a:2", "a is there twice"),
        ] {
            let error = text.parse::<Shares>().unwrap_err().to_string();
            assert!(error.contains(next), "{text}: {error}");
        }
    }
}
