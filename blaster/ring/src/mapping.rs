//! Memory straight from the kernel.
//!
//! - **INV-M1** A mapping is private and anonymous, belongs to one [`Mapping`] and lives as long as it.

use std::io;
use std::ptr::NonNull;

/// Zeroed, page-aligned, private memory. Pages that are never written to cost nothing.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// At least one byte; fails where the kernel does not promise so many.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: INV-M1, a fresh anonymous mapping aliases nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: NonNull::new(start.cast()).expect("mmap does not return null"), bytes })
    }

    /// Its first byte.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: INV-M1, exactly the range that `new` mapped, unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
