//! VLANs at the edges of a bridge: which VLAN a frame belongs to when it comes in, and what form it has
//! when it goes out (IEEE 802.1Q, clauses 6.9 and 8.6).
//!
//! Inside the bridge a frame keeps the form in which it came; the VLAN is known beside it. Only on the
//! way out is a tag pushed, rewritten or popped, in place.
//!
//! A service tag (802.1ad) is no customer tag: to a VLAN-aware port such a frame is untagged.

use pktio::PktBuf;
use pktio::wire::field::{be16, ethertype, put_be16};
use pktio::wire::{ETHERNET_BYTES, EthernetHeader, VLAN_BYTES, VlanTag};

use crate::{DropReason, Vid, VlanPolicy};

/// Both addresses: what stands in front of a tag.
const ADDRESSES_BYTES: usize = 12;
/// [`VLAN_BYTES`], as frames grow and shrink.
const TAG: u16 = 4;

/// The VLAN of a frame that came in by a port with this policy.
#[inline]
pub(crate) fn classify(
    policy: &VlanPolicy,
    header: &EthernetHeader,
    frame: &[u8],
) -> Result<Vid, DropReason> {
    if matches!(policy, VlanPolicy::Unaware) {
        return Ok(Vid::NONE);
    }
    // A priority tag (VLAN 0) says nothing about the VLAN.
    let tagged = match header.vlan(frame) {
        Some(None) => return Err(DropReason::MalformedVlan),
        Some(Some(tag)) => Some(Vid(tag.vid())).filter(|vid| vid.0 != 0),
        None => None,
    };
    match tagged {
        Some(vid) if policy.carries(vid) => Ok(vid),
        Some(_) => Err(DropReason::VlanNotAllowed),
        None => policy.untagged().ok_or(DropReason::UntaggedNotAllowed),
    }
}

/// Gives a frame of a VLAN the form in which it leaves by a port with this policy. False when there is
/// no room for a tag.
#[inline(always)]
#[must_use]
pub(super) fn dress(frame: &mut PktBuf, policy: &VlanPolicy, vid: Vid) -> bool {
    match leaves_with(policy, vid) {
        None => true,
        Some(Vid::NONE) => untag(frame),
        Some(vid) => tag(frame, vid),
    }
}

/// The VLAN that the tag of a frame of `vid` names when it leaves by a port with this policy, [`Vid::NONE`] without a
/// tag; `None` where it leaves as it came.
#[inline]
pub(crate) fn leaves_with(policy: &VlanPolicy, vid: Vid) -> Option<Vid> {
    match policy {
        VlanPolicy::Unaware => None,
        VlanPolicy::Access(_) => Some(Vid::NONE),
        VlanPolicy::Trunk { native, .. } if *native == Some(vid) => Some(Vid::NONE),
        VlanPolicy::Trunk { .. } => Some(vid),
    }
}

/// Bytes of VLAN tags that a frame begins with.
pub(crate) fn tag_bytes(frame: &[u8]) -> usize {
    let is_tag = |at| matches!(be16(frame, at), Some(ethertype::VLAN | ethertype::SERVICE_VLAN));
    let mut at = ADDRESSES_BYTES;
    while is_tag(at) && at < ADDRESSES_BYTES + 2 * VLAN_BYTES {
        at += VLAN_BYTES;
    }
    at - ADDRESSES_BYTES
}

fn own_tag(frame: &PktBuf) -> Option<VlanTag> {
    let data = frame.data();
    EthernetHeader::read(data)?.vlan(data)?
}

/// Takes the outermost customer tag off, if there is one.
pub(super) fn untag(frame: &mut PktBuf) -> bool {
    if own_tag(frame).is_none() {
        return true;
    }
    frame.data_mut().copy_within(..ADDRESSES_BYTES, VLAN_BYTES);
    frame.shrink_front(TAG)
}

/// Makes the outermost customer tag name `vid`: the one that is there keeps its priority.
fn tag(frame: &mut PktBuf, vid: Vid) -> bool {
    if let Some(tag) = own_tag(frame) {
        put_be16(frame.data_mut(), ETHERNET_BYTES, tag.with_vid(vid.0).0);
        return true;
    }
    if !frame.grow_front(TAG) {
        return false;
    }
    let data = frame.data_mut();
    data.copy_within(VLAN_BYTES..VLAN_BYTES + ADDRESSES_BYTES, 0);
    put_be16(data, ADDRESSES_BYTES, ethertype::VLAN);
    put_be16(data, ETHERNET_BYTES, vid.0);
    true
}
