//! What a network configuration asks of the daemon: the network, the endpoint, and what is bound to it.

use std::net::IpAddr;

use ctl::ipam::Span;
use ctl::response::{EndpointInfo, NetworkInfo};
use ctl::{
    BridgeName, Egress, Forward, HostName, Ingress, NatAdd, NatRule, NetworkConnect, NetworkCreate,
    NetworkSettings, Overlay, PortRange, PortSet, Prefix, Publish, Rate, TapRoute,
};

use crate::runtime::{Bandwidth, PortMapping};
use crate::switch::Outside;
use crate::{
    Address, Args, Attachment, CniError, Dns, Ipam, Label, NetConf, Outcome, Range, Route, Sandbox,
};

/// What ADD is to make, and CHECK to find.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) conf: &'a NetConf,
    args: &'a Args,
    /// What another plugin gave, if another plugin gives the addresses.
    given: Option<&'a Outcome>,
    network: BridgeName,
    /// How fast frames may go to the container.
    egress: Option<Egress>,
    ingress: Option<Ingress>,
}

impl<'a> Wanted<'a> {
    /// What a configuration asks for. Whatever the switch does not do is refused here, before anything is made.
    pub(crate) fn new(conf: &'a NetConf, args: &'a Args) -> Result<Self, CniError> {
        let bandwidth = conf.runtime.bandwidth.unwrap_or_default();
        let (egress, ingress) = (to_container(bandwidth)?, from_container(bandwidth)?);
        Ok(Self { conf, args, given: None, network: conf.network()?, egress, ingress })
    }

    /// The same with the addresses that another plugin gave.
    pub(crate) fn with(self, given: Option<&'a Outcome>) -> Self {
        Self { given, ..self }
    }

    /// The name of the network.
    pub(crate) fn network(&self) -> &BridgeName {
        &self.network
    }

    /// The network, if it has to be made.
    pub(crate) fn create(&self) -> Result<NetworkCreate, CniError> {
        let keys = &self.conf.keys;
        let default = NetworkSettings::default();
        let overlay = keys.vxlan.as_ref().map(|tunnel| Overlay {
            vni: tunnel.vni,
            local: tunnel.local,
            via: tunnel.via.clone(),
            remotes: tunnel.remotes.clone(),
        });
        let settings = NetworkSettings {
            internal: keys.internal.unwrap_or(default.internal),
            isolated: keys.isolated.unwrap_or(default.isolated),
            shape: keys.shape.unwrap_or(default.shape),
            masquerade: keys.ip_masq.unwrap_or(default.masquerade),
            mtu: keys.mtu.unwrap_or(default.mtu),
            vxlan: overlay,
            ..default
        };
        let subnets = self.subnets();
        let gateways = subnets.iter().filter_map(|(_, gateway)| *gateway).collect::<Vec<_>>();
        Ok(NetworkCreate {
            settings,
            // Who gives the addresses also says where the gateway is, and whether there is one.
            no_gateway: self.given.is_some() && gateways.is_empty(),
            gateways,
            subnets: subnets.into_iter().map(|(subnet, _)| subnet).collect(),
            ranges: self.spans()?,
            unnumbered: self.is_unnumbered(),
            ..NetworkCreate::new(self.network.clone())
        })
    }

    /// The endpoint.
    pub(crate) fn connect(
        &self,
        present: &NetworkInfo,
        attachment: &Attachment,
        sandbox: &Sandbox,
    ) -> Result<NetworkConnect, CniError> {
        let asked = || self.conf.requested_ips(self.args);
        let given = |given: &Outcome| given.ips.iter().map(|ip| ip.address.addr).collect();
        Ok(NetworkConnect {
            ifname: attachment.ifname.clone(),
            ips: self.given.map_or_else(asked, given),
            mac: self.conf.mac(self.args),
            aliases: self.aliases(),
            owner: Some(Label::new(&self.conf.keys.name, attachment).owner()?),
            no_default_route: !self.leads_out(),
            dhcp: self.conf.ipam.asks_through_interface() && !present.subnets.is_empty(),
            routes: self.tap_routes(present)?,
            ..NetworkConnect::new(self.network.clone(), sandbox.netns.clone())
        })
    }

    /// Whether ports outside are to lead to the endpoint.
    pub(crate) fn publishes(&self) -> bool {
        self.mappings().next().is_some()
    }

    /// Runtimes write zero for a port that is not to be published.
    fn mappings(&self) -> impl Iterator<Item = &'a PortMapping> {
        self.conf.runtime.port_mappings.iter().filter(|mapping| mapping.host_port != 0)
    }

    /// The rules that lead ports outside to the endpoint.
    pub(crate) fn publications(
        &self,
        present: &NetworkInfo,
        endpoint: &EndpointInfo,
        there: &Outside,
    ) -> Result<Vec<NatAdd>, CniError> {
        let asked = &self.conf.keys.publish_on;
        let outside = if asked.is_empty() { present.uplinks.as_slice() } else { asked };
        let mut rules = Vec::new();
        for mapping in self.mappings() {
            // On the host's loopback the daemon listens itself, whatever uplinks there are.
            let is_loopback = mapping.host_ip.is_some_and(|address| address.is_loopback());
            let outside =
                if is_loopback { std::slice::from_ref(&endpoint.network) } else { outside };
            if outside.is_empty() {
                let NetworkSettings { internal, shape, .. } = &present.settings;
                let is_answered = shape.is_bridged() && !internal;
                let others = if is_answered { ", or name bridges in publishOn" } else { "" };
                return Err(CniError::invalid("portMappings", present.no_uplink() + others));
            }
            let of_version = |addr: &IpAddr| match mapping.host_ip {
                Some(host) => host.is_ipv4() == addr.is_ipv4(),
                None => true,
            };
            let addresses = endpoint.addresses.iter().map(|info| info.address.addr);
            let addresses: Vec<_> = addresses.filter(of_version).collect();
            if addresses.is_empty() {
                let why = "the switch gives the container no address (of hostIP's version) to which it could lead";
                return Err(CniError::invalid(format!("portMappings, {}", mapping.host_port), why));
            }
            for on in where_it_is(mapping, outside, there)? {
                for addr in &addresses {
                    rules.push(publication(mapping, on, *addr, endpoint)?);
                }
            }
        }
        Ok(rules)
    }

    /// The rates of the endpoint's port, if it has any.
    pub(crate) fn shape(&self, endpoint: &EndpointInfo) -> Option<PortSet> {
        let (egress, ingress) = (self.egress.map(Some), self.ingress.map(Some));
        let is_shaped = egress.is_some() || ingress.is_some();
        is_shaped.then(|| PortSet { egress, ingress, ..PortSet::new(endpoint.port.clone()) })
    }

    /// What ADD reports of an endpoint.
    pub(crate) fn outcome(&self, endpoint: &EndpointInfo, sandbox: &Sandbox) -> Outcome {
        let interface = crate::Interface {
            name: endpoint.ifname.to_string(),
            mac: endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu: Some(endpoint.mtu),
            sandbox: sandbox.path.clone(),
        };
        let address = |info: &ctl::response::AddressInfo| Address {
            address: info.address,
            gateway: info.gateway,
            interface: Some(0),
        };
        let default = |gateway: &IpAddr| Route {
            dst: Prefix::everything(gateway.is_ipv4()),
            gw: Some(*gateway),
        };
        let own = endpoint.routes.iter().map(|route| Route { dst: route.to, gw: Some(route.via) });
        let dns = self.conf.dns();
        let given = self.given.map(|given| given.dns.clone()).filter(|given| !given.is_empty());
        // Where nobody says anything of names, plugins before this one included, the gateways answer them.
        let before = self.conf.previous.as_ref().and_then(|before| before.get("dns")?.as_object());
        let is_said = before.is_some_and(|dns| !dns.is_empty());
        let gateways = || endpoint.resolvers.iter().map(ToString::to_string);
        let ours =
            || Dns { nameservers: gateways().filter(|_| !is_said).collect(), ..Dns::default() };
        Outcome {
            interfaces: vec![interface],
            ips: endpoint.addresses.iter().map(address).collect(),
            routes: endpoint.default_gateways.iter().map(default).chain(own).collect(),
            dns: if dns.is_empty() { given.unwrap_or_else(ours) } else { dns },
        }
    }

    /// The subnets, each with its gateway if it is said.
    pub(crate) fn subnets(&self) -> Vec<(Prefix, Option<IpAddr>)> {
        let mut subnets: Vec<(Prefix, Option<IpAddr>)> = Vec::new();
        let all: Vec<_> = match (self.given, &self.conf.ipam) {
            (Some(given), _) => {
                given.ips.iter().map(|ip| (ip.address.subnet(), ip.gateway)).collect()
            }
            (None, Ipam::Daemon(subnets)) => {
                let ranges = subnets.ranges(&self.conf.runtime);
                ranges.iter().map(|range| (range.subnet, range.gateway)).collect()
            }
            _ => Vec::new(),
        };
        for (subnet, gateway) in all {
            if subnets.iter().all(|(other, _)| *other != subnet) {
                subnets.push((subnet, gateway));
            }
        }
        subnets
    }

    pub(crate) fn spans(&self) -> Result<Vec<Span>, CniError> {
        match (self.given, &self.conf.ipam) {
            (None, Ipam::Daemon(subnets)) => subnets
                .ranges(&self.conf.runtime)
                .iter()
                .filter_map(|range| span(range).transpose())
                .collect(),
            _ => Ok(Vec::new()),
        }
    }

    fn is_unnumbered(&self) -> bool {
        match &self.conf.ipam {
            Ipam::Nobody => true,
            Ipam::Daemon(_) => false,
            // One that has not given any yet asks through the interface: whoever is there gives them.
            Ipam::Plugin(_) => self.given.is_none_or(|given| given.ips.is_empty()),
        }
    }

    fn routes(&self) -> &[Route] {
        match (self.given, &self.conf.ipam) {
            (Some(given), _) => &given.routes,
            (None, Ipam::Daemon(subnets)) => &subnets.routes,
            _ => &[],
        }
    }

    /// Whether default routes by the network's gateways are asked for.
    fn leads_out(&self) -> bool {
        let by_gateway = |route: &Route| route.dst.prefix_len() == 0 && route.gw.is_none();
        self.conf.keys.is_default_gateway || self.routes().iter().any(by_gateway)
    }

    /// The routes that are not the default ones by the network's gateways.
    fn tap_routes(&self, present: &NetworkInfo) -> Result<Vec<TapRoute>, CniError> {
        let gateway = |ipv4: bool| {
            let gateways = present.subnets.iter().filter_map(|subnet| subnet.gateway);
            gateways.into_iter().find(|gateway| gateway.is_ipv4() == ipv4)
        };
        let others = self.routes().iter().filter(|r| r.dst.prefix_len() > 0 || r.gw.is_some());
        let route = |route: &Route| {
            let via = route.gw.or_else(|| gateway(route.dst.is_ipv4()));
            let why = "it has no gw, and the network no gateway of its IP version";
            let no_gateway = || CniError::invalid(format!("route to {}", route.dst), why);
            Ok(TapRoute { to: route.dst, via: via.ok_or_else(no_gateway)? })
        };
        others.map(route).collect()
    }

    fn aliases(&self) -> Vec<HostName> {
        let aliases = self.conf.runtime.aliases.as_ref();
        let mut names = aliases.map_or_else(Vec::new, |all| all.on(&self.conf.keys.name).to_vec());
        names.extend(
            self.args.pod.iter().filter(|pod| !names.contains(pod)).cloned().collect::<Vec<_>>(),
        );
        names
    }
}

/// What is given out of a range, if it is not the whole subnet.
fn span(range: &Range) -> Result<Option<Span>, CniError> {
    if range.range_start.is_none() && range.range_end.is_none() {
        return Ok(None);
    }
    let hosts = Span::hosts(&range.subnet);
    let (first, last) =
        (range.range_start.unwrap_or(hosts.first()), range.range_end.unwrap_or(hosts.last()));
    let span = Span::between(first, last);
    span.map(Some).ok_or_else(|| CniError::invalid("ipam", format!("{first} is after {last}")))
}

/// The bridges on which a port is to be published: those that have the address, all where none is said.
fn where_it_is<'a>(
    mapping: &PortMapping,
    outside: &'a [BridgeName],
    there: &Outside,
) -> Result<Vec<&'a BridgeName>, CniError> {
    let Some(address) = mapping.host_ip.filter(|address| !address.is_loopback()) else {
        return Ok(outside.iter().collect());
    };
    let settings =
        |on: &BridgeName| Some(&there.bridges.iter().find(|info| info.name == *on)?.settings);
    let has_it = |on: &&BridgeName| {
        let rules = there.rules.iter().map(|info| &info.rule);
        settings(on).is_some_and(|bridge| bridge.leads_from(address, on, rules))
    };
    let having: Vec<_> = outside.iter().filter(has_it).collect();
    if !having.is_empty() {
        return Ok(having);
    }
    let own = |on: &BridgeName| {
        let gateways = settings(on).into_iter().flat_map(|bridge| &bridge.gateways);
        let own: Vec<_> = gateways.map(|gateway| gateway.addr.to_string()).collect();
        format!("{on} ({})", if own.is_empty() { "none".to_owned() } else { own.join(" ") })
    };
    let own: Vec<_> = outside.iter().map(own).collect();
    let why = format!("hostIP {address} is no address of bridge {}", own.join(" or "));
    Err(CniError::invalid(format!("portMappings, {}", mapping.host_port), why))
}

fn publication(
    mapping: &PortMapping,
    on: &BridgeName,
    container: IpAddr,
    endpoint: &EndpointInfo,
) -> Result<NatAdd, CniError> {
    let not_a_port = || CniError::invalid("portMappings", "0 is no port of a container");
    let forward = Forward {
        address: mapping.host_ip,
        ports: PortRange::one(mapping.host_port).ok_or_else(not_a_port)?,
        container,
        container_port: PortRange::one(mapping.container_port).ok_or_else(not_a_port)?.first(),
        protocol: mapping.protocol,
    };
    let rule = NatRule::Publish(Publish {
        on: on.clone(),
        forward,
        to: Some(endpoint.network.clone()),
        port: Some(endpoint.port.clone()),
    });
    Ok(NatAdd { name: None, rule })
}

/// The limit to what goes to a container, which leaves the switch by its port. What it may receive at once is what may wait
/// for it.
fn to_container(bandwidth: Bandwidth) -> Result<Option<Egress>, CniError> {
    let rate = rate("bandwidth.ingressRate", bandwidth.ingress_rate)?;
    let queue_bytes = at_once(bandwidth.ingress_burst);
    Ok(rate.map(|rate| Egress { rate, queue_bytes }))
}

/// The limit to what comes from a container, which comes into the switch by its port.
fn from_container(bandwidth: Bandwidth) -> Result<Option<Ingress>, CniError> {
    let rate = rate("bandwidth.egressRate", bandwidth.egress_rate)?;
    let burst_bytes = at_once(bandwidth.egress_burst);
    Ok(rate.map(|rate| Ingress { rate, burst_bytes }))
}

/// Zero is no limit.
fn rate(key: &'static str, bits_per_second: u64) -> Result<Option<Rate>, CniError> {
    let rate = (bits_per_second > 0).then(|| format!("{bits_per_second}bit").parse());
    rate.transpose().map_err(|error| CniError::invalid(key, error))
}

/// Bits at once as the bytes of a bucket or queue, which has room for super-frames.
fn at_once(bits: u64) -> Option<u32> {
    let bytes = u32::try_from(bits / 8).unwrap_or(u32::MAX);
    (bytes > 0).then(|| bytes.clamp(Egress::MIN_QUEUE_BYTES, Egress::MAX_QUEUE_BYTES))
}
