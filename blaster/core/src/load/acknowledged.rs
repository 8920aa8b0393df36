//! How many events an answer acknowledges: what it says itself, under a key of its JSON.
//!
//! The number is looked for in the bytes, wherever they are cut: the first `"key"` with a colon and digits behind it. Quotes in
//! JSON strings are escaped, so that what looks like the key is it, or another key that ends in an escaped quote and the same word. Servers answer alike: a body that is the same as one of the
//! last few is not read again.

/// What to look for, and the bodies seen last; shared by the connections of a stream.
#[derive(Clone, Debug)]
pub struct CountKey {
    /// The key in its quotes.
    quoted: Box<[u8]>,
    /// The one used last at the front.
    seen: [Seen; SEEN_MAX],
}

/// The front of a body, or all of it, that says a count.
#[derive(Clone, Debug)]
struct Seen {
    /// Empty while there is nothing to recognize.
    bytes: Vec<u8>,
    count: u64,
}

/// Where one connection's reading of a body stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountReader {
    /// Nothing of the body was read.
    #[default]
    Start,
    /// So many bytes of the quoted key were matched.
    Key(usize),
    /// The key was read: a colon should follow.
    Colon,
    /// Then a number.
    Number,
    /// So much of it was read.
    Digits(u64),
    /// It ended.
    Found(u64),
}

/// Counts of 1, of a batch size or three, and an error: more would only make an unknown body dearer.
const SEEN_MAX: usize = 4;

/// Longer bodies are read anew each time.
const SEEN_BYTES_MAX: usize = 256;

impl CountKey {
    /// Allocates here, and never again.
    pub fn new(key: &str) -> Self {
        let seen = || Seen { bytes: Vec::with_capacity(SEEN_BYTES_MAX), count: 0 };
        Self { quoted: format!("\"{key}\"").into_bytes().into(), seen: std::array::from_fn(|_| seen()) }
    }

    #[inline]
    fn recognize(&mut self, bytes: &[u8]) -> Option<u64> {
        if self.seen[0].bytes == bytes {
            return Some(self.seen[0].count);
        }
        let at = self.seen.iter().position(|seen| seen.bytes == bytes)?;
        self.seen[..=at].rotate_right(1);
        Some(self.seen[0].count)
    }

    fn remember(&mut self, bytes: &[u8], count: u64) {
        if bytes.len() <= SEEN_BYTES_MAX {
            self.seen.rotate_right(1);
            self.seen[0].bytes.clear();
            self.seen[0].bytes.extend_from_slice(bytes);
            self.seen[0].count = count;
        }
    }
}

impl CountReader {
    /// Reads the next piece of a body.
    #[inline]
    pub fn read(&mut self, key: &mut CountKey, bytes: &[u8]) {
        if *self != Self::Start {
            return self.search(&key.quoted, bytes);
        }
        if bytes.is_empty() {
            return;
        }
        if let Some(count) = key.recognize(bytes) {
            *self = Self::Found(count);
            return;
        }
        *self = Self::Key(0);
        self.search(&key.quoted, bytes);
        if let Self::Found(count) = *self {
            key.remember(bytes, count);
        }
    }

    /// The body is over: the count it said, if it said one.
    #[inline]
    pub fn finish(&mut self) -> Option<u64> {
        match std::mem::take(self) {
            Self::Found(count) | Self::Digits(count) => Some(count),
            Self::Start | Self::Key(_) | Self::Colon | Self::Number => None,
        }
    }

    fn search(&mut self, quoted: &[u8], bytes: &[u8]) {
        for &byte in bytes {
            *self = match *self {
                Self::Found(_) => return,
                Self::Start => unreachable!("a search begins with the key"),
                Self::Key(matched) if byte == quoted[matched] => {
                    if matched + 1 == quoted.len() {
                        Self::Colon
                    } else {
                        Self::Key(matched + 1)
                    }
                }
                Self::Colon if byte == b':' => Self::Number,
                Self::Colon | Self::Number if byte.is_ascii_whitespace() => continue,
                Self::Number if byte.is_ascii_digit() => Self::Digits(u64::from(byte - b'0')),
                Self::Digits(count) if byte.is_ascii_digit() => {
                    Self::Digits(count.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
                }
                Self::Digits(count) => Self::Found(count),
                // Only its ends are quotes, so that a match can begin nowhere else.
                Self::Key(_) | Self::Colon | Self::Number => Self::Key(usize::from(byte == b'"')),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `body`, whole and then cut at every place.
    fn count(key: &mut CountKey, body: &str) -> Option<u64> {
        let mut reader = CountReader::default();
        reader.read(key, body.as_bytes());
        let whole = reader.finish();
        for cut in 0..=body.len() {
            let (front, rest) = body.as_bytes().split_at(cut);
            reader.read(key, front);
            reader.read(key, rest);
            assert_eq!(reader.finish(), whole, "cut at {cut}: {body}");
        }
        whole
    }

    #[test]
    fn the_number_behind_the_key_is_the_count() {
        for (body, wanted) in [
            (r#"{"message":"accepted","count":10}"#, Some(10)),
            (r#"{ "count" : 7 , "count": 8 }"#, Some(7)),
            (r#"{"ok":{"count":3}}"#, Some(3)),
            (r#"{"message":"\"count\":5","count":6}"#, Some(6)),
            (r#"{"a":"count","b":1,"count":2}"#, Some(2)),
            (r#"{"counts":1,"xcount":2,"count":"3"}"#, None),
            (r#"{"count":null}"#, None),
            (r#"{"count":99999999999999999999999}"#, Some(u64::MAX)),
            (r#""count":4"#, Some(4)),
            ("", None),
            ("accepted", None),
        ] {
            assert_eq!(count(&mut CountKey::new("count"), body), wanted, "{body}");
        }
    }

    #[test]
    fn what_was_seen_before_does_not_change_what_is_read() {
        let mut key = CountKey::new("count");
        for round in 0..3 {
            for n in [1, 10, 100, 1, 99, 12, 1, 10] {
                assert_eq!(count(&mut key, &format!(r#"{{"count":{n},"round":{round}}}"#)), Some(n));
                assert_eq!(count(&mut key, &format!(r#"{{"n":{n}}}"#)), None);
            }
        }
    }

    #[test]
    fn an_empty_body_is_no_body_seen_before() {
        let mut key = CountKey::new("count");
        let mut reader = CountReader::default();
        reader.read(&mut key, b"");
        reader.read(&mut key, br#"{"count":5}"#);
        assert_eq!(reader.finish(), Some(5));
    }
}
