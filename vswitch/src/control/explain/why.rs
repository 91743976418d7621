//! `why`: can one container reach another? The packet that it would send, the answer that would come, and one
//! sentence.

use std::net::{IpAddr, SocketAddr};

use ctl::response::{NetworkInfo, TraceInfo, TraceOutcome, TraceStage, WhyInfo};
use ctl::{BridgeName, CtlError, FiveTuple, Party, Protocol, Sketch, TcpFlags, UPLINK_REMEDY, Why};
use flows::{DropReason, Fate, Finding, PortIndex, Trace, Tuple};
use pktio::wire::{EthernetHeader, Layers, MacAddr};

use super::lost::{Question, remark};
use super::packet::Turn;
use super::party::Host;
use crate::control::switch::Switch;

/// The port from which a container would begin (RFC 6335 section 6), and the identifier of its query.
const EPHEMERAL: u16 = 49_152;

/// The way in one direction.
pub(super) struct Leg {
    info: TraceInfo,
    /// `None` when the container would send nothing.
    trace: Option<Trace>,
}

impl Leg {
    /// A packet that its sender gives to a station.
    pub(super) fn sent(mut info: TraceInfo, trace: Trace, (via, mac): (IpAddr, MacAddr)) -> Self {
        let stage = container(format!("sends it to {mac}"), format!("its way to {via}"));
        info.stages.insert(0, stage);
        Self { info, trace: Some(trace) }
    }

    /// One whose sender first has to find whom to give it to.
    pub(super) fn asking(packet: String, ip: IpAddr, bridge: &BridgeName) -> Self {
        let because = format!("its subnet, in which {ip} is");
        let stages = vec![container(format!("asks for {ip}"), because)];
        let until = format!("{ip} answers on bridge {bridge}, where nobody is known to have it");
        Self {
            info: TraceInfo { packet, stages, outcome: TraceOutcome::Held { until } },
            trace: None,
        }
    }

    /// One whose sender has no way for it.
    pub(super) fn unsent(packet: String, explanation: String) -> Self {
        let stages = vec![container("sends nothing".to_owned(), "its routes".to_owned())];
        let outcome = TraceOutcome::Dropped { reason: "no-gateway".to_owned(), explanation };
        Self { info: TraceInfo { packet, stages, outcome }, trace: None }
    }

    fn fate(&self) -> Option<Fate> {
        self.trace.as_ref().map(|trace| trace.fate)
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.trace.iter().flat_map(|trace| &trace.findings)
    }

    /// Who its sender seems to be to the world, if it is hidden.
    fn known_as(&self) -> Option<IpAddr> {
        self.findings().find_map(|found| match found {
            Finding::Masquerade { external: Ok(external), .. } => Some(external.ip),
            _ => None,
        })
    }

    /// What leaves by a port, or by the only one if it is not known by which it should.
    fn arrival(&self, at: Option<PortIndex>) -> Option<(PortIndex, &[u8])> {
        let trace = self.trace.as_ref().filter(|trace| trace.fate == Fate::Forwarded)?;
        let found = match (at, &trace.sent[..]) {
            (Some(at), sent) => sent.iter().find(|(port, _)| *port == at),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.map(|(port, frame)| (*port, &frame[..]))
    }
}

fn container(decision: String, because: String) -> TraceStage {
    TraceStage { stage: "container".to_owned(), decision, because: Some(because) }
}

/// Both ends.
pub(super) struct Ends {
    pub(super) from: Host,
    pub(super) to: IpAddr,
    /// Who has that address, if it is a container's.
    pub(super) host: Option<Host>,
}

impl Switch {
    /// Whether one container reaches another.
    ///
    /// # Errors
    /// [`CtlError`], when it is not known who is meant.
    pub fn why(&mut self, why: &Why) -> Result<WhyInfo, CtlError> {
        let losses = self.losses()?;
        let ends = self.ends(why)?;
        let mut tracer = self.tracer()?;
        let question = question(why, &ends)?;
        let there = self.send(&mut tracer, &ends.from, (&question, Turn::Question))?;
        let at = ends.host.as_ref().map(|host| self.index_of(&host.port)).transpose()?;
        let answerer = there.arrival(at).and_then(|(port, frame)| self.answer_by(port, frame));
        let back = match &answerer {
            Some((host, answer)) => Some(self.send(&mut tracer, host, (answer, Turn::Answer))?),
            None => None,
        };
        let home = self.index_of(&ends.from.port)?;
        let returns = back.as_ref().is_some_and(|back| back.arrival(Some(home)).is_some());
        let reaches = returns || there.fate() == Some(Fate::Answered);
        let answerer = answerer.map(|(host, _)| host);
        let sentence = self.sentence(why, &ends, &there, (returns, back.as_ref(), answerer));
        let lost = self.lost_lately(&losses, &Question::new(why, &ends, there.known_as()));
        let sentence = sentence + &remark(&lost);
        Ok(WhyInfo {
            reaches,
            sentence,
            forward: there.info,
            back: back.map(|back| back.info),
            lost,
        })
    }

    /// Who is meant, by addresses of one IP version: IPv4 if there is a choice.
    fn ends(&self, why: &Why) -> Result<Ends, CtlError> {
        let (begins, meant) = (self.hosts_of(&why.from)?, self.hosts_of(&why.to)?);
        let unknown = |party: &Party| {
            CtlError::not_found(format!(
                "nothing is known of any address of {party}; name an address that a port was given, or that \
                 somebody has used lately"
            ))
        };
        if begins.is_empty() {
            return Err(unknown(&why.from));
        }
        let targets: Vec<(IpAddr, Option<Host>)> = match &why.to {
            Party::Address(ip) => vec![(*ip, meant.into_iter().next())],
            Party::Name(_) if meant.is_empty() => return Err(unknown(&why.to)),
            Party::Name(_) => meant.into_iter().map(|host| (host.ip, Some(host))).collect(),
        };
        let pairs = begins.iter().flat_map(|from| targets.iter().map(move |to| (from, to)));
        let mut fitting: Vec<_> =
            pairs.filter(|(from, (to, _))| from.ip.is_ipv4() == to.is_ipv4()).collect();
        fitting.sort_by_key(|(from, (to, _))| {
            (!from.ip.is_ipv4(), is_local(from.ip) != is_local(*to))
        });
        let (from, (to, host)) = fitting.into_iter().next().ok_or_else(|| {
            let (from, to) = (&why.from, &why.to);
            CtlError::invalid(format!("{from} and {to} have no addresses of one IP version"))
        })?;
        Ok(Ends { from: from.clone(), to: *to, host: host.clone() })
    }

    /// Who gets a frame that leaves by a port, and what he answers.
    fn answer_by(&self, port: PortIndex, frame: &[u8]) -> Option<(Host, Sketch)> {
        let layers = Layers::parse(frame).ok()??;
        let Tuple { protocol, source, destination } = Tuple::of(frame, &layers)?;
        let mac = EthernetHeader::read(frame)?.dst;
        let protocol = Protocol::of(protocol);
        let own = if protocol == Protocol::Icmp { source.port } else { destination.port };
        let tuple = FiveTuple {
            protocol,
            source: SocketAddr::new(destination.ip, own),
            destination: SocketAddr::new(source.ip, source.port),
        };
        let flags = "syn+ack".parse().unwrap_or(TcpFlags::SYN);
        Some((
            self.host_at(port, mac, destination.ip)?,
            Sketch { flags, ..Sketch::first_of(tuple) },
        ))
    }

    /// The answer for a tired person.
    fn sentence(
        &self,
        why: &Why,
        ends: &Ends,
        there: &Leg,
        (returns, back, answerer): (bool, Option<&Leg>, Option<Host>),
    ) -> String {
        let (from, to) = (&why.from, &why.to);
        let by = match why.port {
            Some(port) => format!(" by {} port {port}", why.protocol),
            None => String::new(),
        };
        let known_as = there.known_as().map(|ip| format!(" as {ip}")).unwrap_or_default();
        match (back, answerer) {
            (Some(_), _) if returns => {
                format!("{from} reaches {to}{by}{known_as}, and the answer comes back")
            }
            (Some(back), Some(host)) => {
                let reason = self.reason(&host, ends.from.ip, back);
                format!("{from} reaches {to}{by}{known_as}, but the answer is lost: {reason}")
            }
            _ if there.fate() == Some(Fate::Answered) => {
                format!("{from} reaches the switch itself, which answers for {}", ends.to)
            }
            _ if there.fate() == Some(Fate::Forwarded) => {
                let TraceOutcome::Sent { ports, .. } = &there.info.outcome else {
                    return format!("{from} cannot reach {to}{by}");
                };
                let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
                let ports = ports.join(", ");
                format!(
                    "the packets of {from} leave by {ports}{known_as}; who is there is not known"
                )
            }
            _ => {
                format!("{from} cannot reach {to}{by}: {}", self.reason(&ends.from, ends.to, there))
            }
        }
    }

    /// Why a packet of a host goes no further, and what to do.
    fn reason(&self, host: &Host, to: IpAddr, leg: &Leg) -> String {
        let rule = leg.findings().find_map(|found| match found {
            Finding::Rule { decided: Some((id, _)) } => Some(id.0),
            _ => None,
        });
        match (leg.fate(), rule, &leg.info.outcome) {
            (Some(Fate::Dropped(DropReason::NoRoute | DropReason::NotAllowed)), ..) => {
                self.no_route(&host.bridge, to)
            }
            (Some(Fate::Dropped(DropReason::RuleDenied)), Some(rule), _) => {
                format!("rule {rule} denies it; run: vswitchctl flow del {rule}")
            }
            (_, _, TraceOutcome::Dropped { reason, explanation }) if reason == "no-gateway" => {
                format!("{} sends nothing, because {explanation}", host.port)
            }
            (Some(Fate::Dropped(reason)), ..) => reason.explain().to_owned(),
            (_, _, TraceOutcome::Held { until }) => format!("it waits until {until}"),
            _ => "it goes to somebody else".to_owned(),
        }
    }

    /// Why there is no way from a bridge to an address.
    fn no_route(&self, from: &BridgeName, to: IpAddr) -> String {
        let bridges = &self.config().bridges;
        let other = |name: &&BridgeName| *name != from;
        let subnet =
            bridges.iter().find(|(name, bridge)| other(name) && bridge.gateway_for(to).is_some());
        if let Some((there, _)) = subnet {
            return format!(
                "bridge `{from}` may not reach `{there}`; run: vswitchctl route allow {from} {there}"
            );
        }
        let hosts = self.hosts_of(&Party::Address(to)).unwrap_or_default();
        match hosts.iter().map(|host| &host.bridge).find(other) {
            Some(there) => format!(
                "bridge `{there}` has no gateway in the subnet of {to}; run: vswitchctl bridge set {there} \
                 --gateway CIDR"
            ),
            None if self.has_no_uplink(from) => format!(
                "no route leads from network `{from}` to {to}, as there is no uplink yet by which it could leave; {UPLINK_REMEDY}"
            ),
            None => format!(
                "no route leads from bridge `{from}` to {to}; `vswitchctl route list` shows those that there are"
            ),
        }
    }

    /// Whether a network would have a way out if there was any.
    fn has_no_uplink(&self, network: &BridgeName) -> bool {
        let info = NetworkInfo::of(self.config(), network);
        let leads_out = self.config().networks.get(network).is_some_and(|it| it.masquerades());
        leads_out && info.is_some_and(|info| info.uplinks.is_empty())
    }
}

fn is_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The packet that begins the conversation.
fn question(why: &Why, ends: &Ends) -> Result<Sketch, CtlError> {
    let (from, to) = match (why.protocol, why.port) {
        (Protocol::Icmp, _) => (EPHEMERAL, EPHEMERAL),
        (protocol, Some(port)) if protocol.has_ports() => (EPHEMERAL, port),
        (protocol, None) if protocol.has_ports() => {
            return Err(CtlError::invalid(format!(
                "give the {protocol} port, because rules and published ports may depend on it"
            )));
        }
        _ => (0, 0),
    };
    Ok(Sketch::first_of(FiveTuple {
        protocol: why.protocol,
        source: SocketAddr::new(ends.from.ip, from),
        destination: SocketAddr::new(ends.to, to),
    }))
}
