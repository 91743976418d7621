//! [`Directory`]: the names of a network's containers.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ctl::{BridgeName, HostName, Network, PortName, Prefix};
use domain::base::iana::Rtype;
use domain::base::name::{Label, Name, ToLabelIter, ToName};

type OwnedName = Name<Vec<u8>>;

/// The names of a network's containers: each is found by its aliases, by the name by which it was attached, unless that is an alias or
/// a port, and by the name of its port, alone and followed by the name of the network. Made from the
/// configuration, and good for as long as that stays the same.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Names differ in more than the case of their letters (RFC 4343).
    addresses: HashMap<OwnedName, Vec<IpAddr>>,
    names: HashMap<IpAddr, OwnedName>,
    subnets: Vec<Prefix>,
    /// The network's name, if it is a single label: nobody else has names in it.
    zone: Option<OwnedName>,
}

/// What a directory knows about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// The name is a container's, which has these addresses, or the network's, which has none.
    Addresses(&'a [IpAddr]),
    /// The name is that of an address, which is this container's.
    Name(&'a OwnedName),
    /// The name would be a container's, or that of an address on this network, and is nobody's.
    Nobody,
    /// The name is not of this network.
    Foreign,
}

impl Directory {
    /// The names on a network; `namespace` says by which name a port's container was attached.
    pub fn of(
        name: &BridgeName,
        network: &Network,
        namespace: impl Fn(&PortName) -> Option<HostName>,
    ) -> Self {
        let subnets = network.pools.keys().copied().collect();
        let zone = name.as_str().parse().ok();
        let zone = zone.filter(|zone: &OwnedName| labels(zone).count() == 1);
        let mut directory = Self { subnets, zone, ..Self::default() };
        let parsed = |text: &str| text.trim_end_matches('.').parse::<OwnedName>().ok();
        let given = network.endpoints.iter().flat_map(|(port, endpoint)| {
            let aliases = endpoint.aliases.iter().map(HostName::as_str);
            aliases.chain([port.as_str()]).filter_map(parsed)
        });
        let given: HashSet<_> = given.collect();
        for (port, endpoint) in &network.endpoints {
            let addresses: Vec<_> = network.addresses_of(port).map(|(cidr, _)| cidr.addr).collect();
            let is_free =
                |name: &HostName| parsed(name.as_str()).is_some_and(|it| !given.contains(&it));
            let namespace = namespace(port).filter(is_free);
            let names = endpoint.aliases.iter().chain(&namespace).map(HostName::as_str);
            for alias in names.chain([port.as_str()]) {
                directory.enter(alias, name.as_str(), &addresses);
            }
        }
        directory
    }

    /// Enters a name. One that DNS cannot carry (a label of more than 63 bytes) is found by nobody.
    fn enter(&mut self, name: &str, network: &str, addresses: &[IpAddr]) {
        let alone = name.trim_end_matches('.');
        let full = format!("{alone}.{network}");
        let parsed = |text: &str| text.parse::<OwnedName>().ok();
        for name in [parsed(alone), parsed(&full)].into_iter().flatten() {
            let entry = self.addresses.entry(name).or_default();
            let new = addresses.iter().filter(|addr| !entry.contains(addr)).collect::<Vec<_>>();
            entry.extend(new);
        }
        if let Some(full) = parsed(&full) {
            for addr in addresses {
                self.names.entry(*addr).or_insert_with(|| full.clone());
            }
        }
    }

    /// How many names there are, with and without the network's.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether nobody has a name.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// What is known about a name.
    pub(super) fn look_up(&self, name: &impl ToName, rtype: Rtype) -> Entry<'_> {
        let name: OwnedName = name.to_name();
        if let Some(addresses) = self.addresses.get(&name) {
            return Entry::Addresses(addresses);
        }
        match address_of(&name) {
            Some(addr) => self.look_up_address(addr),
            None => self.look_up_nobodys(&name, rtype),
        }
    }

    fn look_up_address(&self, addr: IpAddr) -> Entry<'_> {
        match self.names.get(&addr) {
            Some(name) => Entry::Name(name),
            None if self.subnets.iter().any(|subnet| subnet.contains(addr)) => Entry::Nobody,
            None => Entry::Foreign,
        }
    }

    /// What is known about a name that no container has. One that would be a container's means nothing outside, and
    /// nobody outside is to learn that it was asked for.
    fn look_up_nobodys(&self, name: &OwnedName, rtype: Rtype) -> Entry<'_> {
        let is_own = |label| self.zone.iter().any(|zone| zone.first() == label);
        match labels(name).collect::<Vec<_>>()[..] {
            [zone] if is_own(zone) => Entry::Addresses(&[]),
            // No program asks for these but to validate what it was told of the world outside (RFC 4035 section 5).
            [_] if matches!(rtype, Rtype::DS | Rtype::DNSKEY) => Entry::Foreign,
            [_] => Entry::Nobody,
            [_, zone] if is_own(zone) => Entry::Nobody,
            _ => Entry::Foreign,
        }
    }
}

/// The labels of a name, without the root's.
fn labels(name: &OwnedName) -> impl Iterator<Item = &Label> {
    name.iter_labels().filter(|label| !label.is_root())
}

/// The address whose name in the reverse tree this is (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn address_of(name: &OwnedName) -> Option<IpAddr> {
    let mut labels: Vec<_> = labels(name).collect();
    let is = |label: Option<&Label>, text: &[u8]| {
        label.is_some_and(|label| label.as_slice().eq_ignore_ascii_case(text))
    };
    if !is(labels.pop(), b"arpa") {
        return None;
    }
    let tree = labels.pop();
    let number = |label: &&Label, radix| {
        let text = std::str::from_utf8(label.as_slice()).ok()?;
        let is_canonical = text.len() == 1 || !text.starts_with(['0', '+']);
        u8::from_str_radix(text, radix).ok().filter(|_| is_canonical)
    };
    let parts = labels.iter().rev();
    if is(tree, b"in-addr") {
        let bytes = parts.map(|label| number(label, 10)).collect::<Option<Vec<_>>>()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
    }
    if is(tree, b"ip6") && labels.iter().all(|label| label.len() == 1) {
        let digits = parts.map(|label| number(label, 16)).collect::<Option<Vec<_>>>()?;
        let digits = <[u8; 32]>::try_from(digits).ok()?;
        let bits = digits.iter().fold(0, |bits, digit| bits << 4 | u128::from(*digit));
        return Some(Ipv6Addr::from(bits).into());
    }
    None
}
