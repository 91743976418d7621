//! RFC 2889, "Benchmarking Methodology for LAN Switching Devices", and the many flows of RFC 8204, "Benchmarking Virtual
//! Switches in the Open Platform for NFV": a test for each section, of subjects with a third port.
//!
//! | section | test | here |
//! | --- | --- | --- |
//! | RFC 2889 5.6 | maximum forwarding rate | what arrives of 10 %, 20 %, ... of the highest rate; the most of it |
//! | RFC 2889 5.7 | address caching capacity | of this many stations, those whose frames reach no third port |
//! | RFC 2889 5.8 | address learning rate | the highest rate of new stations of which none is missed |
//! | RFC 2889 5.10 | broadcast frame forwarding and latency | throughput by halving, at no loss; broadcast to all ports |
//! | RFC 8204 3.1, Scalability.Flows | many flows | frames per second of 1, 1000, 10 000 and 50 000 flows |
//! | RFC 3511 5.3 | connection establishment rate | of translators, by UDP: sessions set up per second |
//!
//! A frame to a station that is not known goes to every port: the third one is how the tests see what was not learned. Stations are learned on the far end's port and asked for from the near end's.

use std::error::Error;
use std::ops::Range;

use netlab::Container;
use netlab::load::{self, Load};
use netlab::raw::RawSocket;

use crate::campaign::{Plan, run_each};
use crate::measure::{by_name, load_of};
use crate::record::{Figure, Record};
use crate::search::highest;
use crate::stations::{frame, is_from, send_all, station};
use crate::subject::{Family, INTERFACE, Rig, mac};

/// Flows of RFC 8204's test.
const FLOWS: [u32; 4] = [1, 1000, 10_000, 50_000];
/// The highest rate of new stations that is tried, per second.
const MOST_STATIONS_PER_SECOND: f64 = 500_000.0;
/// A station that is never taught.
const NOBODY: u32 = u32::MAX - 1;
/// Stations of one trial of the learning rate.
const STATIONS_OF_A_TRIAL: u32 = 1_000;

/// The tests, in order.
const TESTS: [Test; 6] = [
    Test { of: &[Family::Bridging, Family::Nat, Family::Overlay], take: forwarding },
    Test { of: &[Family::Bridging], take: capacity },
    Test { of: &[Family::Bridging], take: learning_rate },
    Test { of: &[Family::Bridging], take: broadcast },
    Test { of: &[Family::Bridging, Family::Nat, Family::Overlay], take: flows },
    Test { of: &[Family::Nat], take: sessions },
];

type Take = fn(&Bench, &mut Sheet) -> Result<(), Box<dyn Error>>;

/// A test, and of whom it says something.
struct Test {
    of: &'static [Family],
    take: Take,
}

/// Runs all tests on all subjects of the plan; at most `stations` are learned.
pub(crate) fn run(plan: &Plan, stations: u32) -> Result<(), Box<dyn Error>> {
    run_each(plan, TESTS.len(), |record, subject, rig, round, step| {
        let test = &TESTS[step];
        if !test.of.contains(&subject.family) {
            return Ok(());
        }
        let bench = Bench { rig, plan, stations };
        (test.take)(&bench, &mut Sheet { record, subject: subject.name, round })
    })
}

/// Where the figures of a subject go.
struct Sheet<'a> {
    record: &'a mut Record,
    subject: &'a str,
    round: usize,
}

impl Sheet<'_> {
    fn enter(&mut self, section: &str, about: &str, figure: Figure) {
        self.record.enter(self.subject, (section, about), self.round, figure);
    }
}

/// What is tested, and how.
struct Bench<'a> {
    rig: &'a Rig,
    plan: &'a Plan,
    stations: u32,
}

impl Bench<'_> {
    /// Who sees what is flooded.
    fn monitor(&self) -> Result<&Container, Box<dyn Error>> {
        Ok(self.rig.monitor.as_ref().ok_or("it has no third port")?)
    }

    /// Lets the far port have these stations, at a rate or a few at a time.
    /// Returns how many a second they were.
    fn teach(&self, first: u32, count: u32, rate: Option<f64>) -> Result<f64, Box<dyn Error>> {
        let near = mac(&self.rig.near)?;
        let frames = (first..first + count).map(|number| frame(near, station(number)));
        let far = RawSocket::open(&self.rig.far, INTERFACE)?;
        let took = send_all(&far, frames, &self.rig.near, rate, || Ok(()))?;
        Ok(f64::from(count) / took.as_secs_f64().max(f64::EPSILON))
    }

    /// How many of these stations the switch does not know: frames to them reach the third port too.
    fn unknown(&self, first: u32, count: u32) -> Result<usize, Box<dyn Error>> {
        let flooded = self.flooded(first..first + count)?;
        // Where nothing is flooded, nothing would be seen of what is not known.
        match self.flooded(NOBODY..NOBODY + 1)? {
            1 => Ok(flooded),
            _ => Err("the third port does not get what is for a station that nobody knows".into()),
        }
    }

    fn flooded(&self, stations: Range<u32>) -> Result<usize, Box<dyn Error>> {
        let near = mac(&self.rig.near)?;
        let monitor = RawSocket::open(self.monitor()?, INTERFACE)?;
        let socket = RawSocket::open(&self.rig.near, INTERFACE)?;
        let mut seen = 0;
        let frames = stations.map(|number| frame(station(number), near));
        send_all(&socket, frames, &self.rig.far, None, || {
            seen += monitor.drain(|bytes| is_from(bytes, near))?.len();
            Ok(())
        })?;
        Ok(seen)
    }
}

/// Section 5.6: the forwarding rate at the highest load is the last point of the curve.
fn forwarding(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    const ABOUT: &str = "RFC 2889 section 5.6, maximum forwarding rate, 64-byte frames";
    let (load, path) = (load_of(bench.rig, bench.plan.setting), bench.rig.path());
    let most = load::send(&path, &load)?.sent_per_second();
    let mut rates = Vec::new();
    for percent in (1..=10u8).map(|tenth| tenth * 10) {
        let rate = Some(most * f64::from(percent) / 100.0);
        rates.push((percent, load::send(&path, &Load { rate, ..load })?.received_per_second()));
    }
    let highest = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    sheet.enter("5.6", ABOUT, Figure::higher("maximum forwarding rate", "Mpps", highest / 1e6));
    for (percent, rate) in rates {
        let figure = Figure::higher(&format!("at {percent} %"), "Mpps", rate / 1e6);
        let (drawing, axis) = ("Forwarding rate by load (RFC 2889 5.6)", "% of the highest rate");
        sheet.enter("5.6", ABOUT, figure.at(drawing, axis, f64::from(percent)));
    }
    Ok(())
}

fn capacity(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    bench.teach(0, bench.stations, None)?;
    let known = usize::try_from(bench.stations)?.saturating_sub(bench.unknown(0, bench.stations)?);
    let about = format!("RFC 2889 section 5.7, address caching capacity, of {}", bench.stations);
    let figure = Figure::higher("stations", "known", f64::from(u32::try_from(known)?));
    sheet.enter("5.7", &about, figure);
    Ok(())
}

/// Each trial has stations that no one before it had.
fn learning_rate(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    let mut first = 1 << 24;
    let rate = highest(MOST_STATIONS_PER_SECOND, 0.01, |rate| {
        first += STATIONS_OF_A_TRIAL;
        let offered = bench.teach(first, STATIONS_OF_A_TRIAL, Some(rate))?;
        let is_borne = bench.unknown(first, STATIONS_OF_A_TRIAL)? == 0;
        Ok::<_, Box<dyn Error>>(is_borne.then_some(offered))
    })?;
    let figure = Figure::higher("rate", "k stations/s", rate / 1e3);
    sheet.enter("5.8", "RFC 2889 section 5.8, address learning rate", figure);
    Ok(())
}

fn broadcast(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    const ABOUT: &str = "RFC 2889 section 5.10, broadcast frame forwarding and latency";
    let load = Load { next_hop: [0xff; 6], ..load_of(bench.rig, bench.plan.setting) };
    let path = bench.rig.path();
    let most = load::send(&path, &load)?.sent_per_second();
    let rate = highest(most, 0.02, |rate| {
        let received =
            || Ok::<_, Box<dyn Error>>(bench.monitor()?.link(INTERFACE)?.traffic.rx_frames);
        let before = received()?;
        let report = load::send(&path, &Load { rate: Some(rate), ..load })?;
        let copies = received()? - before;
        let is_borne = report.received == report.sent && copies >= report.sent;
        Ok::<_, Box<dyn Error>>(is_borne.then(|| report.sent_per_second()))
    })?;
    sheet.enter("5.10", ABOUT, Figure::higher("throughput", "Mpps to each port", rate / 1e6));
    if rate > 0.0 {
        let report = load::send(&path, &Load { rate: Some(rate), ..load })?;
        for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
            let nanos = report.latency_ns.value_at_percentile(percent);
            let micros = std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e6;
            sheet.enter("5.10", ABOUT, Figure::lower(name, "µs", micros));
        }
    }
    Ok(())
}

fn flows(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    for flows in FLOWS {
        let load = Load { flows, ..load_of(bench.rig, bench.plan.setting) };
        let report = load::send(&bench.rig.path(), &load)?;
        let figure =
            Figure::higher(&format!("{flows} flows"), "Mpps", report.received_per_second() / 1e6);
        let figure = figure.at("Many flows (RFC 8204)", "flows", f64::from(flows));
        sheet.enter(
            "rfc8204-flows",
            "RFC 8204 section 3.1, Scalability.Flows, 64-byte frames",
            figure,
        );
    }
    Ok(())
}

fn sessions(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    let measure = by_name("sessions").ok_or("no measure sets up sessions")?;
    for figure in measure.take(bench.rig, bench.plan.setting)? {
        let about = "RFC 3511 section 5.3, connection establishment rate, UDP sessions";
        sheet.enter("rfc3511-5.3", about, figure);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_tested_and_learning_is_a_matter_of_bridges() {
        let of = |family| TESTS.iter().filter(|test| test.of.contains(&family)).count();
        assert_eq!([Family::Bridging, Family::Nat, Family::Overlay].map(of), [5, 3, 2]);
    }
}
