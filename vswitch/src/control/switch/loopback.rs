//! Published ports and node ports at the host's own addresses, for the host's own programs: which the daemon listens at, and
//! who serves them.
//!
//! **The order of a change.** Ports are taken before anything is changed, so that one that another program has refuses the
//! change; what is given up is free for others before the change is answered; and what is new is served when the workers
//! know where it leads to. A port that is taken where nobody could be refused (the daemon is restarted, the host gets an
//! address) is tried again every second.
//!
//! **Ports are not held.** Where the kernel can steer ([`Steering`]), what is sent to a port comes to a socket at another one
//! ([`Aside`]), whoever binds this one. For podman binds the ports that it has published, after all is done, to reserve
//! them. So another program is only looked for when somebody asks for the port; at a restart it would be podman.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use ctl::{BridgeName, Config, CtlError, ErrorCode, Protocol, Relayed, RelayedBy};
use pktio::bpf::Steering;
use relay::{Aside, Bound, Limits, Listen, Relay, Transport};

use super::Switch;
use crate::control::problems::Cause;
use crate::control::station::Station;

/// As many ports as are steered; further ones are held.
const STEERED: u32 = 16_384;

/// Where a port of the host leads to, as far as those notice who came by it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lead {
    /// What leads there, to be read.
    by: String,
    to: SocketAddr,
    home: Option<BridgeName>,
    /// It is at this address because it is at every address of the host.
    is_implied: bool,
}

/// What is to be listened at, and where it leads to; and the ports that are new.
pub(super) struct Listening {
    wanted: BTreeMap<Listen, Lead>,
    bound: Vec<Bound>,
    /// Nobody who has one of these ports could be refused for it.
    is_unasked: bool,
}

/// What the daemon listens at on the host.
#[derive(Default)]
pub(super) struct Loopback {
    station: Arc<Station>,
    relay: Option<Relay>,
    /// Nothing in it where the kernel cannot.
    steering: OnceLock<Option<Steering>>,
    aside: Aside,
    served: BTreeMap<Listen, Lead>,
    /// Ports that another program has.
    taken: BTreeSet<Listen>,
}

impl Loopback {
    /// Where the relay is a station.
    pub(super) fn station(&self) -> &Arc<Station> {
        &self.station
    }

    /// Whether another program has a port that is wanted.
    pub(super) fn is_taken(&self, listen: &Listen) -> bool {
        self.taken.contains(listen)
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
        let is_asked_for = !next.is_to_relay_as(present);
        for (listen, lead) in &wanted {
            if self.served.contains_key(listen) || self.taken.contains(listen) {
                continue;
            }
            match self.take(*listen, lead, is_asked_for) {
                Ok(port) => bound.extend(port),
                Err(error) if is_asked_for => {
                    return Err(refusal(*listen, lead, &error, program_at(*listen)));
                }
                // The host has another address, and is not to be followed any less: it is tried again.
                Err(_) => {}
            }
        }
        if !bound.is_empty() {
            self.start()?;
        }
        Ok(Some(Listening { wanted, bound, is_unasked: !is_asked_for }))
    }

    /// Takes a port; what comes there goes to where the relay's bridge has it. There is nothing to take on the loopback where
    /// it is there only with the host's other addresses, and the host has no such address.
    fn take(
        &mut self,
        listen: Listen,
        lead: &Lead,
        is_asked_for: bool,
    ) -> io::Result<Option<Bound>> {
        if !is_asked_for && let Some(steered) = self.steered(listen) {
            return Ok(Some(steered));
        }
        match Bound::bind(listen, Config::relay_target(listen.at)) {
            Err(error) if lead.is_implied && is_no_address(&error) => Ok(None),
            Err(error) if !self.aside.is_at(listen) => Err(error),
            held => self.steered(listen).map_or(held, Ok).map(Some),
        }
    }

    /// What comes to a port, whoever has it.
    fn steered(&mut self, listen: Listen) -> Option<Bound> {
        let steering = self.steering.get_or_init(|| {
            let held = |error: &_| tracing::info!(%error, "the daemon holds the ports it relays");
            Steering::new(STEERED).inspect_err(held).ok()
        });
        let steering = steering.as_ref()?;
        let port = self.aside.bind(listen, Config::relay_target(listen.at)).ok()?;
        steering.steer(listen.at, port.socket()).ok()?;
        Some(port)
    }

    fn start(&mut self) -> Result<(), CtlError> {
        if self.relay.is_some() {
            return Ok(());
        }
        let host =
            |error: &dyn std::fmt::Display| CtlError::new(ErrorCode::Host, error.to_string());
        let namespace = self.station.namespace().map_err(|error| host(&error))?;
        let enter = move || namespace.enter().map_err(io::Error::other);
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
    fn serve(&mut self, Listening { mut wanted, bound, .. }: Listening) {
        let Some(relay) = self.relay.as_ref().filter(|_| !bound.is_empty()) else { return };
        for port in &bound {
            let lead = wanted.remove(&port.listen());
            self.served.extend(lead.map(|lead| (port.listen(), lead)));
        }
        relay.serve(bound);
    }
}

impl Switch {
    /// Serves the ports that were taken for the configuration that is in force now.
    pub(super) fn serve_loopback(&mut self, now: Option<Listening>) {
        let Some(listening) = now else { return };
        self.look_for_programs_passed_by(&listening);
        self.loopback.serve(listening);
    }

    /// Says which programs of the host have sockets at addresses that their ports are relayed from now on. Where a port is
    /// published at one address alone, podman may have bound it there to reserve it.
    fn look_for_programs_passed_by(&mut self, Listening { wanted, bound, is_unasked }: &Listening) {
        let is_own = |port: &&Bound| port.is_held() || self.loopback.aside.is_at(port.listen());
        let implied = |listen: &Listen| wanted.get(listen).is_some_and(|lead| lead.is_implied);
        let passed: BTreeMap<_, _> = bound
            .iter()
            .filter(|port| *is_unasked && !is_own(port) && implied(&port.listen()))
            .map(|port| (place(port.listen()), port.listen()))
            .collect();
        if passed.is_empty() {
            return;
        }
        let sockets = hostnet::sockets::waiting(&passed.keys().copied().collect());
        for socket in sockets.unwrap_or_default() {
            let Some((listen, lead)) = passed.get(&socket).and_then(|at| wanted.get_key_value(at))
            else {
                continue;
            };
            self.note_problem(format!(
                "{}: a program on the host has {listen} (`ss -lnp` shows which), and what the host itself sends there goes to \
                 the container from now on; have the program use another port, or publish another one",
                lead.by
            ));
        }
    }

    /// Tries to take the host's ports that are not served.
    pub(super) fn retry_loopback(&mut self) {
        let (wanted, mut bound) = (leads(&self.config), Vec::new());
        for (listen, lead) in &wanted {
            if self.loopback.served.contains_key(listen) {
                continue;
            }
            match self.loopback.take(*listen, lead, false) {
                Ok(Some(port)) => {
                    self.loopback.taken.remove(listen);
                    bound.push(port);
                }
                Ok(None) => {}
                Err(error) => {
                    if self.loopback.taken.insert(*listen) {
                        let problem = refusal(*listen, lead, &error, None);
                        let problem = format!("{problem}; it is tried again");
                        self.note_standing(Cause::Taken(*listen), problem);
                    }
                }
            }
        }
        if bound.is_empty() {
            return;
        }
        self.settle_problems();
        match self.loopback.start() {
            Ok(()) => self.serve_loopback(Some(Listening { wanted, bound, is_unasked: true })),
            Err(error) => self.note_problem(error.to_string()),
        }
    }
}

/// The ports of the host that a configuration relays, and where they lead to.
fn leads(config: &Config) -> BTreeMap<Listen, Lead> {
    let each = |relayed: Relayed<'_>| {
        let transport = match relayed.protocol {
            Protocol::Udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        let lead = |at: SocketAddr| {
            let (to, home) = match relayed.by {
                RelayedBy::Rule(_, rule) => {
                    let step = at.port() - relayed.ports.first();
                    let to = (rule.forward.container, rule.forward.container_port + step);
                    (to.into(), config.container_bridge(rule).cloned())
                }
                RelayedBy::Service(_, service) => (service.listen.address, None),
            };
            let is_implied = relayed.is_implied();
            (Listen { at, transport }, Lead { by: relayed.by.to_string(), to, home, is_implied })
        };
        relayed.listened().map(lead).collect::<Vec<_>>()
    };
    config.relayed().flat_map(each).collect()
}

/// What the kernel calls it.
fn place(Listen { at, transport }: Listen) -> (Protocol, SocketAddr) {
    let protocol = match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    (protocol, at)
}

/// The host has no such address, or nothing at all of its IP version.
fn is_no_address(error: &io::Error) -> bool {
    let no_version = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_version)
}

/// The program that has a port, and its process. All processes are looked at, so ask for one port only.
fn program_at(listen: Listen) -> Option<(String, u32)> {
    let (protocol, at) = place(listen);
    hostnet::sockets::program_at(protocol, at)
}

fn refusal(
    listen: Listen,
    lead: &Lead,
    error: &io::Error,
    program: Option<(String, u32)>,
) -> CtlError {
    let by = &lead.by;
    if error.kind() == ErrorKind::AddrInUse {
        let elsewhere = match lead.is_implied && listen.at.ip().is_loopback() {
            true => ", or at an address of its bridge alone",
            false => "",
        };
        let program = program.map_or("`ss -lnp` shows which".to_owned(), |(name, process)| {
            format!("{name}, process {process}")
        });
        let message = format!(
            "{by}: another program on the host has {listen} ({program}), so that nothing can be relayed from there; end it, or \
             publish at another port{elsewhere}"
        );
        return CtlError::new(ErrorCode::Exists, message);
    }
    CtlError::new(ErrorCode::Host, format!("{by}: cannot listen at {listen}: {error}"))
}
