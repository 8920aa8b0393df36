//! What fields give, and that it fits where they stand.

mod support;

use std::collections::{HashMap, HashSet};

use payloads::Wish;
use payloads::fresh::{Kind, TimeFormat};
use serde_json::Value;
use support::{Folder, bodies, serialize, split, texts};

const COUNT: usize = 2_000;

fn json_wish() -> Wish<'static> {
    Wish { body: Some("@t.json"), ..Wish::default() }
}

/// The bodies of requests whose body is this JSON template.
fn rendered(template: &str) -> Vec<Value> {
    let sent = serialize(&json_wish(), &Folder::new([("t.json", template)]), COUNT, 1).unwrap();
    bodies(&sent).iter().map(|body| serde_json::from_str(body).unwrap()).collect()
}

fn texts_of(template: &str) -> Vec<String> {
    rendered(template).iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// The values of a header that is this template.
fn header(template: &str) -> Vec<String> {
    let headers = [format!("X-A: {template}")];
    let sent = serialize(&Wish { headers: &headers, ..Wish::default() }, &Folder::default(), 50, 1).unwrap();
    let value = |head: &str| head.lines().find_map(|line| line.strip_prefix("X-A: ")).unwrap().to_owned();
    split(&sent).into_iter().map(|(head, _)| value(head)).collect()
}

fn paths(template: &str) -> Vec<String> {
    let sent =
        serialize(&Wish { path: Some(template), ..Wish::default() }, &Folder::default(), 50, 1).unwrap();
    split(&sent).into_iter().map(|(head, _)| head.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn numbers_stay_in_their_ranges_and_reach_both_ends() {
    let ints: HashSet<i64> = rendered("{{int(-2,3)}}").iter().map(|value| value.as_i64().unwrap()).collect();
    assert_eq!(ints, (-2..=3).collect());
    let decimals: HashSet<String> =
        rendered("{{float(-0.2,0.3,1)}}").iter().map(|value| value.to_string()).collect();
    let expected = ["-0.2", "-0.1", "0.0", "0.1", "0.2"].map(str::to_owned);
    assert_eq!(decimals, expected.into());
    let users: HashSet<u64> = rendered("{{user(7)}}").iter().map(|value| value.as_u64().unwrap()).collect();
    assert_eq!(users, (0..7).collect());
}

#[test]
fn choices_are_even_and_weighted_ones_are_by_weight() {
    let share = |template: &str| {
        let mut counts: HashMap<String, f64> = HashMap::new();
        for value in rendered(template) {
            *counts.entry(value.to_string()).or_default() += 1.0 / COUNT as f64;
        }
        counts
    };
    for (template, expected) in [
        ("{{choice('a','b')}}", vec![("\"a\"", 0.5), ("\"b\"", 0.5)]),
        ("{{weighted('a':70, 'b':20.5, 3:9.5)}}", vec![("\"a\"", 0.7), ("\"b\"", 0.205), ("3", 0.095)]),
    ] {
        let found = share(template);
        assert_eq!(found.len(), expected.len());
        for (value, wanted) in expected {
            let sigma = (wanted * (1.0 - wanted) / COUNT as f64).sqrt();
            assert!((found[value] - wanted).abs() < 5.0 * sigma, "{template}: {found:?}");
        }
    }
}

#[test]
fn text_and_digits_have_their_lengths() {
    assert!(texts_of("{{text(40)}}").iter().all(|text| text.len() == 40 && text.trim() == text));
    assert!(texts_of("{{hex(7)}}").iter().all(|text| text.len() == 7));
    assert_eq!(texts_of("{{uuid}}").into_iter().collect::<HashSet<_>>().len(), COUNT);
    let seq = rendered("{{seq}}");
    let first = 1_000_000_000_000_000_u64;
    assert!(seq.iter().enumerate().all(|(index, value)| *value == first + index as u64));
}

#[test]
fn bare_values_are_json_of_their_kind() {
    let object = rendered(
        r#"{"a":{{choice('x',1,true,null,[1,"y"],{"z":2})}},"b":{{now}},"c":{{now(unix_ms)}},"d":{{uuid}},"e":{{'q"'}}}"#,
    );
    let kinds: HashSet<String> = object.iter().map(|object| object["a"].to_string()).collect();
    let expected = ["\"x\"", "1", "true", "null", "[1,\"y\"]", "{\"z\":2}"].map(str::to_owned);
    assert_eq!(kinds, expected.into());
    assert_eq!(object[0]["b"], "2026-01-01T00:00:00.123Z");
    assert_eq!(object[0]["c"], 1_767_225_600_123_u64);
    assert!(object[0]["d"].is_string());
    assert_eq!(object[0]["e"], "q\"");
}

#[test]
fn values_inside_strings_are_escaped_for_them() {
    let found: HashSet<String> = texts_of(r#""<{{choice('a"b\\c', [1,"y"], 2)}}>""#).into_iter().collect();
    assert_eq!(found, [r#"<a"b\c>"#, r#"<[1,"y"]>"#, "<2>"].map(str::to_owned).into());
    assert_eq!(
        texts_of(r#""{{now}} {{now(datetime)}} {{now(unix)}}""#)[0],
        "2026-01-01T00:00:00.123Z 2026-01-01 00:00:00.123 1767225600"
    );
    assert_eq!(texts_of(r#""{{'{{'}}uuid}}""#)[0], "{{uuid}}");
}

#[test]
fn every_time_format_is_written_as_it_is_called() {
    for (name, format) in TimeFormat::ALL {
        let mut expected = Vec::new();
        format.append(&mut expected, support::NOW_UNIX_NS);
        assert_eq!(header(&format!("{{{{now({name})}}}}"))[0].as_bytes(), expected);
    }
}

#[test]
fn paths_are_percent_encoded_once() {
    assert_eq!(paths("/a{{'b/c?é'}}")[0], "/ab%2Fc%3F%C3%A9");
    assert_eq!(paths("/a{{url('b c')}}")[0], "/ab%20c");
    assert_eq!(paths("/a?b=%20{{choice('x&y=z')}}")[0], "/a?b=%20x%26y%3Dz");
    assert_eq!(paths("/a?b={{url(choice('x&y=z'))}}")[0], "/a?b=x%26y%3Dz");
    assert!(paths("/{{text(30)}}").iter().all(|path| path.is_ascii() && !path.contains(' ')));
    // A colon may stand in a path as it is, so the time keeps its width and stays fresh.
    assert_eq!(paths("/{{now}}")[0], "/2026-01-01T00:00:00.123Z");
    let basic = paths("/{{basic(user.a,'xy')}}{{choice('?','>') as user.a}}{{user(100)}}");
    assert!(basic.iter().all(|path| path.is_ascii() && path.contains("%3D")), "{basic:?}");
}

#[test]
fn a_query_inside_a_json_string_can_be_encoded() {
    let found = texts_of(
        r#""?a={{url('x y&"')}}&b={{url(choice('ö'))}}&c={{url(text(9))}}&d={{url(int(5,5))}}&e={{url(uuid)}}""#,
    );
    assert!(found[0].starts_with("?a=x%20y%26%22&b=%C3%B6&c="), "{}", found[0]);
    assert!(found.iter().all(|text| text.split('&').count() == 5 && !text.contains(' ')));
    assert_eq!(rendered("{{url(int(5,5))}}")[0], "5", "what is encoded is text");
}

#[test]
fn headers_are_as_their_templates_say() {
    assert_eq!(header("Bearer {{'a b'}} {{int(3,3)}}")[0], "Bearer a b 3");
    assert_eq!(header("Basic {{basic('Aladdin','open sesame')}}")[0], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(header("{{'é \"'}}")[0], "é \"");
}

#[test]
fn a_token_is_signed_and_holds_the_users_claims() {
    let tokens = header(
        r#"Bearer {{jwt('secret', {"sub": "user_{{user(1000)}}", "iat": {{now(unix)}}, "{{'k'}}": [{{choice('a"')}}]})}}"#,
    );
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 50, "each request has a user of its own");
    let parts: Vec<&str> = tokens[0].strip_prefix("Bearer ").unwrap().split('.').collect();
    let decode = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    assert_eq!(decode(parts[0]), br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
    assert_eq!(claims["iat"], 1_767_225_600);
    assert_eq!(claims["k"][0], "a\"");
    assert!(claims["sub"].as_str().unwrap().starts_with("user_"));
    assert_eq!(decode(parts[2]).len(), 32);
}

#[test]
fn lines_of_a_file_are_picked() {
    let files = Folder::new([
        ("dir/t.json", r#"{"a":{{pick('ids.txt')}},"b":{{pick('/abs.txt')}}}"#),
        ("dir/ids.txt", "one\r\n\n  \ntwo \"2\"\n"),
        ("/abs.txt", "x"),
    ]);
    let sent = serialize(&Wish { body: Some("@dir/t.json"), ..Wish::default() }, &files, 50, 1).unwrap();
    let found: HashSet<String> = bodies(&sent)
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["a"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, ["one".to_owned(), "two \"2\"".to_owned()].into());
}

#[test]
fn places_say_what_is_fresh_and_where() {
    let files =
        Folder::new([("t.json", r#"{"a":{{uuid}},"b":"x{{now(unix)}}","c":{{seq}},"d":{{hex(4)}}}"#)]);
    let headers = ["X-A: {{now}}".to_owned()];
    let wish = Wish { headers: &headers, path: Some("/{{uuid}}"), ..json_wish() };
    let sent = serialize(&wish, &files, 3, 1).unwrap();
    let kinds = [Kind::Uuid, Kind::Now(TimeFormat::Iso), Kind::Uuid, Kind::Now(TimeFormat::Unix), Kind::Seq];
    for index in 0..3 {
        let places = sent.places_of(index);
        assert_eq!(places.iter().map(|place| place.kind).collect::<Vec<_>>(), kinds);
        let (head, body) = split(&sent)[index];
        let body: Value = serde_json::from_str(body).unwrap();
        let texts = texts(&sent, places);
        assert!(head.starts_with(&format!("POST /{} ", texts[0])));
        assert!(head.contains(&format!("X-A: {}\r\n", texts[1])));
        assert_eq!(body["a"], texts[2]);
        assert_eq!(body["b"], format!("x{}", texts[3]));
        assert_eq!(body["c"].to_string(), texts[4]);
    }
}

#[test]
fn a_json_file_keeps_its_own_white_space() {
    let file = "{\n  \"a\" : {{int(1,1)}}\n}\n";
    let sent = serialize(&json_wish(), &Folder::new([("t.json", file)]), 1, 1).unwrap();
    assert_eq!(bodies(&sent), ["{\n  \"a\" : 1\n}\n"]);
}
