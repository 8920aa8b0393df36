//! What a sink answers.

use std::fmt;
use std::str::FromStr;

use blaster_core::time::Nanos;

use crate::pace::{Latency, Pace, Retries, Service, Stall};

/// A profile and its modifiers.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The kind of server it plays.
    pub profile: Profile,
    /// Status of good answers, instead of the profile's own.
    pub status: Option<u16>,
    /// Close each connection after so many answers, announced in the last one as nginx does.
    pub close_after: Option<u64>,
    /// `event-api` names the ids of the events it accepted.
    pub echo: bool,
    /// `event-api` looks at every event, and answers 400 to those that are not as they should be.
    pub validate: bool,
    /// When and how it answers.
    pub pace: Pace,
    /// Freezes of the whole sink.
    pub stalls: Vec<Stall>,
    /// Repeats delays and faults.
    pub seed: u64,
    /// Every request is recorded, by one thread.
    pub record: bool,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The smallest answer to anything: 200 without a body.
    Null,
    /// A small fixed JSON answer to anything: 200 `{"status":"ok"}`.
    Control,
    /// An event ingestion API: `POST /events` takes an object or an array, answers 202 with their count.
    EventApi,
    /// `Control`, after 100 ms or so.
    HighLatency,
    /// `Control`, after 100 µs of work, one after another.
    HighCpu,
    /// `Control`; keeps some of every request for ever.
    MemoryLeak,
    /// `Control`, after 1 ms of work, one after another: 1,000 requests/s, and 250 once a queue of 200 ms has built up, until less than that
    /// is offered.
    Metastable,
}

impl Behaviour {
    /// A profile without modifiers.
    pub fn of(profile: Profile) -> Self {
        Self {
            profile,
            status: None,
            close_after: None,
            echo: false,
            validate: false,
            pace: profile.pace(),
            stalls: Vec::new(),
            seed: 1,
            record: false,
        }
    }
}

impl Profile {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("event-api", Self::EventApi),
        ("control", Self::Control),
        ("null", Self::Null),
        ("high-latency", Self::HighLatency),
        ("high-cpu", Self::HighCpu),
        ("memory-leak", Self::MemoryLeak),
        ("metastable", Self::Metastable),
    ];

    /// When it answers, if nothing else is asked.
    fn pace(self) -> Pace {
        let prompt = Pace::default();
        match self {
            Self::HighLatency => {
                Pace { latency: Some(Latency::Lognormal(Nanos::from_millis(100), 0.5)), ..prompt }
            }
            Self::HighCpu => {
                Pace { service: Some(Service { time: Nanos::from_micros(100), workers: 1 }), ..prompt }
            }
            Self::MemoryLeak => Pace { leak_bytes: 4096, ..prompt },
            Self::Metastable => Pace {
                service: Some(Service { time: Nanos::from_millis(1), workers: 1 }),
                retries: Some(Retries { count: 3, patience: Nanos::from_millis(200) }),
                ..prompt
            },
            Self::Null | Self::Control | Self::EventApi => prompt,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) =
            Self::ALL.iter().find(|(_, profile)| profile == self).expect("all profiles have a name");
        f.write_str(name)
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, profile)| *profile).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("no profile {text:?}: there are {}", names.join(", "))
        })
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Route {
    /// Answered from the profile, whatever it is.
    Any,
    Events,
    Health,
    Metrics,
    Hgrm,
    NotFound,
    WrongMethod,
}

impl Route {
    pub(crate) fn of(profile: Profile, method: &str, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or(path);
        match (profile, method, path) {
            (_, "GET", "/metrics") => Self::Metrics,
            (_, "GET", "/hgrm") => Self::Hgrm,
            (Profile::EventApi, "GET", "/health") => Self::Health,
            (Profile::EventApi, "POST", "/events") => Self::Events,
            (Profile::EventApi, _, "/events" | "/health" | "/metrics" | "/hgrm") => Self::WrongMethod,
            (Profile::EventApi, ..) => Self::NotFound,
            _ => Self::Any,
        }
    }

    pub(crate) fn from_index(index: u8) -> Self {
        [Self::Any, Self::Events, Self::Health, Self::Metrics, Self::Hgrm, Self::NotFound, Self::WrongMethod]
            [usize::from(index)]
    }
}

/// Reason phrases of the statuses a sink is likely to be asked for.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// Serializes an answer.
pub(crate) fn answer(status: u16, content_type: &str, body: &str, last: bool) -> Vec<u8> {
    let close = if last { "Connection: close\r\n" } else { "" };
    let reason = reason(status);
    // RFC 9110 sections 8.6 and 15.3.5: neither 1xx nor 204 carries Content-Length; 304 has no body.
    if status == 204 || status == 304 {
        return format!("HTTP/1.1 {status} {reason}\r\n{close}\r\n").into_bytes();
    }
    let content_type =
        if body.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    format!("HTTP/1.1 {status} {reason}\r\n{content_type}Content-Length: {}\r\n{close}\r\n{body}", body.len())
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_route() {
        assert_eq!(Route::of(Profile::EventApi, "POST", "/events?x=1"), Route::Events);
        assert_eq!(Route::of(Profile::EventApi, "GET", "/events"), Route::WrongMethod);
        assert_eq!(Route::of(Profile::EventApi, "GET", "/"), Route::NotFound);
        assert_eq!(Route::of(Profile::Null, "DELETE", "/x"), Route::Any);
        assert_eq!(Route::of(Profile::Null, "GET", "/metrics"), Route::Metrics);
        for route in [
            Route::Any,
            Route::Events,
            Route::Health,
            Route::Metrics,
            Route::Hgrm,
            Route::NotFound,
            Route::WrongMethod,
        ] {
            assert_eq!(Route::from_index(route as u8), route);
        }
    }

    #[test]
    fn an_unknown_profile_is_told_what_there_is() {
        assert!("nul".parse::<Profile>().unwrap_err().contains("event-api, control, null"));
    }
}
