//! RFC 2544, "Benchmarking Methodology for Network Interconnect Devices", of any subject: a test for each section.
//!
//! | section | test | here |
//! | --- | --- | --- |
//! | 26.1 | throughput | halving from the highest rate that the sender reaches, at a stated loss; the rate that was sent |
//! | 26.2 | latency | at 10, 50, 90 and 100 % of the throughput; each frame's, from when it was due |
//! | 26.3 | frame loss rate | at 100 %, 90 %, ... of the highest rate, until two in a row lose nothing |
//! | 26.4 | back-to-back frames | the longest burst at the highest rate that loses nothing |
//! | 26.5 | system recovery | after as many as go, half of 1.1 times the throughput: when the last frame is lost |
//! | 26.6 | reset | at the throughput, of the shortest frames: how long none arrives when the switch is started again |
//!
//! A reset is that of the software: the switch ends and begins again with its configuration. Switches that are the
//! kernel cannot, and where the containers' interfaces end with the switch there is nobody left to send.
//!
//! The frame sizes are those of section 9.1. Trials are shorter than the 60 seconds of section 24, as long as is asked for.

use std::error::Error;
use std::time::Duration;

use netlab::load::{self, Load, Report};

use crate::campaign::{Plan, run_each};
use crate::measure::load_of;
use crate::record::{Figure, Record};
use crate::search::highest;
use crate::subject::Rig;

/// Section 9.1, of Ethernet.
pub(crate) const FRAME_BYTES: [u16; 7] = [64, 128, 256, 512, 1024, 1280, 1518];
/// Shares of the throughput at which latency is measured, in percent.
const LOADS: [u8; 4] = [10, 50, 90, 100];
/// Frames of the longest burst that is tried.
const LONGEST_BURST: f64 = 65_536.0;
/// As long as even a slow sender needs for it.
const BURST_TRIAL: Duration = Duration::from_secs(5);

/// How long is sent while the switch is started again.
const RESET_TRIAL: Duration = Duration::from_secs(4);
/// Frames per second at least, where the throughput is none.
const LEAST_RATE: f64 = 1000.0;

/// What is asked for beside the plan.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) frame_bytes: Vec<u16>,
    /// The share of frames that may be lost, 0 to 1.
    pub(crate) loss: f64,
    /// Of the search: a share of the highest rate, 0 to 1.
    pub(crate) resolution: f64,
}

/// Runs all tests on all subjects of the plan.
pub(crate) fn run(plan: &Plan, limits: &Limits) -> Result<(), Box<dyn Error>> {
    let steps = limits.frame_bytes.len();
    run_each(plan, steps, |record, subject, rig, round, step| {
        let bytes = limits.frame_bytes[step];
        if u32::from(bytes) > rig.mtu()? + 18 {
            return Err(format!("frames of {bytes} bytes are longer than the MTU allows").into());
        }
        let trials = Trials { rig, plan, bytes, loss: limits.loss };
        let mut sheet = Sheet { record, subject: subject.name, round, bytes };
        let throughput = trials.all(limits, &mut sheet)?;
        if limits.frame_bytes.iter().all(|other| bytes <= *other) {
            trials.reset(throughput, &mut sheet)?;
        }
        Ok(())
    })
}

/// Where the figures of one subject and frame size go.
struct Sheet<'a> {
    record: &'a mut Record,
    subject: &'a str,
    round: usize,
    bytes: u16,
}

impl Sheet<'_> {
    fn enter(&mut self, section: &str, title: &str, figure: Figure) {
        let measure = format!("{section}-{}", self.bytes);
        let about = format!("RFC 2544 section {section}, {title}, frames of {} bytes", self.bytes);
        self.record.enter(self.subject, (&measure, &about), self.round, figure);
    }
}

/// Trials of one frame size.
struct Trials<'a> {
    rig: &'a Rig,
    plan: &'a Plan,
    bytes: u16,
    loss: f64,
}

impl Trials<'_> {
    /// All trials but that which ends the switch. Returns the throughput.
    fn all(&self, limits: &Limits, sheet: &mut Sheet) -> Result<f64, Box<dyn Error>> {
        let most = self.flood()?;
        let throughput = highest(most, limits.resolution, |rate| self.borne(rate))?;
        let size = f64::from(self.bytes);
        let title = format!("throughput at a loss of at most {} %", self.loss * 100.0);
        let figure = Figure::higher("throughput", "Mpps", throughput / 1e6);
        sheet.enter("26.1", &title, figure.at("Throughput by frame size (26.1)", "bytes", size));
        if throughput > 0.0 {
            self.latency(throughput, sheet)?;
        }
        self.frame_loss(most, sheet)?;
        self.back_to_back(most, sheet)?;
        self.recovery(most, throughput, sheet)?;
        Ok(throughput)
    }

    fn load(&self) -> Load<'_> {
        Load {
            frame_bytes: std::slice::from_ref(&self.bytes),
            ..load_of(self.rig, self.plan.setting)
        }
    }

    /// A trial at a rate, for as long as is planned.
    fn at(&self, rate: f64) -> Result<Report, Box<dyn Error>> {
        let load = Load { rate: Some(rate), ..self.load() };
        Ok(load::send(&self.rig.path(), &load)?)
    }

    /// The rate at which frames were sent when they were meant to be sent at this one, unless too many were lost.
    fn borne(&self, rate: f64) -> Result<Option<f64>, Box<dyn Error>> {
        let report = self.at(rate)?;
        Ok((report.loss() <= self.loss).then(|| report.sent_per_second()))
    }

    /// The highest rate that the sender reaches: this medium has no rate of its own.
    fn flood(&self) -> Result<f64, Box<dyn Error>> {
        Ok(load::send(&self.rig.path(), &self.load())?.sent_per_second())
    }

    fn latency(&self, throughput: f64, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
        for percent in LOADS {
            let report = self.at(throughput * f64::from(percent) / 100.0)?;
            for (name, quantile) in [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)] {
                let nanos = report.latency_ns.value_at_percentile(quantile);
                let micros = Duration::from_nanos(nanos).as_secs_f64() * 1e6;
                let figure = Figure::lower(&format!("{name} at {percent} %"), "µs", micros);
                let drawing = format!("Latency {name}, {} bytes (26.2)", self.bytes);
                let figure = figure.at(&drawing, "% of the throughput", f64::from(percent));
                sheet.enter("26.2", "latency", figure);
            }
        }
        Ok(())
    }

    fn frame_loss(&self, most: f64, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
        let mut clean = 0;
        for percent in (1..=10u8).rev().map(|tenth| tenth * 10) {
            let loss = self.at(most * f64::from(percent) / 100.0)?.loss() * 100.0;
            let figure = Figure::lower(&format!("loss at {percent} %"), "%", loss);
            let drawing = format!("Frame loss, {} bytes (26.3)", self.bytes);
            sheet.enter(
                "26.3",
                "frame loss rate",
                figure.at(&drawing, "% of the highest rate", f64::from(percent)),
            );
            clean = if loss > 0.0 { 0 } else { clean + 1 };
            if clean == 2 {
                break;
            }
        }
        Ok(())
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive number"
    )]
    fn back_to_back(&self, most: f64, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
        let burst = highest(LONGEST_BURST, 0.01, |frames| {
            let frames = Some(frames.max(1.0) as u64);
            let load = Load { rate: Some(most), frames, duration: BURST_TRIAL, ..self.load() };
            let report = load::send(&self.rig.path(), &load)?;
            let sent = u32::try_from(report.sent)?;
            Ok::<_, Box<dyn Error>>((report.received == report.sent).then(|| sent.into()))
        })?;
        let figure = Figure::higher("burst", "frames", burst.floor());
        sheet.enter("26.4", "back-to-back frames", figure);
        Ok(())
    }

    /// From when the overload ends until the last frame that is lost.
    fn recovery(
        &self,
        most: f64,
        throughput: f64,
        sheet: &mut Sheet,
    ) -> Result<(), Box<dyn Error>> {
        let rate = Some(reduced(most, throughput));
        let overload = self.plan.setting.duration;
        let load = Load { rate, overload, duration: overload * 2, ..self.load() };
        let report = load::send(&self.rig.path(), &load)?;
        let millis = report.last_lost.unwrap_or_default().as_secs_f64() * 1e3;
        sheet.enter("26.5", "system recovery", Figure::lower("recovery", "ms", millis));
        Ok(())
    }

    /// How long nothing arrives when the switch is started again, where it can be.
    fn reset(&self, throughput: f64, sheet: &mut Sheet) -> Result<(), Box<dyn Error>> {
        let Some(reset) = &self.rig.reset else { return Ok(()) };
        let rate = Some(throughput.max(LEAST_RATE));
        let load = Load { rate, duration: RESET_TRIAL, ..self.load() };
        let path = self.rig.path();
        let report = std::thread::scope(|scope| {
            let sending = scope.spawn(|| load::send(&path, &load));
            std::thread::sleep(RESET_TRIAL / 4);
            let done = reset();
            let report = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.and(Ok(report?))
        })?;
        if report.receiving < RESET_TRIAL * 3 / 4 {
            return Err("no frame arrives any more after the reset".into());
        }
        let millis = report.longest_silence.as_secs_f64() * 1e3;
        sheet.enter("26.6", "reset of the software", Figure::lower("silence", "ms", millis));
        Ok(())
    }
}

/// The rate to recover at (section 26.5): half of what overloads, which is 110 % of the throughput unless the medium is
/// slower.
fn reduced(most: f64, throughput: f64) -> f64 {
    (throughput * 1.1).min(most).max(LEAST_RATE) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_to_recover_at_is_half_of_what_overloads() {
        assert!((reduced(1e6, 1e5) - 5.5e4).abs() < 1.0);
        assert_eq!(reduced(1e5, 1e5), 5e4, "the medium is the limit");
        assert!(reduced(1e5, 0.0) > 0.0, "where everything loses frames");
    }
}
