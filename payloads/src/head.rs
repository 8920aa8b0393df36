//! All of a request but its body: request line and headers, checked once, so that nothing a user typed can break a request
//! apart or make it look like two (RFC 9112, 11.2).

use std::str::FromStr;

use crate::Error;

const USER_AGENT: &str = concat!("blaster/", env!("CARGO_PKG_VERSION"));

/// Headers whose business is where the request ends.
const FRAMING: [&str; 2] = ["Content-Length", "Transfer-Encoding"];

/// Methods are case-sensitive (RFC 9110, 9.1); these are what somebody who typed `post` meant.
const KNOWN_METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// A header that can be sent: `"Name: value".parse()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

impl Header {
    /// Spaces and tabs around the value are no part of it. An empty value is sent as such.
    pub fn new(name: &str, value: &str) -> Result<Self, Error> {
        if !is_token(name) {
            return Err(Error::HeaderName(name.to_owned()));
        }
        if let Some(framing) = FRAMING.iter().find(|framing| framing.eq_ignore_ascii_case(name)) {
            return Err(Error::Framing((*framing).to_owned()));
        }
        let value = value.trim_matches([' ', '\t']);
        if let Some(found) = value.chars().find(|c| c.is_ascii_control() && *c != '\t') {
            return Err(Error::HeaderValue { name: name.to_owned(), found });
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }

    /// The name, in the case it was given in.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value, without spaces around it.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether this is the header `name`, in whatever case (RFC 9110, 5.1).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl FromStr for Header {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let (name, value) = line.split_once(':').ok_or_else(|| Error::HeaderShape(line.to_owned()))?;
        Self::new(name, value)
    }
}

/// Request line and headers that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    method: String,
    path: String,
    /// Everything that is the same whatever the body: the request line and all headers but those on the body.
    lines: Vec<u8>,
    has_content_type: bool,
}

impl Head {
    /// `host` is what the `Host` header says, `name[:port]`; `path` may have a query. Of `headers`, `Host`, `User-Agent` and
    /// `Content-Type` replace ours; all others are added in their order.
    pub fn new(method: &str, host: &str, path: &str, headers: &[Header]) -> Result<Self, Error> {
        let method = checked_method(method)?;
        check_path(path)?;
        let mut hosts = headers.iter().filter(|header| header.is("Host"));
        let host = hosts.next().map_or(host, Header::value);
        if hosts.next().is_some() {
            return Err(Error::HostTwice);
        }
        check_host(host)?;

        let mut lines = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        if !headers.iter().any(|header| header.is("User-Agent")) {
            push_line(&mut lines, "User-Agent", USER_AGENT);
        }
        for header in headers.iter().filter(|header| !header.is("Host")) {
            push_line(&mut lines, &header.name, &header.value);
        }
        Ok(Self {
            method,
            path: path.to_owned(),
            lines: lines.into_bytes(),
            has_content_type: headers.iter().any(|header| header.is("Content-Type")),
        })
    }

    /// The method as it is sent.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path as it is sent, with its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether answers to this have no body whatever their headers say: `HEAD` (RFC 9112, 6.3). Who reads them must know.
    pub fn answers_without_body(&self) -> bool {
        self.method == "HEAD"
    }

    /// What goes before the length: the user's content type, or else this one.
    pub(crate) fn before_length(&self, content_type: Option<&str>) -> Vec<u8> {
        let mut bytes = self.lines.clone();
        if let Some(content_type) = content_type.filter(|_| !self.has_content_type) {
            bytes.extend_from_slice(b"Content-Type: ");
            bytes.extend_from_slice(content_type.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// Whether a missing body has to be told as a length of 0, which it has for the methods that usually come with one
    /// (RFC 9110, 8.6).
    pub(crate) fn tells_missing_body(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")
    }
}

fn push_line(lines: &mut String, name: &str, value: &str) {
    lines.extend([name, ": ", value, "\r\n"]);
}

fn checked_method(method: &str) -> Result<String, Error> {
    if !is_token(method) {
        return Err(Error::Method(method.to_owned()));
    }
    if method.eq_ignore_ascii_case("CONNECT") {
        return Err(Error::Connect);
    }
    let known = KNOWN_METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method));
    Ok(known.unwrap_or(method).to_owned())
}

fn check_host(host: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
    if host.is_empty() || !host.bytes().all(fits) {
        return Err(Error::Host(host.to_owned()));
    }
    Ok(())
}

/// Refuses what would end the request line early or never arrive (a fragment), and what may not be sent unencoded.
/// Printable ASCII that RFC 3986 would rather see encoded passes: servers take it, and some tests are about it.
fn check_path(path: &str) -> Result<(), Error> {
    if !path.starts_with('/') {
        return Err(Error::PathStart(path.to_owned()));
    }
    match path.char_indices().find(|(_, c)| !c.is_ascii_graphic() || *c == '#') {
        None => Ok(()),
        Some((at, found)) => {
            let encoded = found.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
            Err(Error::Path { path: path.to_owned(), found, at, encoded })
        }
    }
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(head: &Head) -> &str {
        str::from_utf8(&head.lines).unwrap()
    }

    fn headers(lines: &[&str]) -> Vec<Header> {
        lines.iter().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn a_head_is_small_and_names_the_tool() {
        let head = Head::new("GET", "api:3000", "/a?b=c", &[]).unwrap();
        assert_eq!(
            lines(&head),
            format!("GET /a?b=c HTTP/1.1\r\nHost: api:3000\r\nUser-Agent: {USER_AGENT}\r\n")
        );
    }

    #[test]
    fn the_users_headers_replace_ours_in_any_case() {
        let own = headers(&[
            "hOST: other",
            "user-agent:  me \t",
            "X-A: 1",
            "x-a: 2",
            "Connection: close",
            "X-Empty:",
        ]);
        let head = Head::new("GET", "api:3000", "/", &own).unwrap();
        assert_eq!(
            lines(&head),
            "GET / HTTP/1.1\r\nHost: other\r\nuser-agent: me\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\nX-Empty: \r\n"
        );
        let typed = Head::new("POST", "api", "/", &headers(&["content-type: text/plain"])).unwrap();
        assert_eq!(typed.before_length(Some("application/json")), typed.lines);
    }

    #[test]
    fn nothing_typed_can_break_a_request_apart() {
        for value in ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "a\x7fb", "a\r\n"] {
            assert!(matches!(Header::new("X-A", value), Err(Error::HeaderValue { .. })), "{value:?}");
        }
        for name in ["", "X A", "X\r\nA", "X\0", "X(", "Überschrift", " X", "X "] {
            assert!(matches!(Header::new(name, "a"), Err(Error::HeaderName(_))), "{name:?}");
        }
        for path in ["/a b", "/a\r\nX: y", "/\0", "/a\tb", "/é", "/a#b", "/\x7f"] {
            assert!(matches!(Head::new("GET", "h", path, &[]), Err(Error::Path { .. })), "{path:?}");
        }
        for path in ["", "a", "?a", "http://h/", "*"] {
            assert!(matches!(Head::new("GET", "h", path, &[]), Err(Error::PathStart(_))), "{path:?}");
        }
        for method in ["", "GE T", "GET\r\n", "GET /x HTTP/1.1\r\n", "\0"] {
            assert!(matches!(Head::new(method, "h", "/", &[]), Err(Error::Method(_))), "{method:?}");
        }
        for host in ["", "a b", "a\r\nX: y", "http://a", "user@a", "a/b", "a,b"] {
            assert!(matches!(Head::new("GET", host, "/", &[]), Err(Error::Host(_))), "{host:?}");
            if host != "a\r\nX: y" {
                let header = Header::new("Host", host).unwrap();
                assert!(matches!(Head::new("GET", "h", "/", &[header]), Err(Error::Host(_))), "{host:?}");
            }
        }
    }

    #[test]
    fn where_a_request_ends_is_not_for_the_user_to_say() {
        for line in ["Content-Length: 5", "content-length:0", "TRANSFER-ENCODING: chunked"] {
            assert!(matches!(line.parse::<Header>(), Err(Error::Framing(_))), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!("no colon".parse::<Header>(), Err(Error::HeaderShape("no colon".into())));
        assert_eq!(Head::new("GET", "h", "/", &headers(&["Host: a", "host: a"])), Err(Error::HostTwice));
        assert_eq!(Head::new("connect", "h", "/", &[]), Err(Error::Connect));
    }

    #[test]
    fn errors_say_what_is_wrong_and_the_next_step() {
        let path = Head::new("GET", "h", "/a é", &[]).unwrap_err().to_string();
        assert_eq!(
            path,
            "path \"/a é\" holds ' ' at byte 2, which cannot be sent as it is: percent-encode it as %20"
        );
        let start = Head::new("GET", "h", "events", &[]).unwrap_err().to_string();
        assert_eq!(
            start,
            "need a path such as /events, got \"events\": begin it with / and leave out scheme and host"
        );
        let value = "X-A: b\r\nc".parse::<Header>().unwrap_err().to_string();
        assert_eq!(
            value,
            "the value of header X-A holds '\\r', which would break the request apart: remove it"
        );
    }

    #[test]
    fn methods_known_in_lower_case_are_meant_in_upper_case() {
        assert_eq!(Head::new("post", "h", "/", &[]).unwrap().method(), "POST");
        assert_eq!(Head::new("Purge", "h", "/", &[]).unwrap().method(), "Purge");
        assert!(Head::new("head", "h", "/", &[]).unwrap().answers_without_body());
        assert!(!Head::new("get", "h", "/", &[]).unwrap().answers_without_body());
    }
}
