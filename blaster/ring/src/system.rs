//! This machine and this process: CPUs, limits, times. Thin, safe shells around the calls that need unsafe.
//!
//! - **INV-S1** Every call takes plain numbers, or reads and writes only a local struct of the size it is told.
//! - **INV-S2** The list of `getifaddrs` is live until it is freed, at the end of the one function that reads it; an address in it
//!   is as large as its family says.

use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use blaster_core::time::Nanos;

/// CPUs this thread may run on, in rising order.
pub fn allowed_cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: INV-S1, the set is as large as we say; zeroed, it is valid whatever the call does.
    let set = unsafe {
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
        set.assume_init()
    };
    // SAFETY: INV-S1, every index is below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Lets this thread run on these CPUs only.
pub fn pin_thread(cpus: &[usize]) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: INV-S1, a zeroed set is valid; CPU_SET ignores indices beyond its size.
    let result = unsafe {
        let set = set.assume_init_mut();
        for &cpu in cpus {
            libc::CPU_SET(cpu, set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Wakes this thread from timed waits as exactly as the kernel can, instead of up to 50 µs late.
pub fn sharpen_timers() {
    // SAFETY: INV-S1; it cannot fail for this option.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64, 0, 0, 0) };
}

/// While it lives, the thread that made it is first in line for its CPU; it stays with that thread.
#[derive(Debug)]
pub struct FirstInLine(PhantomData<*const ()>);

impl FirstInLine {
    /// For a moment that nobody else needs: who is first and never waits keeps all others out. None where this user may not (it takes
    /// `CAP_SYS_NICE` or a limit of real-time priorities), or the thread is scheduled specially already.
    pub fn new() -> Option<Self> {
        // SAFETY: INV-S1; 0 is this thread.
        let is_ordinary = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        (is_ordinary && schedule(libc::SCHED_FIFO, 1)).then_some(Self(PhantomData))
    }
}

impl Drop for FirstInLine {
    fn drop(&mut self) {
        // Less is always allowed.
        schedule(libc::SCHED_OTHER, 0);
    }
}

fn schedule(policy: i32, priority: i32) -> bool {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: INV-S1, the parameters live across the call; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, policy, &parameters) == 0 }
}

/// CPU time, user and system, of this thread.
pub fn thread_cpu_time() -> Nanos {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time, user and system, of all threads of this process.
pub fn process_cpu_time() -> Nanos {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Times that this thread was taken off its CPU while it wanted to go on.
pub fn thread_involuntary_switches() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: INV-S1; zeroed, it is valid whatever the call does.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_nivcsw as u64
}

/// The monotonic clock, `CLOCK_MONOTONIC`: the one that [`std::time::Instant`] and timers go by.
#[inline]
pub fn monotonic() -> Nanos {
    clock(libc::CLOCK_MONOTONIC)
}

/// The monotonic clock, and the same without the corrections of a time service: they drift apart as far as it corrects.
pub fn monotonic_and_raw() -> (Nanos, Nanos) {
    (monotonic(), clock(libc::CLOCK_MONOTONIC_RAW))
}

/// The wall clock: nanoseconds since 1970-01-01T00:00:00Z.
pub fn unix_time_ns() -> u64 {
    clock(libc::CLOCK_REALTIME).0
}

#[inline]
fn clock(id: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: INV-S1.
    unsafe { libc::clock_gettime(id, &mut time) };
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// The addresses of this machine, each with the name of its interface, in the order the kernel has them.
pub fn interface_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let mut first = ptr::null_mut();
    // SAFETY: INV-S1.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    // SAFETY: INV-S2, `next` is null or an entry of the list.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: INV-S2, a null address or one of the list's; a name is a text of the list's.
        let (address, name) = unsafe { (ip_address(entry.ifa_addr), CStr::from_ptr(entry.ifa_name)) };
        addresses.extend(address.map(|address| (name.to_string_lossy().into_owned(), address)));
    }
    // SAFETY: INV-S2, freed once, and not read after this.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// None of an address that is null or of another family.
///
/// # Safety
/// `address` is null, or points to an address that is as large as its family says.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: INV-S2, the caller's promise.
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let bits = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                Some(Ipv4Addr::from(bits.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                let bytes = (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                Some(Ipv6Addr::from(bytes).into())
            }
            _ => None,
        }
    }
}

/// Gives memory that was freed back to the kernel: allocators keep some tens of megabytes after a large build.
pub fn trim_memory() {
    // SAFETY: INV-S1.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A limit of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Open file descriptors.
    Descriptors,
    /// Bytes of locked memory.
    LockedMemory,
}

impl Limit {
    fn resource(self) -> libc::__rlimit_resource_t {
        match self {
            Self::Descriptors => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// The most that this process may raise a limit of its own to; `u64::MAX` is unlimited.
pub fn hard_limit(limit: Limit) -> u64 {
    let mut values = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: INV-S1.
    unsafe { libc::getrlimit(limit.resource(), &mut values) };
    values.rlim_max
}

/// The soft limit after raising it to the hard one, as far as `wanted` needs; `u64::MAX` is unlimited.
pub fn raise_limit(limit: Limit, wanted: u64) -> u64 {
    let resource = limit.resource();
    let mut values = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: INV-S1.
    unsafe {
        libc::getrlimit(resource, &mut values);
        if values.rlim_cur < wanted && values.rlim_cur < values.rlim_max {
            let raised = libc::rlimit { rlim_cur: wanted.min(values.rlim_max), ..values };
            if libc::setrlimit(resource, &raised) == 0 {
                values = raised;
            }
        }
    }
    values.rlim_cur
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_thread_may_run_somewhere() {
        assert!(!allowed_cpus().is_empty());
    }

    #[test]
    fn loopback_is_among_the_interfaces() {
        let addresses = interface_addresses().unwrap();
        let loopback = addresses.iter().find(|(_, address)| *address == Ipv4Addr::LOCALHOST);
        assert_eq!(loopback.map(|(name, _)| name.as_str()), Some("lo"), "{addresses:?}");
    }

    #[test]
    fn the_raw_clock_keeps_up_with_the_corrected_one() {
        let (before, raw_before) = monotonic_and_raw();
        while monotonic_and_raw().1 < raw_before + Nanos(1_000_000) {}
        assert!(monotonic_and_raw().0 - before >= Nanos(900_000));
    }

    #[test]
    fn limits_are_never_lowered() {
        let before = raise_limit(Limit::Descriptors, 0);
        assert!(raise_limit(Limit::Descriptors, 1) >= before);
    }
}
