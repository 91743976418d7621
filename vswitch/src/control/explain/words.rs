//! What a rehearsal found, for people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ctl::PortName;
use ctl::response::{TraceInfo, TraceOutcome, TraceStage};
use flows::router::{NeighborState, NextHop, Outcome};
use flows::rules::{RuleId, Verdict};
use flows::session::Direction;
use flows::{Acquaintance, BridgeIndex, Endpoint, Fate, Finding, PortIndex, Trace, Vid, fdb};
use pktio::wire::MacAddr;

use super::party::Host;
use crate::control::describe;
use crate::control::switch::Switch;

impl Switch {
    /// The way of a frame, in words.
    pub(super) fn tell(&self, frame: &[u8], trace: &Trace) -> TraceInfo {
        TraceInfo {
            packet: describe::headers(frame),
            stages: trace.findings.iter().filter_map(|found| self.stage(found)).collect(),
            outcome: self.outcome(frame, trace),
        }
    }

    fn outcome(&self, frame: &[u8], trace: &Trace) -> TraceOutcome {
        let first = trace.sent.first().map(|(_, frame)| describe::headers(frame));
        match trace.fate {
            Fate::Forwarded => TraceOutcome::Sent {
                ports: trace
                    .sent
                    .iter()
                    .filter_map(|(port, _)| self.numbering().port_name(*port).cloned())
                    .collect(),
                packet: first.unwrap_or_default(),
            },
            Fate::Answered => TraceOutcome::Answered {
                packet: first.unwrap_or_else(|| unseen(frame, trace).to_owned()),
            },
            Fate::Held => TraceOutcome::Held { until: self.awaited(trace) },
            Fate::Dropped(reason) => TraceOutcome::Dropped {
                reason: reason.name().to_owned(),
                explanation: match first {
                    Some(told) => format!("{}; its sender gets: {told}", reason.explain()),
                    None => reason.explain().to_owned(),
                },
            },
        }
    }

    /// What a packet waits for.
    fn awaited(&self, trace: &Trace) -> String {
        match trace.findings.last() {
            Some(Finding::Neighbor { next, .. }) => {
                format!("{} answers on {}", next.ip, self.bridge_named(next.bridge))
            }
            _ => "the first fragment of its datagram comes".to_owned(),
        }
    }

    /// Until when a host waits that asks for an address of which nobody knows who has it: mostly somebody behind a port of which it is not
    /// known what addresses are there.
    pub(super) fn asked_for(&self, host: &Host, ip: IpAddr) -> String {
        let name = &host.bridge;
        let hears = self.config().bridges.get(name).is_some_and(|it| !it.gateways.is_empty());
        let lack = match hears {
            true => "where nobody is known to have it",
            false => "which has no gateway, so that the switch does not hear who has which address",
        };
        let asked: Vec<_> = self.strangers_beside(host).into_iter().collect();
        let asked = asked.iter().map(|(port, stations)| match stations {
            1 => format!("port {port} (1 station)"),
            stations => format!("port {port} ({stations} stations)"),
        });
        let asked: Vec<_> = asked.collect();
        let place = match asked.is_empty() {
            true => "the containers of all other ports there were given other addresses".to_owned(),
            false => format!(
                "the question goes to {}, of which it is not known what addresses are there",
                ctl::shown(&asked)
            ),
        };
        format!("{ip} answers on bridge {name}, {lack}; {place}")
    }

    /// The ports to which a question of a host goes, of which it is not known what addresses there are, and how many stations have been
    /// heard behind each.
    fn strangers_beside(&self, host: &Host) -> BTreeMap<&PortName, usize> {
        let vlan = self.config().ports.get(&host.port).and_then(|port| port.vlan.untagged());
        let vid = vlan.map_or(Vid::NONE, |vlan| Vid(vlan.number()));
        let mut strangers = BTreeMap::new();
        let Some(slot) = self.numbering().bridges.get(&host.bridge) else { return strangers };
        let stations = slot.fdb.entries(self.now());
        let members = self.snapshot().bridge(slot.index).map(|bridge| &bridge.members);
        for member in members.into_iter().flatten() {
            let carries = self.snapshot().port(*member).is_some_and(|port| port.vlan.carries(vid));
            let name = self.numbering().port_name(*member).filter(|name| **name != host.port);
            let Some(name) = name.filter(|name| carries && !self.has_addresses(name)) else {
                continue;
            };
            let here = stations.iter().filter(|it| it.port == *member && it.vid == vid).count();
            *strangers.entry(name).or_default() += here;
        }
        strangers
    }

    fn stage(&self, finding: &Finding) -> Option<TraceStage> {
        let (stage, decision, because) = match finding {
            Finding::Vlan(Vid::NONE) => return None,
            Finding::Vlan(vid) => ("vlan", format!("VLAN {}", vid.0), None),
            Finding::Gateway(outcome) => ("gateway", attended(*outcome).to_owned(), None),
            Finding::Tunnel { endpoint } => {
                let because = Some(format!("{}, where tunnels end", self.captured_at(*endpoint)));
                ("tunnel", "what is in it comes in by its tunnel".to_owned(), because)
            }
            Finding::Session { session, direction } => {
                let way = match direction {
                    Direction::Original => "goes on in",
                    Direction::Reply => "answers in",
                };
                let age = session.age_seconds;
                let because = format!("{}, begun {age} s ago", session.state_name());
                let conversation = describe::conversation(&session.initiator.tuple);
                ("session", format!("{way} {conversation}"), Some(because))
            }
            Finding::Inward { external, internal, bridge } => {
                let decision = format!("for {internal} on {}", self.bridge_named(*bridge));
                ("published", decision, Some(format!("{external}, which leads there")))
            }
            Finding::Service { service, backend } => {
                let decision = match backend {
                    Some(backend) => format!("for {backend}, whose turn it is"),
                    None => "for nobody: no backend takes sessions".to_owned(),
                };
                ("service", decision, Some(self.service_named(*service)))
            }
            Finding::Rule { decided } => return Some(self.rule_stage(*decided)),
            Finding::Route { bridge, destination, prefix, next } => {
                let table = self.bridge_named(*bridge);
                let because = prefix.map_or_else(
                    || format!("the routes of {table}, none of which leads to {destination}"),
                    |prefix| format!("{prefix} among the routes of {table}"),
                );
                ("route", self.way_to(*next), Some(because))
            }
            Finding::Neighbor { next, known } => return Some(self.neighbor_stage(*next, *known)),
            Finding::Masquerade { internal, external } => {
                let decision = match external {
                    Ok(external) => format!("{internal} is seen as {external}"),
                    Err(why) => why.to_string(),
                };
                ("masquerade", decision, None)
            }
            Finding::Begins { new, refused } => {
                let [asks, answers] =
                    [new.initiator, new.responder].map(|end| describe::conversation(&end.tuple));
                let decision = match refused {
                    Some(why) => why.to_string(),
                    None => format!("begins {asks}; answers {answers}"),
                };
                ("session", decision, None)
            }
            Finding::Mtu { packet_bytes, mtu_bytes, may_fragment } => {
                ("mtu", fitting(*packet_bytes, *mtu_bytes, *may_fragment), None)
            }
            Finding::Link { bridge, mac, station } => {
                return Some(self.link_stage(*bridge, *mac, *station));
            }
            _ => return None,
        };
        Some(TraceStage { stage: stage.to_owned(), decision, because })
    }

    fn link_stage(&self, bridge: BridgeIndex, mac: MacAddr, at: Option<fdb::Entry>) -> TraceStage {
        let decision = match at {
            Some(at) => format!("to {}", self.port_named(at.port)),
            None => format!("to all other ports of {}", self.bridge_named(bridge)),
        };
        let because = match at {
            Some(at) if at.is_static => format!("{mac}, entered by hand"),
            Some(at) => format!("{mac}, heard {} s ago", at.age_seconds),
            None => format!("{mac}, which is no single station that is known"),
        };
        TraceStage { stage: "link".to_owned(), decision, because: Some(because) }
    }

    /// A service by its address, how it divides sessions, and how many of its backends take any.
    fn service_named(&self, at: Endpoint) -> String {
        let services = &self.snapshot().translation().services;
        let Some(service) = services.iter().find(|service| service.vip == at) else {
            return format!("service {at}");
        };
        let name = self.numbering().services.name_of(&service.usage);
        let name = name.map_or_else(String::new, |name| format!(" {name}"));
        let now = self.fleet_ref().clock().now().seconds();
        let takes = service.backends.iter().filter(|backend| backend.takes(now)).count();
        let of = service.backends.len();
        format!("service{name} at {at}, {takes} of whose {of} backends take sessions")
    }

    fn rule_stage(&self, decided: Option<(RuleId, Verdict)>) -> TraceStage {
        let (decision, because) = match decided {
            None => ("it passes: no rule matches".to_owned(), None),
            Some((id, verdict)) => {
                let rule = self.config().flows.iter().find(|(flow, _)| flow.number() == id.0);
                let text = rule.map(|(_, rule)| format!(": {rule}")).unwrap_or_default();
                (self.ruled(verdict), Some(format!("rule {}{text}", id.0)))
            }
        };
        TraceStage { stage: "rules".to_owned(), decision, because }
    }

    fn ruled(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Allow => "it passes".to_owned(),
            Verdict::Drop => "it is dropped".to_owned(),
            Verdict::Reject(_) => "it is rejected".to_owned(),
            Verdict::Forward(port) => format!("to {}", self.port_named(port)),
        }
    }

    fn neighbor_stage(&self, next: NextHop, known: Acquaintance) -> TraceStage {
        let place = self.bridge_named(next.bridge);
        let ip = next.ip;
        let (decision, because) = match known {
            Acquaintance::Known(entry) => {
                let mac = entry.mac.map_or_else(|| "on its way".to_owned(), |mac| mac.to_string());
                let age = entry.age.as_secs();
                let because = match entry.state {
                    NeighborState::Permanent => "an entry by hand".to_owned(),
                    state => format!("its word {age} s ago ({})", state_name(state)),
                };
                (format!("{ip} is {mac}"), Some(because))
            }
            Acquaintance::Presumed(mac) => {
                let because = "the settings of its port".to_owned();
                (format!("{ip} would be asked for, and is {mac}"), Some(because))
            }
            Acquaintance::Asked => (format!("{ip} would be asked for on {place}"), None),
            Acquaintance::Silent => (format!("{ip} does not answer on {place}"), None),
        };
        TraceStage { stage: "neighbour".to_owned(), decision, because }
    }

    fn way_to(&self, next: Option<NextHop>) -> String {
        next.map_or_else(
            || "nowhere".to_owned(),
            |next| format!("to {} on {}", next.ip, self.bridge_named(next.bridge)),
        )
    }

    fn port_named(&self, port: PortIndex) -> String {
        let name = self.numbering().port_name(port);
        name.map_or_else(|| "a port that is gone".to_owned(), |name| format!("port {name}"))
    }

    fn bridge_named(&self, bridge: BridgeIndex) -> String {
        let name = self.numbering().bridge_name(bridge);
        name.map_or_else(|| "a bridge that is gone".to_owned(), |name| format!("bridge {name}"))
    }
}

/// What becomes of a packet that the switch takes and answers with none of its own, or not at once.
fn unseen(frame: &[u8], trace: &Trace) -> &'static str {
    let is_served = |found: &Finding| matches!(found, Finding::Gateway(Outcome::Serve));
    if !trace.findings.iter().any(is_served) {
        return "it takes note, and owes no packet";
    }
    match describe::tuple(frame).map(|tuple| tuple.destination.port) {
        Some(53) => "its resolver (DNS) takes it, and answers what is asked in it",
        Some(67) => "its DHCP server takes it, and answers what is asked in it",
        _ => "its check of a backend takes it",
    }
}

fn fitting(packet_bytes: usize, mtu_bytes: Option<u32>, may_fragment: bool) -> String {
    let Some(mtu) = mtu_bytes else {
        return format!("{packet_bytes} bytes; by which port is not known");
    };
    let outcome = if packet_bytes <= mtu as usize {
        "it fits"
    } else if may_fragment {
        "it is cut up"
    } else {
        "it is too long"
    };
    format!("{packet_bytes} of {mtu} bytes: {outcome}")
}

fn attended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reply => "it answers",
        Outcome::Done => "it takes note",
        Outcome::Serve => "its DNS or DHCP is asked, or its check of a backend answered",
        Outcome::Refuse(_) | Outcome::Reset => "it is meant, and nothing listens there",
        Outcome::Pass => "it is not meant",
    }
}

fn state_name(state: NeighborState) -> &'static str {
    match state {
        NeighborState::Incomplete => "incomplete",
        NeighborState::Reachable => "reachable",
        NeighborState::Stale => "stale",
        NeighborState::Probe => "probe",
        NeighborState::Failed => "failed",
        NeighborState::Permanent => "permanent",
        NeighborState::Retry => "retry",
    }
}
