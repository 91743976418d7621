//! Processor time: what a thread, this process and the whole machine used.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::error::{LabError, socket};

/// Processor time that the calling thread has used.
pub fn thread_time() -> Duration {
    used(ClockId::ThreadCPUTime)
}

/// Processor time that this process has used.
pub fn process_time() -> Duration {
    used(ClockId::ProcessCPUTime)
}

fn used(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Puts the calling thread onto a core, if one is given and this process may use it.
pub fn pin(core: Option<usize>) {
    if let Some(id) = core {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

/// Keeps the calling thread on one of the cores that this process may use: its packets are then taken by the
/// kernel in the order in which it sends them.
pub fn stay() {
    pin(core_affinity::get_core_ids().and_then(|ids| ids.first().map(|core| core.id)));
}

/// What the machine's cores did since it was started: all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineTime {
    /// Time in which they worked, interrupts included.
    pub busy: Duration,
    /// Time in which they had nothing to do.
    pub idle: Duration,
}

impl MachineTime {
    /// Reads it from `/proc/stat` (proc_stat(5)), to the hundredth of a second.
    ///
    /// # Errors
    /// [`LabError::Socket`], when the file cannot be read.
    pub fn now() -> Result<Self, LabError> {
        let failed = socket("read /proc/stat");
        let text = fs::read_to_string("/proc/stat").map_err(&failed)?;
        Self::parse(&text).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }

    /// The time between an earlier moment and this one.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
        }
    }

    /// How many cores were at work on average, if this is the time between two moments.
    pub fn cores_used(&self, elapsed: Duration) -> f64 {
        self.busy.as_secs_f64() / elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; guest time is part of user time already.
        let ticks: Option<Vec<u64>> =
            line.split_whitespace().take(8).map(|field| field.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, _steal] =
            <[u64; 8]>::try_from(ticks?).ok()?;
        let time = |ticks: u64| {
            Duration::from_millis(ticks.saturating_mul(1000) / clock_ticks_per_second().max(1))
        };
        Some(Self { busy: time(user + nice + system + irq + softirq), idle: time(idle + iowait) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_and_idle_time_are_read_from_the_first_line() {
        let text = "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let tick = Duration::from_millis(1000 / clock_ticks_per_second());
        let time = MachineTime::parse(text).unwrap();
        assert_eq!(time, MachineTime { busy: tick * 163, idle: tick * 450 });
    }

    #[test]
    fn a_line_that_is_too_short_is_refused() {
        assert_eq!(MachineTime::parse("cpu  1 2 3\n"), None);
    }
}
