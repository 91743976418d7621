//! What a worker's time goes to: cycles by stage, batch sizes, sleeps. Plain integers that the worker
//! owns; the control thread sees copies of them ([`super::Report`]).

use crate::sys;

/// Where a cycle of a turn is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Receiving from ports that had frames.
    Rx,
    /// Deciding: the pipeline.
    Pipeline,
    /// Offload work and transmitting.
    Tx,
    /// Configuration, counters, buffers.
    Housekeep,
    /// Polling ports that had nothing, and yielding.
    Idle,
}

impl Stage {
    /// Every stage, in the order of display.
    pub const ALL: [Self; 5] = [Self::Rx, Self::Pipeline, Self::Tx, Self::Housekeep, Self::Idle];

    /// The name shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Pipeline => "pipeline",
            Self::Tx => "tx",
            Self::Housekeep => "housekeep",
            Self::Idle => "idle",
        }
    }
}

/// Upper bounds of the batch-size buckets: 1, 2-3, 4-7, ... 64 and more.
pub const BATCH_BUCKETS: usize = 7;

/// Counters since the worker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Perf {
    /// TSC cycles by [`Stage`].
    pub cycles: [u64; Stage::ALL.len()],
    /// Turns of the loop.
    pub turns: u64,
    /// Turns that moved no frame.
    pub empty_turns: u64,
    /// Frames received.
    pub frames: u64,
    /// Receive bursts by size: bucket `n` counts bursts of `2^n ..= 2^(n+1) - 1` frames.
    pub batches: [u64; BATCH_BUCKETS],
    /// Times the worker went from polling to sleeping.
    pub sleeps: u64,
    /// Sleeps that a frame or a message ended, not the timer.
    pub wakeups: u64,
    /// Nanoseconds asleep.
    pub asleep_ns: u64,
}

impl Perf {
    /// Counts one receive burst.
    #[inline]
    pub fn batch(&mut self, frames: usize) {
        self.frames += frames as u64;
        let bucket = (frames.max(1).ilog2() as usize).min(BATCH_BUCKETS - 1);
        self.batches[bucket] += 1;
    }
}

/// Attributes the cycles between consecutive marks to stages.
#[derive(Debug)]
pub struct Stopwatch {
    last: u64,
}

impl Stopwatch {
    /// Starts at the present cycle.
    pub fn start() -> Self {
        Self { last: sys::cycles() }
    }

    /// Charges the cycles since the mark before to `stage`.
    #[inline]
    pub fn charge(&mut self, perf: &mut Perf, stage: Stage) {
        let now = sys::cycles();
        perf.cycles[stage as usize] += now.wrapping_sub(self.last);
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_counted_by_power_of_two() {
        let mut perf = Perf::default();
        for frames in [1, 2, 3, 4, 63, 64, 128] {
            perf.batch(frames);
        }
        assert_eq!(perf.batches, [1, 2, 1, 0, 0, 1, 2]);
        assert_eq!(perf.frames, 265);
    }

    #[test]
    fn every_cycle_is_charged_to_exactly_one_stage() {
        let mut perf = Perf::default();
        let mut watch = Stopwatch::start();
        let begun = watch.last;
        for stage in Stage::ALL {
            watch.charge(&mut perf, stage);
        }
        assert_eq!(perf.cycles.iter().sum::<u64>(), watch.last - begun);
    }
}
