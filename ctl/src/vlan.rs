//! VLANs as people configure them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::{BadName, as_string, digits};

/// The number of a VLAN: 1 to 4094 (IEEE 802.1Q, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct VlanId(u16);

impl VlanId {
    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = BadName;

    fn try_from(number: u16) -> Result<Self, BadName> {
        if (1..=4094).contains(&number) {
            Ok(Self(number))
        } else {
            Err(BadName { what: "VLAN", text: number.to_string(), rule: "use 1 to 4094" })
        }
    }
}

impl FromStr for VlanId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName {
            what: "VLAN",
            text: text.chars().take(64).collect(),
            rule: "use 1 to 4094",
        };
        Self::try_from(digits::<u16>(text).ok_or_else(bad)?)
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for VlanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u16::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A set of VLANs, at least one, written `1,2,10-20`.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanIds(Box<[u64; 64]>);

impl VlanIds {
    /// The VLANs, in order.
    pub fn iter(&self) -> impl Iterator<Item = VlanId> + '_ {
        (0..4096).map(VlanId).filter(|vlan| self.contains(*vlan))
    }

    /// Whether a VLAN is in the set.
    pub fn contains(&self, vlan: VlanId) -> bool {
        let (word, bit) = place(vlan);
        self.0[word] & bit != 0
    }

    fn insert(&mut self, vlan: VlanId) {
        let (word, bit) = place(vlan);
        self.0[word] |= bit;
    }
}

/// The word and the bit of a VLAN in the bitmap.
fn place(vlan: VlanId) -> (usize, u64) {
    (usize::from(vlan.0 / 64), 1 << (vlan.0 % 64))
}

impl FromStr for VlanIds {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut set = Self(Box::new([0; 64]));
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (VlanId, VlanId) = (first.trim().parse()?, last.trim().parse()?);
            if first > last {
                return Err(BadName {
                    what: "range of VLANs",
                    text: part.to_owned(),
                    rule: "write the smaller number first",
                });
            }
            (first.0..=last.0).for_each(|number| set.insert(VlanId(number)));
        }
        Ok(set)
    }
}

impl fmt::Debug for VlanIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VlanIds({self})")
    }
}

impl fmt::Display for VlanIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().map(VlanId::number).peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

as_string!(VlanIds);

/// How a port handles VLANs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Vlan {
    /// Not at all: frames pass as they are, among the ports of the bridge that do the same.
    #[default]
    Unaware,
    /// Untagged frames belong to this VLAN.
    Access(VlanId),
    /// Tagged frames of these VLANs.
    Trunk {
        /// The VLANs carried tagged.
        allowed: VlanIds,
        /// The VLAN of untagged frames.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        native: Option<VlanId>,
    },
}

impl Vlan {
    /// Whether VLANs are not handled at all.
    pub fn is_unaware(&self) -> bool {
        *self == Self::Unaware
    }

    /// The VLAN that untagged frames are in, if any.
    pub fn untagged(&self) -> Option<VlanId> {
        match self {
            Self::Unaware => None,
            Self::Access(vlan) => Some(*vlan),
            Self::Trunk { native, .. } => *native,
        }
    }

    /// Whether frames of a VLAN pass; of none, those that have no VLAN.
    pub fn carries(&self, vlan: Option<VlanId>) -> bool {
        match (self, vlan) {
            (Self::Unaware, vlan) => vlan.is_none(),
            (_, None) => false,
            (Self::Access(own), Some(vlan)) => *own == vlan,
            (Self::Trunk { allowed, native }, Some(vlan)) => {
                allowed.contains(vlan) || *native == Some(vlan)
            }
        }
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaware => f.write_str("-"),
            Self::Access(vlan) => write!(f, "access {vlan}"),
            Self::Trunk { allowed, native: None } => write!(f, "trunk {allowed}"),
            Self::Trunk { allowed, native: Some(native) } => {
                write!(f, "trunk {allowed} native {native}")
            }
        }
    }
}
