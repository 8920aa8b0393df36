//! `coordinator agent`: waits for leaders, and does what the protocol says of what they say.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use blaster_core::time::Nanos;
use blaster_ring::system;
use coordinator_protocol::agent::{Act, Agent};
use coordinator_protocol::message::{Datagram, Status, ToAgent, decode, encode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{channel, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::AgentArgs;
use crate::drive::{Bounds, Drive, Happening, Order};
use crate::net::{self, Heard, Link};
use crate::plan::{LeadError, random};
use crate::secret::Secret;

/// Words of leaders that wait to be heard; beyond them leaders wait.
const HEARD_MAX: usize = 64;

/// How long what was said last may take to leave.
const FAREWELL: Duration = Duration::from_millis(200);

/// An agent that is to end waits so long for a run's answers, and once more for the run to end without them.
const ANSWERS_MAX: Duration = Duration::from_secs(1);

/// Serves leaders until it is told to end.
pub async fn serve(args: &AgentArgs, secret: &Secret) -> anyhow::Result<()> {
    let cpus = system::allowed_cpus();
    if let Some(list) = &args.cores
        && let Some(&cpu) = list.0.iter().find(|cpu| !cpus.contains(cpu))
    {
        return Err(LeadError::Cores { cpu, allowed: cpus }.into());
    }
    let endpoint = net::listen(args.listen, secret).with_context(|| {
        format!(
            "cannot listen on {} (UDP): is it an address of this machine, and the port free?",
            args.listen
        )
    })?;
    let address = endpoint.local_addr().context("cannot learn the port")?;
    log(&format!("listening on {address}"));
    if args.child {
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{address}").and_then(|()| out.flush());
    }
    let bounds = Bounds {
        targets: args.allow_targets.clone(),
        rate_max: args.max_rps,
        cores: args.cores.as_ref().map(|list| list.0.clone()),
        cpus,
    };
    let (heard_in, mut heard) = channel(HEARD_MAX);
    let (links_in, mut links) = unbounded_channel();
    let (refused_in, mut refused) = unbounded_channel();
    let refuse = move |line: String| {
        log(&line);
        let _ = refused_in.send(());
    };
    tokio::spawn(net::accept(endpoint.clone(), heard_in, links_in, refuse));
    let mut terminate = signal(SignalKind::terminate()).context("cannot take over signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot take over signals")?;
    let mut gone = if args.child { parent_gone() } else { oneshot::channel().1 };
    let mut host = Host::new(args, bounds);
    let mut is_orphan = false;
    loop {
        let timeout = host.agent.timeout();
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = &mut gone, if args.child => {
                is_orphan = true;
                break;
            }
            Some((number, from, link)) = links.recv() => {
                host.links.insert(number, Leader { link, from });
            }
            Some((number, words)) = heard.recv() => host.hear(number, words),
            Some(()) = refused.recv() => host.agent.handle_malformed(),
            happening = host.next_happening() => host.handle_happening(happening),
            () = until(timeout) => host.agent.handle_timeout(system::monotonic()),
        }
        host.act();
    }
    log("ending");
    // Who was started by somebody that is gone has nobody to tell.
    if !is_orphan {
        tokio::select! {
            () = host.leave() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    host.end();
    endpoint.close(0_u32.into(), b"the agent was ended");
    let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    Ok(())
}

/// A leader's link, and where it is.
struct Leader {
    link: Link,
    from: SocketAddr,
}

struct Host {
    agent: Agent,
    links: HashMap<u64, Leader>,
    bounds: Bounds,
    of_machine: Status,
    drive: Option<Drive>,
    before: Option<JoinHandle<()>>,
}

impl Host {
    fn new(args: &AgentArgs, bounds: Bounds) -> Self {
        let of_machine = Status {
            agent: random() as u64,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: system::kernel_release(),
            cores: bounds.cores.as_ref().unwrap_or(&bounds.cpus).len() as u32,
            max_rps: args.max_rps.map(|rate| rate.per_second()),
            allowed: args.allow_targets.iter().map(ToString::to_string).collect(),
            problems: blaster::limits::check(1, 64, &[])
                .err()
                .map(|error| error.to_string())
                .into_iter()
                .collect(),
            ..Status::default()
        };
        Self { agent: Agent::new(), links: HashMap::new(), bounds, of_machine, drive: None, before: None }
    }

    fn hear(&mut self, number: u64, words: Heard) {
        let Some(leader) = self.links.get(&number) else { return };
        match words {
            Heard::Datagram(bytes, t2) => match decode(&bytes) {
                Ok(Datagram::Ping { t1 }) => {
                    let cpu = system::process_cpu_time();
                    let t3 = system::monotonic();
                    leader.link.send_datagram(encode(&Datagram::Pong { t1, t2, t3, cpu }));
                    self.agent.handle_ping(number, t3);
                }
                _ => self.agent.handle_malformed(),
            },
            Heard::Frame(bytes) => {
                let from = leader.from.to_string();
                match decode::<ToAgent>(&bytes) {
                    Ok(message) => {
                        let now = system::monotonic();
                        self.agent.handle_message(number, &from, now, message, &self.of_machine);
                    }
                    Err(error) => {
                        log(&format!("refused what {from} said: {error}"));
                        self.agent.handle_malformed();
                        leader.link.close(&error.to_string());
                    }
                }
            }
            Heard::Malformed(why) => {
                log(&format!("refused what {} said: {why}", leader.from));
                self.agent.handle_malformed();
                self.links.remove(&number);
                self.agent.handle_closed(number, &why);
            }
            Heard::Closed(why) => {
                self.links.remove(&number);
                self.agent.handle_closed(number, &why);
            }
        }
    }

    async fn next_happening(&mut self) -> Option<Happening> {
        match &mut self.drive {
            Some(drive) => drive.next().await,
            None => std::future::pending().await,
        }
    }

    fn handle_happening(&mut self, happening: Option<Happening>) {
        match happening {
            Some(Happening::Ready(ready, off_shards)) => {
                // What passes between leader and agent stays off the shards' CPUs.
                let _ = system::pin_thread(&off_shards);
                self.agent.handle_ready(*ready);
            }
            Some(Happening::Measured(rate)) => {
                self.agent.handle_measured(rate);
                self.let_go();
            }
            Some(Happening::Examined(diagnosis)) => {
                self.agent.handle_examined(diagnosis);
                self.let_go();
            }
            Some(Happening::Failed(why)) => self.agent.handle_failed(why),
            Some(Happening::TookOver(refused)) => self.agent.handle_took_over(refused),
            Some(Happening::Seen(delta)) => self.agent.handle_delta(*delta),
            Some(Happening::Ended(ended)) => self.agent.handle_ended(*ended),
            None => self.let_go(),
        }
    }

    fn act(&mut self) {
        while let Some(act) = self.agent.poll() {
            match act {
                Act::Say(number, message) => {
                    if let Some(leader) = self.links.get(&number) {
                        leader.link.send(encode(&*message));
                    }
                }
                Act::Prepare(task) => {
                    self.let_go();
                    self.drive = Some(Drive::begin(*task, self.bounds.clone(), self.before.take()));
                }
                Act::Measure(task) => {
                    self.let_go();
                    self.drive = Some(Drive::measure(*task, self.bounds.clone(), self.before.take()));
                }
                Act::Examine(task, new) => {
                    self.let_go();
                    self.drive = Some(Drive::examine(*task, new, self.bounds.clone(), self.before.take()));
                }
                Act::Start(at) => self.tell(Order::Start(at)),
                Act::Permit(until) => self.tell(Order::Permit(until)),
                Act::TakeOver(part, from) => {
                    if let Some(lanes) = part.lanes() {
                        self.tell(Order::TakeOver(lanes, part.fraction(), from));
                    }
                }
                Act::Stop => self.tell(Order::Stop),
                Act::Abandon => self.let_go(),
                Act::Log(line) => log(&line),
            }
        }
    }

    fn tell(&self, order: Order) {
        if let Some(drive) = &self.drive {
            drive.tell(order);
        }
    }

    fn let_go(&mut self) {
        if let Some(drive) = self.drive.take() {
            self.before = Some(drive.end());
            let _ = system::pin_thread(&self.bounds.cpus);
        }
    }

    /// Stops a run that goes on, and lets its leader have all that was seen.
    async fn leave(&mut self) {
        for _ in 0..2 {
            self.agent.handle_end();
            self.act();
            let until = Instant::now() + ANSWERS_MAX;
            while self.agent.sends()
                && let Ok(happening) = timeout_at(until, self.next_happening()).await
            {
                self.handle_happening(happening);
                self.act();
            }
        }
        for leader in self.links.values() {
            leader.link.finish().await;
        }
    }

    /// Nothing is sent any more when it returns.
    fn end(&mut self) {
        self.let_go();
        if let Some(before) = self.before.take() {
            let _ = before.join();
        }
    }
}

async fn until(moment: Option<Nanos>) {
    match moment {
        Some(moment) => sleep(Duration::from_nanos(moment.saturating_sub(system::monotonic()).0)).await,
        None => std::future::pending().await,
    }
}

/// Tells when standard input ends, which it does with whoever started this process.
fn parent_gone() -> oneshot::Receiver<()> {
    let (tell, gone) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = tell.send(());
    });
    gone
}

/// A line an event; whoever keeps them adds the time.
fn log(line: &str) {
    let _ = writeln!(std::io::stderr(), "agent: {line}");
}
