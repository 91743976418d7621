//! Methods of the address driver.
//!
//! A subnet is called by its own name, or, if it is one of a network that was there before, by that network's and its
//! own. Docker asks for addresses before it makes the endpoint that is to have them; it names a MAC address then, which
//! it repeats with the endpoint, and that is whose the address is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ctl::ipam::Span;
use ctl::response::SubnetInfo;
use ctl::{
    BridgeName, CtlError, ErrorCode, IpCidr, IpamRelease, IpamRequest, Mutation, Named, PoolAdd,
    Prefix,
};

use super::{Plugin, PluginError, owner, parse};
use crate::options::{NETWORK, check_address_options};
use crate::protocol::Nothing;
use crate::protocol::ipam::{
    ADDRESS_TYPE, Address, AddressSpaces, Capabilities, GATEWAY, MAC_ADDRESS, Pool, ReleaseAddress,
    ReleasePool, RequestAddress, RequestPool,
};

pub(super) const CAPABILITIES: Capabilities =
    Capabilities { requires_mac_address: true, requires_request_replay: false };
/// Where the subnets of networks of one host are from.
const LOCAL_SPACE: &str = "vswitch-local";
pub(super) const ADDRESS_SPACES: AddressSpaces = AddressSpaces {
    local_default_address_space: LOCAL_SPACE,
    global_default_address_space: "vswitch-global",
};

/// A subnet by the name that Docker has for it: `10.0.0.0/24`, or `web/10.0.0.0/24`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PoolName {
    network: Option<BridgeName>,
    subnet: Prefix,
}

impl PoolName {
    fn read(id: &str) -> Result<Self, PluginError> {
        let (network, subnet) = match id.rsplitn(3, '/').nth(2) {
            Some(network) => (Some(parse("network", network)?), &id[network.len() + 1..]),
            None => (None, id),
        };
        Ok(Self { network, subnet: parse("subnet", subnet)? })
    }
}

impl std::fmt::Display for PoolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.network {
            Some(network) => write!(f, "{network}/{}", self.subnet),
            None => self.subnet.fmt(f),
        }
    }
}

impl Plugin {
    pub(super) fn request_pool(&self, request: RequestPool) -> Result<Pool, PluginError> {
        let asked = Some(request.pool.as_str()).filter(|pool| !pool.is_empty());
        let asked: Option<Prefix> = asked.map(|pool| parse("subnet", pool)).transpose()?;
        let part = Some(request.sub_pool.as_str()).filter(|part| !part.is_empty());
        let part: Option<Prefix> = part.map(|part| parse("part of a subnet", part)).transpose()?;
        check_address_options(request.options.keys())?;
        if let Some(network) = request.options.get(NETWORK) {
            let network = parse("network", network)?;
            return self.pool_of(network, asked, request.v6);
        }
        if let (None, Some(part)) = (asked, part) {
            return Err(PluginError::Unfit {
                what: "part of a subnet",
                text: part.to_string(),
                why: "the subnet is not given; give it with --subnet".to_owned(),
            });
        }
        let add = PoolAdd {
            subnet: asked,
            ipv6: request.v6,
            ranges: part.iter().map(Span::hosts).collect(),
            ..PoolAdd::default()
        };
        let changed = self.daemon.change(Mutation::PoolAdd(Box::new(add)))?;
        let kept = changed.pool.ok_or_else(|| no_subnet("vswitchd kept none"))?;
        Ok(pool(None, &kept))
    }

    /// A subnet of a network that is there already.
    fn pool_of(
        &self,
        name: BridgeName,
        asked: Option<Prefix>,
        v6: bool,
    ) -> Result<Pool, PluginError> {
        let networks = self.daemon.networks()?;
        let Some(network) = networks.into_iter().find(|network| network.name == name) else {
            return Err(no_subnet(&format!(
                "there is no network {name}; `vswitchctl network create` it first"
            )));
        };
        let is_it = |own: &&SubnetInfo| match asked {
            Some(asked) => asked == own.subnet,
            None => own.subnet.is_ipv4() != v6,
        };
        match network.subnets.iter().find(is_it) {
            Some(own) => Ok(pool(Some(name), own)),
            None => Err(no_subnet(&format!("network {name} has no such subnet"))),
        }
    }

    /// A subnet that a network has goes with the network.
    pub(super) fn release_pool(&self, request: ReleasePool) -> Result<Nothing, PluginError> {
        let PoolName { network, subnet } = PoolName::read(&request.pool_id)?;
        if network.is_none() {
            let named = Named { name: subnet, if_exists: true };
            self.daemon.change(Mutation::PoolDel(named))?;
        }
        Ok(Nothing {})
    }

    pub(super) fn request_address(&self, request: RequestAddress) -> Result<Address, PluginError> {
        let name = PoolName::read(&request.pool_id)?;
        let asked = Some(request.address.as_str()).filter(|addr| !addr.is_empty());
        let asked: Option<IpAddr> = asked.map(|addr| parse("address", addr)).transpose()?;
        let is_for_gateway = request.options.get(ADDRESS_TYPE).is_some_and(|kind| kind == GATEWAY);
        if is_for_gateway {
            return self.gateway(&name, asked);
        }
        let whose = match (request.options.get(MAC_ADDRESS), asked) {
            (Some(mac), _) => owner(mac)?,
            // What has no MAC address is no endpoint: it is what `--aux-address` names.
            (None, Some(addr)) => return self.reserve(&name, addr),
            (None, None) => {
                return Err(no_subnet(
                    "it is not said for which MAC address an address is asked for",
                ));
            }
        };
        let PoolName { network, subnet } = name;
        let request = IpamRequest { owner: whose, network, subnet: Some(subnet), ip: asked };
        let changed = self.daemon.change(Mutation::IpamRequest(request))?;
        let given = changed.leases.first().map(|lease| lease.address.addr);
        let addr = given.ok_or_else(|| no_subnet("vswitchd gave no address"))?;
        // Docker wants every address with its subnet, be that a link's or not.
        Ok(given_out(IpCidr { addr, prefix_len: subnet.prefix_len() }))
    }

    /// An address for others, as a part of its subnet, with which it goes. What a network that was there before gives to
    /// nobody is its own to say.
    fn reserve(&self, name: &PoolName, addr: IpAddr) -> Result<Address, PluginError> {
        let is_kept = |kept: &SubnetInfo| kept.subnet == name.subnet;
        match self.subnet(name)? {
            Some(own) if own.reserved.iter().any(|span| span.contains(addr)) => {}
            None if self.daemon.kept()?.iter().any(is_kept) => {
                let (subnet, reserved) = (Some(name.subnet), vec![Span::one(addr)]);
                let add = PoolAdd { subnet, reserved, ..PoolAdd::default() };
                self.daemon.change(Mutation::PoolAdd(Box::new(add)))?;
            }
            _ => {
                return Err(no_subnet(&format!(
                    "{name} does not reserve {addr}; make the network with `vswitchctl network create --reserve {addr}`, \
                     or leave --aux-address out"
                )));
            }
        }
        Ok(given_out(IpCidr { addr, prefix_len: name.subnet.prefix_len() }))
    }

    /// A subnet of a network that was there before.
    fn subnet(&self, name: &PoolName) -> Result<Option<SubnetInfo>, PluginError> {
        let Some(network) = &name.network else { return Ok(None) };
        let own = self.daemon.networks()?.into_iter().filter(|own| own.name == *network);
        Ok(own.flat_map(|own| own.subnets).find(|own| own.subnet == name.subnet))
    }

    /// The gateway's address of a subnet: the one that Docker wants, as long as no network has the subnet.
    fn gateway(&self, name: &PoolName, asked: Option<IpAddr>) -> Result<Address, PluginError> {
        let cidr = |addr| IpCidr { addr, prefix_len: name.subnet.prefix_len() };
        let known = match &name.network {
            Some(_) => self.subnet(name)?.and_then(|own| own.gateway),
            None => {
                let add =
                    PoolAdd { subnet: Some(name.subnet), gateway: asked, ..PoolAdd::default() };
                let changed = self.daemon.change(Mutation::PoolAdd(Box::new(add)))?;
                changed.pool.and_then(|kept| kept.gateway)
            }
        };
        match (known, asked) {
            (Some(known), None) => Ok(given_out(cidr(known))),
            (Some(known), Some(asked)) if known == asked => Ok(given_out(cidr(known))),
            (known, _) => {
                let known = known.map_or("none".to_owned(), |known| known.to_string());
                Err(no_subnet(&format!("the gateway of {name} is {known}")))
            }
        }
    }

    pub(super) fn release_address(&self, request: ReleaseAddress) -> Result<Nothing, PluginError> {
        let PoolName { network, subnet } = PoolName::read(&request.pool_id)?;
        let ip = Some(parse("address", &request.address)?);
        let release = IpamRelease { owner: None, network, subnet: Some(subnet), ip };
        match self.daemon.change(Mutation::IpamRelease(release)).map_err(PluginError::from) {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(Nothing {}),
            done => done.map(|_| Nothing {}),
        }
    }
}

fn no_subnet(why: &str) -> PluginError {
    PluginError::Daemon(CtlError::new(ErrorCode::NotFound, why).into())
}

fn pool(network: Option<BridgeName>, kept: &SubnetInfo) -> Pool {
    let prefix_len = kept.subnet.prefix_len();
    let gateway = kept.gateway.map(|addr| IpCidr { addr, prefix_len }.to_string());
    Pool {
        pool_id: PoolName { network, subnet: kept.subnet }.to_string(),
        pool: kept.subnet.to_string(),
        data: gateway.into_iter().map(|gateway| (GATEWAY.to_owned(), gateway)).collect(),
    }
}

fn given_out(address: IpCidr) -> Address {
    Address { address: address.to_string(), data: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_found_again_by_its_name() {
        for (text, network) in [
            ("10.0.0.0/24", None),
            ("fd00::/64", None),
            ("web/10.0.0.0/24", Some("web")),
            ("web/fd00::/64", Some("web")),
        ] {
            let name = PoolName::read(text).unwrap();
            assert_eq!(name.network.as_ref().map(BridgeName::as_str), network);
            assert_eq!(name.to_string(), text);
        }
        for text in ["", "/10.0.0.0/24", "a/b/10.0.0.0/24", "web/10.0.0.0/99"] {
            assert!(PoolName::read(text).is_err(), "{text}");
        }
    }
}
