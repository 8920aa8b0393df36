//! What there is to send without writing anything.

use crate::events::write_event;
use crate::{Error, Extent, Head, Serialized};
use payloads_fresh::{Rng, TimeFormat};

/// Requests as one well-known API takes them. Method and path are what [`Head::new`] wants unless the user says otherwise.
#[derive(Debug)]
pub struct Preset {
    /// What `--preset` calls it.
    pub name: &'static str,
    /// What it sends, in a line.
    pub about: &'static str,
    /// The method such an API takes.
    pub method: &'static str,
    /// The path such an API listens on.
    pub path: &'static str,
    /// The statuses that count as ok, as `--expect` would say it.
    pub ok: &'static str,
    content_type: &'static str,
    /// Appends one event that occurred at this moment.
    write_event: fn(&mut Vec<u8>, &mut Rng, &[u8]),
}

static PRESETS: [Preset; 1] = [Preset {
    name: "events",
    about: "analytics events of ten types, one JSON object a request",
    method: "POST",
    path: "/events",
    ok: "202",
    content_type: "application/json",
    write_event,
}];

/// All presets.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// The preset of that name.
pub fn preset(name: &str) -> Result<&'static Preset, Error> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| Error::UnknownPreset {
        name: name.to_owned(),
        known: PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", "),
    })
}

impl Preset {
    /// Requests with `head`, one event each, all of them different. The same `seed` and `now_unix_ms`, which is when the
    /// events say they occurred, give the same bytes; give each shard a seed of its own, or their events are the same.
    pub fn serialize(&self, head: &Head, extent: Extent, seed: u64, now_unix_ms: u64) -> Serialized {
        let mut rng = Rng::new(seed);
        let mut occurred_at = Vec::new();
        TimeFormat::Iso.append(&mut occurred_at, now_unix_ms * 1_000_000);
        let before_length = head.before_length(Some(self.content_type));
        let mut out = Serialized::new(self.name.to_owned());
        let mut body = Vec::with_capacity(1_024);
        for _ in 0..extent.requests.max(1) {
            body.clear();
            (self.write_event)(&mut body, &mut rng, &occurred_at);
            let length = format!("Content-Length: {}\r\n\r\n", body.len());
            let request_bytes = before_length.len() + length.len() + body.len();
            if !out.requests.is_empty() && out.bytes.len() + request_bytes > extent.bytes {
                break;
            }
            out.bytes.extend_from_slice(&before_length);
            out.bytes.extend_from_slice(length.as_bytes());
            out.bytes.extend_from_slice(&body);
            out.close(1);
        }
        // Growing by doubling may have left as much again unused.
        out.bytes.shrink_to_fit();
        out.requests.shrink_to_fit();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_preset_is_told_what_there_is() {
        let error = preset("event").unwrap_err().to_string();
        assert_eq!(error, "there is no preset \"event\": use one of events");
    }

    #[test]
    fn every_preset_is_found_by_its_name_and_has_a_head_that_can_be_sent() {
        for each in presets() {
            assert_eq!(preset(each.name).unwrap().name, each.name);
            Head::new(each.method, "api:3000", each.path, &[]).unwrap();
        }
    }
}
