//! The network: switches in a chain, hosts on them, and the clock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Ledger, Nanos, Outboxes, Pipeline, PortConfig,
    PortIndex, Snapshot,
};
use pktio::{Burst, Pool, PoolConfig};

use crate::host::Host;
pub use crate::link::Quality;
use crate::link::{Link, Random};
use crate::router;

/// Ports of a switch: to the one before it, to the one after it, and to hosts.
const TO_PREVIOUS: u16 = 0;
const TO_NEXT: u16 = 1;
const FIRST_HOST: u16 = 2;
const PORTS: u16 = 8;
/// Simulated time of one step.
const STEP_US: u64 = 100;
/// A transfer that takes longer is lost.
const MOST_US: u64 = 600_000_000;

/// One switch: the pipeline and everything around it.
struct Switch {
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    hosts: u16,
}

impl Switch {
    fn new() -> Self {
        let ports = (0..PORTS).map(|_| Some(PortConfig::new(BridgeIndex(0)))).collect();
        let bridge = BridgeDomain::new(Arc::new(Fdb::new(100, 300, 1)), 100);
        Self::with(Snapshot::new(Generation(1), ports, vec![Some(bridge)]).unwrap())
    }

    fn with(snapshot: Snapshot) -> Self {
        Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::default()),
            pool: Pool::new(PoolConfig { small: 1024, slabs: 4 }).unwrap(),
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            hosts: 0,
        }
    }

    /// Does what is due, and returns what leaves by which port.
    fn housekeep(&mut self, now_us: u64) -> Vec<(u16, Vec<u8>)> {
        let now = Nanos::from_micros(now_us);
        self.pipeline.housekeep(now, &mut self.pool, &mut self.outboxes, &mut self.ledger);
        self.transmit()
    }

    /// Decides about frames from a port, and returns what leaves by which.
    fn run(&mut self, now_us: u64, ingress: PortIndex, frames: &[Vec<u8>]) -> Vec<(u16, Vec<u8>)> {
        let mut burst = Burst::new();
        let mut out = Vec::new();
        for bytes in frames {
            burst.extend(self.pool.frame_from(bytes));
            self.pipeline.run(
                Nanos::from_micros(now_us),
                ingress,
                &mut burst,
                &mut self.pool,
                &mut self.outboxes,
                &mut self.ledger,
            );
            out.extend(self.transmit());
        }
        out
    }

    fn transmit(&mut self) -> Vec<(u16, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some(to) = self.outboxes.next_dirty() {
            let mut frames = std::mem::take(self.outboxes.of(to));
            self.ledger.port_mut(to).transmitted += frames.len() as u64;
            out.extend(frames.iter().map(|frame| (to.0, frame.data().to_vec())));
            self.pool.recycle_all(&mut frames);
        }
        out
    }
}

/// Where a host is.
struct Place {
    switch: usize,
    port: u16,
}

pub struct Network {
    switches: Vec<Switch>,
    /// Between switch `n` and `n + 1`: to the right and to the left.
    links: Vec<[Link; 2]>,
    hosts: Vec<(Host, Place)>,
    quality: Quality,
    random: Random,
    now_us: u64,
    trace: DefaultHasher,
    /// Every switch has a subnet of its own.
    is_routed: bool,
}

impl Network {
    pub fn chain(switches: usize, quality: Quality, seed: u64) -> Self {
        Self {
            switches: (0..switches).map(|_| Switch::new()).collect(),
            links: (1..switches).map(|_| [Link::default(), Link::default()]).collect(),
            hosts: Vec::new(),
            quality,
            random: Random(seed),
            now_us: 1_000_000,
            trace: DefaultHasher::new(),
            is_routed: false,
        }
    }

    /// A switch that routes between its hosts and those of the switch next to it, and hides its own if it
    /// is to.
    pub fn routed(is_masqueraded: bool, quality: Quality, seed: u64) -> Self {
        let mut network = Self::chain(2, quality, seed);
        network.switches[0] = Switch::with(router::snapshot(is_masqueraded, TO_NEXT, PORTS));
        network.is_routed = true;
        network
    }

    /// Adds a host to a switch, and returns its number.
    pub fn add_host(&mut self, switch: usize) -> usize {
        let number = u8::try_from(self.hosts.len() + 1).unwrap();
        let place = self.free_place(switch);
        let subnet = if self.is_routed { u8::try_from(switch).unwrap() } else { 0 };
        self.hosts.push((Host::new(subnet, number), place));
        self.hosts.len() - 1
    }

    fn free_place(&mut self, switch: usize) -> Place {
        let port = FIRST_HOST + self.switches[switch].hosts;
        self.switches[switch].hosts += 1;
        assert!(port < PORTS);
        Place { switch, port }
    }

    /// Plugs a host into another switch.
    pub fn move_host(&mut self, host: usize, switch: usize) {
        self.hosts[host].1 = self.free_place(switch);
    }

    pub fn begin(&mut self, client: usize, server: usize, bytes: usize) {
        let content = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
        self.hosts[server].0.listen();
        let to = self.hosts[server].0.address;
        self.hosts[client].0.connect_and_send(to, content);
        self.hosts[server].0.received.reserve(bytes);
    }

    /// Goes on until the server has everything.
    pub fn finish(&mut self, _client: usize, server: usize) {
        let expected = crate::KILOBYTES * 1024;
        let end = self.now_us + MOST_US;
        while self.hosts[server].0.received.len() < expected {
            assert!(self.now_us < end, "only {} bytes", self.hosts[server].0.received.len());
            self.step();
        }
        let received = &self.hosts[server].0.received;
        assert!(received.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    }

    pub fn transfer(&mut self, client: usize, server: usize, bytes: usize) {
        self.begin(client, server, bytes);
        self.finish(client, server);
    }

    pub fn run_for_millis(&mut self, millis: u64) {
        let end = self.now_us + millis * 1000;
        while self.now_us < end {
            self.step();
        }
    }

    /// Puts a frame onto a switch's port.
    pub fn inject(&mut self, switch: usize, port: PortIndex, frame: Vec<u8>) {
        self.switch(switch, port.0, &[frame]);
    }

    fn step(&mut self) {
        self.now_us += STEP_US;
        for at in 0..self.hosts.len() {
            self.hosts[at].0.poll(self.now_us);
            let frames = std::mem::take(&mut self.hosts[at].0.wire.outgoing);
            let Place { switch, port } = self.hosts[at].1;
            self.switch(switch, port, &frames);
        }
        for at in 0..self.switches.len() {
            let sent = self.switches[at].housekeep(self.now_us);
            self.carry(at, sent);
        }
        for at in 0..self.links.len() {
            let right = self.links[at][0].arrived(self.now_us);
            self.switch(at + 1, TO_PREVIOUS, &right);
            let left = self.links[at][1].arrived(self.now_us);
            self.switch(at, TO_NEXT, &left);
        }
    }

    /// Lets a switch decide, and carries away what leaves it.
    fn switch(&mut self, at: usize, port: u16, frames: &[Vec<u8>]) {
        let sent = self.switches[at].run(self.now_us, PortIndex(port), frames);
        self.carry(at, sent);
    }

    fn carry(&mut self, at: usize, sent: Vec<(u16, Vec<u8>)>) {
        for (to, frame) in sent {
            (self.now_us, at, to, &frame).hash(&mut self.trace);
            let link = match to {
                TO_PREVIOUS => at.checked_sub(1).map(|at| (at, 1)),
                TO_NEXT => (at + 1 < self.switches.len()).then_some((at, 0)),
                _ => None,
            };
            if let Some((link, direction)) = link {
                let (quality, random) = (self.quality, &mut self.random);
                self.links[link][direction].send(self.now_us, frame, quality, random);
                continue;
            }
            let here = |(_, place): &&mut (Host, Place)| (place.switch, place.port) == (at, to);
            if let Some((host, _)) = self.hosts.iter_mut().find(here) {
                host.delivered += 1;
                host.wire.incoming.push_back(frame);
            }
        }
    }

    /// Whom a host's connection is with, as it seems there.
    pub fn peer(&self, host: usize) -> Option<std::net::Ipv4Addr> {
        let smoltcp::wire::IpAddress::Ipv4(peer) = self.hosts[host].0.peer()? else { return None };
        Some(peer)
    }

    /// Frames that reached a host.
    pub fn delivered(&self, host: usize) -> usize {
        self.hosts[host].0.delivered
    }

    pub fn check_ledgers(&self) {
        for switch in &self.switches {
            assert_eq!(switch.ledger.reconcile(), Ok(()));
            assert!(switch.ledger.total().received > 0);
        }
    }

    /// A fingerprint of every frame that left a switch, and when.
    pub fn trace(&self) -> u64 {
        self.trace.clone().finish()
    }
}
