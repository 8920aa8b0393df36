//! What is said about the mistakes people make: where it is, what was wanted, what is, and the next step.

mod support;

use payloads::{Error, Mix, Requests, Shares, Wish, check};
use support::Folder;

fn preset_error(file: &str) -> String {
    let files = Folder::new([("dir/p.toml", file)]);
    Requests::new(&Wish { preset: Some("dir/p.toml"), ..Wish::default() }, &files).unwrap_err().to_string()
}

fn check_error(name: &str, content: &[u8]) -> String {
    check(name, content, &Folder::default()).unwrap_err().to_string()
}

fn error(wish: &Wish<'_>) -> String {
    support::requests(wish).unwrap_err().to_string()
}

#[test]
fn an_unknown_preset_is_told_the_nearest_and_all_there_are() {
    let message = error(&Wish { preset: Some("event"), ..Wish::default() });
    assert!(
        message.starts_with("there is no preset \"event\", did you mean events?: use one of events, "),
        "{message}"
    );
    assert!(message.ends_with(", or the path of a file that ends in .toml"), "{message}");
    let strange = error(&Wish { preset: Some("zzzzzz"), ..Wish::default() });
    assert!(!strange.contains("did you mean"), "{strange}");
    let missing = error(&Wish { preset: Some("./mine.toml"), ..Wish::default() });
    assert!(missing.starts_with("cannot read ./mine.toml: "), "{missing}");
    assert!(missing.ends_with(": check the path and its permissions"), "{missing}");
}

#[test]
fn an_unknown_setting_or_type_is_told_the_nearest() {
    let files = Folder::new([("p.toml", "path='/'\n[settings]\nwrite_key='k'\n[event]\nbody='1'\n")]);
    let set = |name: &str| {
        let settings = [(name.to_owned(), "v".to_owned())];
        let wish = Wish { preset: Some("p.toml"), settings: &settings, ..Wish::default() };
        Requests::new(&wish, &files).unwrap_err().to_string()
    };
    assert_eq!(
        set("writekey"),
        "preset p has no setting \"writekey\", did you mean write_key?: use one of write_key"
    );
    let settings = [("a".to_owned(), "b".to_owned())];
    let none = error(&Wish { preset: Some("events"), settings: &settings, ..Wish::default() });
    assert_eq!(none, "preset events has no setting \"a\": it has no settings, leave --set out");
    let shares: Shares = "pageview:70".parse().unwrap();
    let typed = error(&Wish { preset: Some("events"), shares: Some(&shares), ..Wish::default() });
    assert!(
        typed.starts_with("preset events has no events of type \"pageview\", did you mean page_view?: use one of page_view, button_click, "),
        "{typed}"
    );
}

#[test]
fn a_broken_template_in_a_preset_is_shown_in_its_file() {
    let file = "about = \"x\"\npath = \"/\"\n[event]\nbody = '''\n{\n  \"id\": {{uid}}\n}\n'''\n";
    assert_eq!(
        preset_error(file).lines().next().unwrap().split(": use one of").next().unwrap(),
        "dir/p.toml, line 6, column 11: there is no field, setting or name uid, did you mean uuid?"
    );
    let lines: Vec<String> = preset_error(file).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(lines, ["  \"id\": {{uid}}", "          ^"]);
    let escaped = "path = \"/\"\n[event]\nbody = \"{\\\"id\\\":\\t{{uid}}}\"\n";
    assert!(
        preset_error(escaped).starts_with("dir/p.toml, line 3, column 21: there is no field"),
        "{}",
        preset_error(escaped)
    );
}

#[test]
fn whatever_is_wrong_in_a_preset_is_shown_where_it_stands() {
    for (file, says) in [
        (
            "path = '/'\nabuot = 'x'",
            "dir/p.toml, line 2, column 1: need a preset's file, unknown field `abuot`, expected one of `about`",
        ),
        (
            "path = '/'\n[event]\nbody = '1'\nweight = 2",
            "dir/p.toml, line 4, column 1: need a preset's file, unknown field `weight`",
        ),
        (
            "path = '/'\n[limits]\nevents = 'many'",
            "dir/p.toml, line 3, column 10: need a preset's file, invalid type",
        ),
        ("path = '/", "dir/p.toml, line 1, column 10: need a preset's file, "),
        ("about = 'x'", "dir/p.toml, line 1, column 1: need a preset's file, missing field `path`"),
        ("path = '/'\nmethod = 'P T'", "dir/p.toml, line 2, column 10: need a method of letters"),
        ("path = '/'\ncontent_type = \"a\\nb\"", "dir/p.toml, line 2, column 16: need a content type"),
        (
            "path = '/'\n[settings]\n\"a b\" = 'x'",
            "dir/p.toml, line 3, column 1: need a name of letters, digits and _, got \"a b\"",
        ),
        (
            "path = '/'\n[settings]\nuser = 'x'",
            "dir/p.toml, line 3, column 1: need a name of your own, got user, which is a field",
        ),
        (
            "path = '/'\n[lists]\na = []",
            "dir/p.toml, line 3, column 5: need something to choose from, got an empty list",
        ),
        (
            "path = '/'\n[lists]\na = [nan]",
            "dir/p.toml, line 3, column 5: need values that JSON has, got NaN",
        ),
        (
            "path = '/'\n[event]\nbody='1'\n[types.a]\nweight = 0.0",
            "dir/p.toml, line 5, column 10: need a weight above 0, got 0",
        ),
        ("path = '/'\n[types.a]", "dir/p.toml, line 2, column 8: need an [event] for the [types]"),
        ("path = '/'\n[batch]\nseparator=','", "dir/p.toml, line 1, column 1: need a body in [batch]"),
        (
            "path = '/'\n[event]\nbody='1'\n[batch]\nbody='[{{event}}]'",
            "dir/p.toml, line 5, column 7: need {{events}} in the body of [batch]",
        ),
        (
            "path = '/'\n[single]\nbody='[{{event}}]'",
            "dir/p.toml, line 3, column 7: need an [event], there is none",
        ),
        (
            "path = '/'\n[event]\nbody='[{{type}}]'",
            "dir/p.toml, line 3, column 8: need a type, there are none",
        ),
        (
            "path = '/'\n[event]\nbody='{\"a\":1{{fields}}}'",
            "dir/p.toml, line 3, column 7: need types for {{fields}}",
        ),
        (
            "path = '/'\n[event]\nbody='[]'\n[single]\nbody='{{{members}}}'",
            "dir/p.toml, line 5, column 9: need a field, got '{'",
        ),
        (
            "path = '/'\n[event]\nbody='[]'\n[single]\nbody='{ {{members}} }'",
            "dir/p.toml, line 3, column 7: need an event that begins with { and ends with }",
        ),
        (
            "path = '/'\n[event]\nbody='{}'\n[single]\nbody='\"{{event}}\"'",
            "dir/p.toml, line 5, column 8: need a place for JSON, this is inside a string",
        ),
        (
            "path = '/'\n[event]\nbody='{\"a\":1}}'",
            "dir/p.toml, line 3, column 14: need JSON, trailing characters",
        ),
        (
            "path = '/'\n[event]\nbody='{\"a\":1{{int(1,2)}}}'",
            "dir/p.toml, line 3, column 13: need JSON, expected",
        ),
        ("path = '/'\n[event]\nbody='{ {{int(1,2)}}: 1}'", "dir/p.toml, line 3, column 9: need JSON, "),
        (
            "path = '/'\n[event]\nbody='[\"\\{{uuid}}\"]'",
            "dir/p.toml, line 3, column 9: need text before a field, got a backslash",
        ),
        (
            "path = '/'\n[event]\nbody='{\"a\":1 {{fields}} }'\n[types.a]\nfields=',\"b\":2'",
            "dir/p.toml, line 5, column 9: need JSON, ",
        ),
        (
            "path = '/'\n[event]\nbody='{\"a\":1 {{fields}} }'\n[types.a]\nfields='\"b\":2}'",
            "dir/p.toml, line 5, column 14: need JSON, trailing characters",
        ),
        (
            "path = '/'\n[event]\nbody='[{{choice(refs)}}]'\n[lists]\nref=[1]",
            "dir/p.toml, line 3, column 10: there is no list refs, did you mean ref?: use one of ref",
        ),
        (
            "path = '/'\n[event]\nbody='[{{ref}}]'\n[lists]\nref=[1]",
            "dir/p.toml, line 3, column 10: ref is a list: write {{choice(ref)}}",
        ),
        (
            "path = '/'\n[event]\nbody='[{{event}}]'",
            "dir/p.toml, line 3, column 10: event cannot stand here: it is for other parts of a preset",
        ),
        (
            "path = '/'\n[settings]\na='1'\n[event]\nbody='[{{uuid as uuid}}]'",
            "dir/p.toml, line 5, column 18: need a name of your own, got uuid",
        ),
        (
            "path = '/'\nheaders = ['X: {{choice(bad)}}']\n[lists]\nbad = [\"a\\r\\nb\"]",
            "dir/p.toml, line 2, column 18: need a value without control characters in a header, \"a\\r\\nb\" holds '\\r'",
        ),
    ] {
        let message = preset_error(file);
        assert!(message.starts_with(says), "{file}:\n{message}\nrather than\n{says}");
    }
}

#[test]
fn a_setting_cannot_break_a_header_apart() {
    let files = Folder::new([("p.toml", "path='/{{key}}'\nheaders=['X: {{key}}']\n[settings]\nkey='k'\n")]);
    let settings = [("key".to_owned(), "a\r\nX-Evil: b".to_owned())];
    let wish = Wish { preset: Some("p.toml"), settings: &settings, ..Wish::default() };
    let message = Requests::new(&wish, &files).unwrap_err().to_string();
    assert!(message.contains("which would break the request apart: remove it"), "{message}");
}

#[test]
fn what_is_typed_is_shown_with_its_flag() {
    let headers = ["X-A: b {{uid}}".to_owned()];
    let header = error(&Wish { headers: &headers, ..Wish::default() });
    assert!(
        header.starts_with("--header, line 1, column 10: there is no field, setting or name uid"),
        "{header}"
    );
    assert!(header.ends_with("\n  X-A: b {{uid}}\n           ^"), "{header}");
    let path = error(&Wish { path: Some("/a/{{int(5,1)}}"), ..Wish::default() });
    assert!(path.starts_with("--path, line 1, column 6: need int(a,b) with a <= b, got int(5,1)"), "{path}");
    let datetime = error(&Wish { path: Some("/{{now(datetime)}}"), ..Wish::default() });
    assert!(datetime.contains("need a time without a space in a URL, got now(datetime)"), "{datetime}");
    let unclosed = error(&Wish { path: Some("/{{uuid"), ..Wish::default() });
    assert!(unclosed.contains("--path, line 1, column 2: need }} at the end of this field"), "{unclosed}");
}

#[test]
fn the_texts_for_paths_headers_and_lengths_say_the_next_step() {
    assert_eq!(
        error(&Wish { path: Some("/a é"), ..Wish::default() }),
        "path \"/a é\" holds ' ' at byte 2, which cannot be sent as it is: percent-encode it as %20"
    );
    assert_eq!(
        error(&Wish { path: Some("/a\r\nb"), ..Wish::default() }),
        "path \"/a\\r\\nb\" holds '\\r' at byte 2, which cannot be sent as it is: percent-encode it as %0D"
    );
    assert_eq!(
        error(&Wish { path: Some("events"), ..Wish::default() }),
        "need a path such as /events, got \"events\": begin it with / and leave out scheme and host"
    );
    let header = |line: &str| error(&Wish { headers: &[line.to_owned()], ..Wish::default() });
    assert_eq!(
        header("X-A: b\r\nc"),
        "the value of header X-A holds '\\r', which would break the request apart: remove it"
    );
    assert_eq!(
        header("content-length: 5"),
        "header Content-Length cannot be set: the length of every body is sent right by itself, so leave it out"
    );
}

#[test]
fn files_that_cannot_be_sent_are_named() {
    let files = Folder::new([
        ("empty.json", ""),
        ("blank.jsonl", "\n\r\n \t\n"),
        ("bad.jsonl", "{}\n\n[1,]\n"),
        ("dup.json", "{\"a\": 1,}"),
        ("picks.json", "[{{pick('empty.json')}},{{pick('none')}}]"),
        ("lost.json", "[{{pick('none')}}]"),
    ]);
    let of = |body: &str| {
        Requests::new(&Wish { body: Some(body), ..Wish::default() }, &files).unwrap_err().to_string()
    };
    assert_eq!(of("@empty.json"), "need something to send, empty.json is empty: fill it or leave it out");
    assert_eq!(
        of("@blank.jsonl"),
        "need one request body a line, blank.jsonl has no line that is not blank: check the file"
    );
    assert!(
        of("@bad.jsonl").starts_with(
            "bad.jsonl, line 3: need JSON, trailing comma in column 4: correct or remove the line"
        ),
        "{}",
        of("@bad.jsonl")
    );
    assert!(of("@dup.json").starts_with("dup.json, line 1, column 9: need JSON, "), "{}", of("@dup.json"));
    assert_eq!(of("@picks.json"), "need something to send, empty.json is empty: fill it or leave it out");
    assert!(of("@lost.json").starts_with("cannot read none: "));
    assert!(of("@nowhere").starts_with("cannot read nowhere: "));
}

#[test]
fn bytes_that_are_no_text_are_named_by_line_and_column() {
    for name in ["t.json", "p.toml", "t.jsonl"] {
        let message = check_error(name, b"[\"a\"]\n[\"\xc3(\"]");
        let says =
            format!("{name}, line 2, column 3: need UTF-8, got the byte 0xc3: save the file as UTF-8\n");
        assert!(message.starts_with(&says), "{message}");
    }
}

#[test]
fn batches_over_a_limit_are_refused_at_once() {
    let files = Folder::new([(
        "seg.toml",
        "path='/'\n[limits]\nevents=2500\n[batch]\nbody='[{{events}}]'\n[event]\nbody='1'\n",
    )]);
    let mix: Mix = "5000".parse().unwrap();
    let wish = Wish { preset: Some("seg.toml"), mix: Some(&mix), ..Wish::default() };
    let refused = Requests::new(&wish, &files).unwrap_err();
    assert!(matches!(refused, Error::BatchOverLimit { .. }));
    assert!(
        refused.to_string().starts_with("seg takes at most 2,500 events a request, --batch asks 5,000: ")
    );
}
