//! Bridges whose uplink is an interface that the host keeps: what the router is there is what the host is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::check::{Link, MAX_GATEWAYS, MAX_NEXT_HOPS, check_change};
use crate::loopback;
use crate::network::settle;
use crate::plan::touched;
use crate::{
    BridgeName, Config, CtlError, ErrorCode, IpCidr, MacAddr, Port, PortName, Prefix, Route,
};

/// The bridges that have, or had, a port by which they share an interface with the host, and share another one or none than before.
pub(crate) fn shared_otherwise<'a>(
    before: &'a Config,
    next: &'a Config,
) -> impl Iterator<Item = &'a BridgeName> {
    touched(&before.ports, &next.ports).flat_map(|(_, both)| {
        let [old, new] = both.map(|port| port.filter(|port| port.shared).map(|port| &port.bridge));
        [old, new].into_iter().flatten().filter(move |_| old != new)
    })
}

/// What the host has on an interface that it shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUplink {
    /// The interface's MAC address.
    pub mac: MacAddr,
    /// The host's addresses there.
    pub addresses: Vec<IpCidr>,
    /// The host's routes there: by these routers, or, where there is none, to stations of the link.
    pub routes: BTreeMap<Prefix, Vec<IpAddr>>,
}

impl Config {
    /// The port by which a bridge shares an interface with the host.
    pub fn shared_port(&self, bridge: &BridgeName) -> Option<(&PortName, &Port)> {
        self.ports.iter().find(|(_, port)| port.shared && port.bridge == *bridge)
    }

    /// That a bridge's addresses and routes are not the host's, which alone changes them.
    pub(crate) fn check_own(&self, bridge: &BridgeName) -> Result<(), CtlError> {
        match self.shared_port(bridge) {
            Some((port, _)) => Err(CtlError::new(
                ErrorCode::InUse,
                format!(
                    "bridge {bridge} has the addresses and routes of the host's interface behind port {port}, and follows \
                     them; change them on the host, with `ip address` and `ip route`"
                ),
            )),
            None => Ok(()),
        }
    }

    /// The configuration with a bridge that is, on its shared interface, what the host is there: it has the host's addresses,
    /// as many as a bridge can have, and of its routes those whose routers are on the link.
    ///
    /// # Errors
    /// [`CtlError`], when the rest of the configuration does not fit what the host has.
    pub fn following(&self, bridge: &BridgeName, host: &HostUplink) -> Result<Self, CtlError> {
        let mut next = self.clone();
        let Some(present) = next.bridges.get_mut(bridge) else { return Ok(next) };
        present.gateways = gateways(&host.addresses);
        present.gateway_mac = Some(host.mac);
        let (present, own) = (&*present, &present.gateways);
        let link = Link::of(present, host.routes.iter().map(|(to, via)| (to, &**via)));
        let has_version = |to: &Prefix| own.iter().any(|own| own.addr.is_ipv4() == to.is_ipv4());
        let is_own = |to: &Prefix| own.iter().any(|gateway| gateway.subnet() == *to);
        let routes: BTreeMap<_, _> = host
            .routes
            .iter()
            .filter(|(to, via)| {
                has_version(to) && !is_own(to) && via.iter().all(|via| link.has(*via))
            })
            .map(|(to, via)| {
                let once: BTreeSet<_> = via.iter().copied().collect();
                (*to, Route { via: once.into_iter().take(MAX_NEXT_HOPS).collect() })
            })
            .collect();
        if routes.is_empty() {
            next.routes.remove(bridge);
        } else {
            next.routes.insert(bridge.clone(), routes);
        }
        settle(self, &mut next);
        loopback::settle(self, &mut next);
        check_change(self, &next)?;
        Ok(next)
    }

    /// Takes back what a bridge had of the host.
    pub(crate) fn unfollow(&mut self, bridge: &BridgeName) {
        if let Some(present) = self.bridges.get_mut(bridge) {
            present.gateways.clear();
            present.gateway_mac = None;
        }
        self.routes.remove(bridge);
    }
}

/// The first address of each subnet, and behind them the further ones, each by itself.
fn gateways(addresses: &[IpCidr]) -> Vec<IpCidr> {
    let is_further = |(at, cidr): &(usize, &IpCidr)| {
        addresses.iter().enumerate().any(|(before, other)| {
            (other.prefix_len, before) < (cidr.prefix_len, *at) && other.contains(cidr.addr)
        })
    };
    let all = addresses.iter().enumerate();
    let (further, firsts): (Vec<_>, Vec<_>) = all.partition(is_further);
    let mut gateways: Vec<IpCidr> = firsts.into_iter().map(|(_, cidr)| *cidr).collect();
    for (_, cidr) in further {
        if gateways.iter().all(|own| own.addr != cidr.addr) {
            gateways.push(cidr.alone());
        }
    }
    gateways.truncate(MAX_GATEWAYS);
    gateways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IfName, Mutation, Named, NetdevMode, PortAdd, PortKind, apply};

    fn shared() -> Config {
        let config = Config::default();
        let device: IfName = "eth0".parse().unwrap();
        let kind = PortKind::Netdev { device, netns: None, mode: NetdevMode::Auto };
        let port = Port { shared: true, ..Port::new("up".parse().unwrap(), kind) };
        let add = PortAdd { name: "up0".parse().unwrap(), port };
        apply(&config, &Mutation::PortAdd(Box::new(add))).unwrap()
    }

    fn host() -> HostUplink {
        let route = |to: &str, via: &str| (to.parse().unwrap(), vec![via.parse().unwrap()]);
        HostUplink {
            mac: "02:00:00:00:00:01".parse().unwrap(),
            addresses: ["192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64"]
                .map(|cidr| cidr.parse().unwrap())
                .to_vec(),
            routes: [
                route("0.0.0.0/0", "192.0.2.1"),
                route("::/0", "fe80::1"),
                route("198.51.100.0/24", "203.0.113.1"),
            ]
            .into(),
        }
    }

    #[test]
    fn a_bridge_is_what_the_host_is_on_the_interface_that_they_share() {
        let up: BridgeName = "up".parse().unwrap();
        let next = shared().following(&up, &host()).unwrap();
        let bridge = &next.bridges[&up];
        let gateways: Vec<_> = bridge.gateways.iter().map(ToString::to_string).collect();
        assert_eq!(gateways, ["192.0.2.2/24", "2001:db8::2/64", "192.0.2.3/32"]);
        assert_eq!(bridge.gateway_mac, Some(host().mac));
        let routes: Vec<_> = next.routes[&up].keys().map(ToString::to_string).collect();
        assert_eq!(routes, ["0.0.0.0/0", "::/0"], "a router elsewhere is none of this bridge's");
        let bare = HostUplink { addresses: Vec::new(), ..host() };
        let next = next.following(&up, &bare).unwrap();
        assert!(next.bridges[&up].gateways.is_empty() && next.routes.is_empty());
    }

    #[test]
    fn an_address_by_itself_has_what_its_routes_say() {
        let up: BridgeName = "up".parse().unwrap();
        let to = |text: &str| text.parse::<Prefix>().unwrap();
        let router: IpAddr = "192.0.2.254".parse().unwrap();
        let host = HostUplink {
            addresses: vec!["192.0.2.10/32".parse().unwrap()],
            routes: [
                (to("192.0.2.254/32"), Vec::new()),
                (to("0.0.0.0/0"), vec![router]),
                (to("198.51.100.0/24"), vec!["203.0.113.1".parse().unwrap()]),
            ]
            .into(),
            ..host()
        };
        let next = shared().following(&up, &host).unwrap();
        let routes: Vec<_> = next.routes[&up].iter().collect();
        let expected = [
            (&to("0.0.0.0/0"), &Route { via: vec![router] }),
            (&to("192.0.2.254/32"), &Route { via: Vec::new() }),
        ];
        assert_eq!(routes, expected);
    }

    #[test]
    fn of_many_addresses_those_of_subnets_come_first_and_each_is_there_once() {
        let all = ["10.0.0.9/32", "10.0.0.1/24", "10.0.0.2/24", "10.0.0.1/32", "10.9.9.9/32"];
        let all = all.map(|cidr| cidr.parse::<IpCidr>().unwrap());
        let own: Vec<_> = gateways(&all).iter().map(ToString::to_string).collect();
        assert_eq!(own, ["10.0.0.1/24", "10.9.9.9/32", "10.0.0.9/32", "10.0.0.2/32"]);
        let many: Vec<_> =
            (1..=99).map(|host| format!("10.0.0.{host}/24").parse().unwrap()).collect();
        assert_eq!(gateways(&many).len(), MAX_GATEWAYS);
    }

    #[test]
    fn rules_outlive_the_address_that_they_need() {
        let up: BridgeName = "up".parse().unwrap();
        let mut config = shared().following(&up, &host()).unwrap();
        let inside = crate::Bridge {
            gateways: vec!["10.1.0.1/24".parse().unwrap(), "fd01::1/64".parse().unwrap()],
            ..crate::Bridge::default()
        };
        config.bridges.insert("in".parse().unwrap(), inside);
        for forward in ["8080:10.1.0.2:80/tcp", "8081:[fd01::2]:80/tcp"] {
            let publish = crate::Publish {
                on: up.clone(),
                to: None,
                forward: forward.parse().unwrap(),
                port: None,
            };
            let add = crate::NatAdd { name: None, rule: crate::NatRule::Publish(publish) };
            config = apply(&config, &Mutation::NatAdd(add)).unwrap();
        }
        let moved = HostUplink { addresses: vec!["192.0.2.9/24".parse().unwrap()], ..host() };
        let config = config.following(&up, &moved).unwrap();
        assert_eq!(config.bridges[&up].gateways[0].to_string(), "192.0.2.9/24");
        let bare = HostUplink { addresses: Vec::new(), ..host() };
        let config = config.following(&up, &bare).unwrap();
        assert_eq!(config.nat.len(), 2);
        // Such a state is found again by a daemon that starts, and nothing new is based on what is not there.
        crate::check::check(&config).unwrap();
        let publish = crate::Publish {
            on: up.clone(),
            to: None,
            forward: "8082:[fd01::2]:80/tcp".parse().unwrap(),
            port: None,
        };
        let add = crate::NatAdd { name: None, rule: crate::NatRule::Publish(publish) };
        let refused = apply(&config, &Mutation::NatAdd(add)).unwrap_err();
        assert!(refused.to_string().contains("no IPv6 address"), "{refused}");
    }

    #[test]
    fn a_routed_network_needs_an_uplink_of_the_switchs_own() {
        let up: BridgeName = "up".parse().unwrap();
        let config = shared().following(&up, &host()).unwrap();
        let mut create = crate::NetworkCreate::new("dmz".parse().unwrap());
        create.settings.shape = crate::Shape::Routed;
        create.subnets = vec!["198.51.100.0/24".parse().unwrap()];
        let refused = apply(&config, &Mutation::NetworkCreate(Box::new(create.clone())));
        assert!(refused.unwrap_err().to_string().contains("port up0"));
        let mut own = crate::BridgeAdd::new("own".parse().unwrap());
        own.gateways = vec!["203.0.113.1/24".parse().unwrap()];
        let config = apply(&config, &Mutation::BridgeAdd(own)).unwrap();
        let route = crate::RouteAdd {
            to: crate::Destination::Default,
            on: "own".parse().unwrap(),
            via: vec!["203.0.113.9".parse().unwrap()],
        };
        let config = apply(&config, &Mutation::RouteAdd(route)).unwrap();
        let config = apply(&config, &Mutation::NetworkCreate(Box::new(create))).unwrap();
        // What left by the shared one would have addresses for which nobody answers there.
        let (dmz, own) = ("dmz".parse().unwrap(), "own".parse().unwrap());
        assert_eq!(config.reached_from(&dmz).collect::<Vec<_>>(), [&own]);
        assert_eq!(config.reached_from(&own).collect::<Vec<_>>(), [&dmz]);
        assert_eq!(config.reached_from(&up).next(), None);
    }

    #[test]
    fn global_addresses_of_ipv6_are_hidden_where_answers_to_them_would_be_the_hosts() {
        let up: BridgeName = "up".parse().unwrap();
        let mut create = crate::NetworkCreate::new("web".parse().unwrap());
        create.subnets = vec!["10.1.0.0/24".parse().unwrap(), "2001:db8:7::/64".parse().unwrap()];
        let config = apply(&shared(), &Mutation::NetworkCreate(Box::new(create))).unwrap();
        let rules = |config: &Config| -> Vec<(BridgeName, bool)> {
            let rules = config.nat.values().filter_map(|rule| match rule {
                crate::NatRule::Masquerade(rule) => Some((rule.to.clone(), rule.ipv6)),
                _ => None,
            });
            rules.collect()
        };
        let web: BridgeName = "web".parse().unwrap();
        let here = config.following(&up, &host()).unwrap();
        assert_eq!(rules(&here), [(up.clone(), true)]);
        assert_eq!(here.reached_from(&web).next(), None, "nothing leaves untranslated");
        // Without an IPv6 address of the host's that counts beyond the site, IPv6 has no way out there.
        for own in [vec!["192.0.2.2/24"], vec!["192.0.2.2/24", "fd00::2/64"]] {
            let addresses = own.iter().map(|cidr| cidr.parse().unwrap()).collect();
            let bare = config.following(&up, &HostUplink { addresses, ..host() }).unwrap();
            assert_eq!(rules(&bare), [(up.clone(), false)], "{own:?}");
            assert_eq!(bare.reached_from(&web).next(), None);
        }
        // By an uplink of the switch's own they leave as they are.
        let mut own = crate::BridgeAdd::new("own".parse().unwrap());
        own.gateways = ["203.0.113.1/24", "fd00:5::1/64", "2001:db8:5::1/64"]
            .map(|cidr| cidr.parse().unwrap())
            .to_vec();
        let both = apply(&here, &Mutation::BridgeAdd(own)).unwrap();
        let on: BridgeName = "own".parse().unwrap();
        let via = vec!["203.0.113.9".parse().unwrap()];
        let route = crate::RouteAdd { to: crate::Destination::Default, on: on.clone(), via };
        let both = apply(&both, &Mutation::RouteAdd(route)).unwrap();
        assert_eq!(rules(&both), [(on.clone(), false), (up, true)]);
        assert_eq!(both.reached_from(&web).collect::<Vec<_>>(), [&on]);
        let outside = both.bridges[&on].outside(false);
        assert_eq!(
            outside,
            Some("2001:db8:5::1".parse().unwrap()),
            "not what is nobody's beyond the site"
        );
    }

    #[test]
    fn a_port_that_goes_takes_along_what_the_bridge_had_of_the_host() {
        let up: BridgeName = "up".parse().unwrap();
        let next = shared().following(&up, &host()).unwrap();
        let removal = Named { name: "up0".parse().unwrap(), if_exists: false };
        let next = apply(&next, &Mutation::PortDel(removal)).unwrap();
        assert!(next.bridges[&up].gateways.is_empty() && next.routes.is_empty());
    }

    #[test]
    fn a_port_stays_as_long_as_rules_need_the_addresses_that_its_bridge_has_by_it() {
        let up: BridgeName = "up".parse().unwrap();
        let mut config = shared().following(&up, &host()).unwrap();
        let gateways = vec!["10.1.0.1/24".parse().unwrap()];
        let inside = crate::Bridge { gateways, ..crate::Bridge::default() };
        config.bridges.insert("in".parse().unwrap(), inside);
        for forward in ["8080:10.1.0.2:80/tcp", "192.0.2.2:8081:10.1.0.2:81/tcp"] {
            let forward = forward.parse().unwrap();
            let publish = crate::Publish { on: up.clone(), to: None, forward, port: None };
            let name = (config.nat.is_empty()).then(|| "web".parse().unwrap());
            let add = crate::NatAdd { name, rule: crate::NatRule::Publish(publish) };
            config = apply(&config, &Mutation::NatAdd(add)).unwrap();
        }
        let removal = Mutation::PortDel(Named { name: "up0".parse().unwrap(), if_exists: false });
        let refused = apply(&config, &removal).unwrap_err();
        assert_eq!(refused.code, crate::ErrorCode::InUse);
        let both = "need these: up-192.0.2.2-8081-tcp, web; remove";
        assert!(refused.to_string().contains(both), "{refused}");
        for name in ["web", "up-192.0.2.2-8081-tcp"] {
            assert!(apply(&config, &removal).is_err(), "{name} is left");
            let del = Named { name: name.parse().unwrap(), if_exists: false };
            config = apply(&config, &Mutation::NatDel(del)).unwrap();
        }
        apply(&config, &removal).unwrap();
    }
}
