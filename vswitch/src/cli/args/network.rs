//! Networks, as typed.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ctl::ipam::Span;
use ctl::{BridgeName, HostName, IfName, MacAddr, Mtu, NetnsRef, Owner, Prefix, TapRoute, Vni};

use super::change;

/// What to do with networks.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a network: a bridge with addresses, gateway, a way out and perhaps a tunnel; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl network create shop
  vswitchctl network create shop --subnet 10.1.0.0/24 --subnet fd01::/64 --gateway 10.1.0.254
  vswitchctl network create shop --resolver 192.0.2.53
  vswitchctl network create db --internal --ipv6 --label owner=alice
  vswitchctl network create lab --subnet 10.2.0.0/16 --ip-range 10.2.128.0/17 --reserve 10.2.128.1-10.2.128.9
  vswitchctl network create all --subnet 10.3.0.0/24 --vni 7 --remote 192.0.2.2
  vswitchctl network create all --subnet 10.3.0.0/24 --vni 7 --local 192.0.2.1 --remote 192.0.2.2
  vswitchctl network create lan --direct --subnet 192.0.2.0/24 --gateway 192.0.2.254 --ip-range 192.0.2.64/26
  vswitchctl network create dmz --routed --subnet 192.0.2.128/26
  vswitchctl network create pods --p2p --subnet 10.4.0.0/16
  vswitchctl network create shop --host-port
  vswitchctl network create a-network-with-a-long-name --host-port web0")]
    Create(Box<NetworkOptions>),
    /// List all networks
    #[command(
        visible_alias = "ls",
        after_help = "\
The way out is by the uplinks: bridges with an address and a default route, such as `vswitchctl port add world --netdev
eth0 --shared` makes. \"no uplink\": there is none yet, and the network will follow the first that comes. \"internal\" has
none by its own will, \"no gateway\" has nobody who could lead there, \"by hand\" is what `nat` and `route` say, and
\"the wire\" and \"routed\" are shapes.

Examples:
  vswitchctl network list"
    )]
    List,
    /// Show one network, and the containers on it
    #[command(visible_alias = "show", after_help = "Examples:\n  vswitchctl network inspect shop")]
    Inspect {
        /// Its name
        name: BridgeName,
    },
    /// Remove a network that no container is on; the host's own interface goes with it
    #[command(
        visible_alias = "del",
        aliases = ["delete", "remove"],
        after_help = "\
Examples:
  vswitchctl network rm shop
  vswitchctl network rm shop --if-exists
  vswitchctl network rm shop --force"
    )]
    Rm {
        /// Its name
        name: BridgeName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
        /// Remove what refers to it too: routes, rules, services, and interfaces of the host on its bridge
        #[arg(long)]
        force: bool,
    },
    /// Change a network; what is not given stays
    #[command(
        group = change(&["internal", "isolated", "masquerade", "mtu", "remotes", "no_remotes", "dns", "resolvers",
                        "no_resolvers", "dhcp", "labels", "host_port", "no_host_port"]),
        after_help = "\
Examples:
  vswitchctl network set shop --isolated true
  vswitchctl network set shop --masquerade false
  vswitchctl network set shop --resolver 192.0.2.53 --resolver 2001:db8::53
  vswitchctl network set all --remote 192.0.2.2 --remote 192.0.2.3
  vswitchctl network set shop --label owner=bob --label note=
  vswitchctl network set shop --host-port
  vswitchctl network set shop --no-host-port"
    )]
    Set(Box<NetworkChanges>),
    /// Connect a container to a network: an interface, addresses, MTU, default route; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl network connect shop web
  vswitchctl network connect shop 4711 --ifname eth1 --ip 10.1.0.7 --alias db
  vswitchctl network connect shop /proc/4711/ns/net --owner 0a1b2c/eth0 --no-default-route
  vswitchctl network connect shop vm1 --dhcp
  vswitchctl network connect shop web --route '10.9.0.0/16 via 10.1.0.9'")]
    Connect(Box<ConnectOptions>),
    /// Disconnect a container from a network; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl network disconnect shop web
  vswitchctl network disconnect shop 4711 --ifname eth1")]
    Disconnect {
        /// The network
        network: BridgeName,
        /// The container's namespace: a name, a path or a process id
        netns: NetnsRef,
        /// The interface's name in the container [default: that of its only one on the network]
        #[arg(long)]
        ifname: Option<IfName>,
    },
}

/// A network to make.
#[derive(Debug, Args)]
pub struct NetworkOptions {
    /// Its name, and that of its bridge
    pub name: BridgeName,
    /// A subnet (may be repeated) [default: a free private one]
    #[arg(long = "subnet", value_name = "CIDR")]
    pub subnets: Vec<Prefix>,
    /// With IPv6 too: if no subnet of it is given, a free private one
    #[arg(long)]
    pub ipv6: bool,
    /// A gateway's address, one in each subnet [default: the first]
    #[arg(long = "gateway", value_name = "IP", conflicts_with = "no_gateway")]
    pub gateways: Vec<IpAddr>,
    /// Without an address of the switch: nothing is routed
    #[arg(long)]
    pub no_gateway: bool,
    /// Without subnets: nobody's addresses are given out, and the switch has none
    #[arg(long, conflicts_with_all = ["subnets", "ipv6", "gateways", "ranges", "reserved"])]
    pub unnumbered: bool,
    /// Addresses for containers that ask for none, A-B or CIDR (may be repeated) [default: all]
    #[arg(long = "ip-range", value_name = "RANGE")]
    pub ranges: Vec<Span>,
    /// Addresses for no container, A-B, CIDR or one (may be repeated)
    #[arg(long = "reserve", value_name = "RANGE")]
    pub reserved: Vec<Span>,
    /// Without a way out: neither masquerade nor default route
    #[arg(long)]
    pub internal: bool,
    /// Its containers do not reach each other
    #[arg(long)]
    pub isolated: bool,
    /// On the wire of a port of its bridge: each has its own MAC address there, and the gateway is a router there (macvlan)
    #[arg(long, conflicts_with_all = ["routed", "p2p"])]
    pub direct: bool,
    /// Behind the uplinks' MAC address, where the gateways answer for them; no broadcasts, no masquerade (ipvlan L3)
    #[arg(long, conflicts_with = "p2p")]
    pub routed: bool,
    /// Each alone on a link with the gateway, by which it reaches the others
    #[arg(long)]
    pub p2p: bool,
    /// Do not masquerade: rules of address translation are added by hand
    #[arg(long)]
    pub no_masquerade: bool,
    /// The MTU, if no tunnel carries less
    #[arg(long, value_name = "BYTES", default_value_t)]
    pub mtu: Mtu,
    /// Join it to the network of this number on other hosts, by VXLAN
    #[arg(long)]
    pub vni: Option<Vni>,
    /// The address of this host, for --vni [default: the one from which it sends to the first remote, or by its default route;
    /// that of the gateway of --via]
    #[arg(long, value_name = "IP", requires = "vni")]
    pub local: Option<IpAddr>,
    /// The bridge of an uplink of the switch's over which its packets travel, for --vni [default: by the host's own network]
    #[arg(long, value_name = "BRIDGE", requires = "vni")]
    pub via: Option<BridgeName>,
    /// The address of another host, for --vni (may be repeated)
    #[arg(long = "remote", value_name = "IP", requires = "vni")]
    pub remotes: Vec<IpAddr>,
    /// Answer no names at the gateways
    #[arg(long)]
    pub no_dns: bool,
    /// Who is asked about names that are not the network's (may be repeated) [default: the host's resolvers]
    #[arg(long = "resolver", value_name = "IP")]
    pub resolvers: Vec<IpAddr>,
    /// Leave the IPv4 addresses of interfaces to the containers' own DHCP clients, and serve these
    #[arg(long)]
    pub dhcp: bool,
    /// A note (may be repeated)
    #[arg(long = "label", value_name = "KEY=TEXT", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Choose no subnet out of this network (may be repeated); those that the host has routes to are avoided anyway
    #[arg(long = "avoid", value_name = "CIDR")]
    pub avoid: Vec<Prefix>,
    /// Give the host itself an interface on it, with addresses of it [default name: the network's]
    #[arg(long, value_name = "IFNAME", num_args = 0..=1)]
    pub host_port: Option<Option<IfName>>,
}

/// A network to change.
#[derive(Debug, Args)]
pub struct NetworkChanges {
    /// Its name
    pub name: BridgeName,
    /// Whether it has no way out; containers that are connected lose their default routes by it, and get none
    #[arg(long, value_name = "BOOL")]
    pub internal: Option<bool>,
    /// Whether its containers do not reach each other
    #[arg(long, value_name = "BOOL")]
    pub isolated: Option<bool>,
    /// Whether it is masqueraded
    #[arg(long, value_name = "BOOL")]
    pub masquerade: Option<bool>,
    /// The MTU, if no tunnel carries less
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
    /// The other hosts, instead of the present ones (may be repeated)
    #[arg(long = "remote", value_name = "IP")]
    pub remotes: Vec<IpAddr>,
    /// Know no other hosts but those that are heard from
    #[arg(long, conflicts_with = "remotes")]
    pub no_remotes: bool,
    /// Whether its gateways answer names
    #[arg(long, value_name = "BOOL")]
    pub dns: Option<bool>,
    /// Who is asked about other names, instead of the present ones (may be repeated)
    #[arg(long = "resolver", value_name = "IP")]
    pub resolvers: Vec<IpAddr>,
    /// Ask the host's resolvers about other names
    #[arg(long, conflicts_with = "resolvers")]
    pub no_resolvers: bool,
    /// Whether containers that are connected later ask for their IPv4 addresses by DHCP
    #[arg(long, value_name = "BOOL")]
    pub dhcp: Option<bool>,
    /// A note to add or change; without a text it is taken away (may be repeated)
    #[arg(long = "label", value_name = "KEY=TEXT", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Give the host itself an interface on it, with addresses of it [default name: the network's]
    #[arg(long, value_name = "IFNAME", num_args = 0..=1)]
    pub host_port: Option<Option<IfName>>,
    /// Take the host's own interfaces on it away
    #[arg(long, conflicts_with = "host_port")]
    pub no_host_port: bool,
}

/// A container to connect.
#[derive(Debug, Args)]
pub struct ConnectOptions {
    /// The network
    pub network: BridgeName,
    /// The container's namespace: a name, a path or a process id
    pub netns: NetnsRef,
    /// The interface's name in the container
    #[arg(long, default_value_t)]
    pub ifname: IfName,
    /// An address (may be repeated) [default: the next free one of each subnet's IP version]
    #[arg(long = "ip", value_name = "IP")]
    pub ips: Vec<IpAddr>,
    /// The interface's MAC address [default: chosen]
    #[arg(long)]
    pub mac: Option<MacAddr>,
    /// A name by which others on the network find it (may be repeated)
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<HostName>,
    /// Whose its addresses are; what the owner holds already is used [default: the port's name]
    #[arg(long)]
    pub owner: Option<Owner>,
    /// No default route, even if it has none by another interface
    #[arg(long)]
    pub no_default_route: bool,
    /// It asks for its IPv4 addresses and routes by itself, by DHCP
    #[arg(long)]
    pub dhcp: bool,
    /// Another route, 'CIDR via IP' (may be repeated)
    #[arg(long = "route", value_name = "ROUTE")]
    pub routes: Vec<TapRoute>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=TEXT, such as owner=alice".to_owned()),
    }
}
