//! A worker allocates nothing once it runs, and little for each connection before: every allocation is counted, those of the
//! simulator excepted.
#![cfg(feature = "sim")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;

use blaster_core::load::engine::{ConnectionId, Engine, Event, Lent, OnEvent, Outgoing};
use blaster_core::load::worker::{Progress, Worker};
use blaster_core::sim::scenario::Scenario;
use blaster_core::sim::{Answer, Behaviour, CloseAfter, SimEngine, Span};
use blaster_core::time::Nanos;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    static COUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Counts what this thread allocates while it is told to.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counters are constants of plain
// types, so that touching them neither allocates nor runs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    if COUNTING.get() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + bytes as u64);
    }
}

/// Switches counting, and back when the scope ends.
struct Switched(bool);

impl Switched {
    fn to(counting: bool) -> Self {
        Self(COUNTING.replace(counting))
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        COUNTING.set(self.0);
    }
}

/// The simulator may allocate; what it tells the worker is counted again.
struct Uncounted(SimEngine);

struct Counted<'a, O> {
    on: &'a mut O,
    counting: bool,
}

impl Engine for Uncounted {
    fn now(&mut self) -> Nanos {
        self.0.now()
    }

    fn connect(&mut self, id: ConnectionId, address: usize) {
        let _off = Switched::to(false);
        self.0.connect(id, address);
    }

    fn send(&mut self, id: ConnectionId, what: Outgoing) {
        let _off = Switched::to(false);
        self.0.send(id, what);
    }

    fn lend(&mut self, id: ConnectionId, run: Range<usize>) -> Lent<'_> {
        let _off = Switched::to(false);
        self.0.lend(id, run)
    }

    fn stage(&mut self, id: ConnectionId) -> &mut [u8] {
        let _off = Switched::to(false);
        self.0.stage(id)
    }

    fn close(&mut self, id: ConnectionId) {
        let _off = Switched::to(false);
        self.0.close(id);
    }

    fn turn(&mut self, until: Nanos, on: &mut impl OnEvent) {
        let counting = COUNTING.get();
        let _off = Switched::to(false);
        self.0.turn(until, &mut Counted { on, counting });
    }
}

impl<O: OnEvent> OnEvent for Counted<'_, O> {
    fn submitted(&mut self, now: Nanos) {
        let _back = Switched::to(self.counting);
        self.on.submitted(now);
    }

    fn reaped(&mut self, now: Nanos) {
        let _back = Switched::to(self.counting);
        self.on.reaped(now);
    }

    fn event(&mut self, id: ConnectionId, event: Event<'_>) {
        let _back = Switched::to(self.counting);
        self.on.event(id, event);
    }
}

/// Allocations of a worker from its making to its end, and how many requests it had answered.
fn allocations(scenario: &Scenario) -> (u64, u64) {
    let mut worker: Worker<Uncounted> = scenario.worker_on(Uncounted);
    worker.start(Nanos::from_millis(5));
    ALLOCATIONS.set(0);
    let mut answered = 0;
    let _on = Switched::to(true);
    loop {
        let progress = worker.turn();
        while let Some(mut full) = worker.take_full() {
            full.settle();
            answered += full.classes.iter().map(|class| class.ok).sum::<u64>();
            full.clear();
            if progress != Progress::Done {
                worker.give_spare(full);
            }
        }
        if progress == Progress::Done {
            return (ALLOCATIONS.get(), answered);
        }
    }
}

#[test]
fn a_running_worker_allocates_nothing() {
    let in_pieces = Behaviour {
        piece_bytes_max: Some(9),
        full_socket: 300,
        full_for: Span::micros(0, 500),
        answers: vec![
            (Answer::Accepted, 1),
            (Answer::Chunked, 1),
            (Answer::AfterInterim, 1),
            (Answer::Error, 1),
        ],
        ..Behaviour::healthy(0)
    };
    let closing = Behaviour {
        close_after: Some(CloseAfter { answers: 20, announced: false }),
        answers: vec![(Answer::Accepted, 100), (Answer::Last, 1), (Answer::Garbage, 1), (Answer::Never, 1)],
        ..Behaviour::healthy(0)
    };
    for (name, behaviour) in
        [("healthy", Behaviour::healthy(0)), ("in pieces", in_pieces), ("closing", closing)]
    {
        for depth in [1, 16] {
            let length = Nanos::from_millis(3_500);
            let open = Scenario::simple(2_000.0, length, 8, depth, behaviour.clone());
            let closed = Scenario::closed(Nanos::from_millis(100), 8, depth, behaviour.clone());
            for mut scenario in [open, closed] {
                scenario.timeout = Nanos::from_millis(50);
                scenario.streams[0].count_key = (depth == 16).then_some("count");
                let (allocations, answered) = allocations(&scenario);
                assert!(answered > 1_000, "{name}, depth {depth}: {answered} answered");
                assert_eq!(allocations, 0, "{name}, depth {depth}: allocations while running");
            }
        }
    }
}

/// Bytes that a worker with so many connections is made of.
fn bytes_of_worker(connections: u32, counted: bool) -> u64 {
    let mut scenario = Scenario::simple(1.0, Nanos::from_millis(1), connections, 1, Behaviour::healthy(0));
    scenario.streams[0].count_key = counted.then_some("count");
    let begin = |engine| {
        COUNTING.set(true);
        BYTES.set(0);
        Uncounted(engine)
    };
    let _worker = scenario.worker_on(begin);
    COUNTING.set(false);
    BYTES.get()
}

#[test]
fn two_hundred_thousand_connections_fit_into_less_than_half_a_gibibyte_of_a_worker() {
    for (counted, most) in [(false, 1_400), (true, 1_500)] {
        let (few, many) = (bytes_of_worker(1_000, counted), bytes_of_worker(201_000, counted));
        let each = (many - few) / 200_000;
        assert!(each < most, "a connection takes {each} bytes, with counts of events: {counted}");
    }
}

#[test]
fn the_counter_counts() {
    let _on = Switched::to(true);
    let before = ALLOCATIONS.get();
    std::hint::black_box(Vec::<u8>::with_capacity(10));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}
