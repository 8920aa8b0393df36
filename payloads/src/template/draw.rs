//! Words, digits and numbers, appended without formatting machinery.

use payloads_fresh::Rng;

/// Letters about as often as in English text: the most frequent ones twice.
const LETTERS: &[u8; 32] = b"etaoinshrdlucmfwypvbgkjqxzetaoin";

const LETTER_BITS: u32 = 5;

/// `count` characters, at least one, of words of 2 to 9 letters with single spaces between; neither end is a space.
pub(super) fn push_words(out: &mut Vec<u8>, rng: &mut Rng, count: usize) {
    let end = out.len() + count;
    while out.len() < end {
        let room = end - out.len();
        let mut bits = rng.bits();
        let length = 2 + (bits >> 61) as usize;
        // What is left after this word and its space must be at least a letter.
        let length = if room < length + 2 { room } else { length };
        for _ in 0..length {
            out.push(LETTERS[(bits as usize) % LETTERS.len()]);
            bits >>= LETTER_BITS;
        }
        if out.len() < end {
            out.push(b' ');
        }
    }
}

/// `count` lower-case hexadecimal digits.
pub(super) fn push_hex(out: &mut Vec<u8>, rng: &mut Rng, count: usize) {
    let mut left = count;
    while left > 0 {
        let mut bits = rng.bits();
        for _ in 0..left.min(16) {
            out.push(b"0123456789abcdef"[(bits & 15) as usize]);
            bits >>= 4;
        }
        left -= left.min(16);
    }
}

/// A whole number.
pub(super) fn push_int(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_unsigned(out, number.unsigned_abs());
}

/// A whole number that is not negative.
#[inline]
pub(crate) fn push_unsigned(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A number of so many units of its last decimal.
pub(super) fn push_decimal(out: &mut Vec<u8>, units: i64, decimals: u8) {
    if units < 0 {
        out.push(b'-');
    }
    let scale = 10_u64.pow(decimals.into());
    let units = units.unsigned_abs();
    push_unsigned(out, units / scale);
    if decimals > 0 {
        out.push(b'.');
        let mut rest = units % scale;
        let start = out.len();
        out.resize(start + usize::from(decimals), b'0');
        for digit in out[start..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_read_back() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, -1, -10, i64::MAX, i64::MIN] {
            assert_eq!(text(|out| push_int(out, number)), number.to_string());
        }
    }

    #[test]
    fn decimals_are_as_many_as_asked_for() {
        for (units, decimals, shown) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (12_345, 2, "123.45"),
            (12_345, 0, "12345"),
            (1, 9, "0.000000001"),
            (-1_500_000_000, 9, "-1.500000000"),
        ] {
            assert_eq!(text(|out| push_decimal(out, units, decimals)), shown);
        }
    }

    #[test]
    fn words_have_the_length_asked_for_and_single_spaces_inside() {
        let mut rng = Rng::new(1);
        for count in (1..200).chain([5_000]) {
            let words = text(|out| push_words(out, &mut rng, count));
            assert_eq!(words.len(), count);
            assert_eq!(words.trim(), words);
            assert!(!words.contains("  "));
            assert!(words.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b' '));
            let longest = words.split(' ').map(str::len).max().unwrap();
            assert!(longest <= 10, "{words}");
        }
    }

    #[test]
    fn hex_has_the_length_asked_for_and_every_digit() {
        let mut rng = Rng::new(1);
        for count in [1, 15, 16, 17, 33, 4_000] {
            let digits = text(|out| push_hex(out, &mut rng, count));
            assert_eq!(digits.len(), count);
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        }
        let many = text(|out| push_hex(out, &mut rng, 4_000));
        assert_eq!(many.bytes().collect::<std::collections::HashSet<_>>().len(), 16);
    }
}
