//! Shortcuts: what the kernel carries from container to container, and what it leaves to the port.

pub mod datagrams;
pub mod segments;

use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hostnet::Netlink;
use netlab::raw::RawSocket;
use netlab::{Container, TestResult};
use pktio::bpf::code::{Code, Reg};
use pktio::bpf::{BpfError, Hook, Link, Program, ProgramKind, TCX_NEXT};
use pktio::packet::PacketPort;
use pktio::shortcut::{Key, Route, Shortcuts, Table, Tally};
use pktio::wire::MacAddr;
use pktio::{Burst, Gso, PktBuf, Pool, Port};

use crate::kernel::Outcome2;
use crate::suite::{MEMORY, Outcome};
use crate::underlay::unfinished;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
/// Connections that there is room for.
const CONNECTIONS: u32 = 4;
const SOON: Duration = Duration::from_secs(5);

/// Two containers on a host, each with a port that has a gate.
struct Pair {
    shortcuts: Shortcuts,
    table: Table,
    pool: Pool,
    ports: [PacketPort; 2],
    wires: [RawSocket; 2],
    /// Of container B's port.
    interface: u32,
    places: [Container; 3],
}

impl Pair {
    fn new() -> Outcome<Self> {
        let (host, a, b) = (Container::new()?, Container::new()?, Container::new()?);
        let table = Table::new()?;
        let shortcuts = Shortcuts::new(0x8765_4321_fedc_ba98, &table, CONNECTIONS)?;
        let mut ports = Vec::new();
        for (name, container) in [("a", &a), ("b", &b)] {
            container.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
            host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
            let far = container.namespace().as_fd();
            host.netlink()?.create_veth(name, "eth0", Some(far))?;
            container.address("eth0", &[])?;
            host.address(name, &[])?;
            let open = || -> Outcome2<_> {
                let index = Netlink::open()?.link(name)?.index;
                Ok((PacketPort::open_with(index, Some(&shortcuts))?, index))
            };
            ports.push(host.run(open)?);
        }
        let wires = [RawSocket::open(&a, "eth0")?, RawSocket::open(&b, "eth0")?];
        let (port_b, interface) = ports.pop().ok_or("no port")?;
        let (port_a, _) = ports.pop().ok_or("no port")?;
        let (ports, pool) = ([port_a, port_b], Pool::new(MEMORY)?);
        Ok(Self { shortcuts, table, pool, ports, wires, interface, places: [host, a, b] })
    }

    fn key(&self, tag: u16) -> Outcome<Key> {
        let gate = self.ports[0].gate().ok_or("no gate")?.map_err(|error| error.to_string())?;
        Ok(Key { gate, tag, src: A, dst: B, flow: None })
    }

    fn route(&self) -> Route {
        Route {
            interface: self.interface,
            mtu_bytes: 1500,
            until_ns: u64::MAX,
            rewriting: None,
            connection: None,
        }
    }

    /// A frame from container A arrives in container B, and the port does not see it.
    fn goes_by_itself(&mut self, frame: &[u8]) -> TestResult {
        self.wires[0].send(frame)?;
        self.arrives(frame)
    }

    /// A frame from container A arrives in container B as another, and the port does not see it.
    fn becomes(&mut self, frame: &[u8], other: &[u8]) -> TestResult {
        self.wires[0].send(frame)?;
        self.arrives(other)
    }

    /// A frame from container A is received by the port, and does not arrive in container B.
    fn goes_to_the_port(&mut self, frame: &[u8]) -> TestResult {
        self.wires[0].send(frame)?;
        self.is_at_the_port(frame)
    }

    fn arrives(&mut self, frame: &[u8]) -> TestResult {
        let arrived = self.wires[1].receive(SOON, |bytes| bytes[..12] == frame[..12])?;
        assert_eq!(arrived.map(|frame| frame.bytes).as_deref(), Some(frame));
        assert_eq!(self.port_has()?, Vec::<Vec<u8>>::new());
        Ok(())
    }

    fn is_at_the_port(&mut self, frame: &[u8]) -> TestResult {
        assert_eq!(self.port_has()?, [frame.to_vec()]);
        let same = |bytes: &[u8]| bytes[..12] == frame[..12] || bytes[..6] == B.0;
        assert_eq!(self.wires[1].drain(same)?.len(), 0);
        Ok(())
    }

    /// A port of container A's end, which sends what its kernel would: frames whose checksum is left to a device, and
    /// those that are to be cut.
    fn kernel(&self) -> Outcome<PacketPort> {
        let open =
            || -> Outcome2<_> { Ok(PacketPort::open(Netlink::open()?.link("eth0")?.index)?) };
        Ok(self.places[1].run(open)?)
    }

    /// Sends a frame so, and returns its bytes as they are then.
    fn send_uncut(&mut self, kernel: &mut PacketPort, frame: &[u8], gso: Gso) -> Outcome<Vec<u8>> {
        let mut frame = unfinished(&mut self.pool, frame.to_vec());
        frame.offload.gso = gso;
        let bytes = frame.data().to_vec();
        self.send_by(kernel, frame)?;
        Ok(bytes)
    }

    fn send_by(&mut self, kernel: &mut PacketPort, frame: PktBuf) -> Outcome<()> {
        let mut burst = Burst::new();
        burst.push(frame);
        assert_eq!(kernel.tx_burst(&mut self.pool, &mut burst)?.frames, 1);
        Ok(())
    }

    /// Frames that container B's interface has received.
    fn arrived(&self) -> Outcome<u64> {
        Ok(self.places[2].link("eth0")?.traffic.rx_frames)
    }

    /// What the port of container A has received. A frame is there as soon as it was sent.
    fn port_has(&mut self) -> Outcome<Vec<Vec<u8>>> {
        let mut burst = Burst::new();
        self.ports[0].rx_burst(&mut self.pool, &mut burst)?;
        let frames = burst.iter().map(|frame| frame.data().to_vec()).collect();
        self.pool.recycle_all(&mut burst);
        Ok(frames)
    }
}

/// From container A to container B.
fn frame(tags: &[u8], bytes: usize) -> Vec<u8> {
    let mut frame = [&B.0[..], &A.0, tags, &[0x88, 0xb5]].concat();
    frame.resize(bytes, 0x5a);
    frame
}

pub fn a_frame_takes_its_shortcut_or_goes_to_the_port_and_never_both_ways() -> TestResult {
    let mut pair = Pair::new()?;
    let short = frame(&[], 60);
    pair.goes_to_the_port(&short)?;
    let (key, route) = (pair.key(0)?, pair.route());
    pair.table.put(&key, &route)?;
    pair.goes_by_itself(&short)?;
    pair.goes_by_itself(&frame(&[], 1514))?;
    let Tally { frames, bytes, seen_ns } = pair.table.tally(&key)?;
    assert_eq!((frames, bytes), (2, 60 + 1514));
    assert!(seen_ns > 0);
    let nothing = Table::new()?;
    pair.shortcuts.replace(&nothing)?;
    pair.goes_to_the_port(&short)?;
    assert_eq!(pair.table.tally(&key)?.frames, 2);
    assert_eq!(nothing.tally(&key)?, Tally::default());
    Ok(())
}

pub fn what_a_shortcut_is_not_for_goes_to_the_port() -> TestResult {
    let mut pair = Pair::new()?;
    let (key, route) = (pair.key(0)?, pair.route());
    pair.table.put(&key, &Route { mtu_bytes: 1000, ..route })?;
    pair.goes_by_itself(&frame(&[], 1014))?;
    let mut from_another = frame(&[], 60);
    from_another[11] = 0xc;
    let tagged = frame(&[0x81, 0, 0, 7], 64);
    let priority = frame(&[0x81, 0, 0xe0, 0], 64);
    let service = frame(&[0x88, 0xa8, 0, 7], 64);
    for frame in [from_another, tagged, priority, service, frame(&[], 1015)] {
        pair.goes_to_the_port(&frame)?;
    }
    assert_eq!(pair.table.tally(&key)?.frames, 1);
    Ok(())
}

pub fn a_tag_is_part_of_what_a_shortcut_is_for_and_stays_on_the_frame() -> TestResult {
    let mut pair = Pair::new()?;
    let (key, route) = (pair.key(7)?, pair.route());
    pair.table.put(&key, &route)?;
    let tagged = frame(&[0x81, 0, 0xa0, 7], 64);
    pair.goes_by_itself(&tagged)?;
    assert_eq!(pair.table.tally(&key)?.bytes, 64);
    pair.goes_to_the_port(&frame(&[], 60))?;
    pair.goes_to_the_port(&frame(&[0x81, 0, 0, 8], 64))?;
    pair.goes_to_the_port(&frame(&[0x81, 0, 0, 7, 0x81, 0, 0, 7], 64))
}

pub fn a_shortcut_ends_by_itself_when_its_time_is_over() -> TestResult {
    let mut pair = Pair::new()?;
    let (key, route) = (pair.key(0)?, pair.route());
    pair.table.put(&key, &Route { until_ns: 1, ..route })?;
    pair.goes_to_the_port(&frame(&[], 60))?;
    assert_eq!(pair.table.tally(&key)?, Tally::default());
    Ok(())
}

/// Attaches a program that leaves every frame to the next one. (None is attached twice.)
fn pass(interface: u32) -> Result<Link, BpfError> {
    let mut code = Code::new();
    code.mov(Reg::R0, TCX_NEXT).exit();
    Program::load(ProgramKind::Classifier, &code.finish()?)?.attach_tcx(interface, Hook::Ingress)
}

/// The kernel has room for so many programs on an interface (`bpf_mprog_max`) and no more.
pub fn a_port_at_which_the_kernel_refuses_shortcuts_says_why_and_is_one_without() -> TestResult {
    let (host, far) = (Container::new()?, Container::new()?);
    host.netlink()?.create_veth("a", "eth0", Some(far.namespace().as_fd()))?;
    let shortcuts = Shortcuts::new(1, &Table::new()?, CONNECTIONS)?;
    host.run(|| -> Outcome2<_> {
        let index = Netlink::open()?.link("a")?.index;
        let full: Vec<_> = std::iter::repeat_with(|| pass(index)).map_while(Result::ok).collect();
        assert!(!full.is_empty());
        let port = PacketPort::open_with(index, Some(&shortcuts))?;
        let why = port.gate().and_then(Result::err).map(ToString::to_string);
        assert!(why.is_some_and(|why| why.starts_with("cannot attach a program")));
        drop(full);
        assert!(matches!(PacketPort::open_with(index, Some(&shortcuts))?.gate(), Some(Ok(_))));
        assert!(PacketPort::open(index)?.gate().is_none());
        Ok(())
    })?;
    Ok(())
}

/// While frames come one after the other, the table is replaced again and again: each frame is counted once,
/// and arrives once. The sender waits now and then until one more table was replaced, whoever has the processor.
pub fn no_frame_is_lost_or_doubled_while_tables_are_replaced() -> TestResult {
    const FRAMES: usize = 20_000;
    const IN_A_ROW: usize = 250;
    let mut pair = Pair::new()?;
    let (key, route) = (pair.key(0)?, pair.route());
    let wire = RawSocket::open(&pair.places[1], "eth0")?;
    let before = pair.arrived()?;
    let (replaced, turn) = mpsc::sync_channel(0);
    let sender = std::thread::spawn(move || -> Result<(), netlab::LabError> {
        for number in 0..FRAMES {
            if number % IN_A_ROW == 0 {
                // Nobody replaces any more: the rest is sent all the same.
                let _ = turn.recv();
            }
            wire.send(&frame(&[], 60))?;
        }
        Ok(())
    });
    let (mut by_port, mut by_shortcut) = (0, 0);
    let mut table = Table::new()?;
    let begun = Instant::now();
    while by_port + by_shortcut < FRAMES && begun.elapsed() < SOON {
        let next = Table::new()?;
        next.put(&key, &route)?;
        by_port += pair.port_has()?.len();
        for replacement in [next, Table::new()?] {
            pair.shortcuts.replace(&replacement)?;
            let _ = replaced.try_send(());
            by_shortcut += usize::try_from(table.tally(&key)?.frames)?;
            by_port += pair.port_has()?.len();
            table = replacement;
        }
    }
    drop(replaced);
    sender.join().map_err(|_| "the sender failed")??;
    assert_eq!(by_port + by_shortcut, FRAMES);
    assert_eq!(pair.arrived()? - before, u64::try_from(by_shortcut)?);
    assert!(by_shortcut > 0 && by_port > 0, "{by_shortcut} and {by_port}");
    Ok(())
}
