//! The hosts file: a node a line, `host[:port] [weight=N] [max-rps=N]`, `#` comments.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;

use blaster_core::plan::rate::Rate;

/// The port of an agent, unless it is said.
pub const PORT_DEFAULT: u16 = 7400;

/// The largest weight: beyond it lies a slip of the hand.
pub const WEIGHT_MAX: u32 = 1_000_000;

/// An agent, and how much of a run it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Name or address, without brackets.
    pub host: String,
    /// Of its agent.
    pub port: u16,
    /// Its share, next to the others'.
    pub weight: u32,
    /// Most requests per second it is given, if that is bounded.
    pub max_rps: Option<Rate>,
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is wrong with a hosts file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HostsError {
    /// A line.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: LineError,
    },
    /// Not one node.
    #[error("there is no node in it: write a node a line, as in `load-1:7400 weight=2`")]
    Empty,
}

/// What is wrong with a line of a hosts file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LineError {
    /// A port that is none.
    #[error("{0:?} is no port: want a number from 1 to 65535")]
    Port(String),
    /// A name that is none.
    #[error(
        "{0:?} is no host: want a name or an address, IPv6 in brackets before a port, as in [fd00::1]:7400"
    )]
    Host(String),
    /// A node named before.
    #[error("{node} stands on line {first} already: name each node once, and give it more with weight=N")]
    Duplicate {
        /// Which.
        node: String,
        /// Where.
        first: usize,
    },
    /// A weight that is none.
    #[error(
        "weight={0} gives the node nothing, or is no number: want one from 1 to {WEIGHT_MAX}, or remove the line"
    )]
    Weight(String),
    /// A bound that is none.
    #[error("max-rps={text}: {error}")]
    MaxRps {
        /// As it stands there.
        text: String,
        /// What is wrong with it.
        error: <Rate as std::str::FromStr>::Err,
    },
    /// A bound that lets nothing through.
    #[error("max-rps=0 lets the node send nothing: give it a rate above 0, or remove the line")]
    NoRps,
    /// A setting that there is not.
    #[error("{0:?} is unknown: behind a node there can be weight=N and max-rps=N")]
    Key(String),
    /// A setting given twice.
    #[error("{0}= is given twice: give it once")]
    Twice(&'static str),
}

/// Understands a hosts file.
pub fn parse(text: &str) -> Result<Vec<Host>, HostsError> {
    // Some editors begin a file with a mark of its encoding.
    let text = text.trim_start_matches('\u{feff}');
    let mut hosts = Vec::new();
    let mut lines_of = HashMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default();
        let wrong = |what| HostsError::Line { line, what };
        let Some(host) = host(content).map_err(wrong)? else { continue };
        let node = host.to_string().to_ascii_lowercase();
        if let Some(&first) = lines_of.get(&node) {
            return Err(wrong(LineError::Duplicate { node, first }));
        }
        lines_of.insert(node, line);
        hosts.push(host);
    }
    if hosts.is_empty() { Err(HostsError::Empty) } else { Ok(hosts) }
}

fn host(line: &str) -> Result<Option<Host>, LineError> {
    let mut words = line.split_whitespace();
    let Some(address) = words.next() else { return Ok(None) };
    let (name, port) = address_of(address)?;
    let (mut weight, mut max_rps) = (None, None);
    for word in words {
        match word.split_once('=') {
            Some(("weight", text)) => {
                let number = text.parse().ok().filter(|number| (1..=WEIGHT_MAX).contains(number));
                let number = number.ok_or_else(|| LineError::Weight(text.to_owned()))?;
                if weight.replace(number).is_some() {
                    return Err(LineError::Twice("weight"));
                }
            }
            Some(("max-rps", text)) => {
                let rate: Rate =
                    text.parse().map_err(|error| LineError::MaxRps { text: text.to_owned(), error })?;
                if rate.per_second() == 0.0 {
                    return Err(LineError::NoRps);
                }
                if max_rps.replace(rate).is_some() {
                    return Err(LineError::Twice("max-rps"));
                }
            }
            _ => return Err(LineError::Key(word.to_owned())),
        }
    }
    Ok(Some(Host { host: name, port, weight: weight.unwrap_or(1), max_rps }))
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address.
fn address_of(text: &str) -> Result<(String, u16), LineError> {
    let no_host = || LineError::Host(text.to_owned());
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), PORT_DEFAULT));
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or_else(no_host)?;
            name.parse::<Ipv6Addr>().map_err(|_| no_host())?;
            match rest.strip_prefix(':') {
                Some(port) => (name, Some(port)),
                None if rest.is_empty() => (name, None),
                None => return Err(no_host()),
            }
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let port = port.map_or(Ok(PORT_DEFAULT), |port| {
        port.parse().ok().filter(|&port| port > 0).ok_or_else(|| LineError::Port(port.to_owned()))
    })?;
    let in_names = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if name.is_empty() || !name.chars().all(in_names) {
        return Err(no_host());
    }
    Ok((name.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_node_a_line_with_weight_bound_and_comments() {
        let hosts =
            parse("# ours\nload-1\n\n10.0.0.2:7500 weight=3 max-rps=1.5m # fast\n[fd00::1]:80\nfd00::2\n")
                .unwrap();
        let shown: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["load-1:7400", "10.0.0.2:7500", "[fd00::1]:80", "[fd00::2]:7400"]);
        assert_eq!((hosts[1].weight, hosts[1].max_rps.unwrap().per_second()), (3, 1.5e6));
        assert_eq!((hosts[0].weight, hosts[0].max_rps), (1, None));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert_eq!(wrong("a\n\nb:70000"), "line 3: \"70000\" is no port: want a number from 1 to 65535");
        assert!(wrong("a:0").starts_with("line 1: \"0\" is no port"));
        assert!(wrong("a:").starts_with("line 1: \"\" is no port"));
        assert!(wrong("# x\nA:7400\nb\na").starts_with("line 4: a:7400 stands on line 2 already"));
        assert!(wrong("a weight=0").starts_with("line 1: weight=0 gives the node nothing"));
        assert!(wrong("a weight=-1").contains("weight=-1"));
        assert!(wrong("a max-rps=x").starts_with("line 1: max-rps=x: "));
        assert!(wrong("a max-rps=0").contains("max-rps=0"));
        assert!(wrong("a wieght=2").starts_with("line 1: \"wieght=2\" is unknown"));
        assert!(wrong("a 7400").contains("\"7400\" is unknown"));
        assert!(wrong("a weight=1 weight=1").contains("weight= is given twice"));
        for address in ["[::1", "[x]:1", "[::1]7400", ":7400", "a/b", "http://a", "a@b"] {
            assert!(wrong(address).starts_with("line 1: "), "{address}");
        }
        assert!(wrong("# nothing\n\n").starts_with("there is no node in it"));
        assert!(wrong("").starts_with("there is no node in it"));
    }

    proptest! {
        #[test]
        fn whatever_stands_there_nothing_panics_and_what_is_read_is_read_again(text in "([a-z0-9:\\[\\]. =#-]{0,20}\n){0,4}") {
            if let Ok(hosts) = parse(&text) {
                let again: String = hosts.iter().map(|host| format!("{host} weight={}\n", host.weight)).collect();
                let again = parse(&again).unwrap();
                prop_assert_eq!(hosts.len(), again.len());
                for (one, other) in hosts.iter().zip(&again) {
                    prop_assert_eq!((&one.host, one.port, one.weight), (&other.host, other.port, other.weight));
                }
            }
        }
    }
}
