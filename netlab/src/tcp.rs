//! TCP as fast as it goes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::cpu;
use crate::error::{LabError, is_timeout, socket};
use crate::{Cores, PATIENCE, Path};

/// Bytes of one read or write.
const CHUNK_BYTES: usize = 128 * 1024;

/// Which way the data go over a connection that the path's sender makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Along the path.
    #[default]
    There,
    /// Against it: a download.
    Back,
    /// Both ways at the same time.
    Both,
}

/// How much to send.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Connections at the same time.
    pub streams: usize,
    /// For how long.
    pub duration: Duration,
    /// Which way.
    pub direction: Direction,
    /// Where the threads of all connections run.
    pub cores: Cores,
    /// Counts the bytes that have arrived, for those who watch.
    pub progress: Option<&'a AtomicU64>,
}

impl Default for Options<'_> {
    /// One connection for a second.
    fn default() -> Self {
        Self {
            streams: 1,
            duration: Duration::from_secs(1),
            direction: Direction::There,
            cores: Cores::default(),
            progress: None,
        }
    }
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Bytes that the receivers read.
    pub bytes: u64,
    /// From the start until the last of them.
    pub elapsed: Duration,
    /// Processor time of the sending threads, in which most of the network's own work is done too.
    pub sender_cpu: Duration,
    /// Processor time of the receiving threads.
    pub receiver_cpu: Duration,
}

impl Report {
    /// Gigabits (10^9) of payload per second.
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn gbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8e-9 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// Sends for a while along the path, and reports what arrived.
///
/// # Errors
/// [`LabError::Socket`] when a connection does not come about or breaks; [`LabError::Stalled`] when
/// nothing moves.
pub fn stream(path: &Path, options: &Options) -> Result<Report, LabError> {
    let mut ways = Vec::new();
    for _ in 0..options.streams {
        ways.extend(ways_of(path.tcp()?, options.direction)?);
    }
    let start = Instant::now();
    let end = start + options.duration;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (from, to) in ways {
            threads.push(scope.spawn(move || receive(to, start, options)));
            threads.push(scope.spawn(move || send(from, end, options)));
        }
        let mut total = Report::default();
        for thread in threads {
            let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            total.bytes += part.bytes;
            total.elapsed = total.elapsed.max(part.elapsed);
            total.sender_cpu += part.sender_cpu;
            total.receiver_cpu += part.receiver_cpu;
        }
        Ok(total)
    })
}

/// From where to where the data of a connection go, for each way.
fn ways_of(
    (near, far): (TcpStream, TcpStream),
    direction: Direction,
) -> Result<Vec<(TcpStream, TcpStream)>, LabError> {
    let again = |end: &TcpStream| end.try_clone().map_err(socket("set up a TCP connection"));
    Ok(match direction {
        Direction::There => vec![(near, far)],
        Direction::Back => vec![(far, near)],
        Direction::Both => vec![(again(&near)?, again(&far)?), (far, near)],
    })
}

fn send(mut near: TcpStream, end: Instant, options: &Options) -> Result<Report, LabError> {
    cpu::pin(options.cores.sender);
    let chunk = vec![0x5a; CHUNK_BYTES];
    let mut sent = 0;
    while Instant::now() < end {
        match near.write(&chunk) {
            Ok(count) => sent += u64::try_from(count).unwrap_or(0),
            Err(error) => return Err(failed("a TCP stream", "send by TCP", sent, error)),
        }
    }
    near.shutdown(Shutdown::Write).map_err(socket("end a TCP stream"))?;
    Ok(Report { sender_cpu: cpu::thread_time(), ..Report::default() })
}

fn receive(mut far: TcpStream, start: Instant, options: &Options) -> Result<Report, LabError> {
    cpu::pin(options.cores.receiver);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut report = Report::default();
    loop {
        match far.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                let count = u64::try_from(count).unwrap_or(0);
                report.bytes += count;
                report.elapsed = start.elapsed();
                if let Some(progress) = options.progress {
                    progress.fetch_add(count, Ordering::Relaxed);
                }
            }
            Err(error) => {
                return Err(failed("a TCP stream", "receive by TCP", report.bytes, error));
            }
        }
    }
    report.receiver_cpu = cpu::thread_time();
    Ok(report)
}

/// A connection that does not move, or one that broke.
pub(crate) fn failed(
    what: &'static str,
    operation: &'static str,
    bytes: u64,
    source: io::Error,
) -> LabError {
    if is_timeout(&source) {
        LabError::Stalled { operation: what, bytes, waited: PATIENCE }
    } else {
        LabError::Socket { operation, source }
    }
}
