//! Questions by which the switch explains itself, as typed.

use clap::{ArgGroup, Args};
use ctl::{Frame, Limit, Party, PortName, Protocol, Sketch};

/// A packet to follow.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("packet").required(true).args(["frame", "like"]))]
pub struct TraceOptions {
    /// The port that it comes by
    pub port: PortName,
    /// The frame, in hexadecimal digits
    pub frame: Option<Frame>,
    /// A packet like this: PROTOCOL SOURCE:PORT > DESTINATION:PORT, then flags=syn+ack, len=1400, ttl=64, tos=0,
    /// vlan=10, df
    #[arg(long, value_name = "TEXT")]
    pub like: Option<Sketch>,
    /// Follow so many real packets like it: between these ends, of which 0.0.0.0, :: and port 0 are any. Ends when
    /// none comes for a minute
    #[arg(
        long,
        value_name = "COUNT",
        conflicts_with = "frame",
        num_args = 0..=1,
        default_missing_value = "1"
    )]
    pub live: Option<Limit>,
    /// How long to wait for each of these
    #[arg(long, value_name = "SECONDS", requires = "live")]
    pub patience: Option<Limit>,
}

/// Two ends of a conversation.
#[derive(Debug, Args)]
pub struct WhyOptions {
    /// Who begins: a port or a container, by name or alias, or an address
    pub from: Party,
    /// To whom: a port or a container, by name or alias, or an address
    pub to: Party,
    /// By which protocol
    #[arg(default_value = "icmp")]
    pub protocol: Protocol,
    /// To which port
    pub port: Option<u16>,
}
