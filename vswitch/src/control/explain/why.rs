//! `why`: can one container reach another? The packet that it would send, the answer that would come, and one
//! sentence.

use std::net::{IpAddr, SocketAddr};

use ctl::response::{TraceInfo, TraceOutcome, TraceStage, WhyInfo};
use ctl::{CtlError, FiveTuple, Party, Protocol, Sketch, Why};
use flows::{Fate, Finding, PortIndex, Trace, Tuple};
use pktio::wire::{EthernetHeader, Layers, MacAddr};

use super::lost::{Question, remark};
use super::packet::Turn;
use super::party::Host;
use crate::control::switch::Switch;

/// The port from which a container would begin (RFC 6335 section 6), and the identifier of its query.
const EPHEMERAL: u16 = 49_152;

/// The way in one direction.
pub(super) struct Leg {
    pub(super) info: TraceInfo,
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
    pub(super) fn asking(packet: String, ip: IpAddr, until: String) -> Self {
        let because = format!("its subnet, in which {ip} is");
        let stages = vec![container(format!("asks for {ip}"), because)];
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

    pub(super) fn fate(&self) -> Option<Fate> {
        self.trace.as_ref().map(|trace| trace.fate)
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
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
        let answerer = answerer.map(|(host, _)| host);
        let off = [Some(&there), back.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|leg| self.lost_beyond(leg));
        let reaches = off.is_none() && (returns || there.fate() == Some(Fate::Answered));
        let sentence = match off {
            Some(why_down) => format!("{} cannot reach {}: {why_down}", why.from, why.to),
            None => self.sentence(why, &ends, &there, (returns, back.as_ref(), answerer)),
        };
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
        if begins.is_empty() {
            return Err(self.unknown(&why.from));
        }
        let targets: Vec<(IpAddr, Option<Host>)> = match &why.to {
            Party::Address(ip) => vec![(*ip, meant.into_iter().next())],
            Party::Name(_) if meant.is_empty() => return Err(self.unknown(&why.to)),
            Party::Name(_) => meant.into_iter().map(|host| (host.ip, Some(host))).collect(),
        };
        let pairs = begins.iter().flat_map(|from| targets.iter().map(move |to| (from, to)));
        let mut fitting: Vec<_> =
            pairs.filter(|(from, (to, _))| from.ip.is_ipv4() == to.is_ipv4()).collect();
        fitting.sort_by_key(|(from, (to, host))| {
            let is_elsewhere = host.as_ref().is_some_and(|host| host.bridge != from.bridge);
            (!from.ip.is_ipv4(), is_local(from.ip) != is_local(*to), is_elsewhere)
        });
        let (from, (to, host)) = fitting.into_iter().next().ok_or_else(|| {
            let (from, to) = (&why.from, &why.to);
            CtlError::invalid(format!("{from} and {to} have no addresses of one IP version"))
        })?;
        Ok(Ends { from: from.clone(), to: *to, host: host.clone() })
    }

    /// Why what leaves by a port is lost there, if it is: somebody has switched its interface off.
    fn lost_beyond(&self, leg: &Leg) -> Option<String> {
        let TraceOutcome::Sent { ports, .. } = &leg.info.outcome else { return None };
        let [only] = &ports[..] else { return None };
        Some(format!("it leaves by port {only}, and {}", self.why_down(only)?))
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
        let first = Sketch::first_of(tuple);
        let flags = match protocol {
            Protocol::Tcp => "syn+ack".parse().unwrap_or(first.flags),
            _ => first.flags,
        };
        Some((self.host_at(port, mac, destination.ip)?, Sketch { flags, ..first }))
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
            (
                Some(Leg { info: TraceInfo { outcome: TraceOutcome::Held { until }, .. }, .. }),
                _,
            ) => {
                format!(
                    "{from} reaches {to}{by}{known_as}; it is not known yet whether the answer comes back: it waits until {until}"
                )
            }
            (Some(back), Some(host)) => {
                let reason = self.reason(why, (&host, ends.from.ip), back);
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
            _ => match &there.info.outcome {
                TraceOutcome::Held { until } => format!(
                    "it is not known yet whether {from} reaches {to}{by}: it waits until {until}"
                ),
                _ => {
                    let reason = self.reason(why, (&ends.from, ends.to), there);
                    format!("{from} cannot reach {to}{by}: {reason}")
                }
            },
        }
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
