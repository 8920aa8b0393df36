//! `blaster payloads`: what there is to send, what would be sent, what is wrong with a template.

use std::io::{self, Write};
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use blaster_core::plan::lanes::Lanes;
use blaster_core::report::units::{bytes, grouped};
use payloads::{Extent, FileKind, Files, PresetInfo, Requests, Serialized, Wish};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::cli::ShowArgs;
use crate::files::Disk;
use crate::output::{hanging, pad};
use crate::payload::TAPE_MEMORY_DEFAULT;
use crate::run;
use crate::settings::UsageError;

/// The requests of `payloads show`, ready to be printed.
pub struct Shown {
    serialized: Serialized,
    /// What stands above them, a line each.
    remarks: Vec<String>,
}

/// `payloads list`, for a screen of `width` characters.
pub fn list(width: usize) -> String {
    let presets = payloads::presets();
    let indent = presets.iter().map(|preset| preset.name.len()).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for preset in &presets {
        let path = preset.path.split('?').next().unwrap_or_default();
        let what = format!("{} · {} {path}", preset.about, preset.method);
        for line in hanging(&pad(&preset.name, indent), indent, &what, width) {
            text += &line;
            text.push('\n');
        }
    }
    text + "\nOne of them: blaster payloads show NAME [--batch N] [-n K] [--set NAME=VALUE]\n"
}

/// `payloads list --json`.
pub fn list_json() -> Value {
    let described = |preset: PresetInfo| {
        let share = |(name, weight)| json!({ "name": name, "weight": weight });
        json!({
            "name": preset.name,
            "about": preset.about,
            "method": preset.method,
            "path": preset.path,
            "documentation": preset.documentation,
            "ok": preset.ok,
            "acknowledged": preset.acknowledged,
            "limits": {
                "events": preset.limits.events,
                "event_bytes": preset.limits.event_bytes,
                "request_bytes": preset.limits.request_bytes,
            },
            "types": preset.types.into_iter().map(share).collect::<Vec<_>>(),
            "settings": preset.settings.into_iter().map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>(),
            "note": preset.note,
        })
    };
    json!({ "presets": payloads::presets().into_iter().map(described).collect::<Vec<_>>() })
}

/// `payloads show`: what would be sent, with new ids and times as a run would write them.
pub fn show(args: &ShowArgs, seed: u64, now_unix_ns: u64) -> Result<Shown, UsageError> {
    let own = args.payload.wish();
    let name = args.name.as_deref();
    if name.is_some() && (own.preset.is_some() || own.body.is_some() || own.body_folder.is_some()) {
        return Err(UsageError::ShownTwice);
    }
    let body = name.filter(|name| is_body(name)).map(|name| format!("@{name}"));
    let wish = Wish {
        preset: name.filter(|_| body.is_none()).or(own.preset),
        body: body.as_deref().or(own.body),
        method: args.method.as_deref(),
        path: args.path.as_deref().or(args.target.path.as_deref()),
        ..own
    };
    let requests = Requests::new(&wish, &Disk)?;
    let extent = Extent { requests: args.count as usize, bytes: usize::MAX, bytes_max: TAPE_MEMORY_DEFAULT };
    let mut serialized = requests.serialize(&args.target.host_header(), extent, seed, now_unix_ns)?;
    let mut fields = run::fields(&Lanes::whole(), seed);
    fields.set_time(now_unix_ns);
    fields.write(&mut serialized.bytes, 0, &serialized.places);
    // A mixture brings at least one of each size.
    serialized.requests.truncate(args.count as usize);
    let preset =
        wish.preset.and_then(|name| payloads::presets().into_iter().find(|preset| preset.name == name));
    let mut remarks: Vec<String> = preset.iter().flat_map(knobs).collect();
    remarks.extend(requests.note().map(str::to_owned));
    remarks.extend(requests.hint());
    Ok(Shown { serialized, remarks })
}

/// What can be changed about a preset, and how far.
fn knobs(preset: &PresetInfo) -> Vec<String> {
    let settings: Vec<_> = preset.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let types: Vec<_> = preset.types.iter().map(|(name, weight)| format!("{name}:{weight}")).collect();
    let limits = [
        preset.limits.events.map(|events| format!("{} events a request", grouped(events as u64))),
        preset.limits.event_bytes.map(|size| format!("{} an event", bytes(size as u64))),
        preset.limits.request_bytes.map(|size| format!("{} a request", bytes(size as u64))),
    ];
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    [("--set", settings), ("--events", types), ("at most", limits)]
        .into_iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(name, items)| format!("{name} {}", items.join(", ")))
        .collect()
}

/// Whether this is a file, and not one of a preset.
fn is_body(name: &str) -> bool {
    FileKind::of(name) != FileKind::Preset && (name.contains(['/', '.']) || Path::new(name).is_file())
}

/// `payloads check`: what the file is, in a line.
pub fn check(path: &str) -> Result<String, UsageError> {
    let content =
        Disk.read(path).map_err(|error| UsageError::CheckedFile { path: path.to_owned(), error })?;
    Ok(payloads::check(path, &content, &Disk)?)
}

/// `payloads check --json`.
pub fn check_json(path: &str, outcome: &Result<String, UsageError>) -> Value {
    match outcome {
        Ok(what) => json!({ "file": path, "ok": true, "what": what }),
        Err(error) => json!({ "file": path, "ok": false, "error": error.to_string() }),
    }
}

impl Shown {
    /// The bytes as they would be sent.
    pub fn raw(&self) -> &[u8] {
        let end = self.serialized.requests.last().map_or(0, |piece| piece.end);
        &self.serialized.bytes[..end]
    }

    /// For people, on a screen of `width` characters: heads as they are, JSON bodies laid out.
    pub fn pretty(&self, width: usize) -> String {
        let requests: Vec<String> = (0..self.serialized.requests.len())
            .map(|index| {
                let (head, body) = self.parts(index);
                let head = String::from_utf8_lossy(head).replace("\r\n", "\n");
                if body.is_empty() { head } else { format!("{head}\n\n{}", laid_out(body)) }
            })
            .collect();
        let remarks: Vec<String> =
            self.remarks.iter().flat_map(|remark| hanging("# ", 2, remark, width)).collect();
        let remarks = if remarks.is_empty() { String::new() } else { remarks.join("\n") + "\n\n" };
        format!("{remarks}{}\n", requests.join("\n\n"))
    }

    /// `payloads show --json`.
    pub fn json(&self) -> Value {
        let request = |index: usize| {
            let (head, body) = self.parts(index);
            let piece = self.serialized.requests[index];
            let head = String::from_utf8_lossy(head);
            let (request_line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
            let mut words = request_line.split(' ');
            let header = |line: &str| {
                let (name, value) = line.split_once(": ")?;
                Some(json!({ "name": name, "value": value }))
            };
            json!({
                "class": self.serialized.classes[usize::from(piece.class)],
                "events": piece.events,
                "method": words.next(),
                "path": words.next(),
                "headers": headers.split("\r\n").filter_map(header).collect::<Vec<_>>(),
                // Bytes that are no text, as base64.
                "body": str::from_utf8(body).ok(),
                "body_base64": str::from_utf8(body).err().map(|_| BASE64_STANDARD.encode(body)),
            })
        };
        json!({ "requests": (0..self.serialized.requests.len()).map(request).collect::<Vec<_>>() })
    }

    /// Head, without the empty line behind it, and body.
    fn parts(&self, index: usize) -> (&[u8], &[u8]) {
        let request = self.serialized.request(index);
        let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(request.len());
        (&request[..end], request.get(end + 4..).unwrap_or_default())
    }
}

/// JSON, or lines of it, each over several lines; what is no text is only counted.
fn laid_out(body: &[u8]) -> String {
    let Ok(text) = str::from_utf8(body) else { return format!("({} bytes that are no text)", body.len()) };
    let by_line = || text.lines().map(indented).collect::<Option<Vec<_>>>().map(|lines| lines.join("\n"));
    indented(text).or_else(by_line).unwrap_or_else(|| text.to_owned())
}

/// JSON over several lines, its members in the order they are sent in; none if it is not JSON.
fn indented(json: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(json).ok()?;
    let mut text = String::new();
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        if in_string {
            text.push(character);
            in_string = escaped || character != '"';
            escaped = character == '\\' && !escaped;
            continue;
        }
        let line = |depth: usize| format!("\n{}", "  ".repeat(depth));
        match character {
            ' ' | '\t' | '\r' | '\n' => continue,
            '{' | '[' => {
                text.push(character);
                while characters.peek().is_some_and(char::is_ascii_whitespace) {
                    characters.next();
                }
                if matches!(characters.peek(), Some('}' | ']')) {
                    text.extend(characters.next());
                } else {
                    depth += 1;
                    text += &line(depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                text += &line(depth);
                text.push(character);
            }
            ',' => text += &format!(",{}", line(depth)),
            ':' => text += ": ",
            _ => {
                text.push(character);
                in_string = character == '"';
            }
        }
    }
    Some(text)
}

/// Writes an answer to standard output (`-` or no path) or a file; whoever closed the pipe has seen enough.
pub fn write(path: Option<&Path>, bytes: &[u8]) -> io::Result<()> {
    if let Some(path) = path.filter(|path| path.as_os_str() != "-") {
        return std::fs::write(path, bytes);
    }
    let mut out = io::stdout();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_json_is_the_same_json_in_the_same_order() {
        let json = r#"{"b": [1,{"x":"a,\"{b}\\"} , [ ] ,{}],"a":null}"#;
        let text = indented(json).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            serde_json::from_str::<Value>(json).unwrap()
        );
        assert_eq!(
            text,
            "{\n  \"b\": [\n    1,\n    {\n      \"x\": \"a,\\\"{b}\\\\\"\n    },\n    [],\n    {}\n  ],\n  \"a\": null\n}"
        );
        assert_eq!(indented("{,}"), None);
    }
}
