//! The session table alone: cycles per packet and per new session.
//!
//! `cargo bench -p flows --bench sessions`
//!
//! Sessions are translated ones; packets are of random sessions and directions, in bursts of 32, as
//! the pipeline handles them. Their keys are read in order, as from received frames.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use flows::session::{
    Direction, Inserted, Key, NewSession, Packet, Segment, SessionRef, Sessions, TcpPolicy,
    Timeouts,
};
use flows::{Endpoint, Seconds, Tuple, Zone};
use pktio::wire::field::{protocol, tcp};

/// Packets measured per second of the table's clock, and seconds.
const PACKETS: usize = 1 << 20;
const ROUNDS: u32 = 5;
/// Packets that are timed together: less than a time slice, so that what other processes add falls
/// on few.
const SLICE: usize = 2048;
const BURST: usize = 32;

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

/// A packet to be: its key, and what the flow cache would know of it.
#[derive(Clone, Copy)]
struct Arrival {
    key: Key,
    session: SessionRef,
    direction: Direction,
}

struct Rig {
    sessions: Sessions,
    traffic: Vec<Arrival>,
    packet: Packet,
    seconds: u32,
}

fn endpoint(network: u32, host: u32, port: u32) -> Endpoint {
    let port = u16::try_from(port).expect("below 2^16");
    Endpoint::new(Ipv4Addr::from(network << 24 | host), port)
}

/// A session of a container with a server, translated to one of the external addresses.
fn session(number: u32, protocol: u8, packet: Packet) -> NewSession {
    let container = endpoint(10, number >> 6, 1024 + (number & 0x3f));
    let server = endpoint(93, number.wrapping_mul(2_654_435_761) >> 12, 443);
    let external = endpoint(203, number / 60_000, 1024 + number % 60_000);
    let initiator = Tuple { protocol, source: container, destination: server };
    let responder = Tuple { protocol, source: server, destination: external };
    NewSession {
        initiator: Key::new(Zone(1), initiator),
        responder: Key::new(Zone(2), responder),
        entrance: None,
        packet,
    }
}

fn segment(flags: u8, sequence: u32, acknowledgment: u32) -> Packet {
    let segment = Segment { sequence, acknowledgment, flags, window: 1000, length: 0, scale: None };
    Packet { bytes: 64, segment: Some(segment), is_equivocal: false }
}

impl Rig {
    fn new(count: u32, protocol: u8) -> Self {
        let is_tcp = protocol == protocol::TCP;
        let packet = if is_tcp {
            segment(tcp::ACK_FLAG, 1, 1)
        } else {
            Packet { bytes: 64, segment: None, is_equivocal: false }
        };
        let syn = segment(tcp::SYN, 0, 0);
        let first = if is_tcp { syn } else { packet };
        let sessions = Sessions::new(1 << 20, 0x5eed);
        let (now, policy) = (Seconds(0), TcpPolicy::default());
        let begin = |number| {
            let new = session(number, protocol, first);
            let inserted = sessions.insert(&new, now, policy, |_| ());
            let Ok(Inserted::New(reference)) = inserted else {
                unreachable!("the table has room and the sessions differ: {inserted:?}")
            };
            if is_tcp {
                let answer = segment(tcp::SYN | tcp::ACK_FLAG, 0, 1);
                sessions.track(reference, Direction::Reply, &answer, now, policy);
            }
            reference
        };
        let references: Vec<_> = (0..count).map(begin).collect();
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let arrival = |_| {
            let number = dice.below(count);
            let new = session(number, protocol, first);
            let session = references[number as usize];
            if dice.below(2) == 0 {
                Arrival { key: new.initiator, session, direction: Direction::Original }
            } else {
                Arrival { key: new.responder, session, direction: Direction::Reply }
            }
        };
        // No more than needed, so that reading it costs little.
        let circle = PACKETS.min(count.next_power_of_two() as usize * 4);
        let traffic = (0..circle).map(arrival).collect();
        Self { sessions, traffic, packet, seconds: 0 }
    }

    /// Nanoseconds per packet.
    fn measure(&mut self, work: impl Fn(&Self, &[Arrival], Seconds)) -> f64 {
        let mut slices = Vec::new();
        for _ in 0..ROUNDS {
            // A round is shorter than a second, so a session is refreshed once per round.
            self.seconds += 1;
            for slice in self.traffic.chunks(SLICE).cycle().take(PACKETS / SLICE) {
                let start = Instant::now();
                for burst in slice.chunks(BURST) {
                    work(self, burst, Seconds(self.seconds));
                }
                slices.push(start.elapsed().as_secs_f64() * 1e9 / slice.len() as f64);
            }
        }
        quartile(slices)
    }

    fn track(&self, session: SessionRef, direction: Direction, now: Seconds) {
        let policy = TcpPolicy::default();
        black_box(self.sessions.track(session, direction, &self.packet, now, policy));
    }
}

/// The lower quartile: what it costs when nobody else runs.
fn quartile(mut slices: Vec<f64>) -> f64 {
    slices.sort_by(f64::total_cmp);
    slices[slices.len() / 4]
}

/// Nanoseconds per insertion and per end of a session, in a table with `count` of them.
fn turnover(count: u32) -> [f64; 2] {
    const NEW: u32 = 1 << 11;
    let sessions = Sessions::new(1 << 20, 0x5eed);
    let packet = Packet { bytes: 64, segment: None, is_equivocal: false };
    let insert = |number| {
        let new = session(number, protocol::UDP, packet);
        sessions.insert(&new, Seconds(0), TcpPolicy::default(), |_| ())
    };
    let mut references: Vec<_> = (0..count).map(insert).collect();
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..200 {
        references.clear();
        let first = count + round * NEW;
        let start = Instant::now();
        references.extend((first..first + NEW).map(insert));
        let inserted = Instant::now();
        for reference in &references {
            if let Ok(Inserted::New(session)) = reference {
                black_box(sessions.end(*session, Seconds(0)));
            }
        }
        for (times, time) in times.iter_mut().zip([inserted - start, inserted.elapsed()]) {
            times.push(time.as_secs_f64() * 1e9 / f64::from(NEW));
        }
    }
    times.map(quartile)
}

/// Nanoseconds per record that a sweep looks at.
fn sweep(rig: &Rig) -> f64 {
    const RECORDS: u32 = 256;
    let now = Seconds(rig.seconds);
    let mut from = 0;
    let slice = |_| {
        let start = Instant::now();
        from = rig.sessions.expire(now, from, RECORDS, &Timeouts::default(), |_| ());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(RECORDS)
    };
    quartile((0..4096).map(slice).collect())
}

/// The frequency of the time stamp counter in GHz, as the kernel calibrated it.
fn tsc_ghz() -> Option<f64> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    Some(line.rsplit(':').next()?.trim().parse::<f64>().ok()? / 1000.0)
}

/// What is done with a burst.
const CASES: [fn(&Rig, &[Arrival], Seconds); 4] = [
    |rig, burst, _| {
        for arrival in burst {
            black_box(rig.sessions.lookup(&arrival.key));
        }
    },
    |rig, burst, now| {
        for arrival in burst {
            rig.track(arrival.session, arrival.direction, now);
        }
    },
    |rig, burst, now| {
        for arrival in burst {
            if let Some(found) = rig.sessions.lookup(&arrival.key) {
                rig.track(found.session, found.direction, now);
            }
        }
    },
    |rig, burst, now| {
        for arrival in burst {
            rig.sessions.warm(arrival.session, arrival.direction);
        }
        for arrival in burst {
            rig.track(arrival.session, arrival.direction, now);
        }
    },
];

fn main() {
    let ghz = tsc_ghz().unwrap_or(f64::NAN);
    println!("cycles per packet, at {ghz:.3} GHz");
    println!("{:<24}{:>10}{:>10}{:>10}{:>10}", "", "UDP 1000", "UDP 1M", "TCP 1000", "TCP 1M");
    let names = ["look up", "track", "both", "track, as a burst", "sweep"];
    let mut rows = names.map(|name| (name, Vec::new()));
    for protocol in [protocol::UDP, protocol::TCP] {
        for count in [1000, 1_000_000] {
            let mut rig = Rig::new(count, protocol);
            for (row, case) in rows.iter_mut().zip(CASES) {
                row.1.push(rig.measure(case) * ghz);
            }
            rows[CASES.len()].1.push(sweep(&rig) * ghz);
        }
    }
    for (name, cycles) in rows {
        let columns: String = cycles.iter().map(|cycles| format!("{cycles:>10.1}")).collect();
        println!("{name:<24}{columns}");
    }
    for count in [1000, 900_000] {
        let [insert, end] = turnover(count).map(|ns| ns * ghz);
        println!("among {count}: insert {insert:.0} cycles, end {end:.0} cycles");
    }
}
