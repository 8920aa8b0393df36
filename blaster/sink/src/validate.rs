//! Looks at every event of a body: is it one that a client of the event API sends?
//!
//! A body is parsed straight into the members that an event must have, nothing is kept. Only when that fails is it read again, event
//! by event, to say how many are wrong and what is wrong with the first.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::kept::KEPT_BYTES_MAX;

/// The problem of a body that is neither an object nor an array.
pub(crate) const NO_EVENTS: &str = "want a JSON object or an array of them";

/// The types, and the members that `payload` has besides `userAgent` and `ip`.
const TYPES: [(&str, &[&str]); 10] = [
    ("page_view", &["url", "referrer"]),
    ("button_click", &["buttonId", "label"]),
    ("form_submit", &["formId", "fields"]),
    ("purchase", &["amount", "currency", "productId"]),
    ("add_to_cart", &["productId", "quantity"]),
    ("remove_from_cart", &["productId"]),
    ("search", &["query", "results"]),
    ("video_play", &["videoId", "position"]),
    ("video_pause", &["videoId", "position"]),
    ("session_start", &[]),
];

/// The longest problem told, in characters: what was sent may be quoted in it.
const PROBLEM_CHARS_MAX: usize = 300;

/// What became of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) valid: u64,
    /// A body that cannot be read as events is one.
    pub(crate) invalid: u64,
    /// There is one if and only if something is invalid.
    pub(crate) first_problem: Option<String>,
    /// The largest distance between a valid event's `occurredAt` and when it came.
    pub(crate) skew_ms_max: u64,
    /// Valid events for which it is more than [`FAR_MS`].
    pub(crate) far: u64,
}

/// A clock in milliseconds and a request on its way take as much; what is beyond was held up.
pub(crate) const FAR_MS: u64 = 2;

/// Milliseconds since 1970-01-01T00:00:00Z by the wall clock, which is what `occurredAt` is held against.
pub(crate) fn unix_ms_now() -> i64 {
    // A clock before 1970 is one that was never set: any distance to it is wrong.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Checks a body, an object or an array of objects; none is one that was too large to keep.
pub(crate) fn check(body: Option<&[u8]>, received_unix_ms: i64) -> Findings {
    let mut findings = Findings::default();
    let Some(body) = body else {
        findings.blame(format!("the body is larger than {KEPT_BYTES_MAX} bytes"));
        return findings;
    };
    let found = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(body).is_ok_and(|Object(event): Object<Event<'_>>| {
            findings.tally(event.check(received_unix_ms)).is_ok()
        }),
        Some(b'[') => {
            let mut json = serde_json::Deserializer::from_slice(body);
            let read = json.deserialize_seq(Tally { findings: &mut findings, received_unix_ms });
            read.and_then(|()| json.end()).is_ok()
        }
        _ => {
            findings.blame(NO_EVENTS.to_owned());
            return findings;
        }
    };
    if found { findings } else { check_each(body, received_unix_ms) }
}

/// The same for a body with something wrong in it.
#[cold]
fn check_each(body: &[u8], received_unix_ms: i64) -> Findings {
    let mut findings = Findings::default();
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let events: Result<Vec<&RawValue>, _> = if is_object {
        serde_json::from_slice(body).map(|one| vec![one])
    } else {
        serde_json::from_slice(body)
    };
    match events {
        Ok(events) => {
            for (index, event) in events.into_iter().enumerate() {
                let checked = serde_json::from_str::<Object<Event<'_>>>(event.get())
                    .map_err(|error| error.to_string())
                    .and_then(|Object(event)| event.check(received_unix_ms))
                    .map_err(|problem| format!("event {}: {problem}", index + 1));
                if let Err(problem) = findings.tally(checked) {
                    findings.blame(problem);
                }
            }
        }
        Err(error) => findings.blame(format!("the body is no JSON: {error}")),
    }
    findings
}

impl Findings {
    /// Counts an event that is valid, and lets pass what is wrong with one that is not.
    fn tally(&mut self, checked: Result<u64, String>) -> Result<(), String> {
        let skew_ms = checked?;
        self.valid += 1;
        self.skew_ms_max = self.skew_ms_max.max(skew_ms);
        self.far += u64::from(skew_ms > FAR_MS);
        Ok(())
    }

    /// Counts something invalid.
    fn blame(&mut self, mut problem: String) {
        self.invalid += 1;
        if self.first_problem.is_none() {
            if let Some((end, _)) = problem.char_indices().nth(PROBLEM_CHARS_MAX) {
                problem.truncate(end);
                problem.push('…');
            }
            self.first_problem = Some(problem);
        }
    }
}

/// Reads an array, up to the first event that is invalid.
struct Tally<'f> {
    findings: &'f mut Findings,
    received_unix_ms: i64,
}

impl<'de> Visitor<'de> for Tally<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(Object(event)) = events.next_element::<Object<Event<'de>>>()? {
            self.findings.tally(event.check(self.received_unix_ms)).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

/// An object, where what is derived would take an array of the members as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for AnObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(AnObject(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    payload: Object<Payload>,
    #[serde(borrow)]
    occurred_at: Cow<'a, str>,
}

impl Event<'_> {
    /// How far from `received_unix_ms` it says that it occurred, or what is wrong with it.
    fn check(&self, received_unix_ms: i64) -> Result<u64, String> {
        let Self { event_id, user_id, session_id, kind, payload, occurred_at } = self;
        if !is_uuid_v4(event_id) {
            return Err(format!("eventId {event_id:?} is no version-4 UUID"));
        }
        if user_id.is_empty() || session_id.is_empty() {
            return Err(format!("{} is empty", if user_id.is_empty() { "userId" } else { "sessionId" }));
        }
        let Some((kind, members)) = TYPES.iter().find(|(name, _)| name == kind) else {
            let names = TYPES.map(|(name, _)| name).join(", ");
            return Err(format!("type {kind:?} is none of {names}"));
        };
        for (name, is_there) in payload.0.members() {
            match (is_there, members.contains(&name)) {
                (false, true) => return Err(format!("payload of {kind} lacks {name}")),
                (true, false) => return Err(format!("payload of {kind} has {name}, which is not its own")),
                _ => {}
            }
        }
        match unix_ms(occurred_at) {
            Some(occurred) => Ok(occurred.abs_diff(received_unix_ms)),
            None => Err(format!("occurredAt {occurred_at:?} is no time like 2026-01-31T23:59:59.999Z")),
        }
    }
}

/// What `payload` may hold; only what is there and of which JSON type matters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Payload {
    #[serde(rename = "userAgent")]
    _user_agent: Text,
    #[serde(rename = "ip")]
    _ip: Text,
    #[serde(default, deserialize_with = "there")]
    url: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    referrer: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    button_id: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    label: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    form_id: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    fields: Option<Vec<Text>>,
    #[serde(default, deserialize_with = "there")]
    amount: Option<f64>,
    #[serde(default, deserialize_with = "there")]
    currency: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    product_id: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    quantity: Option<u64>,
    #[serde(default, deserialize_with = "there")]
    query: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    results: Option<u64>,
    #[serde(default, deserialize_with = "there")]
    video_id: Option<Text>,
    #[serde(default, deserialize_with = "there")]
    position: Option<u64>,
}

impl Payload {
    /// Which of the members that belong to types are there.
    fn members(&self) -> [(&'static str, bool); 14] {
        [
            ("url", self.url.is_some()),
            ("referrer", self.referrer.is_some()),
            ("buttonId", self.button_id.is_some()),
            ("label", self.label.is_some()),
            ("formId", self.form_id.is_some()),
            ("fields", self.fields.is_some()),
            ("amount", self.amount.is_some()),
            ("currency", self.currency.is_some()),
            ("productId", self.product_id.is_some()),
            ("quantity", self.quantity.is_some()),
            ("query", self.query.is_some()),
            ("results", self.results.is_some()),
            ("videoId", self.video_id.is_some()),
            ("position", self.position.is_some()),
        ]
    }
}

/// A member that is there; `null` is not taken for one that is not.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Some string.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl Visitor<'_> for AnyText {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}

/// RFC 9562 section 5.4, in its text form.
fn is_uuid_v4(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => *byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Milliseconds since 1970 of a time in the one form that `Date.toISOString` of browsers gives.
fn unix_ms(text: &str) -> Option<i64> {
    const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
    let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let is_formed = bytes.iter().zip(FORM).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    if !is_formed {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + number(20, 23))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, years counted from March (Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    365 * year + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use payloads::{Extent, NoFiles, Requests, Wish};
    use serde_json::{Value, json};

    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR_MS: i64 = 1_767_225_600_000;

    /// Events as the preset makes them, of all types.
    fn preset_events() -> Vec<Value> {
        let wish = Wish { preset: Some("events"), ..Wish::default() };
        let extent = Extent { requests: 400, bytes: 1 << 20, bytes_max: 1 << 20 };
        let requests = Requests::new(&wish, &NoFiles).unwrap();
        let requests = requests.serialize("sink", extent, 1, NEW_YEAR_MS as u64 * 1_000_000).unwrap();
        (0..requests.requests.len())
            .map(|index| {
                let request = requests.request(index);
                let body = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
                serde_json::from_slice(&request[body..]).unwrap()
            })
            .collect()
    }

    fn event() -> Value {
        json!({
            "eventId": "01234567-89ab-4def-b012-3456789abcdE",
            "userId": "user_1",
            "sessionId": "session_1",
            "type": "search",
            "payload": {"userAgent": "a \"browser\"", "ip": "1.2.3.4", "query": "shoes", "results": 7},
            "occurredAt": "2026-01-01T00:00:00.250Z",
        })
    }

    fn check_value(body: &Value) -> Findings {
        check(Some(body.to_string().as_bytes()), NEW_YEAR_MS)
    }

    fn problem_of(body: &Value) -> String {
        let findings = check_value(body);
        assert_eq!((findings.valid, findings.invalid), (0, 1), "{body}: {findings:?}");
        findings.first_problem.unwrap()
    }

    #[test]
    fn every_event_of_the_preset_is_valid() {
        let events = preset_events();
        let types: std::collections::BTreeSet<_> =
            events.iter().map(|event| event["type"].to_string()).collect();
        assert_eq!(types.len(), TYPES.len());
        for event in &events {
            assert_eq!(check_value(event), Findings { valid: 1, ..Findings::default() });
        }
        let all = events.len() as u64;
        assert_eq!(check_value(&events.into()), Findings { valid: all, ..Findings::default() });
    }

    #[test]
    fn skew_is_the_largest_distance_in_either_direction() {
        let at = |time: &str| {
            let mut event = event();
            event["occurredAt"] = time.into();
            event
        };
        let (before, after) = (at("2025-12-31T23:59:59.600Z"), at("2026-01-01T00:00:00.399Z"));
        let both = check_value(&json!([before, after]));
        assert_eq!((both.skew_ms_max, both.far), (400, 2));
        assert_eq!(check_value(&json!([after])).skew_ms_max, 399);
        assert_eq!(check_value(&json!([])), Findings::default());
    }

    #[test]
    fn an_invalid_member_is_named() {
        for (pointer, value, wanted) in [
            ("/eventId", json!("01234567-89ab-1def-b012-3456789abcde"), "eventId \"01234567-89ab-1def-b012-"),
            ("/eventId", json!("01234567-89ab-4def-c012-3456789abcde"), "is no version-4 UUID"),
            ("/eventId", json!("01234567-89ab-4def-b012-3456789abcdg"), "is no version-4 UUID"),
            ("/eventId", json!("0123456789ab4defb0123456789abcde"), "is no version-4 UUID"),
            ("/eventId", json!(7), "invalid type: integer `7`, expected a string"),
            ("/userId", json!(""), "userId is empty"),
            ("/sessionId", json!(""), "sessionId is empty"),
            ("/sessionId", json!(null), "invalid type: null"),
            ("/type", json!("click"), "type \"click\" is none of page_view, button_click"),
            ("/type", json!({"search": null}), "invalid type: map"),
            ("/type", json!("page_view"), "payload of page_view lacks url"),
            ("/type", json!("session_start"), "payload of session_start has query, which is not its own"),
            ("/payload", json!({"userAgent": "a", "ip": "b"}), "payload of search lacks query"),
            ("/payload", json!({"ip": "b", "query": "c", "results": 1}), "missing field `userAgent`"),
            ("/payload", json!(["a", "b", "c", "d"]), "invalid type: sequence, expected an object"),
            ("/payload/ip", json!(1), "expected a string"),
            ("/payload/results", json!("7"), "expected u64"),
            ("/payload/results", json!(null), "expected u64"),
            ("/payload/query", json!(null), "expected a string"),
            (
                "/occurredAt",
                json!("2026-01-01T00:00:00Z"),
                "occurredAt \"2026-01-01T00:00:00Z\" is no time like",
            ),
            ("/occurredAt", json!("2026-02-29T00:00:00.000Z"), "is no time like"),
        ] {
            let mut event = event();
            *event.pointer_mut(pointer).unwrap() = value;
            let problem = problem_of(&event);
            assert!(problem.starts_with("event 1: ") && problem.contains(wanted), "{pointer}: {problem}");
        }
    }

    #[test]
    fn members_are_exactly_those_of_an_event() {
        for name in ["eventId", "userId", "sessionId", "type", "payload", "occurredAt"] {
            let mut event = event();
            event.as_object_mut().unwrap().remove(name);
            assert!(problem_of(&event).contains(&format!("missing field `{name}`")));
        }
        for parent in ["", "/payload"] {
            let mut event = event();
            event.pointer_mut(parent).unwrap()["more"] = json!(1);
            assert!(problem_of(&event).contains("unknown field `more`"));
        }
        let twice = event().to_string().replacen('{', "{\"userId\":\"a\",", 1);
        let findings = check(Some(twice.as_bytes()), NEW_YEAR_MS);
        assert!(findings.first_problem.unwrap().contains("duplicate field `userId`"));
    }

    #[test]
    fn each_invalid_event_of_a_batch_is_counted_and_the_first_is_told() {
        let mut wrong = event();
        wrong["userId"] = "".into();
        let findings = check_value(&json!([event(), wrong, ["a", "b"], event(), {}]));
        assert_eq!((findings.valid, findings.invalid, findings.skew_ms_max), (2, 3, 250));
        assert_eq!(findings.first_problem.as_deref(), Some("event 2: userId is empty"));
    }

    #[test]
    fn what_is_no_json_is_one_invalid_event() {
        let event = event().to_string();
        for (body, wanted) in [
            (String::new(), NO_EVENTS),
            ("\"text\"".to_owned(), NO_EVENTS),
            (format!("{event}{event}"), "the body is no JSON: trailing characters"),
            (format!("[{event},]"), "the body is no JSON: trailing comma"),
            (format!("[{event}"), "the body is no JSON: EOF"),
            (format!("[{event}]]"), "the body is no JSON: trailing characters"),
            (event.replace("shoes", "sho\nes"), "control character"),
        ] {
            let findings = check(Some(body.as_bytes()), NEW_YEAR_MS);
            assert_eq!((findings.valid, findings.invalid), (0, 1), "{body}");
            assert!(findings.first_problem.unwrap().contains(wanted), "{body}");
        }
        assert_eq!(check(Some(&[b"{\"\xff\"", &event.as_bytes()[1..]].concat()), NEW_YEAR_MS).invalid, 1);
        assert!(check(None, NEW_YEAR_MS).first_problem.unwrap().contains("larger than 10485760 bytes"));
    }

    #[test]
    fn a_problem_does_not_quote_at_length() {
        let mut event = event();
        event["eventId"] = "é".repeat(10_000).into();
        assert_eq!(problem_of(&event).chars().count(), PROBLEM_CHARS_MAX + 1);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00.000Z", Some(0)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2000-02-29T00:00:00.001Z", Some(951_782_400_001)),
            ("2026-01-01T00:00:00.000Z", Some(NEW_YEAR_MS)),
            ("2026-12-31T23:59:59.999Z", Some(1_798_761_599_999)),
            ("0000-03-01T00:00:00.000Z", Some(-719_468 * 86_400_000)),
            ("1900-02-29T00:00:00.000Z", None),
            ("2026-13-01T00:00:00.000Z", None),
            ("2026-00-01T00:00:00.000Z", None),
            ("2026-04-31T00:00:00.000Z", None),
            ("2026-04-00T00:00:00.000Z", None),
            ("2026-01-01T24:00:00.000Z", None),
            ("2026-01-01T00:60:00.000Z", None),
            ("2026-01-01T00:00:60.000Z", None),
            ("2026-01-01 00:00:00.000Z", None),
            ("2026-01-01T00:00:00.000+", None),
            ("2026-01-01T00:00:00.+00Z", None),
        ] {
            assert_eq!(unix_ms(text), wanted, "{text}");
        }
        let mut days = 0;
        for (year, month) in (1970..2400).flat_map(|year| (1..=12).map(move |month| (year, month))) {
            assert_eq!(days_since_1970(year, month, 1), days);
            days += days_of(year, month);
        }
    }
}
