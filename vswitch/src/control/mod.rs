//! The daemon: the control thread and everything that only it does.
//!
//! * `server`: the loop over the socket, its clients, the workers and signals.
//! * `switch`: the configuration in force, and how it changes; `compile`: what the pipeline gets of it.
//! * `device`: opening what is behind a port; `place`: in which namespace; `watch`: whether it is still there; `announce`: telling the
//!   network that a container moved.
//! * `inspect`, `answers`, `rules`, `tunnels`, `describe`, `subject`: answers to questions and changes; `explain`:
//!   what becomes of a packet; `capture`: frames as they pass; `feed`: both, piece by piece.
//! * `station`: the namespace in which the daemon itself is a station, that relays from the host's loopback.
//! * `reception`: what containers ask their gateways for: names and addresses; `checks`: what gateways ask the backends of
//!   services for; `stack`: one TCP connection of a gateway, for both.
//! * `choices`: what a request leaves to the daemon; `rights`: what the daemon may not do.
//! * `background`: a daemon on a thread of this process, for the demonstration and the benchmarks.
//! * `store`, `socket`, `lock`: the state on disk, the control socket, one daemon at a time.

mod announce;
mod answers;
mod background;
mod capture;
mod checks;
mod choices;
mod compile;
mod describe;
mod device;
mod explain;
mod feed;
mod inspect;
mod place;
mod problems;
mod reception;
mod rights;
mod rules;
mod server;
mod socket;
mod stack;
mod station;
mod store;
mod subject;
mod switch;
mod tunnels;
mod watch;

use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ctl::response::{NetworkInfo, Status};
use ctl::{
    BridgeName, CtlError, ErrorCode, FiveTuple, Named, PortName, Query, Request, Trace,
    TrafficFilter,
};
use serde_json::Value;

pub use background::{Background, BackgroundError};
pub use socket::SocketError;
pub use store::StoreError;

use crate::fleet::{Fleet, FleetError, FleetOptions};
use crate::worker::PollMode;
use checks::Checks;
use feed::Feed;
use reception::Reception;
use server::Server;
use socket::ControlSocket;
use store::Store;
use switch::{Carrier, Switch};

/// How the daemon runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub socket: PathBuf,
    /// A group whose members may give orders, besides root and the daemon's user.
    pub socket_group: Option<u32>,
    /// Where it keeps its state; nowhere if not given.
    pub state: Option<PathBuf>,
    /// The workers.
    pub fleet: FleetOptions,
    /// Who carries what the switch has decided already, besides the workers.
    pub offload: Option<Offload>,
    /// Rung to end the daemon ([`crate::worker::ring`]).
    pub stop: Arc<OwnedFd>,
}

/// Who carries frames by what the switch has decided, without the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// The kernel, by eBPF programs on the host ends of veths ([`pktio::shortcut`]).
    Ebpf,
}

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// No control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No workers.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The host's interfaces cannot be watched.
    #[error(transparent)]
    Host(#[from] hostnet::HostError),
    /// The kept state cannot be taken up.
    #[error("cannot take up the kept state: {0}")]
    Restore(CtlError),
    /// The loop cannot go on.
    #[error("cannot {operation} the control loop: {source}")]
    Loop {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's error.
        source: std::io::Error,
    },
}

/// A running daemon.
pub struct Daemon {
    switch: Switch,
    reception: Reception,
    checks: Checks,
    options: Options,
    started: Instant,
}

/// Runs the daemon until it is told to stop; `ready` is called once it serves. What it made is removed when
/// it ends; its state is kept.
///
/// # Errors
/// [`DaemonError`].
pub fn run(options: Options, ready: impl FnOnce()) -> Result<(), DaemonError> {
    // First what another daemon could have: nothing is touched before it is certain that there is none.
    let socket = ControlSocket::bind(&options.socket, options.socket_group)?;
    let store = options.state.as_deref().map(Store::open).transpose()?;
    let kept = store.as_ref().map(Store::load).transpose()?.unwrap_or_default();
    let fleet = Fleet::start(&options.fleet)?;
    let clock = fleet.clock();
    let carrier = || Carrier::new(clock, &fleet.tables().sessions);
    let carrier = options.offload.map(|Offload::Ebpf| carrier()).transpose();
    let (carrier, refusal) = carrier.map_or_else(|error| (None, Some(error)), |made| (made, None));
    let mut switch = Switch::new(fleet, store, carrier);
    if let Some(problem) = rights::missing() {
        switch.note_problem(problem);
    }
    if let Some(error) = refusal {
        switch.note_problem(format!("the kernel carries nothing (--offload ebpf): {error}"));
    }
    switch.restore(&kept).map_err(DaemonError::Restore)?;
    let failed = |source| DaemonError::Loop { operation: "set up", source };
    let reception = Reception::new().map_err(failed)?;
    let checks = Checks::default();
    let mut daemon = Daemon { switch, reception, checks, options, started: Instant::now() };
    let mut server = Server::new(socket, &mut daemon)?;
    ready();
    server.run(&mut daemon)?;
    daemon.switch.tidy();
    Ok(())
}

/// What becomes of a request.
enum Outcome {
    /// It is answered at once.
    Answer(Value),
    /// It is answered piece by piece.
    Feed(Feed),
}

impl Daemon {
    /// Attends to what containers ask their gateways for, and gateways their containers.
    fn attend(&mut self) {
        self.reception.attend(&mut self.switch, &mut self.checks);
        self.checks.attend(&mut self.switch);
    }

    /// Carries out a request.
    fn carry_out(&mut self, request: Request) -> Result<Outcome, CtlError> {
        match request {
            Request::Query(query) => {
                self.switch.settle_shortcuts();
                self.answer(query)
            }
            Request::Mutation(mutation) => {
                tracing::debug!(?mutation, "change");
                json(self.switch.mutate(mutation)?).map(Outcome::Answer)
            }
        }
    }

    fn answer(&mut self, query: Query) -> Result<Outcome, CtlError> {
        let answer = match query {
            Query::BridgeList => json(self.switch.bridges()),
            Query::BridgeShow(Named { name, .. }) => {
                json(found("bridge", &name, self.switch.bridge(&name))?)
            }
            Query::PortList(filter) => json(self.ports(&filter)?),
            Query::PortShow(Named { name, .. }) => {
                json(found("port", &name, self.switch.port(&name))?)
            }
            Query::VxlanList => json(self.switch.vxlans()?),
            Query::VxlanShow(Named { name, .. }) => {
                json(found("vxlan", &name, self.switch.vxlan(&name)?)?)
            }
            Query::FdbShow(filter) => json(self.stations(&filter)?),
            Query::RouteList => json(self.switch.routes()),
            Query::NeighborShow(filter) => {
                self.check_bridge(filter.bridge.as_ref())?;
                json(self.switch.neighbors(&filter)?)
            }
            Query::NetworkList => json(self.switch.networks()),
            Query::NetworkInspect(Named { name, .. }) => {
                json(found("network", &name, NetworkInfo::of(self.switch.config(), &name))?)
            }
            Query::IpamList(filter) => json(self.switch.leases(&filter)?),
            Query::IpamAudit(filter) => json(self.switch.unused(&filter)?),
            Query::NatList => json(self.switch.translations()),
            Query::NatSettings => json(self.switch.config().tracking),
            Query::ServiceList => json(self.switch.services()),
            Query::ServiceShow(Named { name, .. }) => {
                json(found("service", &name, self.switch.service(&name))?)
            }
            Query::ConnList(list) => {
                self.check_bridge(list.filter.bridge.as_ref())?;
                json(self.switch.sessions(&list))
            }
            Query::ConnShow(show) => {
                self.check_bridge(show.bridge.as_ref())?;
                json(self.switch.session(&show).ok_or_else(|| no_session(&show.tuple))?)
            }
            Query::ConnTop(top) => {
                self.check_bridge(top.filter.bridge.as_ref())?;
                json(self.switch.top(&top))
            }
            Query::FlowList(list) => json(self.switch.flow_page(&list)),
            Query::Trace(trace @ Trace { live: Some(count), .. }) => {
                let live = self.switch.follow_live(&trace, count)?;
                return Ok(Outcome::Feed(Feed::Live(Box::new(live))));
            }
            Query::Trace(trace) => json(self.switch.trace(&trace)?),
            Query::Capture(capture) => {
                let capture = self.switch.capture(&capture)?;
                return Ok(Outcome::Feed(Feed::Capture(Box::new(capture))));
            }
            Query::Why(why) => json(self.switch.why(&why)?),
            Query::Stats(filter) => {
                self.check_ports(&filter.ports)?;
                json(self.switch.stats(&filter)?)
            }
            Query::Drops(filter) => {
                self.check_ports(&filter.ports)?;
                json(self.switch.drops(&filter)?)
            }
            Query::Perf => json(self.switch.perf()?),
            Query::Status => json(self.status()?),
            Query::Version => json(inspect::version()),
        };
        answer.map(Outcome::Answer)
    }

    /// That the ports that a question is about are there.
    fn check_ports(&self, names: &[PortName]) -> Result<(), CtlError> {
        let config = self.switch.config();
        match names.iter().find(|name| !config.has_port(name)) {
            Some(name) => Err(no_such("port", name)),
            None => Ok(()),
        }
    }

    /// That a bridge that a question is about is there.
    fn check_bridge(&self, name: Option<&BridgeName>) -> Result<(), CtlError> {
        match name {
            Some(name) if !self.switch.config().bridges.contains_key(name) => {
                Err(no_such("bridge", name))
            }
            _ => Ok(()),
        }
    }

    fn ports(&self, filter: &ctl::PortFilter) -> Result<Vec<ctl::response::PortInfo>, CtlError> {
        self.check_bridge(filter.bridge.as_ref())?;
        Ok(self.switch.ports(filter))
    }

    fn stations(&self, filter: &ctl::FdbFilter) -> Result<Vec<ctl::response::FdbInfo>, CtlError> {
        self.check_bridge(filter.bridge.as_ref())?;
        match &filter.port {
            Some(name) if !self.switch.config().has_port(name) => Err(no_such("port", name)),
            _ => Ok(self.switch.stations(filter)),
        }
    }

    fn status(&mut self) -> Result<Status, CtlError> {
        let discrepancy = self.switch.stats(&TrafficFilter::default())?.discrepancy;
        let config = self.switch.config();
        let waits = |name: &&ctl::PortName| self.switch.why_waiting(name).is_some();
        let ports_waiting = config.ports.keys().filter(waits).count();
        let ports_down = self.switch.down().count();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            poll: match self.options.fleet.mode {
                PollMode::Adaptive => "adaptive".to_owned(),
                PollMode::Busy => "busy".to_owned(),
            },
            cores: self.options.fleet.cores.clone(),
            bridges: config.bridges.len(),
            ports_up: config.ports.len() - ports_waiting - ports_down,
            ports_down,
            ports_waiting,
            state_directory: self.options.state.as_ref().map(|path| path.display().to_string()),
            discrepancy,
            tables: self.switch.gauges(),
            problems: self.switch.problems(),
        })
    }
}

/// What was asked for by its name, if it is there.
fn found<T>(what: &str, name: impl Display, it: Option<T>) -> Result<T, CtlError> {
    it.ok_or_else(|| no_such(what, name))
}

fn no_such(what: &str, name: impl Display) -> CtlError {
    CtlError::not_found(format!("{what} {name} does not exist; `{what} list` shows those that do"))
}

fn no_session(tuple: &FiveTuple) -> CtlError {
    CtlError::not_found(format!("there is no session of {tuple}; `conn list` shows those that are"))
}

fn json(value: impl serde::Serialize) -> Result<Value, CtlError> {
    serde_json::to_value(value)
        .map_err(|error| CtlError::new(ErrorCode::Internal, error.to_string()))
}
