//! Finishing checksums that were left half done, and recognising them where nothing marks them.

use super::Csum;
use crate::PktBuf;
use crate::wire::checksum::{finish, fold, pseudo_header, sum, udp_finish};
use crate::wire::field::{be16, protocol, put_be16};
use crate::wire::{Fragment, Layers};

/// Position of the UDP checksum field within its header, which marks a [`Csum::Partial`] as UDP's: TCP
/// and ICMPv6 have theirs elsewhere.
const UDP_OFFSET: u16 = 6;

/// Finishes a [`Csum::Partial`] checksum; the frame then says [`Csum::Valid`]. Frames in any other state
/// stay as they are. False, and unchanged, when the position lies outside the frame.
#[must_use]
pub fn complete(frame: &mut PktBuf) -> bool {
    let Csum::Partial { start, offset } = frame.offload.csum else { return true };
    let at = usize::from(start) + usize::from(offset);
    let data = frame.data_mut();
    if at + 2 > data.len() {
        return false;
    }
    let total = sum(&data[usize::from(start)..]);
    let checksum = if offset == UDP_OFFSET { udp_finish(total) } else { finish(total) };
    put_be16(data, at, checksum);
    frame.offload.csum = Csum::Valid;
    true
}

/// What the checksum field of a frame that came without metadata (AF_XDP) says of itself.
///
/// A container's kernel leaves only the pseudo-header sum in the field and marks it in the skb, which
/// AF_XDP does not show. A field that equals that sum is taken as [`Csum::Partial`]. A full checksum that
/// happens to have this value is harmless: the rest then sums up to zero, and completing it yields the
/// same value. Fragments, UDP without a checksum and other protocols are never taken so.
pub fn classify(frame: &[u8]) -> Csum {
    partial(frame).unwrap_or(Csum::None)
}

fn partial(frame: &[u8]) -> Option<Csum> {
    let layers = Layers::parse(frame).ok()??;
    if layers.fragment != Fragment::Whole {
        return None;
    }
    let offset = layers.checksum_offset()?;
    let (start, end) = (usize::from(layers.l4), usize::try_from(layers.end).ok()?);
    let field = be16(frame, start + usize::from(offset))?;
    if layers.protocol == protocol::UDP && field == 0 {
        return None;
    }
    let pseudo = fold(pseudo_header(frame, &layers, end - start)?);
    (field == pseudo).then_some(Csum::Partial { start: layers.l4, offset })
}

/// Whether the full checksum of a frame's transport part is right. `None` when it has none to check.
pub fn verify(frame: &[u8], layers: &Layers) -> Option<bool> {
    let offset = layers.checksum_offset()?;
    let (start, end) = (usize::from(layers.l4), usize::try_from(layers.end).ok()?);
    be16(frame, start + usize::from(offset))?;
    let pseudo = pseudo_header(frame, layers, end - start)?;
    Some(fold(pseudo + sum(frame.get(start..end)?)) == 0xffff)
}
