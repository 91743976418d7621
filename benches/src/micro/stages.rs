//! What is done to a frame, each step alone, by the length of the frame.
//!
//! A call has as many frames as a burst has: 32, and fewer if they are long. Their buffers are filled before and given
//! back after it. The headers are in the cache, as they are when a step's turn comes.

use std::error::Error;
use std::hint::black_box;

use flows::cache::{FlowKey, KeyFields};
use flows::nat::Rewrite;
use flows::router::{IcmpError, Station, fragment, icmp};
use flows::vxlan::{Tunnel, Vni, admit, decap, encap};
use flows::{Endpoint, Guard, PortIndex, Tuple, Vid};
use pktio::buffer::BURST_BYTES;
use pktio::offload::{checksum as transport, coalesce, segment};
use pktio::wire::field::protocol;
use pktio::wire::{Layers, checksum};
use pktio::{Accepts, Burst, Offload, PktBuf, Pool, PoolConfig};

use super::frames::{Ends, MSS, SHORTEST_BYTES, TCP_HEADERS, unfinished_tcp};
use super::{Axis, Case, Made};

/// Frames of a call, unless they are long.
const BATCH: usize = 32;
/// One length, where no other costs anything else.
const SHORTEST: &[usize] = &[SHORTEST_BYTES];
/// The shortest, a small one, one of MTU 1500 and of 9000, and the longest.
const EVERY: &[usize] = &[SHORTEST_BYTES, 256, 1514, 9014, 65_536];
/// Of what becomes more than one frame.
const LONG: &[usize] = &[4096, 9014, 65_536];

/// A stage by its name, made for each of these lengths of frames.
type Lengthwise = (&'static str, &'static [usize], fn(usize) -> Made);

const STAGES: [Lengthwise; 14] = [
    ("headers: parsed", SHORTEST, parse),
    ("headers: flow key made", SHORTEST, flow_key),
    ("port guard: own frame", SHORTEST, guard),
    ("NAT: rewritten", SHORTEST, rewrite),
    ("VXLAN: wrapped", SHORTEST, wrap),
    ("VXLAN: unwrapped", SHORTEST, unwrap),
    ("ICMP error: made", SHORTEST, refuse),
    ("buffer: taken, filled, given back", EVERY, buffer),
    ("checksum: sum", EVERY, sum),
    ("checksum: finished", EVERY, finish),
    ("checksum: verified", EVERY, verify),
    ("super-frame: cut", LONG, cut),
    ("segments: merged", LONG, merge),
    ("datagram: fragmented", LONG, break_up),
];

pub(super) fn cases() -> Vec<Case> {
    let each = STAGES.into_iter().flat_map(|(stage, lengths, make)| {
        let case = move |bytes| Case::new(stage, (Axis::Bytes, bytes), move || make(bytes));
        lengths.iter().copied().map(case)
    });
    each.collect()
}

/// Does something to bursts of these frames; what comes of it is in the second burst, and given back too.
fn on_bursts(
    models: Vec<Vec<u8>>,
    offload: Offload,
    mut step: impl FnMut(&mut Burst, &mut Burst, &mut Pool) + 'static,
) -> Made {
    let mut pool = Pool::new(PoolConfig { small: 4096, slabs: 64 })?;
    let (mut burst, mut out) = (Burst::new(), Burst::new());
    Ok(Box::new(move |meter| {
        for model in &models {
            let frame = pool.frame_from(model);
            burst.extend(frame.into_iter().map(|mut frame| {
                frame.offload = offload;
                frame
            }));
        }
        meter.note(burst.len(), || step(&mut burst, &mut out, &mut pool));
        [&mut burst, &mut out].into_iter().for_each(|frames| pool.recycle_all(frames));
    }))
}

/// Does something to each frame of bursts of the same frame.
fn on_frames(
    model: Vec<u8>,
    offload: Offload,
    mut step: impl FnMut(&mut PktBuf, &mut Pool) + 'static,
) -> Made {
    let count = (BURST_BYTES / model.len()).clamp(1, BATCH);
    on_bursts(vec![model; count], offload, move |burst, _, pool| {
        burst.iter_mut().for_each(|frame| step(black_box(frame), pool));
    })
}

/// Where the headers of a frame are.
fn layers_of(frame: &[u8]) -> Result<Layers, Box<dyn Error>> {
    Ok(Layers::parse(frame)?.ok_or("a frame without IP")?)
}

fn parse(bytes: usize) -> Made {
    on_frames(Ends::USUAL.udp(bytes), Offload::NONE, |frame, _| {
        _ = black_box(Layers::parse(frame.data()));
    })
}

fn flow_key(bytes: usize) -> Made {
    let model = Ends::USUAL.udp(bytes);
    let layers = layers_of(&model)?;
    on_frames(model, Offload::NONE, move |frame, _| {
        let fields = KeyFields { tcp_flags: 0, dscp: false };
        black_box(FlowKey::of(PortIndex(0), Vid::NONE, frame.data(), &layers, fields));
    })
}

fn guard(bytes: usize) -> Made {
    let Ends { stations, ips, .. } = Ends::USUAL;
    let guard = Guard { mac: stations[1], addresses: vec![ips[0].into()] };
    let model = Ends::USUAL.udp(bytes);
    let layers = layers_of(&model)?;
    on_frames(model, Offload::NONE, move |frame, _| {
        black_box(guard.admits(frame.data(), Some(&layers)));
    })
}

fn rewrite(bytes: usize) -> Made {
    let Ends { ips, ports, .. } = Ends::USUAL;
    let [source, destination] = [0, 1].map(|end| Endpoint::new(ips[end], ports[end]));
    let inside = Tuple { protocol: protocol::TCP, source, destination };
    let outside = Tuple { source: Endpoint::new([192, 0, 2, 1], 50_000), ..inside };
    let there = Rewrite::between(&inside, &outside).ok_or("no rewrite")?;
    let model = Ends::USUAL.tcp(bytes, 1);
    let layers = layers_of(&model)?;
    on_frames(model, Offload::NONE, move |frame, _| {
        _ = black_box(there.apply(frame, black_box(&layers)));
    })
}

fn tunnel() -> Result<Tunnel, Box<dyn Error>> {
    Ok(Tunnel::new(Vni::new(42).ok_or("no such network")?))
}

fn wrap(bytes: usize) -> Made {
    let (tunnel, model) = (tunnel()?, Ends::USUAL.udp(bytes));
    let layers = layers_of(&model)?;
    on_frames(model, Offload::NONE, move |frame, _| {
        black_box(encap(frame, Some(&layers), &tunnel));
    })
}

fn unwrap(bytes: usize) -> Made {
    let (tunnel, inner) = (tunnel()?, Ends::USUAL.udp(bytes));
    let layers = layers_of(&inner)?;
    let model = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &inner].concat();
    on_frames(model, Offload::NONE, move |frame, _| {
        let _ = black_box(decap(frame));
        let _ = black_box(admit(frame, Some(&layers), 0, &tunnel));
    })
}

fn refuse(bytes: usize) -> Made {
    let model = Ends::USUAL.udp(bytes);
    let layers = layers_of(&model)?;
    let from = Station { mac: Ends::USUAL.stations[0], ip: [10, 0, 0, 254].into() };
    on_frames(model, Offload::NONE, move |frame, pool| {
        let error = icmp::make(frame, &layers, IcmpError::PortUnreachable, from, pool);
        error.into_iter().for_each(|error| pool.recycle(error));
    })
}

fn buffer(bytes: usize) -> Made {
    let mut pool = Pool::new(PoolConfig { small: 4096, slabs: 64 })?;
    let (model, mut burst) = (Ends::USUAL.udp(bytes), Burst::new());
    let count = (BURST_BYTES / bytes).clamp(1, BATCH);
    Ok(Box::new(move |meter| {
        meter.note(count, || {
            burst.extend((0..count).filter_map(|_| pool.frame_from(black_box(&model))));
            pool.recycle_all(&mut burst);
        });
    }))
}

fn sum(bytes: usize) -> Made {
    on_frames(Ends::USUAL.udp(bytes), Offload::NONE, |frame, _| {
        black_box(checksum::sum(frame.data()));
    })
}

fn finish(bytes: usize) -> Made {
    let offload = Offload { gso: pktio::Gso::None, ..unfinished_tcp(bytes) };
    on_frames(Ends::USUAL.tcp(bytes, 1), offload, |frame, _| {
        black_box(transport::complete(frame));
    })
}

fn verify(bytes: usize) -> Made {
    let model = Ends::USUAL.tcp(bytes, 1);
    let layers = layers_of(&model)?;
    on_frames(model, Offload::NONE, move |frame, _| {
        black_box(transport::verify(frame.data(), &layers));
    })
}

fn cut(bytes: usize) -> Made {
    let count = (BURST_BYTES / bytes).clamp(1, BATCH);
    let models = vec![Ends::USUAL.tcp(bytes, 1); count];
    on_bursts(models, unfinished_tcp(bytes), |burst, out, pool| {
        for frame in burst.iter() {
            _ = black_box(segment(frame, &Accepts::PLAIN, pool, out));
        }
    })
}

/// Of as many segments as a super-frame of so many bytes has; what it costs is that of one of them.
fn merge(bytes: usize) -> Made {
    let mss = usize::from(MSS);
    let models = (0..(bytes - TCP_HEADERS) / mss).map(|number| {
        let sequence = u32::try_from(number * mss).unwrap_or(0);
        Ends::USUAL.tcp(TCP_HEADERS + mss, sequence)
    });
    let offload = unfinished_tcp(TCP_HEADERS + mss);
    on_bursts(models.collect(), offload, |burst, scratch, pool| {
        black_box(coalesce(burst, scratch, pool));
    })
}

fn break_up(bytes: usize) -> Made {
    const MTU_BYTES: usize = 1500;
    let model = Ends::USUAL.udp(bytes);
    let layers = layers_of(&model)?;
    let count = (BURST_BYTES / bytes).clamp(1, BATCH);
    on_bursts(vec![model; count], Offload::NONE, move |burst, out, pool| {
        for frame in burst.drain(..) {
            if let Err((frame, _)) = fragment(frame, &layers, MTU_BYTES, pool, out) {
                pool.recycle(frame);
            }
        }
    })
}
