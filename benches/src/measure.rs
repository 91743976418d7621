//! What is measured of every subject: the catalogue, and how each figure comes about.
//!
//! Each measure also yields what the switch's own threads and the whole machine worked for it. The whole machine's
//! time includes the ends'; it is what a user pays, and the only fair figure where the kernel is the switch.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use hdrhistogram::Histogram;
use netlab::cpu::MachineTime;
use netlab::load::{self, IMIX, Load, OVERHEAD_BYTES};
use netlab::tcp::{self, Direction};
use netlab::{Cores, LabError, rr, udp};

use crate::record::Figure;
use crate::subject::{Family, INTERFACE, Labour, MTU, Rig};

/// How measurements are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Of each.
    pub(crate) duration: Duration,
    /// Where sender and receiver run.
    pub(crate) cores: Cores,
}

/// Something that can be measured of a rig.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    /// By which it is chosen.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    kind: Kind,
    /// Of the containers, which the frames need.
    pub(crate) mtu: u32,
    /// It is taken if nothing is asked for by name.
    pub(crate) is_default: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Stream {
        streams: usize,
        direction: Direction,
    },
    Frames {
        flows: u32,
        sizes: &'static [u16],
    },
    Segments,
    /// One way, amid frames at a rate that all of them bear.
    Latency,
    Exchange,
    ExchangeAmid,
    Connections,
    Sessions,
}

impl Measure {
    /// Whether it says anything about a family, and its frames fit.
    pub(crate) fn is_for(&self, family: Family) -> bool {
        let longest = self.mtu - family.overhead_bytes() + ETHERNET_BYTES;
        match self.kind {
            Kind::Sessions => family == Family::Nat,
            Kind::Frames { sizes, .. } => sizes.iter().all(|size| u32::from(*size) <= longest),
            Kind::ExchangeAmid => IMIX.iter().all(|size| u32::from(*size) <= longest),
            _ => true,
        }
    }

    /// Takes it, and what it cost.
    pub(crate) fn take(&self, rig: &Rig, setting: Setting) -> Result<Vec<Figure>, Box<dyn Error>> {
        match self.kind {
            Kind::Stream { streams, direction } => stream(rig, setting, streams, direction),
            Kind::Frames { flows, sizes } => frames(rig, setting, flows, sizes),
            Kind::Segments => segments(rig, setting),
            Kind::Latency => latency(rig, setting),
            Kind::Exchange => exchange(rig, setting, "Request/response latency"),
            Kind::ExchangeAmid => exchange_amid(rig, setting),
            Kind::Connections => connections(rig, setting),
            Kind::Sessions => sessions(rig, setting),
        }
    }
}

const fn measure(name: &'static str, about: &'static str, is_default: bool, kind: Kind) -> Measure {
    Measure { name, about, kind, mtu: MTU, is_default }
}

const fn streams(streams: usize, direction: Direction) -> Kind {
    Kind::Stream { streams, direction }
}

const fn one_size(sizes: &'static [u16]) -> Kind {
    Kind::Frames { flows: 1, sizes }
}

const fn flows(flows: u32) -> Kind {
    Kind::Frames { flows, sizes: &[64] }
}

/// All measures. The one that sets up sessions comes first, before others have made some.
pub(crate) const CATALOGUE: &[Measure] = &[
    measure(
        "sessions",
        "NAT sessions set up, each by one datagram of its own source port",
        true,
        Kind::Sessions,
    ),
    measure("tcp", "TCP, one stream", true, streams(1, Direction::There)),
    measure(
        "tcp-back",
        "TCP, one stream against the connection",
        true,
        streams(1, Direction::Back),
    ),
    measure("tcp-both", "TCP, one connection both ways", false, streams(1, Direction::Both)),
    measure("tcp4", "TCP, 4 streams", true, streams(4, Direction::There)),
    measure(
        "tcp4-back",
        "TCP, 4 streams against the connections",
        false,
        streams(4, Direction::Back),
    ),
    measure("tcp64", "TCP, 64 streams", true, streams(64, Direction::There)),
    measure(
        "tcp64-back",
        "TCP, 64 streams against the connections",
        false,
        streams(64, Direction::Back),
    ),
    measure("udp64", "UDP, 64-byte frames", true, one_size(&[64])),
    measure("udp128", "UDP, 128-byte frames", false, one_size(&[128])),
    measure("udp256", "UDP, 256-byte frames", false, one_size(&[256])),
    measure("udp512", "UDP, 512-byte frames", true, one_size(&[512])),
    measure("udp1024", "UDP, 1024-byte frames", false, one_size(&[1024])),
    measure("udp1280", "UDP, 1280-byte frames", false, one_size(&[1280])),
    measure("udp1518", "UDP, 1518-byte frames", true, one_size(&[1518])),
    Measure { mtu: 9000, ..measure("udp9000", "UDP, 9000-byte frames", false, one_size(&[9000])) },
    measure("imix", "UDP, 7 frames of 64 bytes, 4 of 594, 1 of 1518", true, one_size(&IMIX)),
    measure("flows1k", "UDP, 64-byte frames of 1000 flows", true, flows(1000)),
    measure("flows50k", "UDP, 64-byte frames of 50 000 flows", true, flows(50_000)),
    measure(
        "udp-gso",
        "UDP, 40 segments of 1400 bytes in one call (UDP_SEGMENT)",
        true,
        Kind::Segments,
    ),
    measure(
        "latency",
        "UDP, one way, 20 000 64-byte frames a second, each from when it was due",
        true,
        Kind::Latency,
    ),
    measure("rr", "TCP request/response, one byte", true, Kind::Exchange),
    measure(
        "rr-traffic",
        "TCP request/response, one byte, while 20 000 datagrams of IMIX pass each second",
        true,
        Kind::ExchangeAmid,
    ),
    measure("crr", "TCP connect, request, response", true, Kind::Connections),
];

/// A measure of the catalogue.
pub(crate) fn by_name(name: &str) -> Option<&'static Measure> {
    CATALOGUE.iter().find(|measure| measure.name == name)
}

/// Of a frame, what is not the packet: header and check sequence.
const ETHERNET_BYTES: u32 = 14 + 4;

/// Frames per second where it is not the most of them that matters: all subjects bear so many.
const PER_SECOND: f64 = 20_000.0;

/// The metric of what all cores worked.
pub(crate) const MACHINE_CPU: &str = "machine CPU";

/// What a smoke test takes.
pub(crate) const QUICK: [&str; 3] = ["tcp", "udp64", "rr"];

/// Who is watched at work, and what they had done when it began.
struct Watch<'a> {
    labour: &'a Labour,
    switch: Duration,
    machine: MachineTime,
}

impl<'a> Watch<'a> {
    fn begin(labour: &'a Labour) -> Result<Self, LabError> {
        Ok(Self { labour, switch: labour.time()?, machine: MachineTime::now()? })
    }

    fn end(&self) -> Result<Work, LabError> {
        let machine = MachineTime::now()?.since(&self.machine).busy;
        Ok(Work { switch: self.labour.time()?.saturating_sub(self.switch), machine })
    }
}

/// What was at work while something was measured.
struct Work {
    switch: Duration,
    machine: Duration,
}

/// Does something, and notes what worked for it.
fn watched<T>(
    rig: &Rig,
    work: impl FnOnce() -> Result<T, LabError>,
) -> Result<(T, Work), LabError> {
    let watch = Watch::begin(&rig.labour)?;
    let done = work()?;
    Ok((done, watch.end()?))
}

/// Sends a load, and notes what worked until the last frame was sent: who polls works on while stragglers are waited for.
fn sent(rig: &Rig, load: &Load) -> Result<(load::Report, Work), LabError> {
    let watch = Watch::begin(&rig.labour)?;
    let (report, work) = load::send_then(&rig.path(), load, || watch.end())?;
    Ok((report, work?))
}

impl Work {
    /// Processor time for so many of something; for none of it there is no figure.
    fn per(&self, many: f64, unit: &str) -> [Figure; 2] {
        let seconds =
            |time: Duration| if many > 0.0 { time.as_secs_f64() / many } else { f64::NAN };
        let unit = format!("CPU s/{unit}");
        [
            Figure::lower("switch CPU", &unit, seconds(self.switch)),
            Figure::lower(MACHINE_CPU, &unit, seconds(self.machine)),
        ]
    }
}

fn stream(
    rig: &Rig,
    setting: Setting,
    streams: usize,
    direction: Direction,
) -> Result<Vec<Figure>, Box<dyn Error>> {
    let Setting { duration, cores } = setting;
    let options = tcp::Options { streams, duration, direction, cores, progress: None };
    let (report, work) = watched(rig, || tcp::stream(&rig.path(), &options))?;
    let gbit = report.gbit_per_s();
    let throughput = Figure::higher("throughput", "Gbit/s", gbit);
    let throughput = match (direction, f64::from(u32::try_from(streams)?)) {
        (Direction::There, streams) => throughput.at("TCP by streams", "streams", streams),
        _ => throughput,
    };
    let all = gbit * report.elapsed.as_secs_f64();
    let cpu = work.per(all, "Gbit").map(|cpu| match &throughput.spot {
        Some(spot) => {
            let drawing = format!("TCP: {} per Gbit", cpu.metric.name);
            cpu.at(&drawing, &spot.axis, spot.at)
        }
        None => cpu,
    });
    Ok([vec![throughput], cpu.to_vec()].concat())
}

/// The shortest frames from the near to the far end of a rig, as fast as they go.
pub(crate) fn load_of<'a>(rig: &Rig, setting: Setting) -> Load<'a> {
    let load = Load::new(INTERFACE, rig.next_hop, rig.addresses[0]);
    Load { duration: setting.duration, cores: setting.cores, ..load }
}

fn frames(
    rig: &Rig,
    setting: Setting,
    flows: u32,
    sizes: &'static [u16],
) -> Result<Vec<Figure>, Box<dyn Error>> {
    let longest = sizes.iter().copied().max().unwrap_or(0);
    let mtu = rig.mtu()?;
    if u32::from(longest) > mtu + ETHERNET_BYTES {
        return Err(
            format!("frames of {longest} bytes are longer than the MTU of {mtu} allows").into()
        );
    }
    let load = Load { flows, frame_bytes: sizes, ..load_of(rig, setting) };
    let (report, work) = sent(rig, &load)?;
    let (mpps, loss) = (report.received_per_second() / 1e6, report.loss() * 100.0);
    let packets = Figure::higher("packets", "Mpps", mpps);
    let packets = match sizes {
        [64] => packets.at("UDP 64 B by flows", "flows", f64::from(flows)),
        _ => packets,
    };
    let throughput = Figure::higher("throughput", "Gbit/s", report.gbit_per_s());
    let throughput = match sizes {
        [size] if flows == 1 => throughput.at("UDP by frame size", "bytes", f64::from(*size)),
        _ => throughput,
    };
    let loss = Figure::lower("loss", "% of what was sent", loss);
    let all = mpps * report.receiving.as_secs_f64();
    let cpu = work.per(all, "Mpackets").map(|cpu| match sizes {
        [64] => {
            let drawing = format!("UDP 64 B: {} by flows", cpu.metric.name);
            cpu.at(&drawing, "flows", f64::from(flows))
        }
        _ => cpu,
    });
    Ok([vec![packets, throughput, loss], cpu.to_vec()].concat())
}

fn segments(rig: &Rig, setting: Setting) -> Result<Vec<Figure>, Box<dyn Error>> {
    const PAYLOAD_BYTES: u16 = 1400;
    let Setting { duration, cores } = setting;
    let payload_bytes = usize::from(PAYLOAD_BYTES);
    let options = udp::Options { duration, payload_bytes, segments: 40, cores, progress: None };
    let watch = Watch::begin(&rig.labour)?;
    let (report, work) = udp::flood_then(&rig.path(), &options, || watch.end())?;
    let frame_bits = f64::from(PAYLOAD_BYTES + OVERHEAD_BYTES) * 8.0;
    let gbit = report.received_per_second() * frame_bits / 1e9;
    let figures = vec![
        Figure::higher("throughput", "Gbit/s", gbit),
        Figure::lower("loss", "% of what was sent", report.loss() * 100.0),
    ];
    let all = gbit * report.receiving.as_secs_f64();
    Ok([figures, work?.per(all, "Gbit").to_vec()].concat())
}

/// The percentiles that are drawn, by how many of a hundred requests were slower: the axis of a latency plot.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

fn latencies(nanos: &Histogram<u64>, drawing: &str) -> Vec<Figure> {
    let figure = |(name, percent): (&str, f64)| {
        let micros = Duration::from_nanos(nanos.value_at_percentile(percent)).as_secs_f64() * 1e6;
        // One in two is 2, one in a thousand is 1000: a logarithmic axis of rarity.
        let rarity = 100.0 / (100.0 - percent);
        Figure::lower(name, "µs", micros).at(drawing, "slowest one in", rarity)
    };
    PERCENTILES.map(figure).to_vec()
}

/// Each frame's way, at a rate that is the same for every subject. What the sender was held up by counts: no coordinated
/// omission.
fn latency(rig: &Rig, setting: Setting) -> Result<Vec<Figure>, Box<dyn Error>> {
    let load = Load { rate: Some(PER_SECOND), ..load_of(rig, setting) };
    let (report, work) = sent(rig, &load)?;
    let mut figures = latencies(&report.latency_ns, "One-way latency at 20 000 frames a second");
    figures.push(Figure::lower("loss", "% of what was sent", report.loss() * 100.0));
    let all = report.received_per_second() / 1e6 * report.receiving.as_secs_f64();
    Ok([figures, work.per(all, "Mpackets").to_vec()].concat())
}

/// One exchange after the other; `drawing` is where their percentiles are drawn.
fn exchange(rig: &Rig, setting: Setting, drawing: &str) -> Result<Vec<Figure>, Box<dyn Error>> {
    let Setting { duration, cores } = setting;
    let (report, work) = watched(rig, || rr::tcp(&rig.path(), &rr::Options { duration, cores }))?;
    let rate = Figure::higher("exchanges", "k/s", report.per_second() / 1e3);
    let all = report.per_second() / 1e6 * report.elapsed.as_secs_f64();
    let latencies = latencies(&report.latency_ns, drawing);
    Ok([vec![rate], latencies, work.per(all, "Mexchanges").to_vec()].concat())
}

/// What passes meanwhile is the same for every subject, and less than any of them is kept busy by.
fn exchange_amid(rig: &Rig, setting: Setting) -> Result<Vec<Figure>, Box<dyn Error>> {
    let load = Load { rate: Some(PER_SECOND), frame_bytes: &IMIX, ..load_of(rig, setting) };
    let path = rig.path();
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| load::send(&path, &load));
        let figures = exchange(rig, setting, "Request/response latency amid traffic");
        let traffic = traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let loss = Figure::lower("loss of the traffic", "%", traffic.loss() * 100.0);
        Ok([figures?, vec![loss]].concat())
    })
}

fn connections(rig: &Rig, setting: Setting) -> Result<Vec<Figure>, Box<dyn Error>> {
    let Setting { duration, cores } = setting;
    let (report, work) =
        watched(rig, || rr::connect(&rig.path(), &rr::Options { duration, cores }))?;
    let rate = Figure::higher("connections", "k/s", report.per_second() / 1e3);
    let all = report.per_second() / 1e6 * report.elapsed.as_secs_f64();
    let latencies = latencies(&report.latency_ns, "Connection latency");
    Ok([vec![rate], latencies, work.per(all, "Mconnections").to_vec()].concat())
}

/// Every datagram has a source port or address of its own, so each needs a session and a mapping. Few are under way at
/// a time, so that none is lost and the rate is that of setting up, not of dropping. Some come before: a table that was
/// never touched, or a cache of the kernel's allocator that is empty, is the cost of the first minute and not of a
/// session.
fn sessions(rig: &Rig, setting: Setting) -> Result<Vec<Figure>, Box<dyn Error>> {
    const BEFORE: u32 = 15_000;
    const SESSIONS: u32 = 30_000;
    let load = |source, flows: u32| Load {
        source,
        flows,
        frames: Some(u64::from(flows)),
        under_way: Some(512),
        duration: Duration::from_secs(20),
        ..load_of(rig, setting)
    };
    let first = rig.addresses[0];
    // The addresses of a load follow each other, 15 000 flows each.
    let next = Ipv4Addr::from(u32::from(first) + 1);
    load::send(&rig.path(), &load(first, BEFORE))?;
    let (report, work) = sent(rig, &load(next, SESSIONS))?;
    let figures = vec![
        Figure::higher("sessions", "k/s", report.received_per_second() / 1e3),
        Figure::lower("loss", "% of what was sent", report.loss() * 100.0),
    ];
    Ok([figures, work.per(f64::from(SESSIONS) / 1e6, "Msessions").to_vec()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_a_name_of_its_own_and_the_quick_ones_exist() {
        let names: std::collections::BTreeSet<_> =
            CATALOGUE.iter().map(|measure| measure.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        assert!(QUICK.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn where_nothing_arrived_nothing_is_said_of_its_cost() {
        let work = Work { switch: Duration::from_secs(1), machine: Duration::from_secs(2) };
        assert!(work.per(0.0, "Gbit").iter().all(|figure| figure.value.is_nan()));
        assert_eq!(work.per(4.0, "Gbit").map(|figure| figure.value), [0.25, 0.5]);
    }

    #[test]
    fn sessions_are_measured_of_translators_only() {
        let (sessions, tcp) = (by_name("sessions").unwrap(), by_name("tcp").unwrap());
        assert!(sessions.is_for(Family::Nat) && !sessions.is_for(Family::Bridging));
        assert!(tcp.is_for(Family::Nat) && tcp.is_for(Family::Bridging));
    }

    #[test]
    fn what_does_not_fit_into_a_tunnel_is_not_measured_of_tunnels() {
        let of = |name: &str, family| by_name(name).unwrap().is_for(family);
        for name in ["udp1518", "udp9000", "imix", "rr-traffic"] {
            assert!(of(name, Family::Bridging) && !of(name, Family::Overlay), "{name}");
        }
        for name in ["udp64", "udp1280", "flows1k", "tcp", "rr", "latency"] {
            assert!(of(name, Family::Overlay), "{name}");
        }
    }
}
