//! `vswitchd`: the switch.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use flows::TableSizes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use vswitch::cli::Color;
use vswitch::control::{Offload, Options, run};
use vswitch::fleet::{CoreSet, FleetOptions, default_cores};
use vswitch::notify;
use vswitch::sys::map_large_pieces;
use vswitch::worker::{PollMode, doorbell, ring};

/// A userspace packet switch for containers.
///
/// Runs in the foreground, logs to standard error, and is given orders with `vswitchctl`. It needs CAP_NET_ADMIN, CAP_SYS_ADMIN and
/// CAP_NET_RAW, as root has them.
#[derive(Parser)]
#[command(
    name = "vswitchd",
    version,
    after_help = "\
Examples:
  vswitchd                                     state in /var/lib/vswitch, one adaptive worker
  vswitchd --cores 1,2 --poll busy             two workers that never sleep, on cores 1 and 2
  vswitchd --socket /tmp/v.sock --state /tmp/v a switch of one's own, for a try
  vswitchd --offload ebpf                      the kernel carries what it can between existing veths
  vswitchd --docker                            Docker's network plugin as well (docker network create -d vswitch)"
)]
struct Arguments {
    /// Where to listen for orders [env: VSWITCH_SOCKET]
    #[arg(long, value_name = "PATH", default_value_os_t = ctl::usual_socket())]
    socket: PathBuf,

    /// A group (by number) whose members may give orders too
    #[arg(long, value_name = "GID")]
    socket_group: Option<u32>,

    /// Where to keep the state, so that networks survive a restart
    #[arg(long, value_name = "DIR", default_value = "/var/lib/vswitch")]
    state: PathBuf,

    /// Serve Docker's network plugin too; its driver is named like the file
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true,
          default_missing_value = docker::DEFAULT_PLUGIN_SOCKET)]
    docker: Option<PathBuf>,

    /// Cores to run a worker on each, such as 1 or 0-3,6 [default: the last one]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreSet>,

    /// How workers wait for frames
    #[arg(long, value_enum, default_value_t = Mode::Adaptive)]
    poll: Mode,

    /// MTU-sized buffers of each worker
    #[arg(long, value_name = "COUNT", default_value_t = 16384,
          value_parser = clap::value_parser!(u32).range(256..=2_000_000))]
    buffers: u32,

    /// Sessions that there is room for
    #[arg(long, value_name = "COUNT", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u32).range(1024..=16_777_216))]
    sessions: u32,

    /// Who carries frames between veths by what the switch has decided already, besides the switch
    #[arg(long, value_name = "WHO", value_enum)]
    offload: Option<Carrier>,

    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing_subscriber::filter::LevelFilter,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Poll while there is traffic, sleep when there is none
    Adaptive,
    /// Never sleep: the lowest latency, for cores that are the switch's alone
    Busy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Carrier {
    /// The kernel, by eBPF programs on the host ends of veths: plain unicast, and UDP and established TCP that are routed, go their
    /// own way there, counted and aged as ever; 16 bytes for each of --sessions
    Ebpf,
}

fn main() -> ExitCode {
    // Where it is not to be had, empty tables take memory.
    map_large_pieces();
    let arguments = Arguments::parse();
    let no_color = std::env::var_os("NO_COLOR");
    tracing_subscriber::fmt()
        .with_max_level(arguments.log)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(Color::Auto.applies(std::io::stderr().is_terminal(), no_color.as_deref()))
        .init();
    // The control socket is never open to others, not even between `bind` and `chmod`.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    take_all_descriptors();
    match serve(arguments) {
        Ok(()) => {
            tracing::info!("ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("vswitchd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every port and every client needs descriptors. The limit that shells set at first (1024) is for programs that use
/// `select(2)`, and any may raise it up to the hard one.
fn take_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("cannot have more than {:?} descriptors: {error}", limit.current);
    }
}

fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // The plugin waits for the daemon, so that dockerd may come at once.
    let start = |path: &PathBuf| docker::start(path, arguments.socket.clone());
    let _plugin = arguments.docker.as_ref().map(start).transpose()?;
    let options = options(arguments)?;
    let ready = || {
        tracing::info!("ready");
        notify::tell(notify::READY);
    };
    let ended = run(options, ready);
    notify::tell(notify::STOPPING);
    Ok(ended?)
}

fn options(arguments: Arguments) -> Result<Options, Box<dyn std::error::Error>> {
    let stop = Arc::new(doorbell()?);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let bell = Arc::clone(&stop);
    std::thread::Builder::new().name("vswitch-signals".to_owned()).spawn(move || {
        for _ in &mut signals {
            ring(&bell);
        }
    })?;
    Ok(Options {
        socket: arguments.socket,
        socket_group: arguments.socket_group,
        state: Some(arguments.state),
        fleet: FleetOptions {
            cores: arguments.cores.map_or_else(default_cores, |set| set.0),
            mode: match arguments.poll {
                Mode::Adaptive => PollMode::Adaptive,
                Mode::Busy => PollMode::Busy,
            },
            pool: pktio::PoolConfig { small: arguments.buffers, ..pktio::PoolConfig::default() },
            tables: TableSizes { sessions: arguments.sessions, ..TableSizes::default() },
        },
        offload: arguments.offload.map(|Carrier::Ebpf| Offload::Ebpf),
        stop,
    })
}
