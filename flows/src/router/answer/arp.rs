//! ARP (RFC 826): questions for the gateway's addresses and those it stands in for, answers to its own
//! questions, and what others say of themselves.
//!
//! A question by nobody (source 0.0.0.0) is a probe: somebody wants to use the address (RFC 5227). It is
//! answered for the gateway's own addresses; for others their owner must answer, or nobody: a container
//! that comes up with an address which the gateway stands in for would find it taken.

use std::net::{IpAddr, Ipv4Addr};

use pktio::wire::field::ethertype;
use pktio::wire::{EthernetHeader, MacAddr};
use pktio::{Offload, PktBuf, Pool};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

use super::super::envelope::Link;
use super::super::neighbors::Claim;
use super::{Gateway, Outcome, Scene, is_station};

/// An ARP packet for Ethernet and IPv4.
const ARP_BYTES: usize = 28;

/// What an ARP packet says.
#[derive(Clone, Copy)]
struct Message {
    operation: ArpOperation,
    sender_mac: MacAddr,
    sender: Ipv4Addr,
    target_mac: MacAddr,
    target: Ipv4Addr,
}

impl Message {
    fn read(packet: &[u8]) -> Option<Self> {
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
        } = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?
        else {
            return None;
        };
        Some(Self {
            operation,
            sender_mac: MacAddr(source_hardware_addr.0),
            sender: source_protocol_addr,
            target_mac: MacAddr(target_hardware_addr.0),
            target: target_protocol_addr,
        })
    }

    /// Writes the message behind its link header, over whatever the frame is.
    fn write(self, frame: &mut PktBuf, link: &Link) {
        let l3 = link.bytes().len();
        frame.set_len(l3 + ARP_BYTES);
        frame.offload = Offload::NONE;
        let data = frame.data_mut();
        data[..l3].copy_from_slice(link.bytes());
        let repr = ArpRepr::EthernetIpv4 {
            operation: self.operation,
            source_hardware_addr: EthernetAddress(self.sender_mac.0),
            source_protocol_addr: self.sender,
            target_hardware_addr: EthernetAddress(self.target_mac.0),
            target_protocol_addr: self.target,
        };
        repr.emit(&mut ArpPacket::new_unchecked(&mut data[l3..]));
    }
}

/// Attends to an ARP packet at `l3`.
pub(super) fn attend(gateway: &Gateway, frame: &mut PktBuf, l3: usize, scene: &Scene) -> Outcome {
    let data = frame.data();
    let Some(message) = data.get(l3..).and_then(Message::read) else { return Outcome::Pass };
    if !is_station(message.sender_mac) {
        return Outcome::Pass;
    }
    match message.operation {
        ArpOperation::Request if is_answered(gateway, &message, scene) => {
            if gateway.is_on_link(message.sender.into()) {
                learn(gateway, &message, Claim::asking(message.sender_mac), scene);
            }
            reply(gateway, frame, l3, &message)
        }
        ArpOperation::Reply if is_for_us(gateway, data, &message) => {
            learn(gateway, &message, Claim::answering(message.sender_mac), scene);
            Outcome::Done
        }
        _ => {
            learn(gateway, &message, Claim::announcing(message.sender_mac), scene);
            Outcome::Pass
        }
    }
}

fn is_answered(gateway: &Gateway, message: &Message, scene: &Scene) -> bool {
    let target = IpAddr::V4(message.target);
    let is_probe = message.sender.is_unspecified() || message.sender == message.target;
    gateway.is_own(target) || (!is_probe && gateway.stands_in_for(target, scene))
}

fn is_for_us(gateway: &Gateway, frame: &[u8], message: &Message) -> bool {
    EthernetHeader::read(frame).is_some_and(|header| header.dst == gateway.mac)
        && gateway.is_own(message.target.into())
}

/// Hears what a message says of its sender. Somebody who claims an address of the gateway is not heard.
fn learn(gateway: &Gateway, message: &Message, claim: Claim, scene: &Scene) {
    let sender = IpAddr::V4(message.sender);
    if !sender.is_unspecified() && !gateway.is_own(sender) {
        scene.neighbors.learn(scene.bridge, sender, &claim, scene.now);
    }
}

fn reply(gateway: &Gateway, frame: &mut PktBuf, l3: usize, asked: &Message) -> Outcome {
    let Some(link) = Link::back(frame.data(), l3, gateway.mac) else { return Outcome::Done };
    let answer = Message {
        operation: ArpOperation::Reply,
        sender_mac: gateway.mac,
        sender: asked.target,
        target_mac: asked.sender_mac,
        target: asked.sender,
    };
    answer.write(frame, &link);
    Outcome::Reply
}

/// The question for an address, to one station or all.
pub(super) fn request(
    gateway: &Gateway,
    target: Ipv4Addr,
    to: Option<MacAddr>,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let IpAddr::V4(sender) = gateway.station_for(target.into())?.ip else { return None };
    ask(gateway, sender, target, to.unwrap_or(MacAddr::BROADCAST), pool)
}

/// The question for one's own address, which nobody should answer.
pub(super) fn announcement(gateway: &Gateway, ip: Ipv4Addr, pool: &mut Pool) -> Option<PktBuf> {
    ask(gateway, ip, ip, MacAddr::BROADCAST, pool)
}

fn ask(
    gateway: &Gateway,
    sender: Ipv4Addr,
    target: Ipv4Addr,
    to: MacAddr,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let link = Link::new(to, gateway.mac, ethertype::ARP);
    let mut frame = pool.take_small()?;
    let question = Message {
        operation: ArpOperation::Request,
        sender_mac: gateway.mac,
        sender,
        target_mac: MacAddr::default(),
        target,
    };
    question.write(&mut frame, &link);
    Some(frame)
}
