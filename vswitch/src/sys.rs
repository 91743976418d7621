//! Process-level calls that have no safe wrapper: the time-stamp counter, a thread's time slice, and a setting of the
//! allocator. The only file of this crate with `unsafe`.

use std::io;
use std::time::Duration;

/// The CPU's time-stamp counter: constant-rate, and the unit of every "cycles" figure shown to people.
/// On other architectures nanoseconds, so that shares stay meaningful.
#[inline]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC exists on every x86_64 CPU and has no other effect than its result; where the kernel
    // forbids it (PR_SET_TSC) the process gets a signal, which nothing here asks for.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    u64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos()),
    )
    .unwrap_or(u64::MAX)
}

/// The first version of `struct sched_attr` (sched_setattr(2), linux/sched/types.h).
#[repr(C)]
#[derive(Default)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Asks for short time slices for the calling thread, from Linux 6.12 on. Its share of the core stays
/// the same, but it is put on the core sooner when it wakes: the earlier the deadline of a thread's slice,
/// the sooner its turn (EEVDF, `Documentation/scheduler/sched-eevdf.rst`).
///
/// # Errors
/// The kernel's, e.g. where a container's seccomp filter forbids the call. Nothing has changed then.
pub fn ask_for_slices_of(slice: Duration) -> io::Result<()> {
    let bytes = u32::try_from(size_of::<SchedulingAttributes>()).map_err(io::Error::other)?;
    let mut attributes = SchedulingAttributes::default();
    // SAFETY: the kernel writes at most `bytes` bytes into a living value that has as many, and keeps no
    // pointer to it. Thread 0 is the calling one; there are no flags.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, bytes, 0) };
    done(got)?;
    attributes.size = bytes;
    attributes.runtime_ns = u64::try_from(slice.as_nanos()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes of a living value that has as many, and keeps no pointer to it.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes from which on a piece of memory is one of its own: half of what the allocator begins with, and what the smaller table of
/// a bridge has.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 64 * 1024;

/// Has the allocator ask the kernel for each large piece of memory by itself, for good. Such a piece is zero without being
/// touched, so that of a table only what is used becomes resident; and it goes back when it is freed. glibc begins so too, but
/// whenever a longer piece is freed takes those of its length from the heap from then on (`M_MMAP_THRESHOLD` of mallopt(3)): a daemon
/// with thousands of bridges frees a list of them with each change, and would touch all of each new bridge's empty tables. False
/// where the allocator does not know the setting, or is another one.
///
/// For `main`, before there are other threads.
pub fn map_large_pieces() -> bool {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call changes a number that the allocator compares lengths with; whatever it is, allocations are good.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) } == 1;
    #[cfg(not(target_env = "gnu"))]
    let is_set = false;
    is_set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn the_allocator_takes_large_pieces_from_the_kernel_whatever_was_freed() {
        /// Bytes of pieces that were asked of the kernel one by one, by all threads.
        fn mapped() -> usize {
            // SAFETY: it only reads the allocator's books, which it locks.
            unsafe { libc::mallinfo2() }.hblkhd
        }
        /// Of a piece that long, as tables are.
        fn is_mapped(bytes: usize) -> bool {
            let before = mapped();
            let table = vec![0u8; bytes];
            mapped() >= before + table.len()
        }
        assert!(map_large_pieces());
        drop(vec![1u8; 16 << 20]);
        // Other tests free tables meanwhile.
        assert!((0..100).any(|_| is_mapped(8 << 20)), "it came from the heap each time");
    }

    /// What the kernel makes of a request is its own affair; that the call is understood is ours.
    #[test]
    fn the_kernel_understands_the_request_for_short_slices() {
        ask_for_slices_of(Duration::from_micros(100)).unwrap();
        ask_for_slices_of(Duration::from_millis(3)).unwrap();
    }
}
