//! Questions by which the switch explains itself.

use ctl::{Packet, Query, Trace, Why};

use super::NoRequest;
use crate::cli::args::{TraceOptions, WhyOptions};

pub(super) fn trace(options: &TraceOptions) -> Result<Query, NoRequest> {
    let packet = match (&options.frame, options.like) {
        (Some(frame), _) => Packet::Bytes(frame.clone()),
        (None, Some(sketch)) => Packet::Like(sketch),
        (None, None) => return Err(NoRequest::NoPacket),
    };
    Ok(Query::Trace(Trace { port: options.port.clone(), packet, live: options.live }))
}

pub(super) fn why(options: &WhyOptions) -> Query {
    Query::Why(Why {
        from: options.from.clone(),
        to: options.to.clone(),
        protocol: options.protocol,
        port: options.port,
    })
}
