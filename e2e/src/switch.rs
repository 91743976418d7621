//! [`Switch`]: `vswitchd` on a host; [`Plugin`]: Docker's plugin in a process of its own.

use std::path::PathBuf;
use std::process::Command;

use ctl::response::{
    Changed, ConnInfo, ConnPage, FdbInfo, LeaseInfo, NatInfo, NeighborInfo, NetworkInfo, PortInfo,
    Stats, Version,
};
use ctl::{
    BridgeAdd, Client, ClientError, ConnList, FdbFilter, IpamFilter, Mutation, NeighborFilter,
    NetdevMode, Port, PortAdd, PortKind, Query, Request, RouteAdd,
};
use rustix::process::Signal;
use serde::de::DeserializeOwned;

use crate::process::{Process, eventually, ours};
use crate::{Host, Outcome};

/// A running `vswitchd`.
#[derive(Debug)]
pub struct Switch {
    process: Process,
    socket: PathBuf,
}

impl Switch {
    /// The bridge behind the host's uplink.
    pub const OUTSIDE: &str = "outside";

    /// Starts one with a way out: a bridge `outside` behind the host's uplink.
    ///
    /// # Errors
    /// That it does not serve.
    pub fn start(host: &Host, arguments: &[&str]) -> Outcome<Self> {
        let switch = Self::start_again(host, arguments)?;
        let mut outside = BridgeAdd::new(Self::OUTSIDE.parse()?);
        outside.gateways = vec![Host::OUTSIDE.parse()?, Host::OUTSIDE_IPV6.parse()?];
        switch.change(Mutation::BridgeAdd(outside))?;
        let (device, mode) = ("up0".parse()?, NetdevMode::default());
        let kind = PortKind::Netdev { device, netns: None, mode };
        let port = Port::new(Self::OUTSIDE.parse()?, kind);
        let add = PortAdd { name: "up0".parse()?, port };
        switch.change(Mutation::PortAdd(Box::new(add)))?;
        for (to, via) in [("0.0.0.0/0", Host::WORLD), ("::/0", Host::WORLD_IPV6)] {
            let (to, on, via) = (to.parse()?, Self::OUTSIDE.parse()?, vec![via.parse()?]);
            switch.change(Mutation::RouteAdd(RouteAdd { to, on, via }))?;
        }
        Ok(switch)
    }

    /// Starts one whose way out is the host's own: the interface, its address and its route stay the host's, and the bridge
    /// `outside` is there what the host is.
    ///
    /// # Errors
    /// That it does not serve.
    pub fn start_sharing(host: &Host, arguments: &[&str]) -> Outcome<Self> {
        let link = host.namespace.address("up0", &[Host::OUTSIDE, Host::OUTSIDE_IPV6])?;
        let netlink = host.namespace.netlink()?;
        for router in [Host::WORLD, Host::WORLD_IPV6] {
            netlink.add_default_route(router.parse()?, link.index)?;
        }
        let switch = Self::start_again(host, arguments)?;
        switch.change(Mutation::BridgeAdd(BridgeAdd::new(Self::OUTSIDE.parse()?)))?;
        let (device, mode) = ("up0".parse()?, NetdevMode::default());
        let kind = PortKind::Netdev { device, netns: None, mode };
        let port = Port { shared: true, ..Port::new(Self::OUTSIDE.parse()?, kind) };
        let add = PortAdd { name: "up0".parse()?, port };
        switch.change(Mutation::PortAdd(Box::new(add)))?;
        Ok(switch)
    }

    /// Starts one with the state that another one left.
    ///
    /// # Errors
    /// That it does not serve.
    pub fn start_again(host: &Host, arguments: &[&str]) -> Outcome<Self> {
        let socket = host.directory().join("socket");
        let mut command = Command::new(ours("vswitchd")?);
        command.arg("--socket").arg(&socket).arg("--state").arg(host.directory().join("state"));
        command.args(["--log", "warn", "--buffers", "4096", "--sessions", "65536"]).args(arguments);
        let log = host.directory().join("vswitchd.log");
        let process = Process::start(&host.namespace, &mut command, &log)?;
        let switch = Self { process, socket };
        // Its socket is there before it has taken up its state: it serves when it answers.
        let version = || switch.client()?.ask::<Version>(Request::Query(Query::Version));
        eventually("the switch serves", || version().is_ok())?;
        Ok(switch)
    }

    /// Where it takes orders.
    pub fn socket(&self) -> &PathBuf {
        &self.socket
    }

    /// Ends it.
    ///
    /// # Errors
    /// That it is gone already.
    pub fn end(&mut self, signal: Signal) -> Outcome<()> {
        self.process.end(signal)
    }

    fn client(&self) -> Result<Client, ClientError> {
        Client::connect(&self.socket)
    }

    /// Asks it something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask<T: DeserializeOwned>(&self, query: Query) -> Result<T, ClientError> {
        self.client()?.ask(Request::Query(query))
    }

    /// Changes something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn change(&self, mutation: Mutation) -> Result<Changed, ClientError> {
        self.client()?.ask(Request::Mutation(mutation))
    }

    /// The networks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn networks(&self) -> Result<Vec<NetworkInfo>, ClientError> {
        self.ask(Query::NetworkList)
    }

    /// The ports of containers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn containers(&self) -> Result<Vec<PortInfo>, ClientError> {
        let mut ports: Vec<PortInfo> = self.ask(Query::ports())?;
        ports.retain(|port| matches!(port.settings.kind, PortKind::Tap(_)));
        Ok(ports)
    }

    /// The published ports, and other rules of translation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn translations(&self) -> Result<Vec<NatInfo>, ClientError> {
        self.ask(Query::NatList)
    }

    /// The addresses that are given out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn leases(&self) -> Result<Vec<LeaseInfo>, ClientError> {
        self.ask(Query::IpamList(IpamFilter::default()))
    }

    /// What is there of any container: its port, addresses, rules, stations, neighbours and sessions, each by a word about it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn leftovers(&self) -> Result<Vec<String>, ClientError> {
        let mut all = Vec::new();
        all.extend(self.containers()?.iter().map(|port| format!("port {}", port.name)));
        all.extend(self.leases()?.iter().map(|lease| format!("address {}", lease.address)));
        let mut rules = self.translations()?;
        rules.retain(|rule| rule.rule.port().is_some());
        all.extend(rules.iter().map(|rule| format!("rule {}", rule.name)));
        let mut stations: Vec<FdbInfo> = self.ask(Query::FdbShow(FdbFilter::default()))?;
        stations.retain(|station| station.bridge.as_str() != Self::OUTSIDE);
        all.extend(stations.iter().map(|station| format!("station {}", station.mac)));
        let mut neighbors: Vec<NeighborInfo> =
            self.ask(Query::NeighborShow(NeighborFilter::default()))?;
        neighbors.retain(|neighbor| neighbor.bridge.as_str() != Self::OUTSIDE);
        all.extend(neighbors.iter().map(|neighbor| format!("neighbour {}", neighbor.ip)));
        let sessions: ConnPage = self.ask(Query::ConnList(ConnList::default()))?;
        let inside = |session: &&ConnInfo| {
            let ends = [&session.bridge, &session.responder_bridge];
            ends.iter().any(|bridge| bridge.as_str() != Self::OUTSIDE)
        };
        let sessions = sessions.sessions.iter().filter(inside);
        all.extend(sessions.map(|session| format!("session {}", session.initiator)));
        Ok(all)
    }

    /// Waits until nothing is left of any container, and checks that every frame is accounted for.
    ///
    /// # Errors
    /// What is left.
    pub fn check_left_nothing(&self) -> Outcome<()> {
        // A namespace that has ended is noticed within half a second.
        let mut left = Vec::new();
        let found = eventually("nothing is left", || {
            left = self.leftovers().unwrap_or_else(|error| vec![error.to_string()]);
            left.is_empty()
        });
        found.map_err(|late| format!("{late}: {left:?}"))?;
        self.check_ledger()
    }

    /// Checks that every frame is accounted for.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_ledger(&self) -> Outcome<()> {
        let stats: Stats = self.ask(Query::stats())?;
        match stats.discrepancy {
            Some(discrepancy) => Err(format!("frames are missing: {discrepancy}").into()),
            None => Ok(()),
        }
    }
}

/// A running `vswitch-docker`.
#[derive(Debug)]
pub struct Plugin {
    process: Process,
}

impl Plugin {
    /// Starts one, whose driver is named after the host.
    ///
    /// # Errors
    /// That it does not serve.
    pub fn start(host: &Host) -> Outcome<Self> {
        let socket = Self::socket(host);
        let mut command = Command::new(ours("vswitch-docker")?);
        command.arg("--plugin").arg(&socket).arg("--socket").arg(host.directory().join("socket"));
        let log = host.directory().join("plugin.log");
        let process = Process::start(&host.namespace, &mut command, &log)?;
        eventually("the plugin serves", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })?;
        Ok(Self { process })
    }

    /// Where dockerd finds it.
    pub fn socket(host: &Host) -> PathBuf {
        PathBuf::from("/run/docker/plugins").join(format!("{}.sock", host.name()))
    }

    /// Ends it.
    ///
    /// # Errors
    /// That it is gone already.
    pub fn end(&mut self, signal: Signal) -> Outcome<()> {
        self.process.end(signal)
    }
}
