//! How a worker sleeps: in `poll(2)` on its ports and its doorbell.
//!
//! The descriptors of queues that brought something lately are handed to the kernel only for the time of the sleep; those of all others
//! are in an epoll set, which is one descriptor (`queues`).

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Worker;

/// A port without a descriptor to wait for, and a packet that waits for an answer to another worker, are
/// looked at this often while the worker sleeps.
const BLIND_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

impl Worker {
    /// Sleeps until a frame or a message comes.
    pub(super) fn sleep(&mut self) {
        self.settle();
        if !self.lane().doze() {
            return;
        }
        let before = self.clock.now();
        let woken = self.wait();
        self.lane().rouse();
        self.perf.sleeps += 1;
        self.perf.wakeups += u64::from(woken);
        self.perf.asleep_ns +=
            u64::try_from(self.clock.now().since(before).as_nanos()).unwrap_or(0);
    }

    /// Lets every port do what it puts off while frames flow.
    fn settle(&mut self) {
        let mut slot = 0;
        while slot < self.queues.len() {
            match self.queues[slot].port.housekeep(&mut self.pool) {
                Ok(()) => slot += 1,
                Err(fault) => self.expel(slot, fault),
            }
        }
        self.tunnelling.housekeep(&mut self.pool);
        self.pool.reclaim();
    }

    /// Waits; false when only the timer ended it. An interrupted wait counts as woken: the turn that
    /// follows finds nothing and the worker sleeps again.
    fn wait(&self) -> bool {
        let mut blind = !self.pipeline.is_idle() || self.tunnelling.is_waiting();
        let mut fds = vec![PollFd::from_borrowed_fd(self.lane().doorbell(), PollFlags::IN)];
        for fd in self.queues.wake_fds() {
            match fd {
                Some(fd) => fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)),
                None => blind = true,
            }
        }
        let endpoints = self.tunnelling.wake_fds();
        fds.extend(endpoints.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let blind = blind.then_some(BLIND_INTERVAL);
        let timeout = [blind, self.until_release()].into_iter().flatten().min();
        !matches!(poll(&mut fds, timeout.as_ref()), Ok(0))
    }

    /// The time until the next frame may leave that waits for its port's rate, if any waits.
    fn until_release(&self) -> Option<Timespec> {
        let left = self.next_release()?.since(self.clock.now());
        Timespec::try_from(left).ok()
    }
}
