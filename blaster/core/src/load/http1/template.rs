//! The last few heads seen, so that their like needs no parser.
//!
//! A head is learnt only if it keeps the connection alive and nothing but one plain
//! `Content-Length` (or the lack of a body) says where its message ends. Another head with the same
//! bytes, or with other digits in that one place, then means the same: the parser would say so too.
//! All else goes to the parser, so a template can change what a message costs, but not what it
//! means.

use std::ops::Range;

use super::head::PLAIN_DIGITS_MAX;

/// Response heads already understood. One serves all connections of a worker, whose targets answer
/// with a handful of heads.
#[derive(Debug)]
pub struct HeadTemplate(pub(super) Template<u16>);

impl HeadTemplate {
    /// A template that has seen nothing yet. Allocates here, and never again.
    pub fn new() -> Self {
        Self(Template::new(LEARNT_BYTES_MAX))
    }

    /// A template that never learns: every head goes through the parser.
    pub fn disabled() -> Self {
        Self(Template::new(0))
    }
}

impl Default for HeadTemplate {
    fn default() -> Self {
        Self::new()
    }
}

/// Request heads already understood, each with the route it was given.
#[derive(Debug)]
pub struct RequestTemplate(pub(super) Template<u8>);

impl RequestTemplate {
    /// A template that has seen nothing yet. Allocates here, and never again.
    pub fn new() -> Self {
        Self(Template::new(LEARNT_BYTES_MAX))
    }

    /// A template that never learns: every head goes through the parser and is asked its route.
    pub fn disabled() -> Self {
        Self(Template::new(0))
    }
}

impl Default for RequestTemplate {
    fn default() -> Self {
        Self::new()
    }
}

/// Heads with a value each (status or route), the one used last at the front.
#[derive(Debug)]
pub(super) struct Template<T> {
    learnt: [Learnt<T>; LEARNT_MAX],
}

impl<T: Copy + Default> Template<T> {
    fn new(learnt_bytes_max: usize) -> Self {
        Self { learnt: std::array::from_fn(|_| Learnt::with_capacity(learnt_bytes_max)) }
    }

    /// Recognizes the head at the front of `bytes` if it is like the one used last: the fast path.
    #[inline]
    pub(super) fn recognize_last(&self, bytes: &[u8]) -> Option<Known<T>> {
        self.learnt[0].recognize(bytes)
    }

    /// Recognizes the head at the front of `bytes` if it is like any of those remembered.
    pub(super) fn recognize(&mut self, bytes: &[u8]) -> Option<Known<T>> {
        let (at, known) =
            self.learnt.iter().enumerate().find_map(|(at, learnt)| Some((at, learnt.recognize(bytes)?)))?;
        self.learnt[..=at].rotate_right(1);
        Some(known)
    }

    /// Whether `bytes` is the front of the head used last: it needs no parser to know that it is
    /// not all there.
    pub(super) fn is_front_of_last(&self, bytes: &[u8]) -> bool {
        let head = &self.learnt[0].head;
        bytes.len() < head.len() && head.starts_with(bytes)
    }

    /// Remembers `head` in place of the one not used for longest. Without `digits` the message has
    /// no body; with them, they are the only thing in the head that says how long its body is. A
    /// head that is too long is not remembered.
    pub(super) fn learn(&mut self, head: &[u8], digits: Option<Range<usize>>, value: T) {
        if head.len() > self.learnt[0].head.capacity() {
            return;
        }
        self.learnt.rotate_right(1);
        self.learnt[0].learn(head, digits, value);
    }
}

/// What a template knows of a head that it recognized.
#[derive(Clone, Copy)]
pub(super) struct Known<T> {
    pub head_bytes: usize,
    pub body_bytes: u64,
    pub value: T,
}

/// A head, whole, and where in it the digits of its content-length are.
#[derive(Debug)]
struct Learnt<T> {
    /// Empty while there is nothing to recognize.
    head: Vec<u8>,
    /// At the end of the head if it has none.
    digits: Range<usize>,
    body_bytes: u64,
    value: T,
}

impl<T: Copy + Default> Learnt<T> {
    fn with_capacity(head_bytes: usize) -> Self {
        Self { head: Vec::with_capacity(head_bytes), digits: 0..0, body_bytes: 0, value: T::default() }
    }

    fn learn(&mut self, head: &[u8], digits: Option<Range<usize>>, value: T) {
        self.head.clear();
        self.head.extend_from_slice(head);
        self.body_bytes =
            digits.clone().and_then(|at| leading_number(&head[at])).map_or(0, |(length, _)| length);
        self.digits = digits.unwrap_or(head.len()..head.len());
        self.value = value;
    }

    #[inline]
    fn recognize(&self, bytes: &[u8]) -> Option<Known<T>> {
        // Emptiness first: a memcmp of no bytes at the dangling address of a vector without memory
        // was measured at about 100 ns (AVX-512 machine; most likely its masked load from an
        // unmapped page).
        if !self.head.is_empty() && bytes.starts_with(&self.head) {
            return Some(Known {
                head_bytes: self.head.len(),
                body_bytes: self.body_bytes,
                value: self.value,
            });
        }
        self.recognize_but_for_digits(bytes)
    }

    #[inline]
    fn recognize_but_for_digits(&self, bytes: &[u8]) -> Option<Known<T>> {
        let (prefix, suffix) = (&self.head[..self.digits.start], &self.head[self.digits.end..]);
        if suffix.is_empty() {
            return None;
        }
        let (body_bytes, digits) = leading_number(bytes.strip_prefix(prefix)?)?;
        let suffix_start = prefix.len() + digits;
        bytes[suffix_start..].starts_with(suffix).then_some(Known {
            head_bytes: suffix_start + suffix.len(),
            body_bytes,
            value: self.value,
        })
    }
}

/// The number that `bytes` begin with, and how many digits it has. A number of more digits than
/// [`PLAIN_DIGITS_MAX`] ends there; no suffix begins with a digit, so it is not recognized.
#[inline]
fn leading_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    let mut digits = 0;
    for byte in bytes.iter().take(PLAIN_DIGITS_MAX) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number * 10 + u64::from(digit);
        digits += 1;
    }
    (digits > 0).then_some((number, digits))
}

/// A 202, a 429 and what the old `Date` made of them; more would only make an unknown head dearer.
const LEARNT_MAX: usize = 4;

/// Longer heads are left to the parser: comparing them would no longer be much cheaper.
const LEARNT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 33\r\nServer: x\r\n\r\n";

    fn taught() -> Template<u16> {
        let mut template = Template::new(LEARNT_BYTES_MAX);
        template.learn(HEAD, Some(39..41), 202);
        template
    }

    fn recognized(template: &mut Template<u16>, bytes: &[u8]) -> Option<(usize, u64, u16)> {
        let last = template.recognize_last(bytes).map(|known| known.head_bytes);
        let any = template.recognize(bytes).map(|known| (known.head_bytes, known.body_bytes, known.value));
        assert!(last.is_none() || last == any.map(|any| any.0));
        any
    }

    #[test]
    fn only_the_digits_may_differ() {
        let like =
            |from: &str, to: &str| String::from_utf8(HEAD.to_vec()).unwrap().replace(from, to) + "body";
        let table = [
            ("33", "33", Some((HEAD.len(), 33, 202))),
            ("33", "7", Some((HEAD.len() - 1, 7, 202))),
            ("33", "034", Some((HEAD.len() + 1, 34, 202))),
            ("33", "999999999999999999", Some((HEAD.len() + 16, 999_999_999_999_999_999, 202))),
            ("33", "1999999999999999999", None),
            ("33", "", None),
            ("33", "3x", None),
            ("33", "-3", None),
            ("33", "3 ", None),
            ("202", "204", None),
            ("Server: x", "Server: y", None),
            ("\r\n\r\n", "\r\nA: b\r\n\r\n", None),
        ];
        for (from, to, wanted) in table {
            assert_eq!(recognized(&mut taught(), like(from, to).as_bytes()), wanted, "{from} -> {to}");
        }
        for end in 0..HEAD.len() {
            assert_eq!(recognized(&mut taught(), &HEAD[..end]), None);
        }
    }

    #[test]
    fn nothing_learnt_recognizes_nothing() {
        for mut template in [Template::new(LEARNT_BYTES_MAX), Template::new(0)] {
            for bytes in [b"".as_slice(), b"5", b"5\r\n\r\n", HEAD] {
                assert_eq!(recognized(&mut template, bytes), None);
            }
        }
        let mut disabled = Template::new(0);
        disabled.learn(HEAD, Some(39..41), 202);
        assert_eq!(recognized(&mut disabled, HEAD), None);
    }

    #[test]
    fn a_few_heads_are_remembered_and_the_oldest_is_forgotten() {
        let head = |status: u16| format!("HTTP/1.1 {status} \r\n\r\n");
        let mut template = Template::new(LEARNT_BYTES_MAX);
        for status in 1..=LEARNT_MAX as u16 {
            template.learn(head(status).as_bytes(), None, status);
        }
        assert_eq!(recognized(&mut template, head(1).as_bytes()).map(|known| known.2), Some(1));
        template.learn(head(9).as_bytes(), None, 9);
        assert_eq!(recognized(&mut template, head(1).as_bytes()).map(|known| known.2), Some(1));
        assert_eq!(recognized(&mut template, head(2).as_bytes()), None);
    }

    #[test]
    fn a_head_too_long_to_learn_changes_nothing() {
        let mut template = taught();
        let long = [HEAD, &[b'x'; LEARNT_BYTES_MAX]].concat();
        for _ in 0..LEARNT_MAX {
            template.learn(&long, None, 200);
        }
        assert_eq!(recognized(&mut template, HEAD), Some((HEAD.len(), 33, 202)));
    }
}
