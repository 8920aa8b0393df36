//! What a sweep leaves: its files, and what is shown at its end.

use std::io::IsTerminal;

use super::Swept;
use crate::cli::SweepArgs;
use crate::output::page;
use crate::results::{Destination, ResultError};
use crate::{console, exit, output};

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

/// Writes the files, shows what was found, and says what `tool` could not do of that. The answer is the exit status.
pub fn tell(args: &SweepArgs, swept: &Swept, tool: &str) -> u8 {
    let (footer, errors) = write(args, swept);
    let takes_stdout = [&args.run.json, &args.html].into_iter().flatten().any(|path| path.as_os_str() == "-");
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let is_terminal = if takes_stdout { err.is_terminal() } else { out.is_terminal() };
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let text = format!("{}\n{footer}\n", output::sweep::render(&swept.view, console::width(), colour));
    let shown = if takes_stdout { console::print(&mut err, &text) } else { console::print(&mut out, &text) };
    for error in &errors {
        // A closed standard error is no reason to fail.
        let _ = console::print(&mut err, &format!("{tool}: {error}\n"));
    }
    let is_told = errors.is_empty() && shown.is_ok() || swept.status == exit::INTERRUPTED;
    if is_told { swept.status } else { exit::FAILED }
}
