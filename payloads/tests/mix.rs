//! Sizes of batches: their shares, their order, and how many of them there is room for.

mod support;

use std::collections::HashMap;

use payloads::{Encoding, Error, Extent, Mix, Requests, Serialized, Wish};
use support::{Folder, NOW_UNIX_NS, serialize};

const MIX: &str = "1:100,10:10,100:3";
const ROOM: usize = 1 << 28;

fn sent(mix: &str, extent: Extent, seed: u64) -> Result<Serialized, Error> {
    let mix: Mix = mix.parse().unwrap();
    let wish = Wish { preset: Some("events"), mix: Some(&mix), ..Wish::default() };
    support::requests(&wish)?.serialize("h", extent, seed, NOW_UNIX_NS)
}

fn counts(sent: &Serialized) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for piece in &sent.requests {
        *counts.entry(sent.classes[usize::from(piece.class)].clone()).or_default() += 1;
    }
    counts
}

fn named<const N: usize>(counts: [(&str, usize); N]) -> HashMap<String, usize> {
    counts.map(|(class, count)| (class.to_owned(), count)).into()
}

#[test]
fn every_size_is_a_class_with_exactly_its_share() {
    let sent = sent(MIX, Extent { requests: 4_096, bytes: ROOM, bytes_max: ROOM }, 1).unwrap();
    assert_eq!(sent.classes, ["batch1", "batch10", "batch100"]);
    assert_eq!(counts(&sent), named([("batch1", 3_600), ("batch10", 360), ("batch100", 108)]));
    for piece in &sent.requests {
        assert_eq!(format!("batch{}", piece.events), sent.classes[usize::from(piece.class)]);
    }
    let only = self::sent("10", Extent { requests: 10, bytes: ROOM, bytes_max: ROOM }, 1).unwrap();
    assert_eq!(only.classes, ["batch10"]);
}

#[test]
fn the_order_is_a_shuffle_that_the_seed_repeats() {
    let extent = Extent { requests: 1_130, bytes: ROOM, bytes_max: ROOM };
    let order =
        |seed| sent(MIX, extent, seed).unwrap().requests.iter().map(|piece| piece.class).collect::<Vec<_>>();
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    // Large ones are spread, not bunched: each tenth of the tape has some of the 130 batches.
    for part in order(3).chunks(113) {
        let batches = part.iter().filter(|class| **class > 0).count();
        assert!((1..40).contains(&batches), "{batches}");
    }
}

#[test]
fn fewer_bytes_leave_fewer_requests_in_the_same_shares() {
    for bytes in [4_000_000, 1_000_000, 400_000] {
        let sent = sent(MIX, Extent { requests: 100_000, bytes, bytes_max: ROOM }, 1).unwrap();
        assert!(sent.bytes.len() <= bytes, "{}", sent.bytes.len());
        assert!(sent.bytes.len() > bytes * 3 / 4, "{} of {bytes}", sent.bytes.len());
        assert!(sent.bytes.capacity() <= sent.bytes.len() + sent.bytes.len() / 10);
        let rounds = sent.requests.len() / 113;
        assert_eq!(
            counts(&sent),
            named([("batch1", rounds * 100), ("batch10", rounds * 10), ("batch100", rounds * 3)])
        );
    }
}

#[test]
fn every_size_occurs_however_little_room_there_is() {
    let least = sent(MIX, Extent { requests: 1, bytes: 0, bytes_max: ROOM }, 1).unwrap();
    assert_eq!(counts(&least), named([("batch1", 1), ("batch10", 1), ("batch100", 1)]));
    let some = sent(MIX, Extent { requests: 20, bytes: ROOM, bytes_max: ROOM }, 1).unwrap();
    assert_eq!(some.requests.len(), 20);
    assert_eq!(counts(&some).len(), 3);
}

#[test]
fn what_cannot_fit_is_refused_before_it_is_written() {
    let least =
        sent("1:1,100000:1", Extent { requests: 10, bytes: 1_000, bytes_max: 1 << 20 }, 1).unwrap_err();
    let Error::TooLarge { needed, limit, .. } = &least else { panic!("{least}") };
    assert!((25_000_000..50_000_000).contains(needed) && *limit == 1 << 20, "{least}");
    assert!(
        least
            .to_string()
            .ends_with("bytes to hold a request of each size, the limit is 1048576: use smaller batches")
    );
    let all = sent("1", Extent { requests: 100_000, bytes: usize::MAX, bytes_max: 1 << 20 }, 1).unwrap_err();
    let Error::TooLarge { needed, .. } = &all else { panic!("{all}") };
    assert!((38_000_000..46_000_000).contains(needed), "{all}");
    assert!(all.to_string().contains("to hold all requests"), "{all}");
    // Four thousand million events are refused as fast.
    assert!(matches!(
        sent("4294967295", Extent { requests: 1, bytes: 0, bytes_max: 1 << 20 }, 1),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn what_an_api_would_refuse_is_refused_here() {
    let file = "path='/e'\n[limits]\nevents=2500\nevent_bytes=100\nrequest_bytes=1000\n[batch]\nbody='[{{events}}]'\n[event]\nbody='{{hex(48)}}'\n";
    let files = Folder::new([("api.toml", file), ("dir/large.toml", &file.replace("48", "99"))]);
    let error = |preset: &str, mix: &str| {
        let mix: Mix = mix.parse().unwrap();
        let wish = Wish { preset: Some(preset), mix: Some(&mix), ..Wish::default() };
        serialize(&wish, &files, 3, 1).err().map(|error| error.to_string())
    };
    // An event is 50 bytes, and [] with commas between comes to 51 n + 1.
    assert_eq!(error("api.toml", "19"), None);
    assert_eq!(
        error("api.toml", "20").unwrap(),
        "api takes bodies of at most 1,000 bytes, a batch of 20 came to 1,021: use a batch of at most 19"
    );
    assert_eq!(
        error("api.toml", "1:5,5000:1").unwrap(),
        "api takes at most 2,500 events a request, --batch asks 5,000: use 2,500 or fewer, or correct [limits] in the preset's file"
    );
    assert_eq!(
        error("dir/large.toml", "1").unwrap(),
        "large takes events of at most 100 bytes, one came to 101: shorten it, or leave its type out with --events"
    );
    let no_batch = Folder::new([("p.toml", "path='/e'\n[event]\nbody='1'\n")]);
    let mix: Mix = "10".parse().unwrap();
    let wish = Wish { preset: Some("p.toml"), mix: Some(&mix), ..Wish::default() };
    assert_eq!(
        Requests::new(&wish, &no_batch).unwrap_err().to_string(),
        "p takes one event a request, --batch asks 10: use 1, or add [batch] to the preset's file"
    );
}

#[test]
fn a_value_that_is_repeated_too_far_is_refused() {
    let file = "path='/e'\nheaders=['X: {{uuid as request.id}}']\n[batch]\nbody='{\"all\":[{{events}}],\"id\":{{request.id}}}'\n[event]\nbody='{{uuid}}'\n";
    let files = Folder::new([("p.toml", file)]);
    let sent = |mix: &str| {
        let mix: Mix = mix.parse().unwrap();
        serialize(&Wish { preset: Some("p.toml"), mix: Some(&mix), ..Wish::default() }, &files, 1, 1)
    };
    assert!(sent("65534").is_ok());
    assert_eq!(sent("65535").unwrap_err(), Error::RepeatTooFar);
}

#[test]
fn a_body_that_is_cut_short_before_it_is_compressed_is_refused() {
    let mix: Mix = "10000".parse().unwrap();
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let wish =
            Wish { preset: Some("events"), mix: Some(&mix), encoding: Some(encoding), ..Wish::default() };
        let requests = support::requests(&wish).unwrap();
        for bytes in [0, usize::MAX] {
            let extent = Extent { requests: 3, bytes, bytes_max: 1 << 20 };
            let error = requests.serialize("h", extent, 1, NOW_UNIX_NS).unwrap_err();
            let Error::TooLarge { needed, .. } = &error else { panic!("{error}") };
            assert!((2_500_000..5_000_000).contains(needed), "{error}");
            assert!(error.to_string().ends_with(
                "bytes to hold a body before it is compressed, the limit is 1048576: use smaller batches"
            ));
        }
        let enough = Extent { requests: 3, bytes: 0, bytes_max: 1 << 23 };
        assert!(requests.serialize("h", enough, 1, NOW_UNIX_NS).is_ok());
    }
}

#[test]
fn requests_without_number_are_refused_before_there_is_no_memory() {
    for mix in ["1", MIX] {
        let all = Extent { requests: usize::MAX, bytes: usize::MAX, bytes_max: 1 << 20 };
        let error = sent(mix, all, 1).unwrap_err();
        assert!(matches!(error, Error::TooLarge { needed, .. } if needed > 1 << 60), "{error}");
        let many = Extent { requests: 1 << 40, bytes: usize::MAX, bytes_max: usize::MAX };
        assert!(matches!(sent(mix, many, 1), Err(Error::TooLarge { .. })), "without writing 4 GiB");
        let some = Extent { requests: usize::MAX, bytes: 1 << 20, bytes_max: 1 << 24 };
        let sent = sent(mix, some, 1).unwrap();
        assert!(sent.bytes.len() <= 1 << 20 && sent.bytes.len() > 1 << 19, "{}", sent.bytes.len());
    }
}
