//! The command: arguments in, a summary and an exit status out. Only here is anything printed or exited.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use blaster::results::Results;
use blaster::settings::UsageError;
use blaster::{console, exit, output};
use blaster_core::report::Report;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use coordinator::cli::{AgentArgs, Cli, Command, LeadArgs};
use coordinator::lead::{LeadError, Plan};
use coordinator::local::LocalError;
use coordinator::secret::{Secret, SecretError};
use coordinator::{agent, ask};
use coordinator_protocol::leader::Failure;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match &cli.command {
        Command::Run(args) => {
            let (_, matches) = matches.subcommand().expect("run is one");
            lead(args, matches)
        }
        Command::Agent(args) => serve(args),
        Command::Status(args) => wait(ask::status(args)),
        Command::Stop(args) => wait(ask::stop(args)),
        Command::Secret { file } => make_secret(file),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("coordinator: {error:#}"));
            ExitCode::from(failure_status(&error))
        }
    }
}

/// `coordinator run`.
fn lead(args: &LeadArgs, matches: &ArgMatches) -> anyhow::Result<u8> {
    let plan = Plan::new(args, matches, blaster::random_seed())?;
    let outputs = &plan.settings().outputs;
    let allow_invalid = plan.settings().allow_invalid;
    let results = Results::open(outputs)?;
    let stdout_is_taken = results.take_stdout();
    let (outcome, results) = runtime()?.block_on(plan.lead(results));
    let (report, failure) = outcome?;
    let (footer, errors) = results.write(&report);
    let shown = if stdout_is_taken {
        show(&mut std::io::stderr(), std::io::stderr().is_terminal(), &report, footer)
    } else {
        show(&mut std::io::stdout(), std::io::stdout().is_terminal(), &report, footer)
    };
    for error in &errors {
        say(&mut std::io::stderr(), &format!("coordinator: {error}"));
    }
    if let Some(failure) = &failure {
        say(&mut std::io::stderr(), &format!("coordinator: {failure}"));
    }
    let status = exit::status(&report, allow_invalid);
    if failure.is_some() {
        return Ok(exit::FAILED);
    }
    Ok(if errors.is_empty() && shown.is_ok() || status == exit::INTERRUPTED { status } else { exit::FAILED })
}

/// `coordinator agent`.
fn serve(args: &AgentArgs) -> anyhow::Result<u8> {
    let secret = Secret::read(&Secret::path(args.secret.as_deref()))?;
    runtime()?.block_on(agent::serve(args, &secret))?;
    Ok(exit::DONE)
}

/// `coordinator secret`.
fn make_secret(file: &std::path::Path) -> anyhow::Result<u8> {
    Secret::random().write_new(file)?;
    let line = format!("{} is made: copy it to every node, and keep it from everybody else", file.display());
    say(&mut std::io::stdout(), &line);
    Ok(exit::DONE)
}

fn wait(work: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    runtime()?.block_on(work)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Prints the summary; whoever closed the pipe has seen enough.
fn show(
    out: &mut impl Write,
    is_terminal: bool,
    report: &Report,
    footer: Option<String>,
) -> std::io::Result<()> {
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let mut text = output::summary::render(report, console::width(), colour);
    if let Some(footer) = footer {
        text.push_str(&format!("\n{footer}\n"));
    }
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints a line; `println!` and its like would panic where nobody reads.
fn say(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Usage and plans that cannot be are 2, all else 1.
fn failure_status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<LeadError>() {
        Some(LeadError::Failed(Failure::Interrupted)) => exit::INTERRUPTED,
        Some(LeadError::Failed(Failure::Nodes(_) | Failure::Lost { .. })) => exit::FAILED,
        Some(_) => exit::USAGE,
        None if error.is::<UsageError>() || error.is::<blaster::results::ResultError>() => exit::USAGE,
        None if error.is::<SecretError>() => exit::USAGE,
        None if matches!(error.downcast_ref(), Some(LocalError::Secret(_))) => exit::USAGE,
        None => exit::FAILED,
    }
}
