//! When a worker polls, yields and sleeps.
//!
//! While frames come, the worker polls without pause. After an empty turn it goes on polling for a
//! short while, giving the core away between polls (`sched_yield` costs a tenth of a microsecond when
//! nobody wants it): the next request of a request/response exchange is then met awake. When that
//! has passed without a frame it sleeps in `poll(2)` on its ports until a frame or a message comes.
//!
//! The time to stay awake adapts. It is [`AWAKE_SHORT`] until [`STREAK`] gaps in a row, each with an
//! empty turn in it, ended within [`AWAKE_LONG`]: then somebody converses through the switch, and the
//! worker stays awake long enough to meet the next frame. One longer gap ends the streak, so that
//! sparse traffic does not keep a core spinning.

use std::time::Duration;

use flows::Nanos;

/// How long a worker stays awake after the last frame while a conversation goes on.
pub const AWAKE_LONG: Duration = Duration::from_micros(200);
/// How long it stays awake otherwise.
pub const AWAKE_SHORT: Duration = Duration::from_micros(20);
/// Short gaps in a row that make a conversation.
pub const STREAK: u32 = 4;

/// How a worker waits for frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollMode {
    /// Poll while there is traffic, then yield, then sleep.
    Adaptive,
    /// Never sleep: the lowest latency, for a core that is the switch's alone.
    Busy,
}

/// What to do after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Take the next turn at once.
    Poll,
    /// Give the core to whoever wants it, then take the next turn.
    Yield,
    /// Sleep until a frame or a message comes.
    Sleep,
}

/// The state of one worker's waiting.
#[derive(Debug)]
pub struct Idle {
    mode: PollMode,
    /// When the last turn with frames ended.
    last_frame: Nanos,
    /// Whether a turn since then was empty.
    gap: bool,
    streak: u32,
}

impl Idle {
    /// A worker that starts at `now`.
    pub fn new(mode: PollMode, now: Nanos) -> Self {
        Self { mode, last_frame: now, gap: false, streak: 0 }
    }

    /// Decides what comes after a turn that ended at `now` and moved `frames`.
    #[inline]
    pub fn after_turn(&mut self, now: Nanos, frames: usize) -> Next {
        let quiet = now.since(self.last_frame);
        if frames > 0 {
            if self.gap {
                self.streak = if quiet < AWAKE_LONG { self.streak.saturating_add(1) } else { 0 };
            }
            self.gap = false;
            self.last_frame = now;
            return Next::Poll;
        }
        self.gap = true;
        match self.mode {
            PollMode::Busy => Next::Poll,
            PollMode::Adaptive if quiet < self.stay_awake() => Next::Yield,
            PollMode::Adaptive => Next::Sleep,
        }
    }

    fn stay_awake(&self) -> Duration {
        if self.streak >= STREAK { AWAKE_LONG } else { AWAKE_SHORT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Nanos {
        Nanos::from_micros(micros)
    }

    fn adaptive() -> Idle {
        Idle::new(PollMode::Adaptive, at(0))
    }

    /// One frame at `micros`, after an empty turn.
    fn frame_after_gap(idle: &mut Idle, micros: u64) {
        idle.after_turn(at(micros - 1), 0);
        idle.after_turn(at(micros), 1);
    }

    #[test]
    fn a_worker_with_frames_polls_on() {
        assert_eq!(adaptive().after_turn(at(0), 3), Next::Poll);
    }

    #[test]
    fn an_idle_worker_yields_and_then_sleeps() {
        let mut idle = adaptive();
        assert_eq!(idle.after_turn(at(0), 0), Next::Yield);
        assert_eq!(idle.after_turn(at(19), 0), Next::Yield);
        assert_eq!(idle.after_turn(at(20), 0), Next::Sleep);
    }

    #[test]
    fn a_busy_worker_never_sleeps() {
        let mut idle = Idle::new(PollMode::Busy, at(0));
        assert!((0..1000).all(|ms| idle.after_turn(at(ms * 1000), 0) == Next::Poll));
    }

    #[test]
    fn a_conversation_keeps_the_worker_awake() {
        let mut idle = adaptive();
        for exchange in 1..=u64::from(STREAK) {
            frame_after_gap(&mut idle, exchange * 100);
        }
        let last = u64::from(STREAK) * 100;
        assert_eq!(idle.after_turn(at(last + 199), 0), Next::Yield);
        assert_eq!(idle.after_turn(at(last + 200), 0), Next::Sleep);
    }

    #[test]
    fn one_long_gap_ends_the_conversation() {
        let mut idle = adaptive();
        for exchange in 1..=u64::from(STREAK) {
            frame_after_gap(&mut idle, exchange * 100);
        }
        frame_after_gap(&mut idle, 10_000);
        assert_eq!(idle.after_turn(at(10_020), 0), Next::Sleep);
    }

    #[test]
    fn a_continuous_burst_is_no_conversation() {
        let mut idle = adaptive();
        for micros in 1..50 {
            idle.after_turn(at(micros), 1);
        }
        assert_eq!(idle.after_turn(at(49 + 20), 0), Next::Sleep);
    }
}
