//! The pipeline alone: bursts of 64-byte frames (60 without FCS) among so many stations on one bridge, from
//! taking the buffers to giving them back.

use std::error::Error;
use std::sync::Arc;

use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Ledger, Nanos, Outboxes, Pipeline, PortConfig,
    PortIndex, Snapshot,
};
use pktio::{Burst, Pool, PoolConfig};
use vswitch::sys::cycles;

/// Frames of one measurement.
const FRAMES: usize = 4_000_000;

/// Measures and prints.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    println!("L2, 64-byte frames, TSC cycles per frame (best of 5):\n");
    println!("{:>10} {:>8} {:>10} {:>10}", "stations", "burst", "pipeline", "with rx+tx");
    for stations in [1, 1000, 100_000] {
        for burst in [1, 8, 32, 64] {
            let mut best = (f64::MAX, f64::MAX);
            for _ in 0..5 {
                let (pipeline, all) = measure(stations, burst)?;
                best = (best.0.min(pipeline), best.1.min(all));
            }
            println!("{stations:>10} {burst:>8} {:>10.1} {:>10.1}", best.0, best.1);
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

/// Cycles per frame: of the pipeline, and of everything.
fn measure(stations: usize, burst_frames: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let bridge = BridgeDomain::new(Arc::new(Fdb::new(1 << 18, 300, 7)), 1 << 18);
    let ports = [(); 2].map(|()| Some(PortConfig::new(BridgeIndex(0)))).to_vec();
    let snapshot = Snapshot::new(Generation(1), ports, vec![Some(bridge)])?;
    let mut pipeline = Pipeline::new(Arc::new(snapshot), Arc::default());
    let mut pool = Pool::new(PoolConfig { small: 4096, slabs: 4 })?;
    let (mut outboxes, mut ledger, mut burst) = (Outboxes::new(), Ledger::new(), Burst::new());
    let now = Nanos::from_secs(1);
    let mut pass = |ingress: u16, frames: &mut dyn Iterator<Item = [u8; 60]>, total: &mut u64| {
        burst.extend(frames.take(burst_frames).filter_map(|bytes| pool.frame_from(&bytes)));
        let begun = cycles();
        let to = PortIndex(ingress);
        pipeline.run(now, to, &mut burst, &mut pool, &mut outboxes, &mut ledger);
        *total += cycles() - begun;
        while let Some(port) = outboxes.next_dirty() {
            pool.recycle_all(outboxes.of(port));
        }
    };
    let frames = frames(stations);
    // Destinations are behind port 1, sources behind port 0: both are learned before it counts.
    let mut ignored = 0;
    for station in 0..stations {
        let mut hello = [0x5a; 60];
        hello[..6].copy_from_slice(&[0xff; 6]);
        hello[6..12].copy_from_slice(&mac(station));
        pass(1, &mut std::iter::once(hello), &mut ignored);
    }
    let mut endless = frames.iter().copied().cycle();
    for _ in 0..frames.len() / burst_frames {
        pass(0, &mut endless, &mut ignored);
    }
    let mut inside = 0;
    let begun = cycles();
    for _ in 0..FRAMES / burst_frames {
        pass(0, &mut endless, &mut inside);
    }
    let all = cycles() - begun;
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let per_frame = |cycles: u64| cycles as f64 / FRAMES as f64;
    Ok((per_frame(inside), per_frame(all)))
}
