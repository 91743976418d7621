//! Address translation alone: nanoseconds and cycles of each of its steps.
//!
//! `cargo bench -p flows --bench nat`
//!
//! Rewrites go over a burst of 64 frames, forth and back, with the headers in the cache, as they are when a
//! rewrite's turn comes.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use etherparse::PacketBuilder;
use flows::nat::{Mappings, Pool as Addresses, Publish, Published, Quota, Rewrite};
use flows::{Endpoint, Nanos, Tuple, Zone};
use pktio::wire::Layers;
use pktio::wire::field::protocol::{TCP, UDP};
use pktio::{Csum, PktBuf, Pool, PoolConfig};

const BURST: usize = 64;
/// Rounds of which the best counts: others only ever add time.
const ROUNDS: usize = 21;
const INSIDE: Zone = Zone(1);
const OUTSIDE: Zone = Zone(2);

/// The frequency of the time stamp counter in GHz, as the kernel calibrated it.
fn tsc_ghz() -> Option<f64> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    Some(line.rsplit(':').next()?.trim().parse::<f64>().ok()? / 1000.0)
}

/// Nanoseconds per step of the best round. A round returns how many steps it took.
fn best(mut round: impl FnMut() -> usize) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        let steps = round();
        start.elapsed().as_secs_f64() * 1e9 / steps as f64
    });
    times.fold(f64::INFINITY, f64::min)
}

fn report(name: &str, ns: f64) {
    println!("{name:<44}{ns:>10.1}{:>10.1}", ns * tsc_ghz().unwrap_or(f64::NAN));
}

/// Both ends of a masqueraded connection: as the inside and as the outside sees it.
fn masqueraded(protocol: u8, v6: bool) -> (Tuple, Tuple) {
    let end = |last: u8, port| match v6 {
        false => Endpoint::new([10, 0, 0, last], port),
        true => Endpoint::new([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)], port),
    };
    let tuple = |source| Tuple { protocol, source, destination: end(9, 80) };
    (tuple(end(1, 4000)), tuple(end(2, 51001)))
}

fn frame(pool: &mut Pool, tuple: &Tuple, partial: bool) -> PktBuf {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match (tuple.source.ip, tuple.destination.ip) {
        (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
            ethernet.ipv4(from.octets(), to.octets(), 64)
        }
        (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
            ethernet.ipv6(from.octets(), to.octets(), 64)
        }
        _ => unreachable!("one IP version"),
    };
    let (from, to) = (tuple.source.port, tuple.destination.port);
    let mut bytes = Vec::new();
    let written = match tuple.protocol {
        TCP => ip.tcp(from, to, 1, 500).write(&mut bytes, &[0; 64]),
        _ => ip.udp(from, to).write(&mut bytes, &[0; 64]),
    };
    written.expect("a packet");
    let layers = Layers::parse(&bytes).expect("sound").expect("IP");
    let mut frame = pool.frame_from(&bytes).expect("a buffer");
    if partial {
        let offset = layers.checksum_offset().expect("a checksum");
        frame.offload.csum = Csum::Partial { start: layers.l4, offset };
    }
    frame
}

fn rewrites(pool: &mut Pool) {
    let cases = [
        ("rewrite TCP/IPv4, half-done checksum", TCP, false, true),
        ("rewrite TCP/IPv4, full checksum", TCP, false, false),
        ("rewrite UDP/IPv4, full checksum", UDP, false, false),
        ("rewrite TCP/IPv6, full checksum", TCP, true, false),
    ];
    for (name, protocol, v6, partial) in cases {
        let (inside, outside) = masqueraded(protocol, v6);
        let mut frames: Vec<PktBuf> = (0..BURST).map(|_| frame(pool, &inside, partial)).collect();
        let layers = Layers::parse(frames[0].data()).expect("sound").expect("IP");
        let both = |old, new| Rewrite::between(old, new).expect("of one kind");
        let ways = [both(&inside, &outside), both(&outside, &inside)];
        let ns = best(|| {
            for turn in 0..4096 {
                let rewrite = black_box(&ways[turn % 2]);
                for frame in &mut frames {
                    rewrite.apply(frame, black_box(&layers)).expect("the flow's frame");
                }
            }
            4096 * BURST
        });
        report(name, ns);
    }
    let (inside, outside) = masqueraded(TCP, false);
    let ns = best(|| {
        for _ in 0..100_000 {
            black_box(Rewrite::between(black_box(&inside), black_box(&outside)));
        }
        100_000
    });
    report("compile a rewrite", ns);
}

fn container(number: u32, port: u16) -> Endpoint {
    Endpoint::new(Ipv4Addr::from(0x0a00_0000 | number), port)
}

fn claims() {
    let none = Published::default();
    let address = Ipv4Addr::new(203, 0, 113, 1).into();
    let pool =
        Addresses::new(OUTSIDE, address..=address, 1024..=65535, Quota::default()).expect("a pool");
    let mappings = Mappings::new(4096, 0x5eed).with_addresses([(OUTSIDE, address)]);
    let mut round = 0;
    for (name, containers) in [
        ("claim and release, port preserved", 1),
        ("claim and release, 16 containers, same ports", 16),
    ] {
        let ns = best(|| {
            // Each round has ports that nobody has had before.
            round += 1;
            let now = Nanos::from_secs(u64::from(round) * 1000);
            let endpoints = (0..1000).flat_map(|step| {
                (0..containers).map(move |number| container(number, 1024 + round * 1000 + step))
            });
            let claims: Vec<_> = endpoints
                .map(|internal| {
                    mappings.claim(INSIDE, UDP, internal, (&pool, &none), now).expect("a port")
                })
                .collect();
            claims.iter().for_each(|claim| mappings.release(claim.mapping, now));
            claims.len()
        });
        report(name, ns);
    }
}

fn lookups() {
    let rule = |number: u16| {
        let (first, to) = (1000 + number * 5, container(u32::from(number), 80));
        Publish::new(OUTSIDE, TCP, None, first..=first + 1, to).expect("a rule")
    };
    let published = Published::new((0..10_000).map(rule).collect()).expect("no overlap");
    let own = Ipv4Addr::new(203, 0, 113, 1);
    let ns = best(|| {
        let hits = (1000..51_000u16).filter(|port| {
            published.lookup(OUTSIDE, TCP, Endpoint::new(own, black_box(*port)), true).is_some()
        });
        assert_eq!(hits.count(), 20_000);
        50_000
    });
    report("look up a published port, 10 000 rules", ns);
}

fn main() {
    println!("cycles at {:.3} GHz", tsc_ghz().unwrap_or(f64::NAN));
    println!("{:<44}{:>10}{:>10}", "", "ns", "cycles");
    rewrites(&mut Pool::new(PoolConfig::default()).expect("memory for the pool"));
    claims();
    lookups();
}
