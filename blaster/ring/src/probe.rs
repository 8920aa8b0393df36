//! What this kernel allows, found before anything is built on it.

use std::fs;
use std::io;
use std::thread;

use crate::ring::Ring;

/// The oldest kernel with everything the engine needs: DEFER_TASKRUN came with 6.1.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Why the engine cannot run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel lacks a feature.
    #[error(
        "need Linux 6.1 or newer for io_uring with deferred task work, this is {0}: run on a newer kernel"
    )]
    KernelTooOld(String),
    /// The administrator switched io_uring off.
    #[error(
        "io_uring is switched off here (kernel.io_uring_disabled={0}): set it with \
         `sysctl kernel.io_uring_disabled=0`; where it is 1, running as root or in kernel.io_uring_group does too"
    )]
    Disabled(u32),
    /// A sandbox refuses the system call.
    #[error(
        "io_uring is forbidden here, most likely by a container's seccomp profile ({0}): \
         run the container with `--security-opt seccomp=unconfined` or a profile that allows the io_uring_* calls"
    )]
    Forbidden(io::Error),
    /// Too little memory may be locked.
    #[error(
        "not enough memory for an io_uring ({0}): raise the limit with `ulimit -l unlimited` or lower --connections"
    )]
    Memory(io::Error),
    /// Something else.
    #[error("cannot set up an io_uring: {0}")]
    Other(io::Error),
}

/// Sets up and tears down a small ring with every feature the engine uses.
pub fn probe() -> Result<(), ProbeError> {
    let release = crate::system::kernel_release();
    if version(&release).is_some_and(|version| version < KERNEL_MIN) {
        return Err(ProbeError::KernelTooOld(release));
    }
    // The registered descriptor of a ring stays with the thread that made it, which may have 16 of them.
    let made = thread::scope(|scope| {
        match thread::Builder::new().spawn_scoped(scope, || Ring::new(8, 16).map(drop)) {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the probe panicked"))),
            Err(error) => Err(error),
        }
    });
    made.map_err(|error| explain(error, &release, disabled()))
}

fn explain(error: io::Error, release: &str, disabled: u32) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::EPERM) if disabled > 0 => ProbeError::Disabled(disabled),
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => ProbeError::Forbidden(error),
        Some(libc::ENOMEM) => ProbeError::Memory(error),
        Some(libc::EINVAL) => ProbeError::KernelTooOld(release.to_owned()),
        _ => ProbeError::Other(error),
    }
}

fn disabled() -> u32 {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.15.0"), Some((5, 15)));
        assert!(version("5.15.0").unwrap() < KERNEL_MIN && version("10.0").unwrap() > KERNEL_MIN);
    }

    #[test]
    fn a_thread_may_probe_as_often_as_it_likes() {
        for number in 0..40 {
            assert!(probe().is_ok(), "probe number {number}: {}", probe().unwrap_err());
        }
    }

    #[test]
    fn each_refusal_names_its_cause_and_the_next_step() {
        let error = |code| io::Error::from_raw_os_error(code);
        let text = |code, disabled| explain(error(code), "6.1", disabled).to_string();
        assert!(text(libc::EPERM, 2).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(text(libc::EPERM, 0).contains("seccomp"));
        assert!(text(libc::ENOSYS, 0).contains("seccomp"));
        assert!(text(libc::ENOMEM, 0).contains("ulimit -l"));
        assert!(text(libc::EINVAL, 0).contains("newer"));
    }
}
