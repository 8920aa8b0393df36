//! Whatever values a template has, what comes out is what was meant and nothing else.

mod support;

use std::collections::HashMap;

use payloads::fresh::{Fields, Kind};
use payloads::{Mix, Serialized, Wish};
use proptest::prelude::*;
use serde_json::Value;
use support::{Folder, bodies, serialize, split};

/// `text` between quotes of the template language.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A TOML string, which is written as JSON's but for one character.
fn toml_string(text: &str) -> String {
    serde_json::to_string(text).unwrap().replace('\u{7f}', "\\u007f")
}

fn of_file(template: &str, count: usize) -> Serialized {
    let files = Folder::new([("t.json", template)]);
    serialize(&Wish { body: Some("@t.json"), ..Wish::default() }, &files, count, 1).unwrap()
}

fn values(sent: &Serialized) -> Vec<Value> {
    bodies(sent).iter().map(|body| serde_json::from_str(body).unwrap()).collect()
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back_from_every_place_in_json(text in any::<String>()) {
        let value = quoted(&text);
        let template = format!(r#"{{ {{{{{value}}}}}: {{{{{value}}}}}, "inside": "<{{{{{value}}}}}>", "drawn": {{{{choice({value})}}}} }}"#);
        let value = &values(&of_file(&template, 1))[0];
        prop_assert_eq!(&value["inside"], &format!("<{text}>"));
        if text != "inside" && text != "drawn" {
            prop_assert_eq!(&value[&text], &text);
            prop_assert_eq!(&value["drawn"], &text);
        }
    }

    #[test]
    fn any_list_keeps_json_whole(entries in prop::collection::vec(any::<String>(), 1..5)) {
        let list = entries.iter().map(|entry| toml_string(entry)).collect::<Vec<_>>().join(",");
        let file = format!(
            "path='/'\n[lists]\nall=[{list}]\n[event]\nbody='''{{ \"bare\": {{{{choice(all) as v}}}}, \"inside\": \"-{{{{v}}}}\", \"url\": \"?{{{{url(v)}}}}\" }}'''\n"
        );
        let wish = Wish { preset: Some("p.toml"), ..Wish::default() };
        let sent = serialize(&wish, &Folder::new([("p.toml", &file)]), 10, 1).unwrap();
        for value in values(&sent) {
            let bare = value["bare"].as_str().unwrap();
            prop_assert!(entries.iter().any(|entry| entry == bare));
            prop_assert_eq!(&value["inside"], &format!("-{bare}"));
            prop_assert_eq!(decoded(value["url"].as_str().unwrap().strip_prefix('?').unwrap()), bare);
        }
    }

    #[test]
    fn any_text_stays_one_segment_of_a_path(text in any::<String>()) {
        let path = format!("/a/{{{{{}}}}}/b", quoted(&text));
        let sent = serialize(&Wish { path: Some(&path), ..Wish::default() }, &Folder::default(), 1, 1).unwrap();
        let head = split(&sent)[0].0;
        let parts: Vec<&str> = head.lines().next().unwrap().split(' ').collect();
        prop_assert_eq!(parts.len(), 3);
        let segments: Vec<&str> = parts[1].split('/').collect();
        prop_assert_eq!(segments.len(), 4);
        prop_assert_eq!(decoded(segments[2]), text);
    }

    #[test]
    fn any_text_stays_one_header_or_is_refused(text in any::<String>()) {
        let headers = [format!("X-A: <{{{{{}}}}}>", quoted(&text))];
        let sent = serialize(&Wish { headers: &headers, ..Wish::default() }, &Folder::default(), 1, 1);
        match sent {
            Ok(sent) => {
                let whole = format!("X-A: <{text}>");
                prop_assert_eq!(split(&sent)[0].0.split("\r\n").last(), Some(whole.as_str()));
            }
            Err(_) => prop_assert!(text.chars().any(|c| c.is_ascii_control())),
        }
    }

    #[test]
    fn any_text_without_braces_is_itself(text in "[^{}\\x00-\\x1f]*") {
        let headers = [format!("X-A: <{text}>")];
        match serialize(&Wish { headers: &headers, ..Wish::default() }, &Folder::default(), 1, 1) {
            Ok(sent) => prop_assert!(split(&sent)[0].0.ends_with(&headers[0])),
            Err(_) => prop_assert!(text.contains('\x7f')),
        }
        let json = serde_json::to_string(&text).unwrap();
        let sent = of_file(&json, 1);
        prop_assert_eq!(bodies(&sent), [json.as_str()]);
    }

    #[test]
    fn integers_stay_in_their_range(a in any::<i64>(), b in any::<i64>()) {
        let (min, max) = (a.min(b), a.max(b));
        for value in values(&of_file(&format!("{{{{int({min},{max})}}}}"), 20)) {
            prop_assert!((min..=max).contains(&value.as_i64().unwrap()));
        }
    }

    #[test]
    fn decimals_stay_in_their_range_with_their_digits(a in -1_000_000_i64..1_000_000, span in 1_i64..1_000_000, decimals in 0_usize..=9) {
        let (min, max) = (a as f64 / 1_000.0, (a + span) as f64 / 1_000.0);
        let template = format!("{{{{float({min:.3},{max:.3},{decimals})}}}}");
        let files = Folder::new([("t.json", &template)]);
        let sent = serialize(&Wish { body: Some("@t.json"), ..Wish::default() }, &files, 20, 1);
        let has_one = (min * 10_f64.powi(decimals as i32)).ceil() < max * 10_f64.powi(decimals as i32);
        let Ok(sent) = sent else { prop_assert!(!has_one || decimals < 3); return Ok(()) };
        for body in bodies(&sent) {
            let number: f64 = body.parse().unwrap();
            prop_assert!(min <= number && number < max, "{} <= {} < {}", min, number, max);
            prop_assert_eq!(body.split_once('.').map_or(0, |(_, digits)| digits.len()), decimals);
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_bytes(seed in any::<u64>(), now in any::<u64>()) {
        let mix: Mix = "1:3,10:1".parse().unwrap();
        let wish = Wish { preset: Some("events"), mix: Some(&mix), ..Wish::default() };
        let requests = support::requests(&wish).unwrap();
        let once = requests.serialize("h", support::extent(8), seed, now).unwrap();
        prop_assert_eq!(&once, &requests.serialize("h", support::extent(8), seed, now).unwrap());
        let other = requests.serialize("h", support::extent(8), seed ^ 1, now).unwrap();
        prop_assert_ne!(once.bytes, other.bytes);
    }

    #[test]
    fn fresh_fields_are_where_their_places_say(pieces in prop::collection::vec(0_usize..PIECES.len(), 1..20), events in 1_u32..6) {
        let body = pieces.iter().map(|piece| PIECES[*piece]).collect::<Vec<_>>().join(",");
        let file = format!(
            "path='/e'\nheaders=['X: {{{{request.r}}}}{{{{hex(3)}}}}']\n[batch]\nbody='[{{{{seq as request.s}}}},{{{{uuid as request.r}}}},[{{{{events}}}}]]'\n[event]\nbody='[{body},{{{{uuid as e}}}}]'\n"
        );
        let mix: Mix = events.to_string().parse().unwrap();
        let wish = Wish { preset: Some("p.toml"), mix: Some(&mix), ..Wish::default() };
        let mut sent = serialize(&wish, &Folder::new([("p.toml", &file)]), 3, 1).unwrap();
        let fresh_pieces = pieces.iter().filter(|piece| PIECES[**piece] != "{{hex(5)}}").count();
        let before = sent.clone();
        let mut fields = Fields::new(2, 50, 1);
        fields.set_time(1_900_000_000_000_000_000);
        let places = sent.places.clone();
        fields.write(&mut sent.bytes, 0, &places);
        for index in 0..3 {
            let places = sent.places_of(index);
            prop_assert_eq!(places.len(), 3 + events as usize * (1 + fresh_pieces));
            only_places_changed(&before, &sent, index);
            repeats_are_equal(&sent, index);
            let (was, is) = (&values(&before)[index], &values(&sent)[index]);
            prop_assert_ne!(&was[0], &is[0]);
            prop_assert_ne!(&was[1], &is[1]);
            let head = split(&sent)[index].0.to_owned();
            let expected = format!("X: {}", is[1].as_str().unwrap());
            prop_assert!(head.contains(&expected));
        }
    }
}

const PIECES: [&str; 8] = [
    "{{uuid}}",
    "{{now}}",
    "\"<{{now(unix_ns)}}>\"",
    "{{seq}}",
    "{{hex(5)}}",
    "{{request.r}}",
    "{{e}}",
    "\"{{request.s}}\"",
];

/// Bytes outside of places are as before, and the length the head tells is right.
fn only_places_changed(before: &Serialized, after: &Serialized, index: usize) {
    let end = before.requests[index].end;
    let mut at = index.checked_sub(1).map_or(0, |last| before.requests[last].end);
    for place in before.places_of(index) {
        assert_eq!(before.bytes[at..place.at as usize], after.bytes[at..place.at as usize]);
        at = place.at as usize + place.kind.width();
    }
    assert_eq!(before.bytes[at..end], after.bytes[at..end]);
    let (head, body) = split(after)[index];
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
}

fn repeats_are_equal(sent: &Serialized, index: usize) {
    let places = sent.places_of(index);
    let texts = support::texts(sent, places);
    let mut first_of: HashMap<usize, usize> = HashMap::new();
    for (number, place) in places.iter().enumerate() {
        if let Kind::Repeat { width, back } = place.kind {
            let from = number - usize::from(back);
            let first = *first_of.get(&from).unwrap_or(&from);
            first_of.insert(number, first);
            assert_eq!(usize::from(width), places[first].kind.width());
            assert_eq!(texts[number], texts[first]);
        }
    }
}
