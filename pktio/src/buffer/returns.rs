//! The way home for a slot that was not recycled by its own pool: a lock-free stack of slot numbers,
//! pushed by any thread and emptied whole by the pool's owner.
//!
//! Memory order: `push` writes `next[slot]` and then publishes the slot with a release compare-exchange
//! on `head`; `take_all` swaps `head` with acquire, so it sees every `next` of the chain it took, and
//! every write that the pushing threads made to the slots' memory. Only whole chains are taken, never
//! single nodes, so the ABA problem of the classic stack cannot arise: a `head` that compares equal is
//! a chain that is still entirely on the stack. (R. K. Treiber, "Systems Programming: Coping with
//! Parallelism", 1986.)

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering};

const EMPTY: u32 = u32::MAX;

/// A stack of slot numbers below a fixed count. Any thread may push; one thread at a time takes all.
pub(crate) struct ReturnStack {
    head: AtomicU32,
    next: Box<[AtomicU32]>,
}

impl ReturnStack {
    /// A stack for the slots `0..slots`.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            head: AtomicU32::new(EMPTY),
            next: (0..slots).map(|_| AtomicU32::new(EMPTY)).collect(),
        }
    }

    /// Pushes a slot that the caller owns. The slot belongs to the stack from here on.
    pub(crate) fn push(&self, slot: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            self.next[slot as usize].store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, slot, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes every slot on the stack and gives each to `home`.
    pub(crate) fn take_all(&self, mut home: impl FnMut(u32)) {
        // The plain load keeps the common case (nothing came back) free of a locked instruction.
        if self.head.load(Ordering::Relaxed) == EMPTY {
            return;
        }
        let mut slot = self.head.swap(EMPTY, Ordering::Acquire);
        while slot != EMPTY {
            let next = self.next[slot as usize].load(Ordering::Relaxed);
            home(slot);
            slot = next;
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::ReturnStack;
    use loom::sync::Arc;

    #[test]
    fn every_pushed_slot_comes_back_exactly_once() {
        loom::model(|| {
            let stack = Arc::new(ReturnStack::new(3));
            let pushers: Vec<_> = (0..2u32)
                .map(|slot| {
                    let stack = Arc::clone(&stack);
                    loom::thread::spawn(move || stack.push(slot))
                })
                .collect();
            let mut home = Vec::new();
            stack.take_all(|slot| home.push(slot));
            for pusher in pushers {
                pusher.join().unwrap();
            }
            stack.take_all(|slot| home.push(slot));
            home.sort_unstable();
            assert_eq!(home, [0, 1]);
        });
    }

    #[test]
    fn a_slot_that_came_home_can_be_pushed_again_while_others_push() {
        loom::model(|| {
            let stack = Arc::new(ReturnStack::new(2));
            stack.push(0);
            let other = {
                let stack = Arc::clone(&stack);
                loom::thread::spawn(move || stack.push(1))
            };
            let mut home = Vec::new();
            stack.take_all(|slot| home.push(slot));
            if home.contains(&0) {
                stack.push(0);
                home.retain(|slot| *slot != 0);
            }
            other.join().unwrap();
            stack.take_all(|slot| home.push(slot));
            home.sort_unstable();
            assert_eq!(home, [0, 1]);
        });
    }
}
