//! Counts the events of a request's body as it streams past: an object is one, an array as many as it has elements.

/// A body being counted. Trusts that what is sent is JSON; strings, escapes and nesting are followed, so that the count of any
/// valid array is exact.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventCounter {
    state: State,
    depth: u32,
    count: u64,
    /// Within an array: something stood since the last comma.
    element: bool,
    escaped: bool,
    in_string: bool,
    /// With echo: the body, kept whole.
    kept: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Object,
    Array,
    Neither,
}

/// Most bytes of a body that are kept for echoing; the event API's own limit.
const KEPT_BYTES_MAX: usize = 10 * 1024 * 1024;

impl EventCounter {
    pub(crate) fn new(keep: bool) -> Self {
        Self { kept: keep.then(Vec::new), ..Self::default() }
    }

    #[inline]
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&bytes[..bytes.len().min(KEPT_BYTES_MAX - kept.len())]);
        }
        let mut rest = bytes;
        if self.state == State::Start {
            let Some(first) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) else { return };
            self.state = match bytes[first] {
                b'{' => State::Object,
                b'[' => State::Array,
                _ => State::Neither,
            };
            rest = &bytes[first + 1..];
        }
        if self.state == State::Array {
            self.read_array(rest);
        }
    }

    fn read_array(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b']' if self.depth == 0 => {
                    self.count += u64::from(self.element);
                    self.element = false;
                    continue;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' if self.depth == 0 => {
                    self.count += 1;
                    self.element = false;
                    continue;
                }
                _ => {}
            }
            self.element |= !byte.is_ascii_whitespace();
        }
    }

    /// The number of events, and ready for the next body; none if it was neither object nor array.
    #[inline]
    pub(crate) fn finish(&mut self) -> Option<u64> {
        let count = match self.state {
            State::Object => Some(1),
            State::Array => Some(self.count),
            State::Start | State::Neither => None,
        };
        if self.state != State::Object {
            (self.depth, self.count, self.element) = (0, 0, false);
            (self.escaped, self.in_string) = (false, false);
        }
        self.state = State::Start;
        count
    }

    /// The values of all `"eventId"` keys of the body kept, as a JSON array.
    pub(crate) fn take_ids(&mut self) -> String {
        const KEY: &[u8] = b"\"eventId\"";
        let body = self.kept.as_mut().map(std::mem::take).unwrap_or_default();
        let mut ids = Vec::new();
        let mut rest = &body[..];
        while let Some(at) = rest.windows(KEY.len()).position(|window| window == KEY) {
            rest = &rest[at + KEY.len()..];
            let mut quotes = rest.iter().enumerate().filter(|(_, byte)| **byte == b'"').map(|(at, _)| at);
            if let (Some(open), Some(close)) = (quotes.next(), quotes.next()) {
                ids.push(String::from_utf8_lossy(&rest[open..=close]).into_owned());
                rest = &rest[close + 1..];
            }
        }
        format!("[{}]", ids.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(body: &str) -> Option<u64> {
        let mut whole = EventCounter::default();
        whole.read(body.as_bytes());
        let expected = whole.finish();
        let mut split = EventCounter::default();
        body.as_bytes().chunks(1).for_each(|byte| split.read(byte));
        assert_eq!(split.finish(), expected, "split at every byte: {body}");
        expected
    }

    #[test]
    fn objects_are_one_event_and_arrays_as_many_as_elements() {
        assert_eq!(count(r#"{"a":[1,2,3]}"#), Some(1));
        assert_eq!(count(" [ ] "), Some(0));
        assert_eq!(count(r#"[{"a":"],[\"}"},{"b":[1,{"c":2}]}]"#), Some(2));
        assert_eq!(count("[1, 2,\n3]"), Some(3));
        assert_eq!(count("\"text\""), None);
        assert_eq!(count(""), None);
    }

    #[test]
    fn a_counter_is_fresh_for_the_next_body() {
        let mut counter = EventCounter::default();
        counter.read(b"[1,[2");
        counter.finish();
        counter.read(b"[1,2]");
        assert_eq!(counter.finish(), Some(2));
    }

    #[test]
    fn ids_of_accepted_events_are_echoed() {
        let mut counter = EventCounter::new(true);
        counter.read(br#"[{"eventId":"a-1","type":"x"},{"eventId": "b-2"}]"#);
        counter.finish();
        assert_eq!(counter.take_ids(), r#"["a-1","b-2"]"#);
    }
}
