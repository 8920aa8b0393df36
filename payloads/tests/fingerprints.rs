//! Pins every preset's bytes for fixed seeds, so that nobody changes by accident what `--seed` repeats (an idea of lading's).

mod support;

use std::fmt::Write;

use payloads::{Mix, PresetInfo, Wish, presets};
use support::{NOW_UNIX_NS, extent, requests};

const SEEDS: [u64; 3] = [0, 1, 42];
const REQUESTS: usize = 1_000;

/// Events a request, where a preset takes as many.
const BATCHES: [u32; 2] = [1, 10];

#[test]
fn every_preset_sends_the_pinned_bytes() {
    let mut changed = Vec::new();
    for preset in presets() {
        let found = fingerprint(&preset);
        let path = format!("{}/fingerprints/{}.txt", env!("CARGO_MANIFEST_DIR"), preset.name);
        let pinned = std::fs::read_to_string(&path).unwrap_or_default();
        if found != pinned {
            changed.push(format!("{path}, now:\n{found}instead of:\n{pinned}"));
        }
    }
    assert!(
        changed.is_empty(),
        "presets no longer send the bytes pinned for them: runs with the same --seed are not comparable across this change. If it \
         is meant, put what they send now into the files and say so in the changelog.\n{}",
        changed.join("\n")
    );
}

fn fingerprint(preset: &PresetInfo) -> String {
    let mut found = format!(
        "# at {NOW_UNIX_NS}: seed, events a request, requests, bytes, fresh fields, FNV-1a 64 of the bytes\n"
    );
    for seed in SEEDS {
        for events in BATCHES {
            let mix: Mix = events.to_string().parse().unwrap();
            // A user agent of our own keeps the version, which changes with every release, out of the bytes.
            let headers = ["User-Agent: fingerprint".to_owned()];
            let wish =
                Wish { preset: Some(&preset.name), mix: Some(&mix), headers: &headers, ..Wish::default() };
            let Ok(requests) = requests(&wish) else {
                assert!(events > 1, "{} takes no single events", preset.name);
                continue;
            };
            let sent = requests.serialize("fingerprint:1", extent(REQUESTS), seed, NOW_UNIX_NS).unwrap();
            let (count, bytes, places) = (sent.requests.len(), sent.bytes.len(), sent.places.len());
            writeln!(found, "{seed} {events} {count} {bytes} {places} {:016x}", fnv1a(&sent.bytes)).unwrap();
        }
    }
    found
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
