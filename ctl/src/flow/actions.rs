//! [`Actions`]: what becomes of the packets of a rule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::{Complaint, FlowSyntax, Token, joined};
use super::fields::{dscp, dscp_of_tos};
use super::is_reserved;
use super::limit::Limit;
use super::value::number;
use crate::names::as_string;
use crate::{MacAddr, PortName, VlanId};

/// The most things that one rule does on the way.
const MOST_STEPS: usize = 16;

/// What becomes of a packet, in order: `mirror:ids,limit:10mbit,allow`. Any number of steps, and one
/// verdict at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actions {
    steps: Vec<Step>,
    verdict: Verdict,
}

/// Something that is done to a packet on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// `count`: nothing but counting, which every rule does; for a rule that is there to watch.
    Count,
    /// `mirror:PORT[/BYTES]`: a copy to a port.
    Mirror {
        /// The port.
        port: PortName,
        /// How many bytes of the frame are copied at most.
        snap_bytes: Option<u32>,
    },
    /// `set_vlan:N`: into another VLAN.
    SetVlan(VlanId),
    /// `set_src:MAC`: another source station.
    SetSrc(MacAddr),
    /// `set_dst:MAC`: another destination station.
    SetDst(MacAddr),
    /// `set_dscp:N`: another differentiated services code point.
    SetDscp(u8),
    /// `limit:RATE`: dropped when it comes too fast.
    Limit(Limit),
}

/// Where a packet goes at last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// `allow`: where it would go without rules.
    Allow,
    /// `drop`: nowhere.
    Drop,
    /// `reject`: nowhere, and the sender is told: of TCP by a reset, of everything else by ICMP.
    Reject,
    /// `reject:icmp`: the same, always by ICMP.
    RejectIcmp,
    /// `forward:PORT`: to that port.
    Forward(PortName),
}

/// A step or a verdict.
enum Part {
    Step(Step),
    Verdict(Verdict),
}

const VERDICTS: &str = "allow, drop, reject, reject:icmp or forward:PORT";
const STEPS: &str = "count, mirror:PORT[/BYTES], set_vlan:N, set_src:MAC, set_dst:MAC, set_dscp:N, \
                     limit:RATE[:burst=N][:per-source]";

/// Actions of OVS that are not here, with what to do instead.
const FOREIGN: [(&str, &str); 12] = [
    ("strip_vlan", "leave it out: the VLAN policy of the egress port says what is tagged"),
    ("pop_vlan", "leave it out: the VLAN policy of the egress port says what is tagged"),
    ("push_vlan", "write set_vlan:N: the VLAN policy of the egress port says what is tagged"),
    ("resubmit", "there is one table: leave it out, and order rules by their priorities"),
    ("goto_table", "there is one table: leave it out, and order rules by their priorities"),
    ("ct", "leave it out: every connection is tracked; `nat` translates"),
    ("mod_nw_src", "write `nat masquerade add`: translation is of connections"),
    ("mod_nw_dst", "write `nat publish add`: translation is of connections"),
    ("mod_tp", "write `nat publish add`: translation is of connections"),
    ("set_field", "write set_vlan:N, set_src:MAC, set_dst:MAC or set_dscp:N"),
    ("meter", "write limit:RATE, such as limit:1000pps or limit:10mbit"),
    ("flood", "write allow: what has no known destination is flooded"),
];

impl Actions {
    /// Actions of these steps.
    ///
    /// # Errors
    /// [`FlowSyntax`], when there are more steps than a rule may have.
    pub fn new(steps: Vec<Step>, verdict: Verdict) -> Result<Self, FlowSyntax> {
        let actions = Self { steps, verdict };
        match actions.steps.len() {
            0..=MOST_STEPS => Ok(actions),
            _ => Err(too_many().at(&Token::whole(&actions.to_string()))),
        }
    }

    /// What is done on the way, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where it goes at last.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The ports that are mentioned.
    pub fn ports(&self) -> impl Iterator<Item = &PortName> {
        let mirrors = self.steps.iter().filter_map(|step| match step {
            Step::Mirror { port, .. } => Some(port),
            _ => None,
        });
        let forward = match &self.verdict {
            Verdict::Forward(port) => Some(port),
            _ => None,
        };
        mirrors.chain(forward)
    }

    /// Reads the parts of a list of actions.
    pub(super) fn from_tokens(tokens: &[Token<'_>]) -> Result<Self, FlowSyntax> {
        let Some((last, before)) = tokens.split_last() else {
            return Err(no_verdict().at(&Token::whole("")));
        };
        let mut steps = Vec::new();
        for token in before {
            match part(token.text).map_err(|wrong| wrong.at(token))? {
                Part::Step(_) if steps.len() == MOST_STEPS => return Err(too_many().at(token)),
                Part::Step(step) => steps.push(step),
                Part::Verdict(_) => {
                    let advice =
                        "leave out what follows, or this; a copy for another port is mirror:PORT";
                    return Err(Complaint::new("it is the end, and more follows", advice).at(token));
                }
            }
        }
        match part(last.text).map_err(|wrong| wrong.at(last))? {
            Part::Verdict(verdict) => Ok(Self { steps, verdict }),
            Part::Step(_) => Err(no_verdict().at(last)),
        }
    }
}

fn no_verdict() -> Complaint {
    let advice = format!("end with one of {VERDICTS}");
    Complaint::new("the actions do not say where the packet goes at last", advice)
}

fn too_many() -> Complaint {
    Complaint::new(format!("a rule does at most {MOST_STEPS} things"), "use fewer, and one verdict")
}

fn part(text: &str) -> Result<Part, Complaint> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let (name, value) = (name.trim(), value.trim());
    let is_bare = !text.contains(':');
    let part = match name {
        "allow" | "NORMAL" | "normal" if is_bare => Part::Verdict(Verdict::Allow),
        "drop" if is_bare => Part::Verdict(Verdict::Drop),
        "reject" if is_bare => Part::Verdict(Verdict::Reject),
        "reject" if value == "icmp" => Part::Verdict(Verdict::RejectIcmp),
        "reject" => {
            let advice =
                "write reject, which resets TCP and answers the rest by ICMP, or reject:icmp";
            return Err(Complaint::new("there is no such answer", advice));
        }
        "forward" | "output" => Part::Verdict(Verdict::Forward(port(value)?)),
        "count" if is_bare => Part::Step(Step::Count),
        "mirror" => Part::Step(mirror(value)?),
        "set_vlan" | "mod_vlan_vid" => {
            Part::Step(Step::SetVlan(VlanId::try_from(number::<u16>(value)?)?))
        }
        "set_src" | "mod_dl_src" => Part::Step(Step::SetSrc(value.parse()?)),
        "set_dst" | "mod_dl_dst" => Part::Step(Step::SetDst(value.parse()?)),
        "set_dscp" => Part::Step(Step::SetDscp(dscp(value)?)),
        "mod_nw_tos" => Part::Step(Step::SetDscp(dscp_of_tos(value)?)),
        "limit" => Part::Step(Step::Limit(Limit::parse(value)?)),
        _ => return Err(unknown(name)),
    };
    Ok(part)
}

fn unknown(name: &str) -> Complaint {
    // `ct(commit)` and `resubmit(,1)` have their arguments in brackets.
    let word = name.split('(').next().unwrap_or(name);
    let foreign = FOREIGN.iter().find(|(foreign, _)| match *foreign {
        "ct" => word == "ct",
        start => word.to_ascii_lowercase().starts_with(start),
    });
    match foreign {
        Some((_, advice)) => Complaint::new("there is no such action here", *advice),
        None => {
            let advice = format!("on the way use {STEPS}; at the end {VERDICTS}");
            Complaint::new("there is no such action", advice)
        }
    }
}

fn port(value: &str) -> Result<PortName, Complaint> {
    if is_reserved(value) {
        let advice = "write the name of a port, or allow for where packets go without rules";
        return Err(Complaint::new(format!("there is no port {value} here"), advice));
    }
    Ok(value.parse()?)
}

fn mirror(value: &str) -> Result<Step, Complaint> {
    let (name, snap) =
        value.split_once('/').map_or((value, None), |(name, snap)| (name, Some(snap)));
    let snap_bytes = snap.map(number::<u32>).transpose()?;
    if snap_bytes.is_some_and(|bytes| bytes < 14) {
        let advice = "copy at least 14 bytes, the Ethernet header";
        return Err(Complaint::new("the copy would be no frame", advice));
    }
    Ok(Step::Mirror { port: port(name)?, snap_bytes })
}

impl FromStr for Actions {
    type Err = FlowSyntax;

    fn from_str(text: &str) -> Result<Self, FlowSyntax> {
        Self::from_tokens(&Token::whole(text).split(|c| c == ','))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("count"),
            Self::Mirror { port, snap_bytes: None } => write!(f, "mirror:{port}"),
            Self::Mirror { port, snap_bytes: Some(bytes) } => write!(f, "mirror:{port}/{bytes}"),
            Self::SetVlan(vlan) => write!(f, "set_vlan:{vlan}"),
            Self::SetSrc(mac) => write!(f, "set_src:{mac}"),
            Self::SetDst(mac) => write!(f, "set_dst:{mac}"),
            Self::SetDscp(dscp) => write!(f, "set_dscp:{dscp}"),
            Self::Limit(limit) => write!(f, "limit:{limit}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Drop => f.write_str("drop"),
            Self::Reject => f.write_str("reject"),
            Self::RejectIcmp => f.write_str("reject:icmp"),
            Self::Forward(port) => write!(f, "forward:{port}"),
        }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.steps.is_empty() {
            write!(f, "{},", joined(&self.steps, ","))?;
        }
        self.verdict.fmt(f)
    }
}

as_string!(Actions);
