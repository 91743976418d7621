//! The command line, as typed.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use ctl::{
    BridgeName, IfName, IpCidr, MacAddr, Mtu, NetdevMode, NetnsRef, PortName, VlanId, VlanIds,
};

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 internal error   2 bad request   3 does not exist   4 exists already or is in use
  5 the kernel refused   6 vswitchd is not reachable   7 not permitted

Examples:
  vswitchctl demo
  vswitchctl bridge add br0
  vswitchctl attach web --bridge br0 --ip 10.0.0.2/24 --gateway 10.0.0.1
  vswitchctl port add v0 --bridge br0 --netdev veth0
  vswitchctl drops";

/// The heading of options that every command has.
const EVERYWHERE: &str = "Everywhere";

/// Gives orders to vswitchd, the userspace packet switch for containers.
#[derive(Debug, Parser)]
#[command(name = "vswitchctl", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// The daemon's socket
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH",
          default_value = ctl::DEFAULT_SOCKET, env = "VSWITCH_SOCKET")]
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
    /// Bridges
    #[command(subcommand)]
    Bridge(BridgeCommand),
    /// Ports
    #[command(subcommand)]
    Port(PortCommand),
    /// Give a container an interface on a bridge; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl attach web --bridge br0 --ip 10.0.0.2/24 --gateway 10.0.0.1
  vswitchctl attach 4711 --bridge br0 --ifname net1 --ip fd00::2/64
  vswitchctl attach /proc/4711/ns/net --bridge br0 --access 10")]
    Attach(AttachOptions),
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
    /// Frames and bytes by port
    #[command(after_help = "Examples:\n  vswitchctl stats\n  vswitchctl --json stats | jq .total")]
    Stats,
    /// Lost frames by port and reason, with the last offender of each
    #[command(
        after_help = "Examples:\n  vswitchctl drops\n  vswitchctl --json drops | jq '.[] | select(.side == \"in\")'"
    )]
    Drops,
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

/// What to do with bridges.
#[derive(Debug, Subcommand)]
pub enum BridgeCommand {
    /// Make a bridge
    #[command(
        after_help = "Examples:\n  vswitchctl bridge add br0\n  vswitchctl bridge add br0 --mtu 9000 --ageing 60 --may-exist"
    )]
    Add {
        /// Its name
        name: BridgeName,
        #[command(flatten)]
        settings: BridgeSettings,
        /// Succeed if it exists already
        #[arg(long)]
        may_exist: bool,
    },
    /// Remove a bridge without ports
    #[command(
        after_help = "Examples:\n  vswitchctl bridge del br0\n  vswitchctl bridge del br0 --if-exists"
    )]
    Del {
        /// Its name
        name: BridgeName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
    },
    /// List all bridges
    #[command(after_help = "Examples:\n  vswitchctl bridge list")]
    List,
    /// Show one bridge
    #[command(after_help = "Examples:\n  vswitchctl bridge show br0")]
    Show {
        /// Its name
        name: BridgeName,
    },
    /// Change a bridge; what is not given stays
    #[command(
        group = change(&["ageing", "mac_limit", "mtu"]),
        after_help = "Examples:\n  vswitchctl bridge set br0 --ageing 60\n  vswitchctl bridge set br0 --mac-limit 100000"
    )]
    Set {
        /// Its name
        name: BridgeName,
        #[command(flatten)]
        settings: BridgeSettings,
    },
}

/// That at least one of these is to change.
fn change(settings: &'static [&'static str]) -> ArgGroup {
    ArgGroup::new("change").args(settings).required(true).multiple(true)
}

/// Settings of a bridge.
#[derive(Debug, Args)]
pub struct BridgeSettings {
    /// Forget a silent station after so many seconds [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub ageing: Option<u32>,
    /// Learn at most so many stations [default: 8192]
    #[arg(long, value_name = "COUNT")]
    pub mac_limit: Option<u32>,
    /// MTU of ports that have none of their own [default: 1500]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
}

/// What to do with ports.
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Make a port: a new interface (--tap), or one that exists already (--netdev)
    #[command(after_help = "\
Examples:
  vswitchctl port add web0 --bridge br0 --tap --netns web --ip 10.0.0.2/24 --gateway 10.0.0.1
  vswitchctl port add web1 --bridge br0 --tap --netns 4711 --ifname net1 --mtu 9000 --queues 2
  vswitchctl port add v0 --bridge br0 --netdev veth0
  vswitchctl port add up0 --bridge br0 --netdev eth1 --mode xdp --trunk 10-20 --native 1")]
    Add(Box<PortOptions>),
    /// Remove a port
    #[command(
        after_help = "Examples:\n  vswitchctl port del web0\n  vswitchctl port del web0 --if-exists"
    )]
    Del {
        /// Its name
        name: PortName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
    },
    /// List all ports
    #[command(after_help = "Examples:\n  vswitchctl port list")]
    List,
    /// Show one port: its device, offloads and workers
    #[command(after_help = "Examples:\n  vswitchctl port show web0")]
    Show {
        /// Its name
        name: PortName,
    },
    /// Change a port; what is not given stays
    #[command(
        group = change(&["access", "trunk", "no_vlans", "isolated", "hairpin", "mac_limit", "mtu"]),
        after_help = "\
Examples:
  vswitchctl port set web0 --access 10
  vswitchctl port set web0 --no-vlans
  vswitchctl port set web0 --isolated true --mtu 1450
  vswitchctl port set web0 --mtu bridge"
    )]
    Set {
        /// Its name
        name: PortName,
        #[command(flatten)]
        vlan: VlanOptions,
        /// Handle VLANs no longer
        #[arg(long, conflicts_with_all = ["access", "trunk"])]
        no_vlans: bool,
        /// Whether it talks to no other isolated port
        #[arg(long, value_name = "BOOL")]
        isolated: Option<bool>,
        /// Whether frames may go back to the port that they came from
        #[arg(long, value_name = "BOOL")]
        hairpin: Option<bool>,
        /// Learn at most so many stations on it; `bridge` for its bridge's limit
        #[arg(long, value_name = "COUNT")]
        mac_limit: Option<OrBridge<u32>>,
        /// Its MTU; `bridge` for its bridge's
        #[arg(long, value_name = "BYTES")]
        mtu: Option<OrBridge<Mtu>>,
    },
    /// Let another worker serve a port, until the daemon ends (`perf` shows how busy they are)
    #[command(after_help = "Examples:\n  vswitchctl port move web0 --worker 1")]
    Move {
        /// Its name
        name: PortName,
        /// The worker, counted from 0 in the order of --cores
        #[arg(long, value_name = "NUMBER")]
        worker: u16,
    },
}

/// A setting of a port's own, or none: its bridge's.
#[derive(Debug, Clone, Copy)]
pub struct OrBridge<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrBridge<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "bridge" { Ok(Self(None)) } else { text.parse().map(|own| Self(Some(own))) }
    }
}

/// How a port handles VLANs.
#[derive(Debug, Clone, Args)]
pub struct VlanOptions {
    /// Untagged frames belong to this VLAN
    #[arg(long, value_name = "VLAN", conflicts_with = "trunk")]
    pub access: Option<VlanId>,
    /// Carry these VLANs tagged, such as 1,2,10-20
    #[arg(long, value_name = "VLANS")]
    pub trunk: Option<VlanIds>,
    /// On a trunk, untagged frames belong to this VLAN
    #[arg(long, value_name = "VLAN", requires = "trunk")]
    pub native: Option<VlanId>,
}

/// A port to make.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("kind").required(true).args(["tap", "netdev"]))]
pub struct PortOptions {
    /// Its name
    pub name: PortName,
    /// The bridge
    #[arg(long)]
    pub bridge: BridgeName,
    /// Make a new interface, and move it into the container
    #[arg(long)]
    pub tap: bool,
    /// Take an interface that exists already
    #[arg(long, value_name = "DEV")]
    pub netdev: Option<IfName>,
    /// How frames of an existing interface are moved: auto, gso or xdp
    #[arg(long, value_name = "MODE", default_value_t, conflicts_with = "tap")]
    pub mode: NetdevMode,
    /// The container's namespace: a name, a path or a process id
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<NetnsRef>,
    #[command(flatten)]
    pub interface: InterfaceOptions,
    #[command(flatten)]
    pub vlan: VlanOptions,
    /// Queues, each of which may be served by another worker
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "netdev")]
    pub queues: u16,
    /// Talk to no other isolated port
    #[arg(long)]
    pub isolated: bool,
    /// Frames may go back to the port that they came from
    #[arg(long)]
    pub hairpin: bool,
    /// Learn at most so many stations on it
    #[arg(long, value_name = "COUNT")]
    pub mac_limit: Option<u32>,
    /// Its MTU [default: the bridge's]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
}

/// An interface to make.
#[derive(Debug, Args)]
pub struct InterfaceOptions {
    /// The interface's name in the container
    #[arg(long, default_value_t, conflicts_with = "netdev")]
    pub ifname: IfName,
    /// The interface's MAC address [default: chosen]
    #[arg(long, conflicts_with = "netdev")]
    pub mac: Option<MacAddr>,
    /// An address of the interface (may be repeated)
    #[arg(long = "ip", value_name = "CIDR", conflicts_with = "netdev")]
    pub ips: Vec<IpCidr>,
    /// The container's default gateway (one of each IP version)
    #[arg(long = "gateway", value_name = "IP", conflicts_with = "netdev")]
    pub gateways: Vec<IpAddr>,
}

/// A container to attach.
#[derive(Debug, Args)]
pub struct AttachOptions {
    /// Its namespace: a name, a path or a process id
    pub netns: NetnsRef,
    /// The bridge
    #[arg(long)]
    pub bridge: BridgeName,
    /// The interface's name in the container
    #[arg(long, default_value_t)]
    pub ifname: IfName,
    /// The interface's MAC address [default: chosen]
    #[arg(long)]
    pub mac: Option<MacAddr>,
    /// An address of the interface (may be repeated)
    #[arg(long = "ip", value_name = "CIDR")]
    pub ips: Vec<IpCidr>,
    /// The container's default gateway (one of each IP version)
    #[arg(long = "gateway", value_name = "IP")]
    pub gateways: Vec<IpAddr>,
    /// The MTU [default: the bridge's]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
    #[command(flatten)]
    pub vlan: VlanOptions,
}

/// A container to detach.
#[derive(Debug, Args)]
pub struct DetachOptions {
    /// Its namespace, as it was given to `attach`
    pub netns: NetnsRef,
    /// The interface's name in the container
    #[arg(long, default_value_t)]
    pub ifname: IfName,
}

/// What to do with stations.
#[derive(Debug, Subcommand)]
pub enum FdbCommand {
    /// Show stations
    #[command(
        after_help = "Examples:\n  vswitchctl fdb show\n  vswitchctl fdb show br0 --port web0\n  vswitchctl fdb/show br0"
    )]
    Show(FdbFilterOptions),
    /// Enter a station by hand: it does not age or move
    #[command(
        after_help = "Examples:\n  vswitchctl fdb add br0 02:00:00:00:00:01 --port web0\n  vswitchctl fdb add br0 02:00:00:00:00:01 --port up0 --vlan 10"
    )]
    Add {
        /// The bridge
        bridge: BridgeName,
        /// The station's address
        mac: MacAddr,
        /// The port that it is behind
        #[arg(long)]
        port: PortName,
        /// Its VLAN, on a VLAN-aware port
        #[arg(long)]
        vlan: Option<VlanId>,
    },
    /// Remove a station, entered or learned
    #[command(after_help = "Examples:\n  vswitchctl fdb del br0 02:00:00:00:00:01")]
    Del {
        /// The bridge
        bridge: BridgeName,
        /// The station's address
        mac: MacAddr,
        /// Its VLAN, on a VLAN-aware port
        #[arg(long)]
        vlan: Option<VlanId>,
    },
    /// Forget learned stations
    #[command(
        after_help = "Examples:\n  vswitchctl fdb flush\n  vswitchctl fdb flush br0 --port web0"
    )]
    Flush(FdbFilterOptions),
}

/// Which stations.
#[derive(Debug, Args)]
pub struct FdbFilterOptions {
    /// Of this bridge only
    pub bridge: Option<BridgeName>,
    /// Behind this port only
    #[arg(long)]
    pub port: Option<PortName>,
    /// In this VLAN only
    #[arg(long)]
    pub vlan: Option<VlanId>,
}
