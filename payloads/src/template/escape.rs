//! How text is written where it would mean something else.

const HEX: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// The inside of a JSON string (RFC 8259, 7).
pub(super) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}

/// Percent-encoding of all that is not unreserved (RFC 3986, 2.3).
pub(crate) fn push_percent(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[
                b'%',
                HEX_UPPER[usize::from(byte >> 4)],
                HEX_UPPER[usize::from(byte & 15)],
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_as_they_were() {
        let all: String =
            (0..0x250).filter_map(char::from_u32).chain("→続🎉\u{2028}\u{7f}".chars()).collect();
        for text in ["", "plain", "\"", "\\", "a\"b\\c/d\n\r\t\0\u{8}\u{c}\u{1f}", all.as_str()] {
            let mut out = vec![b'"'];
            push_json_string(&mut out, text);
            out.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn only_unreserved_characters_stay() {
        let mut out = Vec::new();
        push_percent(&mut out, "aZ09-._~ /?#%é\n");
        assert_eq!(out, b"aZ09-._~%20%2F%3F%23%25%C3%A9%0A");
    }
}
