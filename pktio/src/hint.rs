//! What large tables ask of the processor and the kernel: [`prefetch`], and [`prefer_huge_pages`].
//!
//! A burst of packets needs lines that are in no cache, each found through another one. Whoever goes over the
//! burst once per step, and only asks, waits for all of a step's lines at once instead of for each in turn. A
//! request is no load: nothing ever waits for it, and for a line that is near it costs one instruction.
//!
//! With a million entries even the page tables are in no cache, and to find a line's page takes longer than to get the
//! line. Pages of 2 MiB instead of 4 KiB take that away
//! (`Documentation/admin-guide/mm/transhuge.rst`).
//!
//! Both only advise: nothing changes but the time that things take. For any thread.

use rustix::mm::{Advice, madvise};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of the pages that the kernel gives advice by.
const PAGE: usize = 4096;
/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;
/// Tables of fewer bytes are left as they are: their page tables are near.
const LARGE_BYTES: usize = 2 * HUGE_PAGE;

/// Asks for the cache lines of `place`, as many as it would have if it began with one.
#[inline(always)]
#[allow(unsafe_code, reason = "the instruction takes a raw pointer")]
pub fn prefetch<T>(place: &T) {
    for line in (0..size_of::<T>()).step_by(LINE) {
        let at = std::ptr::from_ref(place).cast::<i8>().wrapping_add(line);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: PREFETCHT0 is part of every x86_64 CPU. It changes nothing that a program could see, and does
        // not fault, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at);
        }
        // Elsewhere nothing is asked for: a load could be waited for.
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
}

/// Asks the kernel to back a large table by huge pages, from the next first touch on. Memory then becomes resident
/// 2 MiB at a time. Small tables, and kernels that have no huge pages, stay as they are.
#[allow(unsafe_code, reason = "the system call takes a raw pointer")]
pub fn prefer_huge_pages<T>(table: &[T]) {
    let start = table.as_ptr().cast::<u8>();
    let skip = start.align_offset(PAGE);
    let bytes = size_of_val(table).saturating_sub(skip) / PAGE * PAGE;
    if bytes < LARGE_BYTES {
        return;
    }
    // SAFETY: the pages lie wholly within the table, which is borrowed, and this advice changes neither what is in
    // them nor who may read or write it.
    let advised = unsafe {
        madvise(start.wrapping_add(skip).cast_mut().cast(), bytes, Advice::LinuxHugepage)
    };
    // Without huge pages everything works, only more slowly.
    let _ = advised;
}
