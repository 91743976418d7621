//! [`Sight`]: what is in a frame that is looked into, and the flow that it belongs to.
//!
//! A frame is parsed once, when the burst is gone over for the first time. Then its flow's bucket, entry and session are
//! asked for, each for all frames of the burst, so that they are near when the frame is decided about.

use pktio::PktBuf;
use pktio::wire::{EthernetHeader, Layers};

use super::bridge::Ingress;
use super::transform::Transform;
use super::vlan;
use crate::cache::{FlowCache, FlowKey, KeyFields, Sought};
use crate::{DropReason, Seconds, Vid};

/// What frames are looked at with.
#[derive(Clone, Copy)]
pub(super) struct Glass<'a> {
    pub(super) now: Seconds,
    pub(super) fields: KeyFields,
    pub(super) flows: &'a FlowCache<Transform>,
}

/// A frame that was looked into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) vid: Vid,
    /// It is addressed to the gateway's station.
    pub(super) is_routed: bool,
    /// Where its headers are, if it is IP; or why it goes no further.
    pub(super) layers: Result<Option<Layers>, DropReason>,
    /// The flow, if what is decided about it may be known.
    pub(super) flow: Option<Sought>,
}

impl Ingress<'_> {
    /// Looks into a frame.
    #[inline]
    pub(super) fn look_into(
        self,
        frame: &mut PktBuf,
        header: &EthernetHeader,
        vid: Vid,
        glass: &Glass,
    ) -> Sight {
        let is_routed = self.bridge.router.is_some() && header.dst == self.bridge.gateway_mac;
        let layers = self.layers(frame, is_routed);
        let is_decided_about = is_routed || self.port.is_inspected;
        let known = layers.ok().flatten().filter(|_| is_decided_about);
        let key = known.and_then(|layers| {
            FlowKey::of(self.index, vid, header, frame.data(), &layers, glass.fields)
        });
        Sight { vid, is_routed, layers, flow: key.map(|key| glass.flows.prepare(key)) }
    }

    #[inline]
    fn layers(self, frame: &mut PktBuf, is_routed: bool) -> Result<Option<Layers>, DropReason> {
        // What the router sends on has no tag until it leaves by a port that wants one.
        if is_routed && !vlan::untag(frame) {
            return Err(DropReason::NoBuffer);
        }
        let layers = Layers::parse(frame.data()).map_err(|_| DropReason::MalformedPacket)?;
        match &self.port.guard {
            Some(guard) if !guard.admits(frame.data(), layers.as_ref()) => {
                Err(DropReason::SpoofGuard)
            }
            _ => Ok(layers),
        }
    }
}
