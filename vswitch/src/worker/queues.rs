//! The queues of a worker, and which of them it polls.
//!
//! To poll a queue is a system call, mostly: of five hundred containers that are silent, five hundred in every turn, while two
//! others talk. So a queue that has brought nothing for [`COOLS_AFTER`] is *cold*: it is in an epoll set, and one call a turn asks
//! about all of these together. One that something waits in is *hot* again, leaves the set, and is served in the
//! same turn. Hot queues are not in the set: each frame that comes while they are polled would pay for a callback that nobody needs.
//!
//! * A queue without a descriptor (`Port::wake_fd`) is always hot, one that is not open never.
//! * Readiness is level-triggered, also for what waits when a queue enters the set (epoll(7)), so that no frame is forgotten.
//! * What the set refuses stays hot: dearer, not wrong.

use std::io;
use std::mem::MaybeUninit;
use std::ops::{Index, IndexMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use flows::{Nanos, PortIndex};
use pktio::{Accepts, Port};
use rustix::event::{Timespec, epoll};

use super::QueueId;

/// How long a queue is polled after its last frame. Longer than the pauses of a conversation, so that it is not moved to and fro; a cold
/// queue's first frame costs one system call more than a hot one's.
const COOLS_AFTER: Duration = Duration::from_millis(10);
/// Cold queues that are served in one turn at most; the others are in the next.
const HEARD_AT_ONCE: usize = 64;
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// One queue of a worker.
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) port: Box<dyn Port>,
    pub(super) accepts: Accepts,
    heat: Heat,
}

/// How a queue is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heat {
    /// Not at all: not every worker knows the port.
    Closed,
    /// In every turn; when it last brought a frame, or began.
    Hot(Nanos),
    /// With all other cold ones.
    Cold,
}

/// All queues of a worker, by position.
pub(super) struct Queues {
    all: Vec<Queue>,
    /// The positions of the hot ones.
    hot: Vec<usize>,
    /// Which of these is next.
    next: usize,
    cold: usize,
    set: OwnedFd,
}

impl Queues {
    /// No queues.
    ///
    /// # Errors
    /// The kernel's, if it gives no epoll set.
    pub(super) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { all: Vec::new(), hot: Vec::new(), next: 0, cold: 0, set })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Queue> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Queue> {
        self.all.iter_mut()
    }

    /// The position of the first queue of a port.
    pub(super) fn position(&self, port: PortIndex) -> Option<usize> {
        self.all.iter().position(|queue| queue.id.port == port)
    }

    /// Takes in a queue, which is closed.
    pub(super) fn push(&mut self, id: QueueId, port: Box<dyn Port>) {
        let accepts = port.accepts();
        self.all.push(Queue { id, port, accepts, heat: Heat::Closed });
        self.hot.reserve(self.all.len());
    }

    /// Polls the queues of a port from now on.
    pub(super) fn open(&mut self, port: PortIndex, now: Nanos) {
        for queue in &mut self.all {
            if queue.id.port == port && queue.heat == Heat::Closed {
                queue.heat = Heat::Hot(now);
            }
        }
        self.list_hot();
    }

    /// Gives a queue away. Those behind it move up.
    pub(super) fn remove(&mut self, slot: usize) -> Queue {
        let queue = self.all.remove(slot);
        if queue.heat == Heat::Cold {
            self.leave_set(&queue);
            self.cold -= 1;
        }
        self.list_hot();
        queue
    }

    fn list_hot(&mut self) {
        self.hot.clear();
        let hot = self.all.iter().enumerate().filter(|(_, queue)| queue.is_hot());
        self.hot.extend(hot.map(|(slot, _)| slot));
    }

    /// How many are hot.
    #[inline]
    pub(super) fn hot(&self) -> usize {
        self.hot.len()
    }

    /// The hot queue whose turn it is: one after the other, and the first again after the last.
    #[inline]
    pub(super) fn next_hot(&mut self) -> Option<usize> {
        if self.next >= self.hot.len() {
            self.next = 0;
        }
        let slot = self.hot.get(self.next).copied();
        self.next += 1;
        slot
    }

    /// Notes that a hot queue brought frames.
    #[inline]
    pub(super) fn note_frames(&mut self, slot: usize, now: Nanos) {
        self.all[slot].heat = Heat::Hot(now);
    }

    /// Makes the cold queues hot in which something waits.
    #[inline]
    pub(super) fn warm(&mut self, now: Nanos) {
        if self.cold > 0 {
            self.hear(now);
        }
    }

    fn hear(&mut self, now: Nanos) {
        let mut heard = [MaybeUninit::uninit(); HEARD_AT_ONCE];
        // Nothing can fail here but the wait being interrupted, which it is asked not to do.
        let Ok((heard, _)) = epoll::wait(&self.set, &mut heard, Some(&AT_ONCE)) else { return };
        for event in heard {
            let key = event.data.u64();
            if let Some(slot) = self.all.iter().position(|queue| key_of(queue.id) == key) {
                self.leave_set(&self.all[slot]);
                self.all[slot].heat = Heat::Hot(now);
                self.cold -= 1;
                self.hot.push(slot);
            }
        }
    }

    /// Makes the hot queues cold that were silent for long.
    #[inline]
    pub(super) fn cool(&mut self, now: Nanos) {
        let mut at = 0;
        while let Some(&slot) = self.hot.get(at) {
            if self.all[slot].is_silent(now) && self.enter_set(slot, now) {
                self.hot.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// False if it cannot be in the set, and is tried again no sooner than it would be silent anew.
    #[cold]
    fn enter_set(&mut self, slot: usize, now: Nanos) -> bool {
        let queue = &mut self.all[slot];
        let data = epoll::EventData::new_u64(key_of(queue.id));
        let entered = queue
            .port
            .wake_fd()
            .is_some_and(|fd| epoll::add(&self.set, fd, data, epoll::EventFlags::IN).is_ok());
        queue.heat = if entered { Heat::Cold } else { Heat::Hot(now) };
        self.cold += usize::from(entered);
        entered
    }

    /// A descriptor that is gone has left by itself.
    fn leave_set(&self, queue: &Queue) {
        let _ = queue.port.wake_fd().map(|fd| epoll::delete(&self.set, fd));
    }

    /// The descriptors to sleep on: readable when a frame waits in any open queue. `None` stands for a hot queue that has none, and
    /// must be polled.
    pub(super) fn wake_fds(&self) -> impl Iterator<Item = Option<BorrowedFd<'_>>> {
        let hot = self.hot.iter().map(|&slot| self.all[slot].port.wake_fd());
        hot.chain((self.cold > 0).then(|| Some(self.set.as_fd())))
    }
}

impl Queue {
    fn is_hot(&self) -> bool {
        matches!(self.heat, Heat::Hot(_))
    }

    #[inline]
    fn is_silent(&self, now: Nanos) -> bool {
        matches!(self.heat, Heat::Hot(last) if now.since(last) >= COOLS_AFTER)
    }
}

fn key_of(id: QueueId) -> u64 {
    u64::from(id.port.0) << 32 | u64::from(id.queue)
}

impl Index<usize> for Queues {
    type Output = Queue;

    #[inline]
    fn index(&self, slot: usize) -> &Queue {
        &self.all[slot]
    }
}

impl IndexMut<usize> for Queues {
    #[inline]
    fn index_mut(&mut self, slot: usize) -> &mut Queue {
        &mut self.all[slot]
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use pktio::{Burst, Pool, PortFault, Sent, mem};

    use super::*;

    /// A port that is readable while its socket is.
    struct Wired(File);

    impl Port for Wired {
        fn rx_burst(&mut self, _: &mut Pool, _: &mut Burst) -> Result<usize, PortFault> {
            Ok(0)
        }

        fn tx_burst(&mut self, _: &mut Pool, _: &mut Burst) -> Result<Sent, PortFault> {
            Ok(Sent::default())
        }

        fn accepts(&self) -> Accepts {
            Accepts::PLAIN
        }

        fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }
    }

    fn at(millis: u64) -> Nanos {
        Nanos::from_micros(millis * 1000)
    }

    const FIRST: QueueId = QueueId { port: PortIndex(7), queue: 0 };
    const SECOND: QueueId = QueueId { port: PortIndex(7), queue: 1 };

    /// Both queues of a port that is open since the start, and their far ends.
    fn pair() -> (Queues, [File; 2]) {
        let mut queues = Queues::new().unwrap();
        let far = [FIRST, SECOND].map(|id| {
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            let [near, far] = [near, far].map(|end| File::from(OwnedFd::from(end)));
            queues.push(id, Box::new(Wired(near)));
            far
        });
        queues.open(FIRST.port, at(0));
        (queues, far)
    }

    fn hot(queues: &Queues) -> Vec<usize> {
        queues.hot.clone()
    }

    #[test]
    fn a_queue_is_polled_from_when_it_is_open() {
        let mut queues = Queues::new().unwrap();
        let (near, _far) = mem::pair(1, Accepts::PLAIN);
        queues.push(FIRST, Box::new(near));
        assert_eq!((hot(&queues), queues.wake_fds().count()), (vec![], 0));
        queues.open(FIRST.port, at(0));
        assert_eq!(hot(&queues), [0]);
    }

    #[test]
    fn a_silent_queue_becomes_cold_and_one_that_brings_frames_does_not() {
        let (mut queues, _far) = pair();
        queues.note_frames(1, at(5));
        queues.cool(at(9));
        assert_eq!(hot(&queues), [0, 1]);
        queues.cool(at(10));
        queues.warm(at(10));
        assert_eq!(hot(&queues), [1]);
    }

    #[test]
    fn a_cold_queue_is_hot_when_something_waits_in_it_also_from_before() {
        let (mut queues, mut far) = pair();
        far[0].write_all(b"x").unwrap();
        queues.cool(at(10));
        assert!(hot(&queues).is_empty());
        queues.warm(at(10));
        assert_eq!(hot(&queues), [0]);
        far[1].write_all(b"x").unwrap();
        queues.warm(at(11));
        assert_eq!(hot(&queues), [0, 1]);
    }

    #[test]
    fn all_cold_queues_wake_a_sleeper_by_one_descriptor() {
        let (mut queues, mut far) = pair();
        assert_eq!(queues.wake_fds().count(), 2);
        queues.cool(at(10));
        let readable = |queues: &Queues| {
            let fds: Vec<_> = queues.wake_fds().map(Option::unwrap).collect();
            assert_eq!(fds.len(), 1);
            let mut fds =
                [rustix::event::PollFd::from_borrowed_fd(fds[0], rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&AT_ONCE)).unwrap()
        };
        assert_eq!(readable(&queues), 0);
        far[1].write_all(b"x").unwrap();
        assert_eq!(readable(&queues), 1);
    }

    #[test]
    fn a_queue_that_leaves_takes_nothing_of_the_others_along() {
        let (mut queues, mut far) = pair();
        queues.cool(at(10));
        far.iter_mut().for_each(|far| far.write_all(b"x").unwrap());
        let removed = queues.remove(0);
        assert_eq!(removed.id, FIRST);
        queues.warm(at(11));
        assert_eq!((hot(&queues), queues[0].id), (vec![0], SECOND));
        queues.remove(0);
        assert_eq!((hot(&queues), queues.wake_fds().count()), (vec![], 0));
    }

    #[test]
    fn hot_queues_have_their_turns_one_after_the_other() {
        let (mut queues, mut far) = pair();
        let turns = |queues: &mut Queues| [(); 3].map(|()| queues.next_hot());
        assert_eq!(turns(&mut queues), [Some(0), Some(1), Some(0)]);
        assert_eq!(queues.next_hot(), Some(1));
        queues.cool(at(10));
        assert_eq!(turns(&mut queues), [None; 3]);
        far[1].write_all(b"x").unwrap();
        queues.warm(at(10));
        assert_eq!(turns(&mut queues), [Some(1); 3]);
    }

    #[test]
    fn a_queue_without_a_descriptor_stays_hot() {
        let mut queues = Queues::new().unwrap();
        let (near, _far) = mem::pair(1, Accepts::PLAIN);
        queues.push(FIRST, Box::new(near));
        queues.open(FIRST.port, at(0));
        for millis in [10, 20, 1000] {
            queues.cool(at(millis));
            assert_eq!(hot(&queues), [0]);
        }
        assert!(queues.wake_fds().all(|fd| fd.is_none()));
    }
}
