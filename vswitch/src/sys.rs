//! Process-level calls that have no safe wrapper: the time-stamp counter. The only file of this crate
//! with `unsafe`.

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
