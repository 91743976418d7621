//! [`prefetch`]: asking for memory before it is needed.
//!
//! A burst of packets needs lines that are in no cache, each found through another one. Whoever goes over the
//! burst once per step, and only asks, waits for all of a step's lines at once instead of for each in turn. A
//! request is no load: nothing ever waits for it, and for a line that is near it costs one instruction.

/// Bytes of a cache line.
const LINE: usize = 64;

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
