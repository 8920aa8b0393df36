//! The kernel's own times of single requests: when the last byte left for the network device, and when the answer came from it.
//!
//! One request at a time is timed, in two steps. First a connection is prepared: it is received from with a multishot receive
//! that hands the times of what arrives over next to the bytes. Its next request is the one that is timed: its socket asks for
//! the time of what it sends, one system call which is all that being timed adds to the time before the wire. After the answer
//! the connection is received from as before. All other requests do without, and cost what they always do.
//!
//! While anybody wants times of arrival the kernel takes one of every packet of the machine, which was measured to cost 1 to 2 %
//! of the CPU time of a request. So it is asked to for an eighth of the time, in windows short enough for runs of a second.
//!
//! The kernel tells wall-clock time. The run's clock is monotonic and differs from that by a constant, until somebody sets the
//! wall clock: it is measured before and after, and a request in whose time it changed is not reported.
//!
//! - **INV-W1** What a system call reads or writes outlives the call, and its length is the one it was told.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

use blaster_core::load::engine::{ConnectionId, WireTimes};
use blaster_core::time::Nanos;
use libc::{c_int, c_uint};
use socket2::{Domain, Socket, Type};

use crate::clock::Clock;

/// Room for the control messages of a receive; that of a time takes 64 bytes.
pub(crate) const CONTROL_BYTES: usize = 128;

/// Control messages of the error queue: a time, and a description of what it is of.
const ERROR_CONTROL_BYTES: usize = 256;

/// Most left-over times to skip in search of the one asked for.
const SKIPPED_MAX: usize = 8;

/// The wall clock has been set if it moved by more than this against the run's clock, which readings may be apart by.
const DRIFT_MAX: i64 = 5_000;

/// For how long requests are timed, and how often such a time begins.
const WINDOW: Nanos = Nanos(250_000_000);
const WINDOW_EVERY: Nanos = Nanos(2_000_000_000);

/// No times.
const NONE: c_uint = 0;

/// Times of what is received.
const RECEIVE: c_uint = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE;

/// Times of what is sent as well, alone (not with a copy of the packet), numbered by the offset of their last byte.
const SEND_AND_RECEIVE: c_uint = RECEIVE
    | libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_ID
    | libc::SOF_TIMESTAMPING_OPT_TSONLY;

/// Times one request after another.
pub(crate) struct Wire {
    /// Asks for the times of arriving packets all through a window: the kernel begins to take them some time after the first
    /// socket asked, and each request's own asks too late.
    keeper: Option<Socket>,
    /// When the latest window began.
    window_from: Option<Nanos>,
    unavailable: Option<&'static str>,
    request: Option<Timed>,
    /// Requests that were to be timed, and what the kernel said of them.
    asked: u64,
    departures: u64,
    arrivals: u64,
}

/// The request being timed.
struct Timed {
    id: ConnectionId,
    /// What the wall clock is ahead of the run's clock by.
    ahead: i64,
    departure: Departure,
}

/// How far a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Departure {
    /// The connection is being prepared.
    Prepared,
    /// What is sent next is timed.
    Asked,
    /// So many bytes are being sent.
    Sent(u32),
    /// The last of them left then, by the wall clock.
    Left(i64),
}

impl Wire {
    /// Times nothing unless `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        let unavailable = match wanted.then(keeper) {
            None => Some("switched off"),
            Some(Ok(_)) => None,
            Some(Err(_)) => Some("this kernel does not offer SO_TIMESTAMPING"),
        };
        Self {
            keeper: None,
            window_from: None,
            unavailable,
            request: None,
            asked: 0,
            departures: 0,
            arrivals: 0,
        }
    }

    /// Why no request was timed, if none was.
    pub(crate) fn unavailable(&self) -> Option<&'static str> {
        match () {
            _ if self.unavailable.is_some() => self.unavailable,
            _ if self.asked == 0 => Some("too few requests were sent on an idle connection"),
            _ if self.departures == 0 => Some("the network device reports no times of departure"),
            _ if self.arrivals == 0 => Some("the kernel reports no times of arrival"),
            _ => None,
        }
    }

    /// Whether another request is to be timed; begins a window when it is time for one.
    pub(crate) fn is_free(&mut self, now: Nanos) -> bool {
        if self.unavailable.is_some() || self.request.is_some() {
            return false;
        }
        if self.window_from.is_none_or(|from| now >= from + WINDOW_EVERY) {
            self.window_from = Some(now);
            match keeper() {
                Ok(keeper) => self.keeper = Some(keeper),
                Err(_) => self.give_up("this process is out of file descriptors"),
            }
        }
        self.end_window(now);
        self.keeper.is_some()
    }

    /// Has the kernel take no more times if the window is over; a request that is being timed keeps it open.
    #[inline]
    pub(crate) fn end_window(&mut self, now: Nanos) {
        if self.keeper.is_some()
            && self.request.is_none()
            && self.window_from.is_some_and(|from| now >= from + WINDOW)
        {
            self.keeper = None;
        }
    }

    /// Whether this connection is prepared, or a request of its is being timed.
    pub(crate) fn is_timing(&self, id: ConnectionId) -> bool {
        self.request.as_ref().is_some_and(|request| request.id == id)
    }

    /// A request of this connection will be timed.
    pub(crate) fn prepare(&mut self, id: ConnectionId, clock: Clock) {
        self.request = Some(Timed { id, ahead: wall_clock_ahead(clock), departure: Departure::Prepared });
    }

    /// Times the next send on the prepared connection; whether the kernel agrees.
    pub(crate) fn begin(&mut self, socket: &Socket) -> bool {
        let request = self.request.as_mut().expect("a connection is prepared");
        debug_assert_eq!(request.departure, Departure::Prepared, "nothing was in flight on it");
        request.departure = Departure::Asked;
        self.asked += 1;
        let agrees = ask(socket, SEND_AND_RECEIVE).is_ok();
        if !agrees {
            self.give_up("this kernel does not offer SO_TIMESTAMPING for TCP");
        }
        agrees
    }

    /// So many bytes are being sent on a connection.
    #[inline]
    pub(crate) fn handle_send(&mut self, id: ConnectionId, bytes: u32) {
        if let Some(request) = &mut self.request
            && (request.id, request.departure) == (id, Departure::Asked)
        {
            request.departure = Departure::Sent(bytes);
        }
    }

    /// The connection whose time of departure is still to be read.
    #[inline]
    pub(crate) fn departing(&self) -> Option<ConnectionId> {
        let is_sent = |request: &&Timed| matches!(request.departure, Departure::Sent(_));
        self.request.as_ref().filter(is_sent).map(|request| request.id)
    }

    /// Reads the time of departure, if it is known by now. It must not lie there for long: a socket with something in its
    /// error queue is always ready.
    pub(crate) fn read_departure(&mut self, socket: &Socket) {
        let Some(request) = &mut self.request else { return };
        let Departure::Sent(bytes) = request.departure else { return };
        for _ in 0..SKIPPED_MAX {
            match next_departure(socket) {
                Some((offset, at)) if offset == bytes - 1 => {
                    request.departure = Departure::Left(at);
                    self.departures += 1;
                    // Nothing sent later on this connection is asked about.
                    let _ = ask(socket, RECEIVE);
                    return;
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Bytes have come, with these control messages. The first ones after the request say when its answer arrived, and it is
    /// timed no longer.
    pub(crate) fn handle_arrival(
        &mut self,
        socket: &Socket,
        control: &[u8],
        clock: Clock,
    ) -> Option<WireTimes> {
        self.read_departure(socket);
        let request = self.request.take_if(|request| request.departure != Departure::Prepared)?;
        let arrived = control_messages(control).find_map(time_of);
        self.arrivals += u64::from(arrived.is_some());
        let _ = ask(socket, NONE);
        let Departure::Left(left) = request.departure else { return None };
        if (wall_clock_ahead(clock) - request.ahead).abs() > DRIFT_MAX {
            return None;
        }
        let by_run_clock = |at: i64| u64::try_from(at - request.ahead).ok().map(Nanos);
        Some(WireTimes { left: by_run_clock(left)?, arrived: by_run_clock(arrived?)? })
    }

    /// The request will have no answer, or not one whose time is known.
    pub(crate) fn abandon(&mut self, socket: Option<&Socket>) {
        self.request = None;
        if let Some(socket) = socket {
            let _ = ask(socket, NONE);
        }
    }

    /// No request is timed any more.
    pub(crate) fn give_up(&mut self, why: &'static str) {
        self.keeper = None;
        self.request = None;
        self.unavailable = Some(why);
    }
}

/// What a multishot receive with times is asked with: no address, and room for the times.
pub(crate) fn receive_header() -> libc::msghdr {
    // SAFETY: INV-W1; a header of zeroes is one that has room for nothing.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_controllen = CONTROL_BYTES;
    header
}

/// A socket on which nothing arrives, and which has the kernel take times. Of the internet: for a local one it would not.
fn keeper() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
    ask(&socket, SEND_AND_RECEIVE)?;
    Ok(socket)
}

fn ask(socket: &Socket, flags: c_uint) -> io::Result<()> {
    // SAFETY: INV-W1, the option is an integer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            (&raw const flags).cast(),
            size_of_val(&flags) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next departure in the error queue: offset of the last byte, and wall-clock time.
fn next_departure(socket: &Socket) -> Option<(u32, i64)> {
    let mut control = Aligned([0; ERROR_CONTROL_BYTES]);
    // SAFETY: INV-W1; a header of zeroes is one that has room for nothing.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    debug_assert_eq!((header.msg_iov, header.msg_name), (null_mut(), null_mut()));
    // SAFETY: INV-W1, `control` outlives the call, which is told its length.
    let result =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if result < 0 {
        return None;
    }
    let control = &control.0[..header.msg_controllen.min(ERROR_CONTROL_BYTES)];
    let at = control_messages(control).find_map(time_of);
    let offset = control_messages(control).find_map(offset_of);
    // Of another kind is what has no offset, as an ICMP error: it is no departure, but there may be one behind it.
    Some((offset.unwrap_or(u32::MAX), at.unwrap_or_default()))
}

/// So that the kernel's structures lie where they may.
#[repr(align(8))]
struct Aligned<const N: usize>([u8; N]);

/// A control message (cmsg(3)).
#[derive(Clone, Copy)]
struct ControlMessage<'a> {
    level: c_int,
    kind: c_int,
    data: &'a [u8],
}

fn control_messages(mut bytes: &[u8]) -> impl Iterator<Item = ControlMessage<'_>> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    std::iter::from_fn(move || {
        let len = usize::from_ne_bytes(*bytes.first_chunk()?);
        let level = c_int::from_ne_bytes(*bytes.get(size_of::<usize>()..)?.first_chunk()?);
        let kind =
            c_int::from_ne_bytes(*bytes.get(size_of::<usize>() + size_of::<c_int>()..)?.first_chunk()?);
        let data = bytes.get(HEADER..len)?;
        bytes = bytes.get(len.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
        Some(ControlMessage { level, kind, data })
    })
}

/// The software time of a control message, in nanoseconds of the wall clock: the first of three (seconds, nanoseconds).
fn time_of(message: ControlMessage<'_>) -> Option<i64> {
    if (message.level, message.kind) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) {
        return None;
    }
    let [seconds, nanos] = [0, 8].map(|at| {
        let bytes = message.data.get(at..)?.first_chunk()?;
        Some(i64::from_ne_bytes(*bytes))
    });
    let time = seconds?.checked_mul(1_000_000_000)?.checked_add(nanos?)?;
    (time > 0).then_some(time)
}

/// What a time of departure is of (linux/errqueue.h, `sock_extended_err`): the offset of the last byte.
fn offset_of(message: ControlMessage<'_>) -> Option<u32> {
    /// Where it keeps the origin, what kind of time it is, and its number.
    const ORIGIN: usize = 4;
    const INFO: usize = 8;
    const DATA: usize = 12;
    /// Handed to the device (`SCM_TSTAMP_SND`).
    const SENT: u32 = 0;
    let is_error = matches!(
        (message.level, message.kind),
        (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
    );
    let word = |at: usize| Some(u32::from_ne_bytes(*message.data.get(at..)?.first_chunk()?));
    let is_sent =
        is_error && *message.data.get(ORIGIN)? == libc::SO_EE_ORIGIN_TIMESTAMPING && word(INFO)? == SENT;
    if is_sent { word(DATA) } else { None }
}

/// What the wall clock is ahead of the run's clock by: the tightest of a few readings, since we may be interrupted in one.
fn wall_clock_ahead(clock: Clock) -> i64 {
    let reading = || {
        let before = clock.now();
        let wall = crate::system::unix_time_ns() as i64;
        let after = clock.now();
        let width = after - before;
        (width, wall - (before.0 + width.0 / 2) as i64)
    };
    let tightest = [reading(), reading(), reading()].into_iter().min_by_key(|(width, _)| *width);
    tightest.expect("three readings").1
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn message(level: c_int, kind: c_int, data: &[u8]) -> Vec<u8> {
        let mut bytes = (size_of::<libc::cmsghdr>() + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn time(seconds: i64, nanos: i64) -> Vec<u8> {
        let times = [seconds, nanos, 0, 0, 0, 0];
        message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &times.map(i64::to_ne_bytes).concat())
    }

    #[test]
    fn a_time_is_found_among_other_messages() {
        let mut control = message(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[7; 12]);
        control.extend(time(3, 25));
        assert_eq!(control_messages(&control).find_map(time_of), Some(3_000_000_025));
    }

    #[test]
    fn cut_or_empty_control_messages_hold_no_time() {
        let whole = time(3, 25);
        for len in 0..whole.len() {
            assert_eq!(control_messages(&whole[..len]).find_map(time_of), None, "{len} bytes");
        }
        assert_eq!(control_messages(&[0; 64]).find_map(time_of), None);
        assert_eq!(control_messages(&time(0, 0)).find_map(time_of), None, "the kernel took no time");
    }

    #[test]
    fn a_departure_is_told_by_the_offset_of_its_last_byte() {
        let describe = |origin: u8, info: u32| {
            let mut error = [0; 16];
            error[4] = origin;
            error[8..12].copy_from_slice(&info.to_ne_bytes());
            error[12..].copy_from_slice(&41u32.to_ne_bytes());
            let control = message(libc::SOL_IP, libc::IP_RECVERR, &error);
            control_messages(&control).find_map(offset_of)
        };
        assert_eq!(describe(libc::SO_EE_ORIGIN_TIMESTAMPING, 0), Some(41));
        assert_eq!(describe(libc::SO_EE_ORIGIN_TIMESTAMPING, 1), None, "queued, not sent");
        assert_eq!(describe(libc::SO_EE_ORIGIN_ICMP, 0), None);
    }

    #[test]
    fn readings_of_the_two_clocks_agree_with_each_other() {
        let clock = Clock::start();
        // One pair may be interrupted between its readings, all of them are not.
        let drift = (0..20).map(|_| (wall_clock_ahead(clock) - wall_clock_ahead(clock)).abs()).min();
        assert!(drift < Some(DRIFT_MAX), "{drift:?} ns");
    }

    #[test]
    fn the_kernel_times_a_departure_on_loopback() {
        let mut wire = Wire::new(true);
        if let Some(why) = wire.unavailable {
            eprintln!("SKIPPED: {why}");
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let clock = Clock::start();
        let socket = Socket::from(stream.try_clone().unwrap());
        for round in 0..3 {
            assert!(wire.is_free(Nanos(5)));
            wire.prepare(7, clock);
            assert!(wire.is_timing(7) && !wire.is_free(Nanos(5)));
            assert_eq!(wire.handle_arrival(&socket, &[], clock), None, "of an earlier request");
            assert!(wire.begin(&socket), "round {round}");
            let before = clock.now();
            stream.write_all(b"request").unwrap();
            wire.handle_send(7, 7);
            peer.read_exact(&mut [0; 7]).unwrap();
            assert_eq!(wire.departing(), Some(7));
            wire.read_departure(&socket);
            let after = clock.now();
            assert_eq!(wire.departing(), None, "round {round}: its time is known");
            let arrival = crate::system::unix_time_ns() as i64;
            let times =
                wire.handle_arrival(&socket, &time(arrival / 1_000_000_000, arrival % 1_000_000_000), clock);
            if let Some(times) = times {
                // As exact as the two clocks were compared.
                let allowance = Nanos(DRIFT_MAX as u64);
                assert!(before <= times.left + allowance && times.left <= after + allowance, "{times:?}");
                assert!(times.arrived + allowance >= after, "{times:?}");
            }
            assert!(wire.is_free(Nanos(5)) && wire.unavailable().is_none());
        }
    }

    #[test]
    fn requests_are_timed_for_an_eighth_of_the_time() {
        let mut wire = Wire::new(true);
        if let Some(why) = wire.unavailable {
            eprintln!("SKIPPED: {why}");
            return;
        }
        let millis = |millis: u64| Nanos(millis * 1_000_000);
        let free =
            [100, 300, 349, 350, 2_000, 2_099, 2_100, 2_349, 2_350, 4_100].map(|at| wire.is_free(millis(at)));
        assert_eq!(free, [true, true, true, false, false, false, true, true, false, true]);
        wire.prepare(3, Clock::start());
        wire.end_window(millis(20_000));
        assert!(wire.keeper.is_some(), "a request is being timed");
        wire.abandon(None);
        wire.end_window(millis(20_000));
        assert!(wire.keeper.is_none());
    }

    #[test]
    fn one_that_is_switched_off_is_never_free() {
        let mut wire = Wire::new(false);
        assert!(!wire.is_free(Nanos(5)));
        assert_eq!(wire.unavailable(), Some("switched off"));
    }
}
