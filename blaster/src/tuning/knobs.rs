//! `tuning/knobs.conf`: the one list of what matters, as the scripts have it too.

use std::collections::BTreeMap;

use super::Needs;
use super::expression::{Expression, Name, grouped};

/// The list itself.
pub const LIST: &str = include_str!("../../../tuning/knobs.conf");

/// Where a value is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A name below `/proc/sys`.
    Sysctl(String),
    /// The hard limit of the process that will run: `nofile` or `memlock`.
    Limit(String),
    /// A pattern of files.
    File(String),
    /// Something of the interface with the default route.
    Nic(String),
    /// Bytes that are available.
    Memory,
    /// Percent of CPU time that the hypervisor gave to others.
    Stolen,
    /// Always this.
    Number(i64),
}

/// What of a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A number.
    Number,
    /// `LOW HIGH`: how many that are.
    Span,
    /// The last of three numbers.
    Third,
    /// A word, or several.
    Words,
    /// Ports, as in `80,8080-8090`.
    Ports,
}

/// What is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// At least this, and never more than the second.
    Least(Expression, Option<i64>),
    /// At most this.
    Most(Expression),
    /// One of these.
    Is(Vec<String>),
    /// This word among those that are there.
    Has(String),
    /// All ports that somebody listens on.
    Listeners,
}

/// One thing of a machine that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knob {
    /// What it is called.
    pub name: String,
    /// Where it is read.
    pub source: Source,
    /// What of it counts.
    pub form: Form,
    /// For plans where the first is above the second, all of them.
    when: Vec<(Expression, Expression)>,
    /// Only where this is above 0.
    pub only: Option<Source>,
    /// What is wanted.
    pub wish: Wish,
    /// Apply changes it.
    pub applies: bool,
    /// The plan cannot work while it is not as wanted.
    pub stops: bool,
    /// Other programs feel a change.
    pub shared: bool,
    /// What it comes to, `{}` to be filled.
    means: String,
    /// What somebody may do about it, likewise.
    fix: String,
    /// Why it matters.
    pub why: String,
    /// The kernel that brought it.
    pub since: Option<String>,
    /// What can go wrong.
    pub danger: Option<String>,
}

/// A list that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("knob \"{knob}\": {problem}")]
pub struct ListError {
    knob: String,
    problem: String,
}

/// All knobs of the list.
pub fn parse(list: &str) -> Result<Vec<Knob>, ListError> {
    let lines = list.lines().map(str::trim_end).filter(|line| !line.starts_with('#'));
    let mut blocks: Vec<Vec<(&str, &str)>> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        if line.is_empty() {
            goes_on = false;
            continue;
        }
        if !goes_on {
            blocks.push(Vec::new());
            goes_on = true;
        }
        blocks.last_mut().expect("one was pushed").push(line.split_once(' ').unwrap_or((line, "")));
    }
    blocks.iter().map(|block| knob(block)).collect()
}

const KEYS: [&str; 18] = [
    "knob", "from", "as", "when", "only", "least", "enough", "most", "is", "has", "listeners", "set", "act", "stops", "shared",
    "means", "fix", "since",
];

fn knob(block: &[(&str, &str)]) -> Result<Knob, ListError> {
    let keys: BTreeMap<&str, &str> = block.iter().copied().collect();
    let get = |key: &str| keys.get(key).copied();
    let name = get("knob").unwrap_or("without a name").to_owned();
    let wrong = |problem: String| ListError { knob: name.clone(), problem };
    if let Some(key) = keys.keys().find(|key| !KEYS.contains(key) && !["why", "danger"].contains(key)) {
        return Err(wrong(format!("there is no key \"{key}\"")));
    }
    let text = |key: &str| get(key).map(str::to_owned).ok_or_else(|| wrong(format!("it wants \"{key}\"")));
    let expression = |text: &str| {
        Expression::parse(text).map_err(|word| wrong(format!("\"{word}\" in \"{text}\" means nothing")))
    };
    let when = block.iter().filter(|(key, _)| *key == "when").map(|(_, condition)| {
        let (more, less) = condition.split_once(" > ").ok_or_else(|| wrong("\"when\" wants A > B".to_owned()))?;
        Ok((expression(more)?, expression(less)?))
    });
    let source = |text: &str| source(text).ok_or_else(|| wrong(format!("nobody knows how to read \"{text}\"")));
    let wish = if let Some(least) = get("least") {
        Wish::Least(expression(least)?, get("enough").and_then(|number| number.parse().ok()))
    } else if let Some(most) = get("most") {
        Wish::Most(expression(most)?)
    } else if let Some(words) = get("is") {
        Wish::Is(words.split(' ').map(str::to_owned).collect())
    } else if let Some(word) = get("has") {
        Wish::Has(word.to_owned())
    } else if get("listeners").is_some() {
        Wish::Listeners
    } else {
        return Err(wrong("nothing is wanted of it".to_owned()));
    };
    let form = match get("as") {
        None if matches!(wish, Wish::Is(_)) => Form::Words,
        None | Some("number") => Form::Number,
        Some("span") => Form::Span,
        Some("third") => Form::Third,
        Some("word" | "words") => Form::Words,
        Some("ports") => Form::Ports,
        Some(form) => return Err(wrong(format!("there is no form \"{form}\""))),
    };
    Ok(Knob {
        source: source(&text("from")?)?,
        form,
        when: when.collect::<Result<_, _>>()?,
        only: get("only").map(source).transpose()?,
        wish,
        applies: text("act")? == "apply",
        stops: get("stops").is_some(),
        shared: get("shared").is_some(),
        means: text("means")?,
        fix: get("fix").unwrap_or_default().to_owned(),
        why: get("why").unwrap_or_default().to_owned(),
        since: get("since").map(str::to_owned),
        danger: get("danger").map(str::to_owned),
        name,
    })
}

fn source(text: &str) -> Option<Source> {
    let (kind, argument) = text.split_once(' ')?;
    let argument = argument.to_owned();
    Some(match kind {
        "sysctl" => Source::Sysctl(argument),
        "limit" => Source::Limit(argument),
        "file" => Source::File(argument),
        "nic" => Source::Nic(argument),
        "memory" => Source::Memory,
        "stolen" => Source::Stolen,
        "number" => Source::Number(argument.parse().ok()?),
        _ => return None,
    })
}

impl Knob {
    /// Whether such a plan has anything to do with it.
    pub fn concerns(&self, needs: &Needs) -> bool {
        let value = |expression: &Expression| expression.calculate(|name| needs.value(name)).unwrap_or(0);
        self.when.iter().all(|(more, less)| value(more) > value(less))
    }

    /// The wanted number, if it is one.
    pub fn wanted(&self, needs: &Needs) -> Option<i64> {
        let value = |expression: &Expression| expression.calculate(|name| needs.value(name));
        match &self.wish {
            Wish::Least(least, enough) => Some(value(least)?.min(enough.unwrap_or(i64::MAX))),
            Wish::Most(most) => value(most),
            Wish::Is(_) | Wish::Has(_) | Wish::Listeners => None,
        }
    }

    /// What is wanted, to be shown.
    pub fn wanted_text(&self, needs: &Needs) -> String {
        match &self.wish {
            Wish::Least(..) | Wish::Most(_) => {
                self.wanted(needs).map_or_else(String::new, |number| number.to_string())
            }
            Wish::Is(words) => words.join(" "),
            Wish::Has(word) => word.clone(),
            Wish::Listeners => "those listened on".to_owned(),
        }
    }

    /// What it comes to for the plan that `now` is there.
    pub fn means(&self, needs: &Needs, now: &str) -> String {
        self.filled(&self.means, needs, now)
    }

    /// What somebody may do about it.
    pub fn fix(&self, needs: &Needs, now: &str) -> String {
        self.filled(&self.fix, needs, now)
    }

    fn filled(&self, template: &str, needs: &Needs, now: &str) -> String {
        let (number, want) = (now.parse().ok(), self.wanted(needs));
        let value = |name: Name| match name {
            Name::Now => number,
            Name::Want => want,
            other => needs.value(other),
        };
        let mut parts = template.split('{');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (inner, behind) = part.split_once('}').unwrap_or((part, ""));
            match Expression::parse(inner) {
                Ok(expression) if expression.is(Name::Now) && number.is_none() => text.push_str(now),
                Ok(expression) => {
                    text.push_str(&expression.calculate(value).map_or_else(|| "?".to_owned(), grouped));
                }
                Err(word) => text.push_str(&word),
            }
            text.push_str(behind);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        rps: 1_000_000,
        connections: 40_000,
        per_address: 20_000,
        churn: 500,
        cores: 2,
        sink: false,
        local: false,
    };

    fn named(name: &str) -> Knob {
        parse(LIST).unwrap().into_iter().find(|knob| knob.name == name).unwrap()
    }

    #[test]
    fn the_list_can_be_understood_and_says_why() {
        let knobs = parse(LIST).unwrap();
        assert!(knobs.len() > 20);
        for knob in &knobs {
            assert!(!knob.why.is_empty() && !knob.means.is_empty(), "{}", knob.name);
            assert!(knob.applies || !knob.fix.is_empty(), "{}: somebody has to be told how", knob.name);
            assert!(!knob.applies || knob.danger.is_some(), "{}: what can go wrong", knob.name);
            for text in [knob.means(&NEEDS, "1"), knob.fix(&NEEDS, "1")] {
                assert!(!text.contains(['{', '}', '?']), "{}: {text}", knob.name);
            }
        }
    }

    #[test]
    fn ports_are_told_as_connections_and_as_connections_a_second() {
        let ports = named("net.ipv4.ip_local_port_range");
        assert_eq!(ports.wanted(&NEEDS), Some(50_000));
        assert_eq!(
            ports.means(&NEEDS, "28232"),
            "28,232 ports to one address: at most 28,232 connections at a time, and 470 new connections/s without reuse; \
             50,000 ports are needed"
        );
        let many = Needs { churn: 5_000, ..NEEDS };
        assert_eq!(ports.wanted(&many), Some(64_512));
    }

    #[test]
    fn conditions_leave_a_knob_out() {
        assert!(!named("net.ipv4.tcp_tw_reuse").concerns(&NEEDS));
        assert!(named("net.ipv4.tcp_tw_reuse").concerns(&Needs { churn: 1_000, ..NEEDS }));
        assert!(!named("net.ipv4.tcp_tw_reuse").concerns(&Needs { churn: 1_000, local: true, ..NEEDS }));
    }

    #[test]
    fn a_wrong_list_is_told_by_knob() {
        let error = parse("knob a\nfrom sysctl b\nleast much\nact apply\nmeans x\n").unwrap_err();
        assert_eq!(error.to_string(), "knob \"a\": \"much\" in \"much\" means nothing");
        assert!(parse("knob a\nfrom nowhere b\nleast 1\nact tell\nmeans x\n").is_err());
        assert!(parse("knob a\nform number\n").unwrap_err().to_string().contains("\"form\""));
    }
}
