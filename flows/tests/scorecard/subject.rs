//! [`Nat`]: anything that translates addresses, seen from outside.
//!
//! Inside are stations 10.0.0.2 and 10.0.0.3, whose gateway is 10.0.0.1. Outside the NAT is 203.0.113.1;
//! everybody else there, as 198.51.100.7, is behind a router.

use std::time::Duration;

use crate::packets::Packet;

/// What is asked of a NAT beyond masquerading the stations inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Nothing.
    Plain,
    /// Filtering is endpoint-independent.
    Transparent,
    /// It has the addresses 203.0.113.100 to 203.0.113.103 outside.
    Pool,
    /// It may use all ports, the privileged ones too.
    AllPorts,
    /// It may use only the external port 5000.
    OnePort,
    /// Each station may have two external ports, and three sessions.
    Quota,
    /// The MTU outside is 1300 bytes.
    SmallMtu,
}

/// A NAT that is tested. What it lets out is told in lines as `out: udp 203.0.113.1:5000 >
/// 198.51.100.7:53`, and what it lets in, or says itself to the inside, as `in: …`.
pub trait Nat {
    /// Begins anew, without any session.
    fn set_up(&mut self, setup: Setup);
    /// Lets the station with the packet's source address send it.
    fn send(&mut self, packet: &Packet) -> Vec<String>;
    /// Lets the station with the packet's source address send it in fragments, in this order.
    fn send_fragments(&mut self, packet: &Packet, bytes: usize, order: &[usize]) -> Vec<String>;
    /// Lets time pass.
    fn wait(&mut self, time: Duration) -> Vec<String>;
}
