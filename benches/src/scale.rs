//! What more of something costs this switch: time to set up and memory per item, and per packet when it is there.
//!
//! Each dimension grows by tenfold steps on a fresh switch. After each step a load is sent, of one flow between two
//! ports, and of all flows where flows are what grows; its cost is the worker's processor time per frame. Then bytes go to
//! and fro between the two, and the median of these round trips counts.
//!
//! Each port leads to a container of its own, as on a host. A thousand interfaces in one container are something else: for
//! each group that a frame is for, its kernel goes over the routes of all interfaces, so that one frame to everybody costs
//! a million steps, in the worker that hands it over. And these containers are silent (`silent_container`).

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ctl::response::BridgeInfo;
use ctl::{Batch, Mutation, Named, NetworkCreate, Query, RouteAdd};
use hostnet::Interface;
use netlab::Container;
use netlab::load::{self, Load};
use netlab::raw::RawSocket;
use netlab::rr;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vswitch::worker::PollMode;

use crate::measure::{Setting, load_of};
use crate::record::{Figure, Record};
use crate::soak::memory_kib;
use crate::stations::{frame, send_all, station};
use crate::subject::{INTERFACE, Rig, Switch, Wish, catalogue, mac, translator, veth_to};

/// The time in which a frame of each flow is sent, and a second one, at the rates of this switch.
const TURNS_OF_A_FLOW: Duration = Duration::from_micros(6);

/// Networks that one request makes: every request is compiled, and looks at all networks that are there.
const NETWORKS_AT_ONCE: usize = 100;
/// That of the first network; the others' follow.
const FIRST_SUBNET: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);

/// Adds items, and returns how long that took: without waiting whether more arrives.
type Grow = fn(&mut Bench, u32, u32) -> Result<Duration, Box<dyn Error>>;

/// Something of which there can be many.
struct Dimension {
    name: &'static str,
    about: &'static str,
    /// As many as a full run has.
    most: u32,
    start: fn() -> Result<Bench, Box<dyn Error>>,
    /// Adds the items from the first number up to the second.
    grow: Grow,
    /// The load's flows, of so many items.
    flows: fn(u32) -> u32,
}

const DIMENSIONS: [Dimension; 6] = [
    Dimension {
        name: "ports",
        about: "TAP ports, each into a container of its own, on one bridge",
        most: 1000,
        start: bridged,
        grow: add_ports,
        flows: |_| 1,
    },
    Dimension {
        name: "veths",
        about: "veths in gso mode, each into a container of its own, on one bridge",
        most: 1000,
        start: bridged,
        grow: add_veths,
        flows: |_| 1,
    },
    Dimension {
        name: "bridges",
        about: "bridges without ports",
        most: 10_000,
        start: bridged,
        grow: add_bridges,
        flows: |_| 1,
    },
    Dimension {
        name: "networks",
        about: "networks without containers, each with a gateway and masqueraded to one uplink, made by the hundred",
        most: 10_000,
        start: bridged,
        grow: add_networks,
        flows: |_| 1,
    },
    Dimension {
        name: "stations",
        about: "MAC addresses behind one port",
        most: 100_000,
        start: bridged,
        grow: add_stations,
        flows: |_| 1,
    },
    Dimension {
        name: "sessions",
        about: "masqueraded UDP sessions; the load uses all of them",
        most: 1_000_000,
        start: translated,
        grow: add_sessions,
        flows: |sessions| sessions,
    },
];

/// A switch between two containers, and those that were added.
struct Bench {
    rig: Rig,
    control: Switch,
    guests: Vec<Container>,
}

fn bench(rig: Rig) -> Result<Bench, Box<dyn Error>> {
    let control = Switch::connect(rig.control().ok_or("the rig has no switch of ours")?)?;
    Ok(Bench { rig, control, guests: Vec::new() })
}

fn bridged() -> Result<Bench, Box<dyn Error>> {
    let tap = catalogue().into_iter().find(|subject| subject.name == "tap");
    bench(tap.ok_or("there is no subject `tap`")?.start(&Wish::USUAL)?)
}

/// With as many addresses outside as a million mappings need. All that one inside has is behind one of them, which is chosen by
/// a hash, and with the fifth the ports of one would not do: of 67 inside no five find the same of these, but in one run of three
/// hundred.
fn translated() -> Result<Bench, Box<dyn Error>> {
    bench(translator(&Wish::USUAL, PollMode::Adaptive, Some("192.0.2.10-192.0.2.254".parse()?))?)
}

/// Grows every dimension that is asked for, up to a share of what a full run has, and reports.
pub(crate) fn run(
    only: &[String],
    divisor: u32,
    setting: Setting,
) -> Result<Record, Box<dyn Error>> {
    if let Some(unknown) = only.iter().find(|name| DIMENSIONS.iter().all(|one| one.name != **name))
    {
        let names = DIMENSIONS.map(|dimension| dimension.name).join(", ");
        return Err(format!("there is no dimension {unknown:?}; use {names}").into());
    }
    hostnet::sandbox::enter()?;
    raise_descriptors()?;
    let mut record = Record::begin_alone("one adaptive worker, TAP ports");
    for dimension in &DIMENSIONS {
        if only.is_empty() || only.iter().any(|name| name == dimension.name) {
            let outcome = grow(&mut record, dimension, dimension.most / divisor, setting);
            outcome.unwrap_or_else(|error| {
                record.fail("vswitchd", dimension.name, &error.to_string())
            });
        }
    }
    Ok(record)
}

/// A port and its container take a few descriptors, and the usual limit is for programs that use select(2).
fn raise_descriptors() -> Result<(), Box<dyn Error>> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

fn grow(
    record: &mut Record,
    dimension: &Dimension,
    most: u32,
    setting: Setting,
) -> Result<(), Box<dyn Error>> {
    let mut bench = (dimension.start)()?;
    cost(&bench, 1, setting)?;
    let mut sheet = Sheet { record, dimension, count: 0 };
    sheet.enter(Figure::lower("cost", "ns/frame", cost(&bench, 1, setting)?));
    sheet.enter(round_trip(&bench, setting)?);
    for count in steps(most) {
        eprintln!("{}: {count} of {most}", dimension.name);
        rehearse(&bench, (dimension.flows)(count), setting)?;
        let before = memory_kib()?;
        let seconds = (dimension.grow)(&mut bench, sheet.count, count)?.as_secs_f64();
        let grown = f64::from(u32::try_from(memory_kib()?.saturating_sub(before))?) * 1024.0;
        let added = f64::from(count - sheet.count);
        sheet.count = count;
        sheet.enter(Figure::lower(
            "cost",
            "ns/frame",
            cost(&bench, (dimension.flows)(count), setting)?,
        ));
        sheet.enter(round_trip(&bench, setting)?);
        sheet.enter(Figure::lower("set-up", "µs/item", seconds / added * 1e6));
        sheet.enter(Figure::lower("memory", "bytes/item", grown / added));
    }
    Ok(())
}

/// 10, 100, ... and the most.
fn steps(most: u32) -> Vec<u32> {
    let tens = std::iter::successors(Some(10u32), |step| step.checked_mul(10));
    tens.take_while(|step| *step < most).chain([most]).collect()
}

/// Where the figures of a dimension go.
struct Sheet<'a> {
    record: &'a mut Record,
    dimension: &'a Dimension,
    count: u32,
}

impl Sheet<'_> {
    fn enter(&mut self, figure: Figure) {
        let Dimension { name, about, .. } = self.dimension;
        let drawing = format!("{} by {name}", figure.metric.name);
        let figure = figure.at(&drawing, name, f64::from(self.count.max(1)));
        let measure = format!("{name}-{}", self.count);
        let about = format!("{} {name}: {about}", self.count);
        self.record.enter("vswitchd", (&measure, &about), 0, figure);
    }
}

/// Makes the frames of a load and sends none: what the sender's memory takes is there before, and is nobody else's.
fn rehearse(bench: &Bench, flows: u32, setting: Setting) -> Result<(), Box<dyn Error>> {
    let rig = &bench.rig;
    let load = Load { flows, frames: Some(0), ..load_of(rig, setting) };
    load::send(&rig.path(), &load)?;
    Ok(())
}

/// How long one thing after the other takes.
fn each<T>(
    things: impl IntoIterator<Item = T>,
    add: impl FnMut(T) -> Result<(), Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    things.into_iter().try_for_each(add)?;
    Ok(begun.elapsed())
}

/// Nanoseconds of the worker's time for a frame. It is sent for so long that each flow has its turns, however many there are.
fn cost(bench: &Bench, flows: u32, setting: Setting) -> Result<f64, Box<dyn Error>> {
    let rig = &bench.rig;
    let duration = setting.duration.max(TURNS_OF_A_FLOW * flows);
    let load = Load { flows, duration, ..load_of(rig, setting) };
    let labour = &rig.labour;
    let before = labour.time()?;
    let (report, after) = load::send_then(&rig.path(), &load, || labour.time())?;
    let used = after?.saturating_sub(before).as_secs_f64() * 1e9;
    Ok(used / f64::from(u32::try_from(report.received.max(1))?))
}

/// What an exchange of one byte takes between the two containers, mostly.
fn round_trip(bench: &Bench, setting: Setting) -> Result<Figure, Box<dyn Error>> {
    let Setting { duration, cores } = setting;
    let report = rr::tcp(&bench.rig.path(), &rr::Options { duration, cores })?;
    let micros = report.percentile(50.0).as_secs_f64() * 1e6;
    Ok(Figure::lower("round trip", "µs", micros))
}

/// A container that sends nothing that it is not asked for: without IPv6, as the switch itself sees to on a network of IPv4. What
/// a thousand containers tell each other when they begin, and some minutes long, is no cost of silent ports.
fn silent_container() -> Result<Container, Box<dyn Error>> {
    let guest = Container::new()?;
    // A kernel without IPv6 has no such setting.
    let _ = guest.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    Ok(guest)
}

fn add_ports(bench: &mut Bench, from: u32, to: u32) -> Result<Duration, Box<dyn Error>> {
    let Bench { control, guests, .. } = bench;
    let first = guests.len();
    for _ in from..to {
        guests.push(silent_container()?);
    }
    each((from..to).zip(&guests[first..]), |(number, guest)| {
        control.guest(&format!("guest{number}"), "br0", guest)
    })
}

/// The veths are there before: to make them is the kernel's.
fn add_veths(bench: &mut Bench, from: u32, to: u32) -> Result<Duration, Box<dyn Error>> {
    let Bench { control, guests, .. } = bench;
    let mut devices = Vec::new();
    for _ in from..to {
        let guest = silent_container()?;
        devices.push(veth_to(&guest, INTERFACE)?);
        guest.configure(INTERFACE, &Interface::default())?;
        guests.push(guest);
    }
    each((from..to).zip(&devices), |(number, device)| {
        control.veth(&format!("guest{number}"), "br0", device)
    })
}

fn add_bridges(bench: &mut Bench, from: u32, to: u32) -> Result<Duration, Box<dyn Error>> {
    each(from..to, |number| bench.control.bridge(&format!("net{number}"), 1500, &[]))
}

fn add_networks(bench: &mut Bench, from: u32, to: u32) -> Result<Duration, Box<dyn Error>> {
    if from == 0 {
        bench.control.bridge("up", 1500, &["192.0.2.1/24".parse()?])?;
        let (to, on) = ("default".parse()?, "up".parse()?);
        let route = RouteAdd { to, on, via: vec!["192.0.2.254".parse()?] };
        bench.control.change(Mutation::RouteAdd(route))?;
    }
    each((from..to).step_by(NETWORKS_AT_ONCE), |first| {
        let numbers = (first..to).take(NETWORKS_AT_ONCE);
        let changes = numbers.map(network).collect::<Result<_, _>>()?;
        bench.control.change(Mutation::Batch(Batch { changes }))
    })
}

fn network(number: u32) -> Result<Mutation, Box<dyn Error>> {
    let subnet = Ipv4Addr::from_bits(FIRST_SUBNET.to_bits() + number * 16);
    let subnets = vec![format!("{subnet}/28").parse()?];
    let create = NetworkCreate { subnets, ..NetworkCreate::new(format!("net{number}").parse()?) };
    Ok(Mutation::NetworkCreate(Box::new(create)))
}

fn add_stations(bench: &mut Bench, from: u32, to: u32) -> Result<Duration, Box<dyn Error>> {
    if from == 0 {
        let unlimited =
            ctl::BridgeSet { mac_limit: Some(1_000_000), ..ctl::BridgeSet::new("br0".parse()?) };
        bench.control.change(Mutation::BridgeSet(unlimited))?;
    }
    let rig = &bench.rig;
    let (near, far) = (mac(&rig.near)?, RawSocket::open(&rig.far, INTERFACE)?);
    let frames = (from..to).map(|number| frame(near, station(number)));
    let took = send_all(&far, frames, &rig.near, None, || Ok(()))?;
    let info: BridgeInfo = bench.control.ask(Query::BridgeShow(Named::new("br0".parse()?)))?;
    if info.stations < to {
        return Err(format!("the bridge knows {} stations of {to}", info.stations).into());
    }
    Ok(took)
}

fn add_sessions(bench: &mut Bench, _from: u32, to: u32) -> Result<Duration, Box<dyn Error>> {
    let rig = &bench.rig;
    let setting = Setting { duration: Duration::from_secs(120), cores: netlab::Cores::default() };
    let load = Load {
        flows: to,
        frames: Some(u64::from(to)),
        under_way: Some(512),
        ..load_of(rig, setting)
    };
    let report = load::send(&rig.path(), &load)?;
    if report.loss() > 0.01 {
        return Err(
            format!("{:.1} % of {to} sessions did not come about", report.loss() * 100.0).into()
        );
    }
    Ok(report.receiving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_tenfold_up_to_the_most() {
        assert_eq!(steps(1000), [10, 100, 1000]);
        assert_eq!(steps(2500), [10, 100, 1000, 2500]);
        assert_eq!(steps(5), [5]);
    }
}
