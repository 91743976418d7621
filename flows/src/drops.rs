//! Why frames are lost.

use std::fmt;

use pktio::offload::Refusal;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])+ $reason:ident = $number:literal, $name:literal, $explanation:literal;)+) => {
        /// Every reason for which the switch drops a frame. Numbers and names are stable: they appear in
        /// the control protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])+ $reason = $number,)+
        }

        impl DropReason {
            /// All reasons, by number.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$reason),+];

            /// Number of reasons.
            pub const COUNT: usize = [$($number),+].len();

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }

            /// What it means, and what to do about it.
            pub fn explain(self) -> &'static str {
                match self {
                    $(Self::$reason => $explanation,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than an Ethernet header.
    Runt = 0, "runt",
        "shorter than an Ethernet header; the sender is broken";
    /// Cut off inside its VLAN tag.
    MalformedVlan = 1, "malformed-vlan",
        "cut off inside its VLAN tag; the sender is broken";
    /// A group or all-zero source address.
    InvalidSource = 2, "invalid-source",
        "the source address is a group or zero; the sender is broken";
    /// Sent to 01-80-C2-00-00-0X, which bridges do not forward.
    ReservedGroup = 3, "reserved-group",
        "link-local control traffic (STP, LACP, LLDP) that bridges do not forward; normal";
    /// Tagged with a VLAN that the ingress port does not carry.
    VlanNotAllowed = 4, "vlan-not-allowed",
        "tagged with a VLAN that the port does not carry; see `port show`, --access, --trunk";
    /// Untagged on a trunk without a native VLAN.
    UntaggedNotAllowed = 5, "untagged-not-allowed",
        "untagged on a trunk without a native VLAN; give the port --native";
    /// The destination is on the port that the frame came from.
    SameSegment = 6, "same-segment",
        "the destination is on the port the frame came from; --hairpin allows it";
    /// From one isolated port to another.
    Isolated = 7, "isolated",
        "both ports are isolated; normal, or remove --isolated";
    /// Longer than the MTU of the port it should leave by.
    Oversized = 8, "oversized",
        "longer than the MTU of the port it should leave by; make the MTUs equal";
    /// Nobody to send it to: no other port is in the VLAN.
    NoDestination = 9, "no-destination",
        "no other port is in the frame's VLAN; normal on a lonely port";
    /// The destination is on a port that does not carry the frame's VLAN any more.
    VlanEgress = 10, "vlan-egress",
        "the destination's port does not carry the frame's VLAN any more; it will be relearned";
    /// No free buffer for a copy.
    NoBuffer = 11, "no-buffer",
        "packet memory ran out; give the daemon more --buffers";
    /// The egress port had no room.
    TxQueueFull = 12, "tx-queue-full",
        "the receiver is slower than the sender; normal under overload";
    /// The kernel refused the frame at the egress port.
    TxRefused = 13, "tx-refused",
        "the kernel refused the frame; is the interface at the far end up?";
    /// The super-frame cannot be cut up: its offload state contradicts its headers.
    BadOffload = 14, "bad-offload",
        "offload state and headers contradict each other; the sender is broken";
    /// The ring to the worker that owns the egress port was full.
    HandoffFull = 15, "handoff-full",
        "the worker that owns the egress port is overloaded; add a core";
    /// The egress port failed or is being removed.
    PortGone = 16, "port-gone",
        "the egress port failed or was being removed";
    /// The ingress port is not configured (any more).
    PortUnknown = 17, "port-unknown",
        "the ingress port was being removed";
    /// Its IP or transport header contradicts itself.
    MalformedPacket = 18, "malformed-packet",
        "its IP or transport header contradicts itself; the sender is broken";
    /// A rule says so.
    RuleDenied = 19, "rule-denied",
        "a rule says so; `flow list` shows its hits, `why` names it";
    /// Faster than a rule or a port allows.
    RateLimited = 20, "rate-limited",
        "faster than a rule or the port's rate allows; see `flow list`, `port show`";
    /// From an address that is not the guarded port's own.
    SpoofGuard = 21, "spoof-guard",
        "sent from an address that is not the guarded port's own, or rogue DHCP or RA; see --guard";
    /// It belongs to no connection, and cannot begin one.
    InvalidState = 22, "invalid-state",
        "belongs to no connection and cannot begin one; normal after a restart or long silence";
    /// The session table is full.
    SessionsFull = 23, "sessions-full",
        "the session table is full; see `conn top`, raise --sessions";
    /// An address that no packet on the wire may have, or that is not for routing.
    Martian = 24, "martian",
        "an address that may not be routed: loopback, link-local, unspecified or a group";
    /// Its time to live is used up.
    TtlExpired = 25, "ttl-expired",
        "its time to live is used up; traceroute, or a routing loop";
    /// No route leads to its destination.
    NoRoute = 26, "no-route",
        "no route leads to its destination from its bridge; see `route list`, `route allow`";
    /// Its next hop does not answer.
    Unresolved = 27, "unresolved",
        "its next hop does not answer ARP or neighbour discovery; is it up? see `neighbor show`";
    /// Too many frames wait for their next hop's address.
    HoldFull = 28, "hold-full",
        "too many frames wait for addresses to be resolved; see `neighbor show`";
    /// Longer than the next link takes, and not to be fragmented; its sender was told.
    TooBig = 29, "too-big",
        "longer than the next link takes; the sender was told (path MTU discovery); normal";
    /// No external port is free for it, or a quota is used up.
    NatExhausted = 30, "nat-exhausted",
        "no external port is free, or the container's quota is used up; see `nat list`, `conn top`";
    /// For an external address, and no session or published port takes it; or from behind one, and of no session or of a
    /// protocol without ports to tell sessions apart.
    NotTranslated = 31, "not-translated",
        "nothing takes it where addresses are translated: no port is published there (see `nat list`), it is of no session, or of a protocol without ports; normal";
    /// For the gateway itself, which serves nothing there.
    Unserved = 32, "unserved",
        "sent to the gateway itself, where nothing listens; the sender was told";
    /// The first fragment of its datagram never came.
    FragmentTimeout = 33, "fragment-timeout",
        "the first fragment of its datagram never came";
    /// Too many fragments wait.
    FragmentsFull = 34, "fragments-full",
        "too many fragments wait for their first one; an attack, or a lossy path";
    /// Its tunnel packet is for no network here.
    UnknownVni = 35, "unknown-vni",
        "a tunnel packet for a VNI that is not configured here; see `vxlan list`";
    /// Its tunnel header is not VXLAN's.
    MalformedTunnel = 36, "malformed-tunnel",
        "a tunnel packet in pieces, with a wrong checksum, or without a valid VXLAN header or inner frame; the sender is broken";
    /// Marked by congestion on the way, and the inner packet cannot carry the mark.
    TunnelCongestion = 37, "tunnel-congestion",
        "congestion was marked on the tunnel's path, and the inner packet cannot carry the mark (RFC 6040)";
    /// The underlay does not take it.
    TunnelUnreachable = 38, "tunnel-unreachable",
        "the underlay does not take it: no route to the remote, or too big; see `vxlan show`";
    /// Its tunnel packet is from no remote that is known, and none are learned.
    UnknownVtep = 39, "unknown-vtep",
        "a tunnel packet from a host that is no remote of a VXLAN without learning; see `vxlan set --remote`";
    /// For a service of which no backend takes sessions.
    NoBackend = 40, "no-backend",
        "to a service of which no backend takes sessions: all are down, draining or gone; see `service show`";
    /// For a service of the gateway, which has too much to do.
    ServiceBusy = 41, "service-busy",
        "a question to the gateway's DNS or DHCP while too many others waited; it is asked again";
    /// Faster than its port may send.
    Policed = 42, "policed",
        "faster than what may come in by the port; see `port show`, --ingress-rate";
    /// From an address that a translation of prefixes has no external one for, where nothing else lets it go.
    NoExternalAddress = 43, "no-external-address",
        "from an address that `nat prefix` has no external one for; the sender was told; `route allow` lets it go as it is";
    /// For a bridge that its own one may not reach.
    NotAllowed = 44, "not-allowed",
        "no rule lets its bridge reach the one that it is for; the sender was told; see `route allow`";
}

impl From<Refusal> for DropReason {
    /// Why a frame is lost that cannot be made fit for its port.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadOffload => Self::BadOffload,
            Refusal::NoBuffer => Self::NoBuffer,
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
