//! The switch explains itself: `trace` and `why`.
//!
//! Both rehearse packets: on the control thread, by the workers' own code and on their tables, without
//! consequences ([`Tracer`]). `party`: who is meant, and how he would send; `packet`: what he would send; `words`:
//! what was found, for people; `why`: there and back, in one sentence; `advice`: why not, and what to do, `denied` where a rule
//! says so; `lost`: and what was really lost of that; `live`: real packets instead, and what becomes of them.

mod advice;
mod denied;
mod live;
mod lost;
mod packet;
mod party;
mod why;
mod words;

use std::net::IpAddr;
use std::sync::Arc;

use ctl::response::TraceInfo;
use ctl::{CtlError, ErrorCode, Packet, PortKind, PortName, Sketch, Trace};
use flows::{PortIndex, Tracer};
use pktio::wire::MacAddr;

use super::switch::Switch;
pub use live::Live;
use packet::{Turn, frame, summary};
use party::{Host, NextStation};

/// How else to ask.
const OTHERWISE: &str =
    "follow real packets by `--live`, or give the whole frame in hexadecimal digits";

/// Who sends when nothing is known of who would.
const SOMEBODY: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

impl Switch {
    /// The way of one packet.
    ///
    /// # Errors
    /// [`CtlError`], when there is no such port, or it is not known to whom its container would send.
    pub fn trace(&self, trace: &Trace) -> Result<Vec<TraceInfo>, CtlError> {
        let name = self.port_meant(&trace.port);
        let port = self.index_of(name)?;
        let bytes = match &trace.packet {
            Packet::Bytes(frame) => frame.bytes().to_vec(),
            Packet::Like(sketch) => self.made_like(name, port, sketch)?,
        };
        Ok(vec![self.follow(&mut self.tracer()?, port, &bytes)?.0])
    }

    /// What somebody behind a port sends when it sends a packet like this.
    fn made_like(
        &self,
        name: &PortName,
        port: PortIndex,
        sketch: &Sketch,
    ) -> Result<Vec<u8>, CtlError> {
        let (from, to) = (sketch.tuple.source.ip(), sketch.tuple.destination.ip());
        let unknown = || CtlError::not_found(format!("port {name} does not exist"));
        // Its own way of sending, also from an address that is not its own.
        let own =
            self.hosts_behind(name).into_iter().find(|host| host.ip.is_ipv4() == from.is_ipv4());
        let host = own.or_else(|| self.host_at(port, SOMEBODY, from)).ok_or_else(unknown)?;
        match self.next_station(&host, to) {
            NextStation::Known(_, mac) => {
                let source = host.mac.unwrap_or(SOMEBODY);
                Ok(frame(sketch, Turn::Question, (source, mac)))
            }
            NextStation::Unknown(ip) => Err(CtlError::not_found(format!(
                "nobody on bridge {} is known to have {ip}, so it is not known what the packet would \
                 look like; {OTHERWISE}",
                host.bridge
            ))),
            NextStation::None => Err(CtlError::invalid(format!(
                "it cannot be said how such a packet would come by port {name}: {}; {OTHERWISE}",
                self.no_gateway(&host, to)
            ))),
        }
    }

    /// Why a container has no way for a packet, and what gives it one.
    fn no_gateway(&self, host: &Host, to: IpAddr) -> String {
        if self.config().is_internal(&host.bridge) {
            let name = &host.bridge;
            return format!(
                "network `{name}` is internal, and its containers have no gateway for {to}; connect the container to another \
                 network too"
            );
        }
        if self.config().network_of(&host.port).is_some() {
            return format!(
                "it has no gateway for {to}, since it was connected where it had another way out, or none was wanted; disconnect it from \
                 network `{}` and connect it anew",
                host.bridge
            );
        }
        if self.is_of_others(&host.port) {
            return format!(
                "its addresses are not known, as the switch did not make its interface, and bridge `{}` has no gateway that it would speak to",
                host.bridge
            );
        }
        format!("it has no gateway for {to}; attach it with --gateway")
    }

    /// Whether the switch has not made a port's interface.
    fn is_of_others(&self, name: &PortName) -> bool {
        let port = self.config().ports.get(name);
        port.is_some_and(|port| matches!(port.kind, PortKind::Netdev { .. }))
    }

    /// Follows a frame, and tells its way.
    fn follow(
        &self,
        tracer: &mut Tracer,
        port: PortIndex,
        bytes: &[u8],
    ) -> Result<(TraceInfo, flows::Trace), CtlError> {
        let now = self.fleet_ref().clock().now();
        let too_long = || CtlError::invalid(format!("{} bytes are no frame", bytes.len()));
        let trace = tracer.trace(now, port, bytes).ok_or_else(too_long)?;
        Ok((self.tell(bytes, &trace), trace))
    }

    fn tracer(&self) -> Result<Tracer, CtlError> {
        let snapshot = Arc::clone(self.snapshot());
        let tables = Arc::clone(self.fleet_ref().tables());
        Tracer::new(snapshot, tables, self.presumed())
            .map_err(|error| CtlError::new(ErrorCode::Host, error.to_string()))
    }

    /// The number of an open port.
    fn index_of(&self, name: &PortName) -> Result<PortIndex, CtlError> {
        let open = self.numbering().ports.get(name).map(|(index, _)| *index);
        open.ok_or_else(|| self.no_open_port(name))
    }

    /// That nothing comes by a port.
    pub(super) fn no_open_port(&self, name: &PortName) -> CtlError {
        match self.why_waiting(name) {
            Some(why) => CtlError::new(
                ErrorCode::Unavailable,
                format!("port {name} waits for its device ({why}); nothing can come by it"),
            ),
            None => CtlError::not_found(format!(
                "port {name} does not exist; `port list` shows those that do"
            )),
        }
    }

    /// The way of a packet that a host sends, from the host on.
    fn send(
        &self,
        tracer: &mut Tracer,
        host: &Host,
        (sketch, turn): (&Sketch, Turn),
    ) -> Result<why::Leg, CtlError> {
        let (text, to) = (summary(sketch, turn), sketch.tuple.destination.ip());
        match self.next_station(host, to) {
            NextStation::Known(via, mac) => {
                let bytes = frame(sketch, turn, (host.mac.unwrap_or(SOMEBODY), mac));
                let (info, trace) = self.follow(tracer, self.index_of(&host.port)?, &bytes)?;
                Ok(why::Leg::sent(info, trace, (via, mac)))
            }
            NextStation::Unknown(ip) => Ok(why::Leg::asking(text, ip, self.asked_for(host, ip))),
            NextStation::None => Ok(why::Leg::unsent(text, self.no_gateway(host, to))),
        }
    }
}
