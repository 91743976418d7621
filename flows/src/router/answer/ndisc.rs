//! Neighbor Discovery (RFC 4861): solicitations for the gateway's addresses and those it stands in for,
//! answers to its own questions, and router solicitations.
//!
//! As with ARP, a solicitation by nobody (source `::`) is a probe for duplicate addresses (RFC 4862
//! section 5.4) and is answered for own addresses only.

use std::net::{IpAddr, Ipv6Addr};

use pktio::offload::checksum::verify;
use pktio::wire::field::{ipv6, protocol};
use pktio::wire::{Fragment, Layers, MacAddr};
use pktio::{Csum, PktBuf, Pool};
use smoltcp::wire::{
    EthernetAddress, Icmpv6Packet, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use super::super::envelope::{self, Ip, Link};
use super::super::neighbors::Claim;
use super::{Gateway, Outcome, Scene, advertisement, is_station};

/// The hop limit of all messages: who receives one with it knows that it comes from his own link.
pub(super) const HOP_LIMIT: u8 = 255;
/// A neighbour solicitation or advertisement with its link-layer address option.
const NEIGHBOR_BYTES: usize = 32;

/// All nodes on the link.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What is needed of a message to answer it.
#[derive(Clone, Copy)]
struct Message {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: Kind,
    /// The sender's (of an advertisement: the target's) MAC, if it is given.
    mac: Option<MacAddr>,
}

#[derive(Clone, Copy)]
enum Kind {
    RouterSolicitation,
    RouterAdvertisement,
    Solicitation { target: Ipv6Addr },
    Advertisement { target: Ipv6Addr, flags: NdiscNeighborFlags },
}

impl Message {
    /// Reads a message. `None` for one that is not to be believed (sections 6.1.1, 6.1.2, 7.1.1 and
    /// 7.1.2).
    fn read(frame: &PktBuf, layers: &Layers) -> Option<Self> {
        let data = frame.data();
        let has_sound_checksum =
            frame.offload.csum != Csum::None || verify(data, layers) == Some(true);
        let hop_limit = *data.get(usize::from(layers.l3) + ipv6::HOP_LIMIT)?;
        let (l4, end) = (usize::from(layers.l4), usize::try_from(layers.end).ok()?);
        let packet = Icmpv6Packet::new_checked(data.get(l4..end)?).ok()?;
        let is_sound = has_sound_checksum
            && hop_limit == HOP_LIMIT
            && layers.fragment == Fragment::Whole
            && packet.msg_code() == 0;
        let (IpAddr::V6(source), IpAddr::V6(destination)) = layers.addresses(data)? else {
            return None;
        };
        let (kind, mac) = match NdiscRepr::parse(&packet).ok()? {
            NdiscRepr::RouterSolicit { lladdr } => (Kind::RouterSolicitation, lladdr),
            NdiscRepr::RouterAdvert { lladdr, .. } => (Kind::RouterAdvertisement, lladdr),
            NdiscRepr::NeighborSolicit { target_addr: target, lladdr } => {
                (Kind::Solicitation { target }, lladdr)
            }
            NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr } => {
                (Kind::Advertisement { target, flags }, lladdr)
            }
            NdiscRepr::Redirect { .. } => return None,
        };
        let mac = mac.and_then(|mac| mac.as_bytes().first_chunk().copied()).map(MacAddr);
        let message = Self { source, destination, kind, mac };
        (is_sound && message.is_plausible()).then_some(message)
    }

    fn is_plausible(&self) -> bool {
        let is_anonymous = self.source.is_unspecified();
        let to_all = self.destination.is_multicast();
        let fits = match self.kind {
            Kind::RouterSolicitation => !is_anonymous || self.mac.is_none(),
            Kind::RouterAdvertisement => self.source.is_unicast_link_local(),
            Kind::Solicitation { target } => {
                !target.is_multicast() && (!is_anonymous || (to_all && self.mac.is_none()))
            }
            Kind::Advertisement { target, flags } => {
                let is_solicited = flags.contains(NdiscNeighborFlags::SOLICITED);
                !(target.is_multicast() || (to_all && is_solicited))
            }
        };
        fits && !self.source.is_multicast() && self.mac.is_none_or(is_station)
    }
}

/// Attends to a Neighbor Discovery message.
pub(super) fn attend(
    gateway: &Gateway,
    frame: &mut PktBuf,
    layers: &Layers,
    scene: &Scene,
) -> Outcome {
    let Some(message) = Message::read(frame, layers) else { return Outcome::Pass };
    match message.kind {
        Kind::RouterSolicitation => {
            hear_sender(gateway, &message, scene);
            answer_with_advertisement(gateway, frame, layers, &message)
        }
        Kind::RouterAdvertisement => {
            hear_sender(gateway, &message, scene);
            Outcome::Pass
        }
        Kind::Solicitation { target } => {
            if !is_answered(gateway, &message, target, scene) {
                return Outcome::Pass;
            }
            hear_sender(gateway, &message, scene);
            answer(gateway, frame, layers, &message, target)
                .map_or(Outcome::Done, |()| Outcome::Reply)
        }
        Kind::Advertisement { target, flags } => {
            hear_target(gateway, &message, target, flags, scene);
            let is_ours = gateway.is_own(message.destination.into());
            if is_ours { Outcome::Done } else { Outcome::Pass }
        }
    }
}

fn is_answered(gateway: &Gateway, message: &Message, target: Ipv6Addr, scene: &Scene) -> bool {
    let is_probe = message.source.is_unspecified();
    gateway.is_own(target.into()) || (!is_probe && gateway.stands_in_for(target.into(), scene))
}

/// Learns who sent a message. Somebody who claims an address of the gateway is not heard.
fn hear_sender(gateway: &Gateway, message: &Message, scene: &Scene) {
    let source = IpAddr::V6(message.source);
    let is_heard =
        !source.is_unspecified() && gateway.is_on_link(source) && !gateway.is_own(source);
    if let Some(mac) = message.mac.filter(|_| is_heard) {
        scene.neighbors.learn(scene.bridge, source, &Claim::asking(mac), scene.now);
    }
}

fn hear_target(
    gateway: &Gateway,
    message: &Message,
    target: Ipv6Addr,
    flags: NdiscNeighborFlags,
    scene: &Scene,
) {
    let claim = Claim {
        mac: message.mac,
        solicited: flags.contains(NdiscNeighborFlags::SOLICITED),
        overrides: flags.contains(NdiscNeighborFlags::OVERRIDE),
        creates: false,
    };
    if !gateway.is_own(target.into()) {
        scene.neighbors.learn(scene.bridge, target.into(), &claim, scene.now);
    }
}

/// Turns a neighbour solicitation into the advertisement that answers it (section 7.2.4).
fn answer(
    gateway: &Gateway,
    frame: &mut PktBuf,
    layers: &Layers,
    asked: &Message,
    target: Ipv6Addr,
) -> Option<()> {
    let back = Link::back(frame.data(), usize::from(layers.l3), gateway.mac)?;
    let is_own = gateway.is_own(target.into());
    let mut flags = NdiscNeighborFlags::ROUTER;
    // Whoever stands in for others gives way to the owner of the address (section 7.2.8).
    flags.set(NdiscNeighborFlags::OVERRIDE, is_own);
    let is_probe = asked.source.is_unspecified();
    flags.set(NdiscNeighborFlags::SOLICITED, !is_probe);
    let (link, destination) =
        if is_probe { (back.to(group_mac(ALL_NODES)), ALL_NODES) } else { (back, asked.source) };
    let source = if is_own { target } else { gateway.link_local() };
    let lladdr = Some(hardware_address(gateway.mac));
    let repr = NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr };
    write(frame, &link, (source, destination), &repr)
}

/// Turns a router solicitation into a router advertisement for its sender (section 6.2.6).
fn answer_with_advertisement(
    gateway: &Gateway,
    frame: &mut PktBuf,
    layers: &Layers,
    asked: &Message,
) -> Outcome {
    let Some(config) = &gateway.advertise else { return Outcome::Pass };
    let Some(back) = Link::back(frame.data(), usize::from(layers.l3), gateway.mac) else {
        return Outcome::Done;
    };
    let is_anonymous = asked.source.is_unspecified();
    let (link, destination) = if is_anonymous {
        (back.to(group_mac(ALL_NODES)), ALL_NODES)
    } else {
        (back, asked.source)
    };
    let lifetime = config.lifetime_seconds;
    advertisement::write(gateway, config, lifetime, frame, &link, destination)
        .map_or(Outcome::Done, |()| Outcome::Reply)
}

/// The question for an address, to one station or to those whose address ends like it.
pub(super) fn solicitation(
    gateway: &Gateway,
    target: Ipv6Addr,
    to: Option<MacAddr>,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let IpAddr::V6(source) = gateway.station_for(target.into())?.ip else { return None };
    let everybody = solicited_node(target);
    let destination = if to.is_some() { target } else { everybody };
    let lladdr = Some(hardware_address(gateway.mac));
    let repr = NdiscRepr::NeighborSolicit { target_addr: target, lladdr };
    make(gateway, to.unwrap_or(group_mac(everybody)), (source, destination), &repr, pool)
}

/// What tells all nodes the gateway's MAC.
pub(super) fn announcement(gateway: &Gateway, ip: Ipv6Addr, pool: &mut Pool) -> Option<PktBuf> {
    let flags = NdiscNeighborFlags::ROUTER | NdiscNeighborFlags::OVERRIDE;
    let lladdr = Some(hardware_address(gateway.mac));
    let repr = NdiscRepr::NeighborAdvert { flags, target_addr: ip, lladdr };
    make(gateway, group_mac(ALL_NODES), (ip, ALL_NODES), &repr, pool)
}

fn make(
    gateway: &Gateway,
    to: MacAddr,
    addresses: (Ipv6Addr, Ipv6Addr),
    repr: &NdiscRepr,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let mut frame = pool.take_small()?;
    let link = Link::for_ip(to, gateway.mac, addresses.0.into());
    write(&mut frame, &link, addresses, repr)?;
    Some(frame)
}

/// Writes a neighbour message over whatever the frame is.
fn write(
    frame: &mut PktBuf,
    link: &Link,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    repr: &NdiscRepr,
) -> Option<()> {
    let at = envelope::write(frame, link, &discovery(source, destination), NEIGHBOR_BYTES)?;
    repr.emit(&mut Icmpv6Packet::new_unchecked(&mut frame.data_mut()[at..]));
    envelope::seal(frame)
}

/// The IP header of a message.
pub(super) fn discovery(source: Ipv6Addr, destination: Ipv6Addr) -> Ip {
    Ip {
        source: source.into(),
        destination: destination.into(),
        protocol: protocol::ICMPV6,
        hop_limit: HOP_LIMIT,
        dscp: 0,
    }
}

/// The group of all nodes with an address that ends like this one (RFC 4291 section 2.7.1).
fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    let [e, f, g, h] = [0xff, a, b, c];
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, e, f, g, h])
}

/// The MAC address of an IPv6 group (RFC 2464 section 7).
pub(super) fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

pub(super) fn hardware_address(mac: MacAddr) -> RawHardwareAddress {
    EthernetAddress(mac.0).into()
}
