//! Ethernet and VLAN tags (IEEE 802.3, 802.1Q).

use std::fmt;

use super::field::{be16, ethertype};

/// An Ethernet header without tags.
pub const ETHERNET_BYTES: usize = 14;
/// One VLAN tag.
pub const VLAN_BYTES: usize = 4;

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it is a group address: broadcast or multicast.
    #[inline]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether it is one of the addresses 01-80-C2-00-00-00 to -0F, which no bridge forwards (IEEE
    /// 802.1Q, table 8-1).
    #[inline]
    pub fn is_reserved(self) -> bool {
        // Nearly all addresses are none of a group, which is seen by one bit.
        self.is_group() && self.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && self.0[5] < 0x10
    }

    /// The address as a number below 2^48.
    #[inline]
    pub fn to_bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from(u32::from_be_bytes([a, b, c, d])) << 16 | u64::from(u16::from_be_bytes([e, f]))
    }

    /// The address of the lower 48 bits.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The control information of a VLAN tag: priority, drop-eligible bit and VLAN number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag(pub u16);

impl VlanTag {
    /// The VLAN number, 0 for a priority tag.
    #[inline]
    pub fn vid(self) -> u16 {
        self.0 & 0x0fff
    }

    /// The same priority with another VLAN number.
    #[inline]
    pub fn with_vid(self, vid: u16) -> Self {
        Self((self.0 & 0xf000) | (vid & 0x0fff))
    }
}

/// What a bridge reads of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// The EtherType, or the tag protocol when the frame is tagged.
    pub ethertype: u16,
}

impl EthernetHeader {
    /// Reads the header; `None` for a runt.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let header: &[u8; ETHERNET_BYTES] = frame.first_chunk()?;
        // Two overlapping words are read much faster than three fields.
        let front = u64::from_be_bytes(*header.first_chunk()?);
        let back = u64::from_be_bytes(*header.last_chunk()?);
        let [.., t0, t1] = back.to_be_bytes();
        Some(Self {
            dst: MacAddr::from_bits(front >> 16),
            src: MacAddr::from_bits(back >> 16),
            ethertype: u16::from_be_bytes([t0, t1]),
        })
    }

    /// Gives a frame other stations. A runt stays as it is.
    #[inline]
    pub fn readdress(frame: &mut [u8], dst: MacAddr, src: MacAddr) {
        if let Some(addresses) = frame.get_mut(..12) {
            addresses[..6].copy_from_slice(&dst.0);
            addresses[6..].copy_from_slice(&src.0);
        }
    }

    /// The customer VLAN tag, if the frame has one as its outermost tag. `Some(None)` when it says so
    /// and is cut off inside the tag.
    #[inline]
    pub fn vlan(&self, frame: &[u8]) -> Option<Option<VlanTag>> {
        if self.ethertype != ethertype::VLAN {
            return None;
        }
        // The tag is followed by at least the EtherType of what it carries.
        let whole = frame.len() >= ETHERNET_BYTES + VLAN_BYTES;
        Some(be16(frame, ETHERNET_BYTES).filter(|_| whole).map(VlanTag))
    }
}
