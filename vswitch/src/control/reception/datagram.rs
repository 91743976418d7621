//! Packets in and out: what a visitor's frame says, and the frame that an answer is.

use std::net::SocketAddr;

use pktio::offload::checksum::verify;
use pktio::wire::{EthernetHeader, Layers, MacAddr};
use pktio::{Csum, PktBuf};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, IpRepr,
    IpVersion, UdpPacket, UdpRepr,
};

use super::Caller;

const HOP_LIMIT: u8 = 64;
const UDP_HEADER_BYTES: usize = 8;

/// A visitor's packet, with a sound checksum.
#[derive(Debug)]
pub struct Packet {
    /// Who sent it.
    pub mac: MacAddr,
    /// From where.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
    /// Its transport protocol.
    pub protocol: u8,
    /// All of it, from the IP header on.
    pub ip: Vec<u8>,
    /// What a datagram carries.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads a frame. `None` if its checksum is wrong, or it is not what the pipeline took it for.
    pub fn read(frame: &PktBuf) -> Option<Self> {
        let data = frame.data();
        let layers = Layers::parse(data).ok().flatten()?;
        // What a container's kernel left to its device was never on a wire.
        let is_sound =
            frame.offload.csum != Csum::None || verify(data, &layers).is_none_or(|sound| sound);
        let (from, to) = layers.addresses(data)?;
        let (from_port, to_port) = layers.ports(data)?;
        let end = usize::try_from(layers.end).ok()?;
        let payload = data.get(usize::from(layers.l4) + UDP_HEADER_BYTES..end)?;
        is_sound.then_some(Self {
            mac: EthernetHeader::read(data)?.src,
            from: SocketAddr::new(from, from_port),
            to: SocketAddr::new(to, to_port),
            protocol: layers.protocol,
            ip: data.get(usize::from(layers.l3)..end)?.to_vec(),
            payload: payload.to_vec(),
        })
    }
}

/// The frame of a datagram back to a caller.
pub fn between(caller: &Caller, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (caller.to, caller.from);
    let udp = UdpRepr { src_port: src.port(), dst_port: dst.port() };
    let bytes = udp.header_len() + payload.len();
    let (src, dst) = (IpAddress::from(src.ip()), IpAddress::from(dst.ip()));
    let ip = IpRepr::new(src, dst, IpProtocol::Udp, bytes, HOP_LIMIT);
    let checksums = ChecksumCapabilities::default();
    let mut packet = vec![0; ip.buffer_len()];
    ip.emit(&mut packet[..], &checksums);
    let mut segment = UdpPacket::new_unchecked(&mut packet[ip.header_len()..]);
    let put = |place: &mut [u8]| place.copy_from_slice(payload);
    udp.emit(&mut segment, &src, &dst, payload.len(), put, &checksums);
    envelope((caller.gateway, caller.mac), &packet)
}

/// The frame of a packet from one station to another.
pub fn envelope((from, to): (MacAddr, MacAddr), packet: &[u8]) -> Vec<u8> {
    let ethertype = match IpVersion::of_packet(packet) {
        Ok(IpVersion::Ipv6) => EthernetProtocol::Ipv6,
        _ => EthernetProtocol::Ipv4,
    };
    let header = EthernetRepr {
        src_addr: EthernetAddress(from.0),
        dst_addr: EthernetAddress(to.0),
        ethertype,
    };
    let mut frame = vec![0; header.buffer_len() + packet.len()];
    header.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    frame[header.buffer_len()..].copy_from_slice(packet);
    frame
}
