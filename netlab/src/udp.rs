//! Small UDP datagrams as fast as they go: packets per second.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{LabError, socket};
use crate::ping::internet_checksum;
use crate::sys::{self, ReceiveBatch, SendBatch};
use crate::{Cores, Path, cpu};

/// UDP payload of the shortest IPv4 frame: 64 bytes on the wire, of which 14 are Ethernet's header, 20
/// IPv4's, 8 UDP's and 4 the check sequence; 60 bytes of it are in a buffer.
pub const SHORTEST_PAYLOAD_BYTES: usize = 18;

/// Datagrams of one system call.
const BATCH: usize = 64;
/// How long the receiver sleeps when nothing is there. It is never woken by a datagram: that would cost the
/// sender, in whose context datagrams arrive, several times as much as the datagram itself.
const NAP: Duration = Duration::from_micros(50);
/// How long the receiver waits for stragglers.
const STRAGGLERS: Duration = Duration::from_millis(100);
/// At most how long, if they do not end.
const MOST_STRAGGLERS: Duration = Duration::from_secs(3);

/// Who makes the frames.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A UDP socket: the container's own stack.
    Socket,
    /// A packet socket that has them ready-made, and bypasses the stack. IPv4 only.
    Frames {
        /// The sender's interface.
        interface: &'a str,
        /// The receiver's interface.
        target_interface: &'a str,
        /// The sender's address.
        source: Ipv4Addr,
        /// Different UDP source ports, one after the other; at least 1.
        flows: u16,
    },
}

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// For how long.
    pub duration: Duration,
    /// UDP payload of each datagram.
    pub payload_bytes: usize,
    /// Who makes the frames.
    pub source: Source<'a>,
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
            source: Source::Socket,
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
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::EPSILON)
}

/// Sends datagrams along the path as fast as the sender can, and counts what is delivered. Loss is no
/// error.
///
/// # Errors
/// [`LabError::Parameters`] for ready-made frames of IPv6; [`LabError::Socket`]; [`LabError::Host`] when
/// an interface is not there.
pub fn flood(path: &Path, options: &Options) -> Result<Report, LabError> {
    let far = path.udp_receiver()?;
    let target = far.local_addr().map_err(socket("receive UDP"))?;
    let sender = Sender::open(path, target, options)?;
    let start = Instant::now();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&far, start, &done, options));
        let sending = scope.spawn(|| {
            let sent = sender.run(start, options);
            done.store(true, Ordering::Release);
            sent
        });
        let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let got = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Report { sent: sent.sent, sending: sent.sending, sender_cpu: sent.sender_cpu, ..got })
    })
}

fn receive(
    far: &UdpSocket,
    start: Instant,
    done: &AtomicBool,
    options: &Options,
) -> Result<Report, LabError> {
    cpu::pin(options.cores.receiver);
    let mut batch = ReceiveBatch::new(BATCH);
    let mut report = Report::default();
    let mut last = Instant::now();
    let end = start + options.duration + MOST_STRAGGLERS;
    while last < end {
        match batch.receive(far) {
            Ok(count) => {
                last = Instant::now();
                let count = u64::try_from(count).unwrap_or(0);
                report.received += count;
                report.receiving = last - start;
                if let Some(progress) = options.progress {
                    progress.fetch_add(count, Ordering::Relaxed);
                }
            }
            Err(error) if !is_passing(&error) => return Err(socket("receive UDP")(error)),
            Err(_) if done.load(Ordering::Acquire) && last.elapsed() > STRAGGLERS => break,
            Err(_) => std::thread::sleep(NAP),
        }
    }
    report.receiver_cpu = cpu::thread_time();
    Ok(report)
}

/// What a socket sends, and from where.
struct Sender {
    socket: std::os::fd::OwnedFd,
    messages: Vec<Vec<u8>>,
}

impl Sender {
    fn open(path: &Path, target: SocketAddr, options: &Options) -> Result<Self, LabError> {
        match options.source {
            Source::Socket => Ok(Self {
                socket: path.udp_sender(target)?.into(),
                messages: vec![vec![0x5a; options.payload_bytes]; BATCH],
            }),
            Source::Frames { .. } => Self::open_raw(path, target, options),
        }
    }

    fn open_raw(path: &Path, target: SocketAddr, options: &Options) -> Result<Self, LabError> {
        let bad = |why| LabError::Parameters { operation: "send ready-made frames", why };
        let Source::Frames { interface, target_interface, source, flows } = options.source else {
            return Err(bad("the source is a socket"));
        };
        let IpAddr::V4(destination) = target.ip() else {
            return Err(bad("they are IPv4 only; use a socket for IPv6"));
        };
        let near = path.from.link(interface)?;
        let no_mac = || bad("the interface has no MAC address");
        let sender = near.mac.ok_or_else(no_mac)?;
        let receiver = path.to.link(target_interface)?.mac.ok_or_else(no_mac)?;
        let frame = |flow: u16| {
            let ports = (1024 + flow % 64_000, target.port());
            datagram_frame([receiver, sender], [source, destination], ports, options.payload_bytes)
        };
        let frames = usize::from(flows.max(1)).next_multiple_of(BATCH);
        let frames = u16::try_from(frames).map_err(|_| bad("there are more than 65472 flows"))?;
        let socket = path.from.run(|| {
            let opened = sys::packet_socket(near.index, false);
            let opened = opened.map_err(socket("open a packet socket"))?;
            sys::bypass_qdisc(&opened).map_err(socket("open a packet socket"))?;
            Ok::<_, LabError>(opened)
        })?;
        let messages = (0..frames).map(|number| frame(number % flows.max(1))).collect();
        Ok(Self { socket, messages })
    }

    fn run(&self, start: Instant, options: &Options) -> Result<Report, LabError> {
        cpu::pin(options.cores.sender);
        let groups = self.messages.chunks(BATCH);
        let mut batches: Vec<_> =
            groups.map(|group| SendBatch::new(group.iter().map(Vec::as_slice))).collect();
        let mut report = Report::default();
        let end = start + options.duration;
        while Instant::now() < end {
            for batch in &mut batches {
                report.sent += send_all(&self.socket, batch, end)?;
            }
        }
        report.sending = start.elapsed();
        report.sender_cpu = cpu::thread_time();
        Ok(report)
    }
}

/// Sends a whole batch, and returns how many the kernel took before the end.
fn send_all(fd: &impl AsFd, batch: &mut SendBatch, end: Instant) -> Result<u64, LabError> {
    let mut sent = 0;
    while sent < BATCH {
        match batch.send(fd, sent) {
            Ok(count) => sent += count,
            Err(error) if is_passing(&error) && Instant::now() < end => {}
            Err(error) if is_passing(&error) => break,
            Err(error) => return Err(socket("send UDP")(error)),
        }
    }
    Ok(u64::try_from(sent).unwrap_or(0))
}

/// Errors that pass: full queues, a timeout, and ICMP's word that something was not deliverable.
fn is_passing(error: &io::Error) -> bool {
    let passing =
        [libc::ENOBUFS, libc::EAGAIN, libc::EINTR, libc::ECONNREFUSED, libc::EHOSTUNREACH];
    error.raw_os_error().is_some_and(|code| passing.contains(&code))
}

/// An Ethernet frame with a UDP datagram, without UDP checksum. `macs` and `addresses` are in wire order:
/// destination and source MAC, source and destination address.
fn datagram_frame(
    macs: [hostnet::MacBytes; 2],
    addresses: [Ipv4Addr; 2],
    (source_port, target_port): (u16, u16),
    payload_bytes: usize,
) -> Vec<u8> {
    let length = |extra: usize| u16::try_from(payload_bytes + extra).unwrap_or(u16::MAX);
    let mut ip = vec![0x45, 0];
    ip.extend(length(28).to_be_bytes());
    // Identification 0, "do not fragment"; time to live 64, UDP; the checksum follows below.
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(addresses.iter().flat_map(Ipv4Addr::octets));
    let sum = internet_checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = macs.concat();
    frame.extend([0x08, 0x00]);
    frame.extend(ip);
    frame.extend(source_port.to_be_bytes());
    frame.extend(target_port.to_be_bytes());
    frame.extend(length(8).to_be_bytes());
    frame.extend([0, 0]);
    frame.resize(frame.len() + payload_bytes, 0x5a);
    frame
}
