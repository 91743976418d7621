//! [`Sight`]: what is in a frame that is looked into, and the flow that it belongs to.
//!
//! A frame is parsed once, when the burst is gone over for the first time. Then its flow's bucket, entry and session are
//! asked for, each for all frames of the burst, so that they are near when the frame is decided about.

use pktio::PktBuf;
use pktio::wire::Layers;

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
    #[inline(always)]
    pub(super) fn look_into(
        &self,
        frame: &mut PktBuf,
        (vid, is_gateways): (Vid, bool),
        flows: &Flows,
        fields: KeyFields,
        sight: &mut Sight,
    ) {
        sight.vid = vid;
        sight.flow = None;
        sight.is_routed = is_gateways && self.router(vid).is_some();
        match Layers::plain(frame.data()) {
            Some(layers) if self.port.guard.is_none() => {
                sight.layers = Ok(Some(layers));
                self.recognise(frame, &layers, flows, fields, sight);
            }
            _ => self.look_closely(frame, flows, fields, sight),
        }
    }

    /// Looks into a frame that needs more than a glance.
    #[inline(never)]
    fn look_closely(
        &self,
        frame: &mut PktBuf,
        flows: &Flows,
        fields: KeyFields,
        sight: &mut Sight,
    ) {
        sight.layers = self.layers(frame, sight.is_routed);
        if let Ok(Some(layers)) = sight.layers {
            self.recognise(frame, &layers, flows, fields, sight);
        }
    }

    fn layers(&self, frame: &mut PktBuf, is_routed: bool) -> Result<Option<Layers>, DropReason> {
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

    /// Finds out which flow an IP packet belongs to, and asks for what is known of that.
    #[inline(always)]
    fn recognise(
        &self,
        frame: &PktBuf,
        layers: &Layers,
        flows: &Flows,
        fields: KeyFields,
        sight: &mut Sight,
    ) {
        if sight.is_routed || self.port.is_inspected {
            let key = FlowKey::of(self.index, sight.vid, frame.data(), layers, fields);
            sight.flow = key.map(|key| flows.prepare(key));
        }
    }
}
