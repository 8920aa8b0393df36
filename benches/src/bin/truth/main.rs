//! Holds what blaster and its sink measure against what can be computed, a claim a module, and prints a table of both:
//!
//! `truth --blaster FILE --work DIR [--sink-cpu N] [--client-cpu N] [--quick | --soak] [--only NAME]…`
//!
//! Status 1 if a claim on counts failed, or, except with `--quick`, any other.

mod accounting;
mod cost;
mod knowledge;
mod latency;
mod omission;
mod pairs;
mod queueing;
mod schedule;
mod sink;
mod stage;
mod table;

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use stage::{Effort, SEED, Stage};
use table::Table;

/// One claim: its name, and what proves it.
type Proof = (&'static str, fn(&Stage, &mut Table) -> Result<()>);

const PROOFS: [Proof; 7] = [
    ("accounting", accounting::prove),
    ("omission", omission::prove),
    ("queueing", queueing::prove),
    ("latency", latency::prove),
    ("schedule", schedule::prove),
    ("knowledge", knowledge::prove),
    ("cost", cost::prove),
];

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("truth: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: impl Iterator<Item = String>) -> Result<ExitCode> {
    let (stage, only) = parse(args)?;
    let mut table = Table::default();
    for (name, prove) in PROOFS {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            eprintln!("truth: {name} …");
            // A proof that cannot run is not one that passed; those after it may still.
            if let Err(error) = prove(&stage, &mut table) {
                table.broken(name, &format!("{error:#}"));
            }
        }
    }
    print!("{table}");
    Ok(ExitCode::from(u8::from(table.failed(stage.effort == Effort::Quick))))
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<(Stage, Vec<String>)> {
    let (mut blaster, mut work, mut only) = (None, None, Vec::new());
    let (mut sink_cpu, mut client_cpu, mut effort) = ("0".to_owned(), "1".to_owned(), Effort::Full);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| anyhow!("{arg} wants a value"));
        match arg.as_str() {
            "--blaster" => blaster = Some(value()?.into()),
            "--work" => work = Some(value()?.into()),
            "--sink-cpu" => sink_cpu = value()?,
            "--client-cpu" => client_cpu = value()?,
            "--quick" => effort = Effort::Quick,
            "--soak" => effort = Effort::Soak,
            "--only" => only.push(value()?),
            _ => bail!("unknown argument {arg}"),
        }
    }
    if let Some(name) = only.iter().find(|name| PROOFS.iter().all(|(known, _)| known != name)) {
        bail!("no proof is called {name}: there are {}", PROOFS.map(|(name, _)| name).join(", "));
    }
    let blaster = blaster.ok_or_else(|| anyhow!("--blaster FILE is wanted: benches/truth.sh gives it"))?;
    let work = work.ok_or_else(|| anyhow!("--work DIR is wanted: benches/truth.sh gives it"))?;
    Ok((Stage { blaster, work, sink_cpu, client_cpu, effort, seed: SEED }, only))
}
