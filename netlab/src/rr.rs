//! Requests and responses of one byte, one at a time: latency.
//!
//! The loop is closed: the next request waits for the response before it. So the figures are how long one exchange
//! takes when nothing else is under way, and say nothing about a load; [`load`](crate::load) at a rate does.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::net::sockopt::set_socket_linger;

use crate::error::{LabError, is_timeout, socket};
use crate::path::accept;
use crate::tcp::failed;
use crate::{Cores, PATIENCE, Path, cpu};

/// How long a UDP request is waited for before it counts as lost.
const UDP_PATIENCE: Duration = Duration::from_secs(1);
/// The longest latency that is told from longer ones: a minute.
const LONGEST_NS: u64 = 60_000_000_000;
/// Lost UDP requests in a row after which the network counts as dead.
const MOST_LOST_IN_A_ROW: u64 = 10;

/// How long to ask.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// For how long.
    pub duration: Duration,
    /// Where the asking end (`sender`) and the answering end (`receiver`) run.
    pub cores: Cores,
}

impl Default for Options {
    /// For a second.
    fn default() -> Self {
        Self { duration: Duration::from_secs(1), cores: Cores::default() }
    }
}

/// How long the answers took.
#[derive(Debug, Clone)]
pub struct Report {
    /// The times from request to response, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// From the first request to the last response.
    pub elapsed: Duration,
    /// UDP requests that were not answered.
    pub lost: u64,
    /// Processor time of the asking thread.
    pub sender_cpu: Duration,
}

impl Report {
    /// Answered requests.
    pub fn transactions(&self) -> u64 {
        self.latency_ns.len()
    }

    /// Answered requests per second.
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn per_second(&self) -> f64 {
        self.transactions() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The time within which this many percent of the requests were answered.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.latency_ns.value_at_percentile(percent))
    }
}

/// Asks over a TCP connection.
///
/// # Errors
/// [`LabError::Socket`], when the connection does not come about or breaks; [`LabError::Stalled`].
pub fn tcp(path: &Path, options: &Options) -> Result<Report, LabError> {
    let (near, far) = path.tcp()?;
    std::thread::scope(|scope| {
        let answers = scope.spawn(move || answer_tcp(far, options));
        let report = ask_tcp(near, options);
        let answered = answers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report.and_then(|report| answered.map(|()| report))
    })
}

fn ask_tcp(mut near: TcpStream, options: &Options) -> Result<Report, LabError> {
    let report = ask(options, || {
        let mut byte = [0x5a];
        near.write_all(&byte).and_then(|()| near.read_exact(&mut byte)).map(|()| true)
    });
    // The far end sees the end of the connection in any case, also when it is dropped here.
    let _ = near.shutdown(Shutdown::Write);
    report.map_err(|(asked, error)| failed("TCP request/response", "ask by TCP", asked, error))
}

fn answer_tcp(mut far: TcpStream, options: &Options) -> Result<(), LabError> {
    cpu::pin(options.cores.receiver);
    let mut byte = [0];
    loop {
        match far.read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => far.write_all(&byte).map_err(socket("answer by TCP"))?,
            Err(error) => return Err(failed("TCP request/response", "answer by TCP", 0, error)),
        }
    }
}

/// Makes a TCP connection for each request, and ends it after the response: netperf's `TCP_CRR`. The latency is that
/// of the whole. The asking end resets the connection in the end, so that it does not wait for late segments and
/// the addresses can be used again at once.
///
/// # Errors
/// [`LabError::Socket`], when a connection does not come about or breaks; [`LabError::Stalled`].
pub fn connect(path: &Path, options: &Options) -> Result<Report, LabError> {
    let listener = path.listen()?;
    let target = listener.local_addr().map_err(socket("listen for TCP"))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| answer_connections(&listener, &done, options));
        let asking = path.from.run(|| {
            let report = ask(options, || connect_and_ask(target).map(|()| true));
            report.map_err(|(asked, error)| {
                failed("TCP connect/request/response", "connect and ask", asked, error)
            })
        });
        done.store(true, Ordering::Relaxed);
        // One more connection ends the wait for the next.
        let _: Result<(), LabError> = path.from.run(|| {
            let _ = TcpStream::connect_timeout(&target, UDP_PATIENCE);
            Ok(())
        });
        let answered = answers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        asking.and_then(|report| answered.map(|()| report))
    })
}

fn connect_and_ask(target: SocketAddr) -> io::Result<()> {
    let mut near = TcpStream::connect_timeout(&target, PATIENCE)?;
    near.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0x5a];
    near.write_all(&byte)?;
    near.read_exact(&mut byte)?;
    Ok(set_socket_linger(&near, Some(Duration::ZERO))?)
}

fn answer_connections(
    listener: &TcpListener,
    done: &AtomicBool,
    options: &Options,
) -> Result<(), LabError> {
    cpu::pin(options.cores.receiver);
    while !done.load(Ordering::Relaxed) {
        let mut far = accept(listener).map_err(socket("accept a TCP connection"))?;
        let mut byte = [0];
        // A connection that breaks is the asking end's to report.
        let _ = far.set_read_timeout(Some(PATIENCE));
        if far.read(&mut byte).is_ok_and(|count| count == 1) {
            let _ = far.write_all(&byte);
        }
    }
    Ok(())
}

/// Asks by UDP datagrams. One that is not answered within a second counts as lost.
///
/// # Errors
/// [`LabError::Socket`]; [`LabError::Stalled`] when ten in a row are lost.
pub fn udp(path: &Path, options: &Options) -> Result<Report, LabError> {
    let (near, far) = path.udp()?;
    near.set_read_timeout(Some(UDP_PATIENCE)).map_err(socket("ask by UDP"))?;
    let stop = far.try_clone().map_err(socket("answer by UDP"))?;
    std::thread::scope(|scope| {
        let answers = scope.spawn(move || answer_udp(&far, options));
        let report = ask_udp(&near, options);
        // Wakes the answering thread; a UDP socket can be shut down since it is connected.
        let _ = rustix::net::shutdown(&stop, rustix::net::Shutdown::Both);
        let answered = answers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report.and_then(|report| answered.map(|()| report))
    })
}

fn ask_udp(near: &UdpSocket, options: &Options) -> Result<Report, LabError> {
    let (mut number, mut lost, mut in_a_row) = (0u8, 0, 0);
    let report = ask(options, || {
        number = number.wrapping_add(1);
        near.send(&[number])?;
        let answered = hear(near, number);
        match &answered {
            Ok(true) => in_a_row = 0,
            Ok(false) if in_a_row == MOST_LOST_IN_A_ROW => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Ok(false) => (lost, in_a_row) = (lost + 1, in_a_row + 1),
            Err(_) => {}
        }
        answered
    });
    match report {
        Ok(report) => Ok(Report { lost, ..report }),
        Err((asked, error)) => Err(failed("UDP request/response", "ask by UDP", asked, error)),
    }
}

/// Waits for the answer of this number; those of earlier ones, given up already, are passed over.
fn hear(near: &UdpSocket, number: u8) -> io::Result<bool> {
    let mut byte = [0];
    loop {
        match near.recv(&mut byte) {
            Ok(_) if byte[0] == number => return Ok(true),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn answer_udp(far: &UdpSocket, options: &Options) -> Result<(), LabError> {
    cpu::pin(options.cores.receiver);
    let mut byte = [0];
    loop {
        match far.recv(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                far.send(&byte).map_err(socket("answer by UDP"))?;
            }
            Err(error) if is_timeout(&error) => return Ok(()),
            Err(error) => return Err(socket("answer by UDP")(error)),
        }
    }
}

/// Asks again and again, and notes how long each answer took. `transact` says whether there was an
/// answer. An error comes with the number of answers before it.
fn ask(
    options: &Options,
    mut transact: impl FnMut() -> io::Result<bool>,
) -> Result<Report, (u64, io::Error)> {
    cpu::pin(options.cores.sender);
    let mut latency_ns = Histogram::new_with_max(LONGEST_NS, 3)
        .expect("three significant digits up to a minute are supported");
    let start = Instant::now();
    let mut asked = start;
    while asked - start < options.duration {
        match transact() {
            Err(error) => return Err((latency_ns.len(), error)),
            Ok(answered) => {
                let now = Instant::now();
                if answered {
                    let nanos = u64::try_from((now - asked).as_nanos()).unwrap_or(u64::MAX);
                    latency_ns.saturating_record(nanos);
                }
                asked = now;
            }
        }
    }
    Ok(Report { latency_ns, elapsed: asked - start, lost: 0, sender_cpu: cpu::thread_time() })
}
