//! A request of the user's own: any head, with no body, one body, or one body a line.

use crate::{Error, Extent, Head, Serialized};

/// The most one [`Serialized`] may take when every body has to be in it once.
pub const BYTES_MAX: usize = 256 << 20;

const JSON: &str = "application/json";

/// What a request of the user's own carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Sent in turn; empty when there is no body at all.
    cycle: Vec<Vec<u8>>,
    content_type: Option<&'static str>,
}

impl Body {
    /// No body.
    pub fn none() -> Self {
        Self { cycle: Vec::new(), content_type: None }
    }

    /// The same body in every request. What begins like a JSON object or array is called `application/json`, because most
    /// servers would not look at it otherwise; anything else gets no content type but the user's.
    pub fn bytes(body: Vec<u8>) -> Self {
        let json =
            body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| b"{[".contains(byte));
        Self { cycle: vec![body], content_type: json.then_some(JSON) }
    }

    /// The lines of a `.jsonl` file, each the body of one request, in turn and from the start again. Blank lines, line ends
    /// (LF or CRLF) and a byte order mark are no part of it.
    pub fn lines(file: &[u8]) -> Result<Self, Error> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let cycle: Vec<_> = file
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.trim_ascii().is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        if cycle.is_empty() {
            return Err(Error::NoLines);
        }
        Ok(Self { cycle, content_type: Some(JSON) })
    }

    /// Requests with `head` and this body. Always whole turns of the lines, so that each is sent as often as the others.
    pub fn serialize(&self, head: &Head, extent: Extent) -> Result<Serialized, Error> {
        let mut out = Serialized::new(format!("{} {}", head.method(), head.path()));
        let turn = self.turn(head);
        let turn_bytes: usize = turn.iter().map(|(head, body)| head.len() + body.len()).sum();
        if turn_bytes > BYTES_MAX {
            return Err(Error::TooLarge { needed: turn_bytes, limit: BYTES_MAX });
        }
        let turns = (extent.requests / turn.len()).min(extent.bytes / turn_bytes).max(1);
        out.bytes.reserve_exact(turns * turn_bytes);
        out.requests.reserve_exact(turns * turn.len());
        for (head, body) in turn.iter().cycle().take(turns * turn.len()) {
            out.bytes.extend_from_slice(head);
            out.bytes.extend_from_slice(body);
            out.close(0);
        }
        Ok(out)
    }

    /// Head and body of each different request.
    fn turn(&self, head: &Head) -> Vec<(Vec<u8>, &[u8])> {
        let before_length = head.before_length(self.content_type);
        let with_length = |length: &str| [before_length.as_slice(), length.as_bytes(), b"\r\n"].concat();
        if self.cycle.is_empty() {
            let length = if head.tells_missing_body() { "Content-Length: 0\r\n" } else { "" };
            return vec![(with_length(length), b"")];
        }
        let with_head = |body: &Vec<u8>| with_length(&format!("Content-Length: {}\r\n", body.len()));
        self.cycle.iter().map(|body| (with_head(body), body.as_slice())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Extent = Extent { requests: 5, bytes: 1 << 20 };

    fn serialize(method: &str, body: &Body, extent: Extent) -> Serialized {
        let head = Head::new(method, "h", "/p", &["User-Agent: t".parse().unwrap()]).unwrap();
        body.serialize(&head, extent).unwrap()
    }

    fn texts(serialized: &Serialized) -> Vec<&str> {
        (0..serialized.requests.len()).map(|i| str::from_utf8(serialized.request(i)).unwrap()).collect()
    }

    #[test]
    fn requests_lie_contiguous_and_the_last_ends_with_the_bytes() {
        let out = serialize("POST", &Body::bytes(b"abc".to_vec()), FEW);
        let one = "POST /p HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(texts(&out), [one; 5]);
        assert_eq!(out.bytes, one.repeat(5).as_bytes());
        assert_eq!(out.requests.last().unwrap().end, out.bytes.len());
        assert_eq!(out.classes, ["POST /p"]);
    }

    #[test]
    fn a_missing_body_is_told_only_where_one_is_usual() {
        let silent = ["GET", "HEAD", "DELETE", "OPTIONS"].map(|method| (method, ""));
        let told = ["POST", "PUT", "PATCH"].map(|method| (method, "Content-Length: 0\r\n"));
        for (method, length) in silent.into_iter().chain(told) {
            let one = format!("{method} /p HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\n{length}\r\n");
            assert_eq!(texts(&serialize(method, &Body::none(), FEW)), [one.as_str(); 5]);
        }
        let empty = serialize("GET", &Body::bytes(Vec::new()), FEW);
        assert!(texts(&empty)[0].ends_with("Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn json_is_called_so_unless_the_user_says_otherwise() {
        let typed = |body: &[u8]| {
            texts(&serialize("POST", &Body::bytes(body.to_vec()), FEW))[0].contains("application/json")
        };
        assert!(typed(b"{}") && typed(b" \n[1]"));
        assert!(!typed(b"a=1") && !typed(b"") && !typed(b"  "));
        let head = Head::new("POST", "h", "/p", &["content-type: x/y".parse().unwrap()]).unwrap();
        let out = Body::bytes(b"{}".to_vec()).serialize(&head, FEW).unwrap();
        assert!(texts(&out)[0].contains("content-type: x/y\r\nContent-Length: 2\r\n\r\n{}"));
        assert!(!texts(&out)[0].contains("application/json"));
    }

    #[test]
    fn every_line_is_a_request_and_is_sent_as_often_as_the_others() {
        let body = Body::lines(b"\xef\xbb\xbf{\"a\":1}\r\n\n  \r\n[2, 3]\n\"four\"").unwrap();
        let bodies = |requests| {
            let out = serialize("POST", &body, Extent { requests, bytes: 1 << 20 });
            texts(&out)
                .iter()
                .map(|text| text.split_once("\r\n\r\n").unwrap().1.to_owned())
                .collect::<Vec<_>>()
        };
        let cycle = ["{\"a\":1}", "[2, 3]", "\"four\""];
        assert_eq!(bodies(1), cycle);
        assert_eq!(bodies(3), cycle);
        assert_eq!(bodies(8), [cycle, cycle].concat());
        assert!(
            texts(&serialize("POST", &body, FEW))
                .iter()
                .all(|text| text.contains("Content-Type: application/json\r\n"))
        );
    }

    #[test]
    fn a_file_without_a_line_is_refused() {
        for file in ["", "\n\r\n", " \t\n", "\u{feff}"] {
            assert_eq!(Body::lines(file.as_bytes()), Err(Error::NoLines), "{file:?}");
        }
    }

    #[test]
    fn bytes_bound_the_requests_but_one_always_comes_out() {
        let body = Body::bytes(vec![b'x'; 1_000]);
        let one = serialize("POST", &body, Extent { requests: 1, bytes: 0 }).bytes.len();
        assert_eq!(serialize("POST", &body, Extent { requests: 100, bytes: 3 * one + 1 }).requests.len(), 3);
        assert_eq!(serialize("POST", &body, Extent { requests: 0, bytes: 0 }).requests.len(), 1);
    }

    #[test]
    fn a_body_over_the_limit_is_refused_before_it_is_copied() {
        let head = Head::new("POST", "h", "/", &[]).unwrap();
        let error = Body::bytes(vec![0; BYTES_MAX]).serialize(&head, FEW).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: BYTES_MAX, .. }), "{error}");
    }
}
