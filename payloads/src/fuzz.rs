//! Bodies of fuzz targets, as plain functions so that seeded tests run them too.
//!
//! The claims: no input panics; what parses can be rendered; and what is rendered is whole requests whose fresh fields can be
//! written anew.

use std::io;

use crate::fresh::Fields;
use crate::{Extent, Files, Mix, Requests, Serialized, Shares, Wish, check};

const SEED: u64 = 7;
const NOW_UNIX_NS: u64 = 1_767_225_600_123_456_789;
const EXTENT: Extent = Extent { requests: 3, bytes: 1 << 16, bytes_max: 1 << 22 };

/// One file that has everything.
struct OneFile<'a>(&'a [u8]);

impl Files for OneFile<'_> {
    fn read(&self, _path: &str) -> io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }

    fn list(&self, _folder: &str) -> io::Result<Vec<String>> {
        Ok(["a.json", "b.jsonl", "c.txt"].map(str::to_owned).to_vec())
    }
}

/// The input as a template: a JSON body, any text, a path and a header.
pub fn fuzz_template(data: &[u8]) {
    let files = OneFile(data);
    for name in ["t.json", "t.txt", "t.jsonl"] {
        let _ = check(name, data, &files);
    }
    let of_file = Wish { body: Some("@t.json"), ..Wish::default() };
    let of_folder = Wish { body_folder: Some("f"), shuffle: true, ..Wish::default() };
    serialize(&of_file, &files, is_json_body);
    serialize(&of_folder, &files, |_| ());
    let Ok(text) = str::from_utf8(data) else { return };
    let path = format!("/{text}");
    serialize(&Wish { path: Some(&path), ..Wish::default() }, &files, is_head_of_two_lines);
    let headers = [format!("X-A: {text}")];
    serialize(&Wish { headers: &headers, ..Wish::default() }, &files, is_head_of_two_lines);
}

/// The input as a preset's file, sent one event a request and in batches.
pub fn fuzz_preset(data: &[u8]) {
    let files = OneFile(data);
    let _ = check("p.toml", data, &files);
    let mix: Mix = "1:2,3:1".parse().expect("it is one");
    for mix in [None, Some(&mix)] {
        serialize(&Wish { preset: Some("p.toml"), mix, ..Wish::default() }, &files, |_| ());
    }
}

/// The input as a mixture of sizes, and as shares of types.
pub fn fuzz_mix(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(mix) = text.parse::<Mix>() {
        assert_eq!(mix.to_string().parse::<Mix>().map(|again| again.to_string()), Ok(mix.to_string()));
        assert!(mix.mean_events() >= 1.0);
    }
    if let Ok(shares) = text.parse::<Shares>() {
        assert_eq!(shares.to_string().parse(), Ok(shares));
    }
}

/// Renders what parses, and holds each request to `claim` before and after its fresh fields are written anew.
fn serialize(wish: &Wish<'_>, files: &dyn Files, claim: fn(&str)) {
    let Ok(requests) = Requests::new(wish, files) else { return };
    let Ok(mut serialized) = requests.serialize("h", EXTENT, SEED, NOW_UNIX_NS) else { return };
    assert_eq!(requests.serialize("h", EXTENT, SEED, NOW_UNIX_NS).as_ref(), Ok(&serialized));
    is_whole(&serialized, claim);
    let mut fields = Fields::new(SEED, 0, 1);
    fields.set_time(NOW_UNIX_NS + 1_000_000_000);
    let places = serialized.places.clone();
    let lengths = serialized.bytes.len();
    fields.write(&mut serialized.bytes, 0, &places);
    assert_eq!(serialized.bytes.len(), lengths);
    is_whole(&serialized, claim);
}

fn is_whole(serialized: &Serialized, claim: fn(&str)) {
    assert!(!serialized.requests.is_empty());
    assert_eq!(serialized.requests.last().map(|piece| piece.end), Some(serialized.bytes.len()));
    assert!(serialized.places.is_sorted_by(|a, b| a.at as usize + a.kind.width() <= b.at as usize));
    for index in 0..serialized.requests.len() {
        let Ok(request) = str::from_utf8(serialized.request(index)) else { continue };
        let (head, body) = request.split_once("\r\n\r\n").expect("a head ends");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(length.map_or(0, |length| length.parse().expect("a number")), body.len());
        claim(request);
    }
}

fn is_json_body(request: &str) {
    let (_, body) = request.split_once("\r\n\r\n").expect("a head ends");
    // What it refuses but for its depth is no JSON.
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(body);
    assert!(parsed.is_ok(), "{body}: {parsed:?}");
}

/// Neither a path nor a header has broken the head apart.
fn is_head_of_two_lines(request: &str) {
    let (head, _) = request.split_once("\r\n\r\n").expect("a head ends");
    let lines: Vec<&str> = head.split("\r\n").collect();
    assert!((3..=4).contains(&lines.len()), "{head}");
    assert_eq!(lines[0].split(' ').count(), 3, "{head}");
    assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])), "{head}");
}
