//! The blaster's side of an agent: a thread that carries out one run as it is told, and tells what it sees.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blaster::cli::RunArgs;
use blaster::files::Bundle;
use blaster::run::{Observer, Prepared, Running, Watch, prepare};
use blaster::settings::{Place, Settings};
use blaster_core::plan::lanes::Lanes;
use blaster_core::plan::rate::Rate;
use blaster_core::plan::target::Target;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::{AskedRate, PlanFacts};
use blaster_core::time::Nanos;
use blaster_ring::system;
use coordinator_protocol::agent::Ended;
use coordinator_protocol::delta::Delta;
use coordinator_protocol::message::{First, Ready, Task, decode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::allowed::{Allowed, admits};
use crate::facts::{NodeFacts, pack, without_histograms};
use crate::measure;

/// What an agent's owner allows, whatever a leader asks.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Whom it may load; empty is anybody.
    pub targets: Vec<Allowed>,
    /// Most requests per second.
    pub rate_max: Option<Rate>,
    /// CPUs of its runs, whatever they say.
    pub cores: Option<Vec<usize>>,
    /// CPUs of this process.
    pub cpus: Vec<usize>,
}

/// A run that is being carried out; dropped, it ends at once.
pub struct Drive {
    orders: Sender<Order>,
    happenings: UnboundedReceiver<Happening>,
    thread: JoinHandle<()>,
}

/// What a run is told; moments are those of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug)]
pub enum Order {
    /// Request times count from then.
    Start(Nanos),
    /// Send until then.
    Permit(Nanos),
    /// Send these requests of the whole run as well, this share of it, from that moment of it on.
    TakeOver(Lanes, f64, Nanos),
    /// Stop sending; again: do not wait for answers.
    Stop,
}

/// What a run tells.
#[derive(Debug)]
pub enum Happening {
    /// Its connections are open; and which CPUs its shards leave alone.
    Ready(Box<Ready>, Vec<usize>),
    /// This machine can send so many requests per second of it.
    Measured(u64),
    /// How it stands with this machine, packed.
    Examined(Vec<u8>),
    /// It cannot be.
    Failed(String),
    /// It sends what it was told to take over; or why not.
    TookOver(Option<String>),
    /// A shard has seen an interval.
    Seen(Box<Delta>),
    /// It is over.
    Ended(Box<Ended>),
}

/// How often a run that waits looks after its shards.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Drive {
    /// Begins to prepare a run, once `before` is gone.
    pub fn begin(task: Task, bounds: Bounds, before: Option<JoinHandle<()>>) -> Self {
        Self::on_thread(before, move |orders, tell| carry_out(&task, &bounds, orders, tell))
    }

    /// Begins to find out what this machine can send of a run, once `before` is gone.
    pub fn measure(task: Task, bounds: Bounds, before: Option<JoinHandle<()>>) -> Self {
        Self::on_thread(before, move |orders, tell| {
            let mut host = Host { bounds: &bounds, orders, remarks: Vec::new() };
            let _ = tell.send(match measure::rate(&task, &mut host) {
                Ok(rate) => Happening::Measured(rate),
                Err(why) => Happening::Failed(why),
            });
        })
    }

    /// Begins to find out whether this machine is ready for a run with so many new connections a second, once `before` is gone.
    pub fn examine(task: Task, new: u64, bounds: Bounds, before: Option<JoinHandle<()>>) -> Self {
        Self::on_thread(before, move |orders, tell| {
            let mut host = Host { bounds: &bounds, orders, remarks: Vec::new() };
            let _ = tell.send(match measure::diagnosis(&task, new, &mut host) {
                Ok(diagnosis) => Happening::Examined(pack(&diagnosis)),
                Err(why) => Happening::Failed(why),
            });
        })
    }

    fn on_thread(
        before: Option<JoinHandle<()>>,
        work: impl FnOnce(&Receiver<Order>, &UnboundedSender<Happening>) + Send + 'static,
    ) -> Self {
        let (orders, inbox) = channel();
        let (outbox, happenings) = unbounded_channel();
        let thread = thread::Builder::new()
            .name("run".to_owned())
            .spawn(move || {
                if let Some(before) = before {
                    let _ = before.join();
                }
                work(&inbox, &outbox);
            })
            .expect("the system has room for a thread");
        Self { orders, happenings, thread }
    }

    /// Tells it.
    pub fn tell(&self, order: Order) {
        // One that is over hears nothing any more.
        let _ = self.orders.send(order);
    }

    /// What happens next; none once it is over.
    pub async fn next(&mut self) -> Option<Happening> {
        self.happenings.recv().await
    }

    /// Lets go of it; the thread ends soon.
    pub fn end(self) -> JoinHandle<()> {
        self.thread
    }
}

fn carry_out(task: &Task, bounds: &Bounds, orders: &Receiver<Order>, tell: &UnboundedSender<Happening>) {
    // Who made this thread may have kept away from the shards of the run before.
    let _ = system::pin_thread(&bounds.cpus);
    let mut host = Host { bounds, orders, remarks: Vec::new() };
    let (prepared, mut budget) = match make_ready(task, &mut host) {
        Ok(ready) => ready,
        Err(why) => return drop(tell.send(Happening::Failed(why))),
    };
    let ready = Ready {
        facts: pack(&NodeFacts {
            plan: prepared.facts().clone(),
            environment: prepared.environment().clone(),
        }),
        classes: prepared.classes().to_vec(),
        shards: prepared.shards(),
        remarks: host.remarks,
    };
    let off_shards = prepared.cpus_off_shards().to_vec();
    let _ = tell.send(Happening::Ready(Box::new(ready), off_shards));
    match wait_for_start(prepared, orders) {
        Ok(Some(running)) => go_on(running, &mut budget, orders, tell),
        Ok(None) => {}
        Err(why) => drop(tell.send(Happening::Failed(why))),
    }
}

/// Everything before the start, within the bounds.
fn make_ready(task: &Task, host: &mut Host<'_>) -> Result<(Prepared, Budget), String> {
    let Part { args, files, place } = understand(task, host.bounds)?;
    let mut settings = Settings::part(&args, task.seed, &files, &place).map_err(|error| error.to_string())?;
    if settings.built_in_sink {
        return Err("it has no target".to_owned());
    }
    host.admit_rate(settings.peak_rate())?;
    let prepared = prepare(&mut settings, host).map_err(|error| error.to_string())?;
    // Of events the rate is known only now.
    let rate = match prepared.facts().rate {
        AskedRate::PerSecond(_) => settings.peak_rate(),
        AskedRate::Max(_) => None,
    };
    host.admit_rate(rate)?;
    let budget = Budget {
        rate_max: host.bounds.rate_max,
        of_whole: settings.peak_rate_of_whole().unwrap_or_default(),
        own: rate.unwrap_or_default(),
    };
    Ok((prepared, budget))
}

/// What a run may come to on this machine, in requests per second at its peak.
struct Budget {
    rate_max: Option<Rate>,
    of_whole: f64,
    own: f64,
}

impl Budget {
    /// Takes in another share of the whole; the error says why not.
    fn add(&mut self, share: f64) -> Result<(), String> {
        let rate = self.own + self.of_whole * share;
        if let Some(most) = self.rate_max.filter(|most| rate > most.per_second() * (1.0 + 1e-9)) {
            return Err(format!(
                "it would be {rate:.0} requests/s, and this agent sends at most {} (--max-rps)",
                most.per_second()
            ));
        }
        self.own = rate;
        Ok(())
    }
}

/// A run's arguments and files, and this node's place in it.
pub struct Part {
    /// Of the whole run, on this node's CPUs.
    pub args: RunArgs,
    /// That they name.
    pub files: Bundle,
    /// Among the nodes.
    pub place: Place,
}

/// Understands a task on this machine.
pub fn understand(task: &Task, bounds: &Bounds) -> Result<Part, String> {
    let mut list = task.args.clone();
    if let Some(cores) = &bounds.cores {
        // Which CPUs a run may have here is this machine's owner's to say.
        list.retain(|arg| !arg.starts_with("--cores="));
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        list.push(format!("--cores={}", cores.join(",")));
    }
    // Of an error of clap the first line says what is wrong; the others are about a command line that is not here.
    let first_line = |error: clap::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    let args = RunArgs::from_list(&list).map_err(first_line)?;
    let files: Bundle = decode(&task.files).map_err(|error| format!("its files are unreadable: {error}"))?;
    let place = Place { index: task.index as usize, weights: task.weights.clone() };
    if place.index >= place.weights.len() || place.weights.contains(&0) {
        return Err("it has no place among the nodes: this is a bug, please report it".to_owned());
    }
    Ok(Part { args, files, place })
}

fn wait_for_start(prepared: Prepared, orders: &Receiver<Order>) -> Result<Option<Running>, String> {
    let clock = prepared.clock();
    loop {
        match orders.recv_timeout(LOOK_EVERY) {
            Ok(Order::Start(at)) => {
                let at = clock.of_monotonic(at);
                return Ok(Some(prepared.start(at)));
            }
            Ok(Order::Permit(until)) => prepared.permit(clock.of_monotonic(until)),
            // Before its start a run takes nothing over.
            Ok(Order::TakeOver(..)) => {}
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(failure) = prepared.failure() {
                    return Err(failure.to_string());
                }
            }
        }
    }
}

fn go_on(
    mut running: Running,
    budget: &mut Budget,
    orders: &Receiver<Order>,
    tell: &UnboundedSender<Happening>,
) {
    let clock = running.clock();
    loop {
        loop {
            match orders.try_recv() {
                Ok(Order::Permit(until)) => running.permit(clock.of_monotonic(until)),
                Ok(Order::TakeOver(lanes, share, from)) => {
                    let refused = budget.add(share).map(|()| running.take_over(&lanes, from)).err();
                    let _ = tell.send(Happening::TookOver(refused));
                }
                Ok(Order::Stop) => running.stop(),
                Ok(Order::Start(_)) | Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        let goes_on = running.collect(|shard, recorder| {
            let _ = tell.send(Happening::Seen(Box::new(Delta::of(shard as u32, recorder))));
        });
        // The leader makes its own of what it hears.
        drop(running.take_finished_intervals());
        if !goes_on {
            break;
        }
    }
    let ended = match running.finish() {
        Ok(ended) => Ended {
            lapsed: ended.lapsed,
            first: First {
                due: ended.first_due.map(|at| clock.to_monotonic(at)),
                sent: ended.first_sent.map(|at| clock.to_monotonic(at)),
            },
            report: Ok(pack(&without_histograms(ended.report()))),
        },
        Err(error) => Ended { first: First::default(), lapsed: false, report: Err(error.to_string()) },
    };
    let _ = tell.send(Happening::Ended(Box::new(ended)));
}

/// Watches the preparations on the agent's behalf.
pub struct Host<'a> {
    /// What the agent's owner allows.
    pub bounds: &'a Bounds,
    orders: &'a Receiver<Order>,
    remarks: Vec<String>,
}

impl Host<'_> {
    fn admit_rate(&self, rate: Option<f64>) -> Result<(), String> {
        let Some(most) = self.bounds.rate_max else { return Ok(()) };
        match rate {
            None => Err(format!(
                "this agent sends at most {} requests/s (--max-rps), and --rps max knows no bound",
                most.per_second()
            )),
            // Shares are rounded in the last digit.
            Some(rate) if rate > most.per_second() * (1.0 + 1e-9) => Err(format!(
                "its share is {rate:.0} requests/s, and this agent sends at most {} (--max-rps)",
                most.per_second()
            )),
            Some(_) => Ok(()),
        }
    }
}

/// A run that only this machine watches.
impl Observer for Host<'_> {
    fn starting(&mut self, _facts: &PlanFacts) {}

    fn interval(&mut self, _interval: &FinishedInterval) {}
}

impl Watch for Host<'_> {
    fn stops(&mut self) -> u32 {
        u32::from(matches!(self.orders.try_recv(), Err(TryRecvError::Disconnected) | Ok(Order::Stop)))
    }

    fn say(&mut self, line: &str) {
        self.remarks.push(line.to_owned());
    }

    fn admit(&mut self, target: &Target, addresses: &[SocketAddr]) -> Result<(), String> {
        if admits(&self.bounds.targets, &target.host, target.port, addresses) {
            return Ok(());
        }
        Err(format!("this agent may not send to {} (--allow-target)", target.host_header()))
    }
}
