//! Addresses: a DHCP server of IPv4 for containers that bring a client (RFC 2131, RFC 2132).
//!
//! A container's address is the one that its port was given when it was connected ([`Lease`]), for as long as the port
//! is there: it is part of the configuration, and the server only tells it. So there is nothing to remember and nothing
//! to run out of; a lease's time is for how long a client is to go without asking whether anything else has changed.
//! Whoever asks for another address is told at once that it is not his.
//!
//! The wire format is smoltcp's.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use ctl::{MacAddr, Prefix};
use smoltcp::wire::{
    DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress,
};

/// The port of servers.
pub const SERVER_PORT: u16 = 67;
/// The port of clients.
pub const CLIENT_PORT: u16 = 68;

/// After this time a client asks whether anything has changed, and after twice of it he has to.
const LEASE_SECONDS: u32 = 3600;
/// The shortest message that old clients take (RFC 1542 section 2.1).
const MIN_MESSAGE_BYTES: usize = 300;
/// The longest message that every client takes: that of a datagram of 576 bytes (RFC 2131 section 2, RFC 2132 section
/// 9.10).
const MAX_MESSAGE_BYTES: usize = 576 - HEADERS_BYTES;
/// The headers of IPv4 and UDP.
const HEADERS_BYTES: usize = 28;
/// The longest option.
const MAX_OPTION_BYTES: usize = 255;
/// Kind and length, in front of an option's data.
const OPTION_HEADER_BYTES: usize = 2;

/// Options of RFC 2132, RFC 3442 and RFC 6842.
mod option {
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const REQUESTED_IP: u8 = 50;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const MAX_MESSAGE_BYTES: u8 = 57;
    pub const RENEWAL_SECONDS: u8 = 58;
    pub const REBINDING_SECONDS: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const ROUTES: u8 = 121;
}

/// What a container is told: the address of its port, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The interface's MAC address: nobody else behind the port is told.
    pub mac: MacAddr,
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its subnet's prefix.
    pub prefix_len: u8,
    /// The gateway, which tells.
    pub server: Ipv4Addr,
    /// The default gateway, if the network has a way out.
    pub router: Option<Ipv4Addr>,
    /// Who answers names.
    pub resolver: Option<Ipv4Addr>,
    /// In which names are looked up that are short.
    pub domain: String,
    /// The interface's MTU, in bytes.
    pub mtu: u16,
    /// Other routes.
    pub routes: Vec<(Prefix, Ipv4Addr)>,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Answer {
        /// The answer.
        message: Vec<u8>,
        /// To which address. All of one link hear [`Ipv4Addr::BROADCAST`].
        to: Ipv4Addr,
    },
    /// The container says that somebody else has its address.
    Declined,
    /// It is for somebody else, or not worth a word.
    Silence,
}

/// A client's message.
struct Asked<'a> {
    packet: DhcpPacket<&'a [u8]>,
    kind: DhcpMessageType,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client_id: Option<Vec<u8>>,
    /// The longest message that the client takes.
    limit_bytes: usize,
}

/// What becomes of a message of the container to which a lease belongs.
pub fn attend(message: &[u8], lease: &Lease) -> Verdict {
    let Some(asked) = Asked::read(message) else { return Verdict::Silence };
    let is_own = asked.packet.client_hardware_address() == EthernetAddress(lease.mac.0);
    let is_for_us = asked.server.is_none_or(|server| server == lease.server);
    if !is_own || !is_for_us {
        return Verdict::Silence;
    }
    match asked.kind {
        DhcpMessageType::Discover => asked.answer(DhcpMessageType::Offer, lease),
        DhcpMessageType::Request => match asked.wanted() {
            Some(wanted) if wanted == lease.address => asked.answer(DhcpMessageType::Ack, lease),
            Some(_) => asked.answer(DhcpMessageType::Nak, lease),
            None => Verdict::Silence,
        },
        DhcpMessageType::Inform if !asked.packet.client_ip().is_unspecified() => {
            asked.answer(DhcpMessageType::Ack, lease)
        }
        DhcpMessageType::Decline if asked.requested == Some(lease.address) => Verdict::Declined,
        // What is released stays the port's, as before it was asked for.
        _ => Verdict::Silence,
    }
}

impl<'a> Asked<'a> {
    /// A request of a client on this link: of one that a relay speaks for we know nothing.
    fn read(message: &'a [u8]) -> Option<Self> {
        const MAGIC: u32 = 0x6382_5363;
        const ETHERNET: (u8, u8) = (1, 6);
        let hardware = (*message.get(1)?, *message.get(2)?);
        let packet = DhcpPacket::new_checked(message).ok()?;
        let is_request = packet.opcode() == DhcpOpCode::Request
            && packet.magic_number() == MAGIC
            && hardware == ETHERNET
            && packet.relay_agent_ip().is_unspecified();
        let find = |wanted: u8| {
            let found = packet.options().find(|option| option.kind == wanted);
            found.map(|option| option.data.to_vec())
        };
        let address = |wanted| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(wanted)?).ok()?));
        let kind = DhcpMessageType::from(*find(option::MESSAGE_TYPE)?.first()?);
        let (requested, server) = (address(option::REQUESTED_IP), address(option::SERVER));
        let client_id = find(option::CLIENT_ID);
        let datagram = find(option::MAX_MESSAGE_BYTES).and_then(|data| data.try_into().ok());
        let datagram_bytes = datagram.map_or(0, |bytes| usize::from(u16::from_be_bytes(bytes)));
        let limit_bytes = datagram_bytes.saturating_sub(HEADERS_BYTES).max(MAX_MESSAGE_BYTES);
        is_request.then_some(Self { packet, kind, requested, server, client_id, limit_bytes })
    }

    /// The address that is asked for: the one that was offered or is remembered, or the one that is used (RFC 2131
    /// section 4.3.2).
    fn wanted(&self) -> Option<Ipv4Addr> {
        let used = self.packet.client_ip();
        self.requested.or_else(|| (!used.is_unspecified()).then_some(used))
    }

    fn answer(&self, kind: DhcpMessageType, lease: &Lease) -> Verdict {
        let used = self.packet.client_ip();
        let wants_broadcast = self.packet.flags().contains(DhcpFlags::BROADCAST);
        let to = match kind {
            DhcpMessageType::Nak => Ipv4Addr::BROADCAST,
            _ if !used.is_unspecified() => used,
            _ if wants_broadcast => Ipv4Addr::BROADCAST,
            _ => lease.address,
        };
        match self.compose(kind, lease) {
            Some(message) => Verdict::Answer { message, to },
            None => Verdict::Silence,
        }
    }

    fn compose(&self, kind: DhcpMessageType, lease: &Lease) -> Option<Vec<u8>> {
        let mut texts = Vec::new();
        texts.extend(self.client_id.iter().map(|id| (option::CLIENT_ID, id.clone())));
        if kind != DhcpMessageType::Nak {
            texts.extend(described(lease, self.gives(kind)));
            let taken = self.repr(kind, lease, &options(&texts)).buffer_len() + OPTION_HEADER_BYTES;
            let routes = routes(lease, self.limit_bytes.saturating_sub(taken));
            texts.extend((!routes.is_empty()).then_some((option::ROUTES, routes)));
        }
        let options = options(&texts);
        let answer = self.repr(kind, lease, &options);
        let mut message = vec![0; answer.buffer_len().max(MIN_MESSAGE_BYTES)];
        answer.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).ok()?;
        Some(message)
    }

    /// Whether an answer of a kind gives an address. Who informs himself keeps the one that he has (RFC 2131 section
    /// 4.3.5).
    fn gives(&self, kind: DhcpMessageType) -> bool {
        kind != DhcpMessageType::Nak && self.kind != DhcpMessageType::Inform
    }

    fn repr<'b>(
        &self,
        kind: DhcpMessageType,
        lease: &Lease,
        options: &'b [DhcpOption<'b>],
    ) -> DhcpRepr<'b> {
        let (is_refusal, gives) = (kind == DhcpMessageType::Nak, self.gives(kind));
        let told = |address: Option<Ipv4Addr>| address.filter(|_| !is_refusal);
        DhcpRepr {
            message_type: kind,
            transaction_id: self.packet.transaction_id(),
            secs: 0,
            client_hardware_address: self.packet.client_hardware_address(),
            client_ip: if is_refusal { Ipv4Addr::UNSPECIFIED } else { self.packet.client_ip() },
            your_ip: if gives { lease.address } else { Ipv4Addr::UNSPECIFIED },
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: told(lease.router),
            subnet_mask: told(Some(mask(lease.prefix_len))),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: self.packet.flags().contains(DhcpFlags::BROADCAST),
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(lease.server),
            parameter_request_list: None,
            dns_servers: told(lease.resolver).map(|resolver| [resolver].into_iter().collect()),
            max_size: None,
            lease_duration: gives.then_some(LEASE_SECONDS),
            renew_duration: None,
            rebind_duration: None,
            additional_options: options,
        }
    }
}

fn options(texts: &[(u8, Vec<u8>)]) -> Vec<DhcpOption<'_>> {
    texts.iter().map(|(kind, data)| DhcpOption { kind: *kind, data }).collect()
}

/// What smoltcp has no words for.
fn described(lease: &Lease, gives: bool) -> Vec<(u8, Vec<u8>)> {
    let mut options = vec![(option::MTU, lease.mtu.to_be_bytes().to_vec())];
    if gives {
        let renewal = LEASE_SECONDS / 2;
        let rebinding = LEASE_SECONDS / 8 * 7;
        options.push((option::RENEWAL_SECONDS, renewal.to_be_bytes().to_vec()));
        options.push((option::REBINDING_SECONDS, rebinding.to_be_bytes().to_vec()));
    }
    if !lease.domain.is_empty() && lease.domain.len() <= MAX_OPTION_BYTES {
        options.push((option::DOMAIN, lease.domain.clone().into_bytes()));
    }
    options
}

/// Routes without classes (RFC 3442). Who reads them reads no other default gateway, so that it comes first. Those for
/// which there is no room are left out.
fn routes(lease: &Lease, room_bytes: usize) -> Vec<u8> {
    if lease.routes.is_empty() {
        return Vec::new();
    }
    let default = lease.router.map(|router| (Ipv4Addr::UNSPECIFIED, 0, router));
    let others = lease.routes.iter().filter_map(|(to, via)| match to.addr() {
        IpAddr::V4(addr) => Some((addr, to.prefix_len(), *via)),
        IpAddr::V6(_) => None,
    });
    let mut bytes = Vec::new();
    for (to, prefix_len, via) in default.into_iter().chain(others) {
        let significant = usize::from(prefix_len.div_ceil(8));
        let route = [&[prefix_len][..], &to.octets()[..significant], &via.octets()].concat();
        if bytes.len() + route.len() <= room_bytes.min(MAX_OPTION_BYTES) {
            bytes.extend(route);
        }
    }
    bytes
}

fn mask(prefix_len: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0))
}
