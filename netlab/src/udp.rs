//! UDP datagrams from a socket as fast as they go: packets per second of the container's own stack.
//!
//! For more than the stack gives, for many flows, and for latency at a rate there is [`load`](crate::load).

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{LabError, socket};
use crate::sys::{self, ReceiveBatch, SendBatch};
use crate::{Cores, Path, cpu, oneway};

/// UDP payload of the shortest IPv4 frame: 64 bytes on the wire, of which 14 are Ethernet's header, 20
/// IPv4's, 8 UDP's and 4 the check sequence; 60 bytes of it are in a buffer.
pub const SHORTEST_PAYLOAD_BYTES: usize = 18;

/// Datagrams of one system call.
const BATCH: usize = 64;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// For how long.
    pub duration: Duration,
    /// UDP payload of each datagram.
    pub payload_bytes: usize,
    /// How many the sender hands over at once, for the kernel or a device to cut (`UDP_SEGMENT`): 1, or up to 64
    /// that are together no longer than 65507 bytes and each fit the MTU.
    pub segments: u16,
    /// Where the two threads run.
    pub cores: Cores,
    /// Counts the datagrams that have arrived, for those who watch.
    pub progress: Option<&'a AtomicU64>,
}

impl Default for Options<'_> {
    /// The shortest frames from a UDP socket for a second.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(1),
            payload_bytes: SHORTEST_PAYLOAD_BYTES,
            segments: 1,
            cores: Cores::default(),
            progress: None,
        }
    }
}

/// What was sent and what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Datagrams that the sender's kernel took.
    pub sent: u64,
    /// Datagrams that the receiver's socket delivered.
    pub received: u64,
    /// How long the sender sent.
    pub sending: Duration,
    /// From the start until the last datagram was delivered.
    pub receiving: Duration,
    /// Processor time of the sending thread.
    pub sender_cpu: Duration,
    /// Processor time of the receiving thread.
    pub receiver_cpu: Duration,
}

impl Report {
    /// Datagrams sent per second.
    pub fn sent_per_second(&self) -> f64 {
        rate(self.sent, self.sending)
    }

    /// Datagrams delivered per second.
    pub fn received_per_second(&self) -> f64 {
        rate(self.received, self.receiving)
    }

    /// The share of the datagrams that were not delivered, 0 to 1.
    pub fn loss(&self) -> f64 {
        share(self.sent.saturating_sub(self.received), self.sent)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::EPSILON)
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Sends datagrams along the path as fast as the sender can, and counts what is delivered. Loss is no
/// error.
///
/// # Errors
/// [`LabError::Parameters`] for datagrams that are too long together; [`LabError::Socket`].
pub fn flood(path: &Path, options: &Options) -> Result<Report, LabError> {
    flood_then(path, options, || ()).map(|(report, ())| report)
}

/// As [`flood`], and looks at something when the last datagram has been sent: what comes behind that, stragglers and the
/// wait for them, is no part of the load.
///
/// # Errors
/// As [`flood`].
pub fn flood_then<T: Send>(
    path: &Path,
    options: &Options,
    look: impl FnOnce() -> T + Send,
) -> Result<(Report, T), LabError> {
    if options.segments == 0 || usize::from(options.segments) * options.payload_bytes > 65_507 {
        let why = "send 1 or more segments of together up to 65507 bytes";
        return Err(LabError::Parameters { operation: "send UDP", why });
    }
    let far = path.udp_receiver(0)?;
    let near = path.udp_sender(far.local_addr().map_err(socket("receive UDP"))?)?;
    if options.segments > 1 {
        let bytes = u16::try_from(options.payload_bytes).unwrap_or(u16::MAX);
        sys::segment_udp(&near, bytes).map_err(socket("set UDP_SEGMENT"))?;
    }
    let start = Instant::now();
    let ((sent, seen), got) = oneway::at_once(
        || (send(&near, start, options), look()),
        |done| receive(&far, start, done, options),
    );
    let Report { sent, sending, sender_cpu, .. } = sent?;
    Ok((Report { sent, sending, sender_cpu, ..got? }, seen))
}

fn receive(
    far: &UdpSocket,
    start: Instant,
    done: &AtomicBool,
    options: &Options,
) -> Result<Report, LabError> {
    cpu::pin(options.cores.receiver);
    let mut report = Report::default();
    let (mut batch, end) = (ReceiveBatch::new(BATCH), start + options.duration);
    oneway::receive(far, &mut batch, (done, end), |_, count, now| {
        let count = u64::try_from(count).unwrap_or(0);
        report.received += count;
        report.receiving = now - start;
        if let Some(progress) = options.progress {
            progress.fetch_add(count, Ordering::Relaxed);
        }
    })?;
    report.receiver_cpu = cpu::thread_time();
    Ok(report)
}

fn send(near: &UdpSocket, start: Instant, options: &Options) -> Result<Report, LabError> {
    cpu::pin(options.cores.sender);
    let segments = usize::from(options.segments);
    let datagram = vec![0x5a; options.payload_bytes * segments];
    let mut batch = SendBatch::new(vec![datagram; BATCH]);
    let mut report = Report::default();
    let end = start + options.duration;
    while Instant::now() < end {
        report.sent += send_all(near, &mut batch, end)? * u64::from(options.segments);
    }
    report.sending = start.elapsed();
    report.sender_cpu = cpu::thread_time();
    Ok(report)
}

/// Sends a whole batch, and returns how many the kernel took before the end.
fn send_all(fd: &impl AsFd, batch: &mut SendBatch, end: Instant) -> Result<u64, LabError> {
    let mut sent = 0;
    while sent < BATCH {
        match batch.send(fd, sent..BATCH) {
            Ok(count) => sent += count,
            Err(error) if sys::is_passing(&error) && Instant::now() < end => {}
            Err(error) if sys::is_passing(&error) => break,
            Err(error) => return Err(socket("send UDP")(error)),
        }
    }
    Ok(u64::try_from(sent).unwrap_or(0))
}
