//! Real traffic between two containers: by this switch, with every kind of port, by a Linux bridge, and
//! by a bare wire.

use std::error::Error;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use ctl::{BridgeAdd, Client, IpCidr, Mutation, NetdevMode, Port, PortAdd, PortKind, Request, Tap};
use hostnet::{Interface, Netlink};
use netlab::topology::LinuxBridge;
use netlab::{Container, Cores, Path, rr, tcp, udp};
use vswitch::control::Background;
use vswitch::worker::PollMode;

use crate::wire::Wire;

/// Where the containers of every pair are.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 98, 0, 1), Ipv4Addr::new(10, 98, 0, 2)];

/// Two containers, and what connects them.
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    pub(crate) containers: [Container; 2],
    _between: Between,
}

/// What is kept alive while a pair is.
enum Between {
    Switch,
    Kernel { _bridge: LinuxBridge },
    Bare { _wire: Wire },
}

/// One measurement.
type Run = fn(&Pair, Setting) -> Result<f64, Box<dyn Error>>;

/// How measurements are taken.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) duration: Duration,
    /// Where sender and receiver run.
    pub(crate) cores: Cores,
}

/// What is measured, with its unit.
#[derive(Clone, Copy)]
struct Measure {
    name: &'static str,
    run: Run,
}

const MEASURES: [Measure; 4] = [
    Measure { name: "TCP one stream, Gbit/s", run: stream },
    Measure { name: "UDP 64 B, Mpps", run: flood },
    Measure { name: "request/response p50, µs", run: median_latency },
    Measure { name: "request/response p99, µs", run: high_latency },
];

/// Measures and prints.
pub(crate) fn run(setting: Setting, rounds: u32, busy: bool) -> Result<(), Box<dyn Error>> {
    hostnet::sandbox::enter()?;
    let socket = PathBuf::from("/run/vswitch-bench.sock");
    let mode = if busy { PollMode::Busy } else { PollMode::Adaptive };
    let _daemon = Background::start(socket.clone(), mode, None)?;
    let pairs = pairs(&socket, busy)?;
    let mut rows = Vec::new();
    for measure in MEASURES {
        let mut samples = vec![Vec::new(); pairs.len()];
        // Interleaved, so that what the machine does meanwhile hits all alike.
        for round in 0..rounds {
            for (pair, samples) in pairs.iter().zip(&mut samples) {
                eprint!("\r\x1b[K{}: {} ({} of {rounds})", measure.name, pair.name, round + 1);
                std::io::stderr().flush()?;
                samples.push((measure.run)(pair, setting)?);
            }
        }
        rows.push(samples.iter_mut().map(|samples| median(samples)).collect::<Vec<_>>());
    }
    eprintln!("\r\x1b[K");
    print(&pairs, &rows);
    Ok(())
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Medians, each with its ratio to the first pair's: the Linux bridge's.
fn print(pairs: &[Pair], rows: &[Vec<f64>]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let names = pairs.iter().map(|pair| pair.name.to_owned());
    table.set_header(std::iter::once(String::new()).chain(names));
    for (measure, medians) in MEASURES.iter().zip(rows) {
        let cell = |median: &f64| format!("{median:.2} ({:.2})", median / medians[0]);
        let cells = medians.iter().map(cell);
        table.add_row(std::iter::once(measure.name.to_owned()).chain(cells));
    }
    for column in 1..=pairs.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
}

fn path(pair: &Pair) -> Path<'_> {
    Path::new(&pair.containers[0], &pair.containers[1], ADDRESSES[1])
}

fn stream(pair: &Pair, setting: Setting) -> Result<f64, Box<dyn Error>> {
    let Setting { duration, cores } = setting;
    let options = tcp::Options { duration, cores, ..tcp::Options::default() };
    Ok(tcp::stream(&path(pair), &options)?.gbit_per_s())
}

fn flood(pair: &Pair, setting: Setting) -> Result<f64, Box<dyn Error>> {
    let Setting { duration, cores } = setting;
    let source = udp::Source::Frames {
        interface: "eth0",
        target_interface: "eth0",
        source: ADDRESSES[0],
        flows: 1,
    };
    let options = udp::Options { duration, source, cores, ..udp::Options::default() };
    Ok(udp::flood(&path(pair), &options)?.received_per_second() / 1e6)
}

fn latency(pair: &Pair, setting: Setting, percent: f64) -> Result<f64, Box<dyn Error>> {
    let Setting { duration, cores } = setting;
    let options = rr::Options { duration, cores };
    Ok(rr::tcp(&path(pair), &options)?.percentile(percent).as_secs_f64() * 1e6)
}

fn median_latency(pair: &Pair, setting: Setting) -> Result<f64, Box<dyn Error>> {
    latency(pair, setting, 50.0)
}

fn high_latency(pair: &Pair, setting: Setting) -> Result<f64, Box<dyn Error>> {
    latency(pair, setting, 99.0)
}

/// All pairs, the Linux bridge's first, which the others are compared with. Each pair of the switch has a
/// bridge of its own.
pub(crate) fn pairs(socket: &FilePath, busy: bool) -> Result<Vec<Pair>, Box<dyn Error>> {
    let mut pairs = vec![linux_pair()?, wired_pair(busy)?];
    let mut client = Client::connect(socket)?;
    for (name, mode) in
        [("tap", None), ("gso", Some(NetdevMode::Gso)), ("xdp", Some(NetdevMode::Xdp))]
    {
        pairs.push(switched_pair(&mut client, name, mode)?);
    }
    Ok(pairs)
}

fn addresses(number: usize) -> [IpCidr; 1] {
    [IpCidr { addr: ADDRESSES[number].into(), prefix_len: 24 }]
}

fn configure(container: &Container, number: usize) -> Result<(), Box<dyn Error>> {
    let wanted = Interface { ips: &addresses(number), ..Interface::default() };
    container.configure("eth0", &wanted)?;
    Ok(())
}

fn linux_pair() -> Result<Pair, Box<dyn Error>> {
    let containers = [Container::new()?, Container::new()?];
    let bridge = LinuxBridge::new()?;
    for (number, container) in containers.iter().enumerate() {
        bridge.connect(container, "eth0")?;
        configure(container, number)?;
    }
    Ok(Pair { name: "Linux bridge", containers, _between: Between::Kernel { _bridge: bridge } })
}

fn wired_pair(busy: bool) -> Result<Pair, Box<dyn Error>> {
    let containers = [Container::new()?, Container::new()?];
    let wire = Wire::between(&containers, busy)?;
    for (number, container) in containers.iter().enumerate() {
        configure(container, number)?;
    }
    Ok(Pair { name: "bare TAP wire", containers, _between: Between::Bare { _wire: wire } })
}

fn switched_pair(
    client: &mut Client,
    name: &'static str,
    mode: Option<NetdevMode>,
) -> Result<Pair, Box<dyn Error>> {
    client.call(Request::Mutation(Mutation::BridgeAdd(BridgeAdd::new(name.parse()?))))?;
    let containers = [Container::new()?, Container::new()?];
    for (number, container) in containers.iter().enumerate() {
        let port_name = format!("{name}{number}");
        let kind = match mode {
            None => PortKind::Tap(Tap {
                netns: Some(container.reference()),
                ifname: "eth0".parse()?,
                mac: None,
                ips: addresses(number).to_vec(),
                gateways: Vec::new(),
                routes: Vec::new(),
                queues: 1,
                handover: false,
                handover: false,
            }),
            Some(mode) => {
                let fd = container.namespace().as_fd();
                Netlink::open()?.create_veth(&port_name, "eth0", Some(fd))?;
                configure(container, number)?;
                PortKind::Netdev { device: port_name.parse()?, netns: None, mode }
            }
        };
        let port = Port::new(name.parse()?, kind);
        let add = Mutation::PortAdd(Box::new(PortAdd { name: port_name.parse()?, port }));
        client.call(Request::Mutation(add))?;
    }
    Ok(Pair { name, containers, _between: Between::Switch })
}
