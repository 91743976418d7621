//! Questions by which the switch explains itself.

use ctl::{Capture, Packet, Query, Trace, Why};

use super::NoRequest;
use crate::cli::args::{CaptureOptions, TraceOptions, WhyOptions};

pub(super) fn trace(options: &TraceOptions) -> Result<Query, NoRequest> {
    let packet = match (&options.frame, options.like) {
        (Some(frame), _) => Packet::Bytes(frame.clone()),
        (None, Some(sketch)) => Packet::Like(sketch),
        (None, None) => return Err(NoRequest::NoPacket),
    };
    let TraceOptions { port, live, patience, .. } = options;
    Ok(Query::Trace(Trace { port: port.clone(), packet, live: *live, patience: *patience }))
}

pub(super) fn capture(options: &CaptureOptions) -> Query {
    Query::Capture(Capture {
        ports: options.ports.clone(),
        filter: options.filter.clone(),
        drops: options.drops,
        count: options.count,
        snaplen: options.snaplen,
    })
}

pub(super) fn why(options: &WhyOptions) -> Query {
    Query::Why(Why {
        from: options.from.clone(),
        to: options.to.clone(),
        protocol: options.protocol,
        port: options.port,
    })
}
