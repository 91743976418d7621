//! A load of UDP datagrams in ready-made frames: many flows, any sizes, as fast as they go or at a rate.
//!
//! A packet socket sends the frames and bypasses the container's own stack; a UDP socket at the far end counts
//! what is delivered. At a rate, every frame has a moment at which it is due, and carries it: its latency is
//! the time from there until the far end's stack has the frame, by the kernel's own time stamp. A frame that
//! the sender was late with has waited, and that counts: a network that holds the sender up cannot hide it
//! (no coordinated omission), and how late the receiver wakes up does not count.
//!
//! One thread sends and one receives, on the cores that the [`Load`] names.

mod pace;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use hostnet::MacBytes;

use crate::error::{LabError, socket};
use crate::ping::internet_checksum;
use crate::sys::{self, ReceiveBatch, SendBatch};
use crate::{Cores, Path, cpu, oneway};
use pace::{Arrivals, Pace};

/// The shortest frame of Ethernet, its check sequence included (IEEE 802.3).
pub const SHORTEST_FRAME_BYTES: u16 = 64;
/// Bytes of a frame that are not UDP payload: Ethernet's header and check sequence, and the headers of IPv4 and UDP.
pub const OVERHEAD_BYTES: u16 = 14 + 4 + 20 + 8;
/// A mix of sizes like the Internet's: 7 of 64 bytes, 4 of 594, and 1 of 1518, in turn ("simple IMIX").
pub const IMIX: [u16; 12] = [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64];

/// Datagrams of one system call.
const BATCH: usize = 64;
/// Source ports from which one address sends: few enough for every translator's quotas.
const PORTS: u32 = 15_000;
const FIRST_PORT: u32 = 1024;
/// The receiver's port. Always the same, so that the flows of a load are the same when it is sent again: what is to be
/// found again in a switch's tables is.
const PORT: u16 = 9009;
/// After how long without a delivery what is under way is given up.
const TAKEN_FOR_LOST: Duration = Duration::from_millis(20);
/// A frame that is due later than this is slept for.
const WORTH_A_NAP: Duration = Duration::from_micros(200);
/// The moment at which a frame of an overload says that it was due.
const NOT_TIMED: Duration = Duration::ZERO;
/// The longest latency that is told from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The sender's interface.
    pub interface: &'a str,
    /// Who frames are addressed to on the sender's link: the receiver, or its gateway.
    pub next_hop: MacBytes,
    /// The sender's address; for every 15 000 flows the next one behind it sends too.
    pub source: Ipv4Addr,
    /// Different five-tuples, one after the other; at least 1.
    pub flows: u32,
    /// Lengths of the frames, check sequence included, one after the other: at least one, of 64 bytes or more.
    pub frame_bytes: &'a [u16],
    /// Frames per second; as many as go if not given.
    pub rate: Option<f64>,
    /// Where there is a rate: for so long before it, as many as go. So something has to recover from it.
    pub overload: Duration,
    /// At most so many frames.
    pub frames: Option<u64>,
    /// At most for so long.
    pub duration: Duration,
    /// At most so many frames are sent before those in front of them have arrived. So nothing overflows.
    pub under_way: Option<u64>,
    /// Where the two threads run.
    pub cores: Cores,
    /// Counts the datagrams that have arrived, for those who watch.
    pub progress: Option<&'a AtomicU64>,
}

impl<'a> Load<'a> {
    /// The shortest frames of one flow, as fast as they go for a second.
    pub fn new(interface: &'a str, next_hop: MacBytes, source: Ipv4Addr) -> Self {
        Self {
            interface,
            next_hop,
            source,
            flows: 1,
            frame_bytes: &[SHORTEST_FRAME_BYTES],
            rate: None,
            overload: Duration::ZERO,
            frames: None,
            duration: Duration::from_secs(1),
            under_way: None,
            cores: Cores::default(),
            progress: None,
        }
    }

    fn check(&self) -> Result<(), LabError> {
        let bad = |why| Err(LabError::Parameters { operation: "send ready-made frames", why });
        if self.flows == 0 || self.frame_bytes.is_empty() {
            return bad("there must be a flow, and a length of frames");
        }
        if self.frame_bytes.iter().any(|bytes| *bytes < SHORTEST_FRAME_BYTES) {
            return bad("no frame is shorter than 64 bytes");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return bad("the rate must be more than 0 frames per second");
        }
        Ok(())
    }

    /// The frames that are sent again and again: each flow and each length, as often as it takes.
    fn templates(&self, sender: MacBytes, (address, port): (Ipv4Addr, u16)) -> Vec<Vec<u8>> {
        let flows = usize::try_from(self.flows).unwrap_or(usize::MAX);
        // Whole turns of the lengths, so that each has its share, in whole batches.
        let count = flows.next_multiple_of(BATCH * self.frame_bytes.len());
        let frame = |number: usize| {
            let flow = u32::try_from(number % flows).unwrap_or(0);
            let source = Ipv4Addr::from(u32::from(self.source).wrapping_add(flow / PORTS));
            let source_port = u16::try_from(FIRST_PORT + flow % PORTS).unwrap_or(u16::MAX);
            let bytes = self.frame_bytes[number % self.frame_bytes.len()];
            datagram_frame([self.next_hop, sender], [source, address], [source_port, port], bytes)
        };
        (0..count).map(frame).collect()
    }
}

/// What was sent and what arrived.
#[derive(Debug, Clone)]
pub struct Report {
    /// Frames that the sender's kernel took.
    pub sent: u64,
    /// Datagrams that the receiver's socket delivered.
    pub received: u64,
    /// Bytes of the frames that they came in, check sequences included.
    pub received_bytes: u64,
    /// How long the sender sent.
    pub sending: Duration,
    /// From the start until the last datagram was delivered.
    pub receiving: Duration,
    /// Processor time of the sending thread.
    pub sender_cpu: Duration,
    /// Processor time of the receiving thread.
    pub receiver_cpu: Duration,
    /// From when a frame was due until the far end had it, in nanoseconds; empty without a rate.
    pub latency_ns: Histogram<u64>,
    /// When the last frame that did not arrive was due, from when the rate began; `None` if none was lost from then on,
    /// or there is no rate.
    pub last_lost: Option<Duration>,
    /// The longest time between two arrivals; zero without a rate.
    pub longest_silence: Duration,
}

impl Report {
    /// Datagrams delivered per second.
    pub fn received_per_second(&self) -> f64 {
        figure(self.received) / self.receiving.as_secs_f64().max(f64::EPSILON)
    }

    /// Gigabits (10^9) of the frames that they came in per second, check sequences included.
    pub fn gbit_per_s(&self) -> f64 {
        figure(self.received_bytes) * 8e-9 / self.receiving.as_secs_f64().max(f64::EPSILON)
    }

    /// Frames sent per second.
    pub fn sent_per_second(&self) -> f64 {
        figure(self.sent) / self.sending.as_secs_f64().max(f64::EPSILON)
    }

    /// The share of the frames that did not arrive, 0 to 1.
    pub fn loss(&self) -> f64 {
        figure(self.sent.saturating_sub(self.received)) / figure(self.sent.max(1))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn figure(count: u64) -> f64 {
    count as f64
}

/// Sends the load along the path, and counts what is delivered. Loss is no error.
///
/// # Errors
/// [`LabError::Parameters`], also for a path to an IPv6 address; [`LabError::Socket`]; [`LabError::Host`] when
/// the interface is not there.
pub fn send(path: &Path, load: &Load) -> Result<Report, LabError> {
    send_then(path, load, || ()).map(|(report, ())| report)
}

/// As [`send`], and looks at something when the last frame has been sent: what comes behind that, stragglers and the wait
/// for them, is no part of the load.
///
/// # Errors
/// As [`send`].
pub fn send_then<T: Send>(
    path: &Path,
    load: &Load,
    look: impl FnOnce() -> T + Send,
) -> Result<(Report, T), LabError> {
    load.check()?;
    let far = path.udp_receiver(PORT)?;
    let sender = Sender::open(path, &far, load)?;
    let receiver = Receiver::new(far, load)?;
    let (start, received) = (Start::now(), AtomicU64::new(0));
    let ((sent, seen), got) = oneway::at_once(
        || (sender.run(start, &received, load), look()),
        |done| receiver.run(start, done, &received, load),
    );
    Ok((sent?.complete(got?, load), seen))
}

/// The moment from which everything is counted, by the clock that never jumps and by the kernel's time stamps'.
#[derive(Debug, Clone, Copy)]
struct Start {
    instant: Instant,
    since_epoch: Duration,
}

impl Start {
    fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self { instant: Instant::now(), since_epoch: since_epoch.unwrap_or_default() }
    }
}

/// How many frames are no longer under way: delivered, or given up because nothing came for a while.
struct Settled<'a> {
    received: &'a AtomicU64,
    seen: u64,
    lost: u64,
    changed: Instant,
}

impl Settled<'_> {
    fn count(&mut self, sent: u64) -> u64 {
        let received = self.received.load(Ordering::Relaxed);
        if received != self.seen {
            (self.seen, self.changed) = (received, Instant::now());
        } else if self.changed.elapsed() > TAKEN_FOR_LOST {
            self.lost = sent.saturating_sub(received);
            self.changed = Instant::now();
        }
        received + self.lost
    }
}

/// What the sending thread did.
struct Sent {
    frames: u64,
    /// Of these, those at the rate.
    timed: u64,
    time: Duration,
    cpu: Duration,
}

impl Sent {
    /// What was sent, beside what arrived.
    fn complete(self, (got, arrivals): (Report, Arrivals), load: &Load) -> Report {
        let lost = load.rate.zip(arrivals.last_lost(self.timed));
        Report {
            sent: self.frames,
            sending: self.time,
            sender_cpu: self.cpu,
            last_lost: lost.map(|(rate, lost)| Duration::from_secs_f64(figure(lost) / rate)),
            longest_silence: arrivals.longest_silence(),
            ..got
        }
    }
}

/// What a packet socket sends, and from where.
struct Sender {
    socket: OwnedFd,
    batches: Vec<SendBatch>,
}

impl Sender {
    fn open(path: &Path, far: &UdpSocket, load: &Load) -> Result<Self, LabError> {
        let bad = |why| LabError::Parameters { operation: "send ready-made frames", why };
        let target = far.local_addr().map_err(socket("receive UDP"))?;
        let IpAddr::V4(address) = path.address else {
            return Err(bad("they are IPv4 only"));
        };
        let near = path.from.link(load.interface)?;
        let mac = near.mac.ok_or_else(|| bad("the interface has no MAC address"))?;
        let socket = path.from.run(|| {
            let opened = sys::packet_socket(near.index, false);
            let opened = opened.map_err(socket("open a packet socket"))?;
            sys::bypass_qdisc(&opened).map_err(socket("open a packet socket"))?;
            Ok::<_, LabError>(opened)
        })?;
        let mut frames = load.templates(mac, (address, target.port())).into_iter();
        let mut batches = Vec::new();
        while frames.len() > 0 {
            batches.push(SendBatch::new(frames.by_ref().take(BATCH)));
        }
        Ok(Self { socket, batches })
    }

    fn run(mut self, start: Start, received: &AtomicU64, load: &Load) -> Result<Sent, LabError> {
        cpu::pin(load.cores.sender);
        let mut pace = Pace::new(load);
        let mut settled = Settled { received, seen: 0, lost: 0, changed: Instant::now() };
        let (mut frames, mut at) = (0, 0);
        while frames < pace.frames && start.instant.elapsed() < load.duration {
            let (batch, first) = (at / BATCH, at % BATCH);
            let batch = &mut self.batches[batch];
            let elapsed = start.instant.elapsed();
            let allowed = pace.allowance(elapsed, frames, settled.count(frames));
            let count = usize::try_from(allowed).unwrap_or(BATCH).min(BATCH - first);
            if count == 0 {
                wait(&pace, start, frames);
                continue;
            }
            if pace.rate.is_some() {
                stamp(batch, first..first + count, |place| {
                    let moment = pace.moment(frames + u64::try_from(place).unwrap_or(0));
                    moment.map_or(NOT_TIMED, |moment| start.since_epoch + moment)
                });
            }
            let sent = send_some(&self.socket, batch, first..first + count)?;
            frames += u64::try_from(sent).unwrap_or(0);
            pace.note(elapsed, frames);
            at = (at + sent) % (self.batches.len() * BATCH);
        }
        let timed = pace.timed(frames).unwrap_or(0);
        Ok(Sent { frames, timed, time: start.instant.elapsed(), cpu: cpu::thread_time() })
    }
}

/// Passes the time until the next frame is due: asleep if that is worth it.
fn wait(pace: &Pace, start: Start, next: u64) {
    let due = pace.moment(next).unwrap_or_default();
    let left = due.saturating_sub(start.instant.elapsed());
    if left > WORTH_A_NAP {
        std::thread::sleep(left - WORTH_A_NAP / 2);
    } else {
        std::thread::yield_now();
    }
}

/// Writes into each datagram when it is due.
fn stamp(batch: &mut SendBatch, range: std::ops::Range<usize>, due: impl Fn(usize) -> Duration) {
    for (place, number) in range.enumerate() {
        let nanos = u64::try_from(due(place).as_nanos()).unwrap_or(u64::MAX);
        let payload = usize::from(OVERHEAD_BYTES - 4);
        batch.frame(number)[payload..payload + 8].copy_from_slice(&nanos.to_be_bytes());
    }
}

/// Sends some of a batch, and returns how many the kernel took.
fn send_some(
    fd: &OwnedFd,
    batch: &mut SendBatch,
    range: std::ops::Range<usize>,
) -> Result<usize, LabError> {
    match batch.send(fd, range) {
        Ok(count) => Ok(count),
        Err(error) if sys::is_passing(&error) => Ok(0),
        Err(error) => Err(socket("send ready-made frames")(error)),
    }
}

/// Who counts what arrives.
struct Receiver {
    socket: UdpSocket,
    batch: ReceiveBatch,
    tally: Tally,
}

/// What has arrived.
struct Tally {
    report: Report,
    arrivals: Arrivals,
}

impl Receiver {
    fn new(far: UdpSocket, load: &Load) -> Result<Self, LabError> {
        if load.rate.is_some() {
            sys::stamp_arrivals(&far).map_err(socket("receive UDP"))?;
        }
        let latency_ns = Histogram::new_with_max(LONGEST_NS, 3)
            .expect("three significant digits up to a minute are supported");
        let report = Report {
            sent: 0,
            received: 0,
            received_bytes: 0,
            sending: Duration::ZERO,
            receiving: Duration::ZERO,
            sender_cpu: Duration::ZERO,
            receiver_cpu: Duration::ZERO,
            latency_ns,
            last_lost: None,
            longest_silence: Duration::ZERO,
        };
        let tally = Tally { report, arrivals: Arrivals::default() };
        Ok(Self { socket: far, batch: ReceiveBatch::new(BATCH), tally })
    }

    fn run(
        mut self,
        start: Start,
        done: &AtomicBool,
        received: &AtomicU64,
        load: &Load,
    ) -> Result<(Report, Arrivals), LabError> {
        cpu::pin(load.cores.receiver);
        let Self { socket, batch, tally } = &mut self;
        let end = start.instant + load.duration;
        oneway::receive(socket, batch, (done, end), |batch, count, now| {
            tally.note((batch, count), start, load);
            tally.report.receiving = now - start.instant;
            received.store(tally.report.received, Ordering::Relaxed);
        })?;
        tally.report.receiver_cpu = cpu::thread_time();
        Ok((self.tally.report, self.tally.arrivals))
    }
}

impl Tally {
    fn note(&mut self, (batch, count): (&ReceiveBatch, usize), start: Start, load: &Load) {
        let arrived = u64::try_from(count).unwrap_or(0);
        self.report.received += arrived;
        let payload: u64 = (0..count).map(|number| batch.length_bytes(number)).sum();
        self.report.received_bytes += payload + arrived * u64::from(OVERHEAD_BYTES);
        if let Some(progress) = load.progress {
            progress.fetch_add(arrived, Ordering::Relaxed);
        }
        let Some(rate) = load.rate else { return };
        let begun = start.since_epoch + load.overload;
        for number in 0..count {
            let due = batch.datagram(number).first_chunk().map(|due| u64::from_be_bytes(*due));
            let Some((due, there)) = due.zip(batch.arrival_ns(number)) else { continue };
            if let Some(since) = Duration::from_nanos(due).checked_sub(begun) {
                self.report.latency_ns.saturating_record(there.saturating_sub(due).max(1));
                self.arrivals.note(since, rate, there);
            }
        }
    }
}

/// An Ethernet frame with a UDP datagram, without check sequence and without UDP checksum. Destination MAC first,
/// source address and port first, as on the wire.
fn datagram_frame(
    macs: [MacBytes; 2],
    addresses: [Ipv4Addr; 2],
    ports: [u16; 2],
    frame_bytes: u16,
) -> Vec<u8> {
    let length = |headers: u16| (frame_bytes - headers).to_be_bytes();
    let mut ip = vec![0x45, 0];
    ip.extend(length(14 + 4));
    // Identification 0, "do not fragment"; time to live 64, UDP; the checksum follows below.
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(addresses.iter().flat_map(Ipv4Addr::octets));
    let sum = internet_checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = macs.concat();
    frame.extend([0x08, 0x00]);
    frame.extend(ip);
    frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    frame.extend(length(14 + 4 + 20));
    frame.extend([0, 0]);
    frame.resize(usize::from(frame_bytes - 4), 0x5a);
    frame
}
