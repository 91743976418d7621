//! [`Pool`]: a subnet and its leases.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::span::next;
use super::{IpamError, Lease, Span};
use crate::{IpCidr, Owner, PortName, Prefix};

/// A subnet from which addresses are given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The subnet.
    pub subnet: Prefix,
    /// The gateway's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// What is given to those who ask for no particular address; the whole subnet if none are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Span>,
    /// What is given to nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Span>,
    /// What is given out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) leases: BTreeMap<IpAddr, Lease>,
    /// What was given last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<IpAddr>,
    /// What was given back, the longest ago first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) resting: Vec<IpAddr>,
}

impl Pool {
    /// The most addresses of which it is remembered that they rest.
    pub const MOST_RESTING: usize = 1024;

    /// A subnet from which nothing is given out yet. Its gateway is its first host.
    pub fn new(subnet: Prefix) -> Self {
        Self {
            subnet,
            gateway: Some(Span::hosts(&subnet).first()),
            ranges: Vec::new(),
            reserved: Vec::new(),
            leases: BTreeMap::new(),
            last: None,
            resting: Vec::new(),
        }
    }

    /// What is given out, and to whom.
    pub fn leases(&self) -> &BTreeMap<IpAddr, Lease> {
        &self.leases
    }

    /// An address of the subnet as an interface has it.
    pub fn cidr(&self, addr: IpAddr) -> IpCidr {
        IpCidr { addr, prefix_len: self.subnet.prefix_len() }
    }

    /// The addresses that an owner has.
    pub fn owned_by<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = IpAddr> + 'a {
        self.leases.iter().filter(move |(_, lease)| lease.owner == *owner).map(|(addr, _)| *addr)
    }

    /// How many addresses it gives to those who ask for no particular one, taken or not.
    pub fn capacity(&self) -> u64 {
        self.spans().iter().fold(0, |sum: u64, span| sum.saturating_add(span.count()))
    }

    /// Whether the subnet has an address that can be a host's, and why not.
    ///
    /// # Errors
    /// [`IpamError::Elsewhere`] or [`IpamError::Reserved`].
    pub fn check_host(&self, addr: IpAddr) -> Result<(), IpamError> {
        let reserved = |why| Err(IpamError::Reserved { addr, why });
        if !self.subnet.contains(addr) {
            return Err(IpamError::Elsewhere { addr, subnet: self.subnet });
        }
        if !Span::hosts(&self.subnet).contains(addr) {
            return reserved("the network's own or its broadcast address");
        }
        if self.reserved.iter().any(|span| span.contains(addr)) {
            return reserved("reserved");
        }
        Ok(())
    }

    /// Whether nothing is left for those who ask for no particular address.
    pub fn is_exhausted(&self) -> bool {
        self.next_given().is_none()
    }

    /// Gives this address to an owner; it may be his already.
    ///
    /// # Errors
    /// [`IpamError`]; nothing has changed then.
    pub fn give(&mut self, addr: IpAddr, owner: &Owner) -> Result<(), IpamError> {
        self.check_host(addr)?;
        if self.gateway == Some(addr) {
            return Err(IpamError::Reserved { addr, why: "the gateway's" });
        }
        match self.leases.get(&addr) {
            Some(lease) if lease.owner != *owner => {
                Err(IpamError::Taken { addr, owner: lease.owner.clone() })
            }
            Some(_) => Ok(()),
            None => {
                self.resting.retain(|resting| *resting != addr);
                let lease = Lease { owner: owner.clone(), port: None, held: false };
                self.leases.insert(addr, lease);
                Ok(())
            }
        }
    }

    /// Gives an owner the next address.
    ///
    /// # Errors
    /// [`IpamError::Exhausted`].
    pub fn give_next(&mut self, owner: &Owner) -> Result<IpAddr, IpamError> {
        let addr = self.next_given().ok_or_else(|| self.exhausted())?;
        self.give(addr, owner)?;
        self.last = Some(addr);
        Ok(addr)
    }

    /// Lets an owner keep an address without a port.
    pub fn hold(&mut self, addr: IpAddr) {
        if let Some(lease) = self.leases.get_mut(&addr) {
            lease.held = true;
        }
    }

    /// Binds an address to the life of a port.
    pub fn bind(&mut self, addr: IpAddr, port: &PortName) {
        if let Some(lease) = self.leases.get_mut(&addr) {
            lease.port = Some(port.clone());
        }
    }

    /// Takes an address back, if it is given out. One that a port has is taken back with its port.
    pub fn take_back(&mut self, addr: IpAddr) -> Option<Lease> {
        let lease = self.leases.get_mut(&addr)?;
        lease.held = false;
        let lease = lease.clone();
        if lease.port.is_none() {
            self.rest(addr);
        }
        Some(lease)
    }

    /// A port is no more: its addresses are taken back, but those that their owners hold without it.
    pub fn forget_port(&mut self, port: &PortName) {
        let its = self.leases.iter_mut().filter(|(_, lease)| lease.port.as_ref() == Some(port));
        let mut free = Vec::new();
        for (addr, lease) in its {
            lease.port = None;
            free.extend((!lease.held).then_some(*addr));
        }
        free.into_iter().for_each(|addr| self.rest(addr));
    }

    fn rest(&mut self, addr: IpAddr) {
        self.leases.remove(&addr);
        self.resting.push(addr);
        if self.resting.len() > Self::MOST_RESTING {
            self.resting.remove(0);
        }
    }

    /// What is given, in order.
    fn spans(&self) -> Vec<Span> {
        let hosts = Span::hosts(&self.subnet);
        if self.ranges.is_empty() {
            return vec![hosts];
        }
        let mut spans: Vec<_> = self.ranges.iter().filter_map(|span| span.within(&hosts)).collect();
        spans.sort_unstable();
        spans
    }

    fn next_given(&self) -> Option<IpAddr> {
        self.next_fresh().or_else(|| self.longest_resting())
    }

    /// The next address after the last one that nobody has, and that does not rest.
    fn next_fresh(&self) -> Option<IpAddr> {
        let spans = self.spans();
        let resting: BTreeSet<_> = self.resting.iter().copied().collect();
        let first_in = |span: Span| self.first_fresh(span, &resting);
        let Some(last) = self.last else { return spans.into_iter().find_map(first_in) };
        let all = Span::of(&self.subnet);
        let cut = |part: Option<Span>| {
            let parts = spans.iter().filter_map(move |span| span.within(&part?));
            parts.collect::<Vec<_>>()
        };
        let after = next(last).and_then(|from| Span::between(from, all.last()));
        let until = Span::between(all.first(), last);
        cut(after).into_iter().chain(cut(until)).find_map(first_in)
    }

    /// The first address that nobody has, and that does not rest. What is reserved is passed over at once, so that
    /// this takes no more steps than there are leases and resting addresses.
    fn first_fresh(&self, span: Span, resting: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let mut addr = Some(span.first());
        while let Some(candidate) = addr.filter(|addr| *addr <= span.last()) {
            let reserved = self.reserved.iter().find(|reserved| reserved.contains(candidate));
            let taken = self.leases.contains_key(&candidate)
                || self.gateway == Some(candidate)
                || resting.contains(&candidate);
            if reserved.is_none() && !taken {
                return Some(candidate);
            }
            addr = next(reserved.map_or(candidate, Span::last));
        }
        None
    }

    fn longest_resting(&self) -> Option<IpAddr> {
        let spans = self.spans();
        let may_be_given = |addr: &&IpAddr| {
            spans.iter().any(|span| span.contains(**addr))
                && self.gateway != Some(**addr)
                && self.check_host(**addr).is_ok()
        };
        self.resting.iter().find(may_be_given).copied()
    }

    fn exhausted(&self) -> IpamError {
        let spans = self.spans();
        let among = |addr: &&IpAddr| spans.iter().any(|span| span.contains(**addr));
        let addresses = self.capacity();
        let leases = self.leases.keys().filter(among).count();
        let taken = u64::try_from(leases).unwrap_or(u64::MAX);
        let reserved = addresses.saturating_sub(taken);
        IpamError::Exhausted { subnet: self.subnet, addresses, leases, reserved }
    }
}
