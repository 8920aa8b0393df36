//! A JSON report, read as any other tool would: by the names of the contract.

use serde_json::Value;

/// Errors of the contract, by kind.
pub const KINDS: [&str; 5] = ["reset", "closed", "timeout", "malformed", "aborted"];

/// A report.
#[derive(Debug)]
pub struct Report(Value);

impl Report {
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Whatever is at a JSON pointer.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or_else(|| panic!("the report has no {pointer}"))
    }

    /// A number of the report.
    pub fn count(&self, pointer: &str) -> u64 {
        number(self.at(pointer))
    }

    pub fn sent(&self) -> u64 {
        self.count("/requests/sent")
    }

    pub fn ok(&self) -> u64 {
        self.count("/requests/ok")
    }

    pub fn error(&self, kind: &str) -> u64 {
        self.count(&format!("/requests/errors/{kind}"))
    }

    /// All errors.
    pub fn errors(&self) -> u64 {
        errors(self.at("/requests"))
    }

    /// Answers with this status.
    pub fn status(&self, status: u16) -> u64 {
        self.at("/requests/status").get(status.to_string()).map_or(0, number)
    }

    /// How often a connection was opened, the first time and again.
    pub fn connects(&self) -> u64 {
        self.count("/connections/opened") + self.count("/connections/reopened")
    }

    /// Every request sent came to this end, and some were sent.
    pub fn assert_all(&self, pointer: &str) {
        assert_eq!(self.count(pointer), self.sent(), "all are to be {pointer}: {:#}", self.at("/requests"));
        assert_ne!(self.sent(), 0, "nothing was sent");
    }

    /// The identities of the contract: for the run, every class, the warm-up and every interval.
    pub fn check_identities(&self) {
        check_requests(self.at("/requests"), "the run");
        let sum = |rows: &Value, key: &str| {
            rows.as_array().expect("rows").iter().map(|row| number(&row[key])).sum()
        };
        for class in self.at("/classes").as_array().expect("classes") {
            check_requests(&class["requests"], &format!("class {}", class["name"]));
        }
        if let Some(requests) = self.at("/warmup").get("requests") {
            check_requests(requests, "the warm-up");
        }
        let (mut backlog, mut in_flight) = (0, 0);
        for row in self.at("/intervals").as_array().expect("intervals") {
            let get = |key: &str| number(&row[key]);
            assert_eq!([get("backlog_start"), get("in_flight_start")], [backlog, in_flight], "{row}");
            (backlog, in_flight) = (get("backlog_end"), get("in_flight_end"));
            assert_eq!(
                get("backlog_start") + get("scheduled"),
                get("sent") + get("unsent") + backlog,
                "what is due: {row}"
            );
            assert_eq!(
                get("in_flight_start") + get("sent"),
                get("ok") + get("unexpected_status") + get("errors") + in_flight,
                "what is sent: {row}"
            );
        }
        for key in ["scheduled", "sent", "completed", "ok", "unexpected_status"] {
            let run = self.count(&format!("/requests/{key}"));
            let intervals: u64 = sum(self.at("/intervals"), key);
            assert_eq!(intervals, run, "{key} of all intervals");
            let classes = self.at("/classes").as_array().expect("classes").iter();
            assert_eq!(
                classes.map(|class| number(&class["requests"][key])).sum::<u64>(),
                run,
                "{key} of all classes"
            );
        }
        assert_eq!(sum(self.at("/intervals"), "errors"), self.errors(), "errors of all intervals");
        assert_eq!(in_flight, self.count("/requests/in_flight_at_end"));
    }
}

fn check_requests(requests: &Value, whose: &str) {
    let get = |key: &str| number(&requests[key]);
    let unsent = number(&requests["unsent"]["backlog"]) + number(&requests["unsent"]["stopped"]);
    assert_eq!(get("scheduled"), get("sent") + unsent, "what is due in {whose}: {requests:#}");
    let ended = get("ok") + get("unexpected_status") + errors(requests);
    assert_eq!(get("sent"), ended + get("in_flight_at_end"), "what is sent in {whose}: {requests:#}");
    assert_eq!(get("completed"), get("ok") + get("unexpected_status"), "answers in {whose}: {requests:#}");
    let statuses: u64 = requests["status"].as_object().expect("statuses").values().map(number).sum();
    assert_eq!(statuses, get("completed"), "statuses in {whose}: {requests:#}");
}

fn errors(requests: &Value) -> u64 {
    KINDS.iter().map(|kind| number(&requests["errors"][kind])).sum()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}
