//! Counts the events of a request's body as it streams past: an object is one, an array as many as it has elements.
//!
//! Objects need a look at their first byte only. Arrays are followed in blocks of 64 bytes, each turned into bit masks
//! ([`Block`]): quotes give the strings, a whole block at a time; brackets outside strings give the depth, and only where that
//! can come down to the array itself are they walked one by one and its commas counted.

mod block;

use block::{BLOCK_BYTES, Block};

/// A body being counted. Trusts that what is sent is JSON; strings, escapes and nesting are followed, so that the count of any
/// valid array is exact.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventCounter {
    state: State,
    array: Array,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Object,
    /// Nothing but whitespace came behind the opening bracket.
    EmptyArray,
    Array,
    ClosedArray,
    Neither,
}

impl EventCounter {
    #[inline]
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        match self.state {
            State::Start | State::EmptyArray | State::Array => self.read_open(bytes),
            State::Object | State::ClosedArray | State::Neither => {}
        }
    }

    #[inline]
    fn read_open(&mut self, mut bytes: &[u8]) {
        if self.state == State::Start {
            let Some(first) = first_of(bytes) else { return };
            self.state = match bytes[first] {
                b'{' => State::Object,
                b'[' => State::EmptyArray,
                _ => State::Neither,
            };
            bytes = &bytes[first + 1..];
        }
        if self.state == State::EmptyArray {
            let Some(first) = first_of(bytes) else { return };
            bytes = &bytes[first..];
            self.state = if bytes[0] == b']' { State::ClosedArray } else { State::Array };
            self.array = Array { elements: u64::from(self.state == State::Array), ..Array::default() };
        }
        if self.state == State::Array && self.array.read(bytes) {
            self.state = State::ClosedArray;
        }
    }

    /// The number of events, and ready for the next body; none if it was neither object nor array.
    #[inline]
    pub(crate) fn finish(&mut self) -> Option<u64> {
        match std::mem::take(&mut self.state) {
            State::Object => Some(1),
            State::EmptyArray => Some(0),
            State::Array | State::ClosedArray => Some(self.array.elements),
            State::Start | State::Neither => None,
        }
    }
}

fn first_of(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| !byte.is_ascii_whitespace())
}

/// A JSON array from its first element on, between two blocks of it.
#[derive(Clone, Copy, Debug, Default)]
struct Array {
    /// Elements begun.
    elements: u64,
    /// Brackets open within the array.
    depth: u64,
    /// All bits set within a string, none outside.
    in_string: u64,
    /// The next byte is behind a backslash that escapes it.
    escaped: bool,
}

impl Array {
    /// Reads on; says whether the array came to its end, and forgets what is behind that.
    fn read(&mut self, bytes: &[u8]) -> bool {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        // On a copy, so that it can live in registers.
        let mut array = *self;
        let mut is_closed = blocks.iter().any(|block| array.read_block(Block::load(block), BLOCK_BYTES));
        if !is_closed && !rest.is_empty() {
            let mut last = [b' '; BLOCK_BYTES];
            last[..rest.len()].copy_from_slice(rest);
            is_closed = array.read_block(Block::load(&last), rest.len());
        }
        *self = array;
        is_closed
    }

    /// A block of which the first `len` bytes are the body's, the others blank.
    #[inline(always)]
    fn read_block(&mut self, block: Block, len: usize) -> bool {
        let mut quotes = block.equal(b'"');
        if block.has(b'\\') || self.escaped {
            quotes &= !self.escapes(block.equal(b'\\'), len);
        }
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        // `[` and `]` are `{` and `}` without that bit, and nothing else is.
        let openers = block.equal_with(0x20, b'{') & !strings;
        let closers = block.equal_with(0x20, b'}') & !strings;
        let (opens, closes) = (u64::from(openers != 0), u64::from(closers != 0));
        if self.depth > closes && is_single(openers) && is_single(closers) {
            self.depth = self.depth + opens - closes;
            return false;
        }
        self.walk(openers, closers, block.equal(b',') & !strings)
    }

    /// A block in which the array itself may come to light between its elements.
    #[inline(always)]
    fn walk(&mut self, openers: u64, closers: u64, mut commas: u64) -> bool {
        let mut brackets = openers | closers;
        while brackets != 0 {
            let bracket = brackets & brackets.wrapping_neg();
            brackets ^= bracket;
            let before = bracket - 1;
            if self.depth == 0 {
                self.elements += u64::from((commas & before).count_ones());
            }
            commas &= !before;
            if openers & bracket != 0 {
                self.depth += 1;
            } else if self.depth == 0 {
                return true;
            } else {
                self.depth -= 1;
            }
        }
        if self.depth == 0 {
            self.elements += u64::from(commas.count_ones());
        }
        false
    }

    /// The bytes that a backslash escapes.
    #[cold]
    fn escapes(&mut self, mut backslashes: u64, len: usize) -> u64 {
        let mut escaped = u64::from(self.escaped);
        backslashes &= !escaped;
        self.escaped = false;
        while backslashes != 0 {
            let at = backslashes.trailing_zeros();
            self.escaped = at as usize + 1 == len;
            let next = 1_u64 << at << 1;
            escaped |= next;
            backslashes &= !(1 << at | next);
        }
        escaped
    }
}

/// Whether at most one bit is set.
#[inline(always)]
fn is_single(bits: u64) -> bool {
    bits & bits.wrapping_sub(1) == 0
}

/// Each bit: whether an odd number of bits is set up to and with it.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The same, a byte at a time.
    fn count_byte_by_byte(body: &[u8]) -> Option<u64> {
        let mut bytes = body.iter().copied().skip_while(u8::is_ascii_whitespace);
        match bytes.next()? {
            b'{' => return Some(1),
            b'[' => {}
            _ => return None,
        }
        let mut bytes = bytes.skip_while(u8::is_ascii_whitespace).peekable();
        if matches!(bytes.peek(), None | Some(b']')) {
            return Some(0);
        }
        let (mut elements, mut depth, mut in_string, mut escaped) = (1, 0, false, false);
        for byte in bytes {
            let is_escaped = escaped;
            escaped = byte == b'\\' && !is_escaped;
            match byte {
                b'"' if !is_escaped => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                b',' if depth == 0 => elements += 1,
                _ => {}
            }
        }
        Some(elements)
    }

    fn count_in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<u64> {
        let mut counter = EventCounter::default();
        pieces.into_iter().for_each(|piece| counter.read(piece));
        counter.finish()
    }

    /// The count of a body, the same whole and however it is cut.
    fn count(body: &[u8]) -> Option<u64> {
        let expected = count_byte_by_byte(body);
        let shown = body.escape_ascii();
        for piece_bytes in [1, 7, 63, 64, 65, usize::MAX] {
            assert_eq!(count_in_pieces(body.chunks(piece_bytes)), expected, "by {piece_bytes}: {shown}");
        }
        // Everywhere, unless that takes too long.
        for cut in (0..body.len()).step_by(1 + body.len() / 300) {
            let (front, back) = body.split_at(cut);
            assert_eq!(count_in_pieces([front, back]), expected, "cut at {cut}: {shown}");
        }
        expected
    }

    #[test]
    fn objects_are_one_event_and_arrays_as_many_as_elements() {
        assert_eq!(count(br#"{"a":[1,2,3]}"#), Some(1));
        assert_eq!(count(b" [ ] "), Some(0));
        assert_eq!(count(br#"[{"a":"],[\"}"},{"b":[1,{"c":2}]}]"#), Some(2));
        assert_eq!(count(b"[1, 2,\n3]"), Some(3));
        assert_eq!(count(b"[[],[[],[]],{},\"\",\",\"]"), Some(5));
        assert_eq!(count(b"\"text\""), None);
        assert_eq!(count(b""), None);
    }

    #[test]
    fn backslashes_escape_across_blocks() {
        for backslashes in 0..140 {
            let body = format!("[\"{}\\\\\",\"{}\\\",\"]", "x".repeat(64), "\\\\".repeat(backslashes));
            assert_eq!(count(body.as_bytes()), Some(2));
        }
    }

    #[test]
    fn what_follows_an_array_does_not_count() {
        assert_eq!(count(b"[1,2] ,3,[4],"), Some(2));
    }

    #[test]
    fn a_counter_is_fresh_for_the_next_body() {
        for before in [&b"[1,[2"[..], b"[\"", b"[\"\\", b"[", b" ", b"x", b"{", b"[1]"] {
            let mut counter = EventCounter::default();
            counter.read(before);
            counter.finish();
            counter.read(b"[1,2]");
            assert_eq!(counter.finish(), Some(2));
        }
    }

    /// JSON with every kind of value, strings full of what could be mistaken for structure.
    fn json() -> impl Strategy<Value = Value> {
        let text = vec(
            prop_oneof![4 => "[\\[\\]{},:\"\\\\]", 4 => "[a-z ]", 1 => any::<char>().prop_map(String::from)],
            0..40,
        )
        .prop_map(|parts| parts.concat());
        let leaf = prop_oneof![
            text.clone().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(6, 60, 6, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                vec((text.clone(), inner), 0..6).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn arrays_of_any_json_are_counted(elements in vec(json(), 0..12), is_pretty: bool) {
            let body = Value::from(elements.clone());
            let text = if is_pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
            prop_assert_eq!(count(text.unwrap().as_bytes()), Some(elements.len() as u64));
        }

        #[test]
        fn structure_without_sense_is_counted_as_byte_by_byte(
            body in "\\[([\\[\\]{},:\"\\\\a ]|\\\\\\\\|\\]\\}){0,300}",
        ) {
            count(body.as_bytes());
        }

        #[test]
        fn any_bytes_are_counted_as_byte_by_byte(body in vec(any::<u8>(), 0..300)) {
            count(&[b"[", &body[..]].concat());
            count(&body);
        }
    }
}
