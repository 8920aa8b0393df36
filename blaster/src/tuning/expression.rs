//! The list's arithmetic: sums of products of whole numbers, from left to right, as `tuning/lib.sh` understands it too.

/// What may stand in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Requests a second.
    Rps,
    /// All connections.
    Connections,
    /// Connections to one address of the target.
    PerAddress,
    /// New connections a second to one address.
    Churn,
    /// Threads that send.
    Cores,
    /// 1 with the built-in target.
    Sink,
    /// 1 with a target on this machine.
    Local,
    /// 1 without.
    Remote,
    /// What is there, in texts.
    Now,
    /// What is wanted, in texts.
    Want,
}

impl Name {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "rps" => Self::Rps,
            "connections" => Self::Connections,
            "per_address" => Self::PerAddress,
            "churn" => Self::Churn,
            "cores" => Self::Cores,
            "sink" => Self::Sink,
            "local" => Self::Local,
            "remote" => Self::Remote,
            "now" => Self::Now,
            "want" => Self::Want,
            _ => return None,
        })
    }
}

/// A sum of products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    first: Operand,
    rest: Vec<(Operator, Operand)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Number(i64),
    Name(Name),
}

impl Expression {
    /// Understands an expression; the error is the word that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let operand = |word: &str| match word.parse() {
            Ok(number) => Ok(Operand::Number(number)),
            Err(_) => Name::of(word).map(Operand::Name).ok_or_else(|| word.to_owned()),
        };
        let mut words = text.split_whitespace();
        let first = operand(words.next().unwrap_or_default())?;
        let mut rest = Vec::new();
        while let Some(word) = words.next() {
            let operator = match word {
                "+" => Operator::Plus,
                "-" => Operator::Minus,
                "*" => Operator::Times,
                "/" => Operator::Over,
                _ => return Err(word.to_owned()),
            };
            rest.push((operator, operand(words.next().unwrap_or_default())?));
        }
        Ok(Self { first, rest })
    }

    /// Its value; none where a name has none, or a divisor is 0.
    pub fn calculate(&self, value: impl Fn(Name) -> Option<i64>) -> Option<i64> {
        let operand = |operand: Operand| match operand {
            Operand::Number(number) => Some(number),
            Operand::Name(name) => value(name),
        };
        let (mut sum, mut term) = (0_i64, operand(self.first)?);
        for &(operator, next) in &self.rest {
            let next = operand(next)?;
            match operator {
                Operator::Times => term = term.checked_mul(next)?,
                Operator::Over => term = term.checked_div(next)?,
                Operator::Plus => (sum, term) = (sum.checked_add(term)?, next),
                Operator::Minus => (sum, term) = (sum.checked_add(term)?, next.checked_neg()?),
            }
        }
        sum.checked_add(term)
    }

    /// Whether it is a name and nothing else.
    pub fn is(&self, name: Name) -> bool {
        self.first == Operand::Name(name) && self.rest.is_empty()
    }
}

/// A whole number with commas: `28,232`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<i64> {
        Expression::parse(text).unwrap().calculate(|name| (name == Name::Churn).then_some(500))
    }

    #[test]
    fn products_come_before_sums_and_steps_are_whole() {
        assert_eq!(value("64 + 60 * churn - 10 / 3 * 2"), Some(64 + 30_000 - 6));
        assert_eq!(value("7"), Some(7));
        assert_eq!((value("1 / 0"), value("now + 1")), (None, None));
    }

    #[test]
    fn words_that_mean_nothing_are_named() {
        assert_eq!(Expression::parse("1 + much").unwrap_err(), "much");
        assert_eq!(Expression::parse("1 1").unwrap_err(), "1");
        assert!(Expression::parse("1 +").is_err());
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 28_232, -1_234_567].map(grouped), ["0", "999", "1,000", "28,232", "-1,234,567"]);
    }
}
