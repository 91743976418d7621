//! A laboratory of routed shortcuts: two bridges with a container each, and what goes on between them.

use ctl::response::{ConnInfo, Counters, DropInfo, Stats, Status, WorkerPerf};
use ctl::{Allowance, ConnFilter, Masquerade, Mutation, NatAdd, NatRule, Protocol, Query};
use netlab::Container;

use super::laboratory::Outcome;
use crate::daemon::{Daemon, offload};
use crate::routing::{container, routed_bridge};
use crate::sessions::sessions;

/// Two bridges with a container each, 10.1.0.2 and 192.0.2.9, and the kernel to carry what goes on between them.
pub struct Crossing {
    pub daemon: Daemon,
    pub inner: Container,
    pub world: Container,
}

impl Crossing {
    pub fn new() -> Outcome<Self> {
        offload();
        let daemon = Daemon::start()?;
        routed_bridge(&daemon, "inside", &["10.1.0.1/24", "fd01::1/64"])?;
        routed_bridge(&daemon, "outside", &["192.0.2.1/24", "fd02::1/64"])?;
        let of = |name, bridge, [a, b]: [&str; 2], gateways: [&str; 2]| {
            container(&daemon, name, bridge, &[a, b], &gateways)
        };
        let inner = of("inner", "inside", ["10.1.0.2/24", "fd01::2/64"], ["10.1.0.1", "fd01::1"])?;
        let world =
            of("world", "outside", ["192.0.2.9/24", "fd02::9/64"], ["192.0.2.1", "fd02::1"])?;
        Ok(Self { daemon, inner, world })
    }

    pub fn routed() -> Outcome<Self> {
        let crossing = Self::new()?;
        let allowance = Allowance { from: "inside".parse()?, to: "outside".parse()? };
        crossing.daemon.change(Mutation::RouteAllow(allowance))?;
        Ok(crossing)
    }

    pub fn masqueraded() -> Outcome<Self> {
        let crossing = Self::new()?;
        let rule = Masquerade::new("inside".parse()?, "outside".parse()?);
        crossing.add(NatRule::Masquerade(rule))?;
        Ok(crossing)
    }

    pub fn add(&self, rule: NatRule) -> Outcome<()> {
        self.daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
        Ok(())
    }

    /// Shortcuts that there are.
    pub fn carried(&self) -> Outcome<u64> {
        let status: Status = self.daemon.ask(Query::Status)?;
        let table = status.tables.iter().find(|table| table.name == "shortcuts");
        Ok(table.ok_or("no shortcuts")?.used)
    }

    /// The only session of a protocol.
    pub fn session(&self, protocol: Protocol) -> Outcome<ConnInfo> {
        let filter = ConnFilter { protocol: Some(protocol), ..ConnFilter::default() };
        let mut all = sessions(&self.daemon, filter)?;
        assert_eq!(all.len(), 1, "{all:?}");
        Ok(all.remove(0))
    }

    pub fn counters(&self, port: &str) -> Outcome<Counters> {
        let stats: Stats = self.daemon.ask(Query::stats())?;
        let port = stats.ports.into_iter().find(|own| own.port == port);
        Ok(port.ok_or("no such port")?.counters)
    }

    pub fn by_workers(&self) -> Outcome<u64> {
        let perf: Vec<WorkerPerf> = self.daemon.ask(Query::Perf)?;
        Ok(perf.iter().map(|worker| worker.frames).sum())
    }

    pub fn drops(&self, reason: &str) -> Outcome<u64> {
        let drops: Vec<DropInfo> = self.daemon.ask(Query::drops())?;
        Ok(drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.count).sum())
    }
}
