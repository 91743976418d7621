//! [`Nat`]: anything that translates addresses, seen from outside.
//!
//! Inside are stations 10.0.0.2 and 10.0.0.3, whose gateway is 10.0.0.1. Outside the NAT is 203.0.113.1;
//! everybody else there, as 198.51.100.7, is behind a router.

use std::net::IpAddr;
use std::time::Duration;

use crate::packets::{Packet, describe, fragments};
use crate::requirement::Finding;

/// What is asked of a NAT beyond masquerading the stations inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Nothing.
    Plain,
    /// Filtering is endpoint-independent.
    Transparent,
    /// It has the addresses 203.0.113.100 to 203.0.113.103 outside.
    Pool,
    /// It has the addresses 203.0.113.100, .102, and .104.
    GappedPool,
    /// It has those of the pool, and of each only the port 5000.
    SmallPool,
    /// It may use all ports, the privileged ones too.
    AllPorts,
    /// It may use only the external port 5000.
    OnePort,
    /// Each station may have two external ports, and three sessions.
    Quota,
    /// The MTU outside is 1300 bytes.
    SmallMtu,
    /// To 198.51.100.128/25 nothing is translated.
    Except,
    /// It may use ten external ports, from 5000.
    TenPorts,
    /// Sessions of UDP live for ten minutes, and ICMP queries for two.
    Patient,
    /// TCP connections have half a minute to open.
    QuickOpening,
    /// Each station may begin ten sessions a second.
    SlowBeginning,
    /// It sends as many ICMP errors as it does by itself.
    LimitedErrors,
}

/// A frame that a NAT let out.
pub struct Seen {
    pub is_inside: bool,
    pub frame: Vec<u8>,
}

impl Seen {
    fn line(&self) -> String {
        format!("{}: {}", if self.is_inside { "in" } else { "out" }, describe(&self.frame))
    }
}

/// A NAT that is tested.
pub trait Nat {
    /// Begins anew, without any session; an error if it cannot be told to do this.
    fn set_up(&mut self, setup: Setup) -> Finding;
    /// The frame in which a packet comes to it.
    fn frame(&self, packet: &Packet) -> Vec<u8>;
    /// Lets a frame come from where its source is; returns what it leads to.
    fn put(&mut self, source: IpAddr, frame: &[u8]) -> Vec<Seen>;
    /// Lets time pass.
    fn pass(&mut self, time: Duration) -> Vec<Seen>;
}

/// What is seen, in lines: what is let out as `out: udp 203.0.113.1:5000 > 198.51.100.7:53`, and what is let
/// in, or said to the inside, as `in: …`.
impl dyn Nat + '_ {
    /// Lets the station with the packet's source address send it.
    pub fn send(&mut self, packet: &Packet) -> Vec<String> {
        lines(&self.carry(packet))
    }

    /// The same, and all of what is seen.
    pub fn carry(&mut self, packet: &Packet) -> Vec<Seen> {
        let frame = self.frame(packet);
        self.put(packet.from.ip(), &frame)
    }

    /// Lets the station with the packet's source address send it in fragments, in this order.
    pub fn send_fragments(
        &mut self,
        packet: &Packet,
        bytes: usize,
        order: &[usize],
    ) -> Vec<String> {
        let pieces = fragments(&self.frame(packet), bytes);
        let seen = order.iter().flat_map(|at| self.put(packet.from.ip(), &pieces[*at]));
        lines(&seen.collect::<Vec<_>>())
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) -> Vec<String> {
        lines(&self.pass(time))
    }
}

fn lines(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(Seen::line).collect()
}
