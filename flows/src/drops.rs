//! Why frames are lost.

use std::fmt;

/// Every reason for which the switch drops a frame. Numbers and names are stable: they appear in the
/// control protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// Shorter than an Ethernet header.
    Runt = 0,
    /// Cut off inside its VLAN tag.
    MalformedVlan = 1,
    /// A group or all-zero source address.
    InvalidSource = 2,
    /// Sent to 01-80-C2-00-00-0X, which bridges do not forward.
    ReservedGroup = 3,
    /// Tagged with a VLAN that the ingress port does not carry.
    VlanNotAllowed = 4,
    /// Untagged on a trunk without a native VLAN.
    UntaggedNotAllowed = 5,
    /// The destination is on the port that the frame came from.
    SameSegment = 6,
    /// From one isolated port to another.
    Isolated = 7,
    /// Longer than the MTU of the port it should leave by.
    Oversized = 8,
    /// Nobody to send it to: no other port is in the VLAN.
    NoDestination = 9,
    /// The destination is on a port that does not carry the frame's VLAN any more.
    VlanEgress = 10,
    /// No free buffer for a copy.
    NoBuffer = 11,
    /// The egress port had no room.
    TxQueueFull = 12,
    /// The kernel refused the frame at the egress port.
    TxRefused = 13,
    /// The super-frame cannot be cut up: its offload state contradicts its headers.
    BadOffload = 14,
    /// The ring to the worker that owns the egress port was full.
    HandoffFull = 15,
    /// The egress port failed or is being removed.
    PortGone = 16,
    /// The ingress port is not configured (any more).
    PortUnknown = 17,
}

impl DropReason {
    /// All reasons, by number.
    pub const ALL: [Self; 18] = [
        Self::Runt,
        Self::MalformedVlan,
        Self::InvalidSource,
        Self::ReservedGroup,
        Self::VlanNotAllowed,
        Self::UntaggedNotAllowed,
        Self::SameSegment,
        Self::Isolated,
        Self::Oversized,
        Self::NoDestination,
        Self::VlanEgress,
        Self::NoBuffer,
        Self::TxQueueFull,
        Self::TxRefused,
        Self::BadOffload,
        Self::HandoffFull,
        Self::PortGone,
        Self::PortUnknown,
    ];

    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// The stable name.
    pub fn name(self) -> &'static str {
        self.text().0
    }

    /// What it means, and what to do about it.
    pub fn explain(self) -> &'static str {
        self.text().1
    }

    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Runt => ("runt", "shorter than an Ethernet header; the sender is broken"),
            Self::MalformedVlan => {
                ("malformed-vlan", "cut off inside its VLAN tag; the sender is broken")
            }
            Self::InvalidSource => {
                ("invalid-source", "the source address is a group or zero; the sender is broken")
            }
            Self::ReservedGroup => (
                "reserved-group",
                "link-local control traffic (STP, LACP, LLDP) that bridges do not forward; normal",
            ),
            Self::VlanNotAllowed => (
                "vlan-not-allowed",
                "tagged with a VLAN that the port does not carry; see `port show`, --access, --trunk",
            ),
            Self::UntaggedNotAllowed => (
                "untagged-not-allowed",
                "untagged on a trunk without a native VLAN; give the port --native",
            ),
            Self::SameSegment => (
                "same-segment",
                "the destination is on the port the frame came from; --hairpin allows it",
            ),
            Self::Isolated => ("isolated", "both ports are isolated; normal, or remove --isolated"),
            Self::Oversized => (
                "oversized",
                "longer than the MTU of the port it should leave by; make the MTUs equal",
            ),
            Self::NoDestination => {
                ("no-destination", "no other port is in the frame's VLAN; normal on a lonely port")
            }
            Self::VlanEgress => (
                "vlan-egress",
                "the destination's port does not carry the frame's VLAN any more; it will be relearned",
            ),
            Self::NoBuffer => {
                ("no-buffer", "packet memory ran out; give the daemon more --buffers")
            }
            Self::TxQueueFull => {
                ("tx-queue-full", "the receiver is slower than the sender; normal under overload")
            }
            Self::TxRefused => {
                ("tx-refused", "the kernel refused the frame; is the interface at the far end up?")
            }
            Self::BadOffload => (
                "bad-offload",
                "offload state and headers contradict each other; the sender is broken",
            ),
            Self::HandoffFull => {
                ("handoff-full", "the worker that owns the egress port is overloaded; add a core")
            }
            Self::PortGone => ("port-gone", "the egress port failed or was being removed"),
            Self::PortUnknown => ("port-unknown", "the ingress port was being removed"),
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_by_number_and_named_apart() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(DropReason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
