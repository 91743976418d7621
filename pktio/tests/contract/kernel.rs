//! The ports of the kernel, with a container at the far end.

use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use hostnet::{Netlink, Netns};
use netlab::raw::RawSocket;
use netlab::{Container, TestResult};
use pktio::packet::PacketPort;
use pktio::tap;
use pktio::{Burst, Pool, Port, PortFault, xdp};

use crate::suite::{self, MEMORY, Outcome, Rig};

/// A port in a host's namespace, and a packet socket on the interface `eth0` of a container.
pub struct Kernel {
    port: Box<dyn Port>,
    wire: RawSocket,
    container: Option<Container>,
    _host: Container,
}

impl Rig for Kernel {
    fn port(&mut self) -> &mut dyn Port {
        &mut *self.port
    }

    fn inject(&mut self, frames: &[Vec<u8>]) -> Outcome<bool> {
        frames.iter().try_for_each(|frame| self.wire.send(frame))?;
        Ok(true)
    }

    fn sent(&mut self) -> Outcome<Option<Vec<u8>>> {
        let ours = |frame: &[u8]| frame.get(12..14) == Some(&[0x88, 0xb5]);
        let frame = self.wire.receive(Duration::from_secs(5), ours)?.ok_or("nothing was sent")?;
        Ok(Some(frame.bytes))
    }
}

/// A veth from a host to a container, its ends called `port` and `eth0`.
pub fn veth() -> Outcome<(Container, Container)> {
    let (host, container) = (Container::new()?, Container::new()?);
    host.netlink()?.create_veth("port", "eth0", Some(container.namespace().as_fd()))?;
    [&host, &container].into_iter().try_for_each(quiet)?;
    container.address("eth0", &[])?;
    host.address("port", &[])?;
    Ok((host, container))
}

/// Keeps a container's own chatter off its interfaces.
fn quiet(container: &Container) -> Outcome {
    container.run(|| -> Result<(), hostnet::HostError> {
        // Without IPv6 there is none of it; a kernel without IPv6 has none either.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        Ok(())
    })?;
    Ok(())
}

fn rig(port: Box<dyn Port>, host: Container, container: Container) -> Outcome<Kernel> {
    let wire = RawSocket::open(&container, "eth0")?;
    Ok(Kernel { port, wire, container: Some(container), _host: host })
}

pub fn tap_rig() -> Outcome<Kernel> {
    let (host, container) = (Container::new()?, Container::new()?);
    quiet(&container)?;
    let (device, mut ports) = host.run(|| -> Outcome2<_> { Ok(tap::create("t%d", 1)?) })?;
    let index = device.index;
    let namespace: &Netns = container.namespace();
    host.run(|| -> Outcome2<()> { Ok(Netlink::open()?.move_to(index, namespace, "eth0")?) })?;
    container.address("eth0", &[])?;
    rig(Box::new(ports.remove(0)), host, container)
}

/// An error that can cross threads.
pub type Outcome2<T> = Result<T, Crossing>;

#[derive(Debug)]
pub struct Crossing(String);

impl<E: std::error::Error> From<E> for Crossing {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl From<Crossing> for Box<dyn std::error::Error> {
    fn from(error: Crossing) -> Self {
        error.0.into()
    }
}

impl From<Crossing> for libtest_mimic::Failed {
    fn from(error: Crossing) -> Self {
        error.0.into()
    }
}

pub fn packet_rig() -> Outcome<Kernel> {
    let (host, container) = veth()?;
    let port = host
        .run(|| -> Outcome2<_> { Ok(PacketPort::open(Netlink::open()?.link("port")?.index)?) })?;
    rig(Box::new(port), host, container)
}

pub fn xdp_rig(pool: &Pool) -> Outcome<Kernel> {
    let (host, container) = veth()?;
    xdp_on(host, container, pool)
}

fn xdp_on(host: Container, container: Container, pool: &Pool) -> Outcome<Kernel> {
    let memory = pool.memory();
    let mut ports = host.run(|| -> Outcome2<_> {
        let link = Netlink::open()?.link("port")?;
        Ok(xdp::open(link.index, link.rx_queues, memory)?)
    })?;
    rig(Box::new(ports.remove(0)), host, container)
}

pub fn tap_keeps_the_contract() -> TestResult {
    Ok(suite::run(|_| tap_rig())?)
}

pub fn packet_keeps_the_contract() -> TestResult {
    Ok(suite::run(|_| packet_rig())?)
}

pub fn xdp_keeps_the_contract() -> TestResult {
    Ok(suite::run(|pool| xdp_rig(pool))?)
}

/// Payload must never be taken for a frame: with no slab to put its pieces together, a long frame is lost whole.
pub fn a_long_frame_without_memory_leaves_no_pieces_behind() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    let (host, container) = veth()?;
    for (place, name) in [(&host, "port"), (&container, "eth0")] {
        let netlink = place.netlink()?;
        netlink.set_mtu(netlink.link(name)?.index, 9000)?;
    }
    let mut rig = xdp_on(host, container, &pool)?;
    rig.port().housekeep(&mut pool)?;
    let slabs: Vec<_> = std::iter::from_fn(|| pool.take_slab()).collect();
    // All of its pieces would pass for frames; only the short one that follows is one.
    let header = [0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5];
    let long: Vec<u8> = header.into_iter().cycle().take(8000).collect();
    let short = suite::frames(&[60]);
    rig.inject(&[long])?;
    rig.inject(&short)?;
    let mut burst = Burst::new();
    let begun = Instant::now();
    while burst.is_empty() && begun.elapsed() < Duration::from_secs(5) {
        rig.port().rx_burst(&mut pool, &mut burst)?;
    }
    let received: Vec<_> = burst.iter().map(|frame| frame.data().to_vec()).collect();
    assert_eq!(received, short);
    assert_eq!(rig.port().take_missed().no_buffer, 1);
    drop(slabs);
    Ok(())
}

/// Receives until the port reports a fault. The pool outlives the port, which keeps buffers of it: else they
/// would be missing for a moment from the next test's pool, which uses the same arena.
fn fault_of(port: &mut dyn Port, pool: &mut Pool) -> Outcome<PortFault> {
    let mut burst = Burst::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let received = port.rx_burst(pool, &mut burst);
        pool.recycle_all(&mut burst);
        if let Err(fault) = received.and_then(|_| port.housekeep(pool)) {
            return Ok(fault);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("the port reports nothing".into())
}

pub fn a_tap_reports_that_its_container_died() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    let Kernel { mut port, wire, container, .. } = tap_rig()?;
    drop((wire, container));
    assert!(matches!(fault_of(&mut *port, &mut pool)?, PortFault::Gone { .. }));
    Ok(())
}

pub fn a_packet_port_tells_a_device_that_is_down_from_one_that_is_gone() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    let (host, _container) = veth()?;
    let mut port = host
        .run(|| -> Outcome2<_> { Ok(PacketPort::open(Netlink::open()?.link("port")?.index)?) })?;
    let netlink = host.netlink()?;
    let index = netlink.link("port")?.index;
    netlink.set_up(index, false)?;
    let mut burst = Burst::new();
    for _ in 0..10 {
        port.rx_burst(&mut pool, &mut burst)?;
        port.housekeep(&mut pool)?;
    }
    netlink.set_up(index, true)?;
    netlink.delete_link(index)?;
    assert!(matches!(fault_of(&mut port, &mut pool)?, PortFault::Gone { .. }));
    Ok(())
}

/// The `tun-tap` crate's TAP, which shares no code with ours: a bridge between them is a veth's packet
/// port on our side and the kernel's own forwarding is not involved.
pub fn an_independent_tap_end_sees_what_a_packet_port_sends() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    let host = Container::new()?;
    quiet(&host)?;
    let (iface, mut port) = host.run(|| -> Outcome2<_> {
        let iface = tun_tap::Iface::without_packet_info("plain", tun_tap::Mode::Tap)?;
        let netlink = Netlink::open()?;
        let index = netlink.link("plain")?.index;
        netlink.set_up(index, true)?;
        Ok((iface, PacketPort::open(index)?))
    })?;
    let frames = suite::frames(&[60, 1514]);
    let mut burst = Burst::new();
    burst.extend(frames.iter().filter_map(|frame| pool.frame_from(frame)));
    assert_eq!(port.tx_burst(&mut pool, &mut burst)?.frames, 2);
    let iface = Arc::new(iface);
    let (tell, told) = mpsc::channel();
    let reader = Arc::clone(&iface);
    // It blocks for as long as nothing comes, and ends with the test program.
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok(count) = reader.recv(&mut bytes) {
            if bytes[12..14] == [0x88, 0xb5] && tell.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    for expected in &frames {
        assert_eq!(&told.recv_timeout(Duration::from_secs(5))?, expected);
    }
    // And what the independent end writes, the port receives.
    iface.send(&frames[1])?;
    let begun = Instant::now();
    while burst.is_empty() && begun.elapsed() < Duration::from_secs(5) {
        port.rx_burst(&mut pool, &mut burst)?;
    }
    assert_eq!(burst[0].data(), frames[1]);
    Ok(())
}
