//! The VXLAN codec alone: cycles per 64-byte frame, of 1024 flows.
//!
//! `cargo bench -p flows --bench vxlan`
//!
//! Each frame is taken from the pool and filled, put through the codec, and its buffer recycled, in bursts of
//! 32. The same without the codec is measured beside it, so that the difference is the codec's. Where the
//! headers are is what the pipeline knows anyway; what it costs to find out is shown by itself.

use std::hint::black_box;
use std::time::Instant;

use flows::vxlan::{Dscp, Ttl, Tunnel, Vni, admit, decap, encap};
use pktio::wire::Layers;
use pktio::{Burst, PktBuf, Pool, PoolConfig};

const FLOWS: u16 = 1024;
const BATCH: usize = 32;
/// Frames measured per round, and rounds of which the best counts: others only ever add time.
const FRAMES: usize = 1 << 18;
const ROUNDS: usize = 31;

/// Traffic: frames, and where their headers are.
struct Traffic {
    frames: Vec<Vec<u8>>,
    layers: Option<Layers>,
}

/// TCP over IPv4 or IPv6, marked ECT(0), without payload.
fn inner(v6: bool, flow: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0x20, 0, 0, 0, 20, 6, 64]);
        frame.extend([0x20; 16].into_iter().chain([0x21; 16]));
    } else {
        frame.extend([0x08, 0, 0x45, 2, 0, 46, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1]);
        frame.extend([10, 0, 0, 2]);
    }
    frame.extend(flow.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 100, 0, 0, 0, 0]);
    frame.resize(frame.len().max(60), 0);
    frame
}

impl Traffic {
    fn new(v6: bool, header: &[u8]) -> Self {
        let frames: Vec<_> = (0..FLOWS).map(|flow| [header, &inner(v6, flow)].concat()).collect();
        let layers = Layers::parse(&inner(v6, 0)).expect("well-formed");
        Self { frames, layers }
    }

    /// Nanoseconds per frame of one round.
    fn round(&self, pool: &mut Pool, mut codec: impl FnMut(&mut PktBuf, Option<&Layers>)) -> f64 {
        let mut burst = Burst::new();
        let start = Instant::now();
        for turn in 0..FRAMES / BATCH {
            let from = turn * BATCH % self.frames.len();
            for bytes in &self.frames[from..from + BATCH] {
                burst.extend(pool.frame_from(bytes));
            }
            for frame in burst.iter_mut() {
                codec(black_box(frame), black_box(self.layers.as_ref()));
            }
            pool.recycle_all(black_box(&mut burst));
        }
        start.elapsed().as_secs_f64() * 1e9 / FRAMES as f64
    }

    fn best(&self, pool: &mut Pool, mut codec: impl FnMut(&mut PktBuf, Option<&Layers>)) -> f64 {
        let rounds = (0..ROUNDS).map(|_| self.round(pool, &mut codec));
        rounds.fold(f64::INFINITY, f64::min)
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
    let mut pool = Pool::new(PoolConfig::default()).expect("memory for the pool");
    let plain = Tunnel::new(Vni::new(42).expect("24 bits"));
    let inherits = Tunnel { dscp: Dscp::Inherited, ttl: Ttl::Inherited, ..plain };
    let header = [8, 0, 0, 0, 0, 0, 42, 0];
    println!("cycles per frame at {ghz:.3} GHz, buffers not counted");
    for (name, v6) in [("IPv4", false), ("IPv6", true)] {
        let (bare, tunnelled) = (Traffic::new(v6, &[]), Traffic::new(v6, &header));
        let idle = [bare.best(&mut pool, |_, _| ()), tunnelled.best(&mut pool, |_, _| ())];
        let show = |what: &str, ns: f64, idle: f64| {
            println!("{name}  {what:<36}{:>8.1}", (ns - idle) * ghz);
        };
        let parse = bare.best(&mut pool, |frame, _| {
            black_box(Layers::parse(frame.data()).ok());
        });
        show("finding the headers", parse, idle[0]);
        for (what, tunnel) in [("encap", plain), ("encap, DSCP and TTL inherited", inherits)] {
            let ns = bare.best(&mut pool, |frame, layers| {
                black_box(encap(frame, layers, &tunnel));
            });
            show(what, ns, idle[0]);
        }
        let marks = [("decap", 0), ("decap, outer field as the inner one", 2), ("decap, CE", 3)];
        for (what, outer_tos) in marks {
            let ns = tunnelled.best(&mut pool, |frame, layers| {
                let _ = black_box(decap(frame));
                let _ = black_box(admit(frame, layers, outer_tos, &plain));
            });
            show(what, ns, idle[1]);
        }
    }
}
