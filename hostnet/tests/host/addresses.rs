//! Addresses and routes, and what an interface makes of them.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use ctl::IpCidr;
use hostnet::{HostError, Interface};
use netlab::{Container, LabError, Path, Test, TestResult, tcp, test};

use crate::wire;

pub fn tests() -> Vec<Test> {
    vec![
        test!(addresses_can_be_used_at_once),
        test!(addresses_are_listed_as_they_were_given),
        test!(the_networks_that_have_routes_are_listed_without_the_default_ones),
        test!(a_route_of_another_interface_stays),
        test!(an_interface_that_yields_is_there_without_the_routes_of_others),
        test!(a_container_reaches_others_by_its_gateway),
        test!(an_interface_is_made_as_it_is_wanted),
        test!(an_interface_that_has_ipv4_only_says_nothing_by_ipv6_until_it_is_given_an_address),
        test!(an_interface_gets_ipv6_where_others_are_made_without),
        test!(the_host_sends_from_where_its_routes_lead),
        test!(the_host_sends_from_its_only_address_where_no_route_leads),
    ]
}

fn addresses_can_be_used_at_once() -> TestResult {
    let (a, b) = (Container::new()?, Container::new()?);
    a.netlink()?.create_veth("eth0", "eth0", Some(std::os::fd::AsFd::as_fd(b.namespace())))?;
    b.address("eth0", &["10.0.0.2/24", "fd00::2/64"])?;
    a.address("eth0", &["10.0.0.1/24", "fd00::1/64"])?;
    for address in ["10.0.0.1", "fd00::1"] {
        let address: IpAddr = address.parse()?;
        // A tentative address cannot be bound to.
        a.run(|| UdpSocket::bind((address, 0)).map(drop).map_err(|e| e.to_string()).map_err(Said))?;
    }
    a.await_ready("eth0")?;
    let path = Path::new(&a, &b, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
    tcp::stream(&path, &tcp::Options { duration: Duration::from_millis(1), ..Default::default() })?;
    Ok(())
}

/// An error as text, for closures that may fail in two ways.
#[derive(Debug)]
struct Said(String);

impl From<HostError> for Said {
    fn from(error: HostError) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn addresses_are_listed_as_they_were_given() -> TestResult {
    let (a, _b) = wire()?;
    let given = ["10.0.0.1/24", "10.1.0.1/31", "192.0.2.7/32", "fd00::1/64", "fd01::1/128"];
    let index = a.address("eth0", &given)?.index;
    let found = a.netlink()?.addresses(index)?;
    for text in given {
        assert!(found.contains(&text.parse::<IpCidr>()?), "{text} is not in {found:?}");
    }
    let again = a.netlink()?.add_address(index, given[0].parse()?);
    assert!(again.is_err(), "an address is given once");
    Ok(())
}

fn the_networks_that_have_routes_are_listed_without_the_default_ones() -> TestResult {
    let (a, _b) = wire()?;
    let index = a.address("eth0", &["10.0.0.1/24", "fd00::1/64"])?.index;
    let netlink = a.netlink()?;
    let network = IpCidr { addr: "10.9.0.0".parse()?, prefix_len: 16 };
    netlink.add_route(network, "10.0.0.9".parse()?, index)?;
    netlink.add_default_route("10.0.0.9".parse()?, index)?;
    let networks = netlink.routes()?;
    for network in ["10.0.0.0/24", "10.9.0.0/16", "fd00::/64"] {
        assert!(
            networks.contains(&network.parse::<ctl::Prefix>()?),
            "{network} is not in {networks:?}"
        );
    }
    assert!(networks.iter().all(|network| network.prefix_len() > 0), "{networks:?}");
    Ok(())
}

fn a_route_of_another_interface_stays() -> TestResult {
    let (a, b) = wire()?;
    crate::veth(&a, "eth1", &b, "eth1")?;
    let ours = a.address("eth0", &["10.0.0.1/24", "fd00::1/64"])?.index;
    let other = a.address("eth1", &["10.1.0.1/24", "fd01::1/64"])?.index;
    let netlink = a.netlink()?;
    let by = |index| -> Result<Vec<String>, HostError> {
        let routes = netlink.routes_by(index)?;
        Ok(routes.iter().map(|route| format!("{} by {}", route.to, route.via)).collect())
    };
    for gateway in ["10.1.0.9", "fd01::9"] {
        netlink.add_default_route(gateway.parse()?, other)?;
    }
    for gateway in ["10.0.0.9", "fd00::9"] {
        let added = netlink.add_default_route(gateway.parse()?, ours);
        assert!(matches!(added, Err(HostError::RouteTaken { .. })), "{gateway}: {added:?}");
    }
    for gateway in ["10.1.0.8", "fd01::8"] {
        netlink.add_default_route(gateway.parse()?, other)?;
    }
    assert_eq!(by(ours)?, Vec::<String>::new());
    assert_eq!(by(other)?, ["0.0.0.0/0 by 10.1.0.8", "::/0 by fd01::8"]);
    for (ifname, expected) in [("eth0", true), ("eth1", false), ("eth9", true)] {
        let elsewhere = netlink.routes_elsewhere(ifname)?;
        for to in ["0.0.0.0/0", "::/0", "10.1.0.0/24", "fd01::/64"] {
            assert_eq!(elsewhere.contains(&to.parse()?), expected, "{ifname}, {to}: {elsewhere:?}");
        }
    }
    Ok(())
}

fn an_interface_that_yields_is_there_without_the_routes_of_others() -> TestResult {
    let (a, b) = wire()?;
    crate::veth(&a, "eth1", &b, "eth1")?;
    let other = a.address("eth1", &["10.1.0.1/24"])?.index;
    a.netlink()?.add_default_route("10.1.0.9".parse()?, other)?;
    let (ips, gateways) = (["10.0.0.1/24".parse()?], ["10.0.0.9".parse()?]);
    let wanted = Interface { ips: &ips, gateways: &gateways, ..Interface::default() };
    assert!(a.configure("eth0", &wanted).is_err());
    a.netlink()?.remove_address(a.link("eth0")?.index, ips[0])?;
    let ours = a.configure("eth0", &Interface { yields: true, ..wanted })?.index;
    assert_eq!(a.netlink()?.routes_by(ours)?, []);
    assert_eq!(a.netlink()?.routes_by(other)?.len(), 1);
    Ok(())
}

fn a_container_reaches_others_by_its_gateway() -> TestResult {
    let (a, _b) = wire()?;
    let ips: [IpCidr; 2] = ["10.0.0.1/32".parse()?, "fd00::1/128".parse()?];
    let gateways: [IpAddr; 2] = ["169.254.1.1".parse()?, "fe80::1".parse()?];
    let wanted = Interface { ips: &ips, gateways: &gateways, ..Interface::default() };
    a.configure("eth0", &wanted)?;
    for (target, source) in [("192.0.2.1", "10.0.0.1"), ("2001:db8::1", "fd00::1")] {
        let (any, target): (IpAddr, IpAddr) =
            (if target.contains(':') { "::" } else { "0.0.0.0" }.parse()?, target.parse()?);
        let from = a.run(|| {
            let chosen = || -> std::io::Result<IpAddr> {
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect((target, 9))?;
                Ok(socket.local_addr()?.ip())
            };
            chosen().map_err(|error| Said(error.to_string()))
        })?;
        assert_eq!(from, source.parse::<IpAddr>()?);
    }
    Ok(())
}

fn an_interface_is_made_as_it_is_wanted() -> TestResult {
    let (a, _b) = wire()?;
    let wanted =
        Interface { mac: Some([2, 0, 0, 0, 0, 9]), mtu: Some(1450), ..Interface::default() };
    let link = a.configure("eth0", &wanted)?;
    assert_eq!((link.mac, link.mtu, link.up), (wanted.mac, 1450, true));
    let absent = a.configure("eth9", &wanted);
    assert!(matches!(absent, Err(LabError::Host(HostError::NoSuchLink { .. }))));
    Ok(())
}

fn an_interface_that_has_ipv4_only_says_nothing_by_ipv6_until_it_is_given_an_address() -> TestResult
{
    let (a, b) = (Container::new()?, Container::new()?);
    a.netlink()?.create_veth("eth0", "eth0", Some(std::os::fd::AsFd::as_fd(b.namespace())))?;
    b.netlink()?.set_up(b.link("eth0")?.index, true)?;
    let (v4, v6): (IpCidr, IpCidr) = ("10.0.0.1/24".parse()?, "fd00::1/64".parse()?);
    let before = Interface { ips: &[v4], ipv4_only: true, ..Interface::default() };
    let index = a.configure("eth0", &before)?.index;
    assert_eq!(a.netlink()?.addresses(index)?, [v4]);
    let after = Interface { ips: &[v4, v6], ..Interface::default() };
    a.run(|| hostnet::readdress("eth0", &before, &after))?;
    let has = a.netlink()?.addresses(index)?;
    let is_on_link =
        |cidr: &&IpCidr| matches!(cidr.addr, IpAddr::V6(ip) if ip.is_unicast_link_local());
    assert!(has.contains(&v6) && has.iter().filter(is_on_link).count() == 1, "{has:?}");
    Ok(())
}

fn an_interface_gets_ipv6_where_others_are_made_without() -> TestResult {
    let (a, b) = (Container::new()?, Container::new()?);
    for which in ["all", "default"] {
        a.sysctl(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1")?;
    }
    crate::veth(&a, "eth0", &b, "eth0")?;
    crate::veth(&a, "eth1", &b, "eth1")?;
    let (v4, v6): (IpCidr, IpCidr) = ("10.0.0.1/24".parse()?, "fd00::1/64".parse()?);
    let addresses =
        |name| -> Result<_, LabError> { Ok(a.netlink()?.addresses(a.link(name)?.index)?) };
    let both = Interface { ips: &[v4, v6], ..Interface::default() };
    a.configure("eth0", &both)?;
    assert!(addresses("eth0")?.contains(&v6));
    let before = Interface { ips: &[v4], ..Interface::default() };
    let other = a.configure("eth1", &before)?.index;
    assert_eq!(addresses("eth1")?, [v4], "who asks for no IPv6 gets none");
    let refused = a.netlink()?.add_address(other, v6).map_err(|error| error.to_string());
    assert!(refused.is_err_and(|said| said.contains("disable_ipv6") && !said.contains("CAP_")));
    a.run(|| hostnet::readdress("eth1", &before, &both))?;
    assert!(addresses("eth1")?.contains(&v6));
    Ok(())
}

/// What `container` sends from: to a peer, or to the world.
fn source(
    container: &Container,
    peer: Option<&str>,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let peer = peer.map(str::parse).transpose()?;
    Ok(container.netlink()?.source_address(peer)?.map(|source| source.to_string()))
}

fn the_host_sends_from_where_its_routes_lead() -> TestResult {
    let (a, _b) = wire()?;
    let given = ["10.0.0.1/24", "10.1.0.1/24", "fd00::1/64", "fd01::1/64"];
    let index = a.address("eth0", &given)?.index;
    for (peer, expected) in [
        ("10.0.0.9", Some("10.0.0.1")),
        ("10.1.0.9", Some("10.1.0.1")),
        ("fd00::9", Some("fd00::1")),
        ("fd01::9", Some("fd01::1")),
        ("192.0.2.9", None),
        ("10.0.0.1", None),
    ] {
        assert_eq!(source(&a, Some(peer))?.as_deref(), expected, "{peer}");
    }
    // Until the kernel is sure of its link-local address it would take another one.
    let is_link_local = || source(&a, Some("fe80::9")).is_ok_and(|source| source.is_none());
    netlab::eventually("nobody beyond the link can send there", is_link_local)?;
    assert_eq!(source(&a, None)?, None, "no default route, and several addresses");
    a.netlink()?.add_default_route("fd01::9".parse()?, index)?;
    assert_eq!(source(&a, None)?.as_deref(), Some("fd01::1"));
    a.netlink()?.add_default_route("10.1.0.9".parse()?, index)?;
    assert_eq!(source(&a, None)?.as_deref(), Some("10.1.0.1"), "IPv4 comes first");
    assert_eq!(source(&a, Some("192.0.2.9"))?.as_deref(), Some("10.1.0.1"));
    Ok(())
}

fn the_host_sends_from_its_only_address_where_no_route_leads() -> TestResult {
    let (a, b) = wire()?;
    assert_eq!(
        source(&a, None)?,
        None,
        "nobody can send to a link-local address from beyond the link"
    );
    a.address("eth0", &["fd00::1/64"])?;
    assert_eq!(source(&a, None)?.as_deref(), Some("fd00::1"));
    a.address("eth0", &["10.0.0.1/24"])?;
    assert_eq!(source(&a, None)?.as_deref(), Some("10.0.0.1"), "the only one of its IP version");
    assert_eq!(source(&a, Some("2001:db8::9"))?.as_deref(), Some("fd00::1"));
    let index = b.address("eth0", &["10.0.0.2/24"])?.index;
    b.netlink()?.set_up(index, false)?;
    assert_eq!(source(&b, None)?, None, "the interface is off");
    Ok(())
}
