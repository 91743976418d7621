//! The underlay: between two of ours, and with the kernel's own VXLAN device at the far end.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use hostnet::Netlink;
use netlab::{Container, TestResult, topology};
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
    let layers = Layers::parse(&bytes).expect("well-formed").expect("IP");
    let (start, offset) = (layers.l4, layers.checksum_offset().expect("has a checksum"));
    let pseudo = pseudo_header(&bytes, &layers, bytes.len() - usize::from(start)).expect("IP");
    put_be16(&mut bytes, usize::from(start + offset), fold(pseudo));
    let mut frame = pool.frame_from(&bytes).expect("a buffer is free");
    frame.offload.csum = Csum::Partial { start, offset };
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
        let (mut a, mut b, _hosts) = both_ends(outside)?;
        let mut pool = Pool::new(MEMORY)?;
        let before = pool.free();
        let longest = usize::from(outside.inner_mtu()) + 14;
        let inner: Vec<_> = (0..40).map(|n| inner(n, 30 + n * (longest - 30) / 39)).collect();
        let mut burst = Burst::new();
        burst.extend(inner.iter().map(|inner| tunnelled(&mut pool, inner)));
        // One flow, so that the order is fixed; each with a mark of its own.
        let marks: Vec<_> =
            (0..40).map(|n| Mark { tos: n * 6, entropy: 7, ..Mark::default() }).collect();
        let tally = a.tx_burst(&mut pool, &mut burst, &marks, outside.ip(2));
        assert_eq!(tally, Tally { sent: 40, ..Tally::default() });
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

pub fn a_super_frame_is_cut_at_the_wire_and_nowhere_else() -> TestResult {
    for outside in BOTH {
        let (mut a, mut b, _hosts) = both_ends(outside)?;
        let mut pool = Pool::new(MEMORY)?;
        let before = pool.free();
        for (kind, bytes, segment) in [
            (Kind::Tcp4, 65_000, 1380),
            (Kind::Tcp6, 30_000, 1350),
            (Kind::Tcp4, 1380 * 3, 1380),
            (Kind::Tcp4, 900, 1000),
            (Kind::Tcp6, 65_000, 40),
            (Kind::Udp4, 20_000, 1200),
        ] {
            let payload: Vec<u8> = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut burst = Burst::new();
            burst.push(from_container(&mut pool, kind, &payload, Some(segment)));
            let expected = copies(&burst, &mut pool);
            let tally = a.tx_burst(&mut pool, &mut burst, &[Mark::default()], outside.ip(2));
            assert_eq!(tally, Tally { sent: 1, ..Tally::default() }, "{kind:?}");
            let (got, _) = collect(&mut b, &mut pool, expected.len())?;
            assert_eq!(got, expected, "{kind:?} {segment}");
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

fn kernel_end(outside: Outside) -> Outcome<KernelEnd> {
    let hosts = hosts()?;
    let far = &hosts.1;
    let local = SocketAddr::new(outside.ip(2), PORT);
    far.netlink()?.create_vxlan("vxlan0", 42, local, outside.ip(1))?;
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
        let KernelEnd { mut far, mut near, _hosts } = kernel_end(outside)?;
        let mut pool = Pool::new(PoolConfig { slabs: 256, ..MEMORY })?;
        let mut burst = Burst::new();
        for (kind, bytes, segment) in [
            (Kind::Tcp4, 100, None),
            (Kind::Tcp6, 1200, None),
            (Kind::Udp4, 1200, None),
            (Kind::Tcp4, 60_000, Some(1350)),
            (Kind::Tcp6, 50_000, Some(1350)),
        ] {
            let payload: Vec<u8> = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
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
