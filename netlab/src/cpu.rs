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

/// Processor time that the threads of a process have used whose names begin so; to the nanosecond, from
/// `/proc/PID/task/TID/schedstat` (`Documentation/scheduler/sched-stats.rst`). Threads that have ended are not
/// in it.
///
/// # Errors
/// [`LabError::Socket`], when there is no such process, or the kernel counts no such times.
pub fn threads_time(pid: u32, name_prefix: &str) -> Result<Duration, LabError> {
    let failed = socket("read /proc/PID/task");
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(&failed)? {
        let task = task.map_err(&failed)?.path();
        // A thread that ends meanwhile is no error.
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        if name.starts_with(name_prefix) {
            let Ok(text) = fs::read_to_string(task.join("schedstat")) else { continue };
            total +=
                running_time(&text).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        }
    }
    Ok(total)
}

/// How often the threads of a process have slept and were woken: their voluntary context switches, from
/// `/proc/PID/task/TID/status` (proc_pid_status(5)). Threads that have ended are not in it.
///
/// # Errors
/// [`LabError::Socket`], when there is no such process.
pub fn wake_ups(pid: u32) -> Result<u64, LabError> {
    let failed = socket("read /proc/PID/task");
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(&failed)? {
        let status = task.map_err(&failed)?.path().join("status");
        // A thread that ends meanwhile is no error.
        let Ok(text) = fs::read_to_string(status) else { continue };
        total +=
            voluntary_switches(&text).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    }
    Ok(total)
}

/// That figure of a task's `status`.
fn voluntary_switches(status: &str) -> Option<u64> {
    let figure = |line: &str| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok();
    status.lines().find_map(figure)
}

/// The first figure of a task's `schedstat`.
fn running_time(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
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
    fn the_time_of_threads_is_told_by_their_names() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let work = move || {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(20) {}
            let _ = told.recv();
        };
        let thread = std::thread::Builder::new().name("toiler-7".to_owned()).spawn(work).unwrap();
        let own = std::process::id();
        while threads_time(own, "toiler").unwrap().is_zero() {
            std::thread::yield_now();
        }
        assert!(threads_time(own, "").unwrap() >= threads_time(own, "toiler-7").unwrap());
        assert_eq!(threads_time(own, "idler").unwrap(), Duration::ZERO);
        drop(tell);
        thread.join().unwrap();
        assert!(threads_time(0, "").is_err());
        assert_eq!(running_time("1500 7 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(running_time("nothing"), None);
    }

    #[test]
    fn who_sleeps_and_is_woken_is_counted() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!(voluntary_switches(status), Some(17));
        assert_eq!(voluntary_switches("nonvoluntary_ctxt_switches:\t4\n"), None);
        let own = std::process::id();
        let before = wake_ups(own).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        assert!(wake_ups(own).unwrap() > before);
        assert!(wake_ups(0).is_err());
    }

    #[test]
    fn a_line_that_is_too_short_is_refused() {
        assert_eq!(MachineTime::parse("cpu  1 2 3\n"), None);
    }
}
