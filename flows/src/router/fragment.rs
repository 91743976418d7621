//! IPv4 fragmentation (RFC 791 section 3.2, RFC 1812 section 4.2.2.7).
//!
//! Only for packets without the don't-fragment bit; IPv6 routers do not fragment. A fragment can be
//! fragmented again. A super-frame is cut into its segments first
//! ([`pktio::offload::segment`]), and each of these fragmented.

use pktio::offload::checksum::complete;
use pktio::wire::checksum::{finish, sum};
use pktio::wire::field::{be16, ipv4, put_be16};
use pktio::wire::{Layers, Network};
use pktio::{Burst, Gso, Offload, PktBuf, Pool};

/// Every link takes packets of this length (RFC 791): the longest header and eight bytes of data.
const LEAST_MTU_BYTES: usize = 68;
/// The longest IPv4 header.
const MAX_HEADER_BYTES: usize = 60;
/// Fragments begin at multiples of this.
const UNIT_BYTES: usize = 8;

/// Why a packet was not fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unbroken {
    /// It may not be: IPv6, or the don't-fragment bit is set. To be answered with "too big".
    #[error("the packet may not be fragmented")]
    Forbidden,
    /// It is a super-frame, which is to be segmented first, or its offload state or options contradict
    /// its headers.
    #[error("the packet is a super-frame, or its headers are contradictory")]
    BadPacket,
    /// The MTU is below what every IPv4 link takes, 68 bytes.
    #[error("the MTU is below 68 bytes; no IPv4 link has that")]
    BadMtu,
    /// There are not enough free buffers.
    #[error("no free buffers for the fragments")]
    NoBuffer,
}

/// What is needed of a packet to make its fragments.
struct Plan<'a> {
    /// Ethernet header and tags.
    link: &'a [u8],
    header: &'a [u8],
    payload: &'a [u8],
    /// The header of all fragments but the first: only options that are to be copied (RFC 791 page 15).
    later: [u8; MAX_HEADER_BYTES],
    later_bytes: usize,
    mtu_bytes: usize,
}

/// Makes fragments of a packet that is longer than `mtu_bytes`, in order, appended to `out`. A packet that
/// fits is appended as it is.
///
/// # Errors
/// The frame and the reason, [`Unbroken`]; `out` is then as it was.
pub fn fragment(
    mut frame: PktBuf,
    layers: &Layers,
    mtu_bytes: usize,
    pool: &mut Pool,
    out: &mut Burst,
) -> Result<(), (PktBuf, Unbroken)> {
    let end = usize::try_from(layers.end).unwrap_or(usize::MAX);
    if frame.offload.gso == Gso::None && end - usize::from(layers.l3) <= mtu_bytes {
        out.push(frame);
        return Ok(());
    }
    let begun = out.len();
    match break_up(&mut frame, layers, mtu_bytes, pool, out) {
        Ok(()) => {
            pool.recycle(frame);
            Ok(())
        }
        Err(reason) => {
            out.drain(begun..).for_each(|piece| pool.recycle(piece));
            Err((frame, reason))
        }
    }
}

fn break_up(
    frame: &mut PktBuf,
    layers: &Layers,
    mtu_bytes: usize,
    pool: &mut Pool,
    out: &mut Burst,
) -> Result<(), Unbroken> {
    check(frame, layers, mtu_bytes)?;
    if !complete(frame) {
        return Err(Unbroken::BadPacket);
    }
    let plan = Plan::of(frame.data(), layers, mtu_bytes).ok_or(Unbroken::BadPacket)?;
    let mut at = 0;
    while at < plan.payload.len() {
        let header = if at == 0 { plan.header } else { &plan.later[..plan.later_bytes] };
        let room = (plan.mtu_bytes - header.len()) / UNIT_BYTES * UNIT_BYTES;
        let piece = &plan.payload[at..plan.payload.len().min(at + room)];
        let fragment = plan.make(header, at, piece, pool).ok_or(Unbroken::NoBuffer)?;
        out.push(fragment);
        at += piece.len();
    }
    Ok(())
}

/// Whether a packet may and can be fragmented.
fn check(frame: &PktBuf, layers: &Layers, mtu_bytes: usize) -> Result<(), Unbroken> {
    let field = be16(frame.data(), usize::from(layers.l3) + ipv4::FRAGMENT);
    let is_forbidden = |field| field & ipv4::DONT_FRAGMENT != 0;
    if layers.network == Network::V6 || field.is_none_or(is_forbidden) {
        return Err(Unbroken::Forbidden);
    }
    if frame.offload.gso != Gso::None {
        return Err(Unbroken::BadPacket);
    }
    if mtu_bytes < LEAST_MTU_BYTES { Err(Unbroken::BadMtu) } else { Ok(()) }
}

impl<'a> Plan<'a> {
    fn of(frame: &'a [u8], layers: &Layers, mtu_bytes: usize) -> Option<Self> {
        let (l3, l4) = (usize::from(layers.l3), usize::from(layers.l4));
        let header = frame.get(l3..l4)?;
        let payload = frame.get(l4..usize::try_from(layers.end).ok()?)?;
        let (later, later_bytes) = later_header(header)?;
        Some(Self { link: &frame[..l3], header, payload, later, later_bytes, mtu_bytes })
    }

    /// The fragment with this header and this piece of the payload. `None` when no buffer is free.
    fn make(&self, header: &[u8], at: usize, piece: &[u8], pool: &mut Pool) -> Option<PktBuf> {
        let l3 = self.link.len();
        let packet_bytes = header.len() + piece.len();
        let mut frame = pool.take_for(l3 + packet_bytes)?;
        frame.set_len(l3 + packet_bytes);
        frame.offload = Offload::NONE;
        let data = frame.data_mut();
        data[..l3].copy_from_slice(self.link);
        data[l3..l3 + header.len()].copy_from_slice(header);
        data[l3 + header.len()..].copy_from_slice(piece);
        let is_last = at + piece.len() == self.payload.len();
        let place = self.place(at, is_last)?;
        let header = &mut data[l3..l3 + header.len()];
        put_be16(header, ipv4::TOTAL_LENGTH, u16::try_from(packet_bytes).ok()?);
        put_be16(header, ipv4::FRAGMENT, place);
        put_be16(header, ipv4::CHECKSUM, 0);
        let checksum = finish(sum(header));
        put_be16(header, ipv4::CHECKSUM, checksum);
        Some(frame)
    }

    /// The fragment field: the last piece of a fragment that had others behind it has them too.
    fn place(&self, at: usize, is_last: bool) -> Option<u16> {
        const MORE: u16 = 0x2000;
        let whole = be16(self.header, ipv4::FRAGMENT)?;
        let offset = (whole & ipv4::OFFSET) + u16::try_from(at / UNIT_BYTES).ok()?;
        let more = if is_last { whole & MORE } else { MORE };
        Some(offset | more)
    }
}

/// The header of later fragments, and its length: the fixed part and the options with the copied flag,
/// padded to a multiple of four bytes. `None` when an option is cut off.
fn later_header(header: &[u8]) -> Option<([u8; MAX_HEADER_BYTES], usize)> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut later = [0; MAX_HEADER_BYTES];
    later[..ipv4::MIN_BYTES].copy_from_slice(header.get(..ipv4::MIN_BYTES)?);
    let mut bytes = ipv4::MIN_BYTES;
    let mut options = &header[ipv4::MIN_BYTES..];
    while let [kind, rest @ ..] = options {
        let length = match *kind {
            END => break,
            NO_OPERATION => 1,
            _ => usize::from(*rest.first()?),
        };
        let option = options.get(..length).filter(|option| !option.is_empty())?;
        if kind & COPIED != 0 {
            later[bytes..bytes + length].copy_from_slice(option);
            bytes += length;
        }
        options = &options[length..];
    }
    let bytes = bytes.next_multiple_of(4);
    let [_, _, _, words] = u32::try_from(bytes / 4).ok()?.to_be_bytes();
    later[0] = 0x40 | words;
    Some((later, bytes))
}

#[cfg(test)]
mod tests;
