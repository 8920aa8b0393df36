//! Pins every preset's bytes for fixed seeds, so that nobody changes by accident what `--seed` repeats (an idea of lading's).

use payloads::{Extent, Head, presets};

const SEEDS: [u64; 3] = [0, 1, 42];
const NOW_UNIX_MS: u64 = 1_767_225_600_123;
const EXTENT: Extent = Extent { requests: 1_000, bytes: usize::MAX };

#[test]
fn every_preset_sends_the_pinned_bytes() {
    for preset in presets() {
        // A user agent of our own keeps the version, which changes with every release, out of the bytes.
        let headers = ["User-Agent: fingerprint".parse().unwrap()];
        let head = Head::new(preset.method, "fingerprint:1", preset.path, &headers).unwrap();
        let mut found =
            format!("# {} requests at {NOW_UNIX_MS}: seed, bytes, FNV-1a 64 of them\n", EXTENT.requests);
        for seed in SEEDS {
            let bytes = preset.serialize(&head, EXTENT, seed, NOW_UNIX_MS).bytes;
            found += &format!("{seed} {} {:016x}\n", bytes.len(), fnv1a(&bytes));
        }
        let path = format!("{}/fingerprints/{}.txt", env!("CARGO_MANIFEST_DIR"), preset.name);
        let pinned = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == pinned,
            "preset {} no longer sends the bytes pinned in {path}: runs with the same --seed are not comparable across this \
             change. If it is meant, put this into the file and say so in the changelog:\n{found}\ninstead of:\n{pinned}",
            preset.name
        );
    }
}

/// The 64-bit variant of RFC 9923.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn the_hash_is_fnv_1a() {
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}
