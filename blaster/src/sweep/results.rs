//! The files of a sweep.

use super::Swept;
use crate::cli::SweepArgs;
use crate::output::page;
use crate::results::{Destination, ResultError};

/// Writes what was asked for. Returns the last line of what is shown, which names the files, and every failure.
pub fn write(args: &SweepArgs, swept: &Swept) -> (String, Vec<ResultError>) {
    let mut names = Vec::new();
    let mut errors = Vec::new();
    let json =
        || serde_json::to_string_pretty(&swept.found).expect("only plain values and string keys") + "\n";
    let files: [(&str, _, &dyn Fn() -> String); 2] =
        [("sweep", &args.run.json, &json), ("page", &args.html, &|| page::render(&swept.view))];
    for (name, path, text) in files {
        let Some(path) = path else { continue };
        match Destination::open(path).and_then(|destination| destination.write(&text())) {
            Ok(()) if path.as_os_str() == "-" => {}
            Ok(()) => names.push(format!("{name}: {}", path.display())),
            Err(error) => errors.push(error),
        }
    }
    names.push(format!("trials: {}", swept.journal.display()));
    (names.join(" · "), errors)
}
