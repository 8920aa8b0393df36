//! What is bound with `as` stays the same for its event, its request or its user; and what is fresh stays so where it is repeated.

mod support;

use std::collections::{HashMap, HashSet};

use payloads::fresh::{Fields, Kind};
use payloads::{Mix, Serialized, Wish};
use serde_json::Value;
use support::{Folder, bodies, serialize, split, texts};

/// A preset with this envelope for batches, this event, and what else is given.
fn preset(batch: &str, event: &str, more: &str) -> Folder {
    let file = format!("path = '/e'\n{more}\n[batch]\nbody = '''{batch}'''\n[event]\nbody = '''{event}'''\n");
    Folder::new([("p.toml", &file)])
}

fn sent(files: &Folder, events: u32, requests: usize) -> Serialized {
    let mix: Mix = events.to_string().parse().unwrap();
    let wish = Wish { preset: Some("p.toml"), mix: Some(&mix), ..Wish::default() };
    serialize(&wish, files, requests, 1).unwrap()
}

fn parsed(sent: &Serialized) -> Vec<Value> {
    bodies(sent).iter().map(|body| serde_json::from_str(body).unwrap()).collect()
}

fn error(files: &Folder, events: u32) -> String {
    let mix: Mix = events.to_string().parse().unwrap();
    let wish = Wish { preset: Some("p.toml"), mix: Some(&mix), ..Wish::default() };
    serialize(&wish, files, 1, 1).unwrap_err().to_string()
}

#[test]
fn a_name_is_drawn_once_an_event() {
    let files = preset("[{{events}}]", r#"{"a":{{id}},"b":"x{{hex(8) as id}}","c":{{id}}}"#, "");
    let mut ids = HashSet::new();
    for event in parsed(&sent(&files, 10, 20)).iter().flat_map(|batch| batch.as_array().unwrap()) {
        assert_eq!(event["a"], event["c"]);
        assert_eq!(event["b"], format!("x{}", event["a"].as_str().unwrap()));
        ids.insert(event["a"].to_string());
    }
    assert_eq!(ids.len(), 200);
}

#[test]
fn a_name_of_the_request_is_shared_by_its_events() {
    let files = preset(
        r#"{"id":{{request.id}},"all":[{{events}}]}"#,
        r#"{"id":{{hex(8) as request.id}}}"#,
        "headers = ['X-Id: {{request.id}}']",
    );
    let sent = sent(&files, 5, 20);
    let mut ids = HashSet::new();
    for (head, body) in split(&sent) {
        let body: Value = serde_json::from_str(body).unwrap();
        let id = body["id"].as_str().unwrap().to_owned();
        assert!(head.contains(&format!("X-Id: {id}\r\n")));
        assert!(body["all"].as_array().unwrap().iter().all(|event| event["id"] == id));
        ids.insert(id);
    }
    assert_eq!(ids.len(), 20);
}

#[test]
fn a_users_values_are_the_same_in_every_request() {
    let files = preset(
        "[{{events}}]",
        r#"{"user":{{user(10)}},"device":{{uuid as user.device}},"plan":{{choice('a','b','c') as user.plan}},"twice":[{{user.device}},{{user(10)}}]}"#,
        "",
    );
    let first = sent(&files, 7, 30);
    assert!(first.places.is_empty(), "what is a user's is not fresh");
    let mut known: HashMap<u64, (Value, Value)> = HashMap::new();
    let events: Vec<Value> =
        parsed(&first).into_iter().flat_map(|batch| batch.as_array().unwrap().clone()).collect();
    for event in &events {
        let user = event["user"].as_u64().unwrap();
        let values = (event["device"].clone(), event["plan"].clone());
        assert_eq!(*known.entry(user).or_insert_with(|| values.clone()), values);
        assert_eq!(event["twice"], serde_json::json!([event["device"], user]));
    }
    assert_eq!(known.len(), 10);
    for ten in events.chunks_exact(10) {
        let users: HashSet<u64> = ten.iter().map(|event| event["user"].as_u64().unwrap()).collect();
        assert_eq!(users.len(), 10, "ten users in a row are ten different ones");
    }
    // Another way to the same users gives the same values.
    let alone = parsed(&sent(&files, 1, 10));
    for event in alone.iter().map(|batch| &batch[0]) {
        assert_eq!(known[&event["user"].as_u64().unwrap()].0, event["device"]);
    }
}

#[test]
fn a_user_in_the_head_is_that_of_all_events() {
    let files = preset(
        r#"{"all":[{{events}}]}"#,
        r#"{"user":{{user(1000)}},"v":{{hex(6) as user.v}}}"#,
        r#"headers = ['Authorization: Bearer {{jwt(''s'',{"sub":{{user(1000)}}})}}', 'X-V: {{user.v}}', 'X-User: {{user(1000)}}']"#
            .replace("''", "\"")
            .as_str(),
    );
    let sent = sent(&files, 5, 20);
    let mut users = HashSet::new();
    for (head, body) in split(&sent) {
        let of_head = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        for event in body["all"].as_array().unwrap() {
            assert_eq!(event["user"].to_string(), of_head("X-User: "));
            assert_eq!(event["v"], of_head("X-V: "));
        }
        users.insert(of_head("X-User: ").to_owned());
    }
    assert_eq!(users.len(), 20);
}

#[test]
fn a_fresh_value_is_fresh_wherever_it_is_repeated() {
    let files = preset(
        r#"{"id":{{request.id}},"at":{{request.at}},"all":[{{events}}],"n":{{seq as request.n}},"m":"{{request.n}}"}"#,
        r#"{"of":{{request.id}},"id":{{id}},"again":"{{uuid as id}}","at":{{now as request.at}}}"#,
        "headers = ['Idempotency-Key: {{uuid as request.id}}']",
    );
    let mut sent = sent(&files, 3, 4);
    let before = sent.clone();
    assert_eq!(sent.places_of(0).len(), 1 + 2 + 3 * 4 + 2);
    let mut fields = Fields::new(99, 5, 1);
    fields.set_time(1_800_000_000_000_000_000);
    let places = sent.places.clone();
    fields.write(&mut sent.bytes, 0, &places);
    for (index, (head, body)) in split(&sent).into_iter().enumerate() {
        let body: Value = serde_json::from_str(body).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Idempotency-Key: ")).unwrap();
        assert_eq!(body["id"], key);
        assert_eq!(body["at"], "2027-01-15T08:00:00.000Z");
        assert_eq!(body["n"], 1_000_000_000_000_005_u64 + index as u64);
        assert_eq!(body["m"], body["n"].to_string());
        let mut ids = HashSet::new();
        for event in body["all"].as_array().unwrap() {
            assert_eq!(event["of"], key);
            assert_eq!(event["at"], body["at"]);
            assert_eq!(event["id"], event["again"]);
            ids.insert(event["id"].to_string());
        }
        assert_eq!(ids.len(), 3);
        for (now, then) in
            texts(&sent, sent.places_of(index)).iter().zip(texts(&before, before.places_of(index)))
        {
            assert_ne!(*now, then);
        }
    }
}

#[test]
fn a_repeat_refers_to_the_place_before_it() {
    let files = preset("[{{events}}]", r#"[{{uuid as request.id}},{{request.id}},{{now}}]"#, "");
    let sent = sent(&files, 3, 2);
    for index in 0..2 {
        let backs: Vec<u16> = sent
            .places_of(index)
            .iter()
            .filter_map(|place| match place.kind {
                Kind::Repeat { back, width } => {
                    assert_eq!(width, 36);
                    Some(back)
                }
                _ => None,
            })
            .collect();
        assert_eq!(backs, [1, 2, 1, 2, 1]);
    }
}

#[test]
fn a_name_may_mean_something_else_in_each_type() {
    let more = "[types.a]\nfields = '''\"v\":{{int(1,1) as v}},\"w\":{{v}}'''\n[types.b]\nfields = '''\"v\":{{int(2,2) as v}},\"w\":{{v}}'''";
    let files =
        |event: &str| Folder::new([("p.toml", &format!("path='/e'\n[event]\nbody='''{event}'''\n{more}"))]);
    for event in parsed(&sent(&files(r#"{"t":{{type}}{{fields}}}"#), 1, 50)) {
        let value = if event["t"] == "a" { 1 } else { 2 };
        assert_eq!((&event["v"], &event["w"]), (&value.into(), &value.into()));
    }
    let ambiguous = error(&files(r#"{"t":{{v}}{{fields}}}"#), 1);
    assert!(
        ambiguous.contains("v is something else in each of several types: bind it in [event]"),
        "{ambiguous}"
    );
}

#[test]
fn an_event_may_use_what_only_its_type_binds() {
    let file = "path='/e'\n[event]\nbody='''{\"id\":{{order}}{{fields}}}'''\n[types.a]\nfields='''\"o\":\"x{{int(1,999999) as order}}\"'''\n[types.b]\nfields='''\"o\":\"x{{ int(1,999999)  as order}}\"'''";
    for event in parsed(&sent(&Folder::new([("p.toml", file)]), 1, 50)) {
        assert_eq!(event["o"], format!("x{}", event["id"]));
    }
}

#[test]
fn what_is_drawn_once_an_event_means_nothing_around_a_batch() {
    let files = preset(r#"{"id":{{id}},"all":[{{events}}]}"#, r#"{"id":{{uuid as id}}}"#, "");
    let message = error(&files, 2);
    assert!(
        message.starts_with("p.toml, line 4, column 19: need a value of the request, id is drawn once an event and a batch has many: bind it as request.id\n"),
        "{message}"
    );
    // With one event the event is the request.
    let one = parsed(&sent(&files, 1, 5));
    assert!(one.iter().all(|body| body["id"] == body["all"][0]["id"]));
    // A name that no event uses is the request's own.
    let own = preset(r#"{"id":{{hex(4) as id}},"again":{{id}},"all":[{{events}}]}"#, "{}", "");
    assert!(parsed(&sent(&own, 3, 5)).iter().all(|body| body["id"] == body["again"]));
}

#[test]
fn wrong_scopes_are_refused_with_the_next_step() {
    for (event, says) in [
        (
            "{{uuid as user.id}}",
            "need users for user.id, there is no user(n) in any template: write {{user(1000)}}",
        ),
        ("[{{user(5)}},{{user(6)}}]", "need one number of users, got user(6) and user(5): use the same"),
        (
            "[{{user(5)}},{{now as user.t}}]",
            "need a value that stays a user's, this is another in every send",
        ),
        ("[{{user(5)}},{{seq as user.t}}]", "need a value that stays a user's"),
        (
            "{{request.id}}",
            "nothing is named request.id: write {{uuid as request.id}} where its value belongs first",
        ),
        (
            "[{{uuid as id}},{{hex(3) as id}}]",
            "need one meaning for id, it is already bound to uuid: choose another name",
        ),
        ("[{{uuid as id}},{{id as other}}]", "need a field to be named, id is a name already: use that"),
        ("[{{uuid as id}},{{url(id) as other}}]", "need a field to be named"),
        (
            r#"[{{uuid as id}},{{jwt('s',{"a":{{id}}})}}]"#,
            "need a value that stays, id is new in every send and a token or password is built once",
        ),
        (r#"[{{uuid as id}},{{basic(id,'p')}}]"#, "need a value that stays, id is new in every send"),
        (
            r#"[{{hex(3) as id}},{{jwt('s',{"a":{{id}}}) as request.t}}]"#,
            "need a value that stays as long as the name it is a part of, id is drawn more often",
        ),
        (r#"{{jwt('s',{"a":{{t}}}) as t}}"#, "need a value without itself in it"),
        (
            r#"[{{hex(3) as s}},{{jwt(s,{})}}]"#,
            "need a secret that is always the same: quote it, or name a setting",
        ),
    ] {
        let message = error(&preset("[{{events}}]", event, ""), 1);
        assert!(message.contains(says), "{event}: {message}");
    }

    let within: String =
        (0..5_000).map(|n| format!(r#"{{{{jwt('s',{{"a":{{{{t{}}}}}}}) as t{n}}}}},"#, n + 1)).collect();
    let deep = error(&preset("[{{events}}]", &format!("[{within}{{{{hex(3) as t5000}}}}]"), ""), 1);
    assert!(deep.contains("need at most 16 names within each other: use fewer"), "{deep}");
}
