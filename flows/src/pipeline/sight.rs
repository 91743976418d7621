//! [`Sight`]: what is in a frame that is looked into, and the flow that it belongs to.
//!
//! A frame is parsed once, when the burst is gone over for the first time. Then its flow's bucket, entry and session are
//! asked for, each for all frames of the burst, so that they are near when the frame is decided about.

use pktio::PktBuf;
use pktio::wire::{EthernetHeader, Layers};

use super::bridge::Ingress;
use super::transform::Flows;
use super::vlan;
use crate::cache::{FlowKey, KeyFields, Sought};
use crate::{DropReason, Vid};

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

impl Sight {
    /// A place for a sight.
    pub(super) const NONE: Self =
        Self { vid: Vid::NONE, is_routed: false, layers: Ok(None), flow: None };
}

impl Ingress<'_> {
    /// Looks into a frame. What is seen is written where it stays: to build it elsewhere and copy it costs more than
    /// to find it out, since a copy of what has just been written has to wait for that.
    #[inline]
    pub(super) fn look_into(
        self,
        frame: &mut PktBuf,
        vid: Vid,
        (flows, fields): (&Flows, KeyFields),
        sight: &mut Sight,
    ) {
        sight.flow = None;
        sight.vid = vid;
        let Some(header) = EthernetHeader::read(frame.data()) else {
            sight.layers = Err(DropReason::Runt);
            return;
        };
        sight.is_routed = self.bridge.router.is_some() && header.dst == self.bridge.gateway_mac;
        sight.layers = self.layers(frame, sight.is_routed);
        let Ok(Some(layers)) = sight.layers else { return };
        if sight.is_routed || self.port.is_inspected {
            let key = FlowKey::of(self.index, vid, &header, frame.data(), &layers, fields);
            sight.flow = key.map(|key| flows.prepare(key));
        }
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
