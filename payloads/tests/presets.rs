//! Presets: what comes with the program can be sent as it is, and a file of one's own needs nothing but itself.

mod support;

use std::collections::{HashMap, HashSet};

use payloads::fresh::Fields;
use payloads::{Encoding, Error, Mix, Requests, Serialized, Shares, Wish, check, presets};
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
            let requests = match support::requests(&wish) {
                Ok(requests) => requests,
                Err(Error::NoBatches { .. }) => continue,
                Err(error) => panic!("{}: {error}", preset.name),
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
    assert_eq!(check("T.JSON", "[{{int(1,1)}}]"), "template with 1 field, 0 fresh, 3 B on average");
    assert_eq!(
        check("t.txt", "a{{int(1,1)}}"),
        "a body of 13 bytes, sent as it is; it holds {{int(1,1)}}, which is sent as it is: name it .json to have it filled in"
    );
    assert_eq!(check("t.xml", "{{name}}"), "a body of 8 bytes, sent as it is");
    assert_eq!(
        payloads::check("b.bin", &[0xff; 2_000], &files).unwrap(),
        "a body of 2,000 bytes, sent as it is"
    );
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

/// The inside of the first fenced block of that language in a text.
fn fenced<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, block) = text.split_once(&format!("\n```{language}\n")).unwrap();
    block.split_once("\n```\n").unwrap().0
}

#[test]
fn what_the_readme_shows_can_be_sent() {
    let readme = include_str!("../README.md");
    let (template, preset) = (fenced(readme, "json"), fenced(readme, "toml"));
    let files = Folder::new([("order.json", template), ("mine.toml", preset)]);
    for (name, content, is) in [
        ("order.json", template, "template with 7 fields, 3 fresh, "),
        ("mine.toml", preset, "preset, 2 types, "),
    ] {
        let checked = check(name, content.as_bytes(), &files).unwrap();
        assert!(checked.starts_with(is), "{name}: {checked}");
    }
}

#[test]
fn ndjson_sends_the_same_events_as_events() {
    let table = |file: &str| file.parse::<toml::Table>().unwrap();
    let events = table(include_str!("../presets/events.toml"));
    let ndjson = table(include_str!("../presets/ndjson.toml"));
    for part in ["event", "types", "lists"] {
        assert!(events.contains_key(part));
        assert_eq!(events[part], ndjson[part], "[{part}]");
    }
}

#[test]
fn the_statuses_of_a_preset_are_for_the_reader_of_expect_to_judge() {
    let files = own("path='/'\nok='2xx,!500'\n[event]\nbody='1'\n");
    let requests = Requests::new(&Wish { preset: Some("p.toml"), ..Wish::default() }, &files).unwrap();
    assert_eq!(requests.ok(), Some("2xx,!500"));
}

#[test]
fn a_setting_of_several_lines_stays_on_the_line_it_is_in() {
    let files = own(
        "path='/'\ncontent_type='application/x-ndjson'\n[settings]\nmany=[1]\n[batch]\nbody='{{events}}'\nseparator=\"\\n\"\n[event]\nbody='{\"m\":{{many}}}'\n",
    );
    let settings = [("many".to_owned(), " [\n  1,\n  \"a \\n b\"\n]\n".to_owned())];
    let mix: Mix = "2".parse().unwrap();
    let wish = Wish { preset: Some("p.toml"), settings: &settings, mix: Some(&mix), ..Wish::default() };
    let line = r#"{"m":[1,"a \n b"]}"#;
    assert_eq!(bodies(&serialize(&wish, &files, 1, 1).unwrap()), [format!("{line}\n{line}")]);
}

#[test]
fn a_header_of_the_users_may_mean_something_else_than_the_one_it_replaces() {
    let files = own(
        "path='/{{user(9)}}'\nheaders=['X-Id: {{uuid as request.id}} {{user(9)}}']\n[event]\nbody='{\"id\":{{request.id}}}'\n",
    );
    let of = |header: &str, path: Option<&str>| {
        let headers = [header.to_owned()];
        let wish = Wish { preset: Some("p.toml"), headers: &headers, path, ..Wish::default() };
        let sent = serialize(&wish, &files, 1, 1).unwrap();
        let (head, body) = split(&sent)[0];
        let id = head.lines().find_map(|line| line.to_lowercase().strip_prefix("x-id: ").map(str::to_owned));
        (id.unwrap(), values(body)[0]["id"].as_str().unwrap().to_owned())
    };
    let (header, body) = of("x-id: {{hex(4) as request.id}}", None);
    assert_eq!((header.len(), header), (4, body));
    let (header, body) = of("X-Id: mine", None);
    assert_eq!((header.as_str(), body.len()), ("mine", 36), "what the preset's header binds is still known");
    let (header, _) = of("X-Id: {{user(5)}}", Some("/"));
    assert!(header.parse::<u8>().unwrap() < 5);
}

#[test]
fn a_preset_is_known_by_its_ending_in_any_case() {
    let files = Folder::new([("MINE.TOML", "path='/'\n[event]\nbody='1'\n")]);
    let requests = Requests::new(&Wish { preset: Some("MINE.TOML"), ..Wish::default() }, &files).unwrap();
    assert_eq!(requests.describe(), "MINE, 1 per request");
}

#[test]
fn notes_are_short() {
    for preset in presets() {
        let length = preset.note.as_deref().map_or(0, |note| note.chars().count());
        assert!(length <= 200, "{}: {length} characters", preset.name);
    }
}
