//! The command: arguments in, a summary and an exit status out. Only here is anything printed or exited.

use std::io::{IsTerminal, Write};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use blaster::cli::{Cli, Command, DoctorArgs, PayloadsCommand, RunArgs, SinkArgs, SweepArgs};
use blaster::console::{self, Console};
use blaster::doctor::{self, DoctorError};
use blaster::exit;
use blaster::files::Disk;
use blaster::output::summary;
use blaster::payloads_command;
use blaster::results::{Destination, ResultError, Results};
use blaster::run::{RunError, run, survey};
use blaster::settings::{Place, Settings, UsageError};
use blaster::sink_command;
use blaster::sweep::live::Live;
use blaster::sweep::trial::Local;
use blaster::sweep::{SweepError, results as sweep_results, sweep};
use blaster::tuning::scripts::Scripts;
use blaster::tuning::tuned::{self, TuneError, Tuned, in_own_words};
use blaster_core::report::Report;
use blaster_ring::system;
use blaster_sink::SinkError;
use blaster_sink::counters::Totals;
use clap::{CommandFactory, FromArgMatches};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let is_restored = restore();
    let result = match &cli.command {
        None => drive(&cli.run),
        Some(Command::Run(args)) => drive(args),
        Some(Command::Sweep(args)) => {
            find(args, matches.subcommand().map(|(_, matches)| SweepArgs::list(matches)).unwrap_or_default())
        }
        Some(Command::Doctor(args)) => examine(args, is_restored),
        Some(Command::Sink(args)) => serve(args),
        Some(Command::Payloads(command)) => payloads(command),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("blaster: {error:#}"));
            ExitCode::from(failure_status(&error))
        }
    }
}

/// `blaster run`.
fn drive(args: &RunArgs) -> anyhow::Result<u8> {
    let mut settings = Settings::new(args, blaster::random_seed())?;
    let results = Results::open(&settings.outputs)?;
    let stdout_is_taken = results.take_stdout();
    let silent = settings.outputs.quiet || settings.outputs.no_progress;
    let mut console = Console::new(silent, settings.plan.tags.iter().cloned().collect(), results)
        .context("cannot take over signals")?;
    let tuned = if args.tune { Some(tune(args)?) } else { None };
    let outcome = run(&mut settings, &mut console);
    let results = console.finish();
    let (changes, is_put_back) = tuned.map_or((Vec::new(), true), put_back);
    let mut report = outcome?;
    report.environment.tuned = changes;
    let (footer, errors) = results.write(&report);
    let shown = if stdout_is_taken {
        show(&mut std::io::stderr(), std::io::stderr().is_terminal(), &report, footer)
    } else {
        show(&mut std::io::stdout(), std::io::stdout().is_terminal(), &report, footer)
    };
    let is_shown = shown
        .inspect_err(|error| {
            say(&mut std::io::stderr(), &format!("blaster: cannot print the summary: {error}"))
        })
        .is_ok();
    for error in &errors {
        say(&mut std::io::stderr(), &format!("blaster: {error}"));
    }
    let status = exit::status(&report, settings.allow_invalid);
    let all_is_well = errors.is_empty() && is_shown && is_put_back;
    Ok(if all_is_well || status == exit::INTERRUPTED { status } else { exit::FAILED })
}

/// What a run with `--tune` left behind that was killed; whether all of it is as before.
fn restore() -> bool {
    let outcome = tuned::restore();
    match &outcome {
        Ok(lines) => lines
            .iter()
            .for_each(|line| say(&mut std::io::stderr(), &format!("of a run that was killed: {line}"))),
        Err(error) => say(&mut std::io::stderr(), &format!("blaster: {error}")),
    }
    outcome.is_ok()
}

/// Makes this machine ready for a run.
fn tune(args: &RunArgs) -> anyhow::Result<Tuned> {
    // Laid out by itself: a run does that once.
    let needs = survey(&mut Settings::new(args, 0)?, &mut doctor::Quiet)?.needs;
    let tuned = Tuned::apply(&needs)?;
    tuned.changes.iter().for_each(|change| say(&mut std::io::stderr(), &format!("set {change}")));
    Ok(tuned)
}

/// What had been changed, and whether all of it is as before.
fn put_back(tuned: Tuned) -> (Vec<String>, bool) {
    let changes = tuned.changes.clone();
    let outcome = tuned.put_back();
    if let Err(error) = &outcome {
        say(&mut std::io::stderr(), &format!("blaster: {error}; the next start tries again"));
    }
    (changes, outcome.is_ok())
}

/// `blaster doctor`.
fn examine(args: &DoctorArgs, is_restored: bool) -> anyhow::Result<u8> {
    if let Some(nodes) = &args.nodes {
        return Err(UsageError::Nodes(nodes.display().to_string()).into());
    }
    if args.undo {
        let status = repair("revert.sh", &[])?;
        return Ok(if is_restored { status } else { status.max(exit::FAILED) });
    }
    if args.fix {
        let survey = survey(&mut Settings::new(&args.run, 0)?, &mut doctor::Quiet)?;
        let mut arguments = survey.needs_with(args.new_connections).arguments();
        // Limits are those of the shell, whose next command is the run.
        arguments.extend(["--pid".to_owned(), shell().to_string()]);
        arguments.extend(args.persist.then(|| "--persist".to_owned()));
        arguments.extend(args.allow_shared.then(|| "--allow-shared".to_owned()));
        return repair("apply.sh", &arguments);
    }
    let question = doctor::Question {
        args: &args.run,
        seed: blaster::random_seed(),
        files: &Disk,
        place: &Place::whole(),
        new_connections: args.new_connections,
    };
    let json = args.run.json.as_deref();
    let file = json.map(Destination::open).transpose()?;
    let mut patient = doctor::Patient::new().context("cannot take over signals")?;
    let diagnosis = doctor::examine(&question, &mut patient)?;
    if let Some(file) = &file {
        file.write(&diagnosis.json())?;
    }
    let takes_stdout = json.is_some_and(|path| path.as_os_str() == "-");
    let text = |is_terminal: bool| {
        let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
        doctor::table::render(&diagnosis, console::width(), colour)
    };
    if takes_stdout {
        let mut err = std::io::stderr();
        let text = text(err.is_terminal());
        console::print(&mut err, &text)?;
    } else {
        let mut out = std::io::stdout();
        let text = text(out.is_terminal());
        console::print(&mut out, &text)?;
    }
    Ok(if diagnosis.ready { exit::DONE } else { exit::FAILED })
}

/// The process whose next command is the run: whoever started this, behind those who only make it root.
fn shell() -> u32 {
    let read =
        |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let mut pid = parent_id();
    while matches!(read(pid, "comm").trim(), "sudo" | "doas" | "su" | "pkexec") {
        let stat = read(pid, "stat");
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        match parent {
            Some(parent) if parent > 1 => pid = parent,
            _ => break,
        }
    }
    pid
}

/// Runs a script that changes the machine, and says what it said. It ends what it has begun: Ctrl-C waits for that.
fn repair(script: &str, arguments: &[String]) -> anyhow::Result<u8> {
    tuned::taken()?;
    let _signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot take over signals")?;
    let said = Scripts::new()?.run(script, arguments)?;
    said.lines.iter().for_each(|line| say(&mut std::io::stdout(), &in_own_words(line)));
    if !said.complaint.is_empty() {
        say(&mut std::io::stderr(), &format!("blaster: {}", in_own_words(&said.complaint)));
    }
    Ok(match said.status {
        Some(0) => exit::DONE,
        Some(2) => exit::USAGE,
        _ => exit::FAILED,
    })
}

/// `blaster sweep`.
fn find(args: &SweepArgs, typed: Vec<String>) -> anyhow::Result<u8> {
    let mut live = Live::new(args.run.quiet || args.run.no_progress).context("cannot take over signals")?;
    let swept = sweep(args, typed, blaster::random_seed(), &mut Local::default(), &mut live);
    live.finish();
    Ok(sweep_results::tell(args, &swept?, "blaster"))
}

/// Prints the summary; whoever closed the pipe has seen enough.
fn show(
    out: &mut impl Write,
    is_terminal: bool,
    report: &Report,
    footer: Option<String>,
) -> std::io::Result<()> {
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let mut text = summary::render(report, console::width(), colour);
    if let Some(footer) = footer {
        text.push_str(&format!("\n{footer}\n"));
    }
    console::print(out, &text)
}

/// Prints a line; `println!` and its like would panic where nobody reads.
fn say(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// `blaster sink`.
fn serve(args: &SinkArgs) -> anyhow::Result<u8> {
    let behaviour = sink_command::behaviour(args)?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot take over signals")?;
    let mut sink = sink_command::start(args, behaviour)?;
    let mut out = std::io::stdout();
    say(&mut out, &format!("sink ({}) on http://{} — Ctrl-C ends it", args.profile, sink.address()));
    signals.forever().next();
    let warn = |line: &str| say(&mut std::io::stderr(), line);
    let written = sink_command::write_results(args, &mut sink, warn);
    let Totals { requests, events, request_bytes, events_invalid, .. } = sink.totals();
    let invalid = if args.validate { format!(" · invalid events {events_invalid}") } else { String::new() };
    say(&mut out, &format!("requests {requests} · events {events} · bytes {request_bytes}{invalid}"));
    written?;
    Ok(exit::DONE)
}

/// `blaster payloads`.
fn payloads(command: &PayloadsCommand) -> anyhow::Result<u8> {
    match command {
        PayloadsCommand::List { json: None } => {
            say_all(None, payloads_command::list(console::width()).as_bytes())?;
        }
        PayloadsCommand::List { json: path } => say_json(path, &payloads_command::list_json())?,
        PayloadsCommand::Show(args) => {
            let seed = args.seed.unwrap_or_else(blaster::random_seed);
            let shown = payloads_command::show(args, seed, system::unix_time_ns())?;
            match &args.json {
                None if args.raw => say_all(None, shown.raw())?,
                None => say_all(None, shown.pretty(console::width()).as_bytes())?,
                path => say_json(path, &shown.json())?,
            }
        }
        PayloadsCommand::Check { file, json } => {
            let outcome = payloads_command::check(file);
            if json.is_some() {
                say_json(json, &payloads_command::check_json(file, &outcome))?;
            }
            let what = outcome?;
            if json.is_none() {
                say_all(None, format!("{file}: {what}\n").as_bytes())?;
            }
        }
    }
    Ok(exit::DONE)
}

fn say_json(path: &Option<PathBuf>, value: &serde_json::Value) -> anyhow::Result<()> {
    say_all(path.as_deref(), format!("{value:#}\n").as_bytes())
}

fn say_all(path: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    let name = path.unwrap_or(Path::new("standard output"));
    payloads_command::write(path, bytes).with_context(|| format!("cannot write {}", name.display()))
}

/// Usage and plans that cannot be are 2, all else 1.
fn failure_status(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<SweepError>() {
        return error.status();
    }
    if let Some(DoctorError::Run(error)) = error.downcast_ref() {
        return exit::of_error(error);
    }
    match error.downcast_ref::<RunError>() {
        Some(error) => exit::of_error(error),
        None if error.is::<TuneError>() => exit::USAGE,
        None if matches!(error.downcast_ref(), Some(SinkError::Probe(_))) => exit::USAGE,
        None if error.is::<UsageError>() => exit::USAGE,
        None if matches!(error.downcast_ref(), Some(ResultError::Open { .. })) => exit::USAGE,
        None => exit::FAILED,
    }
}
