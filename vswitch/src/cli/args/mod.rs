//! The command line, as typed.

mod bridge;
mod capture;
mod conn;
mod container;
mod explain;
mod fdb;
mod flow;
mod ipam;
mod nat;
mod neighbor;
mod network;
mod port;
mod route;
mod service;
mod vxlan;

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use ctl::{BridgeName, IfName, PortName};

pub use bridge::BridgeCommand;
pub use capture::CaptureOptions;
pub use conn::{ConnCommand, ConnFilterOptions};
pub use container::{AttachOptions, DetachOptions, TypedAddress};
pub use explain::{TraceOptions, WhyOptions};
pub use fdb::{FdbCommand, FdbFilterOptions};
pub use flow::FlowCommand;
pub use ipam::{IpamCommand, IpamFilterOptions, KeepOptions};
pub use nat::{
    MasqueradeCommand, MasqueradeOptions, NatCommand, PrefixCommand, PublishCommand,
    TimeoutsCommand,
};
pub use neighbor::{NeighborCommand, NeighborFilterOptions};
pub use network::{ConnectOptions, NetworkChanges, NetworkCommand, NetworkOptions};
pub use port::{PortCommand, PortOptions, VlanOptions};
pub use route::RouteCommand;
pub use service::{BackendCommand, HealthOptions, ServiceChanges, ServiceCommand, ServiceOptions};
pub use vxlan::{VxlanCommand, VxlanOptions};

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 internal error   2 bad request   3 does not exist   4 exists already or is in use
  5 the kernel refused   6 vswitchd is not reachable   7 not permitted
  8 nothing is free, or vswitchd cannot serve it now

Examples:
  vswitchctl demo
  vswitchctl network create shop
  vswitchctl attach web --network shop
  vswitchctl bridge add br0 --gateway 10.0.0.1/24
  vswitchctl attach web --bridge br0 --ip 10.0.0.2/24 --gateway 10.0.0.1
  vswitchctl port add v0 --bridge br0 --netdev veth0
  vswitchctl nat masquerade add --from br0 --to up
  vswitchctl nat publish add 8080:10.0.0.2:80/tcp --on up
  vswitchctl service add web 10.96.0.10:80/tcp --backends 10.0.0.2:8080,10.0.0.3:8080
  vswitchctl why web-eth0 db-eth0 tcp 5432
  vswitchctl capture web-eth0 -w - | wireshark -k -i -
  vswitchctl drops";

/// The heading of options that every command has.
const EVERYWHERE: &str = "Everywhere";

/// Gives orders to vswitchd, the userspace packet switch for containers.
#[derive(Debug, Parser)]
#[command(name = "vswitchctl", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// The daemon's socket [env: VSWITCH_SOCKET]
    // A default, and not clap's `env`: what is in the environment would be shown as typed in every usage.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH",
          default_value_os_t = ctl::usual_socket())]
    pub socket: PathBuf,

    /// Print the answer as JSON
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,

    /// When to use colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, value_name = "WHEN",
          default_value_t = Color::Auto, hide_possible_values = true)]
    pub color: Color,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}

impl Color {
    /// Whether to use colours on an output that is a terminal, or not, with this value of the
    /// environment's `NO_COLOR` (<https://no-color.org>).
    pub fn applies(self, is_terminal: bool, no_color: Option<&OsStr>) -> bool {
        match self {
            Self::Auto => is_terminal && no_color.is_none_or(OsStr::is_empty),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See the switch at work: two containers, real traffic, next to a Linux bridge
    Demo(DemoOptions),
    /// Networks: a bridge with addresses, gateway, a way out and tunnel in one word
    #[command(subcommand, visible_alias = "net")]
    Network(NetworkCommand),
    /// Addresses: who has which
    #[command(subcommand)]
    Ipam(IpamCommand),
    /// Bridges
    #[command(subcommand)]
    Bridge(BridgeCommand),
    /// Ports
    #[command(subcommand)]
    Port(PortCommand),
    /// Give a container an interface on a network or bridge; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl attach web --network shop
  vswitchctl attach web --network shop --ip 10.1.0.7 --alias db
  vswitchctl attach web --bridge br0 --ip 10.0.0.2/24 --gateway 10.0.0.1
  vswitchctl attach 4711 --bridge br0 --ifname net1 --ip fd00::2/64
  vswitchctl attach /proc/4711/ns/net --bridge br0 --access 10")]
    Attach(Box<AttachOptions>),
    /// Take a container's interface away; safe to repeat
    #[command(
        after_help = "Examples:\n  vswitchctl detach web\n  vswitchctl detach 4711 --ifname net1"
    )]
    Detach(DetachOptions),
    /// Add an existing interface as a port of the same name, like `port add DEV --bridge BR --netdev DEV`
    #[command(visible_alias = "addif", after_help = "Examples:\n  vswitchctl add-port br0 veth0")]
    AddPort {
        /// The bridge
        bridge: BridgeName,
        /// The interface
        device: IfName,
    },
    /// Stations: who is behind which port
    #[command(subcommand)]
    Fdb(FdbCommand),
    /// Routes, and which bridges may reach which
    #[command(subcommand)]
    Route(RouteCommand),
    /// The router's neighbours: which IP address has which MAC address
    #[command(subcommand, visible_alias = "neighbour")]
    Neighbor(NeighborCommand),
    /// Tunnels to other hosts by VXLAN
    #[command(subcommand)]
    Vxlan(VxlanCommand),
    /// Address translation: masquerade, published ports, prefixes
    #[command(subcommand)]
    Nat(NatCommand),
    /// Services: one address for many backends
    #[command(subcommand, visible_alias = "svc")]
    Service(ServiceCommand),
    /// Sessions: who talks to whom
    #[command(subcommand)]
    Conn(ConnCommand),
    /// Rules: what is allowed, dropped, limited, mirrored
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Carry out the commands of a file, one a line: all of them or none, in one step
    #[command(after_help = "\
A line is a command without `vswitchctl`, divided into words as by a shell; # begins a comment. Only what is kept can
be changed so: no `port move`, and no `flush`.

Examples:
  vswitchctl batch /etc/vswitch/network
  vswitchctl batch - < network")]
    Batch {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// What the switch does with a packet, stage by stage
    #[command(after_help = "\
Examples:
  vswitchctl trace web-eth0 --like 'tcp 10.0.0.2:4000 > 10.1.0.3:80'
  vswitchctl trace web-eth0 --like 'udp 10.0.0.2:4000 > 10.1.0.3:53 len=1472 df'
  vswitchctl trace web-eth0 --like 'tcp 10.0.0.2:0 > 10.1.0.3:80' --live 3
  vswitchctl trace web-eth0 ffffffffffff0200000000010806")]
    Trace(TraceOptions),
    /// Frames as they pass, in a file that wireshark and tcpdump read
    #[command(after_help = "\
What is captured is what a port received and what it was given to transmit, super-frames uncut. Frames that come faster
than they are taken are left out, and counted at the end.

Examples:
  vswitchctl capture -w - | wireshark -k -i -
  vswitchctl capture web-eth0 db-eth0 --filter tcp,dport=5432 -c 100 -w db.pcapng
  vswitchctl capture --drops -w - | tshark -r - -T fields -e frame.interface_name -e frame.comment
  vswitchctl capture up -s 96 -w headers.pcapng")]
    Capture(CaptureOptions),
    /// Whether one container reaches another, and what decides it
    #[command(after_help = "\
Examples:
  vswitchctl why web-eth0 db-eth0
  vswitchctl why web-eth0 db-eth0 tcp 5432
  vswitchctl why web db.shop tcp 5432
  vswitchctl why 10.0.0.2 192.0.2.7 udp 53")]
    Why(WhyOptions),
    /// Frames and bytes by port
    #[command(
        after_help = "Examples:\n  vswitchctl stats\n  vswitchctl stats web-eth0 db-eth0\n  vswitchctl --json stats | jq .total"
    )]
    Stats(TrafficOptions),
    /// Lost frames by port and reason, with the last offender of each
    #[command(
        after_help = "Examples:\n  vswitchctl drops\n  vswitchctl drops web-eth0\n  vswitchctl --json drops | jq '.[] | select(.side == \"in\")'"
    )]
    Drops(TrafficOptions),
    /// What the workers' time goes to
    #[command(
        visible_alias = "pmd-perf-show",
        after_help = "Examples:\n  vswitchctl perf\n  vswitchctl pmd-perf-show"
    )]
    Perf,
    /// Whether all is well
    #[command(
        visible_alias = "show",
        after_help = "Examples:\n  vswitchctl status\n  vswitchctl --json status | jq .problems"
    )]
    Status,
    /// Versions of the daemon and of the protocol
    #[command(after_help = "Examples:\n  vswitchctl version")]
    Version,
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  vswitchctl completions bash > /etc/bash_completion.d/vswitchctl
  vswitchctl completions zsh > ~/.zfunc/_vswitchctl")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Whose traffic.
#[derive(Debug, Clone, Args)]
pub struct TrafficOptions {
    /// Ports and tunnels [default: all, those that were removed included]
    pub ports: Vec<PortName>,
}

/// Options of the demonstration.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  vswitchctl demo
  vswitchctl demo --seconds 1
  vswitchctl --json demo")]
pub struct DemoOptions {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("use 0.1 to 60 seconds".to_owned()),
    }
}

/// That at least one of these is to change.
fn change(settings: &'static [&'static str]) -> ArgGroup {
    ArgGroup::new("change").args(settings).required(true).multiple(true)
}
