//! The events of the `events` preset: what the clients of an analytics API send, in ten types drawn evenly.
//!
//! `eventId` is always 36 bytes and `occurredAt` always 24, so that both can be written anew in place before a send.
//! Everything is appended straight to the bytes: no value is built first, nothing is formatted twice.

use payloads_fresh::Rng;

/// What a type adds to `payload`, after the members all types have.
type Fields = fn(&mut Vec<u8>, &mut Rng);

const TYPES: [(&str, Fields); 10] = [
    ("page_view", page_view),
    ("button_click", button_click),
    ("form_submit", form_submit),
    ("purchase", purchase),
    ("add_to_cart", add_to_cart),
    ("remove_from_cart", remove_from_cart),
    ("search", search),
    ("video_play", video_play),
    ("video_pause", video_pause),
    ("session_start", |_, _| ()),
];

/// Browsers, apps and robots, so that lengths vary as they do on the web.
const USER_AGENTS: [&str; 12] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Android 15; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)",
    "Shop/5.12.0 (iPhone; iOS 18.1; Scale/3.00)",
    "Shop/5.12.0 (Android 14; Pixel 8)",
    "Dalvik/2.1.0 (Linux; U; Android 14; SM-S921B)",
    "Dart/3.5 (dart:io)",
    "okhttp/4.12.0",
];

/// First octets in public use: no private, loopback or multicast address can come out.
const FIRST_OCTETS: [u64; 16] = [2, 5, 24, 31, 46, 62, 73, 78, 81, 88, 91, 98, 109, 151, 185, 203];

const REFERRERS: [&str; 8] = [
    "",
    "https://www.google.com/",
    "https://www.bing.com/search?q=running+shoes",
    "https://duckduckgo.com/",
    "https://t.co/9XbQ2LmZ1c",
    "https://www.reddit.com/r/deals/",
    "https://shop.example.com/",
    "android-app://com.google.android.gm/",
];

const LABELS: [&str; 8] = [
    "Buy now",
    "Add to cart",
    "Sign up",
    "Learn \"more\"",
    "Continuer →",
    "In den Warenkorb legen für später",
    "続ける",
    "OK",
];

const CURRENCIES: [&str; 6] = ["USD", "EUR", "GBP", "JPY", "CHF", "BRL"];

const FORM_FIELDS: [&str; 8] =
    ["email", "password", "firstName", "lastName", "phone", "address", "company", "message"];

/// Appends one event as a JSON object, members in a fixed order.
pub(crate) fn write_event(out: &mut Vec<u8>, rng: &mut Rng, occurred_at: &[u8]) {
    let (name, fields) = rng.choice(&TYPES);
    out.extend_from_slice(br#"{"eventId":""#);
    out.extend_from_slice(&payloads_fresh::uuid([rng.bits(), rng.bits()]));
    out.extend_from_slice(br#"","userId":"user_"#);
    push_number(out, rng.below(1_000_000));
    out.extend_from_slice(br#"","sessionId":"session_"#);
    push_number(out, rng.below(100_000));
    out.extend_from_slice(br#"","type":""#);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(br#"","payload":{"userAgent":"#);
    push_string(out, rng.choice(&USER_AGENTS));
    out.extend_from_slice(br#","ip":""#);
    push_number(out, rng.choice(&FIRST_OCTETS));
    for end in [256, 256, 255] {
        out.push(b'.');
        push_number(out, rng.below(end));
    }
    out.push(b'"');
    fields(out, rng);
    out.extend_from_slice(br#"},"occurredAt":""#);
    out.extend_from_slice(occurred_at);
    out.extend_from_slice(br#""}"#);
}

fn page_view(out: &mut Vec<u8>, rng: &mut Rng) {
    push_id(out, br#","url":"/page/"#, rng.below(100));
    out.extend_from_slice(br#","referrer":"#);
    push_string(out, rng.choice(&REFERRERS));
}

fn button_click(out: &mut Vec<u8>, rng: &mut Rng) {
    push_id(out, br#","buttonId":"btn_"#, rng.below(50));
    out.extend_from_slice(br#","label":"#);
    push_string(out, rng.choice(&LABELS));
}

fn form_submit(out: &mut Vec<u8>, rng: &mut Rng) {
    push_id(out, br#","formId":"form_"#, rng.below(20));
    out.extend_from_slice(br#","fields":"#);
    let first = rng.below(FORM_FIELDS.len() as u64) as usize;
    let count = 1 + rng.below(4) as usize;
    let mut separator = b'[';
    for field in FORM_FIELDS.iter().cycle().skip(first).take(count) {
        out.push(separator);
        push_string(out, field);
        separator = b',';
    }
    out.push(b']');
}

fn purchase(out: &mut Vec<u8>, rng: &mut Rng) {
    let cents = 100 + rng.below(99_900);
    out.extend_from_slice(br#","amount":"#);
    push_number(out, cents / 100);
    out.extend_from_slice(&[b'.', b'0' + (cents / 10 % 10) as u8, b'0' + (cents % 10) as u8]);
    out.extend_from_slice(br#","currency":"#);
    push_string(out, rng.choice(&CURRENCIES));
    product_id(out, rng);
}

fn add_to_cart(out: &mut Vec<u8>, rng: &mut Rng) {
    product_id(out, rng);
    out.extend_from_slice(br#","quantity":"#);
    push_number(out, 1 + rng.below(5));
}

fn remove_from_cart(out: &mut Vec<u8>, rng: &mut Rng) {
    product_id(out, rng);
}

fn search(out: &mut Vec<u8>, rng: &mut Rng) {
    push_id(out, br#","query":"search_term_"#, rng.below(1_000));
    out.extend_from_slice(br#","results":"#);
    push_number(out, rng.below(100));
}

fn video_play(out: &mut Vec<u8>, rng: &mut Rng) {
    push_id(out, br#","videoId":"video_"#, rng.below(100));
    out.extend_from_slice(br#","position":0"#);
}

fn video_pause(out: &mut Vec<u8>, rng: &mut Rng) {
    push_id(out, br#","videoId":"video_"#, rng.below(100));
    out.extend_from_slice(br#","position":"#);
    push_number(out, rng.below(180));
}

fn product_id(out: &mut Vec<u8>, rng: &mut Rng) {
    push_id(out, br#","productId":"prod_"#, rng.below(500));
}

/// `before` opens a JSON string, which ends after the number.
fn push_id(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    push_number(out, number);
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A JSON string, quoted and escaped (RFC 8259, 7).
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_as_they_were() {
        let all: String =
            (0..0x250).filter_map(char::from_u32).chain("→続🎉\u{2028}\u{7f}".chars()).collect();
        for text in ["", "plain", "\"", "\\", "a\"b\\c/d\n\r\t\0\u{8}\u{c}\u{1f}", all.as_str()] {
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_read_back() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, 999_999, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
