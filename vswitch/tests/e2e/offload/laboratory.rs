//! A laboratory of shortcuts: three containers on a daemon, and raw frames between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ctl::response::{Counters, DropInfo, FdbInfo, PortInfo, Stats, WorkerPerf};
use ctl::{FdbFilter, Mutation, Named, NetdevMode, PortKind, PortSet, Query};
use netlab::raw::RawSocket;
use netlab::{Container, TestResult, topology};

use crate::daemon::{Daemon, Kind, connect, eventually, port};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub const SOON: Duration = Duration::from_secs(5);
/// Frames of a burst, fewer than a socket's receive buffer holds.
pub const FRAMES: u32 = 100;

/// A daemon with containers on ports `a`, `b` and `c`, and what is sent and seen in each of them.
pub struct Laboratory {
    pub daemon: Daemon,
    pub places: [Container; 3],
    pub wires: [RawSocket; 3],
}

const PORTS: [&str; 3] = ["a", "b", "c"];
pub const GSO: NetdevMode = NetdevMode::Gso;

/// The address of a station.
pub fn station(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 9, number]
}

/// A frame from a station to another that can be told from others.
pub fn frame(from: u8, to: u8, number: u32, bytes: usize) -> Vec<u8> {
    let number = number.to_be_bytes();
    let mut frame = [&station(to)[..], &station(from), &[0x88, 0xb5], &number].concat();
    frame.resize(bytes, 0x5a);
    frame
}

/// The number of a frame that a station sent.
pub fn number_of(frame: &[u8], from: u8) -> Option<u32> {
    let is_ours = frame.get(6..14)? == [&station(from)[..], &[0x88, 0xb5]].concat();
    is_ours.then_some(u32::from_be_bytes(*frame.get(14..)?.first_chunk()?))
}

/// The host says nothing by its end of a port's veth: what arrives at the other end came by the switch.
fn silence_host_end(daemon: &Daemon, port: &str) -> Outcome<()> {
    let port: PortInfo = daemon.ask(Query::PortShow(Named::new(port.parse()?)))?;
    let (_, device) = port.settings.kind.interface();
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"), "1")?;
    Ok(())
}

impl Laboratory {
    pub fn new() -> Outcome<Self> {
        Self::with_host_ends([None; 3])
    }

    /// With the host ends of the containers' interfaces there, or in the daemon's namespace.
    pub fn with_host_ends(hosts: [Option<&Container>; 3]) -> Outcome<Self> {
        let daemon = Daemon::start_with(&["--offload", "ebpf"])?;
        let places = [Container::new()?, Container::new()?, Container::new()?];
        for ((name, place), host) in PORTS.iter().zip(&places).zip(hosts) {
            // Nothing is said there but what the test says.
            place.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
            match host {
                Some(host) => {
                    host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
                    topology::veth(host, name, place, "eth0")?;
                    place.address("eth0", &[])?;
                    let (device, netns, mode) = (name.parse()?, Some(host.reference()), GSO);
                    daemon.add(name, port("br0", PortKind::Netdev { device, netns, mode })?)?;
                }
                None => {
                    connect(&daemon, name, Kind::Gso, place, (1500, &[]))?;
                    silence_host_end(&daemon, name)?;
                }
            }
            place.await_ready("eth0")?;
        }
        let open = |place| RawSocket::open(place, "eth0");
        let wires = [open(&places[0])?, open(&places[1])?, open(&places[2])?];
        Ok(Self { daemon, places, wires })
    }

    /// Container 0's and container 1's stations send each other a frame.
    pub fn exchange(&self) -> Outcome<()> {
        self.wires[0].send(&frame(0, 1, 0, 60))?;
        self.wires[1].send(&frame(1, 0, 0, 60))?;
        Ok(())
    }

    /// Container 0's and container 1's stations talk, until the kernel carries it both ways.
    pub fn talk(&self) -> TestResult {
        self.wires[1].send(&frame(1, 0, 0, 60))?;
        eventually("the kernel carries both ways", || {
            self.exchange().is_ok() && self.offloaded().is_ok_and(|to| to.len() == 2)
        })?;
        self.wires.iter().try_for_each(|wire| wire.drain(|_| true).map(drop))?;
        Ok(())
    }

    /// The stations to which the kernel carries frames.
    pub fn offloaded(&self) -> Outcome<Vec<[u8; 6]>> {
        let stations: Vec<FdbInfo> = self.daemon.ask(Query::FdbShow(FdbFilter::default()))?;
        let offloaded = stations.iter().filter(|station| station.is_offloaded);
        Ok(offloaded.map(|station| station.mac.0).collect())
    }

    /// Frames that workers have received.
    pub fn by_workers(&self) -> Outcome<u64> {
        let perf: Vec<WorkerPerf> = self.daemon.ask(Query::Perf)?;
        Ok(perf.iter().map(|worker| worker.frames).sum())
    }

    pub fn counters(&self, port: &str) -> Outcome<Counters> {
        let stats: Stats = self.daemon.ask(Query::stats())?;
        let port = stats.ports.into_iter().find(|own| own.port == port);
        Ok(port.ok_or("no such port")?.counters)
    }

    pub fn drops(&self, reason: &str) -> Outcome<u64> {
        let drops: Vec<DropInfo> = self.daemon.ask(Query::drops())?;
        Ok(drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.count).sum())
    }

    /// Sends frames from container 0's station to container 1's, one after the other.
    pub fn burst(&self) -> Outcome<()> {
        (1..=FRAMES).try_for_each(|number| self.wires[0].send(&frame(0, 1, number, 60)))?;
        Ok(())
    }

    /// All frames of a burst arrive in a container. Those that the kernel carries may be there before others that a
    /// worker has.
    pub fn arrives_in(&self, place: usize) -> Outcome<()> {
        let mut arrived = Vec::new();
        while arrived.len() < FRAMES as usize {
            let is_one = |bytes: &[u8]| number_of(bytes, 0).is_some_and(|number| number > 0);
            let next = self.wires[place].receive(SOON, is_one)?;
            let next = next.ok_or_else(|| format!("only these arrive: {arrived:?}"))?;
            arrived.extend(number_of(&next.bytes, 0));
        }
        arrived.sort_unstable();
        assert_eq!(arrived, (1..=FRAMES).collect::<Vec<_>>());
        Ok(())
    }

    /// All frames of a burst are dropped for this reason, and none arrives in container 1.
    pub fn is_dropped(&self, reason: &str) -> TestResult {
        let before = self.drops(reason)?;
        self.wires[1].drain(|_| true)?;
        self.burst()?;
        eventually("all frames are dropped", || {
            self.drops(reason).is_ok_and(|drops| drops - before == u64::from(FRAMES))
        })?;
        assert_eq!(self.wires[1].drain(|bytes| number_of(bytes, 0).is_some())?.len(), 0);
        Ok(())
    }

    pub fn set(&self, set: PortSet) -> TestResult {
        self.daemon.change(Mutation::PortSet(set))?;
        Ok(())
    }
}

/// Sends numbered frames from container 0's station to container 1's until it is told to end.
pub fn stream(lab: &Laboratory) -> Outcome<(Arc<AtomicU32>, impl FnOnce() -> TestResult)> {
    let wire = RawSocket::open(&lab.places[0], "eth0")?;
    let (number, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, over) = (Arc::clone(&number), Arc::clone(&is_over));
    let sender = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let next = count.fetch_add(1, Ordering::Relaxed) + 1;
            wire.send(&frame(0, 1, next, 60))?;
        }
        Ok::<_, netlab::LabError>(())
    });
    let end = move || {
        is_over.store(true, Ordering::Relaxed);
        sender.join().map_err(|_| "the sender failed")??;
        Ok(())
    };
    Ok((number, end))
}
