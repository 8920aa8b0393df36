//! The command: arguments in, a summary and an exit status out. Only here is anything printed or exited.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use blaster::cli::SweepArgs;
use blaster::results::{ResultError, Results};
use blaster::settings::UsageError;
use blaster::sweep::live::Live;
use blaster::sweep::{results as sweep_results, sweep};
use blaster::{console, exit, output};
use blaster_core::plan::rate::Rate;
use blaster_core::report::Report;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use coordinator::cli::{AgentArgs, Cli, Command, FindArgs, LeadArgs};
use coordinator::plan::{Cluster, LeadError, Plan};
use coordinator::screen::Screen;
use coordinator::secret::{Secret, SecretError};
use coordinator::sweep::OverNodes;
use coordinator::{agent, ask, doctor, lead};
use coordinator_protocol::leader::Failure;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match &cli.command {
        Command::Run(args) => {
            let (_, matches) = matches.subcommand().expect("run is one");
            drive(args, matches)
        }
        Command::Sweep(args) => {
            let (_, matches) = matches.subcommand().expect("sweep is one");
            find(args, SweepArgs::list(matches))
        }
        Command::Agent(args) => serve(args),
        Command::Status(args) => wait(ask::status(args)),
        Command::Doctor(args) => {
            let (_, matches) = matches.subcommand().expect("doctor is one");
            wait(doctor::doctor(args, matches))
        }
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
fn drive(args: &LeadArgs, matches: &ArgMatches) -> anyhow::Result<u8> {
    let cluster = Cluster::new(&args.team, &args.run)?;
    let plan = Plan::new(&cluster, args, matches, blaster::random_seed())?;
    let outputs = &plan.settings().outputs;
    let allow_invalid = plan.settings().allow_invalid;
    let results = Results::open(outputs)?;
    let stdout_is_taken = results.take_stdout();
    let mut screen = Screen::new(plan.settings(), results);
    let runtime = runtime()?;
    let outcome = runtime.block_on(lead::lead(plan, &mut screen));
    // A name that nobody answers for is asked for by a thread, which is not waited for.
    runtime.shutdown_background();
    let results = screen.finish();
    let (report, failure) = outcome?;
    let (footer, errors) = results.write(&report);
    let shown = if stdout_is_taken {
        show(&mut std::io::stderr(), std::io::stderr().is_terminal(), &report, footer)
    } else {
        show(&mut std::io::stdout(), std::io::stdout().is_terminal(), &report, footer)
    };
    let is_shown = shown
        .inspect_err(|error| {
            say(&mut std::io::stderr(), &format!("coordinator: cannot print the summary: {error}"));
        })
        .is_ok();
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
    Ok(if errors.is_empty() && is_shown || status == exit::INTERRUPTED { status } else { exit::FAILED })
}

/// `coordinator sweep`.
fn find(args: &FindArgs, mut typed: Vec<String>) -> anyhow::Result<u8> {
    let cluster = Cluster::new(&args.team, &args.sweep.run)?;
    let runtime = runtime()?;
    let mut nodes = OverNodes::new(&cluster, &runtime, &args.team)?;
    let mut sweep_args = args.sweep.clone();
    if sweep_args.resume.is_none()
        && let Some(most) = nodes.rate_max()
        && sweep_args.to.is_none_or(|to| to.per_second() > most)
    {
        // What the hosts file does not let them send need not be tried.
        typed.retain(|arg| !arg.starts_with("--to="));
        typed.push(format!("--to={most}"));
        sweep_args.to = Some(Rate::new(most)?);
    }
    let silent = sweep_args.run.quiet || sweep_args.run.no_progress;
    let mut live = Live::new(silent).context("cannot take over signals")?;
    let swept = sweep(&sweep_args, typed, blaster::random_seed(), &mut nodes, &mut live);
    live.finish();
    match swept {
        Ok(swept) => Ok(sweep_results::tell(&sweep_args, &swept, "coordinator")),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("coordinator: {error}"));
            Ok(error.status())
        }
    }
}

/// `coordinator agent`.
fn serve(args: &AgentArgs) -> anyhow::Result<u8> {
    let secret = match &args.secret {
        None if args.child => Secret::read_line(std::io::stdin().lock())?,
        named => Secret::read(&Secret::path(named.as_deref()))?,
    };
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
    let runtime = runtime()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
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
    console::print(out, &text)
}

/// Prints a line; `println!` and its like would panic where nobody reads.
fn say(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Usage and plans that cannot be are 2, all else 1.
fn failure_status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<LeadError>() {
        Some(LeadError::Failed(Failure::Interrupted)) => exit::INTERRUPTED,
        Some(LeadError::Failed(Failure::Nodes { .. } | Failure::Lost { .. } | Failure::NoneLeft(_))) => {
            exit::FAILED
        }
        Some(_) => exit::USAGE,
        None if error.is::<UsageError>() => exit::USAGE,
        None if matches!(error.downcast_ref(), Some(ResultError::Open { .. })) => exit::USAGE,
        None if error.is::<SecretError>() => exit::USAGE,
        None => exit::FAILED,
    }
}
