//! [`Match`]: what a rule is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::{Complaint, FlowSyntax, Token};
use super::fields;
use super::value::{AddressSet, FlagsMatch, MacMatch, PortSet, StateSet};
use crate::names::as_string;
use crate::{BridgeName, PortName, VlanId, Vni};

/// What packets of a rule are: all that is mentioned. `Match` makes sure that it makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Criteria {
    /// The port that it came in by.
    pub in_port: Option<PortName>,
    /// The bridge of that port.
    pub bridge: Option<BridgeName>,
    /// Source station.
    pub src_mac: Option<MacMatch>,
    /// Destination station.
    pub dst_mac: Option<MacMatch>,
    /// EtherType of what the frame carries, behind its VLAN tags.
    pub ethertype: Option<u16>,
    /// The VLAN that the bridge put it into: on an access port, the port's.
    pub vlan: Option<VlanMatch>,
    /// Source address.
    pub src: Option<AddressSet>,
    /// Destination address.
    pub dst: Option<AddressSet>,
    /// IP protocol.
    pub proto: Option<u8>,
    /// Source port.
    pub sport: Option<PortSet>,
    /// Destination port.
    pub dport: Option<PortSet>,
    /// TCP flags.
    pub tcp_flags: Option<FlagsMatch>,
    /// ICMP or ICMPv6 type; `proto` says of which.
    pub icmp_type: Option<u8>,
    /// ICMP or ICMPv6 code.
    pub icmp_code: Option<u8>,
    /// Differentiated services code point.
    pub dscp: Option<u8>,
    /// Connection states.
    pub state: Option<StateSet>,
    /// The VXLAN network that it came in by.
    pub vni: Option<Vni>,
}

/// A VLAN, or the domain of the ports that know none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VlanMatch {
    /// None.
    None,
    /// This one.
    Id(VlanId),
}

impl fmt::Display for VlanMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Id(vlan) => vlan.fmt(f),
        }
    }
}

/// What a rule is for, as `in_port=web0,tcp,src=10.0.0.0/8,dport={22,80-90},state=new`; `any` for
/// everything. What exists makes sense: no ports without a protocol that has ports, no IPv4 address in
/// an IPv6 packet.
///
/// It prints what it means, whichever way it was written, and what it prints reads as the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Match(Criteria);

impl Match {
    /// What packets are to be.
    pub fn criteria(&self) -> &Criteria {
        &self.0
    }

    /// Reads the parts of a match.
    pub(super) fn from_tokens(tokens: &[Token<'_>]) -> Result<Self, FlowSyntax> {
        let mut criteria = Criteria::default();
        // Where each field was mentioned, to say where a contradiction is.
        let mut places = Vec::new();
        for token in tokens {
            let field = fields::set(&mut criteria, token.text).map_err(|wrong| wrong.at(token))?;
            places.push((field, token));
        }
        let unknown = Token::whole("");
        fields::check(&criteria).map_err(|(field, wrong)| {
            let place = places.iter().rev().find(|(place, _)| *place == field);
            wrong.at(place.map_or(&unknown, |(_, token)| token))
        })?;
        Ok(Self(criteria))
    }
}

impl TryFrom<Criteria> for Match {
    type Error = FlowSyntax;

    fn try_from(criteria: Criteria) -> Result<Self, FlowSyntax> {
        match fields::check(&criteria) {
            Ok(()) => Ok(Self(criteria)),
            Err((field, wrong)) => Err(wrong.at(&Token::whole(field))),
        }
    }
}

impl FromStr for Match {
    type Err = FlowSyntax;

    fn from_str(text: &str) -> Result<Self, FlowSyntax> {
        Self::from_tokens(&Token::whole(text).split(|c| c == ','))
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = fields::parts(&self.0);
        f.write_str(&if parts.is_empty() { "any".to_owned() } else { parts.join(",") })
    }
}

as_string!(Match);

/// A field given twice is an error, unless it says the same.
pub(super) fn put<T: PartialEq + fmt::Debug>(
    field: &mut Option<T>,
    value: T,
) -> Result<(), Complaint> {
    match field {
        Some(other) if *other != value => {
            let advice =
                "say it once; what may be one of several is a set, such as dst={10.1.0.1,10.1.0.2}";
            Err(Complaint::new("it contradicts what was said before", advice))
        }
        _ => {
            *field = Some(value);
            Ok(())
        }
    }
}
