//! `why`: can one container reach another? The packet that it would send, the answer that would come, and one
//! sentence.

use std::net::{IpAddr, SocketAddr};

use ctl::response::{TraceInfo, TraceOutcome, TraceStage, WhyInfo};
use ctl::{CtlError, FiveTuple, Party, Protocol, Sketch, Why};
use flows::{Endpoint, Fate, Finding, Ledger, PortIndex, Trace, Tuple};
use pktio::wire::{EthernetHeader, Layers, MacAddr};

use super::lost::{Question, remark};
use super::packet::Turn;
use super::party::Host;
use crate::control::switch::Switch;

/// The port from which a container would begin (RFC 6335 section 6), and the identifier of its query.
const EPHEMERAL: u16 = 49_152;
/// Of how many pairs of containers is told at once.
const PAIRS_TOLD: usize = 8;

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

    /// Whom it is really for, if it was sent to the switch.
    fn meant(&self) -> Option<Endpoint> {
        self.findings().find_map(|found| match found {
            Finding::Inward { internal, .. } => Some(*internal),
            Finding::Service { backend, .. } => *backend,
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
    /// Whether one container reaches another. Where a name is several containers', each is told of, and the ways are those of the first
    /// that is not reached.
    ///
    /// # Errors
    /// [`CtlError`], when it is not known who is meant.
    pub fn why(&mut self, why: &Why) -> Result<WhyInfo, CtlError> {
        let losses = self.losses()?;
        let pairs = self.pairs(why)?;
        let differing = pairs.windows(2).map(|two| self.differing(&two[0], &two[1]));
        let several = differing.fold(Several::default(), Several::or);
        let mut told = Vec::new();
        for ends in pairs.iter().take(PAIRS_TOLD) {
            told.push(self.between(&losses, &several.named(why, ends), ends)?);
        }
        let reaches = told.iter().all(|info| info.reaches);
        let sentence = several.in_one(why, &told, pairs.len());
        let shown = told.iter().position(|info| !info.reaches).unwrap_or(0);
        Ok(WhyInfo { reaches, sentence, ..told.swap_remove(shown) })
    }

    /// Whether one end reaches the other.
    fn between(&self, losses: &Ledger, why: &Why, ends: &Ends) -> Result<WhyInfo, CtlError> {
        let mut tracer = self.tracer()?;
        let question = question(why, (ends.from.ip, ends.to))?;
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
            None => self.sentence(why, ends, &there, (returns, back.as_ref(), answerer)),
        };
        let lost = self.lost_lately(losses, &Question::new(why, ends, there.known_as()));
        let sentence = sentence + &ends.from.way_in() + &remark(&lost);
        Ok(WhyInfo {
            reaches,
            sentence,
            forward: there.info,
            back: back.map(|back| back.info),
            lost,
        })
    }

    /// Who is meant, by addresses of one IP version, IPv4 if there is a choice: once for each two containers, and where some are on one
    /// bridge, those.
    fn pairs(&self, why: &Why) -> Result<Vec<Ends>, CtlError> {
        let meant = self.hosts_of(&why.to)?;
        let targets: Vec<(IpAddr, Option<Host>)> = match &why.to {
            Party::Address(ip) => vec![(*ip, meant.into_iter().next())],
            Party::Name(_) if meant.is_empty() => return Err(self.unknown(&why.to)),
            Party::Name(_) => meant.into_iter().map(|host| (host.ip, Some(host))).collect(),
        };
        let begins = self.senders(why, &targets)?;
        let pairs = begins.iter().flat_map(|from| targets.iter().map(move |to| (from, to)));
        let fitting = pairs.filter(|(from, (to, _))| from.ip.is_ipv4() == to.is_ipv4());
        let mut fitting: Vec<_> = fitting
            .map(|(from, (to, host))| Ends { from: from.clone(), to: *to, host: host.clone() })
            .collect();
        fitting.sort_by_key(|ends| {
            (!ends.to.is_ipv4(), is_local(ends.from.ip) != is_local(ends.to), ends.is_apart())
        });
        let Some(is_apart) = fitting.first().map(Ends::is_apart) else {
            let (from, to) = (&why.from, &why.to);
            let message = format!("{from} and {to} have no addresses of one IP version");
            return Err(CtlError::invalid(message));
        };
        let mut pairs: Vec<Ends> = Vec::new();
        for ends in fitting {
            let is_same = |known| self.differing(known, &ends) == Several::default();
            let is_known = pairs.iter().any(is_same);
            if ends.is_apart() <= is_apart && !is_known {
                pairs.push(ends);
            }
        }
        Ok(pairs)
    }

    /// Which ends of two pairs are not the same container.
    fn differing(&self, one: &Ends, other: &Ends) -> Several {
        let differs = |one: &Host, other: &Host| !self.is_one_container(&one.port, &other.port);
        let ends = one.host.as_ref().zip(other.host.as_ref());
        Several {
            from: differs(&one.from, &other.from),
            to: ends.is_some_and(|(one, other)| differs(one, other)),
        }
    }

    /// Who begins: of whom nothing is known comes from where answers to him would go.
    fn senders(
        &self,
        why: &Why,
        targets: &[(IpAddr, Option<Host>)],
    ) -> Result<Vec<Host>, CtlError> {
        let known = self.hosts_of(&why.from)?;
        let ip = match why.from {
            _ if !known.is_empty() => return Ok(known),
            Party::Address(ip) if self.shared_with(ip).is_none() => ip,
            _ => return Err(self.unknown(&why.from)),
        };
        let to = targets.iter().map(|(to, _)| *to).find(|to| to.is_ipv4() == ip.is_ipv4());
        let Some(to) = to else { return Ok(known) };
        match self.beyond_a_router(ip, to) {
            Some(host) => Ok(vec![host]),
            None => Err(self.unrouted(ip, &question(why, (ip, to))?)),
        }
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
        let asked = ends.asked(why, there);
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
                let reason = self.reason(why, (&host, ends.from.ip), (back, asked));
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
                    let reason = self.reason(why, (&ends.from, ends.to), (there, asked));
                    format!("{from} cannot reach {to}{by}: {reason}")
                }
            },
        }
    }
}

impl Ends {
    /// Whether they are on two bridges.
    fn is_apart(&self) -> bool {
        self.host.as_ref().is_some_and(|host| host.bridge != self.from.bridge)
    }

    /// Between whom the conversation truly is: who is meant, and not by which address he was asked for.
    fn asked(&self, why: &Why, there: &Leg) -> FiveTuple {
        let asked = SocketAddr::new(self.to, why.port.unwrap_or(0));
        let meant = there.meant().map(|meant| SocketAddr::new(meant.ip, meant.port));
        FiveTuple {
            protocol: why.protocol,
            source: SocketAddr::new(self.from.ip, 0),
            destination: meant.unwrap_or(asked),
        }
    }
}

/// Which of both names is that of several containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Several {
    from: bool,
    to: bool,
}

impl Several {
    fn or(self, other: Self) -> Self {
        Self { from: self.from || other.from, to: self.to || other.to }
    }

    /// The question about one of them, by the name of its port.
    fn named(self, why: &Why, ends: &Ends) -> Why {
        let mut why = why.clone();
        if self.from {
            why.from = Party::Name(ends.from.port.clone());
        }
        if let Some(host) = ends.host.as_ref().filter(|_| self.to) {
            why.to = Party::Name(host.port.clone());
        }
        why
    }

    /// What was found of each, in one sentence.
    fn in_one(self, why: &Why, told: &[WhyInfo], pairs: usize) -> String {
        let mut sentences: Vec<_> = told.iter().map(|info| info.sentence.clone()).collect();
        let untold = pairs - told.len();
        sentences.extend((untold > 0).then(|| format!("of {untold} more nothing is said here")));
        let sentences = sentences.join("; ");
        match (self.from, self.to) {
            (false, false) => sentences,
            (true, false) => format!("{} is several containers: {sentences}", why.from),
            (false, true) => format!("{} is several containers: {sentences}", why.to),
            (true, true) => {
                format!("{} and {} are several containers each: {sentences}", why.from, why.to)
            }
        }
    }
}

fn is_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The packet that begins the conversation.
fn question(why: &Why, (begins, meant): (IpAddr, IpAddr)) -> Result<Sketch, CtlError> {
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
        source: SocketAddr::new(begins, from),
        destination: SocketAddr::new(meant, to),
    }))
}
