//! The rules alone: what a lookup, an update of one rule and compiling all of them cost, by their number.
//!
//! `cargo bench -p flows --bench rules`
//!
//! Four kinds of sets, and packets that each match some rule of theirs:
//! * *services*: for each pair of containers one port, all of one shape;
//! * *networks*: prefixes of every length and ranges of ports, which are many shapes;
//! * *blocklist*: sources only, some of them whole networks;
//! * *varied*: any combination of fields, half of them sets.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use flows::rules::{
    AddressSet, ConnState, Packet, Rule, RuleAction, RuleId, RuleMatch, RuleSet, Timeouts, Verdict,
};
use flows::{BridgeIndex, Endpoint, PortIndex, Tuple, Vid};
use pktio::wire::{Fragment, MacAddr};

const SIZES: [u32; 3] = [100, 10_000, 100_000];
const PACKETS: usize = 10_000;
/// Updates that are measured; the median is shown, and the worst.
const UPDATES: u32 = 51;

/// Numbers without end, the same in every run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(limit)).expect("below a u32")
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(65_536)).expect("a port")
    }

    /// A network in 10.0.0.0/8.
    fn network(&mut self, shortest: u32, longest: u32) -> (u32, u8) {
        let len = shortest + self.below(longest - shortest + 1);
        (0x0a00_0000 | self.below(1 << 24), u8::try_from(len).expect("a prefix length"))
    }
}

fn addresses(networks: impl IntoIterator<Item = (u32, u8)>) -> AddressSet {
    let prefix = |(bits, len)| (IpAddr::from(Ipv4Addr::from_bits(bits)), len);
    networks.into_iter().map(prefix).collect()
}

/// A rule, and the source, destination and destination port of a packet that it matches.
type Drawn = (RuleMatch, (u32, u32, u16));

/// Makes the next rule of a kind.
type Draw = fn(&mut Dice) -> Drawn;

fn service(dice: &mut Dice) -> Drawn {
    let ((from, _), (to, _), port) = (dice.network(32, 32), dice.network(32, 32), dice.port());
    let matches = RuleMatch {
        source: Some(addresses([(from, 32)])),
        destination: Some(addresses([(to, 32)])),
        protocol: Some(6),
        destination_ports: Some([(port, port)].into_iter().collect()),
        ..RuleMatch::default()
    };
    (matches, (from, to, port))
}

fn network(dice: &mut Dice) -> Drawn {
    let (from, to, port) = (dice.network(12, 32), dice.network(12, 32), dice.port());
    let last = port.saturating_add(dice.port() % 1000);
    let matches = RuleMatch {
        source: Some(addresses([from])),
        destination: Some(addresses([to])),
        protocol: Some(6),
        destination_ports: Some([(port, last)].into_iter().collect()),
        ..RuleMatch::default()
    };
    (matches, (from.0, to.0, port))
}

fn blocked(dice: &mut Dice) -> Drawn {
    let from = if dice.below(10) == 0 { dice.network(16, 24) } else { dice.network(32, 32) };
    let to = dice.network(32, 32).0;
    let matches = RuleMatch { source: Some(addresses([from])), ..RuleMatch::default() };
    (matches, (from.0, to, dice.port()))
}

fn varied(dice: &mut Dice) -> Drawn {
    let (from, to, port) = (dice.network(16, 32), dice.network(16, 32), dice.port());
    let mut often = |of: u32| dice.below(of) != 0;
    let (source, destination, ports, several) = (often(8), often(8), often(2), often(2));
    let (state, flags, ingress) = (often(2), !often(4), !often(4));
    let more = if several { 3 } else { 0 };
    let sources: Vec<_> = (0..more).map(|_| dice.network(24, 32)).chain([from]).collect();
    let matches = RuleMatch {
        ingress: ingress.then_some(PortIndex(1)),
        source: source.then(|| addresses(sources)),
        destination: (destination || !source).then(|| addresses([to])),
        protocol: Some(6),
        destination_ports: ports
            .then(|| [(port, port.saturating_add(9)), (22, 22)].into_iter().collect()),
        tcp_flags: flags.then_some(flows::rules::FlagsMatch { value: 2, mask: 0x12 }),
        states: state.then(|| [ConnState::New].into_iter().collect()),
        ..RuleMatch::default()
    };
    (matches, (from.0, to.0, port))
}

fn rule(id: u32, priority: u32, matches: RuleMatch) -> Rule {
    Rule {
        id: RuleId(id),
        priority,
        matches,
        action: RuleAction::only(Verdict::Drop),
        timeouts: Timeouts::default(),
    }
}

fn packet((from, to, port): (u32, u32, u16)) -> Packet {
    let endpoint = |bits, port| Endpoint::new(Ipv4Addr::from_bits(bits), port);
    Packet {
        ingress: PortIndex(1),
        bridge: BridgeIndex(0),
        source_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        destination_mac: MacAddr([2, 0, 0, 0, 0, 2]),
        ethertype: 0x0800,
        vid: Vid::NONE,
        tuple: Some(Tuple {
            protocol: 6,
            source: endpoint(from, 40_000),
            destination: endpoint(to, port),
        }),
        fragment: Fragment::Whole,
        tcp_flags: Some(0x02),
        icmp: None,
        dscp: 0,
        state: Some(ConnState::New),
        vni: None,
    }
}

/// Nanoseconds per lookup, with the clock's: the mean, and the slowest but one in a hundred. Each
/// packet is looked up once, so that the tables are not in the nearest cache just because of the packet
/// before.
fn lookups(set: &RuleSet, packets: &[Packet]) -> (f64, f64) {
    let cost = |packet| {
        let start = Instant::now();
        black_box(set.lookup(black_box(packet)));
        start.elapsed().as_secs_f64() * 1e9
    };
    let mut costs: Vec<f64> = packets.iter().map(cost).collect();
    costs.sort_by(f64::total_cmp);
    (costs.iter().sum::<f64>() / costs.len() as f64, costs[costs.len() * 99 / 100])
}

/// The median and the worst of some durations, in milliseconds.
fn median(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let millis = |at: usize| times[at].as_secs_f64() * 1e3;
    (millis(times.len() / 2), millis(times.len() - 1))
}

fn measure(name: &str, size: u32, draw: Draw) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let drawn: Vec<_> = (0..size).map(|_| draw(&mut dice)).collect();
    let rules: Vec<_> = (0..size)
        .zip(&drawn)
        .map(|(id, (matches, _))| rule(id, dice.below(1000), matches.clone()))
        .collect();
    let start = Instant::now();
    let set = RuleSet::compile(rules).expect("numbers of rules");
    let compiled = start.elapsed().as_secs_f64() * 1e3;
    let matching = |_| drawn[dice.below(size) as usize].1;
    let packets: Vec<_> = (0..PACKETS).map(matching).map(packet).collect();
    let strangers: Vec<_> = (0..PACKETS)
        .map(|_| packet((dice.network(32, 32).0, dice.network(32, 32).0, dice.port())))
        .collect();
    let (hit, slow) = lookups(&set, &packets);
    let (miss, slow_miss) = lookups(&set, &strangers);
    let updates = (0..UPDATES).map(|update| {
        let one = rule(size + update, 500, draw(&mut dice).0);
        let start = Instant::now();
        let next = black_box(set.with(one).expect("a number of a rule"));
        drop(black_box(next.without(RuleId(update))));
        start.elapsed() / 2
    });
    let (update, worst) = median(updates.collect());
    println!(
        "{name:<11}{size:>8}{:>8}{hit:>9.0}{slow:>9.0}{miss:>9.0}{slow_miss:>9.0}\
         {update:>10.2}{worst:>8.2}{compiled:>10.1}",
        set.tables(),
    );
}

fn main() {
    println!(
        "{:<11}{:>8}{:>8}{:>9}{:>9}{:>9}{:>9}{:>10}{:>8}{:>10}",
        "rules", "", "tables", "hit ns", "99 %", "miss ns", "99 %", "update ms", "worst", "all ms"
    );
    let kinds: [(&str, Draw); 4] =
        [("services", service), ("networks", network), ("blocklist", blocked), ("varied", varied)];
    for (name, draw) in kinds {
        for size in SIZES {
            measure(name, size, draw);
        }
    }
}
