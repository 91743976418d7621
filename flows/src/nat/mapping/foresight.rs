//! What claiming would answer, with nothing written.

use std::hash::BuildHasher;

use super::ports::Class;
use super::word::{Key, State};
use super::{Mappings, Pool, Published, Unclaimed, unpublished};
use crate::{Endpoint, Seconds, Zone};

impl Mappings {
    /// The external endpoint that [`Mappings::claim`] would give an internal one now. That others are about to claim is
    /// not foreseen.
    ///
    /// # Errors
    /// [`Unclaimed`], as that.
    pub(crate) fn foresee(
        &self,
        (zone, protocol, internal): (Zone, u8, Endpoint),
        (pool, published): (&Pool, &Published),
        now: Seconds,
    ) -> Result<Endpoint, Unclaimed> {
        let class = Class::of(protocol).ok_or(Unclaimed::Protocol { protocol })?;
        let (hosts, quota) = (&self.shared.hosts, pool.quota());
        let ip = pool.paired_with(hosts.hash(zone, internal.ip));
        let address = self.listed(pool.zone(), ip).ok_or(Unclaimed::Address { address: ip })?;
        let usage = hosts.usage(zone, internal.ip);
        if usage.sessions >= quota.sessions {
            return Err(Unclaimed::SessionQuota { ip: internal.ip, limit: quota.sessions });
        }
        let key = usage.host.map(|host| Key { host, port: internal.port });
        let hash = self.shared.hasher.hash_one((zone, protocol, internal));
        let load = |port| (port, address.table.load(class, port));
        let mut candidates =
            unpublished((pool, published), (protocol, ip), internal.port, hash).map(load);
        let own = candidates.clone().find(|(_, word)| {
            key.is_some_and(|key| word.belongs_to(key)) && word.state() != State::Tentative
        });
        let vacant = || candidates.find(|(_, word)| word.is_vacant(now));
        let (port, word) = own.or_else(vacant).ok_or(Unclaimed::Ports { address: ip })?;
        if !matches!(word.state(), State::Mapped(_)) && usage.ports >= quota.ports {
            return Err(Unclaimed::PortQuota { ip: internal.ip, limit: quota.ports });
        }
        Ok(Endpoint::new(ip, port))
    }
}
