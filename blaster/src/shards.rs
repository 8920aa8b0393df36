//! Where workers live: one glommio executor per core, pinned, hosting the hot loop and a control task.
//!
//! The only module that knows glommio. The hot loop is a task that owns its own ring and yields about once a millisecond; the
//! control task then takes in what the reporting thread says. Recorders travel by channel, whole.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use blaster_core::load::engine::{ConnectFailure, Engine};
use blaster_core::load::recorder::Recorder;
use blaster_core::load::schedule::Schedule;
use blaster_core::load::worker::{Progress, Worker, WorkerPlan};
use blaster_core::report::machine::Tcp;
use blaster_core::time::Nanos;
use blaster_ring::engine::Pressure;
use blaster_ring::system::FirstInLine;
use blaster_ring::{EngineConfig, UringEngine, socket, system};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

/// One shard: its CPU, its engine, its work.
pub struct ShardPlan {
    /// The CPU it is pinned to.
    pub cpu: usize,
    /// What its engine is made for.
    pub engine: EngineConfig,
    /// What its worker is to do.
    pub worker: WorkerPlan,
}

/// What the reporting thread says to a shard.
enum Command {
    Start(Nanos),
    Permit(Nanos),
    TakeOver(Vec<Schedule>),
    Stop,
    Halt,
    Spare(Box<Recorder>),
}

/// What a shard says.
pub enum Message {
    /// How far it is with opening connections; said again and again until all were tried.
    Opening {
        /// Every connection was opened, or tried once.
        all_tried: bool,
        /// By stream: connections open, and why the last failed one did.
        streams: Vec<(u32, Option<ConnectFailure>)>,
    },
    /// An interval is over.
    Full(Box<Recorder>),
    /// The run is over; its last recorder was sent.
    Done(ShardFacts),
    /// It could not be set up, or broke.
    Failed(std::io::Error),
}

/// What a shard knows about itself, over the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardFacts {
    /// Its CPU.
    pub cpu: usize,
    /// CPU time of its thread since the start.
    pub cpu_time: Nanos,
    /// Of it, time spent polling for want of anything else to do.
    pub spun: Nanos,
    /// Time that its thread was ready to run and waited for its CPU; none where the kernel does not say.
    pub waited: Option<Nanos>,
    /// Times that its thread was taken off its CPU while it wanted to go on.
    pub involuntary_switches: u64,
    /// The intended time of its first request; none if there is none, and in closed loop.
    pub first_due: Option<Nanos>,
    /// When its first request was sent; none if it sent none.
    pub first_sent: Option<Nanos>,
    /// From its first attempt to open a connection until all were open or had failed once.
    pub opening: Option<Nanos>,
    /// The end of its permit, if that is what ended the sending.
    pub lapsed: Option<Nanos>,
    /// How often its ring was short of room.
    pub pressure: Pressure,
    /// Of the connections open at the end.
    pub tcp: Option<Tcp>,
    /// Why the kernel timed none of its requests, if it did not.
    pub wire_unavailable: Option<&'static str>,
}

/// All shards of a run, seen from the reporting thread.
pub struct Shards {
    commands: Vec<Sender<Command>>,
    messages: Receiver<(usize, Message)>,
    handles: Vec<ExecutorJoinHandle<()>>,
}

/// Messages a shard may be ahead of the reporting thread by, before it waits for it.
const MESSAGES_AHEAD: usize = 1024;

/// How often the hot loop yields.
const YIELD_EVERY: Nanos = Nanos(1_000_000);

/// A shard polls the clock so long before its first request: a thread that sleeps then wakes up some tens or hundreds of microseconds late,
/// and each by its own time. Longer than two turns that each end late, so that none sleeps past it.
const AWAKE_BEFORE_START: Nanos = Nanos(4_000_000);

/// Where it may, it is first in line for its CPU from so long before: it must also wake up in time to poll.
const FIRST_BEFORE_START: Nanos = Nanos(30_000_000);

/// How often a shard that opens connections says how far it is.
const TELL_EVERY: Nanos = Nanos(100_000_000);

/// Connections of a shard whose `TCP_INFO` is read at the end: enough for a picture, few enough to be quick.
const TCP_INFO_CONNECTIONS: usize = 64;

/// The smallest I/O memory glommio takes; the hot loop does not use it.
const GLOMMIO_IO_BYTES: usize = 65_536;

impl Shards {
    /// Starts an executor per shard; each opens its connections and then waits for [`Self::start`].
    pub fn launch(plans: Vec<ShardPlan>) -> Result<Self, glommio::GlommioError<()>> {
        let (sender, messages) = sync_channel(MESSAGES_AHEAD);
        let mut shards = Self { commands: Vec::new(), messages, handles: Vec::new() };
        for (index, plan) in plans.into_iter().enumerate() {
            let (commands, inbox) = channel();
            let outbox = Outbox { index, sender: sender.clone() };
            let handle = LocalExecutorBuilder::new(Placement::Fixed(plan.cpu))
                .name(&format!("shard-{index}"))
                .io_memory(GLOMMIO_IO_BYTES)
                .spawn(move || host(plan, inbox, outbox))?;
            shards.commands.push(commands);
            shards.handles.push(handle);
        }
        Ok(shards)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.commands.len()
    }

    /// What shards say, each message with its shard.
    pub fn messages(&self) -> &Receiver<(usize, Message)> {
        &self.messages
    }

    /// Request times count from `at`.
    pub fn start(&self, at: Nanos) {
        self.tell_all(|| Command::Start(at));
    }

    /// Nothing is sent from `until` on, unless told otherwise before.
    pub fn permit(&self, until: Nanos) {
        self.tell_all(|| Command::Permit(until));
    }

    /// Sends what others were to send as well: for each shard a schedule a stream.
    pub fn take_over(&self, schedules: impl IntoIterator<Item = Vec<Schedule>>) {
        for (commands, schedules) in self.commands.iter().zip(schedules) {
            // A shard that has ended takes over nothing.
            let _ = commands.send(Command::TakeOver(schedules));
        }
    }

    /// Nothing more is sent; what is in flight is waited for.
    pub fn stop(&self) {
        self.tell_all(|| Command::Stop);
    }

    /// What is in flight is not waited for.
    pub fn halt(&self) {
        self.tell_all(|| Command::Halt);
    }

    /// Gives an empty recorder back to the shard it came from.
    pub fn give_back(&self, shard: usize, recorder: Box<Recorder>) {
        // A shard that has ended needs none.
        let _ = self.commands[shard].send(Command::Spare(recorder));
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for commands in &self.commands {
            let _ = commands.send(command());
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.halt();
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

struct Outbox {
    index: usize,
    sender: SyncSender<(usize, Message)>,
}

impl Outbox {
    fn send(&self, message: Message) {
        // The reporting thread is gone only when the run was given up.
        let _ = self.sender.send((self.index, message));
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // Whoever waits for this shard must not wait for ever.
        if std::thread::panicking() {
            self.send(Message::Failed(std::io::Error::other("it panicked: please report this as a bug")));
        }
    }
}

/// An executor's two tasks: the hot loop, and beside it the one that hears commands.
async fn host(plan: ShardPlan, inbox: Receiver<Command>, outbox: Outbox) {
    system::sharpen_timers();
    let cpu = plan.cpu;
    let tape = plan.engine.reel.tape().clone();
    let worker = match UringEngine::new(plan.engine) {
        Ok(engine) => Worker::new(engine, tape, plan.worker),
        Err(error) => return outbox.send(Message::Failed(error)),
    };
    let heard = Rc::new(RefCell::new(VecDeque::new()));
    let control = glommio::spawn_local(hear(inbox, heard.clone())).detach();
    hot_loop(worker, cpu, &heard, &outbox).await;
    control.cancel();
}

/// Takes commands in whenever the hot loop yields.
async fn hear(inbox: Receiver<Command>, heard: Rc<RefCell<VecDeque<Command>>>) {
    loop {
        match inbox.try_recv() {
            Ok(command) => heard.borrow_mut().push_back(command),
            Err(TryRecvError::Empty) => glommio::executor().yield_now().await,
            Err(TryRecvError::Disconnected) => return heard.borrow_mut().push_back(Command::Halt),
        }
    }
}

async fn hot_loop(
    mut worker: Worker<UringEngine>,
    cpu: usize,
    heard: &RefCell<VecDeque<Command>>,
    outbox: &Outbox,
) {
    let mut yielded = Nanos::ZERO;
    let (mut ready, mut told) = (false, Nanos::ZERO);
    let (mut start, mut at_start) = (None, Reading::default());
    let mut first_in_line = None;
    loop {
        let progress = worker.turn();
        let now = worker.now();
        if progress != Progress::Done && now < yielded + YIELD_EVERY {
            continue;
        }
        yielded = now;
        while let Some(recorder) = worker.take_full() {
            outbox.send(Message::Full(Box::new(recorder)));
        }
        if progress == Progress::Done {
            break;
        }
        let all_tried = progress == Progress::Ready;
        if !ready && (all_tried || now >= told + TELL_EVERY) {
            (ready, told) = (all_tried, now);
            outbox.send(Message::Opening { all_tried, streams: worker.streams() });
        }
        glommio::executor().yield_now().await;
        let now = worker.engine().now();
        worker.set_wall_clock(now, system::unix_time_ns());
        while let Some(command) = heard.borrow_mut().pop_front() {
            match command {
                Command::Start(at) => {
                    at_start = Reading::take(worker.engine());
                    worker.start(at);
                    (ready, start) = (true, Some(worker.first_due().unwrap_or(at)));
                }
                Command::Permit(until) => worker.permit(until),
                Command::TakeOver(schedules) => worker.take_over(schedules),
                Command::Stop => worker.stop(),
                Command::Halt => worker.halt(),
                Command::Spare(recorder) => worker.give_spare(*recorder),
            }
        }
        if first_in_line.is_none() && start.is_some_and(|at| worker.engine().now() + FIRST_BEFORE_START >= at)
        {
            first_in_line = Some(FirstInLine::new());
        }
        if let Some(at) = start.filter(|&at| worker.engine().now() + AWAKE_BEFORE_START >= at) {
            start = None;
            worker.expect_first();
            worker.turn();
            while worker.engine().now() < at {
                std::hint::spin_loop();
            }
            worker.turn();
            // It has left.
            first_in_line = None;
        }
    }
    let at_end = Reading::take(worker.engine());
    outbox.send(Message::Done(ShardFacts {
        cpu,
        cpu_time: at_end.cpu_time - at_start.cpu_time,
        spun: at_end.spun - at_start.spun,
        waited: at_end.waited.zip(at_start.waited).map(|(end, start)| end.saturating_sub(start)),
        involuntary_switches: at_end.involuntary_switches - at_start.involuntary_switches,
        pressure: Pressure {
            completion_overflows: at_end.pressure.completion_overflows
                - at_start.pressure.completion_overflows,
            buffers_starved: at_end.pressure.buffers_starved - at_start.pressure.buffers_starved,
        },
        first_due: worker.first_due(),
        first_sent: worker.first_sent(),
        opening: worker.opening_took(),
        lapsed: worker.lapsed(),
        wire_unavailable: worker.engine().wire_unavailable(),
        tcp: socket::tcp_info(worker.engine().sockets().take(TCP_INFO_CONNECTIONS)),
    }));
}

/// What a shard's thread has used and gone without so far.
#[derive(Clone, Copy, Default)]
struct Reading {
    cpu_time: Nanos,
    spun: Nanos,
    waited: Option<Nanos>,
    involuntary_switches: u64,
    pressure: Pressure,
}

impl Reading {
    /// To be taken on the shard's own thread.
    fn take(engine: &UringEngine) -> Self {
        Self {
            cpu_time: system::thread_cpu_time(),
            spun: engine.spun(),
            waited: waited(),
            involuntary_switches: system::thread_involuntary_switches(),
            pressure: engine.pressure(),
        }
    }
}

/// Time that this thread was ready to run and waited for a CPU: the second number of its scheduler statistics.
fn waited() -> Option<Nanos> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Nanos)
}
