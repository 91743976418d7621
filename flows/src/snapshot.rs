//! [`Snapshot`]: the configuration that the pipeline decides by, immutable.

use std::net::SocketAddr;
use std::sync::Arc;

use pktio::wire::MacAddr;

use crate::cache::KeyFields;
use crate::fdb::{Fdb, Limits};
use crate::router::{Gateway, Routes};
use crate::rules::{Field, Meter, RuleSet};
use crate::vxlan::Tunnels;
use crate::{BridgeIndex, Generation, Guard, PortIndex, Seconds, Translation, Vid};

/// A set of VLANs.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet([u64; 64]);

impl VlanSet {
    /// Whether the VLAN is in the set.
    #[inline]
    pub fn contains(&self, vid: Vid) -> bool {
        self.0[usize::from(vid.0 >> 6) & 63] >> (vid.0 & 63) & 1 == 1
    }
}

impl FromIterator<Vid> for VlanSet {
    fn from_iter<I: IntoIterator<Item = Vid>>(vids: I) -> Self {
        let mut set = [0; 64];
        for Vid(vid) in vids {
            set[usize::from(vid >> 6) & 63] |= 1 << (vid & 63);
        }
        Self(set)
    }
}

impl std::fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..4096).filter(|vid| self.contains(Vid(*vid)))).finish()
    }
}

/// How a port handles VLANs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VlanPolicy {
    /// Frames pass as they are, tagged or not, among the ports of the bridge that are unaware too.
    Unaware,
    /// Untagged frames belong to this VLAN; its frames leave untagged.
    Access(Vid),
    /// Tagged frames of these VLANs; untagged ones belong to the native VLAN, if there is one, and its
    /// frames leave untagged.
    Trunk {
        /// The VLANs carried tagged.
        allowed: Arc<VlanSet>,
        /// The VLAN of untagged frames.
        native: Option<Vid>,
    },
}

impl VlanPolicy {
    /// Whether the port carries the VLAN.
    #[inline]
    pub fn carries(&self, vid: Vid) -> bool {
        match self {
            Self::Unaware => vid == Vid::NONE,
            Self::Access(own) => vid == *own,
            Self::Trunk { allowed, native } => allowed.contains(vid) || *native == Some(vid),
        }
    }

    /// The VLAN of frames that come in without a tag; `None` where none may.
    #[inline]
    pub(crate) fn untagged(&self) -> Option<Vid> {
        match self {
            Self::Unaware => Some(Vid::NONE),
            Self::Access(own) => Some(*own),
            Self::Trunk { native, .. } => *native,
        }
    }
}

/// Ports that do not talk to each other (split horizon): those of equal horizon, unless it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Horizon {
    /// Talks to every port.
    #[default]
    Open,
    /// Talks to no other isolated port.
    Isolated,
    /// Leads to a VTEP: what one sent, the others have got from it already (RFC 7348 section 4.2).
    Tunnel,
}

/// A port as the pipeline sees it.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// The bridge that it belongs to.
    pub bridge: BridgeIndex,
    /// VLANs.
    pub vlan: VlanPolicy,
    /// Which ports it does not talk to.
    pub horizon: Horizon,
    /// Frames may go back to the port that they came from.
    pub hairpin: bool,
    /// The longest IP packet that may leave by it, in bytes.
    pub mtu_bytes: u32,
    /// The most stations that are learned on it.
    pub mac_limit: u32,
    /// Rules may say something about what comes in by it, or about what that answers to.
    pub is_inspected: bool,
    /// Whom it may send as; everybody if not given.
    pub guard: Option<Arc<Guard>>,
    /// How fast frames may come in by it; as fast as they can if not given.
    pub meter: Option<Arc<Meter>>,
    /// The VXLAN network that it leads to.
    pub vni: Option<u32>,
    /// Frames only come in by it: floods pass it by.
    pub is_ingress_only: bool,
    /// Frames that need nothing but their way, and what the router makes of all of their flow, may take it without the
    /// pipeline, here and at another such port ([`Offer`](crate::Offer)).
    pub takes_shortcuts: bool,
}

impl PortConfig {
    /// A port of a bridge with nothing particular about it.
    pub fn new(bridge: BridgeIndex) -> Self {
        Self {
            bridge,
            vlan: VlanPolicy::Unaware,
            horizon: Horizon::Open,
            hairpin: false,
            mtu_bytes: 1500,
            mac_limit: u32::MAX,
            is_inspected: false,
            guard: None,
            meter: None,
            vni: None,
            is_ingress_only: false,
            takes_shortcuts: false,
        }
    }
}

/// A VLAN of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanOf {
    /// The bridge.
    pub bridge: BridgeIndex,
    /// The VLAN.
    pub vid: Vid,
}

/// A bridge as the pipeline sees it, or one of its VLANs where that is a domain of its own to the router: it has a
/// gateway, routes, neighbours and sessions of its own then, and ports and stations in common with the bridge.
#[derive(Debug, Clone)]
pub struct BridgeDomain {
    /// Its forwarding database, which outlives configurations. A VLAN's is that of its bridge.
    pub fdb: Arc<Fdb>,
    /// The bridge and the VLAN of it that this is; none for a bridge.
    pub vlan_of: Option<VlanOf>,
    /// The most stations that are learned on it.
    pub mac_limit: u32,
    /// The station address of its gateway; all zero if it has none, which is nobody's address.
    pub gateway_mac: MacAddr,
    /// Its gateway.
    pub router: Option<Arc<RouterPort>>,
    /// The endpoints of tunnels whose packets travel over it, each with its number: an address, mostly of the gateway, and a
    /// UDP port.
    pub endpoints: Vec<(SocketAddr, PortIndex)>,
    /// Its ports that floods go to, filled in by [`Snapshot::new`].
    pub members: Vec<PortIndex>,
    /// Some of its ports take shortcuts, filled in likewise.
    pub takes_shortcuts: bool,
    /// Its VLANs that are domains of their own, filled in likewise.
    pub vlans: Vec<(Vid, BridgeIndex)>,
}

impl BridgeDomain {
    /// A bridge that does nothing but bridge.
    pub fn new(fdb: Arc<Fdb>, mac_limit: u32) -> Self {
        Self {
            fdb,
            vlan_of: None,
            mac_limit,
            gateway_mac: MacAddr::default(),
            router: None,
            endpoints: Vec::new(),
            members: Vec::new(),
            takes_shortcuts: false,
            vlans: Vec::new(),
        }
    }

    /// What frames of a VLAN are in, to the router: this bridge itself, whose number is given, without a VLAN, or the VLAN.
    /// `None` in a VLAN that no router is in.
    #[inline]
    pub fn domain(&self, own: BridgeIndex, vid: Vid) -> Option<BridgeIndex> {
        if vid == Vid::NONE {
            return Some(own);
        }
        self.vlans.iter().find(|(own, _)| *own == vid).map(|(_, index)| *index)
    }

    /// The VLAN that its router is in.
    #[inline]
    pub fn vid(&self) -> Vid {
        self.vlan_of.map_or(Vid::NONE, |own| own.vid)
    }
}

/// What a bridge's gateway knows.
#[derive(Debug)]
pub struct RouterPort {
    /// Its addresses, and what it answers.
    pub gateway: Gateway,
    /// Where packets of the bridge's stations go.
    pub routes: Routes,
}

/// Why a configuration cannot be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A port belongs to a bridge that is not there.
    #[error("port {port:?} belongs to bridge {bridge:?}, which does not exist")]
    NoSuchBridge {
        /// The port.
        port: PortIndex,
        /// The bridge.
        bridge: BridgeIndex,
    },
    /// A domain is a VLAN of a bridge that is not there, or is no bridge.
    #[error("{domain:?} is a VLAN of {bridge:?}, which is no bridge")]
    NoSuchVlan {
        /// The domain.
        domain: BridgeIndex,
        /// Whose VLAN it is.
        bridge: BridgeIndex,
    },
    /// More ports than can be numbered.
    #[error("{count} ports are more than the switch can number")]
    TooManyPorts {
        /// How many.
        count: usize,
    },
}

/// Gives the domains that are VLANs the ports of their bridges, and lets the bridges know of them.
fn join_vlans(bridges: &mut [Option<BridgeDomain>]) -> Result<(), SnapshotError> {
    for slot in 0..bridges.len() {
        let Some(VlanOf { bridge, vid }) = bridges[slot].as_ref().and_then(|it| it.vlan_of) else {
            continue;
        };
        let domain = BridgeIndex(u16::try_from(slot).unwrap_or(u16::MAX));
        let whole = bridges.get_mut(usize::from(bridge.0)).and_then(Option::as_mut);
        let Some(whole) = whole.filter(|whole| whole.vlan_of.is_none()) else {
            return Err(SnapshotError::NoSuchVlan { domain, bridge });
        };
        whole.vlans.push((vid, domain));
        let members = whole.members.clone();
        if let Some(domain) = &mut bridges[slot] {
            domain.members = members;
        }
    }
    Ok(())
}

/// Everything the pipeline knows of the configuration. Made by the control thread, shared by all workers,
/// never changed.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    generation: Generation,
    ports: Vec<Option<PortConfig>>,
    bridges: Vec<Option<BridgeDomain>>,
    rules: Arc<RuleSet>,
    translation: Arc<Translation>,
    tunnels: Arc<Tunnels>,
}

impl Snapshot {
    /// Compiles a configuration: ports and bridges at the positions of their numbers.
    ///
    /// # Errors
    /// [`SnapshotError`], when the parts do not fit together.
    pub fn new(
        generation: Generation,
        ports: Vec<Option<PortConfig>>,
        mut bridges: Vec<Option<BridgeDomain>>,
    ) -> Result<Self, SnapshotError> {
        for bridge in bridges.iter_mut().flatten() {
            bridge.members.clear();
            bridge.vlans.clear();
            bridge.takes_shortcuts = false;
        }
        for (slot, port) in ports.iter().enumerate() {
            let Some(PortConfig { bridge, is_ingress_only, takes_shortcuts, .. }) = *port else {
                continue;
            };
            let index =
                PortIndex::at(slot).ok_or(SnapshotError::TooManyPorts { count: ports.len() })?;
            let Some(Some(domain)) = bridges.get_mut(usize::from(bridge.0)) else {
                return Err(SnapshotError::NoSuchBridge { port: index, bridge });
            };
            domain.takes_shortcuts |= takes_shortcuts;
            if !is_ingress_only {
                domain.members.push(index);
            }
        }
        join_vlans(&mut bridges)?;
        Ok(Self { generation, ports, bridges, ..Self::default() })
    }

    /// The same configuration with these rules.
    #[must_use]
    pub fn with_rules(self, rules: Arc<RuleSet>) -> Self {
        Self { rules, ..self }
    }

    /// The same configuration with this address translation.
    #[must_use]
    pub fn with_translation(self, translation: Arc<Translation>) -> Self {
        Self { translation, ..self }
    }

    /// The same configuration with these tunnels, whose ports are among its ports.
    #[must_use]
    pub fn with_tunnels(self, tunnels: Arc<Tunnels>) -> Self {
        Self { tunnels, ..self }
    }

    /// The same configuration, in which nobody hears what a bridge learns from now on: its forwarding database is
    /// a copy of the present one.
    #[must_use]
    pub(crate) fn with_private_fdb(&self, bridge: BridgeIndex, now: Seconds) -> Self {
        let mut private = self.clone();
        if let Some(domain) = self.bridge(bridge) {
            let copy = Arc::new(domain.fdb.copied(domain.mac_limit, now));
            let in_common = |other: &&mut BridgeDomain| Arc::ptr_eq(&other.fdb, &domain.fdb);
            let domains = private.bridges.iter_mut().flatten().filter(in_common);
            domains.for_each(|domain| domain.fdb = Arc::clone(&copy));
        }
        private
    }

    /// The rules.
    #[inline]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The address translation.
    #[inline]
    pub fn translation(&self) -> &Translation {
        &self.translation
    }

    /// The tunnels.
    #[inline]
    pub fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Which fields of packets the configuration looks at beyond those that it always does.
    #[inline]
    pub fn key_fields(&self) -> KeyFields {
        let fields = self.rules.fields();
        KeyFields { tcp_flags: fields.tcp_flags(), dscp: fields.contains(Field::Dscp) }
    }

    /// One more than the highest number of a port or of an endpoint of tunnels.
    pub fn port_slots(&self) -> usize {
        self.ports.len().max(self.tunnels.port_slots())
    }

    /// Whether frames may pass by the pipeline anywhere.
    pub(crate) fn takes_shortcuts(&self) -> bool {
        self.bridges.iter().flatten().any(|bridge| bridge.takes_shortcuts)
    }

    /// A port.
    #[inline]
    pub fn port(&self, port: PortIndex) -> Option<&PortConfig> {
        self.ports.get(port.slot())?.as_ref()
    }

    /// A bridge.
    #[inline]
    pub fn bridge(&self, bridge: BridgeIndex) -> Option<&BridgeDomain> {
        self.bridges.get(usize::from(bridge.0))?.as_ref()
    }

    /// The limits for stations on a port.
    #[inline]
    pub(crate) fn limits(bridge: &BridgeDomain, port: &PortConfig) -> Limits {
        Limits { bridge: bridge.mac_limit, port: port.mac_limit }
    }
}
