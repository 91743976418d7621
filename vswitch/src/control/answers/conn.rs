//! Sessions.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use ctl::response::{ConnInfo, ConnPage, TopInfo, Volume};
use ctl::{ConnFilter, ConnList, ConnShow, ConnState, ConnTop, FiveTuple, Protocol, TopBy};
use flows::session::{Key, Session, SessionRef, State, TcpState};
use flows::{BridgeIndex, Endpoint, Tuple, Zone};
use pktio::wire::field::{icmp, protocol};

use crate::control::compile::Numbering;
use crate::control::switch::Switch;

/// Which sessions a filter means.
pub struct Sieve<'a> {
    filter: &'a ConnFilter,
    /// The zone of the filter's bridge, if it names one and there is one.
    zone: Option<Option<Zone>>,
}

impl<'a> Sieve<'a> {
    /// That of a filter.
    pub fn new(filter: &'a ConnFilter, numbering: &Numbering) -> Self {
        let zone = |name| numbering.bridges.get(name).map(|slot| slot.index.into());
        Self { filter, zone: filter.bridge.as_ref().map(zone) }
    }

    /// Whether the filter means a session.
    pub fn passes(&self, session: &Session) -> bool {
        let ConnFilter { from, to, port, protocol, bridge: _, state } = self.filter;
        let [begun, answered] = [session.initiator, session.responder];
        // As the one who began knows it, and as it is.
        let ends = [begun.tuple.destination, answered.tuple.source];
        let is_there = |zone: Option<Zone>| {
            zone.is_some_and(|zone| [begun.zone, answered.zone].contains(&zone))
        };
        from.is_none_or(|network| network.contains(begun.tuple.source.ip))
            && to.is_none_or(|network| ends.iter().any(|end| network.contains(end.ip)))
            && port.is_none_or(|port| ends.iter().any(|end| end.port == port))
            && protocol.is_none_or(|wanted| Protocol::of(begun.tuple.protocol) == wanted)
            && self.zone.is_none_or(is_there)
            && state.is_none_or(|wanted| state_of(session) == wanted)
    }
}

/// A container by its bridge and address, with its sessions and what passed in them.
type Talker = ((Zone, IpAddr), (u64, Volume));

impl Switch {
    /// Some of the sessions that a filter means.
    pub fn sessions(&self, list: &ConnList) -> ConnPage {
        let sieve = Sieve::new(&list.filter, self.numbering());
        let from = u32::try_from(list.after.unwrap_or(0)).unwrap_or(u32::MAX);
        let all = self.fleet_ref().tables().sessions.iter_from(from, self.now());
        let mut found = all.filter(|session| sieve.passes(session));
        let limit = usize::try_from(list.limit.number()).unwrap_or(usize::MAX);
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().map(|session| session.reference.position().into());
        let carried = self.carried_sessions();
        let sessions =
            page.iter().filter_map(|session| self.conn_info(session, &carried)).collect();
        ConnPage { sessions, next }
    }

    /// One session, by either direction of it.
    pub fn session(&self, show: &ConnShow) -> Option<ConnInfo> {
        let filter = ConnFilter { bridge: show.bridge.clone(), ..ConnFilter::default() };
        let sieve = Sieve::new(&filter, self.numbering());
        let table = &self.fleet_ref().tables().sessions;
        let zones = self.numbering().bridges.values().map(|slot| Zone::from(slot.index));
        let keys = zones.flat_map(|zone| {
            tuples(&show.tuple).into_iter().map(move |tuple| Key::new(zone, tuple))
        });
        let mut found = keys
            .filter_map(|key| table.get(table.lookup(&key)?.session, self.now()))
            .filter(|session| sieve.passes(session));
        self.conn_info(&found.next()?, &self.carried_sessions())
    }

    /// The addresses that have the most sessions, or move the most.
    pub fn top(&self, top: &ConnTop) -> Vec<TopInfo> {
        let mut talkers: HashMap<(Zone, IpAddr), (u64, Volume)> = HashMap::new();
        let sieve = Sieve::new(&top.filter, self.numbering());
        let all = self.fleet_ref().tables().sessions.iter(self.now());
        for session in all.filter(|session| sieve.passes(session)) {
            let session = self.with_carried(session);
            let Key { zone, tuple } = session.initiator;
            let (sessions, moved) = talkers.entry((zone, tuple.source.ip)).or_default();
            *sessions += 1;
            moved.packets += session.original.packets + session.reply.packets;
            moved.bytes += session.original.bytes + session.reply.bytes;
        }
        let mut talkers: Vec<_> = talkers.into_iter().collect();
        talkers.sort_unstable_by_key(|(who, (sessions, moved))| {
            let most = match top.by {
                TopBy::Sessions => *sessions,
                TopBy::Bytes => moved.bytes,
                TopBy::Packets => moved.packets,
            };
            (std::cmp::Reverse(most), *who)
        });
        talkers.truncate(usize::try_from(top.limit.number()).unwrap_or(usize::MAX));
        self.with_mappings(&talkers)
    }

    /// Adds how many mappings each address has.
    fn with_mappings(&self, talkers: &[Talker]) -> Vec<TopInfo> {
        let mut mappings: HashMap<(Zone, IpAddr), u64> = HashMap::new();
        for mapping in self.snapshot().translation().mappings.iter() {
            *mappings.entry((mapping.zone, mapping.internal.ip)).or_default() += 1;
        }
        let info = |((zone, address), (sessions, moved)): &((Zone, IpAddr), (u64, Volume))| {
            Some(TopInfo {
                bridge: self.numbering().bridge_name(BridgeIndex(zone.0))?.clone(),
                address: *address,
                sessions: *sessions,
                mappings: mappings.get(&(*zone, *address)).copied().unwrap_or(0),
                moved: *moved,
            })
        };
        talkers.iter().filter_map(info).collect()
    }

    /// A session for people, and whether it is among those that the kernel carries; `None` when one of its bridges is no
    /// more.
    fn conn_info(&self, session: &Session, carried: &HashSet<SessionRef>) -> Option<ConnInfo> {
        let session = &self.with_carried(*session);
        let name = |zone: Zone| self.numbering().bridge_name(BridgeIndex(zone.0)).cloned();
        let (begun, answered) = (session.initiator.tuple, session.responder.tuple);
        let usage = self.snapshot().translating(session);
        let rule = usage.and_then(|usage| self.numbering().rule_name(usage));
        let service = self.snapshot().translation().served_by(session);
        let service = service
            .and_then(|(service, _)| self.numbering().services.name_of(&service.usage).cloned());
        let tcp = matches!(session.state, State::Tcp(_)).then(|| session.state_name().to_owned());
        Some(ConnInfo {
            bridge: name(session.initiator.zone)?,
            initiator: five_tuple(&begun, begun.source),
            responder_bridge: name(session.responder.zone)?,
            responder: five_tuple(&answered, answered.destination),
            state: state_of(session),
            tcp,
            rule: rule.cloned(),
            service,
            age_seconds: session.age_seconds,
            idle_seconds: session.idle_seconds,
            expires_seconds: self.snapshot().translation().timeouts.left_to(session),
            sent: volume(session.original),
            received: volume(session.reply),
            is_offloaded: carried.contains(&session.reference),
        })
    }
}

fn volume(volume: flows::session::Volume) -> Volume {
    Volume { packets: volume.packets, bytes: volume.bytes }
}

fn state_of(session: &Session) -> ConnState {
    use TcpState::{Established, SimultaneousOpen, SynReceived, SynSent};
    match session.state {
        State::Open if session.is_replied => ConnState::Established,
        State::Open | State::Tcp(SynSent | SimultaneousOpen | SynReceived) => ConnState::Unreplied,
        State::Tcp(Established) => ConnState::Established,
        State::Tcp(_) => ConnState::Closing,
    }
}

/// The types of a protocol's queries, one of which stands for a port where others have one.
fn query_types(number: u8) -> &'static [(u8, u8)] {
    match number {
        protocol::ICMP => &icmp::QUERY_TYPES,
        protocol::ICMPV6 => &icmp::V6_QUERY_TYPES,
        _ => &[],
    }
}

/// A tuple as people know it: the port of an ICMP query is its identifier, on both sides. It is the port of the
/// one who asks.
fn five_tuple(tuple: &Tuple, asker: Endpoint) -> FiveTuple {
    let Tuple { protocol, source, destination } = *tuple;
    let is_query = !query_types(protocol).is_empty();
    let address =
        |end: Endpoint| SocketAddr::new(end.ip, if is_query { asker.port } else { end.port });
    FiveTuple {
        protocol: Protocol::of(protocol),
        source: address(source),
        destination: address(destination),
    }
}

/// The tuples that people mean by one.
fn tuples(meant: &FiveTuple) -> Vec<Tuple> {
    let protocol = meant.protocol.number(meant.source.is_ipv4());
    let tuple = |from, to| Tuple {
        protocol,
        source: Endpoint::new(meant.source.ip(), from),
        destination: Endpoint::new(meant.destination.ip(), to),
    };
    let id = meant.source.port();
    match query_types(protocol) {
        [] => vec![tuple(id, meant.destination.port())],
        types => {
            let types = types.iter().map(|(query, _)| u16::from(*query));
            types.flat_map(|query| [tuple(id, query), tuple(query, id)]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: u8, port: u16) -> Endpoint {
        Endpoint::new([10, 0, 0, host], port)
    }

    #[test]
    fn a_ping_is_known_by_its_identifier_in_both_directions() {
        let (source, destination) = (endpoint(1, 77), endpoint(2, 8));
        let query = Tuple { protocol: protocol::ICMP, source, destination };
        let shown = five_tuple(&query, source);
        assert_eq!(shown.to_string(), "icmp 10.0.0.1:77 > 10.0.0.2:77");
        assert!(tuples(&shown).contains(&query));
        let shown = five_tuple(&query.reversed(), source);
        assert_eq!(shown.to_string(), "icmp 10.0.0.2:77 > 10.0.0.1:77");
        assert!(tuples(&shown).contains(&query.reversed()));
    }

    #[test]
    fn other_tuples_are_what_they_are() {
        let (source, destination) = (endpoint(1, 8), endpoint(2, 80));
        let tuple = Tuple { protocol: protocol::TCP, source, destination };
        assert_eq!(five_tuple(&tuple, source).to_string(), "tcp 10.0.0.1:8 > 10.0.0.2:80");
        assert_eq!(tuples(&five_tuple(&tuple, source)), [tuple]);
    }
}
