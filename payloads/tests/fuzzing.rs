//! The fuzz targets over mutations of what is valid, from a seed that repeats.

use payloads::fresh::Rng;
use payloads::fuzz::{fuzz_mix, fuzz_preset, fuzz_template};

const TEMPLATES: [&str; 12] = [
    r#"{"a":{{uuid as id}},"b":"x{{id}}","c":{{now(unix_ms)}},"d":[{{int(-5,5)}},{{float(0,1.5,2)}}]}"#,
    r#"{"s":{{seq}},"t":{{text(12)}},"h":"{{hex(9)}}","u":{{user(50)}},"w":{{weighted('a':70,"b\"":5,3:1)}}}"#,
    r#"["{{url(choice('a b',1,{"k":[1,"}}"]}))}}",{{choice(true,null,'é')}},{{pick('f')}}]"#,
    r#"{"t":{{jwt('secret', {"sub":"user_{{user(9)}}","iat":{{now(unix)}},"x":{"y":{}}})}}}"#,
    r#"{{basic('user','password')}}"#,
    r#"{"a":{{uuid as request.id}},"b":{{hex(4) as user.h}},"c":{{user(3)}},"d":{{user.h}},"e":{{request.id}}}"#,
    r#"{{ '{{' }}{{"\"\\'"}}"#,
    "{\n  \"a\" : {{\n now ( datetime ) \n}}\n}",
    "a/b?c={{url(text(5))}}&d=%20{{int(1,2)}}",
    "[1]\n[2]\r\n\n{\"a\":\"b\"}",
    "plain text, é → 🎉",
    "{{now}}{{now(iso)}}{{now(unix)}}{{now(unix_us)}}{{now(unix_ns)}}",
];

const MIXES: [&str; 6] =
    ["10", "1:100,10:10,100:3", "4294967295:1", "page_view:70,purchase:5", "a:0.5,b:1.25", "$x:y:1"];

const PRESETS: [&str; 3] = [
    include_str!("../presets/events.toml"),
    include_str!("../presets/ndjson.toml"),
    r#"
path = "/{{tenant}}/e?u={{user(9)}}"
ok = "200-204,409"
headers = ["Authorization: Bearer {{jwt(key,{'sub':1})}}", "X-Id: {{uuid as request.id}}"]
[limits]
events = 100
[settings]
key = "k"
tenant = "a/b"
[lists]
many = ["x", 1, [2, "y"], { z = true }]
[single]
path = "/one"
body = '{ "count": {{count}}, {{members}} }'
[batch]
body = '''{ "all": [{{events}}], "id": {{request.id}} }'''
separator = ","
[event]
body = "{ \"type\": {{type}}, \"m\": {{choice(many)}} {{fields}} }"
[types.a]
weight = 3
fields = '"x": {{uuid as v}}, "y": "{{v}}"'
[types.b]
"#,
];

/// Pieces that mean something, to be put where they may not belong.
const TOKENS: [&str; 24] = [
    "{{",
    "}}",
    "{{{",
    "}}}",
    "\"",
    "'",
    "\\",
    "(",
    ")",
    ",",
    ":",
    " as ",
    "request.",
    "user.",
    "{{uuid}}",
    "{{x}}",
    "{{user(7)}}",
    "{{'\r\n'}}",
    "[",
    "{",
    "\r\n",
    "\0",
    "\u{feff}",
    "'''",
];

#[test]
fn no_template_panics_or_breaks_what_it_is_in() {
    let mut rng = Rng::new(1);
    for template in TEMPLATES {
        fuzz_template(template.as_bytes());
        for _ in 0..300 {
            fuzz_template(&mutated(&mut rng, template.as_bytes(), &TEMPLATES));
        }
    }
}

#[test]
fn no_preset_panics_or_breaks_what_it_is_in() {
    let mut rng = Rng::new(2);
    for (preset, count) in PRESETS.into_iter().zip([40, 20, 600]) {
        fuzz_preset(preset.as_bytes());
        for _ in 0..count {
            fuzz_preset(&mutated(&mut rng, preset.as_bytes(), &TEMPLATES));
        }
    }
}

#[test]
fn no_mix_panics_and_each_reads_as_it_is_written() {
    let mut rng = Rng::new(3);
    for mix in MIXES {
        fuzz_mix(mix.as_bytes());
        for _ in 0..2_000 {
            fuzz_mix(&mutated(&mut rng, mix.as_bytes(), &MIXES));
        }
    }
}

/// The same with one to four changes: bytes changed, taken out, doubled, or pieces put in.
fn mutated(rng: &mut Rng, valid: &[u8], others: &[&str]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let end = (at + rng.below(8) as usize).min(bytes.len());
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] = rng.bits() as u8,
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            3 => bytes.truncate(at),
            4 => {
                let other = choice(rng, others).as_bytes();
                let from = rng.below(other.len() as u64) as usize;
                drop(bytes.splice(at..end, other[from..].to_vec()));
            }
            _ => drop(bytes.splice(at..at, choice(rng, &TOKENS).bytes())),
        }
    }
    bytes
}

fn choice<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.below(of.len() as u64) as usize]
}
