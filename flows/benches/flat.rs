//! What rules cost: nanoseconds and cycles per frame of known flows, and per first packet of a new one, by the
//! number of rules.
//!
//! `cargo bench -p flows --bench flat`
//!
//! As in the pipeline's benchmark, taking buffers and giving them back is measured with the rest. Frames are
//! 64 bytes of UDP among 1000 flows, each of which some rule allows; what no rule allows is denied. That
//! "0 rules" is faster than the others is what sessions cost: without rules nobody is looked into.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use etherparse::PacketBuilder;
use flows::rules::{AddressSet, Rule, RuleAction, RuleId, RuleMatch, RuleSet, Timeouts, Verdict};
use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Ledger, Nanos, Outboxes, Pipeline, PortConfig,
    PortIndex, Snapshot, TableSizes, Tables,
};
use pktio::{Burst, Pool, PoolConfig};

const SIZES: [u32; 5] = [0, 1, 100, 10_000, 100_000];
const FLOWS: usize = 1000;
const BATCH: usize = 32;
/// Frames measured per round, and rounds of which the best counts: others only ever add time.
const FRAMES: usize = 1 << 17;
const ROUNDS: usize = 15;

/// The frequency of the time stamp counter in GHz, as the kernel calibrated it.
fn tsc_ghz() -> Option<f64> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    Some(line.rsplit(':').next()?.trim().parse::<f64>().ok()? / 1000.0)
}

/// Allows the packets to one address, of many.
fn allow(number: u32) -> Rule {
    let ip = IpAddr::from(Ipv4Addr::from_bits(0x0a01_0000 + number));
    let destination: AddressSet = [(ip, 32)].into_iter().collect();
    let matches =
        RuleMatch { destination: Some(destination), protocol: Some(17), ..RuleMatch::default() };
    rule(number, 10, matches, Verdict::Allow)
}

fn rule(number: u32, priority: u32, matches: RuleMatch, verdict: Verdict) -> Rule {
    let (id, action) = (RuleId(number), RuleAction::only(verdict));
    Rule { id, priority, matches, action, timeouts: Timeouts::default() }
}

/// A datagram from the station of port 0 to that of port 1. Its destination is one that a rule allows.
fn datagram(flow: usize, rules: u32) -> Vec<u8> {
    let flow = u32::try_from(flow).expect("few flows");
    let to = Ipv4Addr::from_bits(0x0a01_0000 + flow % rules.saturating_sub(1).max(1));
    let port = u16::try_from(1024 + flow % 60_000).expect("a port");
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 1]);
    let builder = builder.ipv4([10, 0, 0, 1], to.octets(), 64).udp(port, 53);
    builder.write(&mut frame, &[0; 22]).expect("memory");
    frame
}

struct Rig {
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    now: u64,
}

impl Rig {
    fn new(rules: u32) -> Self {
        let fdb = Fdb::new(64, 300, 0x5eed);
        for port in 0..2 {
            let station = pktio::wire::MacAddr([2, 0, 0, 0, 0, port]);
            assert!(fdb.add_static(station, flows::Vid::NONE, PortIndex(port.into())));
        }
        let port = PortConfig { is_inspected: rules > 0, ..PortConfig::new(BridgeIndex(0)) };
        let bridges = vec![Some(BridgeDomain::new(Arc::new(fdb), 64))];
        let snapshot = Snapshot::new(Generation(1), vec![Some(port.clone()), Some(port)], bridges);
        let rest = RuleMatch::default();
        let verdict = if rules == 1 { Verdict::Allow } else { Verdict::Drop };
        let last = rules.checked_sub(1).map(|number| rule(number, 0, rest, verdict));
        let all = (0..rules.saturating_sub(1)).map(allow).chain(last).collect();
        let set = RuleSet::compile(all).expect("numbers of rules");
        let snapshot = snapshot.expect("a sound configuration").with_rules(Arc::new(set));
        // Without one the hash would be weak: ports are all that many flows differ in.
        let sizes = TableSizes { seed: 0x9e37_79b9_7f4a_7c15, ..TableSizes::default() };
        Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::new(Tables::new(sizes))),
            pool: Pool::new(PoolConfig::default()).expect("memory for the pool"),
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            now: 1,
        }
    }

    /// Nanoseconds per frame of a round over frames, in order.
    fn round(&mut self, frames: &[Vec<u8>], count: usize) -> f64 {
        let mut burst = Burst::new();
        self.now += 1;
        let mut circle = frames.iter().cycle();
        let start = Instant::now();
        for _ in 0..count / BATCH {
            for bytes in circle.by_ref().take(BATCH) {
                burst.extend(self.pool.frame_from(bytes));
            }
            self.pipeline.run(
                Nanos::from_secs(self.now),
                PortIndex(0),
                &mut burst,
                &mut self.pool,
                &mut self.outboxes,
                &mut self.ledger,
            );
            while let Some(port) = self.outboxes.next_dirty() {
                self.pool.recycle_all(self.outboxes.of(port));
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / count as f64
    }
}

fn main() {
    let ghz = tsc_ghz().unwrap_or(f64::NAN);
    println!("{:>8}{:>10}{:>10}{:>14}", "rules", "ns/hit", "cycles", "ns/first");
    for rules in SIZES {
        let mut rig = Rig::new(rules);
        let known: Vec<_> = (0..FLOWS).map(|flow| datagram(flow, rules)).collect();
        let new: Vec<_> = (FLOWS..FLOWS * 40).map(|flow| datagram(flow, rules)).collect();
        let first = rig.round(&new, new.len());
        let hits = (0..ROUNDS).map(|_| rig.round(&known, FRAMES)).fold(f64::INFINITY, f64::min);
        println!("{rules:>8}{hits:>10.1}{:>10.1}{first:>14.1}", hits * ghz);
        assert_eq!(rig.ledger.total().dropped(), 0, "all of it is allowed");
    }
}
