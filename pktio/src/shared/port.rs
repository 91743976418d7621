//! [`SharedPort`]: a port on an interface whose address is the host's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::buffer::{Burst, PktBuf, Pool};
use crate::offload::Accepts;
use crate::port::{Missed, Port, PortFault, Sent};
use crate::wire::ETHERNET_BYTES;
use crate::wire::field::{be16, ethertype, icmp, ipv6, protocol};

/// Questions that wait for the control thread; further ones are asked again by whoever needs them.
const QUESTIONS: usize = 256;
/// An ARP request (RFC 826): operation, and where it has the address that is asked for.
const ARP_OPERATION: usize = ETHERNET_BYTES + 6;
const ARP_REQUEST: u16 = 1;
const ARP_TARGET: usize = ETHERNET_BYTES + 24;
/// A neighbour solicitation (RFC 4861, section 4.3).
const SOLICITATION: u8 = 135;

/// The neighbours that the switch wants to know, and the host's kernel is to find. Asked by workers; taken by the control
/// thread, whom a doorbell wakes.
#[derive(Debug)]
pub struct Questions {
    asked: ArrayQueue<(u32, IpAddr)>,
    bell: Arc<OwnedFd>,
}

impl Questions {
    /// No question yet. An eventfd is rung for each.
    pub fn new(bell: Arc<OwnedFd>) -> Self {
        Self { asked: ArrayQueue::new(QUESTIONS), bell }
    }

    fn ask(&self, interface: u32, ip: IpAddr) {
        // When it is full it has rung already; and a bell that cannot be rung is one that rings.
        if self.asked.push((interface, ip)).is_ok() {
            let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Takes the next question: the interface, and whose MAC address is wanted there.
    pub fn take(&self) -> Option<(u32, IpAddr)> {
        self.asked.pop()
    }
}

/// A port that shares its interface's addresses with the host. ARP and Neighbor Discovery are the host's: what the switch
/// would send of them does not leave, and its questions become [`Questions`].
pub struct SharedPort<P> {
    port: P,
    interface: u32,
    questions: Arc<Questions>,
}

impl<P: Port> SharedPort<P> {
    /// Lets the host resolve the neighbours of a port on an interface.
    pub fn new(port: P, interface: u32, questions: Arc<Questions>) -> Self {
        Self { port, interface, questions }
    }
}

impl<P: Port> Port for SharedPort<P> {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        self.port.rx_burst(pool, out)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let mut taken = 0;
        while let Some(at) = frames.iter().position(is_hosts) {
            for frame in frames.drain(at..=at) {
                if let Some(ip) = question(frame.data()) {
                    self.questions.ask(self.interface, ip);
                }
                pool.recycle(frame);
                taken += 1;
            }
        }
        if frames.is_empty() {
            return Ok(Sent { frames: taken, ..Sent::default() });
        }
        let sent = self.port.tx_burst(pool, frames)?;
        Ok(Sent { frames: sent.frames + taken, ..sent })
    }

    fn accepts(&self) -> Accepts {
        self.port.accepts()
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.port.wake_fd()
    }

    fn housekeep(&mut self, pool: &mut Pool) -> Result<(), PortFault> {
        self.port.housekeep(pool)
    }

    fn take_missed(&mut self) -> Missed {
        self.port.take_missed()
    }
}

/// Whether a frame says what only the host says by its interface.
#[inline]
fn is_hosts(frame: &PktBuf) -> bool {
    let data = frame.data();
    match be16(data, 12) {
        Some(ethertype::ARP) => true,
        Some(ethertype::IPV6) => discovery(data).is_some(),
        _ => false,
    }
}

/// The type of a message of Neighbor Discovery.
fn discovery(data: &[u8]) -> Option<u8> {
    let next = *data.get(ETHERNET_BYTES + ipv6::NEXT_HEADER)?;
    let kind = *data.get(ETHERNET_BYTES + ipv6::BYTES)?;
    (next == protocol::ICMPV6 && icmp::V6_DISCOVERY.contains(&kind)).then_some(kind)
}

/// Whose MAC address a frame asks for.
fn question(data: &[u8]) -> Option<IpAddr> {
    if be16(data, 12)? == ethertype::ARP {
        let is_request = be16(data, ARP_OPERATION)? == ARP_REQUEST;
        let target = data.get(ARP_TARGET..)?.first_chunk::<4>()?;
        return is_request.then_some(Ipv4Addr::from(*target).into());
    }
    let target = data.get(ETHERNET_BYTES + ipv6::BYTES + icmp::BYTES..)?.first_chunk::<16>()?;
    (discovery(data)? == SOLICITATION).then_some(Ipv6Addr::from(*target).into())
}
