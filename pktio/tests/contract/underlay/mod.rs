//! The underlay: between two of ours, and with the kernel's own VXLAN device at the far end.
//!
//! A test makes its pool before its endpoints, so that it outlives them: the buffers that they keep would
//! otherwise be missing from the next pool for a moment (an arena is used again), and that one's test counts.

pub mod outer;
pub mod stream;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use hostnet::Netlink;
use netlab::raw::RawSocket;
use netlab::{Container, TestResult, topology};
use pktio::buffer::BURST_FRAMES;
use pktio::offload::fit;
use pktio::packet::PacketPort;
use pktio::underlay::{self, Mark, Outer, TUNNEL_BYTES, Tally, Underlay, UnderlayConfig};
use pktio::wire::Layers;
use pktio::wire::checksum::{fold, pseudo_header};
use pktio::wire::field::put_be16;
use pktio::{Accepts, Burst, Csum, Gso, PktBuf, Pool, PoolConfig, Port};

use crate::kernel::Outcome2;
use crate::suite::{MEMORY, Outcome};

const PORT: u16 = 4789;
/// Flags, reserved, network 42, reserved.
const TUNNEL: [u8; TUNNEL_BYTES] = [8, 0, 0, 0, 0, 0, 42, 0];
const PATIENCE: Duration = Duration::from_secs(5);

/// Which IP the outside has.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outside {
    V4,
    V6,
}

const BOTH: [Outside; 2] = [Outside::V4, Outside::V6];

impl Outside {
    fn ip(self, host: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from([192, 0, 2, host]),
            Self::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]),
        }
    }

    fn inner_mtu(self) -> u16 {
        match self {
            Self::V4 => 1450,
            Self::V6 => 1430,
        }
    }

    fn config(self, host: u8) -> UnderlayConfig {
        UnderlayConfig {
            local: SocketAddr::new(self.ip(host), PORT),
            ttl: NonZeroU8::new(64).expect("not zero"),
            inner_mtu_bytes: self.inner_mtu(),
        }
    }
}

/// Two hosts on one wire.
fn hosts() -> Outcome<(Container, Container)> {
    let (a, b) = (Container::new()?, Container::new()?);
    topology::veth(&a, "eth0", &b, "eth0")?;
    a.address("eth0", &["192.0.2.1/24", "2001:db8::1/64"])?;
    b.address("eth0", &["192.0.2.2/24", "2001:db8::2/64"])?;
    Ok((a, b))
}

fn open(host: &Container, config: UnderlayConfig) -> Outcome<Underlay> {
    let mut queues = host.run(|| -> Outcome2<_> { Ok(underlay::open(&config, 1)?) })?;
    Ok(queues.remove(0))
}

fn both_ends(outside: Outside) -> Outcome<(Underlay, Underlay, (Container, Container))> {
    let hosts = hosts()?;
    let (a, b) = (open(&hosts.0, outside.config(1))?, open(&hosts.1, outside.config(2))?);
    Ok((a, b, hosts))
}

/// A frame with the tunnel header in front.
fn tunnelled(pool: &mut Pool, inner: &[u8]) -> PktBuf {
    pool.frame_from(&[&TUNNEL[..], inner].concat()).expect("a buffer is free")
}

/// A frame of no known protocol.
fn inner(number: usize, length: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    frame.extend_from_slice(&number.to_be_bytes());
    frame.resize(length.max(14), 0x5a);
    frame
}

/// Payload in which every displacement shows.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(bytes).collect()
}

/// A frame whose checksum is half done.
pub fn unfinished(pool: &mut Pool, mut bytes: Vec<u8>) -> PktBuf {
    let layers = Layers::parse(&bytes).expect("well-formed").expect("IP");
    let (start, offset) = (layers.l4, layers.checksum_offset().expect("has a checksum"));
    let pseudo = pseudo_header(&bytes, &layers, bytes.len() - usize::from(start)).expect("IP");
    put_be16(&mut bytes, usize::from(start + offset), fold(pseudo));
    let mut frame = pool.frame_from(&bytes).expect("a buffer is free");
    frame.offload.csum = Csum::Partial { start, offset };
    frame
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Tcp4,
    Tcp6,
    Udp4,
}

/// A frame as a container's kernel hands it out: the checksum half done, uncut if `segment` is given. Its
/// offload state counts from the tunnel header in front of it.
fn from_container(pool: &mut Pool, kind: Kind, payload: &[u8], segment: Option<u16>) -> PktBuf {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut bytes = Vec::new();
    match kind {
        Kind::Tcp4 => ethernet
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1, 2, 1000, 500)
            .psh()
            .ack(7)
            .write(&mut bytes, payload),
        Kind::Tcp6 => ethernet
            .ipv6([1; 16], [2; 16], 64)
            .tcp(1, 2, 1000, 500)
            .psh()
            .ack(7)
            .write(&mut bytes, payload),
        Kind::Udp4 => {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2).write(&mut bytes, payload)
        }
    }
    .expect("etherparse writes to a vector");
    let mut frame = unfinished(pool, bytes);
    frame.offload.gso = match (kind, segment) {
        (_, None) => Gso::None,
        (Kind::Tcp4, Some(mss)) => Gso::Tcp4 { mss },
        (Kind::Tcp6, Some(mss)) => Gso::Tcp6 { mss },
        (Kind::Udp4, Some(size)) => Gso::Udp { size },
    };
    assert!(frame.grow_front(8));
    frame.data_mut()[..TUNNEL_BYTES].copy_from_slice(&TUNNEL);
    frame
}

/// The frames that a NIC would make of it, without tunnel header.
fn cut(mut frame: PktBuf, pool: &mut Pool) -> Vec<Vec<u8>> {
    assert!(frame.shrink_front(8));
    let mut out = Burst::new();
    fit(frame, &Accepts::PLAIN, pool, &mut out).map_err(|(_, why)| why).expect("it can be cut");
    let bytes = out.iter().map(|frame| frame.data().to_vec()).collect();
    pool.recycle_all(&mut out);
    bytes
}

fn copies(frames: &[PktBuf], pool: &mut Pool) -> Vec<Vec<u8>> {
    let copies: Vec<_> = frames.iter().map(|frame| pool.copy(frame).expect("a buffer")).collect();
    copies.into_iter().flat_map(|frame| cut(frame, pool)).collect()
}

/// Receives until there are so many segments.
fn collect(
    underlay: &mut Underlay,
    pool: &mut Pool,
    segments: usize,
) -> Outcome<(Vec<Vec<u8>>, Vec<Outer>)> {
    let (mut got, mut outers, mut burst) = (Vec::new(), Vec::new(), Burst::new());
    let begun = Instant::now();
    while got.len() < segments {
        if begun.elapsed() > PATIENCE {
            return Err(format!("only {} of {segments} segments came", got.len()).into());
        }
        let received = underlay.rx_burst(pool, &mut burst, &mut outers)?;
        assert_eq!(received, burst.len());
        for frame in burst.drain(..) {
            assert_eq!(frame.data()[..TUNNEL_BYTES], TUNNEL);
            got.extend(cut(frame, pool));
        }
    }
    Ok((got, outers))
}

pub fn datagrams_arrive_whole_in_order_and_with_their_marks() -> TestResult {
    for outside in BOTH {
        let mut pool = Pool::new(MEMORY)?;
        let (mut a, mut b, _hosts) = both_ends(outside)?;
        let before = pool.free();
        let longest = usize::from(outside.inner_mtu()) + 14;
        let inner: Vec<_> = (0..40).map(|n| inner(n, 30 + n * (longest - 30) / 39)).collect();
        let mut burst = Burst::new();
        burst.extend(inner.iter().map(|inner| tunnelled(&mut pool, inner)));
        // One flow, so that the order is fixed; each with a mark of its own.
        let marks: Vec<_> =
            (0..40).map(|n| Mark { tos: n * 6, entropy: 7, ..Mark::default() }).collect();
        let tally = a.tx_burst(&mut pool, &mut burst, &marks, outside.ip(2));
        let sent_bytes = inner.iter().map(Vec::len).sum();
        assert_eq!(tally, Tally { sent: 40, sent_bytes, ..Tally::default() });
        let (got, outers) = collect(&mut b, &mut pool, 40)?;
        assert_eq!(got, inner);
        let tos: Vec<_> = outers.iter().map(|outer| outer.tos).collect();
        assert_eq!(tos, marks.iter().map(|mark| mark.tos).collect::<Vec<_>>());
        assert!(outers.iter().all(|outer| outer.remote == outside.ip(1)));
        b.housekeep(&mut pool);
        assert_eq!((burst.len(), pool.free()), (0, before));
    }
    Ok(())
}

/// Frames of few lengths, flows and marks, so that some can share a message and others cannot.
pub fn frames_that_share_a_message_arrive_as_if_they_did_not() -> TestResult {
    for outside in BOTH {
        let mut pool = Pool::new(MEMORY)?;
        let (mut a, mut b, hosts) = both_ends(outside)?;
        let wire = RawSocket::open(&hosts.1, "eth0")?;
        for round in 0..20usize {
            let dice = |number: usize, sides: usize| (number * 7919 + round * 104_729) / 13 % sides;
            let sent: Vec<_> = (0..100).map(|n| inner(n, 60 + 40 * dice(n, 2))).collect();
            let mark = |n| Mark {
                tos: if dice(n, 5) == 0 { 8 } else { 0 },
                ttl: None,
                entropy: if dice(n, 3) == 0 { 40_000 } else { 0 },
            };
            let marks: Vec<_> = (0..100).map(mark).collect();
            let mut burst = Burst::new();
            burst.extend(sent.iter().map(|inner| tunnelled(&mut pool, inner)));
            assert_eq!(a.tx_burst(&mut pool, &mut burst, &marks, outside.ip(2)).sent, 100);
            let (got, outers) = collect(&mut b, &mut pool, 100)?;
            let number =
                |frame: &[u8]| frame[14..22].iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
            let numbers: Vec<_> = got.iter().map(|frame| number(frame)).collect();
            for (frame, outer) in got.iter().zip(&outers) {
                let number = number(frame);
                assert_eq!((frame, outer.tos), (&sent[number], marks[number].tos));
            }
            for entropy in [0, 40_000] {
                let flow = |number: &&usize| marks[**number].entropy == entropy;
                let order: Vec<_> = numbers.iter().filter(flow).collect();
                assert!(order.is_sorted(), "{order:?}");
            }
        }
        drop(wire.drain(|_| true)?);
        // All of one length are one message, which nobody on this wire cuts.
        let mut burst = Burst::new();
        burst.extend((0..30).map(|n| tunnelled(&mut pool, &inner(n, 100))));
        assert_eq!(
            a.tx_burst(&mut pool, &mut burst, &[Mark::default(); 30], outside.ip(2)).sent,
            30
        );
        let seen = wire.receive(PATIENCE, |frame| frame.len() > 30 * 108)?.ok_or("it was cut")?;
        assert!(seen.bytes.len() < 30 * 108 + 100);
    }
    Ok(())
}

pub fn a_super_frame_is_cut_at_the_wire_and_nowhere_else() -> TestResult {
    for outside in BOTH {
        let mut pool = Pool::new(MEMORY)?;
        let (mut a, mut b, _hosts) = both_ends(outside)?;
        let before = pool.free();
        for (kind, bytes, segment) in [
            (Kind::Tcp4, 65_000, 1380),
            (Kind::Tcp6, 30_000, 1350),
            (Kind::Tcp4, 1380 * 3, 1380),
            (Kind::Tcp4, 900, 1000),
            (Kind::Tcp6, 65_000, 40),
            (Kind::Udp4, 20_000, 1200),
        ] {
            let payload = pattern(bytes);
            let mut burst = Burst::new();
            burst.push(from_container(&mut pool, kind, &payload, Some(segment)));
            let expected = copies(&burst, &mut pool);
            let sent_bytes = burst[0].len() - TUNNEL_BYTES;
            let tally = a.tx_burst(&mut pool, &mut burst, &[Mark::default()], outside.ip(2));
            assert_eq!(tally, Tally { sent: 1, sent_bytes, ..Tally::default() }, "{kind:?}");
            let (got, outers) = collect(&mut b, &mut pool, expected.len())?;
            assert_eq!(got, expected, "{kind:?} {segment}");
            // One stream comes as the few frames that the kernel was given, not as its segments.
            let headers = if matches!(kind, Kind::Tcp6) { 82 } else { 62 };
            let per_message = (65_507 / (headers + usize::from(segment))).min(64);
            let frames = match kind {
                Kind::Udp4 => expected.len(),
                _ => expected.len().div_ceil(per_message),
            };
            assert_eq!(outers.len(), frames, "{kind:?} {segment}");
        }
        b.housekeep(&mut pool);
        assert_eq!(pool.free(), before);
    }
    Ok(())
}

/// The kernel's VXLAN device at the far end, and our packet port on it: what it sends and receives is what a
/// bridge behind it would.
struct KernelEnd {
    far: PacketPort,
    near: Underlay,
    _hosts: (Container, Container),
}

/// Makes the kernel's device on the second host, towards the first.
fn kernel_vxlan(host: &Container, outside: Outside) -> Outcome {
    let local = SocketAddr::new(outside.ip(2), PORT);
    Ok(host.netlink()?.create_vxlan("vxlan0", 42, local, outside.ip(1))?)
}

fn kernel_end(outside: Outside) -> Outcome<KernelEnd> {
    let hosts = hosts()?;
    let far = &hosts.1;
    kernel_vxlan(far, outside)?;
    // No chatter by the device, which gets no address of its own.
    far.run(|| -> Outcome2<()> {
        Ok(std::fs::write("/proc/sys/net/ipv6/conf/vxlan0/disable_ipv6", "1")?)
    })?;
    far.address("vxlan0", &[])?;
    let port = far
        .run(|| -> Outcome2<_> { Ok(PacketPort::open(Netlink::open()?.link("vxlan0")?.index)?) })?;
    Ok(KernelEnd { far: port, near: open(&hosts.0, outside.config(1))?, _hosts: hosts })
}

pub fn the_kernels_own_vxlan_device_understands_us_and_we_it() -> TestResult {
    for outside in BOTH {
        let mut pool = Pool::new(PoolConfig { slabs: 256, ..MEMORY })?;
        let KernelEnd { mut far, mut near, _hosts } = kernel_end(outside)?;
        let mut burst = Burst::new();
        for (kind, bytes, segment) in [
            (Kind::Tcp4, 100, None),
            (Kind::Tcp6, 1200, None),
            (Kind::Udp4, 1200, None),
            (Kind::Tcp4, 60_000, Some(1350)),
            (Kind::Tcp6, 50_000, Some(1350)),
        ] {
            let payload = pattern(bytes);
            // From us to the kernel.
            burst.push(from_container(&mut pool, kind, &payload, segment));
            let expected = copies(&burst, &mut pool);
            let tally = near.tx_burst(&mut pool, &mut burst, &[Mark::default()], outside.ip(2));
            assert_eq!(tally.sent, 1);
            let mut got = Vec::new();
            let begun = Instant::now();
            while got.len() < expected.len() {
                assert!(
                    begun.elapsed() < PATIENCE,
                    "{kind:?}: {} of {}",
                    got.len(),
                    expected.len()
                );
                far.rx_burst(&mut pool, &mut burst)?;
                got.extend(burst.drain(..).flat_map(|mut frame| {
                    assert!(frame.grow_front(8));
                    cut(frame, &mut pool)
                }));
            }
            assert_eq!(got, expected, "{kind:?} to the kernel");
            // And back, with every offload left to devices that there are not.
            let mut frame = from_container(&mut pool, kind, &payload, segment);
            assert!(frame.shrink_front(8));
            burst.push(frame);
            assert_eq!(far.tx_burst(&mut pool, &mut burst)?.frames, 1);
            let mut outers = Vec::new();
            let begun = Instant::now();
            while near.rx_burst(&mut pool, &mut burst, &mut outers)? == 0 {
                assert!(begun.elapsed() < PATIENCE, "{kind:?} from the kernel");
            }
            // Nothing says how long the segments were to be; all else is there.
            let mut back = burst.drain(..).collect::<Vec<_>>();
            match (&mut back[0].offload.gso, segment) {
                (Gso::Tcp4 { mss } | Gso::Tcp6 { mss }, Some(segment)) => *mss = segment,
                (gso, _) => assert_eq!(*gso, Gso::None),
            }
            let back: Vec<_> = back.into_iter().flat_map(|frame| cut(frame, &mut pool)).collect();
            assert_eq!(back, expected, "{kind:?} from the kernel");
        }
    }
    Ok(())
}

pub fn what_cannot_be_sent_is_counted_by_its_reason_and_the_rest_is_sent() -> TestResult {
    for outside in BOTH {
        let mut pool = Pool::new(MEMORY)?;
        let (mut a, mut b, hosts) = both_ends(outside)?;
        let before = pool.free();
        let longest = usize::from(outside.inner_mtu()) + 14;
        let mut burst = Burst::new();
        for length in [60, longest, longest + 1, 70] {
            burst.push(tunnelled(&mut pool, &inner(length, length)));
        }
        // Segments of 12 bytes more than there is room for; then one that has no mark.
        let long = usize::from(outside.inner_mtu()) - 40 + 12;
        let long = u16::try_from(long)?;
        burst.push(from_container(&mut pool, Kind::Tcp4, &[1; 20_000], Some(long)));
        let mut contradicting = tunnelled(&mut pool, &inner(0, 100));
        contradicting.offload.csum = Csum::Partial { start: 200, offset: 16 };
        burst.push(contradicting);
        burst.push(tunnelled(&mut pool, &inner(1, 80)));
        burst.push(tunnelled(&mut pool, &inner(2, 80)));
        let tally = a.tx_burst(&mut pool, &mut burst, &[Mark::default(); 7], outside.ip(2));
        let sent_bytes = 60 + longest + 70 + 80;
        let expected = Tally { sent: 4, too_long: 2, refused: 2, sent_bytes, ..Tally::default() };
        assert_eq!((tally, burst.len()), (expected, 0));
        let lengths: Vec<_> =
            collect(&mut b, &mut pool, 4)?.0.iter().map(|frame| frame.len()).collect();
        assert_eq!(lengths, [60, longest, 70, 80]);
        b.housekeep(&mut pool);
        assert_eq!(pool.free(), before);
        // No route, for now.
        let netlink = hosts.0.netlink()?;
        netlink.set_up(netlink.link("eth0")?.index, false)?;
        burst.push(tunnelled(&mut pool, &inner(0, 80)));
        let tally = a.tx_burst(&mut pool, &mut burst, &[Mark::default()], outside.ip(2));
        assert_eq!((tally.sent, tally.unreachable), (0, 1), "{tally:?}");
    }
    Ok(())
}

pub fn many_datagrams_come_in_bounded_bursts_and_a_dry_pool_is_survived() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    let (mut a, mut b, _hosts) = both_ends(Outside::V4)?;
    let before = pool.free();
    let mut burst = Burst::new();
    // Batches of datagrams that do not merge: as many frames as datagrams.
    for _ in 0..20 {
        burst.push(from_container(&mut pool, Kind::Udp4, &[3; 30 * 1200], Some(1200)));
        assert_eq!(
            a.tx_burst(&mut pool, &mut burst, &[Mark::default()], Outside::V4.ip(2)).sent,
            1
        );
    }
    let (mut count, mut outers) = (0, Vec::new());
    let begun = Instant::now();
    while count < 300 && begun.elapsed() < PATIENCE {
        count += b.rx_burst(&mut pool, &mut burst, &mut outers)?;
        assert!(burst.len() <= BURST_FRAMES && burst.len() == outers.len());
        pool.recycle_all(&mut burst);
        outers.clear();
    }
    // What is lost for want of buffers is counted, and the rest comes once there are some.
    let kept: Vec<_> = std::iter::from_fn(|| pool.take_small()).collect();
    while count < 400 && begun.elapsed() < PATIENCE {
        let received = b.rx_burst(&mut pool, &mut burst, &mut outers)?;
        count += received + usize::try_from(b.take_missed().no_buffer)?;
        pool.recycle_all(&mut burst);
    }
    kept.into_iter().for_each(|buffer| pool.recycle(buffer));
    while count < 600 && begun.elapsed() < PATIENCE {
        count += b.rx_burst(&mut pool, &mut burst, &mut outers)?;
        pool.recycle_all(&mut burst);
    }
    b.housekeep(&mut pool);
    assert_eq!((count, pool.free()), (600, before));
    Ok(())
}
