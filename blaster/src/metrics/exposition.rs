//! The text format of Prometheus (version 0.0.4; OpenMetrics 1.0 reads the same here): text in, samples out.
//!
//! Pages in the wild are not all well formed, and a sweep shall not end over one line: what cannot be understood is left out.

/// One line: a name, its labels, a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Of the metric.
    pub name: &'a str,
    /// In their order; escapes are resolved.
    pub labels: Vec<(&'a str, String)>,
    /// Finite: what is none, or endless, tells of no resource.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// All samples that can be understood.
pub fn parse(text: &str) -> Vec<Sample<'_>> {
    text.lines().filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let name_end = line.find(|c: char| !is_in_name(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // Behind the value a timestamp may stand, and an exemplar behind a `#`.
    let value = rest.split_whitespace().next()?;
    value.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| Sample { name, labels, value })
}

fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Labels up to the closing brace, and what stands behind it.
type Labels<'a> = (Vec<(&'a str, String)>, &'a str);

fn labels(mut rest: &str) -> Option<Labels<'_>> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, behind) = rest.split_once('=')?;
        let name = name.trim();
        if name.is_empty() || !name.chars().all(is_in_name) {
            return None;
        }
        let (value, behind) = quoted(behind.trim_start())?;
        labels.push((name, value));
        let behind = behind.trim_start();
        rest = behind.strip_prefix(',').unwrap_or(behind);
        // Two labels without a comma between them are no labels.
        if rest.len() == behind.len() && !rest.starts_with('}') {
            return None;
        }
    }
}

/// A text in quotes with its escapes resolved, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = inside.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &inside[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_values_are_read() {
        let text = "# HELP a b\n# TYPE a counter\na 1\n  b{x=\"1\",y=\"two words\"} 2.5e3 1700000000000\nc{} +3\nd:e{z=\"q\",} .5\r\n";
        let samples = parse(text);
        let values: Vec<_> = samples.iter().map(|sample| (sample.name, sample.value)).collect();
        assert_eq!(values, [("a", 1.0), ("b", 2500.0), ("c", 3.0), ("d:e", 0.5)]);
        assert_eq!((samples[1].label("y"), samples[1].label("z")), (Some("two words"), None));
    }

    #[test]
    fn escapes_braces_and_commas_in_a_label_stay_in_it() {
        let samples = parse(r#"a{path="C:\\x\"y\n}, z=",b="{"} 7 # {trace="x"} 1"#);
        assert_eq!(samples[0].label("path"), Some("C:\\x\"y\n}, z="));
        assert_eq!((samples[0].label("b"), samples[0].value), (Some("{"), 7.0));
    }

    #[test]
    fn what_is_not_understood_is_left_out_and_costs_no_other_line() {
        let ugly = [
            "",
            "#",
            "a",
            "a{",
            "a{x",
            "a{x=",
            "a{x=\"",
            "a{x=\"1\\",
            "a{x=\"1\"",
            "a{x=\"1\"y=\"2\"} 1",
            "a{=\"1\"} 1",
            "a{x=1} 1",
            "1a 1",
            "{x=\"1\"} 1",
            "a one",
            "a NaN",
            "a +Inf",
            "a -Inf",
            "ü 1",
            "<html>",
            "a{ü=\"1\"} 1",
            "\u{0} 1",
            "a 1e999",
        ];
        for line in ugly {
            let text = format!("before 1\n{line}\nafter 2\n");
            let names: Vec<_> = parse(&text).iter().map(|sample| sample.name).collect();
            assert_eq!(names, ["before", "after"], "{line:?}");
        }
    }

    #[test]
    fn text_in_other_alphabets_is_read_between_quotes() {
        let samples = parse("a{city=\"Łódź\"} 1");
        assert_eq!(samples[0].label("city"), Some("Łódź"));
    }
}
