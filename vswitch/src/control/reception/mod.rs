//! [`Reception`]: who serves what containers ask the gateways of their networks for: names, and addresses.
//!
//! ```text
//!   worker ──► visitors (bounded) ──► reception ──► answer, conveyed by a worker to the port
//!                                        │  ^
//!                                        v  │ other resolvers, by sockets of the host
//!                                       upstream
//! ```
//!
//! What is answered is decided by the `gateway` crate, from the configuration in force. Here are the carriers:
//! datagrams (`datagram`), conversations over TCP (`conversation`, by smoltcp), and what is on its way to other
//! resolvers (`upstream`). Used by the control thread only; what one turn does is bounded, so that questions of
//! containers do not hold up the orders of people. What answers checks of backends comes in by the same door, and is given to
//! who made them ([`Checks`]).

mod conversation;
pub(super) mod datagram;
mod lease;
mod resolvers;
mod upstream;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ctl::{Bridge, BridgeName, Config, Network, PortName};
use flows::service::CHECK_PORTS;
use flows::{PortIndex, Vid, Visitor};
use gateway::dhcp;
use gateway::dns::{
    Directory, Forwarding, Heard, Query, Relay, Responder, Ticket, Transport, Verdict,
};
use pktio::wire::MacAddr;
use pktio::wire::field::protocol;

use super::checks::Checks;
use super::switch::Switch;
use crate::random::random;
use conversation::{ConversationId, Conversations};
use datagram::Packet;
use resolvers::Resolvers;
use upstream::Upstream;

/// Visitors that are attended to before it is the turn of whoever else is waiting.
const VISITORS_AT_ONCE: usize = 64;

/// Where a visitor comes from, and how the answer finds back.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The network.
    network: BridgeName,
    /// The port, by its name and by its number, which may be another one's when the answer comes.
    name: PortName,
    port: PortIndex,
    vid: Vid,
    /// The station behind the port, and the gateway's own.
    mac: MacAddr,
    gateway: MacAddr,
    /// From where to where.
    from: SocketAddr,
    to: SocketAddr,
}

/// Who waits for an answer of other resolvers.
#[derive(Debug)]
enum Asker {
    /// Who sent a datagram.
    Datagram(Caller),
    /// Who speaks over TCP.
    Conversation(ConversationId),
}

/// Serves names and addresses at the gateways of all networks.
pub struct Reception {
    /// The names of each network, as long as it stays what it is.
    directories: BTreeMap<BridgeName, (Arc<Network>, Directory)>,
    relay: Relay<Asker, PortName>,
    upstream: Upstream,
    resolvers: Resolvers,
    conversations: Conversations,
    /// More visitors may wait than were attended to.
    has_more: bool,
}

impl Reception {
    /// A reception that nobody has come to yet.
    ///
    /// # Errors
    /// The kernel's error when it gives no epoll.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            directories: BTreeMap::new(),
            relay: Relay::default(),
            upstream: Upstream::new()?,
            resolvers: Resolvers::default(),
            conversations: Conversations::default(),
            has_more: false,
        })
    }

    /// What becomes readable when another resolver says something.
    pub fn fd(&self) -> RawFd {
        self.upstream.fd()
    }

    /// When to be called at the latest.
    pub fn timeout(&self) -> Option<Duration> {
        if self.has_more {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let relay = self.relay.deadline().map(|at| at.saturating_duration_since(now));
        [relay, self.conversations.timeout(now)].into_iter().flatten().min()
    }

    /// Attends to who came, and to what others said.
    pub fn attend(&mut self, switch: &mut Switch, checks: &mut Checks) {
        let now = Instant::now();
        self.has_more = true;
        for _ in 0..VISITORS_AT_ONCE {
            let Some(visitor) = switch.fleet_ref().visitor() else {
                self.has_more = false;
                break;
            };
            self.receive(switch, checks, &visitor, now);
        }
        while let Some((ticket, said)) = self.upstream.next() {
            let heard = match said {
                Some(message) => self.relay.hear(ticket, message, now),
                None => self.relay.fail(ticket, now),
            };
            self.heed(switch, ticket, heard);
        }
        for ticket in self.relay.overdue(now) {
            let heard = self.relay.fail(ticket, now);
            self.heed(switch, ticket, heard);
        }
        self.converse(switch, now);
    }

    /// Attends to a visitor. Who is gone, or sent nothing that can be read, gets no answer.
    fn receive(
        &mut self,
        switch: &mut Switch,
        checks: &mut Checks,
        visitor: &Visitor,
        now: Instant,
    ) {
        let Some(packet) = Packet::read(&visitor.frame) else { return };
        if packet.protocol == protocol::TCP && CHECK_PORTS.contains(&packet.to.port()) {
            return checks.hear(switch, (visitor.port, visitor.vid), packet, now);
        }
        let Some(caller) = identify(switch, visitor, &packet) else { return };
        match (packet.protocol, caller.to.port()) {
            (protocol::UDP, gateway::dns::PORT) => {
                let asker = Asker::Datagram(caller.clone());
                if let Some(answer) =
                    self.ask(switch, (asker, &caller), &packet.payload, Transport::Udp, now)
                {
                    reply(switch, &caller, &answer);
                }
            }
            (protocol::UDP, dhcp::SERVER_PORT) => tell(switch, &caller, &packet.payload),
            (protocol::TCP, _) => self.conversations.hear(&caller, packet.ip, now),
            _ => {}
        }
    }

    /// What is to be answered at once. Otherwise the answer comes later, or never.
    fn ask(
        &mut self,
        switch: &Switch,
        (asker, caller): (Asker, &Caller),
        message: &[u8],
        transport: Transport,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let network = switch.config().networks.get(&caller.network)?;
        let settings = &network.settings;
        let has_way_out = !settings.internal || !settings.resolvers.is_empty();
        let forwarding = if has_way_out { Forwarding::On } else { Forwarding::Off };
        let directory = self.directory(switch.config(), &caller.network, network);
        match (Responder { directory, forwarding }).attend(message, transport) {
            Verdict::Answer(answer) => Some(answer),
            Verdict::Forward(query) => {
                let servers = self.servers(switch, network);
                self.forward((asker, caller.name.clone()), query, &servers, now)
            }
            Verdict::Silence => None,
        }
    }

    /// The names of a network, made anew when it has changed.
    fn directory(
        &mut self,
        config: &Config,
        name: &BridgeName,
        network: &Arc<Network>,
    ) -> &Directory {
        let namespace = |port: &PortName| config.ports.get(port)?.namespace_name();
        let made = || (Arc::clone(network), Directory::of(name, network, namespace));
        let entry = self.directories.entry(name.clone()).or_insert_with(made);
        if !Arc::ptr_eq(&entry.0, network) {
            *entry = made();
        }
        &entry.1
    }

    /// Who is asked about names that are not the network's: never the switch itself, though perhaps the host.
    fn servers(&mut self, switch: &Switch, network: &Network) -> Vec<SocketAddr> {
        let given = network.settings.resolvers.iter();
        let given: Vec<_> = given.map(|addr| SocketAddr::new(*addr, gateway::dns::PORT)).collect();
        let mut servers = if given.is_empty() { self.resolvers.current().to_vec() } else { given };
        let config = switch.config();
        let has = |bridge: &Bridge, ip| bridge.gateways.iter().any(|own| own.addr == ip);
        let is_own = |ip: IpAddr| {
            let mut holders = config.bridges.iter().filter(|(_, bridge)| has(bridge, ip));
            holders.any(|(name, _)| config.shared_port(name).is_none())
        };
        servers.retain(|server| !is_own(server.ip()));
        servers
    }

    /// Sends a query on. The answer, if it cannot be.
    fn forward(
        &mut self,
        asker: (Asker, PortName),
        query: Query,
        servers: &[SocketAddr],
        now: Instant,
    ) -> Option<Vec<u8>> {
        let id = u16::from_ne_bytes(random());
        match self.relay.ask(asker, query, servers, id, now) {
            Ok(sending) => {
                self.upstream.send(sending);
                None
            }
            Err((_, query)) => Some(query.failure()),
        }
    }

    /// Does what comes of what another resolver said, or did not say.
    fn heed(&mut self, switch: &mut Switch, ticket: Ticket, heard: Heard<Asker>) {
        match heard {
            Heard::Answer(asker, answer) => {
                self.upstream.forget(ticket);
                match asker {
                    Asker::Datagram(caller) => reply(switch, &caller, &answer),
                    Asker::Conversation(id) => self.conversations.say(id, &answer),
                }
            }
            Heard::Next(sending) => self.upstream.send(sending),
            Heard::Nothing => {}
        }
    }

    /// Goes on with the conversations over TCP.
    fn converse(&mut self, switch: &mut Switch, now: Instant) {
        while let Some((id, caller, message)) = self.conversations.next_message() {
            let asker = Asker::Conversation(id);
            let answer = self.ask(switch, (asker, &caller), &message, Transport::Tcp, now);
            answer.into_iter().for_each(|answer| self.conversations.say(id, &answer));
        }
        for (caller, frames) in self.conversations.turn(now) {
            convey(switch, &caller, frames);
        }
    }
}

/// Who a visitor is.
fn identify(switch: &Switch, visitor: &Visitor, packet: &Packet) -> Option<Caller> {
    let Visitor { port, vid, .. } = visitor;
    let snapshot = switch.snapshot();
    let bridge = snapshot.port(*port)?.bridge;
    let gateway = snapshot.bridge(bridge)?.gateway_mac;
    Some(Caller {
        network: switch.numbering().bridge_name(bridge)?.clone(),
        name: switch.numbering().port_name(*port)?.clone(),
        port: *port,
        vid: *vid,
        mac: packet.mac,
        gateway,
        from: packet.from,
        to: packet.to,
    })
}

/// Tells a container its address, if it is one that asks for it.
fn tell(switch: &mut Switch, caller: &Caller, message: &[u8]) {
    let Some(lease) = lease::of(switch.config(), &caller.name, caller.to.ip()) else { return };
    match dhcp::attend(message, &lease) {
        dhcp::Verdict::Answer { message, to } => {
            let mac = if to.is_broadcast() { MacAddr::BROADCAST } else { caller.mac };
            let from = SocketAddr::new(to.into(), dhcp::CLIENT_PORT);
            let own = SocketAddr::new(lease.server.into(), dhcp::SERVER_PORT);
            reply(switch, &Caller { mac, from, to: own, ..caller.clone() }, &message);
        }
        dhcp::Verdict::Declined => switch.note_problem(format!(
            "port {}: its container says that somebody else on network {} has its address {}",
            caller.name, caller.network, lease.address
        )),
        dhcp::Verdict::Silence => {}
    }
}

/// Sends a datagram back to where a question came from.
fn reply(switch: &mut Switch, caller: &Caller, payload: &[u8]) {
    convey(switch, caller, vec![datagram::between(caller, payload)]);
}

/// Sends frames to a caller, if he is still there.
fn convey(switch: &mut Switch, caller: &Caller, frames: Vec<Vec<u8>>) {
    if frames.is_empty() || switch.numbering().port_name(caller.port) != Some(&caller.name) {
        return;
    }
    let place = (caller.port, caller.vid);
    if let Err(error) = switch.fleet().convey(place, frames) {
        switch.note_problem(format!("an answer to port {} was not sent: {error}", caller.name));
    }
}
