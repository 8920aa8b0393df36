//! Version-4 UUIDs (RFC 9562, 5.4) as text.

use crate::rng::{GOLDEN, Rng, mix};

/// Bytes of a UUID's text.
pub const UUID_BYTES: usize = 36;

/// A one in every byte.
const EACH: u64 = 0x0101_0101_0101_0101;

/// A stream of version-4 UUIDs: two counters with keys of their own, each bijectively mixed (SplitMix64's finalizer).
///
/// Nothing but an addition lies between one id and the next, so that a CPU works on several at a time. Streams share an id only if
/// both their keys differ by the same number, which has a chance of 2^-64 for each pair of streams.
#[derive(Clone, Debug)]
pub(crate) struct Uuids {
    counter: u64,
    keys: [u64; 2],
}

impl Uuids {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self { counter: 0, keys: [rng.bits(), rng.bits()] }
    }

    /// Writes the next one over another one.
    #[inline]
    pub(crate) fn write(&mut self, place: &mut [u8; UUID_BYTES]) {
        self.counter = self.counter.wrapping_add(GOLDEN);
        write_digits(place, self.keys.map(|key| mix(self.counter.wrapping_add(key))));
    }
}

/// A version-4 UUID in lower case from 128 random bits, six of which are not used.
#[inline]
pub fn uuid(random: [u64; 2]) -> [u8; UUID_BYTES] {
    let mut text = [b'-'; UUID_BYTES];
    write_digits(&mut text, random);
    text
}

/// Writes the digits and leaves the dashes.
///
/// Which bit comes to stand where does not matter, since all are random: eight nibbles at a time are taken as they lie.
#[inline]
fn write_digits(text: &mut [u8; UUID_BYTES], [a, b]: [u64; 2]) {
    let low = 0x0f * EACH;
    // Digits 12 and 16 of 32 say the version and the variant: in memory order the fifth byte of the second word, and the first
    // of the third.
    let version = ((a >> 4) & low) & !(0xf << 32) | 0x4 << 32;
    let variant = (b & low) & !0xc | 0x8;
    let words = [a & low, version, variant, (b >> 4) & low].map(digits);
    text[0..8].copy_from_slice(&words[0]);
    text[9..13].copy_from_slice(&words[1][..4]);
    text[14..18].copy_from_slice(&words[1][4..]);
    text[19..23].copy_from_slice(&words[2][..4]);
    text[24..28].copy_from_slice(&words[2][4..]);
    text[28..36].copy_from_slice(&words[3]);
}

/// Eight nibbles, a byte each, as hexadecimal digits.
#[inline]
fn digits(nibbles: u64) -> [u8; 8] {
    let above_9 = ((nibbles + 6 * EACH) >> 4) & EACH;
    (nibbles + u64::from(b'0') * EACH + above_9 * u64::from(b'a' - b'0' - 10)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn the_shape_is_that_of_version_4() {
        let mut rng = Rng::new(1);
        for random in
            [[0, 0], [u64::MAX, u64::MAX]].into_iter().chain((0..10_000).map(|_| [rng.bits(), rng.bits()]))
        {
            let text = uuid(random);
            for (at, byte) in text.into_iter().enumerate() {
                let right = match at {
                    8 | 13 | 18 | 23 => byte == b'-',
                    14 => byte == b'4',
                    19 => b"89ab".contains(&byte),
                    _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                };
                assert!(right, "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn every_other_digit_takes_every_value() {
        let mut rng = Rng::new(2);
        let mut seen = [[false; 256]; UUID_BYTES];
        for _ in 0..2_000 {
            for (at, byte) in uuid([rng.bits(), rng.bits()]).into_iter().enumerate() {
                seen[at][usize::from(byte)] = true;
            }
        }
        for (at, seen) in seen.iter().enumerate() {
            let wanted = match at {
                8 | 13 | 14 | 18 | 23 => 1,
                19 => 4,
                _ => 16,
            };
            assert_eq!(seen.iter().filter(|&&seen| seen).count(), wanted, "digit {at}");
        }
    }

    #[test]
    fn no_two_of_the_122_bits_share_a_digit_position() {
        // Flipping any one bit changes exactly one digit, or none for the six that are not used.
        let zero = uuid([0, 0]);
        let unused = (0..128)
            .filter(|bit| {
                let mut random = [0, 0];
                random[bit / 64] |= 1 << (bit % 64);
                let changed = uuid(random).iter().zip(&zero).filter(|(a, b)| a != b).count();
                assert!(changed <= 1, "bit {bit}");
                changed == 0
            })
            .count();
        assert_eq!(unused, 6);
    }
}
