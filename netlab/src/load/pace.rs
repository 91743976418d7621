//! When frames are due, and what can be said of those that were due and of those that came.

use std::time::Duration;

use super::{Load, figure};

/// How many frames may be sent when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) rate: Option<f64>,
    pub(super) frames: u64,
    under_way: u64,
    overload: Duration,
    /// Frames that were sent while the overload lasted.
    before: u64,
}

impl Pace {
    pub(super) fn new(load: &Load) -> Self {
        let (frames, under_way) =
            (load.frames.unwrap_or(u64::MAX), load.under_way.unwrap_or(u64::MAX));
        Self { rate: load.rate, frames, under_way, overload: load.overload, before: 0 }
    }

    /// How many frames in all are due by now.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    pub(super) fn due(&self, elapsed: Duration) -> u64 {
        let timed = elapsed.checked_sub(self.overload).zip(self.rate);
        let due = timed.map_or(u64::MAX, |(elapsed, rate)| {
            self.before.saturating_add((elapsed.as_secs_f64() * rate) as u64 + 1)
        });
        due.min(self.frames)
    }

    /// When a frame is due, from the start; `None` for one of the overload, or where there is no rate.
    pub(super) fn moment(&self, number: u64) -> Option<Duration> {
        let timed = self.timed(number)?;
        Some(self.overload + Duration::from_secs_f64(figure(timed) / self.rate?))
    }

    /// How many more may go now, after `sent` of which `settled` have arrived or are lost.
    pub(super) fn allowance(&self, elapsed: Duration, sent: u64, settled: u64) -> u64 {
        let room = settled.saturating_add(self.under_way).saturating_sub(sent);
        self.due(elapsed).saturating_sub(sent).min(room)
    }

    /// Notes how many frames were sent after what began at a moment.
    pub(super) fn note(&mut self, begun: Duration, sent: u64) {
        if begun < self.overload {
            self.before = sent;
        }
    }

    /// The number among those that are sent at the rate.
    pub(super) fn timed(&self, number: u64) -> Option<u64> {
        number.checked_sub(self.before)
    }
}

/// What came of the frames that were sent at a rate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrivals {
    /// The number behind the highest that has come.
    next: u64,
    last_lost: Option<u64>,
    last_ns: Option<u64>,
    longest_silence_ns: u64,
}

impl Arrivals {
    /// Notes that a frame has come, by when it was due after the first one, and when it came.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was counted so")]
    pub(super) fn note(&mut self, due: Duration, rate: f64, there_ns: u64) {
        let number = (due.as_secs_f64() * rate).round() as u64;
        if number > self.next {
            self.last_lost = Some(number - 1);
        }
        self.next = self.next.max(number + 1);
        if let Some(last) = self.last_ns {
            self.longest_silence_ns = self.longest_silence_ns.max(there_ns.saturating_sub(last));
        }
        self.last_ns = Some(there_ns);
    }

    /// The last frame that has not come, of so many.
    pub(super) fn last_lost(&self, sent: u64) -> Option<u64> {
        if self.next < sent { Some(sent - 1) } else { self.last_lost }
    }

    pub(super) fn longest_silence(&self) -> Duration {
        Duration::from_nanos(self.longest_silence_ns)
    }
}
