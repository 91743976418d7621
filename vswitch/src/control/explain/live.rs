//! `trace --live`: the ways of real packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ctl::response::FollowInfo;
use ctl::{CtlError, ErrorCode, FiveTuple, Limit, Packet, Sketch, Trace};
use flows::rules::{AddressSet, RangeSet, RuleMatch};
use flows::{Followed, Follower, PortIndex, Selection, Vid};
use serde_json::Value;

use crate::control::feed::Next;
use crate::control::json;
use crate::control::switch::{Switch, stuck};
use crate::worker::{Following, Observer, ObserverId, Outbound};

/// How long the next packet may take to come if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// Real packets that are followed.
#[derive(Debug)]
pub struct Live {
    id: ObserverId,
    /// Of each worker.
    told: Vec<Arc<Outbound<Followed>>>,
    left: u32,
    followed: u64,
    patience: Duration,
    /// When the last one came.
    since: Instant,
}

impl Switch {
    /// Begins to follow packets.
    ///
    /// # Errors
    /// [`CtlError`], when there is no such port, or others are followed already.
    pub(crate) fn follow_live(&mut self, trace: &Trace, count: Limit) -> Result<Live, CtlError> {
        let Packet::Like(sketch) = &trace.packet else {
            let message = "real packets are followed that are like one; sketch it with --like";
            return Err(CtlError::invalid(message.to_owned()));
        };
        self.check_feeds()?;
        if self.fleet_ref().is_followed() {
            let message =
                "real packets are followed already, by another `trace --live`; end that first";
            return Err(CtlError::new(ErrorCode::Unavailable, message.to_owned()));
        }
        let selection = like(self.index_of(self.port_meant(&trace.port))?, sketch);
        let tables = Arc::clone(self.fleet_ref().tables());
        self.withdraw_shortcuts()?;
        let mut told = Vec::new();
        let id = self.fleet().observe(|id| {
            let follower = Follower::new(selection.clone(), count.number(), Arc::clone(&tables));
            let following = Following::new(id, follower);
            told.push(following.told());
            Observer::Following(following)
        });
        let id = id.map_err(stuck)?;
        let seconds = |limit: Limit| Duration::from_secs(limit.number().into());
        let patience = trace.patience.map_or(PATIENCE, seconds);
        Ok(Live { id, told, left: count.number(), followed: 0, patience, since: Instant::now() })
    }
}

impl Live {
    /// When it ends if nothing comes.
    pub(crate) fn deadline(&self) -> Instant {
        self.since + self.patience
    }

    /// The next packet.
    pub(crate) fn next(&mut self, switch: &Switch) -> Next {
        let next = self.told.iter().find_map(|told| told.pop()).filter(|_| self.left > 0);
        let Some(Followed { frame, trace }) = next else {
            let is_over = self.left == 0 || Instant::now() >= self.deadline();
            return if is_over { Next::Enough } else { Next::Nothing };
        };
        self.left -= 1;
        self.followed += 1;
        self.since = Instant::now();
        serde_json::to_value(switch.tell(&frame, &trace)).map_or(Next::Nothing, Next::Piece)
    }

    /// Ends it.
    pub(crate) fn end(mut self, switch: &mut Switch) -> (Vec<Value>, Result<Value, CtlError>) {
        let observers = switch.fleet().unobserve(self.id);
        let mut pieces = Vec::new();
        while let Next::Piece(piece) = self.next(switch) {
            pieces.push(piece);
        }
        let info = observers.map_err(stuck).and_then(|observers| {
            let missed = observers.iter().map(|observer| match observer {
                Observer::Following(following) => following.missed(),
                Observer::Recorder(_) => 0,
            });
            json(FollowInfo { followed: self.followed, missed: missed.sum() })
        });
        (pieces, info)
    }
}

/// Real packets like a sketched one: between the same ends, of which an unspecified address and port 0 are any.
fn like(port: PortIndex, sketch: &Sketch) -> Selection {
    let Sketch { tuple: FiveTuple { protocol, source, destination }, vlan, .. } = sketch;
    let address = |end: &SocketAddr| {
        let bits = if end.is_ipv4() { 32 } else { 128 };
        let whole = AddressSet::from_iter([(end.ip(), bits)]);
        let any = AddressSet::from_iter([(end.ip(), 0)]);
        Some(if end.ip().is_unspecified() { any } else { whole })
    };
    let number = |end: &SocketAddr| {
        let is_given = protocol.has_ports() && end.port() != 0;
        is_given.then(|| RangeSet::from_iter([(end.port(), end.port())]))
    };
    let matches = RuleMatch {
        source: address(source),
        destination: address(destination),
        protocol: Some(protocol.number(source.is_ipv4())),
        source_ports: number(source),
        destination_ports: number(destination),
        vid: vlan.map(|vlan| Vid(vlan.number())),
        ..RuleMatch::default()
    };
    Selection { ports: Some(vec![port]), matches: Some(matches) }
}
