//! Receiving: from batches of datagrams to frames.

use std::io;
use std::os::fd::AsFd;

use super::{MESSAGES, Outer, TUNNEL, TUNNEL_BYTES, Underlay};
use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, PktBuf, Pool};
use crate::offload::{Csum, Gso, checksum, coalesce_in_place};
use crate::port::PortFault;
use crate::wire::field::protocol;
use crate::wire::{ETHERNET_BYTES, Layers, Network, VLAN_BYTES};

/// Messages per system call when batches are about: as many as [`BURST_BYTES`] holds.
pub(super) const FEW: usize = 4;

/// A message that was received: one datagram, or a batch of equal ones of which the last may be shorter.
pub(super) struct Arrival {
    data: PktBuf,
    outer: Outer,
    /// Length of each datagram but the last.
    unit: usize,
    /// Bytes that were delivered.
    done: usize,
}

impl Underlay {
    /// Receives frames, tunnel header in front, into `frames`, and what their outer headers said into
    /// `outers`, one for each. Returns how many; at most about a burst. Zero means that nothing waits.
    ///
    /// # Errors
    /// [`PortFault`] when the socket can no longer be used.
    pub fn rx_burst(
        &mut self,
        pool: &mut Pool,
        frames: &mut Burst,
        outers: &mut Vec<Outer>,
    ) -> Result<usize, PortFault> {
        if self.waiting.is_empty() {
            self.receive(pool)?;
        }
        let (begun, mut bytes) = (frames.len(), 0);
        while frames.len() - begun < BURST_FRAMES && bytes < BURST_BYTES {
            let Some(arrival) = self.waiting.pop_front() else { break };
            let outer = arrival.outer;
            let Some(frame) = self.next_frame(arrival, pool) else { continue };
            bytes += frame.len();
            frames.push(frame);
            outers.push(outer);
        }
        Ok(frames.len() - begun)
    }

    /// Gets messages from the kernel.
    fn receive(&mut self, pool: &mut Pool) -> Result<(), PortFault> {
        let ready = self.spares.ready(self.batch, pool);
        if ready.is_empty() {
            return Ok(());
        }
        let got = match self.inbound.receive(self.fd.as_fd(), ready) {
            Ok(got) => got,
            Err(error) => {
                self.spares.keep(pool);
                return quiet_or_fault(error);
            }
        };
        let mut bytes = 0;
        for (at, data) in self.spares.filled(got).enumerate() {
            let message = self.inbound.received(at);
            bytes += message.bytes;
            match accept(data, message) {
                Ok(arrival) => self.waiting.push_back(arrival),
                Err(data) => pool.recycle(data),
            }
        }
        self.spares.keep(pool);
        self.batch = (BURST_BYTES / (bytes / got.max(1)).max(1)).clamp(FEW, MESSAGES);
        Ok(())
    }

    /// The first frame of an arrival; what remains of it waits on. `None` when it is lost for want of a
    /// buffer.
    fn next_frame(&mut self, mut arrival: Arrival, pool: &mut Pool) -> Option<PktBuf> {
        if arrival.done == 0 && arrival.data.len() <= arrival.unit {
            describe(&mut arrival.data, usize::from(self.config.inner_mtu_bytes));
            return Some(arrival.data);
        }
        if arrival.done == 0 && coalesce_in_place(&mut arrival.data, arrival.unit, TUNNEL) {
            return Some(arrival.data);
        }
        let whole = arrival.data.data();
        let end = whole.len().min(arrival.done + arrival.unit);
        let frame = pool.frame_from(&whole[arrival.done..end]);
        arrival.done = end;
        if end < whole.len() {
            self.waiting.push_front(arrival);
        } else {
            pool.recycle(arrival.data);
        }
        let Some(mut frame) = frame else {
            self.no_buffer += 1;
            return None;
        };
        describe(&mut frame, usize::from(self.config.inner_mtu_bytes));
        Some(frame)
    }
}

/// Completes a received message. The buffer comes back when it was cut off, or says nothing of its sender.
fn accept(mut data: PktBuf, message: super::sys::Received) -> Result<Arrival, PktBuf> {
    let (false, Some(remote)) = (message.truncated, message.remote) else { return Err(data) };
    data.set_len(message.bytes);
    let unit = message.facts.unit.filter(|unit| *unit > 0).unwrap_or(message.bytes);
    Ok(Arrival { data, outer: Outer { remote, tos: message.facts.tos }, unit, done: 0 })
}

/// Says what can be known about the offload state of a frame behind its tunnel header.
fn describe(frame: &mut PktBuf, inner_mtu_bytes: usize) {
    let Some(inner) = frame.data().get(TUNNEL_BYTES..) else { return };
    let csum = checksum::classify(inner);
    let longest = inner_mtu_bytes + ETHERNET_BYTES + VLAN_BYTES;
    let is_long = matches!(csum, Csum::Partial { .. }) && inner.len() > longest;
    let gso = if is_long { uncut(inner, inner_mtu_bytes) } else { Gso::None };
    frame.offload.csum = csum;
    frame.offload.gso = gso;
    frame.offload.shift_right(TUNNEL);
}

/// A TCP super-frame that the sending kernel left to a device to cut, and none did. Nothing says how long
/// its segments are to be, so they become as long as they may.
fn uncut(inner: &[u8], inner_mtu_bytes: usize) -> Gso {
    let segment_bytes = || {
        let layers = Layers::parse(inner).ok()??;
        let is_tcp = layers.protocol == protocol::TCP;
        let headers = usize::from(layers.l4) + layers.transport_bytes(inner)?;
        let room = inner_mtu_bytes.checked_sub(headers - usize::from(layers.l3))?;
        let mss = u16::try_from(room).ok().filter(|mss| is_tcp && *mss > 0)?;
        Some((layers.network, mss))
    };
    match segment_bytes() {
        Some((Network::V4, mss)) => Gso::Tcp4 { mss },
        Some((Network::V6, mss)) => Gso::Tcp6 { mss },
        None => Gso::None,
    }
}

/// Distinguishes "nothing there" and the errors of networks from a socket that is lost.
fn quiet_or_fault(source: io::Error) -> Result<(), PortFault> {
    match source.raw_os_error() {
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::EINVAL) => {
            Err(PortFault::Io { operation: "recvmmsg", source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::PoolConfig;
    use crate::offload::Offload;
    use crate::wire::checksum::{fold, pseudo_header};
    use crate::wire::field::put_be16;

    /// A TCP or UDP packet over IPv4 behind a tunnel header, its checksum half done.
    fn half_done(kind: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0; TUNNEL_BYTES + 12];
        bytes
            .extend([0x08, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, kind, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 100, 0, 0, 0, 0]);
        bytes.resize(bytes.len() + payload, 0x5a);
        let total = u16::try_from(bytes.len() - 22).unwrap();
        put_be16(&mut bytes, 24, total);
        let layers = Layers::parse(&bytes[TUNNEL_BYTES..]).unwrap().unwrap();
        let pseudo = pseudo_header(&bytes[8..], &layers, usize::from(total) - 20).unwrap();
        let at = 42 + usize::from(layers.checksum_offset().unwrap());
        put_be16(&mut bytes, at, fold(pseudo));
        bytes
    }

    fn described(bytes: &[u8], inner_mtu_bytes: usize) -> Offload {
        let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
        let mut frame = pool.frame_from(bytes).unwrap();
        describe(&mut frame, inner_mtu_bytes);
        frame.offload
    }

    #[test]
    fn half_done_checksums_and_uncut_streams_are_recognised() {
        let partial = |offset| Csum::Partial { start: 42, offset };
        for (kind, payload, expected) in [
            (protocol::TCP, 100, Offload { csum: partial(16), gso: Gso::None }),
            (protocol::TCP, 1410, Offload { csum: partial(16), gso: Gso::None }),
            (protocol::TCP, 9000, Offload { csum: partial(16), gso: Gso::Tcp4 { mss: 1410 } }),
            (protocol::UDP, 9000, Offload { csum: partial(6), gso: Gso::None }),
        ] {
            assert_eq!(described(&half_done(kind, payload), 1450), expected, "{kind} {payload}");
        }
        // A full checksum is a whole frame's, however long that is.
        let mut finished = half_done(protocol::TCP, 9000);
        finished[42 + 16] ^= 1;
        assert_eq!(described(&finished, 1450), Offload::NONE);
        // No room for any payload: nothing to cut it into.
        assert_eq!(described(&half_done(protocol::TCP, 9000), 40).gso, Gso::None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200), is_v6: bool, mtu in 0usize..200
        ) {
            let mut bytes = bytes;
            if let Some(kind) = bytes.get_mut(20..23) {
                kind.copy_from_slice(if is_v6 { &[0x86, 0xdd, 0x60] } else { &[0x08, 0, 0x45] });
            }
            described(&bytes, mtu);
        }
    }
}
