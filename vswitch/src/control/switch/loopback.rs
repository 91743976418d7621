//! Published ports on the host's loopback: which the daemon listens at, and who serves them.
//!
//! **The order of a change.** Ports are taken before anything is changed, so that one that another program has refuses the
//! change; what is given up is free for others before the change is answered; and what is new is served when the workers
//! know where it leads to. A restarted daemon that finds a port taken tries again every second.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ctl::{BridgeName, Config, CtlError, ErrorCode, Protocol, Relayed, RuleName};
use relay::{Bound, Limits, Listen, Relay, Transport};

use super::Switch;
use crate::control::station::Station;

/// Where a port of the loopback leads to, as far as those notice who came by it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lead {
    rule: RuleName,
    container: SocketAddr,
    home: Option<BridgeName>,
    /// It is on the loopback because it is on every address of the host.
    is_implied: bool,
}

/// What is to be listened at, and where it leads to; and the ports that are new.
pub(super) struct Listening {
    wanted: BTreeMap<Listen, Lead>,
    bound: Vec<Bound>,
}

/// What the daemon listens at on the host's loopback.
#[derive(Default)]
pub(super) struct Loopback {
    station: Arc<Station>,
    relay: Option<Relay>,
    served: BTreeMap<Listen, Lead>,
    /// Ports that another program had when the daemon came.
    taken: BTreeSet<Listen>,
}

impl Loopback {
    /// Where the relay is a station.
    pub(super) fn station(&self) -> &Arc<Station> {
        &self.station
    }

    /// Whether a port waits for another program.
    pub(super) fn is_waiting(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Takes the ports that are new in the next configuration. Nothing is to be done if there is nothing in the answer.
    pub(super) fn prepare(
        &mut self,
        present: &Config,
        next: &Config,
    ) -> Result<Option<Listening>, CtlError> {
        if next.relays_as(present) {
            return Ok(None);
        }
        let (wanted, mut bound) = (leads(next), Vec::new());
        for (listen, lead) in &wanted {
            if self.served.contains_key(listen) || self.taken.contains(listen) {
                continue;
            }
            bound.extend(bind(*listen, lead).map_err(|error| refusal(*listen, lead, &error))?);
        }
        if !bound.is_empty() {
            self.start()?;
        }
        Ok(Some(Listening { wanted, bound }))
    }

    fn start(&mut self) -> Result<(), CtlError> {
        if self.relay.is_some() {
            return Ok(());
        }
        let host =
            |error: &dyn std::fmt::Display| CtlError::new(ErrorCode::Host, error.to_string());
        let namespace = self.station.namespace().map_err(|error| host(&error))?;
        let enter = move || namespace.enter().map_err(std::io::Error::other);
        let relay = Relay::start(Limits::of_this_process(), enter);
        self.relay = Some(relay.map_err(|error| host(&error))?);
        Ok(())
    }

    /// Gives up the ports that are not to be relayed any more, and ends what came by those that lead elsewhere now.
    pub(super) fn withdraw(&mut self, next: Option<&Listening>) {
        let Some(Listening { wanted, .. }) = next else { return };
        self.taken.retain(|listen| wanted.contains_key(listen));
        let Some(relay) = &self.relay else { return };
        let (mut gone, mut led_elsewhere) = (Vec::new(), Vec::new());
        for (listen, lead) in &mut self.served {
            match wanted.get(listen) {
                Some(now) if now == lead => {}
                Some(now) => {
                    lead.clone_from(now);
                    led_elsewhere.push(*listen);
                }
                None => gone.push(*listen),
            }
        }
        gone.iter().for_each(|listen| _ = self.served.remove(listen));
        if !led_elsewhere.is_empty() {
            relay.reset(led_elsewhere);
        }
        if !gone.is_empty() {
            relay.withdraw(gone);
        }
    }

    /// Serves the ports that were taken for the configuration that is in force now.
    pub(super) fn serve(&mut self, now: Option<Listening>) {
        let Some(Listening { mut wanted, bound }) = now else { return };
        let Some(relay) = self.relay.as_ref().filter(|_| !bound.is_empty()) else { return };
        for port in &bound {
            let lead = wanted.remove(&port.listen());
            self.served.extend(lead.map(|lead| (port.listen(), lead)));
        }
        relay.serve(bound);
    }
}

impl Switch {
    /// Tries to take the ports of the loopback that are not served.
    pub(super) fn retry_loopback(&mut self) {
        let (wanted, mut bound) = (leads(&self.config), Vec::new());
        for (listen, lead) in &wanted {
            if self.loopback.served.contains_key(listen) {
                continue;
            }
            match bind(*listen, lead) {
                Ok(Some(port)) => {
                    self.loopback.taken.remove(listen);
                    bound.push(port);
                }
                Ok(None) => {}
                Err(error) => {
                    if self.loopback.taken.insert(*listen) {
                        let problem = refusal(*listen, lead, &error);
                        self.note_problem(format!("{problem}; it is tried again"));
                    }
                }
            }
        }
        if bound.is_empty() {
            return;
        }
        match self.loopback.start() {
            Ok(()) => self.loopback.serve(Some(Listening { wanted, bound })),
            Err(error) => self.note_problem(error.to_string()),
        }
    }
}

/// The ports of the loopback that a configuration relays, and where they lead to.
fn leads(config: &Config) -> BTreeMap<Listen, Lead> {
    let each = |relayed: Relayed<'_>| {
        let forward = relayed.rule.forward;
        let transport = match forward.protocol {
            Protocol::Udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        let lead = |at: SocketAddr| {
            let port = forward.container_port + (at.port() - forward.ports.first());
            let lead = Lead {
                rule: relayed.name.clone(),
                container: SocketAddr::new(forward.container, port),
                home: config.container_bridge(relayed.rule).cloned(),
                is_implied: forward.address.is_none(),
            };
            (Listen { at, transport }, lead)
        };
        relayed.listened().map(lead).collect::<Vec<_>>()
    };
    config.relayed().flat_map(each).collect()
}

/// Takes a port; what comes there goes to the same port of the switch, as it is on the relay's bridge. There is nothing to
/// take where it is on the loopback only with the host's other addresses, and the host has no such address.
fn bind(listen: Listen, lead: &Lead) -> std::io::Result<Option<Bound>> {
    let gateway: IpAddr = Config::relay_gateway(listen.at.is_ipv4());
    match Bound::bind(listen, SocketAddr::new(gateway, listen.at.port())) {
        Err(error) if lead.is_implied && error.kind() == ErrorKind::AddrNotAvailable => Ok(None),
        bound => bound.map(Some),
    }
}

fn refusal(listen: Listen, lead: &Lead, error: &std::io::Error) -> CtlError {
    let rule = &lead.rule;
    if error.kind() == ErrorKind::AddrInUse {
        let elsewhere = if lead.is_implied { ", or at an address of its bridge alone" } else { "" };
        let message = format!(
            "nat rule {rule}: another program on the host has {listen} (`ss -lnp` shows which), so that nothing can be relayed \
             from there; end it, or publish another port{elsewhere}"
        );
        return CtlError::new(ErrorCode::Exists, message);
    }
    CtlError::new(ErrorCode::Host, format!("nat rule {rule}: cannot listen at {listen}: {error}"))
}
