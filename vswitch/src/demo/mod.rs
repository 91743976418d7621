//! `vswitchctl demo`: the switch at work, next to a Linux bridge.
//!
//! Everything happens in a private network ([`hostnet::sandbox`]) that ends with the process, however it
//! ends. The switch is the real daemon, on a thread of this process and driven by its control socket; the
//! traffic is real kernel TCP, UDP and ICMP between containers made of namespaces.

mod report;
mod setup;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use netlab::cpu::MachineTime;
use netlab::load::{self, Load};
use netlab::{LabError, Path, ping, rr, tcp};

use crate::cli::DemoOptions;
use setup::{Lab, Pair};

/// Why the demonstration did not get to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The laboratory cannot be set up, or traffic broke off.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The private network cannot be made.
    #[error(transparent)]
    Host(#[from] hostnet::HostError),
    /// The daemon does not start.
    #[error(transparent)]
    Daemon(#[from] crate::control::BackgroundError),
    /// The daemon refused an order.
    #[error(transparent)]
    Client(#[from] ctl::ClientError),
    /// A name of the laboratory is not valid, which is a bug.
    #[error(transparent)]
    Name(#[from] ctl::BadName),
}

/// What was measured between two containers.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Figures {
    /// How the containers are connected.
    pub name: String,
    /// Round trip of an IPv4 ping, in microseconds.
    pub ping4_us: f64,
    /// Round trip of an IPv6 ping, in microseconds.
    pub ping6_us: f64,
    /// Throughput of one TCP stream.
    pub tcp_gbit_s: f64,
    /// Cores of the machine that were busy meanwhile.
    pub tcp_cores: f64,
    /// 64-byte UDP frames that arrived, in millions per second.
    pub udp_mpps: f64,
    /// Cores of the machine that were busy meanwhile.
    pub udp_cores: f64,
    /// TCP request/response exchanges, in thousands per second.
    pub rr_k_s: f64,
    /// Their round trip, in microseconds: 50th, 99th and 99.9th percentile.
    pub rr_us: [f64; 3],
}

/// Runs the demonstration. Call it while the process has one thread.
///
/// # Errors
/// [`DemoError`].
pub fn run(options: &DemoOptions, json: bool) -> Result<(), DemoError> {
    hostnet::sandbox::enter()?;
    let lab = Lab::set_up()?;
    let time = Duration::from_secs_f64(options.seconds);
    let ours = measure(&lab.switched, time)?;
    let theirs = measure(&lab.bridged, time)?;
    let books = lab.books()?;
    print!(
        "{}",
        if json {
            report::json(&ours, &theirs, &books)
        } else {
            report::text(&ours, &theirs, &books)
        }
    );
    Ok(())
}

fn measure(pair: &Pair, time: Duration) -> Result<Figures, DemoError> {
    let path = Path::new(&pair.a, &pair.b, pair.ip4);
    let ping = |addr: IpAddr| -> Result<f64, LabError> {
        // The first one resolves addresses; the second is what a ping takes.
        ping::ping(&pair.a, addr, &ping::Options::default())?;
        let answered = ping::ping(&pair.a, addr, &ping::Options::default())?;
        Ok(answered.as_secs_f64() * 1e6)
    };
    let (ping4_us, ping6_us) = (ping(pair.ip4.into())?, ping(pair.ip6.into())?);

    let watch = Watch { pair: pair.name, time };
    let (stream, tcp_cores) = watch.over("TCP, one stream", Unit::Bytes, |moved| {
        let progress = Some(moved);
        tcp::stream(&path, &tcp::Options { duration: time, progress, ..tcp::Options::default() })
    })?;
    let (flood, udp_cores) = watch.over("UDP, 64-byte frames", Unit::Frames, |moved| {
        let next_hop = pair.b.link("eth0")?.mac.unwrap_or_default();
        let frames = Load::new("eth0", next_hop, pair.own_ip4);
        load::send(&path, &Load { duration: time, progress: Some(moved), ..frames })
    })?;
    let (exchanges, _) = watch.over("TCP request/response", Unit::Nothing, |_| {
        rr::tcp(&path, &rr::Options { duration: time, ..rr::Options::default() })
    })?;
    let percentile = |percent| exchanges.percentile(percent).as_secs_f64() * 1e6;
    Ok(Figures {
        name: pair.name.to_owned(),
        ping4_us,
        ping6_us,
        tcp_gbit_s: stream.gbit_per_s(),
        tcp_cores,
        udp_mpps: flood.received_per_second() / 1e6,
        udp_cores,
        rr_k_s: exchanges.per_second() / 1e3,
        rr_us: [percentile(50.0), percentile(99.0), percentile(99.9)],
    })
}

/// What a progress bar counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Frames,
    Nothing,
}

/// Watches one pair's measurements, each of which takes so long.
struct Watch {
    pair: &'static str,
    time: Duration,
}

impl Watch {
    /// Runs one measurement with a progress bar, if standard error is a terminal. Returns with its
    /// result the number of cores that were busy.
    fn over<T>(
        &self,
        what: &str,
        unit: Unit,
        work: impl FnOnce(&AtomicU64) -> Result<T, LabError>,
    ) -> Result<(T, f64), DemoError> {
        let bar = ProgressBar::new(u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX));
        // The template is a constant, and valid.
        if let Ok(style) = ProgressStyle::with_template("{prefix:15} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(self.pair);
        let (moved, done) = (AtomicU64::new(0), AtomicBool::new(false));
        let (begun, before) = (Instant::now(), MachineTime::now()?);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| advance(&bar, what, unit, &moved, &done));
            let result = work(&moved);
            done.store(true, Ordering::Relaxed);
            result
        });
        bar.finish_and_clear();
        let busy = MachineTime::now()?.since(&before);
        Ok((result?, busy.cores_used(begun.elapsed())))
    }
}

/// Moves a progress bar until the measurement is done.
fn advance(bar: &ProgressBar, what: &str, unit: Unit, moved: &AtomicU64, done: &AtomicBool) {
    let mut last = 0;
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let now = moved.load(Ordering::Relaxed);
        bar.inc(100);
        bar.set_message(format!("{what} {}", rate(unit, now - last)));
        last = now;
    }
}

/// A rate, from what moved in a tenth of a second.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(unit: Unit, moved: u64) -> String {
    match unit {
        Unit::Bytes => format!("{:.1} Gbit/s", moved as f64 * 80.0 / 1e9),
        Unit::Frames => format!("{:.2} M/s", moved as f64 * 10.0 / 1e6),
        Unit::Nothing => String::new(),
    }
}
