//! The pipeline alone: bursts of 64-byte frames (60 without FCS) among so many stations on one bridge; and with null ports,
//! from taking the buffers and copying the frames into them to giving them back.

use std::error::Error;
use std::sync::Arc;

use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Ledger, Nanos, Outboxes, Pipeline, PortConfig,
    PortIndex, Snapshot,
};
use pktio::buffer::BURST_FRAMES;
use pktio::null::NullPort;
use pktio::{Burst, Pool, PoolConfig, Port, PortFault};
use vswitch::sys::cycles;

/// Frames of one measurement.
const FRAMES: usize = 4_000_000;

/// Measures and prints.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    println!("L2, 64-byte frames, TSC cycles per frame (best of 5):\n");
    println!("{:>10} {:>8} {:>10} {:>16}", "stations", "burst", "pipeline", "with null ports");
    for stations in [1, 1000, 100_000] {
        for burst in [1, 8, 32, 64] {
            let (mut best, mut best_whole) = (f64::MAX, None::<f64>);
            for _ in 0..5 {
                let (pipeline, whole) = measure(stations, burst)?;
                best = best.min(pipeline);
                best_whole = whole.map(|whole| best_whole.unwrap_or(f64::MAX).min(whole));
            }
            let whole = best_whole.map(|whole| format!("{whole:.1}")).unwrap_or_default();
            println!("{stations:>10} {burst:>8} {best:>10.1} {whole:>16}");
        }
    }
    Ok(())
}

fn mac(number: usize) -> [u8; 6] {
    let [.., a, b, c, d] = (number as u64).to_be_bytes();
    [2, 0, a, b, c, d]
}

/// Frames between stations in an order that is none: the next one's place is not where this one's was.
fn frames(stations: usize) -> Vec<[u8; 60]> {
    let count = stations.clamp(1024, 131_072);
    let frame = |number: usize| {
        let mut bytes = [0x5a; 60];
        let step = number.wrapping_mul(2_654_435_761);
        bytes[..6].copy_from_slice(&mac(step % stations));
        bytes[6..12].copy_from_slice(&mac(stations + (step >> 8) % stations));
        bytes[12..14].copy_from_slice(&[8, 0]);
        bytes
    };
    (0..count).map(frame).collect()
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
    fn new() -> Result<Self, Box<dyn Error>> {
        let bridge = BridgeDomain::new(Arc::new(Fdb::new(1 << 18, 300, 7)), 1 << 18);
        let ports = [(); 2].map(|()| Some(PortConfig::new(BridgeIndex(0)))).to_vec();
        let snapshot = Snapshot::new(Generation(1), ports, vec![Some(bridge)])?;
        Ok(Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::default()),
            pool: Pool::new(PoolConfig { small: 4096, slabs: 4 })?,
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            burst: Burst::new(),
        })
    }

    /// Decides about the burst, and returns what that took.
    fn decide(&mut self, ingress: u16) -> u64 {
        let (now, from) = (Nanos::from_secs(1), PortIndex(ingress));
        let Self { pipeline, pool, outboxes, ledger, burst } = self;
        let begun = cycles();
        pipeline.run(now, from, burst, pool, outboxes, ledger);
        cycles() - begun
    }

    /// Puts frames through the pipeline, which go nowhere, and returns what the pipeline took.
    fn pass(&mut self, ingress: u16, frames: &mut dyn Iterator<Item = [u8; 60]>) -> u64 {
        let pool = &mut self.pool;
        self.burst.extend(frames.filter_map(|bytes| pool.frame_from(&bytes)));
        let taken = self.decide(ingress);
        while let Some(port) = self.outboxes.next_dirty() {
            self.pool.recycle_all(self.outboxes.of(port));
        }
        taken
    }

    /// Moves frames from a null port to another one, and returns how many.
    fn move_on(&mut self, from: &mut NullPort, to: &mut NullPort) -> Result<usize, PortFault> {
        let received = from.rx_burst(&mut self.pool, &mut self.burst)?;
        self.decide(0);
        while let Some(port) = self.outboxes.next_dirty() {
            to.tx_burst(&mut self.pool, self.outboxes.of(port))?;
        }
        Ok(received)
    }
}

/// Cycles per frame: of the pipeline, and from port to port where the burst is a port's.
fn measure(stations: usize, burst_frames: usize) -> Result<(f64, Option<f64>), Box<dyn Error>> {
    let (mut bench, frames) = (Bench::new()?, frames(stations));
    // Destinations are behind port 1, sources behind port 0: both are learned before it counts.
    for station in 0..stations {
        let mut hello = [0x5a; 60];
        hello[..6].copy_from_slice(&[0xff; 6]);
        hello[6..12].copy_from_slice(&mac(station));
        bench.pass(1, &mut std::iter::once(hello));
    }
    let mut endless = frames.iter().copied().cycle();
    for _ in 0..frames.len() / burst_frames {
        bench.pass(0, &mut endless.by_ref().take(burst_frames));
    }
    let mut inside = 0;
    for _ in 0..FRAMES / burst_frames {
        inside += bench.pass(0, &mut endless.by_ref().take(burst_frames));
    }
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let per_frame = |cycles: u64, frames: usize| cycles as f64 / frames as f64;
    let whole = (burst_frames == BURST_FRAMES).then(|| -> Result<f64, PortFault> {
        let mut source = NullPort::source(&frames);
        let (mut sink, mut moved, begun) = (NullPort::sink(), 0, cycles());
        while moved < FRAMES {
            moved += bench.move_on(&mut source, &mut sink)?;
        }
        Ok(per_frame(cycles() - begun, moved))
    });
    Ok((per_frame(inside, FRAMES), whole.transpose()?))
}
