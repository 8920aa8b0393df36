//! Presets: what comes with the program can be sent as it is, and a file of one's own needs nothing but itself.

mod support;

use std::collections::{HashMap, HashSet};

use payloads::fresh::Fields;
use payloads::{Encoding, Mix, Requests, Serialized, Shares, Wish, check, presets};
use serde_json::Value;
use support::{Folder, NOW_UNIX_NS, bodies, serialize, split};

fn sent(preset: &str, files: &Folder, mix: &str, requests: usize) -> Serialized {
    let mix: Mix = mix.parse().unwrap();
    serialize(&Wish { preset: Some(preset), mix: Some(&mix), ..Wish::default() }, files, requests, 1).unwrap()
}

fn own(file: &str) -> Folder {
    Folder::new([("p.toml", file)])
}

/// One JSON value, or one a line.
fn values(body: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(body)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn every_preset_can_be_sent_and_its_fresh_fields_written_anew() {
    for preset in presets() {
        let largest = preset.limits.events.unwrap_or(100).min(100);
        for mix in [1, largest] {
            let mix: Mix = mix.to_string().parse().unwrap();
            let wish = Wish { preset: Some(&preset.name), mix: Some(&mix), ..Wish::default() };
            let Ok(requests) = support::requests(&wish) else {
                assert!(mix.mean_events() > 1.0, "{}", preset.name);
                continue;
            };
            let mut sent = requests.serialize("h", support::extent(50), 1, NOW_UNIX_NS).unwrap();
            let before: Vec<Vec<Value>> = bodies(&sent).into_iter().map(values).collect();
            assert!(before.iter().all(|values| !values.is_empty()));
            assert!(!sent.places.is_empty(), "{} has no fresh field", preset.name);
            let mut fields = Fields::new(3, 0, 1);
            fields.set_time(NOW_UNIX_NS + 86_400_000_000_000);
            let places = sent.places.clone();
            fields.write(&mut sent.bytes, 0, &places);
            for (body, before) in bodies(&sent).into_iter().zip(before) {
                assert_ne!(values(body), before, "{} repeats itself", preset.name);
            }
        }
    }
}

#[test]
fn what_a_preset_is_can_be_listed() {
    let all = presets();
    assert_eq!(all[0].name, "events");
    assert!(all[1..].is_sorted_by(|a, b| a.name < b.name));
    for preset in &all {
        assert!(!preset.about.is_empty() && !preset.about.contains('\n'), "{}", preset.name);
        assert!(preset.path.starts_with('/'));
    }
    let events = &all[0];
    assert_eq!(
        (events.method.as_str(), events.path.as_str(), events.ok.as_deref()),
        ("POST", "/events", Some("202"))
    );
    assert_eq!(events.types.len(), 10);
    assert_eq!(events.types[0], ("page_view".to_owned(), 1.0), "in the order of the file");
}

#[test]
fn a_batch_of_events_is_a_bare_array_and_of_ndjson_lines() {
    let array = sent("events", &Folder::default(), "10", 5);
    for body in bodies(&array) {
        assert_eq!(serde_json::from_str::<Vec<Value>>(body).unwrap().len(), 10);
        assert!(!body.contains('\n') && !body.contains(", \""), "{body}");
    }
    let lines = sent("ndjson", &Folder::default(), "10", 5);
    for (head, body) in split(&lines) {
        assert!(head.contains("Content-Type: application/x-ndjson\r\n"));
        assert!(body.ends_with('\n'));
        assert_eq!(body.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 10);
    }
}

#[test]
fn requests_tell_what_they_are() {
    let mix: Mix = "1:100,10:10,100:3".parse().unwrap();
    let wish = Wish { preset: Some("events"), mix: Some(&mix), ..Wish::default() };
    let requests = support::requests(&wish).unwrap();
    assert_eq!(requests.describe(), "events, 1:100,10:10,100:3 per request");
    assert_eq!((requests.method(), requests.path(), requests.ok()), ("POST", "/events", Some("202")));
    assert_eq!(requests.acknowledged(), Some("count"));
    assert!((requests.mean_events().unwrap() - 500.0 / 113.0).abs() < 1e-9);
    let plain = Wish { preset: Some("events"), encoding: Some(Encoding::Zstd), ..Wish::default() };
    let requests = support::requests(&plain).unwrap();
    assert_eq!(requests.describe(), "events, 1 per request, zstd");
    assert_eq!(requests.mean_events(), Some(1.0));
    assert_eq!(
        format!("{requests:?}"),
        r#"Requests { method: "POST", path: "/events", describe: "events, 1 per request, zstd", .. }"#
    );
}

#[test]
fn a_preset_of_ones_own_is_found_by_its_path() {
    let files = own(r#"
        path = "/{{tenant}}/e"
        method = "put"
        ok = "200-204,409"
        acknowledged = "taken"
        note = "mind the gap"
        headers = ["Authorization: Basic {{basic(key,'')}}", "X-Kind: a"]
        [settings]
        key = "k"
        tenant = "a/b"
        level = 3
        [single]
        path = "/one"
        body = '{ "count": {{count}}, "level": {{level}}, {{members}} }'
        [batch]
        body = '{ "n": {{count}}, "all": [{{events}}] }'
        [event]
        body = '{ "type": {{type}}, "kind": "kind of {{type}}" {{fields}} }'
        [types.a]
        weight = 3
        fields = '"x": 1, "y": "{{type}}"'
        ["types"."b \" c"]
    "#);
    let requests = Requests::new(&Wish { preset: Some("p.toml"), ..Wish::default() }, &files).unwrap();
    assert_eq!((requests.method(), requests.path(), requests.ok()), ("PUT", "/one", Some("200-204,409")));
    assert_eq!((requests.acknowledged(), requests.note()), (Some("taken"), Some("mind the gap")));
    assert_eq!(requests.describe(), "p, 1 per request");

    let single = sent("p.toml", &files, "1", 100);
    assert!(split(&single)[0].0.starts_with("PUT /one HTTP/1.1\r\n"));
    assert!(split(&single)[0].0.contains("Authorization: Basic azo=\r\n"));
    let found: HashSet<&str> = bodies(&single).into_iter().collect();
    assert_eq!(
        found,
        [
            r#"{"count":1,"level":3,"type":"a","kind":"kind of a","x":1,"y":"a"}"#,
            r#"{"count":1,"level":3,"type":"b \" c","kind":"kind of b \" c"}"#,
        ]
        .into()
    );
    let batch = sent("p.toml", &files, "3", 10);
    assert!(split(&batch)[0].0.starts_with("PUT /a%2Fb/e HTTP/1.1\r\n"));
    assert!(bodies(&batch).iter().all(|body| body.starts_with(r#"{"n":3,"all":[{"type":"#)));

    let settings = [("tenant", "t"), ("level", "4"), ("key", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers = ["x-kind: b".to_owned()];
    let wish = Wish { preset: Some("p.toml"), settings: &settings, headers: &headers, ..Wish::default() };
    let set = serialize(&wish, &files, 1, 1).unwrap();
    let (head, body) = split(&set)[0];
    assert!(head.contains("x-kind: b\r\n") && !head.contains("X-Kind: a"));
    assert!(head.contains("Authorization: Basic Og==\r\n"));
    assert!(body.contains(r#""level":4"#), "a number is replaced by a number");
    let elsewhere = Wish { path: Some("/x"), ..wish };
    assert!(split(&serialize(&elsewhere, &files, 1, 1).unwrap())[0].0.starts_with("PUT /x HTTP/1.1"));
}

#[test]
fn types_occur_by_weight_or_by_the_users_shares() {
    let types = |shares: Option<&str>| {
        let shares: Option<Shares> = shares.map(|shares| shares.parse().unwrap());
        let wish = Wish { preset: Some("events"), shares: shares.as_ref(), ..Wish::default() };
        let sent = serialize(&wish, &Folder::default(), 5_000, 1).unwrap();
        let mut counts: HashMap<String, f64> = HashMap::new();
        for body in bodies(&sent) {
            *counts.entry(values(body)[0]["type"].as_str().unwrap().to_owned()).or_default() += 1.0 / 5_000.0;
        }
        counts
    };
    assert_eq!(types(None).len(), 10);
    let two = types(Some("page_view:70,purchase:30"));
    assert_eq!(two.len(), 2);
    assert!((two["page_view"] - 0.7).abs() < 5.0 * (0.21_f64 / 5_000.0).sqrt(), "{two:?}");
    assert_eq!(types(Some("search:1")).len(), 1);
}

#[test]
fn a_preset_without_events_is_a_request_with_fields() {
    let files = own("path='/pixel.gif?u={{user(100)}}&r={{hex(8)}}'\nmethod='GET'\n");
    let pixel = sent("p.toml", &files, "1", 3);
    assert!(pixel.requests.iter().all(|piece| piece.events == 1));
    let (head, body) = split(&pixel)[0];
    assert!(head.starts_with("GET /pixel.gif?u=") && !head.contains("Content-"), "{head}");
    assert_eq!(body, "");
}

#[test]
fn a_form_is_text_as_it_stands() {
    let files = own(
        "path='/c'\ncontent_type='application/x-www-form-urlencoded'\n[lists]\nurls=['https://a/?b=c&d']\n[event]\nbody='v=1 {{fields}}'\n[types.pageview]\nfields='&t={{type}}&dl={{url(choice(urls))}}'\n",
    );
    assert_eq!(
        bodies(&sent("p.toml", &files, "1", 1)),
        ["v=1 &t=pageview&dl=https%3A%2F%2Fa%2F%3Fb%3Dc%26d"]
    );
}

#[test]
fn fields_of_an_event_that_is_a_string_continue_it() {
    let files = own(
        "path='/m'\n[batch]\nbody='{\"requests\":[{{events}}]}'\n[event]\nbody='\"?id=1{{fields}}&z\"'\n[types.a]\nfields='&q=\\\"{{choice(''\"'')}}'\n".replace("''", "\"").replace("\"\"\"", "\"\\\"\"").as_str(),
    );
    let body = bodies(&sent("p.toml", &files, "2", 1))[0].to_owned();
    assert_eq!(body, r#"{"requests":["?id=1&q=\"\"&z","?id=1&q=\"\"&z"]}"#);
}

#[test]
fn lines_within_an_event_stay_lines() {
    let files = own(
        "path='/_bulk'\ncontent_type='application/x-ndjson'\n[batch]\nbody='''\n{{events}}\n'''\nseparator=\"\\n\"\n[event]\nbody='''\n{ \"index\": {} }\n{ \"v\": {{int(1,1)}} }\n'''\n",
    );
    assert_eq!(
        bodies(&sent("p.toml", &files, "2", 1)),
        ["{\"index\":{}}\n{\"v\":1}\n{\"index\":{}}\n{\"v\":1}\n"]
    );
}

#[test]
fn lists_may_hold_what_json_holds() {
    let files = own(
        "path='/e'\n[lists]\nall=['x', 1, 1.5, true, ['a', 2], {k = 'v'}]\n[event]\nbody='[{{choice(all)}},\"{{choice(all)}}\"]'\n",
    );
    let found: HashSet<String> = bodies(&sent("p.toml", &files, "1", 300))
        .into_iter()
        .map(|body| values(body)[0][0].to_string())
        .collect();
    assert_eq!(found, ["\"x\"", "1", "1.5", "true", "[\"a\",2]", "{\"k\":\"v\"}"].map(str::to_owned).into());
}

#[test]
fn a_file_can_be_checked() {
    let files = Folder::default();
    let check = |name: &str, content: &str| check(name, content.as_bytes(), &files).unwrap();
    assert_eq!(
        check("t.json", r#"[{{uuid as id}},{{id}},{{now}},{{hex(4)}}]"#),
        "template with 4 fields, 3 fresh, 113 B on average"
    );
    assert_eq!(check("t.txt", "a{{int(1,1)}}"), "template with 1 field, 0 fresh, 2 B on average");
    assert_eq!(check("t.jsonl", "[1]\n{}\n"), "2 lines, 2 B on average");
    assert_eq!(check("t.jsonl", "[1]"), "1 line, 3 B on average");
    assert_eq!(
        check("p.toml", "path='/'\n[event]\nbody='{{hex(8)}}'\n[types.a]\n[types.b]"),
        "preset, 2 types, 10 B an event on average"
    );
    assert_eq!(
        check("p.toml", "path='/'\n[event]\nbody='1'\n[types.a]\n[batch]\nbody='[{{events}}]'"),
        "preset, 1 type, 1 B an event on average"
    );
    assert_eq!(check("p.toml", "path='/'\n[single]\nbody='[]'"), "preset, 2 B an event on average");
}
