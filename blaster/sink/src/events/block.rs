//! 64 bytes compared at once, by whatever vectors the target is sure to have.

use wide::u8x32;

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 64;

/// The bytes of a block. Masks have a bit for each, the first byte's the lowest.
#[derive(Clone, Copy)]
pub(super) struct Block([u8x32; 2]);

impl Block {
    #[inline(always)]
    pub(super) fn load(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let (lanes, _) = bytes.as_chunks::<32>();
        Self(std::array::from_fn(|index| u8x32::new(lanes[index])))
    }

    /// Which are `byte`.
    #[inline(always)]
    pub(super) fn equal(self, byte: u8) -> u64 {
        mask(self.0.map(|lane| lane.simd_eq(u8x32::splat(byte))))
    }

    /// Which are `byte` once `bits` are set in them.
    #[inline(always)]
    pub(super) fn equal_with(self, bits: u8, byte: u8) -> u64 {
        mask(self.0.map(|lane| (lane | u8x32::splat(bits)).simd_eq(u8x32::splat(byte))))
    }

    /// Whether any is `byte`.
    #[inline(always)]
    pub(super) fn has(self, byte: u8) -> bool {
        let [a, b] = self.0.map(|lane| lane.simd_eq(u8x32::splat(byte)));
        (a | b).any()
    }
}

#[inline(always)]
fn mask(lanes: [u8x32; 2]) -> u64 {
    let [a, b] = lanes.map(|lane| u64::from(lane.to_bitmask()));
    a | b << 32
}
