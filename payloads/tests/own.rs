//! Requests of the user's own: heads that cannot be broken apart, and bodies as they were given.

mod support;

use std::collections::HashSet;

use payloads::{BYTES_MAX, Encoding, Error, Extent, Requests, Serialized, Wish};
use support::{Folder, NOW_UNIX_NS, bodies, serialize, split};

const FEW: Extent = Extent { requests: 5, bytes: 1 << 20, bytes_max: BYTES_MAX };
const AGENT: &str = concat!("User-Agent: blaster/", env!("CARGO_PKG_VERSION"), "\r\n");

fn sent(wish: &Wish<'_>, files: &Folder, extent: Extent, seed: u64) -> Result<Serialized, Error> {
    Requests::new(wish, files)?.serialize("h", extent, seed, NOW_UNIX_NS)
}

fn few(wish: &Wish<'_>) -> Vec<String> {
    let sent = sent(wish, &Folder::default(), FEW, 1).unwrap();
    (0..sent.requests.len()).map(|index| String::from_utf8(sent.request(index).to_vec()).unwrap()).collect()
}

fn head_with(lines: &[&str]) -> Result<String, Error> {
    let headers: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let sent = sent(&Wish { headers: &headers, ..Wish::default() }, &Folder::default(), FEW, 1)?;
    Ok(split(&sent)[0].0.to_owned() + "\r\n")
}

#[test]
fn a_request_is_a_get_of_the_root_unless_told_otherwise() {
    assert_eq!(few(&Wish::default()), vec![format!("GET / HTTP/1.1\r\nHost: h\r\n{AGENT}\r\n"); 5]);
    let told = Wish { method: Some("put"), path: Some("/a?b=c"), body: Some("x"), ..Wish::default() };
    let one = format!("PUT /a?b=c HTTP/1.1\r\nHost: h\r\n{AGENT}Content-Length: 1\r\n\r\nx");
    assert_eq!(few(&told), vec![one; 5]);
    let sent = sent(&told, &Folder::default(), FEW, 1).unwrap();
    assert_eq!(sent.classes, ["PUT /a?b=c"]);
    assert!(sent.requests.iter().all(|piece| piece.events == 0 && piece.places_end == 0));
    assert_eq!(sent.requests.last().unwrap().end, sent.bytes.len());
}

#[test]
fn what_is_asked_can_be_told() {
    let of = |wish: &Wish<'_>| support::requests(wish).unwrap();
    let get = of(&Wish::default());
    assert_eq!((get.method(), get.path(), get.describe().as_str()), ("GET", "/", "GET"));
    assert_eq!((get.ok(), get.acknowledged(), get.note(), get.mean_events()), (None, None, None, None));
    let post = of(&Wish {
        body: Some("x"),
        path: Some("/{{uuid}}"),
        encoding: Some(Encoding::Gzip),
        ..Wish::default()
    });
    assert_eq!((post.method(), post.path(), post.describe().as_str()), ("POST", "/{{uuid}}", "POST, gzip"));
    assert_eq!(post.encoding(), Some(Encoding::Gzip));
    assert!(of(&Wish { method: Some("head"), ..Wish::default() }).answers_without_body());
    assert!(!get.answers_without_body());
    assert_eq!(of(&Wish { method: Some("Purge"), ..Wish::default() }).method(), "Purge");
}

#[test]
fn a_missing_body_is_told_only_where_one_is_usual() {
    let silent = ["GET", "HEAD", "DELETE", "OPTIONS"].map(|method| (method, ""));
    let told = ["POST", "PUT", "PATCH"].map(|method| (method, "Content-Length: 0\r\n"));
    for (method, length) in silent.into_iter().chain(told) {
        let one = format!("{method} / HTTP/1.1\r\nHost: h\r\n{AGENT}{length}\r\n");
        assert_eq!(few(&Wish { method: Some(method), ..Wish::default() }), vec![one; 5]);
    }
    let empty = few(&Wish { method: Some("GET"), body: Some(""), ..Wish::default() });
    assert!(empty[0].ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn the_users_headers_replace_ours_in_any_case() {
    let own = ["hOST: other", "user-agent:  me \t", "X-A: 1", "x-a: 2", "Connection: close", "X-Empty:"];
    assert_eq!(
        head_with(&own).unwrap(),
        "GET / HTTP/1.1\r\nHost: other\r\nuser-agent: me\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\nX-Empty: \r\n"
    );
    let headers = ["content-type: text/plain".to_owned()];
    let typed = few(&Wish { body: Some("{}"), headers: &headers, ..Wish::default() });
    assert!(typed[0].contains("content-type: text/plain\r\nContent-Length: 2\r\n\r\n{}"));
    assert!(!typed[0].contains("application/json"));
    assert!(head_with(&["Host: tenant-{{int(1,3)}}.example:80"]).unwrap().contains("Host: tenant-"));
}

#[test]
fn nothing_typed_can_break_a_request_apart() {
    for value in ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "a\x7fb", "a\r\n"] {
        let line = format!("X-A: {value}");
        assert!(matches!(head_with(&[&line]), Err(Error::HeaderValue { .. })), "{value:?}");
        let field = format!("X-A: {{{{'{value}'}}}}");
        assert!(matches!(head_with(&[&field]), Err(Error::At(_))), "{value:?}");
    }
    for name in ["", "X A", "X\r\nA", "X\0", "X(", "Überschrift", " X", "X ", "{{uuid}}"] {
        assert!(matches!(head_with(&[&format!("{name}: a")]), Err(Error::HeaderName(_))), "{name:?}");
    }
    let path = |path| support::requests(&Wish { path: Some(path), ..Wish::default() });
    for broken in ["/a b", "/a\r\nX: y", "/\0", "/a\tb", "/é", "/a#b", "/\x7f", "/{{uuid}} b"] {
        assert!(matches!(path(broken), Err(Error::Path { .. })), "{broken:?}");
    }
    for start in ["", "a", "?a", "http://h/", "*", "{{uuid}}"] {
        assert!(matches!(path(start), Err(Error::PathStart(_))), "{start:?}");
    }
    for method in ["", "GE T", "GET\r\n", "GET /x HTTP/1.1\r\n", "\0"] {
        let wish = Wish { method: Some(method), ..Wish::default() };
        assert!(matches!(support::requests(&wish), Err(Error::Method(_))), "{method:?}");
    }
    for host in ["", "a b", "a\r\nX: y", "http://a", "user@a", "a/b", "a,b"] {
        let sent = support::requests(&Wish::default()).unwrap().serialize(host, FEW, 1, NOW_UNIX_NS);
        assert_eq!(sent, Err(Error::Host(host.to_owned())));
        assert!(matches!(head_with(&[&format!("Host: {host}")]), Err(Error::Host(_))), "{host:?}");
    }
    for host in ["{{text(5)}}", "{{choice('a b')}}", "{{basic('a','bc')}}", "{{now(datetime)}}"] {
        assert!(matches!(head_with(&[&format!("Host: {host}")]), Err(Error::At(_))), "{host:?}");
    }
}

#[test]
fn where_a_request_ends_is_not_for_the_user_to_say() {
    for line in ["Content-Length: 5", "content-length:0", "TRANSFER-ENCODING: chunked"] {
        assert!(matches!(head_with(&[line]), Err(Error::Framing(_))), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert_eq!(head_with(&["no colon"]), Err(Error::HeaderShape("no colon".into())));
    assert_eq!(head_with(&["Host: a", "host: a"]), Err(Error::HostTwice));
    let refused = |wish: &Wish<'_>| support::requests(wish).unwrap_err();
    assert_eq!(refused(&Wish { method: Some("connect"), ..Wish::default() }), Error::Connect);
    let both = Wish { body: Some("x"), body_folder: Some("f"), ..Wish::default() };
    assert_eq!(refused(&both), Error::BodyAndFolder);
    let preset = Wish { preset: Some("events"), body: Some("x"), ..Wish::default() };
    assert_eq!(refused(&preset), Error::PresetAndBody);
    let mix = "10".parse().unwrap();
    assert_eq!(refused(&Wish { mix: Some(&mix), ..Wish::default() }), Error::OnlyPresets("--batch"));
    let shares = "a:1".parse().unwrap();
    assert_eq!(refused(&Wish { shares: Some(&shares), ..Wish::default() }), Error::OnlyPresets("--events"));
    let settings = [("a".to_owned(), "b".to_owned())];
    assert_eq!(refused(&Wish { settings: &settings, ..Wish::default() }), Error::OnlyPresets("--set"));
}

#[test]
fn json_is_called_so_unless_a_name_says_otherwise() {
    let files =
        Folder::new([("a.json", "{}"), ("b", "[1]"), ("c.txt", "{}"), ("d.xml", "<a/>"), ("e.bin", "x")]);
    let content_type = |body: &str| {
        let sent = serialize(&Wish { body: Some(body), ..Wish::default() }, &files, 1, 1).unwrap();
        let head = split(&sent)[0].0.to_owned();
        head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).map(str::to_owned)
    };
    let json = Some("application/json".to_owned());
    for body in ["{}", " \n[1]", "@a.json", "@b"] {
        assert_eq!(content_type(body), json, "{body}");
    }
    for body in ["a=1", "", "  ", "@e.bin"] {
        assert_eq!(content_type(body), None, "{body}");
    }
    assert_eq!(content_type("@c.txt").unwrap(), "text/plain");
    assert_eq!(content_type("@d.xml").unwrap(), "application/xml");
}

#[test]
fn a_typed_body_is_no_template_and_a_json_file_is_one() {
    assert!(few(&Wish { body: Some("{{uuid}}"), ..Wish::default() })[0].ends_with("\r\n\r\n{{uuid}}"));
    let files = Folder::new([("a.json", "[{{int(7,7)}}]"), ("a.txt", "{{uuid}}")]);
    let body = |body| serialize(&Wish { body: Some(body), ..Wish::default() }, &files, 1, 1).unwrap();
    assert_eq!(bodies(&body("@a.json")), ["[7]"]);
    assert_eq!(bodies(&body("@a.txt")), ["{{uuid}}"]);
}

#[test]
fn a_field_that_nobody_fills_in_is_told() {
    let files = Folder::new([
        ("a.json", "[{{uuid}}]"),
        ("a.txt", "x {{ now }}"),
        ("a.jsonl", "[\"{{seq}}\"]\n"),
        ("f/1.json", "[{{uuid}}]"),
        ("f/2.xml", "<a>{{hex(4)}}</a>"),
        ("b.html", "{{name}}"),
    ]);
    let of = |wish: &Wish<'_>| Requests::new(wish, &files).unwrap().hint();
    let body = |body| of(&Wish { body: Some(body), ..Wish::default() });
    assert_eq!(
        body("{\"id\":\"{{uuid}}\"}").unwrap(),
        "the body holds {{uuid}}, which is sent as it is: put it into a .json file and give --body @FILE"
    );
    assert_eq!(
        body("@a.txt").unwrap(),
        "a.txt holds {{ now }}, which is sent as it is: name it .json to have it filled in"
    );
    assert_eq!(
        body("@a.jsonl").unwrap(),
        "a.jsonl holds {{seq}}, which is sent as it is: put each line into a .json file of its own and give --body-dir FOLDER"
    );
    assert_eq!(
        of(&Wish { body_folder: Some("f"), ..Wish::default() }).unwrap(),
        "f/2.xml holds {{hex(4)}}, which is sent as it is: name it .json to have it filled in"
    );
    for silent in ["@a.json", "@b.html", "{}", ""] {
        assert_eq!(body(silent), None, "{silent}");
    }
    assert_eq!(of(&Wish::default()), None);
    assert_eq!(of(&Wish { preset: Some("events"), ..Wish::default() }), None);
}

#[test]
fn every_line_is_a_request_and_is_sent_as_often_as_the_others() {
    let file = "\u{feff}{\"a\":1}\r\n\n  \r\n[2, 3]\n\"{{uuid}}\"";
    let files = Folder::new([("f.jsonl", file)]);
    let wish = Wish { body: Some("@f.jsonl"), ..Wish::default() };
    let of = |requests| {
        let sent = sent(&wish, &files, Extent { requests, ..FEW }, 1).unwrap();
        assert!(split(&sent).iter().all(|(head, _)| head.contains("Content-Type: application/json\r\n")));
        bodies(&sent).iter().map(|body| (*body).to_owned()).collect::<Vec<_>>()
    };
    let cycle = ["{\"a\":1}", "[2, 3]", "\"{{uuid}}\""];
    assert_eq!(of(1), cycle);
    assert_eq!(of(3), cycle);
    assert_eq!(of(8), [cycle, cycle].concat());
}

#[test]
fn lines_are_shuffled_by_the_seed_in_whole_turns() {
    let lines: Vec<String> = (0..50).map(|line| line.to_string()).collect();
    let files = Folder::new([("f.jsonl", &lines.join("\n"))]);
    let wish = Wish { body: Some("@f.jsonl"), shuffle: true, ..Wish::default() };
    let of = |seed| {
        let sent = sent(&wish, &files, Extent { requests: 150, ..FEW }, seed).unwrap();
        bodies(&sent).iter().map(|body| (*body).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let turns: Vec<Vec<String>> = of(1).chunks(50).map(<[String]>::to_vec).collect();
    assert_ne!(turns[0], turns[1]);
    for turn in turns {
        assert_ne!(turn, lines);
        assert_eq!(turn.into_iter().collect::<HashSet<_>>(), lines.iter().cloned().collect());
    }
}

#[test]
fn every_file_of_a_folder_is_sent_in_the_order_of_their_names() {
    let files = Folder::new([
        ("f/1.json", "{\"n\":{{int(1,1)}}}"),
        ("f/2.jsonl", "[1]\n[2]\n"),
        ("f/3.xml", "<a/>"),
        ("f/4.bin", "{}"),
        ("other", "no"),
    ]);
    let wish = Wish { body_folder: Some("f"), ..Wish::default() };
    let sent = sent(&wish, &files, Extent { requests: 11, ..FEW }, 1).unwrap();
    let once = ["{\"n\":1}", "[1]", "[2]", "<a/>", "{}"];
    assert_eq!(bodies(&sent), [once, once].concat());
    let types: Vec<Option<&str>> = split(&sent)
        .iter()
        .take(5)
        .map(|(head, _)| head.lines().find_map(|line| line.strip_prefix("Content-Type: ")))
        .collect();
    let json = Some("application/json");
    assert_eq!(types, [json, json, json, Some("application/xml"), None]);
    let none = Wish { body_folder: Some("empty"), ..Wish::default() };
    assert_eq!(support::requests(&none).unwrap_err(), Error::EmptyFolder("empty".into()));
}

#[test]
fn bytes_bound_the_requests_but_each_body_always_comes_out() {
    let files = Folder::new([("f.jsonl", &"1234567890\n".repeat(10)), ("t.json", "{{hex(1000)}}")]);
    for body in ["@f.jsonl", "@t.json"] {
        let wish = Wish { body: Some(body), ..Wish::default() };
        let turn = sent(&wish, &files, Extent { requests: 1, bytes: 0, ..FEW }, 1).unwrap();
        let count = turn.requests.len();
        assert_eq!(count, if body == "@t.json" { 1 } else { 10 });
        let bytes = 3 * turn.bytes.len() + 1;
        let some = sent(&wish, &files, Extent { requests: 1_000, bytes, ..FEW }, 1).unwrap();
        assert_eq!(some.requests.len(), 3 * count);
        assert_eq!(some.requests.last().unwrap().end, some.bytes.len());
        assert!(some.bytes.capacity() <= some.bytes.len() + some.bytes.len() / 10);
    }
}

#[test]
fn a_tape_over_the_limit_is_refused() {
    let files = Folder::new([("big", &"x".repeat(5_000))]);
    let wish = Wish { body: Some("@big"), ..Wish::default() };
    let small = Extent { requests: 5, bytes: 1_000, bytes_max: 4_000 };
    let error = sent(&wish, &files, small, 1).unwrap_err().to_string();
    assert_eq!(
        error,
        "need 5000 bytes to hold each body once with its head, the limit is 4000: send smaller bodies or fewer lines and files"
    );
    let all = Extent { requests: 5, bytes: usize::MAX, bytes_max: 20_000 };
    let error = sent(&wish, &files, all, 1).unwrap_err().to_string();
    assert!(
        error.starts_with("need 253") && error.contains("bytes to hold all requests, the limit is 20000: "),
        "{error}"
    );
}

#[test]
fn a_body_that_is_cut_short_before_it_is_compressed_is_refused() {
    let files = Folder::new([("t.json", "[{{hex(3000)}},{{hex(3000)}}]")]);
    let wish = Wish { body: Some("@t.json"), encoding: Some(Encoding::Gzip), ..Wish::default() };
    let fits = Extent { requests: 1, bytes: 0, bytes_max: 6_100 };
    assert!(sent(&wish, &files, fits, 1).is_ok());
    let error = sent(&wish, &files, Extent { bytes_max: 6_000, ..fits }, 1).unwrap_err().to_string();
    assert!(error.ends_with(" bytes to hold a body before it is compressed, the limit is 6000: send smaller bodies or fewer lines and files"), "{error}");
}

#[test]
fn requests_without_number_are_refused_before_there_is_no_memory() {
    for body in [None, Some("x")] {
        let wish = Wish { body, ..Wish::default() };
        let all = Extent { requests: usize::MAX, bytes: usize::MAX, bytes_max: 1 << 20 };
        let error = sent(&wish, &Folder::default(), all, 1).unwrap_err();
        assert!(matches!(error, Error::TooLarge { needed, .. } if needed > 1 << 60), "{error}");
        let some = Extent { requests: usize::MAX, bytes: 1 << 16, bytes_max: usize::MAX };
        let sent = sent(&wish, &Folder::default(), some, 1).unwrap();
        assert!(sent.bytes.len() <= 1 << 16 && sent.bytes.len() > (1 << 16) - 200);
    }
}

#[test]
fn bodies_are_compressed_whole() {
    use std::io::Read;
    let text = "{\"a\":\"{{uuid}}\"}".repeat(100);
    let files = Folder::new([("t.json", &format!("[{{{{uuid}}}},\"{}\"]", "x".repeat(2_000)))]);
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        for body in [text.as_str(), "@t.json"] {
            let plain = Wish { body: Some(body), ..Wish::default() };
            let wish = Wish { encoding: Some(encoding), ..plain };
            let plain = sent(&plain, &files, FEW, 1).unwrap();
            let sent = sent(&wish, &files, FEW, 1).unwrap();
            assert!(sent.places.is_empty() && sent.bytes.len() < plain.bytes.len() / 2);
            for index in 0..5 {
                let request = sent.request(index);
                let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
                let head = str::from_utf8(&request[..end]).unwrap();
                let encoded = &request[end + 4..];
                assert!(head.contains(&format!("Content-Encoding: {encoding}\r\n")));
                assert!(head.ends_with(&format!("Content-Length: {}", encoded.len())));
                let mut decoded = String::new();
                match encoding {
                    Encoding::Gzip => {
                        flate2::read::GzDecoder::new(encoded).read_to_string(&mut decoded).unwrap()
                    }
                    Encoding::Zstd => zstd::stream::read::Decoder::new(encoded)
                        .unwrap()
                        .read_to_string(&mut decoded)
                        .unwrap(),
                };
                assert_eq!(decoded, bodies(&plain)[index]);
            }
        }
    }
    let pixel = Folder::new([("p.toml", "path='/'\nmethod='GET'\n")]);
    for preset in [None, Some("p.toml")] {
        let bare = Wish { preset, encoding: Some(Encoding::Gzip), ..Wish::default() };
        let error = Requests::new(&bare, &pixel).unwrap_err();
        assert_eq!(error, Error::NothingToCompress);
        assert_eq!(
            error.to_string(),
            "--encoding compresses bodies, and these requests have none: leave it out"
        );
    }
}

#[test]
fn json_that_no_reader_takes_is_refused() {
    for line in ["{\"a\":\"\\ud800\"}", "{\"a\":1e999}"] {
        for name in ["rows.jsonl", "one.json"] {
            let files = Folder::new([(name, line)]);
            let body = format!("@{name}");
            let wish = Wish { body: Some(&body), ..Wish::default() };
            assert!(Requests::new(&wish, &files).is_err(), "{name}: {line}");
        }
    }
}

#[test]
fn bodies_are_encoded_as_one_place_says() {
    let headers = ["content-encoding: br".to_owned()];
    let wish =
        Wish { body: Some("{}"), headers: &headers, encoding: Some(Encoding::Gzip), ..Wish::default() };
    let error = Requests::new(&wish, &Folder::default()).unwrap_err().to_string();
    assert!(error.contains("--encoding gzip") && error.contains("leave one out"), "{error}");
}
