//! Where requests go.

use std::fmt;
use std::str::FromStr;

/// A server, a weight, and the path if one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, if the target named one, even `/`.
    pub path: Option<String>,
    /// Its share of requests, next to other targets' weights.
    pub weight: u32,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// TLS.
    #[error(
        "{0}: https:// comes with version 0.3; until then put a plain-http listener, or a proxy that ends TLS, in front of the target"
    )]
    Https(String),
    /// Another scheme.
    #[error("{0}: want http://HOST[:PORT][/PATH] or HOST:PORT")]
    Scheme(String),
    /// A bare name.
    #[error("{0} has no port: write {0}:80, or http://{0}")]
    NoPort(String),
    /// A port that is none.
    #[error("{0}: {1:?} is no port: give a number from 1 to 65535")]
    Port(String, String),
    /// No host.
    #[error("{0:?} has no host: write HOST:PORT, as in localhost:3000")]
    NoHost(String),
    /// Characters that cannot be.
    #[error("{0:?}: {1} does not belong in a target: write http://HOST[:PORT][/PATH]")]
    Character(String, &'static str),
    /// A weight that is none.
    #[error("{0}: a weight is a number from 1 to 1000000, as in {1}=3")]
    Weight(String, String),
}

impl Target {
    /// The Host header: the port stays away when it is http's own (RFC 9110, section 7.2).
    pub fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

/// `HOST:PORT` or `http://HOST[:PORT][/PATH]`, and `=WEIGHT` behind it.
///
/// Digits behind the last `=` are a weight unless that `=` belongs to a query: then a weight is not possible, but may stand on
/// another target.
impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let whole = || text.to_owned();
        let forbidden = |what| TargetError::Character(whole(), what);
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(forbidden("white space"));
        }
        if text.contains('#') {
            return Err(forbidden("a fragment (#)"));
        }
        let (url, weight) = match text.rsplit_once('=') {
            Some((url, weight)) if !url.contains('?') => {
                let number = weight.parse().ok().filter(|weight| (1..=1_000_000).contains(weight));
                (url, number.ok_or_else(|| TargetError::Weight(whole(), url.to_owned()))?)
            }
            _ => (text, 1),
        };
        let lower = url.to_ascii_lowercase();
        if lower.starts_with("https://") {
            return Err(TargetError::Https(url.to_owned()));
        }
        let (rest, is_url) = if lower.starts_with("http://") { (&url[7..], true) } else { (url, false) };
        if rest.contains("://") && !rest.contains(['/', '?'].as_slice()) || !is_url && rest.contains("://") {
            return Err(TargetError::Scheme(whole()));
        }
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        if authority.contains('@') {
            return Err(forbidden("a user name (@): use -H 'Authorization: …'"));
        }
        let path = match path {
            "" => None,
            path if path.starts_with('?') => Some(format!("/{path}")),
            path => Some(path.to_owned()),
        };
        let (host, port) = split_port(authority).ok_or_else(|| {
            forbidden(
                "an unclosed or misplaced [ or : (an IPv6 address stands in brackets, as in [::1]:3000)",
            )
        })?;
        if host.is_empty() {
            return Err(TargetError::NoHost(whole()));
        }
        if !host.chars().all(|c| c.is_alphanumeric() || "-._:%".contains(c)) {
            return Err(forbidden("that character in a host name"));
        }
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|&number: &u16| number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| TargetError::Port(whole(), port.to_owned()))?,
            None if is_url => 80,
            None => return Err(TargetError::NoPort(authority.to_owned())),
        };
        Ok(Self { host: host.to_owned(), port, path, weight })
    }
}

/// Host, without brackets, and the text of the port. None if brackets or colons do not pair up.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => (!port.contains(':')).then_some((host, Some(port))),
        None => Some((authority, None)),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host_header(), self.path.as_deref().unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, u16, Option<String>, u32) {
        let target: Target = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        (target.host, target.port, target.path, target.weight)
    }

    #[test]
    fn targets_are_read_in_all_their_forms() {
        let expect = |host: &str, port, path: Option<&str>, weight| {
            (host.to_owned(), port, path.map(str::to_owned), weight)
        };
        assert_eq!(read("api:3000"), expect("api", 3000, None, 1));
        assert_eq!(read("http://api"), expect("api", 80, None, 1));
        assert_eq!(read("HTTP://api:81/"), expect("api", 81, Some("/"), 1));
        assert_eq!(read("http://api/x?a=1"), expect("api", 80, Some("/x?a=1"), 1));
        assert_eq!(read("http://api?a=1"), expect("api", 80, Some("/?a=1"), 1));
        assert_eq!(read("api:3000/x"), expect("api", 3000, Some("/x"), 1));
        assert_eq!(read("[::1]:3000"), expect("::1", 3000, None, 1));
        assert_eq!(read("http://[::1]/x"), expect("::1", 80, Some("/x"), 1));
        assert_eq!(read("http://a:1/x=3"), expect("a", 1, Some("/x"), 3));
        assert_eq!(read("a:1=20"), expect("a", 1, None, 20));
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_next_step() {
        let error = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        assert!(error("https://api").contains("version 0.3"));
        assert!(error("api").contains("api:80"));
        assert!(error("api:0").contains("1 to 65535"));
        assert!(error("api:99999").contains("1 to 65535"));
        assert!(error(":80").contains("no host"));
        assert!(error("ftp://api:1").contains("http://HOST"));
        assert!(error("http://u:p@api").contains("Authorization"));
        assert!(error("a:1=0").contains("weight"));
        assert!(error("a b:1").contains("white space"));
        for text in ["::1:3000", "[::1:30", "[::1]x", "http://", "a:1#x", "a\r\n:1", "a:+1", ""] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_header_leaves_out_the_port_of_http() {
        assert_eq!("http://api".parse::<Target>().unwrap().host_header(), "api");
        assert_eq!("[::1]:3000".parse::<Target>().unwrap().host_header(), "[::1]:3000");
    }
}
