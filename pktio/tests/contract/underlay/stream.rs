//! TCP through a tunnel, every offload on at both of its ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hostnet::Netlink;
use netlab::{Container, Path, TestResult, transfer};
use pktio::underlay::{Mark, TUNNEL_BYTES, Underlay};
use pktio::{Burst, Pool, PoolConfig, Port, tap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{BOTH, Outside, TUNNEL, hosts, kernel_vxlan, open};
use crate::kernel::Outcome2;
use crate::suite::Outcome;

/// The simplest of switches: one TAP port, one remote endpoint, a thread that carries frames between them.
struct Carrier {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Carrier {
    fn start(tap: Box<dyn Port>, underlay: Underlay, outside: Outside, remote: u8) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&end);
        let work =
            move || carry(tap, underlay, (outside, remote), &until).map_err(|e| e.to_string());
        Self { end, thread: Some(std::thread::spawn(work)) }
    }

    fn stop(mut self) -> Outcome {
        self.end.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        Ok(thread.join().map_err(|_| "the carrier panicked")??)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

fn carry(
    tap: Box<dyn Port>,
    underlay: Underlay,
    (outside, remote): (Outside, u8),
    end: &AtomicBool,
) -> Outcome {
    let mut pool = Pool::new(PoolConfig::default())?;
    // Dropped before the pool, as parameters would not be.
    let (mut tap, mut underlay) = (tap, underlay);
    let (mut burst, mut outers) = (Burst::new(), Vec::new());
    while !end.load(Ordering::Relaxed) {
        let outward = tap.rx_burst(&mut pool, &mut burst)?;
        for frame in burst.iter_mut() {
            assert!(frame.grow_front(8));
            frame.data_mut()[..TUNNEL_BYTES].copy_from_slice(&TUNNEL);
        }
        let marks = vec![Mark::default(); outward];
        let tally = underlay.tx_burst(&mut pool, &mut burst, &marks, outside.ip(remote));
        assert_eq!((tally.too_long, tally.refused), (0, 0), "{tally:?}");
        let inward = underlay.rx_burst(&mut pool, &mut burst, &mut outers)?;
        outers.clear();
        for frame in burst.iter_mut() {
            assert_eq!(frame.data()[..TUNNEL_BYTES], TUNNEL);
            assert!(frame.shrink_front(8));
        }
        tap.tx_burst(&mut pool, &mut burst)?;
        pool.recycle_all(&mut burst);
        if outward + inward == 0 {
            let nothing = Timespec::try_from(Duration::from_millis(10))?;
            let tap_fd = tap.wake_fd().ok_or("a TAP port can be waited for")?;
            let mut fds =
                [tap_fd, underlay.wake_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            poll(&mut fds, Some(&nothing))?;
        }
    }
    Ok(())
}

/// A container behind a TAP port of a host, and the switch that connects it.
fn behind_us(
    host: &Container,
    outside: Outside,
    numbers: (u8, u8),
) -> Outcome<(Container, Carrier)> {
    let container = Container::new()?;
    let namespace = container.namespace();
    let port = host.run(|| -> Outcome2<_> {
        let (device, mut ports) = tap::create("t%d", 1)?;
        Netlink::open()?.move_to(device.index, namespace, "eth0")?;
        Ok(ports.remove(0))
    })?;
    let netlink = container.netlink()?;
    netlink.set_mtu(netlink.link("eth0")?.index, u32::from(outside.inner_mtu()))?;
    let (own, remote) = numbers;
    container.address("eth0", &[&format!("10.0.0.{own}/24"), &format!("fd00::{own}/64")])?;
    let carrier = Carrier::start(Box::new(port), open(host, outside.config(own))?, outside, remote);
    Ok((container, carrier))
}

/// Moves as much each way as takes many super-frames, and compares every byte.
fn exchange(near: &Container, far: &Container) -> TestResult {
    const BYTES: u64 = 30_000_000;
    for inner in ["10.0.0", "fd00:"] {
        let join = |host: u8| match inner {
            "fd00:" => format!("fd00::{host}"),
            _ => format!("10.0.0.{host}"),
        };
        transfer::tcp(&Path::new(near, far, join(2).parse::<std::net::IpAddr>()?), BYTES, 1)?;
        transfer::tcp(&Path::new(far, near, join(1).parse::<std::net::IpAddr>()?), BYTES, 2)?;
    }
    Ok(())
}

pub fn tcp_passes_between_a_container_and_the_kernels_vxlan_device() -> TestResult {
    for outside in BOTH {
        let hosts = hosts()?;
        kernel_vxlan(&hosts.1, outside)?;
        hosts.1.address("vxlan0", &["10.0.0.2/24", "fd00::2/64"])?;
        let (container, carrier) = behind_us(&hosts.0, outside, (1, 2))?;
        exchange(&container, &hosts.1)?;
        carrier.stop()?;
    }
    Ok(())
}

pub fn tcp_passes_between_containers_on_two_hosts() -> TestResult {
    for outside in BOTH {
        let hosts = hosts()?;
        let (a, first) = behind_us(&hosts.0, outside, (1, 2))?;
        let (b, second) = behind_us(&hosts.1, outside, (2, 1))?;
        exchange(&a, &b)?;
        first.stop()?;
        second.stop()?;
    }
    Ok(())
}
