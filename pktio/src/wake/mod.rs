//! Leaving something for another thread, and waking it only if that is needed: [`Sleeper`] and [`Notice`].
//!
//! What is left is in a queue of the caller's, and the other is woken by a doorbell of the caller's, which costs a system
//! call. Here it is only decided who has to ring. The queue may be any that threads share: all that is asked of it is that
//! a look at it sees what a push stored, once the push happened before the look or by the fences below. The doorbell
//! keeps what was rung, and whoever silences it sees what was done before it was rung, as with an eventfd.
//!
//! # Memory order
//! * [`Sleeper`] is Dekker's protocol. Who goes to sleep stores that he does, issues a sequentially consistent fence, and
//!   looks at his queues once more; who leaves something pushes it, issues the same fence, and looks whether the other
//!   sleeps. The fences have one order. If the sleeper's is first, the other sees him asleep, or what he stored later; if
//!   it is second, he sees the push, and stays awake. What he stores later is that he is awake, and then comes his next
//!   fence, of which the same is true. So the last time that he lies down, either he is rung for or he stays awake. The
//!   accesses themselves order nothing, and are relaxed.
//! * [`Notice`] is one word, and the exchanges of it have one order. If whoever leaves something puts the notice up before
//!   it is taken down, the one releases what was left and the other acquires it, also by way of others who put it up
//!   in between: so a look after taking it down finds what was left. If he does after that, he finds it down, and
//!   tells.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};

#[cfg(all(test, loom))]
mod loom_tests;

/// Whether a thread sleeps, for those who leave something for it. One thread sleeps; any others leave something.
#[derive(Debug, Default)]
pub struct Sleeper {
    is_asleep: AtomicBool,
}

impl Sleeper {
    /// Who sleeps: says that he is about to. False if there is something after all, and he must not: `is_quiet`
    /// looks at everything that can be left for him.
    pub fn doze(&self, is_quiet: impl FnOnce() -> bool) -> bool {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_quiet = is_quiet();
        if !is_quiet {
            self.rouse();
        }
        is_quiet
    }

    /// Who sleeps: is awake again. His doorbell is to be silenced after this and before he looks at what was left.
    pub fn rouse(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Who has left something: whether to ring for the other.
    #[inline]
    pub fn must_be_woken(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_asleep.load(Ordering::Relaxed)
    }
}

/// Whether somebody was told that something waits for him, so that he is told once until he has looked. Any threads leave
/// something; one looks.
#[derive(Debug, Default)]
pub struct Notice {
    is_up: AtomicBool,
}

impl Notice {
    /// Who has left something: whether to tell the other.
    #[inline]
    pub fn put_up(&self) -> bool {
        !self.is_up.swap(true, Ordering::Release)
    }

    /// Who looks, when he has found nothing: looks once more after this, and is told of whatever comes later.
    pub fn take_down(&self) {
        self.is_up.swap(false, Ordering::Acquire);
    }
}
