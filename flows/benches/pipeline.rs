//! The pipeline alone: nanoseconds and cycles per frame, for 64-byte frames among 1000 stations.
//!
//! `cargo bench -p flows --bench pipeline`
//!
//! Each frame is taken from the pool and its header written (what a port does when it receives), decided
//! about, and its buffer recycled from the outbox (what a port does when it has sent). The same without
//! the decision is measured beside it, so that the difference is the pipeline's.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Ledger, Nanos, Outboxes, Pipeline, PortConfig,
    PortIndex, Snapshot, Vid, VlanPolicy,
};
use pktio::wire::MacAddr;
use pktio::{Burst, Pool, PoolConfig};

const PORTS: u16 = 4;
const STATIONS: u32 = 1000;
/// Frames in the circle that each port receives.
const CIRCLE: usize = 4096;
/// Frames measured per round, and rounds of which the best counts: others only ever add time.
const FRAMES: usize = 1 << 18;
const ROUNDS: usize = 21;

/// A pipeline, what is around it, and the traffic of each port.
struct Rig {
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    traffic: Vec<Vec<[u8; 64]>>,
    seconds: u64,
}

/// Numbers without end, the same in every run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).expect("below a u32")
    }
}

fn station(number: u32) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 | u64::from(number))
}

/// Traffic of a port: from its stations to those of all others, in random order.
fn circle(dice: &mut Dice, port: u32, tag: Option<u16>) -> Vec<[u8; 64]> {
    let ports = u32::from(PORTS);
    let behind = |dice: &mut Dice, port: u32| station(dice.below(STATIONS / ports) * ports + port);
    (0..CIRCLE)
        .map(|_| {
            let to = (port + 1 + dice.below(ports - 1)) % ports;
            let mut frame = [0x5a; 64];
            frame[..6].copy_from_slice(&behind(dice, to).0);
            frame[6..12].copy_from_slice(&behind(dice, port).0);
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            if let Some(vid) = tag {
                frame[12..14].copy_from_slice(&[0x81, 0x00]);
                frame[14..16].copy_from_slice(&vid.to_be_bytes());
            }
            frame
        })
        .collect()
}

impl Rig {
    fn new(policies: [VlanPolicy; PORTS as usize], tag: Option<u16>) -> Self {
        let domain = BridgeDomain::new(Arc::new(Fdb::new(8192, 300, 0x5eed)), 8192);
        let port = |vlan| PortConfig { vlan, ..PortConfig::new(BridgeIndex(0)) };
        let ports = policies.into_iter().map(|vlan| Some(port(vlan))).collect();
        let snapshot =
            Snapshot::new(Generation(1), ports, vec![Some(domain)]).expect("a sound configuration");
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut rig = Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::default()),
            pool: Pool::new(PoolConfig::default()).expect("memory for the pool"),
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            traffic: (0..u32::from(PORTS)).map(|port| circle(&mut dice, port, tag)).collect(),
            seconds: 0,
        };
        rig.outboxes.reserve(usize::from(PORTS));
        rig.ledger.reserve(usize::from(PORTS));
        // Everybody is learned before anything is measured.
        rig.round(32, true);
        rig
    }

    /// Nanoseconds per frame of one round, with or without the pipeline.
    fn round(&mut self, batch: usize, decide: bool) -> f64 {
        let mut burst = Burst::new();
        // A round is shorter than a second, so stations are refreshed once per round.
        self.seconds += 1;
        let now = Nanos::from_secs(self.seconds);
        let start = Instant::now();
        for (turn, port) in (0..FRAMES / batch).zip((0..PORTS).cycle()) {
            let circle = &self.traffic[usize::from(port)];
            let from = turn * batch % (CIRCLE - batch + 1);
            for bytes in &circle[from..from + batch] {
                burst.extend(self.pool.frame_from(bytes));
            }
            if decide {
                self.pipeline.run(
                    now,
                    PortIndex(port),
                    &mut burst,
                    &mut self.pool,
                    &mut self.outboxes,
                    &mut self.ledger,
                );
                while let Some(port) = self.outboxes.next_dirty() {
                    self.pool.recycle_all(self.outboxes.of(port));
                }
            } else {
                self.pool.recycle_all(black_box(&mut burst));
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / FRAMES as f64
    }

    fn best(&mut self, batch: usize, decide: bool) -> f64 {
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| self.round(batch, decide)).collect();
        rounds.sort_by(f64::total_cmp);
        rounds[0]
    }
}

/// The frequency of the time stamp counter in GHz, as the kernel calibrated it.
fn tsc_ghz() -> Option<f64> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    Some(line.rsplit(':').next()?.trim().parse::<f64>().ok()? / 1000.0)
}

fn main() {
    let ghz = tsc_ghz().unwrap_or(f64::NAN);
    let trunk =
        || VlanPolicy::Trunk { allowed: Arc::new([Vid(10)].into_iter().collect()), native: None };
    let access = || VlanPolicy::Access(Vid(10));
    let unaware = || VlanPolicy::Unaware;
    let cases = [
        ("L2, no VLANs", [(); 4].map(|()| unaware()), None),
        ("L2, access ports", [(); 4].map(|()| access()), None),
        ("L2, trunks", [(); 4].map(|()| trunk()), Some(10)),
    ];
    println!("64-byte frames, {STATIONS} stations, {PORTS} ports; cycles at {ghz:.3} GHz");
    println!(
        "{:<18}{:>6}{:>10}{:>10}{:>12}{:>12}",
        "", "burst", "ns", "cycles", "less bufs", "buffers"
    );
    for (name, policies, tag) in cases {
        let mut rig = Rig::new(policies, tag);
        for batch in [1, 8, 32, 64] {
            let buffers = rig.best(batch, false);
            let whole = rig.best(batch, true);
            println!(
                "{name:<18}{batch:>6}{whole:>10.1}{:>10.1}{:>12.1}{:>12.1}",
                whole * ghz,
                (whole - buffers) * ghz,
                buffers * ghz,
            );
        }
        let sent: u64 = (0..PORTS).map(|port| rig.ledger.port(PortIndex(port)).offered).sum();
        let received = rig.ledger.total().received;
        println!("{name:<18}copies made while learning: {}", sent - received);
    }
}
