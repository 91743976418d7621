//! Bridging alone: frames of no protocol among so many stations, as the pipeline sees them; and with null ports, from
//! taking the buffers and copying the frames into them to giving them back.

use std::error::Error;
use std::sync::Arc;

use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Ledger, Nanos, Outboxes, Pipeline, PortConfig,
    PortIndex, Snapshot, Vid, VlanPolicy,
};
use pktio::buffer::BURST_FRAMES;
use pktio::null::NullPort;
use pktio::{Burst, Pool, PoolConfig, Port};

use super::{Axis, BURSTS, Case, Made, Stage, parts_of};

/// Stations of which a frame has two.
const STATIONS: [usize; 3] = [1, 1000, 100_000];
/// How many, unless their number is what varies.
const USUAL: usize = 1000;
const TAG: [u8; 4] = [0x81, 0, 0, 10];

type Frame = [u8; 60];

pub(super) fn cases() -> Vec<Case> {
    let of_stations = |(stage, make): Stage| {
        STATIONS.map(|count| Case::new(stage, (Axis::Stations, count), move || make(count)))
    };
    let stages: [Stage; 4] = [
        ("L2", |stations| alone(&VlanPolicy::Unaware, stations, BURST_FRAMES)),
        ("L2, access ports", |stations| {
            alone(&VlanPolicy::Access(Vid(10)), stations, BURST_FRAMES)
        }),
        ("L2, trunks", |stations| alone(&trunk(), stations, BURST_FRAMES)),
        ("L2 between null ports", between_null_ports),
    ];
    let burst = |frames| {
        let make = move || alone(&VlanPolicy::Unaware, USUAL, frames);
        Case::new("L2", (Axis::Burst, frames), make)
    };
    stages.into_iter().flat_map(of_stations).chain(BURSTS.map(burst)).collect()
}

fn trunk() -> VlanPolicy {
    VlanPolicy::Trunk { allowed: Arc::new([Vid(10)].into_iter().collect()), native: None }
}

fn mac(number: usize) -> [u8; 6] {
    let [.., a, b, c, d] = number.to_be_bytes();
    [2, 0, a, b, c, d]
}

fn frame(destination: [u8; 6], source: [u8; 6], is_tagged: bool) -> Frame {
    let mut bytes = [0x5a; 60];
    bytes[..6].copy_from_slice(&destination);
    bytes[6..12].copy_from_slice(&source);
    // An EtherType for experiments (IEEE 802).
    let behind =
        if is_tagged { &[TAG[0], TAG[1], TAG[2], TAG[3], 0x88, 0xb5][..] } else { &[0x88, 0xb5] };
    bytes[12..12 + behind.len()].copy_from_slice(behind);
    bytes
}

/// Frames between stations in an order that is none: the next one's place is not where this one's was.
fn frames(stations: usize, is_tagged: bool) -> Vec<Frame> {
    let count = stations.clamp(1024, 131_072);
    let between = |number: usize| {
        let step = number.wrapping_mul(2_654_435_761);
        let (to, from) = (mac(step % stations), mac(stations + (step >> 8) % stations));
        frame(to, from, is_tagged)
    };
    (0..count).map(between).collect()
}

/// A switch with two ports on one bridge.
struct Bench {
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    burst: Burst,
}

impl Bench {
    /// Destinations are behind port 1, sources behind port 0: all are learned before anything counts.
    fn new(vlan: &VlanPolicy, stations: usize) -> Result<(Self, Vec<Frame>), Box<dyn Error>> {
        let bridge = BridgeDomain::new(Arc::new(Fdb::new(1 << 18, 300, 7)), 1 << 18);
        let port = || PortConfig { vlan: vlan.clone(), ..PortConfig::new(BridgeIndex(0)) };
        let ports = [(); 2].map(|()| Some(port())).to_vec();
        let snapshot = Snapshot::new(Generation(1), ports, vec![Some(bridge)])?;
        let mut bench = Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::default()),
            pool: Pool::new(PoolConfig { small: 4096, slabs: 4 })?,
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            burst: Burst::new(),
        };
        let is_tagged = matches!(vlan, VlanPolicy::Trunk { .. });
        let frames = frames(stations, is_tagged);
        for station in 0..stations {
            bench.pass(1, &[frame([0xff; 6], mac(station), is_tagged)]);
        }
        frames.chunks(BURST_FRAMES).for_each(|some| bench.pass(0, some));
        Ok((bench, frames))
    }

    fn fill(&mut self, frames: &[Frame]) {
        let pool = &mut self.pool;
        self.burst.extend(frames.iter().filter_map(|bytes| pool.frame_from(bytes)));
    }

    fn decide(&mut self, ingress: u16) {
        let (now, from) = (Nanos::from_secs(1), PortIndex(ingress));
        let Self { pipeline, pool, outboxes, ledger, burst } = self;
        pipeline.run(now, from, burst, pool, outboxes, ledger);
    }

    fn empty(&mut self) {
        while let Some(port) = self.outboxes.next_dirty() {
            self.pool.recycle_all(self.outboxes.of(port));
        }
    }

    fn pass(&mut self, ingress: u16, frames: &[Frame]) {
        self.fill(frames);
        self.decide(ingress);
        self.empty();
    }
}

/// A burst is what a port hands over: more than [`BURST_FRAMES`] are several ones in a row.
fn alone(vlan: &VlanPolicy, stations: usize, burst: usize) -> Made {
    let (mut bench, frames) = Bench::new(vlan, stations)?;
    let (mut at, parts) = (0, parts_of(burst));
    Ok(Box::new(move |meter| {
        for part in parts.iter().copied() {
            let from = if at + part > frames.len() { 0 } else { at };
            bench.fill(&frames[from..from + part]);
            meter.note(part, || bench.decide(0));
            bench.empty();
            at = from + part;
        }
    }))
}

fn between_null_ports(stations: usize) -> Made {
    let (mut bench, frames) = Bench::new(&VlanPolicy::Unaware, stations)?;
    let mut source = NullPort::source(&frames);
    let mut sink = NullPort::sink();
    Ok(Box::new(move |meter| {
        meter.note(BURST_FRAMES, || {
            // A null port has no fault.
            let _ = source.rx_burst(&mut bench.pool, &mut bench.burst);
            bench.decide(0);
            while let Some(port) = bench.outboxes.next_dirty() {
                let _ = sink.tx_burst(&mut bench.pool, bench.outboxes.of(port));
            }
        });
    }))
}
