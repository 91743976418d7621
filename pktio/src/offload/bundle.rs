//! A super-frame in a UDP tunnel, for a port whose kernel cuts datagrams (`UDP_SEGMENT`) and knows no tunnels: the datagrams
//! that it becomes lie in one frame, one behind the other. It is two system calls and two copies of the outer headers for 64
//! KiB, where it would be forty of each.
//!
//! The outer checksum is left half done, as the kernel wants it, also where the sender had none; what is inside is finished,
//! since nobody finishes it later.

use super::segment::{Cut, Finish, Refusal, set_lengths};
use super::{Csum, Gso, Offload};
use crate::wire::checksum as sums;
use crate::wire::field::{protocol, put_be16, udp};
use crate::wire::{ETHERNET_BYTES, Layers};
use crate::{Burst, PktBuf, Pool};

/// More datagrams than this the kernel cuts out of none (`UDP_MAX_SEGMENTS` before Linux 6.7).
const MOST_DATAGRAMS: usize = 64;
/// The longest headers that are made room for: two of IPv6, a tunnel's with options, and TCP's.
const HEADER_BYTES: usize = 512;

/// Bundles the datagrams that a super-frame becomes, appended to `out`. The super-frame stays the caller's.
///
/// # Errors
/// [`Refusal`]: it is not in a UDP tunnel, is too long for two datagrams in one frame, or there is no buffer; `out` is then as it was.
pub(super) fn bundle(frame: &PktBuf, pool: &mut Pool, out: &mut Burst) -> Result<(), Refusal> {
    let cut = Cut::of(frame.data(), frame.offload)?;
    let is_udp = |outer: &&Layers| outer.protocol == protocol::UDP;
    let outer = *cut.outer().filter(is_udp).ok_or(Refusal::BadOffload)?;
    let front = usize::from(outer.l4) + udp::BYTES;
    let size = cut.header_bytes() - front + cut.segment_bytes();
    let room = usize::from(u16::MAX) - (front - ETHERNET_BYTES);
    let most = (room / size).min(MOST_DATAGRAMS);
    if most < 2 || cut.header_bytes() > HEADER_BYTES {
        return Err(Refusal::BadOffload);
    }
    let begun = out.len();
    for first in (0..cut.count()).step_by(most) {
        let numbers = first..cut.count().min(first + most);
        let Some(bundled) = make(&cut, &outer, numbers, pool) else {
            out.drain(begun..).for_each(|bundled| pool.recycle(bundled));
            return Err(Refusal::NoBuffer);
        };
        out.push(bundled);
    }
    Ok(())
}

/// Makes one frame of these segments.
fn make(
    cut: &Cut,
    outer: &Layers,
    numbers: std::ops::Range<usize>,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let front = usize::from(outer.l4) + udp::BYTES;
    let header_bytes = cut.header_bytes();
    let own = header_bytes - front;
    let payload: usize = numbers.clone().map(|number| cut.payload(number).len()).sum();
    let bytes = front + numbers.len() * own + payload;
    let mut frame = pool.take_for(bytes)?;
    frame.set_len(bytes);
    let data = frame.data_mut();
    data[..front].copy_from_slice(cut.headers().get(..front)?);
    let (mut at, mut headers) = (front, [0; HEADER_BYTES]);
    for number in numbers.clone() {
        let payload = cut.payload(number);
        cut.write_headers(number, &mut headers[..header_bytes], Finish::Inner);
        data[at..at + own].copy_from_slice(&headers[front..header_bytes]);
        data[at + own..at + own + payload.len()].copy_from_slice(payload);
        at += own + payload.len();
    }
    set_lengths(outer, data, numbers.start, bytes);
    let l4 = usize::from(outer.l4);
    let pseudo = sums::pseudo_header(data, outer, bytes - l4)?;
    put_be16(data, l4 + udp::CHECKSUM, sums::fold(pseudo));
    let size = u16::try_from(own + cut.segment_bytes()).ok()?;
    let gso = if numbers.len() > 1 { Gso::Udp { size } } else { Gso::None };
    frame.offload = Offload { csum: Csum::Partial { start: outer.l4, offset: 6 }, gso };
    Some(frame)
}
