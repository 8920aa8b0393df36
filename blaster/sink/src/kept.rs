//! A body kept whole, for those who must look at all of it at once.

/// Most bytes of a body that are kept; the event API's own limit.
pub(crate) const KEPT_BYTES_MAX: usize = 10 * 1024 * 1024;

/// What was read of a body.
#[derive(Debug, Default)]
pub(crate) struct KeptBody {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl KeptBody {
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(KEPT_BYTES_MAX - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..kept]);
        self.is_cut |= kept < bytes.len();
    }

    /// All of it; none if it was too large to keep.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (!self.is_cut).then_some(&self.bytes)
    }

    /// Ready for the next body.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        // Not more than usual bodies need, however large one was.
        self.bytes.shrink_to(IDLE_BYTES_MAX);
        self.is_cut = false;
    }

    /// The values of all `"eventId"` keys of what was kept, as a JSON array.
    pub(crate) fn ids(&self) -> String {
        const KEY: &[u8] = b"\"eventId\"";
        let mut ids = Vec::new();
        let mut rest = &self.bytes[..];
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

/// Most memory kept between bodies.
const IDLE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_accepted_events_are_echoed() {
        let mut kept = KeptBody::default();
        kept.read(br#"[{"eventId":"a-1","type":"x"},{"even"#);
        kept.read(br#"tId": "b-2"}]"#);
        assert_eq!(kept.ids(), r#"["a-1","b-2"]"#);
        kept.clear();
        assert_eq!(kept.ids(), "[]");
    }

    #[test]
    fn a_body_is_kept_up_to_the_limit_and_never_mistaken_for_whole_beyond_it() {
        let mut kept = KeptBody::default();
        kept.read(&vec![b' '; KEPT_BYTES_MAX]);
        assert_eq!(kept.whole().map(<[u8]>::len), Some(KEPT_BYTES_MAX));
        kept.read(b"x");
        assert_eq!(kept.whole(), None);
        kept.clear();
        assert_eq!(kept.whole(), Some(&b""[..]));
    }
}
