//! Writes requests as `blaster` sends them to standard output, one behind the other, so that other tools can send the
//! same bytes: `tape events HOST:PORT [SEED [MIX]]` or `tape get HOST:PORT PATH`.

use std::io::{self, Write};
use std::process::ExitCode;

use benches::tape::{events, get};

fn main() -> ExitCode {
    match write(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tape: {error}");
            ExitCode::from(2)
        }
    }
}

fn write(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["events", host] => events(host, 0, None)?.bytes,
        ["events", host, seed] => events(host, seed.parse()?, None)?.bytes,
        ["events", host, seed, mix] => events(host, seed.parse()?, Some(mix))?.bytes,
        ["get", host, path] => get(host, path)?.request(0).to_vec(),
        _ => return Err("want `events HOST:PORT [SEED [MIX]]` or `get HOST:PORT PATH`".into()),
    };
    Ok(io::stdout().write_all(&bytes)?)
}
