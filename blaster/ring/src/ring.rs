//! One io_uring instance, set up for a thread that submits and reaps alone.
//!
//! - **INV-R2** What an entry points to lives until its completion: the promise of whoever calls `push`.
//! - **INV-R1** `submitter`, `sq` and `cq` borrow the instance behind `owner`, which nobody else touches, which does not move,
//!   and which is declared, so dropped, after them.

use std::io;
use std::ptr::NonNull;

use blaster_core::time::Nanos;
use io_uring::squeue::Entry;
use io_uring::types::Timespec;
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, types};

/// The ring and its halves, split once: splitting anew for every call would lose the registered descriptor.
pub(crate) struct Ring {
    pub(crate) submitter: Submitter<'static>,
    sq: SubmissionQueue<'static>,
    cq: CompletionQueue<'static>,
    _owner: Owner,
}

/// The instance itself, freed last.
struct Owner(NonNull<IoUring>);

impl Ring {
    /// `entries` submissions and `completions` completions, both rounded up to powers of two and clamped by the kernel.
    pub(crate) fn new(entries: u32, completions: u32) -> io::Result<Self> {
        // NO_SQARRAY came with 6.6; everything else is as old as 6.1.
        let instance = build(entries, completions, true).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => build(entries, completions, false),
            _ => Err(error),
        })?;
        let owner = Owner(NonNull::from(Box::leak(Box::new(instance))));
        // SAFETY: INV-R1, the instance outlives the halves and nobody else touches it while they live.
        let (mut submitter, sq, cq) = unsafe { &mut *owner.0.as_ptr() }.split();
        submitter.register_ring_fd()?;
        Ok(Self { submitter, sq, cq, _owner: owner })
    }

    /// Queues an operation; submits what is queued first when the queue is full.
    ///
    /// # Safety
    /// Whatever memory `entry` points to must stay valid, and unaliased if the kernel writes to it, until its completion.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &Entry) {
        // SAFETY: INV-R2.
        while unsafe { self.sq.push(entry) }.is_err() {
            self.enter(0, None).expect("the kernel takes what a full submission queue holds");
        }
    }

    /// Whether submissions are queued.
    #[inline]
    pub(crate) fn has_submissions(&self) -> bool {
        !self.sq.is_empty()
    }

    /// Whether completions stand ready.
    #[inline]
    pub(crate) fn has_completions(&mut self) -> bool {
        self.cq.sync();
        !self.cq.is_empty()
    }

    /// Whether the kernel keeps completions that the queue had no room for.
    #[inline]
    pub(crate) fn has_overflowed(&self) -> bool {
        self.sq.cq_overflow()
    }

    /// Whether the kernel has completions to post once it is entered.
    #[inline]
    pub(crate) fn has_deferred_work(&self) -> bool {
        self.sq.taskrun() || self.sq.cq_overflow()
    }

    /// Submits what is queued and waits for `want` completions, `timeout` at most. A signal, the timeout and a full
    /// completion queue are no errors: the caller looks at what is there.
    #[inline]
    pub(crate) fn enter(&mut self, want: u32, timeout: Option<Nanos>) -> io::Result<()> {
        self.sq.sync();
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let timespec = timeout.map(|timeout| {
            Timespec::new().sec(timeout.0 / 1_000_000_000).nsec((timeout.0 % 1_000_000_000) as u32)
        });
        let args = match &timespec {
            Some(timespec) => types::SubmitArgs::new().timespec(timespec),
            None => types::SubmitArgs::new(),
        };
        // SAFETY: INV-R2; `args` and what it points to outlive the call.
        let result = unsafe { self.submitter.enter(self.sq.len() as u32, want, flags.bits(), Some(&args)) };
        self.sq.sync();
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The next completion; after [`Self::sync_completions`].
    #[inline]
    pub(crate) fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.cq.next()
    }

    /// Brings the view of the completion queue up to date.
    #[inline]
    pub(crate) fn sync_completions(&mut self) {
        self.cq.sync();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: INV-R1, leaked in `Ring::new`, freed once, after the halves.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

fn build(entries: u32, completions: u32, no_sqarray: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .setup_clamp();
    if no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(entries)
}
