//! Whether bytes of a file are in the page cache, and getting them there.
//!
//! `sendfile` of a page that is not cached waits for the disk, on whatever thread it runs. So the sender asks first, by
//! `cachestat(2)` (Linux 6.5), which costs about as much as any small system call; where it is missing or forbidden, by
//! `preadv2(RWF_NOWAIT)` of one byte in each page, which never waits either.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{ReadWriteFlags, preadv2};

const PAGE: u64 = 4096;

/// Number of `cachestat`, the same on every architecture, as of all system calls since Linux 5.1.
const SYS_CACHESTAT: libc::c_long = 451;

/// Cold data is read in steps of this size: large reads make large pages in the cache, which are cheaper to send.
const STEP: usize = 1 << 20;

/// `struct cachestat_range` of the kernel.
#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
}

/// `struct cachestat` of the kernel.
#[repr(C)]
#[derive(Default)]
struct Pages {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Set once the kernel, or a filter around us, has refused.
static UNAVAILABLE: AtomicBool = AtomicBool::new(false);

/// Whether every page of the range is cached.
pub(crate) fn is_resident(file: &File, offset: u64, length: u64) -> bool {
    if length == 0 {
        return true;
    }
    if !UNAVAILABLE.load(Ordering::Relaxed) {
        match cached_pages(file, offset, length) {
            // A page whose reading failed is in the cache, too, and only tells when it is read; failing disks seldom fail for
            // single pages, so the ends of the range are tried.
            Some(cached) => {
                return cached >= (offset + length).div_ceil(PAGE) - offset / PAGE
                    && is_page_resident(file, offset)
                    && is_page_resident(file, offset + length - 1);
            }
            None => UNAVAILABLE.store(true, Ordering::Relaxed),
        }
    }
    let first = offset / PAGE * PAGE;
    (first..offset + length).step_by(4096).all(|page| is_page_resident(file, page.max(offset)))
}

/// Pages of the range in the cache; `None` = this kernel does not say.
fn cached_pages(file: &File, offset: u64, length: u64) -> Option<u64> {
    let range = Range { offset, length };
    let mut pages = Pages::default();
    // SAFETY: both pointers are to live values of the layout that the kernel documents; the descriptor is open.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            std::ptr::from_ref(&range),
            std::ptr::from_mut(&mut pages),
            0_u32,
        )
    };
    (result == 0).then_some(pages.cached)
}

fn is_page_resident(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    matches!(read, Ok(1))
}

/// Reads a range so that it is cached. Blocks.
pub(crate) fn load(file: &File, offset: u64, length: usize) -> io::Result<()> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(STEP, 0);
        let mut done = 0;
        while done < length {
            let step = STEP.min(length - done);
            file.read_exact_at(&mut buffer[..step], offset + done as u64)?;
            done += step;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_read_is_resident_and_a_hole_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 3 * 4096]).unwrap();
        load(&file, 100, 3 * 4096 - 100).unwrap();
        assert!(is_resident(&file, 100, 3 * 4096 - 100));
        assert!(is_resident(&file, 0, 0));
        // Far behind the end nothing was ever read.
        assert!(!is_resident(&file, 1 << 30, 4096));
        assert!(is_page_resident(&file, 4096) && !is_page_resident(&file, 1 << 30));
    }

    #[test]
    fn loading_beyond_the_end_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"short").unwrap();
        assert_eq!(load(&file, 0, 6).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
