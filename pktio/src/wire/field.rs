//! Numbers from the standards: EtherTypes, protocol numbers, and positions of header fields. Positions
//! count from the first byte of their header.

/// EtherTypes (IEEE 802 numbers).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// Service VLAN tag (IEEE 802.1ad).
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// IPv4 (RFC 791).
pub mod ipv4 {
    /// Total length.
    pub const TOTAL_LENGTH: usize = 2;
    /// Identification.
    pub const ID: usize = 4;
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = 6;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: usize = 10;
    /// Source and destination address, one behind the other.
    pub const ADDRESSES: std::ops::Range<usize> = 12..20;
    /// Shortest header.
    pub const MIN_BYTES: usize = 20;
    /// The don't-fragment bit of the fragment field.
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// More-fragments bit and offset: zero on a whole datagram.
    pub const FRAGMENTED: u16 = 0x3fff;
    /// The offset of the fragment field.
    pub const OFFSET: u16 = 0x1fff;
}

/// IPv6 (RFC 8200).
pub mod ipv6 {
    /// Payload length.
    pub const PAYLOAD_LENGTH: usize = 4;
    /// Next header.
    pub const NEXT_HEADER: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source and destination address, one behind the other.
    pub const ADDRESSES: std::ops::Range<usize> = 8..40;
    /// The fixed header.
    pub const BYTES: usize = 40;
}

/// TCP (RFC 9293).
pub mod tcp {
    /// Sequence number.
    pub const SEQUENCE: usize = 4;
    /// Acknowledgment number.
    pub const ACK: usize = 8;
    /// Data offset, in the upper four bits, in words of 4 bytes.
    pub const DATA_OFFSET: usize = 12;
    /// Flags.
    pub const FLAGS: usize = 13;
    /// Window.
    pub const WINDOW: usize = 14;
    /// Checksum.
    pub const CHECKSUM: usize = 16;
    /// Shortest header.
    pub const MIN_BYTES: usize = 20;
    /// FIN flag.
    pub const FIN: u8 = 0x01;
    /// SYN flag.
    pub const SYN: u8 = 0x02;
    /// RST flag.
    pub const RST: u8 = 0x04;
    /// PSH flag.
    pub const PSH: u8 = 0x08;
    /// ACK flag.
    pub const ACK_FLAG: u8 = 0x10;
    /// CWR flag (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// UDP (RFC 768).
pub mod udp {
    /// Length of header and data.
    pub const LENGTH: usize = 4;
    /// Checksum.
    pub const CHECKSUM: usize = 6;
    /// The header.
    pub const BYTES: usize = 8;
}

/// VXLAN (RFC 7348, section 5).
pub mod vxlan {
    /// Flags.
    pub const FLAGS: usize = 0;
    /// The VXLAN network identifier, in the upper 24 bits of the word here.
    pub const VNI: usize = 4;
    /// The header.
    pub const BYTES: usize = 8;
    /// The I flag: the network identifier is valid.
    pub const VNI_VALID: u8 = 0x08;
}

/// ICMP (RFC 792) and ICMPv6 (RFC 4443): type, code, checksum, and four bytes by type.
pub mod icmp {
    /// Checksum.
    pub const CHECKSUM: usize = 2;
    /// Identifier of a query or its reply.
    pub const ID: usize = 4;
    /// What every message begins with.
    pub const BYTES: usize = 8;
    /// Queries and their replies: echo, timestamp and address mask. Nobody asks for information any more (RFC 6918 section 3),
    /// and no NAT is to support it (RFC 5508 REQ-10c).
    pub const QUERIES: [u8; 6] = [0, 8, 13, 14, 17, 18];
    /// Each query's type, and that of its reply.
    pub const QUERY_TYPES: [(u8, u8); 3] = [(8, 0), (13, 14), (17, 18)];
    /// Errors, which quote the packet that caused them: unreachable, source quench, redirect, time
    /// exceeded, parameter problem.
    pub const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
    /// ICMPv6 echo request and reply.
    pub const V6_QUERIES: [u8; 2] = [128, 129];
    /// The echo request's type, and that of its reply.
    pub const V6_QUERY_TYPES: [(u8, u8); 1] = [(128, 129)];
    /// ICMPv6 errors: unreachable, packet too big, time exceeded, parameter problem.
    pub const V6_ERRORS: [u8; 4] = [1, 2, 3, 4];
    /// Neighbor Discovery (RFC 4861): router and neighbour solicitations and advertisements.
    pub const V6_DISCOVERY: [u8; 4] = [133, 134, 135, 136];
}

/// The big-endian 16-bit field at `at`; `None` beyond the end.
#[inline]
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The big-endian 32-bit field at `at`; `None` beyond the end.
#[inline]
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Writes the big-endian 16-bit field at `at`. The caller has checked that it is there; beyond the end
/// nothing happens.
#[inline]
pub fn put_be16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes the big-endian 32-bit field at `at`, as [`put_be16`].
#[inline]
pub fn put_be32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
