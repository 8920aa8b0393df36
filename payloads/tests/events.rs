//! What the `events` preset sends is what an ingestion API takes: members, ranges, sizes.

use std::collections::{BTreeMap, HashSet};

mod support;

use payloads::{BYTES_MAX, Extent, Serialized, Wish};
use serde_json::{Map, Value};
use support::NOW_UNIX_NS;

const EVENTS: Wish<'static> = Wish {
    preset: Some("events"),
    settings: &[],
    mix: None,
    shares: None,
    method: None,
    path: None,
    headers: &[],
    body: None,
    body_folder: None,
    shuffle: false,
    encoding: None,
};
const COUNT: usize = 20_000;
const WHOLE: Extent = Extent { requests: COUNT, bytes: usize::MAX, bytes_max: BYTES_MAX };

fn serialize(extent: Extent, seed: u64) -> Serialized {
    serialize_wish(&EVENTS, extent, seed)
}

fn serialize_wish(wish: &Wish<'_>, extent: Extent, seed: u64) -> Serialized {
    support::requests(wish).unwrap().serialize("127.0.0.1:3000", extent, seed, NOW_UNIX_NS).unwrap()
}

fn requests(serialized: &Serialized) -> impl Iterator<Item = (&str, &str)> {
    (0..serialized.requests.len())
        .map(|index| str::from_utf8(serialized.request(index)).unwrap().split_once("\r\n\r\n").unwrap())
}

fn parsed(serialized: &Serialized) -> Vec<Map<String, Value>> {
    requests(serialized).map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
}

fn keys(object: &Map<String, Value>) -> Vec<&str> {
    let mut keys: Vec<_> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The number behind `prefix`, written without leading zeros.
fn number_after(value: &Value, prefix: &str) -> u64 {
    let digits =
        value.as_str().unwrap().strip_prefix(prefix).unwrap_or_else(|| panic!("{value} lacks {prefix}"));
    let number = digits.parse().unwrap();
    assert_eq!(u64::to_string(&number), digits);
    number
}

#[test]
fn every_request_has_a_right_head() {
    let serialized = serialize(WHOLE, 1);
    for (head, body) in requests(&serialized) {
        let expected = format!(
            "POST /events HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nUser-Agent: blaster/{}\r\nContent-Type: application/json\r\nContent-Length: {}",
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        assert_eq!(head, expected);
    }
}

#[test]
fn pieces_cover_the_bytes_and_carry_one_event_each() {
    let serialized = serialize(WHOLE, 1);
    assert_eq!(serialized.requests.len(), COUNT);
    assert_eq!(serialized.classes, ["events"]);
    assert!(serialized.requests.is_sorted_by(|a, b| a.end < b.end));
    assert_eq!(serialized.requests.last().unwrap().end, serialized.bytes.len());
    assert!(serialized.requests.iter().all(|piece| piece.class == 0 && piece.events == 1));
}

#[test]
fn every_event_has_exactly_the_members_of_its_type_in_their_ranges() {
    for event in parsed(&serialize(WHOLE, 2)) {
        assert_eq!(keys(&event), ["eventId", "occurredAt", "payload", "sessionId", "type", "userId"]);
        assert_eq!(event["occurredAt"], "2026-01-01T00:00:00.123Z");
        assert!(number_after(&event["userId"], "user_") < 1_000_000);
        assert!(number_after(&event["sessionId"], "session_") < 100_000);

        let mut payload = event["payload"].as_object().unwrap().clone();
        assert!(!payload.remove("userAgent").unwrap().as_str().unwrap().is_empty());
        let ip: std::net::Ipv4Addr = payload.remove("ip").unwrap().as_str().unwrap().parse().unwrap();
        assert!(
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_unspecified()
                || ip.is_broadcast()),
            "{ip}"
        );

        let text = |key: &str| !payload[key].as_str().unwrap().is_empty();
        let integer = |key: &str| payload[key].as_u64().unwrap();
        let (expected, in_range) = match event["type"].as_str().unwrap() {
            "page_view" => (
                vec!["referrer", "url"],
                number_after(&payload["url"], "/page/") < 100 && payload["referrer"].is_string(),
            ),
            "search" => (
                vec!["query", "results"],
                number_after(&payload["query"], "search_term_") < 1_000 && integer("results") < 100,
            ),
            "purchase" => {
                let amount = payload["amount"].as_f64().unwrap();
                let currency = payload["currency"].as_str().unwrap();
                let right = (1.0..1_000.0).contains(&amount)
                    && currency.len() == 3
                    && number_after(&payload["productId"], "prod_") < 500;
                (vec!["amount", "currency", "productId"], right)
            }
            "add_to_cart" => {
                let right = number_after(&payload["productId"], "prod_") < 500
                    && (1..=5).contains(&integer("quantity"));
                (vec!["productId", "quantity"], right)
            }
            "remove_from_cart" => (vec!["productId"], number_after(&payload["productId"], "prod_") < 500),
            "button_click" => {
                (vec!["buttonId", "label"], number_after(&payload["buttonId"], "btn_") < 50 && text("label"))
            }
            "form_submit" => {
                let fields: Vec<_> = payload["fields"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|field| field.as_str().unwrap())
                    .collect();
                let distinct: HashSet<_> = fields.iter().collect();
                let right = number_after(&payload["formId"], "form_") < 20
                    && !fields.is_empty()
                    && distinct.len() == fields.len();
                (vec!["fields", "formId"], right)
            }
            "video_play" => (
                vec!["position", "videoId"],
                number_after(&payload["videoId"], "video_") < 100 && integer("position") == 0,
            ),
            "video_pause" => (
                vec!["position", "videoId"],
                number_after(&payload["videoId"], "video_") < 100 && integer("position") < 180,
            ),
            "session_start" => (vec![], true),
            other => panic!("unknown type {other}"),
        };
        assert_eq!(keys(&payload), expected, "{event:?}");
        assert!(in_range, "{event:?}");
    }
}

#[test]
fn amounts_are_written_with_two_decimals() {
    let serialized = serialize(WHOLE, 3);
    let amounts =
        requests(&serialized).filter_map(|(_, body)| body.split_once("\"amount\":")?.1.split_once(','));
    let decimals: Vec<_> = amounts.map(|(amount, _)| amount.split_once('.').unwrap().1.len()).collect();
    assert!(decimals.len() > COUNT / 20 && decimals.iter().all(|&n| n == 2));
}

#[test]
fn event_ids_are_version_4_and_distinct() {
    let mut seen = HashSet::new();
    // A seed of its own for each shard must be enough, neighbours too.
    for seed in 0..4 {
        for event in parsed(&serialize(WHOLE, seed)) {
            let id = event["eventId"].as_str().unwrap().to_owned();
            let shape: String =
                id.chars().map(|c| if matches!(c, '0'..='9' | 'a'..='f') { 'x' } else { c }).collect();
            assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            assert_eq!(&id[14..15], "4");
            assert!("89ab".contains(&id[19..20]));
            assert!(seen.insert(id));
        }
    }
}

#[test]
fn the_ten_types_are_drawn_evenly() {
    let mut counts = BTreeMap::new();
    for event in parsed(&serialize(WHOLE, 4)) {
        *counts.entry(event["type"].as_str().unwrap().to_owned()).or_insert(0_u32) += 1;
    }
    let (n, p) = (COUNT as f64, 0.1);
    let sigma = (n * p * (1.0 - p)).sqrt();
    assert_eq!(counts.len(), 10);
    assert!(counts.values().all(|&count| (f64::from(count) - n * p).abs() < 5.0 * sigma), "{counts:?}");
}

#[test]
fn a_request_is_about_420_bytes() {
    let serialized = serialize(WHOLE, 5);
    let mean = serialized.bytes.len() / COUNT;
    assert!((380..=460).contains(&mean), "{mean} B");
}

#[test]
fn a_seed_repeats_every_byte_and_another_gives_others() {
    assert_eq!(serialize(WHOLE, 6), serialize(WHOLE, 6));
    assert_ne!(serialize(WHOLE, 6).bytes, serialize(WHOLE, 7).bytes);
}

#[test]
fn bytes_bound_the_requests_but_one_always_comes_out() {
    let whole = serialize(WHOLE, 8);
    let half = serialize(Extent { bytes: whole.bytes.len() / 2, ..WHOLE }, 8);
    let next = whole.requests[half.requests.len()].end;
    assert!(half.bytes.len() <= whole.bytes.len() / 2 && next > whole.bytes.len() / 2);
    assert!(whole.bytes.starts_with(&half.bytes));
    assert_eq!(serialize(Extent { requests: 0, bytes: 0, ..WHOLE }, 8).requests.len(), 1);
}

#[test]
fn memory_is_what_the_bytes_need() {
    let serialized = serialize(WHOLE, 9);
    assert!(serialized.bytes.capacity() <= serialized.bytes.len() + serialized.bytes.len() / 10);
}

#[test]
fn method_path_and_headers_are_the_callers() {
    let headers = ["content-type: application/x".to_owned()];
    let wish = Wish { method: Some("put"), path: Some("/v2/e?k=1"), headers: &headers, ..EVENTS };
    let serialized = serialize_wish(&wish, Extent { requests: 1, ..WHOLE }, 1);
    let (head, _) = requests(&serialized).next().unwrap();
    assert!(head.starts_with("PUT /v2/e?k=1 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n"), "{head}");
    assert!(head.contains("content-type: application/x\r\n") && !head.contains("application/json"), "{head}");
}
