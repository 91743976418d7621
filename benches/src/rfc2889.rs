//! RFC 2889, "Benchmarking Methodology for LAN Switching Devices", and the many flows of RFC 8204, "Benchmarking Virtual
//! Switches in the Open Platform for NFV": a test for each section, of subjects with a third port.
//!
//! | section | test | here |
//! | --- | --- | --- |
//! | RFC 2889 5.7 | address caching capacity | of this many stations, those whose frames reach no third port |
//! | RFC 2889 5.8 | address learning rate | the highest rate of new stations of which none is missed |
//! | RFC 2889 5.10 | broadcast frame forwarding | throughput by halving, at no loss; broadcast to all ports |
//! | RFC 8204 3.1, Scalability.Flows | many flows | frames per second of 1, 1000, 10 000 and 50 000 flows |
//!
//! A frame to a station that is not known goes to every port: the third one is how the tests see what was not learned. Stations are learned on the far end's port and asked for from the near end's.

use std::error::Error;

use netlab::Container;
use netlab::load::{self, Load};
use netlab::raw::RawSocket;

use crate::campaign::{Plan, run_each};
use crate::measure::load_of;
use crate::record::{Figure, Record};
use crate::search::highest;
use crate::stations::{frame, is_from, send_all, station};
use crate::subject::{INTERFACE, Rig, mac};

/// Flows of RFC 8204's test.
const FLOWS: [u32; 4] = [1, 1000, 10_000, 50_000];
/// The highest rate of new stations that is tried, per second.
const MOST_STATIONS_PER_SECOND: f64 = 500_000.0;
/// Stations of one trial of the learning rate.
const STATIONS_OF_A_TRIAL: u32 = 1_000;

/// The tests, in order.
const TESTS: [Test; 4] = [capacity, learning_rate, broadcast, flows];

type Test = fn(&Bench, &mut Sheet) -> Result<(), Box<dyn Error>>;

/// Runs all tests on all subjects of the plan; at most `stations` are learned.
pub(crate) fn run(plan: &Plan, stations: u32) -> Result<(), Box<dyn Error>> {
    run_each(plan, TESTS.len(), |record, subject, rig, round, step| {
        let bench = Bench::open(rig, plan, stations)?;
        TESTS[step](&bench, &mut Sheet { record, subject, round })
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

/// Three ports, and sockets on two of them.
struct Bench<'a> {
    rig: &'a Rig,
    plan: &'a Plan,
    stations: u32,
    monitor: &'a Container,
    near: RawSocket,
    far: RawSocket,
}

impl<'a> Bench<'a> {
    fn open(rig: &'a Rig, plan: &'a Plan, stations: u32) -> Result<Self, Box<dyn Error>> {
        let monitor = rig.monitor.as_ref().ok_or("it has no third port")?;
        let near = RawSocket::open(&rig.near, INTERFACE)?;
        let far = RawSocket::open(&rig.far, INTERFACE)?;
        Ok(Self { rig, plan, stations, monitor, near, far })
    }

    /// Lets the far port have these stations, at a rate or a few at a time.
    fn teach(&self, first: u32, count: u32, rate: Option<f64>) -> Result<(), Box<dyn Error>> {
        let near = mac(&self.rig.near)?;
        let frames = (first..first + count).map(|number| frame(near, station(number)));
        send_all(&self.far, frames, &self.rig.near, rate, || Ok(()))
    }

    /// How many of these stations the switch does not know.
    fn unknown(&self, first: u32, count: u32) -> Result<usize, Box<dyn Error>> {
        let near = mac(&self.rig.near)?;
        let monitor = RawSocket::open(self.monitor, INTERFACE)?;
        let mut seen = 0;
        let frames = (first..first + count).map(|number| frame(station(number), near));
        send_all(&self.near, frames, &self.rig.far, None, || {
            seen += monitor.drain(|bytes| is_from(bytes, near))?.len();
            Ok(())
        })?;
        Ok(seen)
    }
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
        bench.teach(first, STATIONS_OF_A_TRIAL, Some(rate))?;
        Ok::<_, Box<dyn Error>>(bench.unknown(first, STATIONS_OF_A_TRIAL)? == 0)
    })?;
    let figure = Figure::higher("rate", "k stations/s", rate / 1e3);
    sheet.enter("5.8", "RFC 2889 section 5.8, address learning rate", figure);
    Ok(())
}

fn broadcast(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    let load = Load { next_hop: [0xff; 6], ..load_of(bench.rig, bench.plan.setting) };
    let path = bench.rig.path();
    let most = load::send(&path, &load)?.sent_per_second();
    let rate = highest(most, 0.02, |rate| {
        let frames = || Ok::<_, Box<dyn Error>>(bench.monitor.link(INTERFACE)?.traffic.rx_frames);
        let before = frames()?;
        let report = load::send(&path, &Load { rate: Some(rate), ..load })?;
        let copies = frames()? - before;
        Ok::<_, Box<dyn Error>>(report.received == report.sent && copies >= report.sent)
    })?;
    let figure = Figure::higher("throughput", "Mpps to each port", rate / 1e6);
    sheet.enter("5.10", "RFC 2889 section 5.10, broadcast frame forwarding", figure);
    Ok(())
}

fn flows(bench: &Bench, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
    for flows in FLOWS {
        let load = Load { flows, ..load_of(bench.rig, bench.plan.setting) };
        let report = load::send(&bench.rig.path(), &load)?;
        let figure =
            Figure::higher(&format!("{flows} flows"), "Mpps", report.received_per_second() / 1e6);
        let figure = figure.at("Many flows (RFC 8204)", "flows", f64::from(flows));
        sheet.enter("flows", "RFC 8204 section 3.1, Scalability.Flows, 64-byte frames", figure);
    }
    Ok(())
}
