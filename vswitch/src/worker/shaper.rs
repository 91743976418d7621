//! [`Shaper`]: holds frames back so that no more leave by a port than its rate.
//!
//! A token bucket in the form of the Generic Cell Rate Algorithm, as `flows::rules::Meter`, in front of a
//! queue that is bounded in bytes and frames. What has no room in the queue is dropped. A super-frame costs its bytes: it
//! leaves when the bucket is full enough for anything at all, and is paid for afterwards.
//!
//! A worker that wakes late, on a machine with other work, owes the frames that wait what they could have had meanwhile, and makes up
//! for it at once: the rate is kept over any 10 ms, and not only by workers that are never late.
//!
//! A port has one shaper, at the worker that owns the port; other workers hand their frames to that one. So
//! there is nothing to share.

use std::collections::VecDeque;

use flows::Nanos;
use pktio::PktBuf;

/// Frames that wait for one port: packet memory is for all ports.
const MOST_FRAMES: usize = 1024;
/// Super-frames among them, whose buffers are few.
const MOST_SUPER_FRAMES: usize = 64;
/// How much may leave at once beyond the rate, as the time in which the rate carries it: twice as long as a
/// sleeping worker takes to wake.
const DEPTH_NS: u64 = 200_000;
/// The longest delay of a worker that it makes up for.
const LATE_NS: u64 = 10_000_000;

/// A limit to what leaves by a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The rate, of whole frames.
    pub bits_per_second: u64,
    /// The most bytes that wait.
    pub queue_bytes: u32,
}

/// The frames that wait for one port.
#[derive(Debug)]
pub(super) struct Shaper {
    shape: Shape,
    queue: VecDeque<PktBuf>,
    bytes: usize,
    super_frames: usize,
    /// When everything that has left is paid for.
    paid_at: Nanos,
}

impl Shaper {
    /// An empty queue, with room for all that may wait.
    pub(super) fn new(shape: Shape) -> Self {
        let queue = VecDeque::with_capacity(MOST_FRAMES);
        Self { shape, queue, bytes: 0, super_frames: 0, paid_at: Nanos::default() }
    }

    /// Shapes otherwise from now on.
    pub(super) fn reshape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Puts a frame behind the others.
    ///
    /// # Errors
    /// The frame, when there is no room.
    pub(super) fn push(&mut self, frame: PktBuf, now: Nanos) -> Result<(), PktBuf> {
        let is_super = is_super(&frame);
        let limit = usize::try_from(self.shape.queue_bytes).unwrap_or(usize::MAX);
        if self.bytes + frame.len() > limit
            || self.queue.len() >= MOST_FRAMES
            || is_super && self.super_frames >= MOST_SUPER_FRAMES
        {
            return Err(frame);
        }
        if self.queue.is_empty() {
            // While nothing waits nobody is owed anything.
            self.paid_at = self.paid_at.max(now);
        }
        self.bytes += frame.len();
        self.super_frames += usize::from(is_super);
        self.queue.push_back(frame);
        Ok(())
    }

    /// The next frame, if it may leave now. Then it is paid for.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<PktBuf> {
        if self.due()? > now {
            return None;
        }
        let frame = self.pop()?;
        let from = self.paid_at.as_nanos().max(now.as_nanos().saturating_sub(LATE_NS));
        self.paid_at = Nanos::from_nanos(from.saturating_add(self.cost_ns(frame.len())));
        Some(frame)
    }

    /// The next frame, whether or not it may leave.
    pub(super) fn pop(&mut self) -> Option<PktBuf> {
        let frame = self.queue.pop_front()?;
        self.bytes -= frame.len();
        self.super_frames -= usize::from(is_super(&frame));
        Some(frame)
    }

    /// When the next frame may leave; `None` when none waits.
    pub(super) fn due(&self) -> Option<Nanos> {
        let due = Nanos::from_nanos(self.paid_at.as_nanos().saturating_sub(DEPTH_NS));
        (!self.queue.is_empty()).then_some(due)
    }

    /// The time that the rate takes to carry so many bytes.
    fn cost_ns(&self, bytes: usize) -> u64 {
        let bits = u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(8);
        let rate = u128::from(self.shape.bits_per_second.max(1));
        let ns = bits.saturating_mul(1_000_000_000).div_ceil(rate);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

fn is_super(frame: &PktBuf) -> bool {
    frame.offload.gso.segment_bytes().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pktio::{Pool, PoolConfig};

    const NOW: Nanos = Nanos::from_secs(1);

    fn shaper(bits_per_second: u64, queue_bytes: u32) -> (Shaper, Pool) {
        let pool = Pool::new(PoolConfig { small: 2048, slabs: 8 }).unwrap();
        (Shaper::new(Shape { bits_per_second, queue_bytes }), pool)
    }

    #[test]
    fn no_more_leaves_than_the_rate_and_all_of_it_in_order() {
        // 1000 bytes take a millisecond.
        let (mut shaper, mut pool) = shaper(8_000_000, 1 << 20);
        for number in 0..100 {
            shaper.push(pool.frame_from(&[number; 1000]).unwrap(), Nanos::default()).unwrap();
        }
        let mut left = Vec::new();
        for micros in (0..50_000).step_by(50) {
            while let Some(frame) = shaper.pop_due(Nanos::from_micros(micros)) {
                left.push(frame.data()[0]);
            }
            let allowed = usize::try_from((micros + 200) / 1000 + 1).unwrap();
            assert_eq!(left.len(), allowed, "after {micros} us");
        }
        assert!(left.is_sorted());
    }

    #[test]
    fn a_worker_that_comes_late_makes_up_for_it_and_for_no_more() {
        // A millisecond each; the worker comes every 3.
        let (mut shaper, mut pool) = shaper(8_000_000, 1 << 20);
        let mut left_by = |pushed: u32, until_ms: u64| {
            for _ in 0..pushed {
                shaper.push(pool.frame_from(&[0; 1000]).unwrap(), NOW).unwrap();
            }
            let at = Nanos::from_micros(1_000_000 + until_ms * 1000);
            std::iter::from_fn(|| shaper.pop_due(at)).count()
        };
        let left: Vec<_> =
            (0..=10).map(|turn| left_by(if turn == 0 { 100 } else { 0 }, turn * 3)).collect();
        assert_eq!(left, [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!(left_by(0, 80), 11, "of 50 ms late, 10 count");
    }

    #[test]
    fn what_has_no_room_comes_back() {
        let (mut by_bytes, mut pool) = shaper(8_000, 3000);
        let frames = |pool: &mut Pool, bytes| pool.frame_from(&vec![0; bytes]).unwrap();
        let taken = (0..5).filter(|_| by_bytes.push(frames(&mut pool, 1000), NOW).is_ok()).count();
        assert_eq!(taken, 3);
        let (mut by_frames, mut pool) = shaper(8_000, 1 << 20);
        let taken =
            (0..1100).filter(|_| by_frames.push(frames(&mut pool, 60), NOW).is_ok()).count();
        assert_eq!(taken, MOST_FRAMES);
    }

    #[test]
    fn the_worker_knows_when_to_come_back() {
        let (mut shaper, mut pool) = shaper(8_000_000, 1 << 20);
        assert_eq!(shaper.due(), None);
        for _ in 0..2 {
            shaper.push(pool.frame_from(&[0; 1000]).unwrap(), NOW).unwrap();
        }
        let now = NOW;
        assert!(shaper.pop_due(now).is_some());
        let due = shaper.due().unwrap();
        assert_eq!(due, Nanos::from_nanos(1_000_800_000));
        assert!(shaper.pop_due(Nanos::from_nanos(due.as_nanos() - 1)).is_none());
        assert!(shaper.pop_due(due).is_some());
    }
}
