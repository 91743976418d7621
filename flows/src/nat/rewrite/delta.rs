//! [`Delta`]: by how much a checksum changes.

use pktio::wire::checksum::{fold, never_zero, sum};
use pktio::wire::field::put_be32;

/// SCTP's checksum and its position (RFC 9260 section 3.1).
const SCTP_CHECKSUM: usize = 8;

/// A difference in one's complement arithmetic, from 1 to 0xffff, which stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delta(u16);

impl Delta {
    /// The TTL is the upper byte of its word.
    pub(super) const ONE_HOP: Self = Self(!0x0100);

    /// From the sum of `old` to that of `new` (RFC 1624: `~m + m'`).
    pub(super) fn between(old: &[u8], new: &[u8]) -> Self {
        Self::of(fold(u64::from(!fold(sum(old))) + sum(new)))
    }

    fn of(difference: u16) -> Self {
        Self(never_zero(difference))
    }

    /// One change and another.
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.plus(other.0))
    }

    /// One's complement addition; never 0, as `self` is not.
    #[inline]
    fn plus(self, sum: u16) -> u16 {
        let (total, carry) = self.0.overflowing_add(sum);
        total + u16::from(carry)
    }

    /// Changes a sum, or the complement of one, which is what a checksum is.
    #[inline]
    pub(super) fn apply_to(self, is_sum: bool, high: &mut u8, low: &mut u8) {
        if is_sum { self.apply_to_sum(high, low) } else { self.apply_to_checksum(high, low) }
    }

    #[inline]
    pub(super) fn apply_to_sum(self, high: &mut u8, low: &mut u8) {
        [*high, *low] = self.plus(u16::from_be_bytes([*high, *low])).to_be_bytes();
    }

    #[inline]
    pub(super) fn apply_to_checksum(self, high: &mut u8, low: &mut u8) {
        [*high, *low] = (!self.plus(!u16::from_be_bytes([*high, *low]))).to_be_bytes();
    }

    /// As [`Delta::apply_to_checksum`], where 0 means that there is none (RFC 768).
    #[inline(always)]
    pub(super) fn apply_to_udp_checksum(self, high: &mut u8, low: &mut u8) {
        let checksum = u16::from_be_bytes([*high, *low]);
        if checksum != 0 {
            [*high, *low] = never_zero(!self.plus(!checksum)).to_be_bytes();
        }
    }
}

/// Changes the CRC32c of an SCTP packet as its ports will be changed to `ports`. `None`, and nothing
/// changed, when it is cut off.
///
/// The CRC is linear: it changes by the CRC of the difference between the packets, which is that of four
/// bytes followed by zeros.
pub(super) fn crc32c(packet: &mut [u8], ports: [u8; 4]) -> Option<()> {
    let old: [u8; 4] = *packet.first_chunk()?;
    let field: [u8; 4] = *packet.get(SCTP_CHECKSUM..)?.first_chunk()?;
    let change = ::crc32c::crc32c(&old) ^ ::crc32c::crc32c(&ports);
    let moved = ::crc32c::crc32c_combine(change, 0, packet.len() - old.len());
    // The CRC is the one field of SCTP with its least significant byte first.
    let crc = u32::from_le_bytes(field) ^ moved;
    put_be32(packet, SCTP_CHECKSUM, crc.swap_bytes());
    Some(())
}
