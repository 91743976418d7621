//! Receive coalescing (GRO): neighbouring TCP segments of one flow become one super-frame, before a port whose
//! receiver pays per frame and not per byte.
//!
//! Exact: segmenting the result again gives the very frames that went in. So segments are merged only when
//! all that segmentation will compute is as it would compute it (the kernel's `tcp_gro_receive` and
//! `inet_gro_receive` have the same rules): equal headers but for length, identification, sequence number
//! and checksum; identifications that count up; sequence numbers without a gap; no flags but ACK, and PSH on
//! the last; equal lengths but for the last, which may be shorter. A checksum that nobody has verified is
//! verified first, and a segment whose checksum is wrong passes by itself, for its receiver to refuse.
//!
//! Only neighbours are merged, so the order of all frames stays as it is: neighbours in a burst, whose payload
//! is copied once, into a slab; or segments that came in one buffer, whose payload moves up within it.

use super::{Csum, Gso, Offload, checksum};
use crate::wire::checksum as sums;
use crate::wire::field::{be16, be32, ipv4, ipv6, protocol, put_be16, tcp};
use crate::wire::{Fragment, Layers, Network};
use crate::{Burst, PktBuf, Pool};

/// The longest IP packet.
const MOST_BYTES: usize = 65535;
/// Segments with less payload than this are not worth a copy.
const WORTHWHILE_BYTES: usize = 512;

/// A segment that may be merged.
#[derive(Clone, Copy)]
struct Segment {
    layers: Layers,
    /// All headers.
    headers: usize,
    payload: usize,
    sequence: u32,
    is_push: bool,
}

/// Segments that follow each other.
struct Run {
    first: Segment,
    segments: u16,
    payload: usize,
    is_push: bool,
    /// The last one was short or pushed: nothing follows.
    is_closed: bool,
}

/// A run whose segments are merged in `head`.
struct Merged {
    head: PktBuf,
    run: Run,
}

/// Merges neighbouring segments in `frames`, and returns how many frames fewer there are. `scratch` is an
/// empty burst to work with, and is empty again afterwards.
pub fn coalesce(frames: &mut Burst, scratch: &mut Burst, pool: &mut Pool) -> usize {
    let before = frames.len();
    std::mem::swap(frames, scratch);
    let mut open: Option<Merged> = None;
    let mut merged = 0;
    for frame in scratch.drain(..) {
        let segment = worthwhile(&frame);
        if let (Some(current), Some(segment)) = (&mut open, segment)
            && current.run.admits(current.head.data(), frame.data(), &segment)
            && current.take(&frame, &segment, pool)
        {
            pool.recycle(frame);
            merged += 1;
            continue;
        }
        frames.extend(open.take().map(Merged::finish));
        match segment {
            Some(first) => open = Some(Merged { head: frame, run: Run::begin(first) }),
            None => frames.push(frame),
        }
    }
    frames.extend(open.map(Merged::finish));
    debug_assert_eq!(frames.len() + merged, before);
    merged
}

/// Makes one super-frame of the segments that lie one behind the other in a buffer, `unit` bytes each (the
/// last may have fewer), each behind `gap` bytes that are the same for all; those of the first stay. False,
/// and unchanged, unless all of them follow each other in one stream.
pub(crate) fn coalesce_in_place(frame: &mut PktBuf, unit: usize, gap: u16) -> bool {
    let gap_bytes = usize::from(gap);
    let Some(run) = whole_run(frame.data(), unit, gap_bytes) else { return false };
    let data = frame.data_mut();
    let mut end = unit;
    for begin in (unit..data.len()).step_by(unit) {
        let payload = begin + gap_bytes + run.first.headers..data.len().min(begin + unit);
        let bytes = payload.len();
        data.copy_within(payload, end);
        end += bytes;
    }
    let offload = run.finish(&mut data[gap_bytes..end]);
    frame.set_len(end);
    frame.offload = offload;
    frame.offload.shift_right(gap);
    true
}

/// The run that all segments of a buffer are, if they are one.
fn whole_run(data: &[u8], unit: usize, gap_bytes: usize) -> Option<Run> {
    let segment = |bytes| Segment::of(bytes, checksum::classify(bytes));
    let mut pieces = data.chunks(unit).map(|piece| piece.split_at_checked(gap_bytes));
    let (gap, head) = pieces.next()??;
    let mut run = Run::begin(segment(head)?);
    for piece in pieces {
        let (own_gap, bytes) = piece?;
        let next = segment(bytes)?;
        if own_gap != gap || !run.admits(head, bytes, &next) {
            return None;
        }
        run.count(&next);
    }
    Some(run)
}

/// What a frame is, if it may be merged and that is worth a copy.
fn worthwhile(frame: &PktBuf) -> Option<Segment> {
    if frame.offload.gso != Gso::None || frame.len() < WORTHWHILE_BYTES {
        return None;
    }
    let segment = Segment::of(frame.data(), frame.offload.csum)?;
    (segment.payload >= WORTHWHILE_BYTES).then_some(segment)
}

impl Segment {
    /// What a frame is, if it may be merged at all.
    fn of(data: &[u8], csum: Csum) -> Option<Self> {
        let layers = Layers::parse(data).ok()??;
        let plain = layers.protocol == protocol::TCP
            && layers.fragment == Fragment::Whole
            && layers.end as usize == data.len();
        if !plain || !has_plain_network_header(data, &layers) {
            return None;
        }
        let l4 = usize::from(layers.l4);
        let headers = l4 + layers.transport_bytes(data)?;
        let flags = *data.get(l4 + tcp::FLAGS)?;
        let is_ack = flags & !tcp::PSH == tcp::ACK_FLAG;
        let payload = data.len() - headers;
        if !is_ack || payload == 0 || !is_known_good(data, csum, &layers) {
            return None;
        }
        let sequence = be32(data, l4 + tcp::SEQUENCE)?;
        Some(Self { layers, headers, payload, sequence, is_push: flags & tcp::PSH != 0 })
    }
}

/// Without options or extension headers.
fn has_plain_network_header(data: &[u8], layers: &Layers) -> bool {
    let (l3, l4) = (usize::from(layers.l3), usize::from(layers.l4));
    match layers.network {
        Network::V4 => l4 - l3 == ipv4::MIN_BYTES && sums::fold(sums::sum(&data[l3..l4])) == 0xffff,
        Network::V6 => l4 - l3 == ipv6::BYTES,
    }
}

/// Whether the checksum is, or will be, right. A half-done one that is not begun right would not become right
/// by itself either, and merging must not mend what its receiver is to refuse.
fn is_known_good(data: &[u8], csum: Csum, layers: &Layers) -> bool {
    match csum {
        Csum::Valid => true,
        Csum::Partial { start, offset } => {
            start == layers.l4
                && layers.checksum_offset() == Some(offset)
                && has_begun_right(data, layers)
        }
        Csum::None => checksum::verify(data, layers) == Some(true),
    }
}

/// Whether the TCP checksum field holds the pseudo-header sum.
fn has_begun_right(data: &[u8], layers: &Layers) -> bool {
    let l4 = usize::from(layers.l4);
    let begun = sums::pseudo_header(data, layers, data.len() - l4).map(sums::fold);
    begun.is_some() && begun == be16(data, l4 + tcp::CHECKSUM)
}

impl Run {
    fn begin(first: Segment) -> Self {
        let (payload, is_push) = (first.payload, first.is_push);
        Self { first, segments: 1, payload, is_push, is_closed: is_push }
    }

    /// Whether `bytes` are the segment that follows those of which `head` is the first, with or without what
    /// was appended to it.
    fn admits(&self, head: &[u8], bytes: &[u8], next: &Segment) -> bool {
        let fits = self.first.headers + self.payload + next.payload <= MOST_BYTES;
        let follows = next.sequence == self.first.sequence.wrapping_add(low32(self.payload));
        !self.is_closed
            && fits
            && follows
            && next.headers == self.first.headers
            && next.layers.l4 == self.first.layers.l4
            && next.payload <= self.first.payload
            && self.has_equal_headers(head, bytes)
    }

    /// Whether all header bytes that segmentation will copy are equal.
    fn has_equal_headers(&self, head: &[u8], next: &[u8]) -> bool {
        let (l3, l4) = (usize::from(self.first.layers.l3), usize::from(self.first.layers.l4));
        let equal = |from: usize, to: usize| head[from..to] == next[from..to];
        let network = match self.first.layers.network {
            Network::V4 => {
                let id = be16(head, l3 + ipv4::ID).map(|id| id.wrapping_add(self.segments));
                equal(l3, l3 + ipv4::TOTAL_LENGTH)
                    && id == be16(next, l3 + ipv4::ID)
                    && equal(l3 + ipv4::FRAGMENT, l3 + ipv4::CHECKSUM)
                    && equal(l3 + ipv4::ADDRESSES.start, l4)
            }
            Network::V6 => {
                equal(l3, l3 + ipv6::PAYLOAD_LENGTH) && equal(l3 + ipv6::NEXT_HEADER, l4)
            }
        };
        // The flags were seen to be the same; the urgent pointer stands behind the checksum.
        network
            && equal(0, l3)
            && equal(l4, l4 + tcp::SEQUENCE)
            && equal(l4 + tcp::ACK, l4 + tcp::FLAGS)
            && equal(l4 + tcp::WINDOW, l4 + tcp::CHECKSUM)
            && equal(l4 + tcp::CHECKSUM + 2, self.first.headers)
    }

    /// Counts a segment that was admitted.
    fn count(&mut self, next: &Segment) {
        self.segments += 1;
        self.payload += next.payload;
        self.is_push = next.is_push;
        self.is_closed = next.is_push || next.payload < self.first.payload;
    }

    /// Completes the headers of the frame that the run became, and says what its offload state is.
    fn finish(&self, data: &mut [u8]) -> Offload {
        let bytes = data.len();
        let Layers { l3, l4, network, .. } = self.first.layers;
        let (l3, l4) = (usize::from(l3), usize::from(l4));
        let length_from = |at: usize| u16::try_from(bytes - at).unwrap_or(u16::MAX);
        match network {
            Network::V4 => {
                put_be16(data, l3 + ipv4::TOTAL_LENGTH, length_from(l3));
                put_be16(data, l3 + ipv4::CHECKSUM, 0);
                let checksum = sums::finish(sums::sum(&data[l3..l4]));
                put_be16(data, l3 + ipv4::CHECKSUM, checksum);
            }
            Network::V6 => {
                put_be16(data, l3 + ipv6::PAYLOAD_LENGTH, length_from(l3 + ipv6::BYTES));
            }
        }
        if self.is_push {
            data[l4 + tcp::FLAGS] |= tcp::PSH;
        }
        let layers = Layers { end: low32(bytes), ..self.first.layers };
        let pseudo = sums::pseudo_header(data, &layers, bytes - l4).unwrap_or(0);
        put_be16(data, l4 + tcp::CHECKSUM, sums::fold(pseudo));
        let mss = u16::try_from(self.first.payload).unwrap_or(u16::MAX);
        let gso = match network {
            Network::V4 => Gso::Tcp4 { mss },
            Network::V6 => Gso::Tcp6 { mss },
        };
        Offload { csum: Csum::Partial { start: layers.l4, offset: 16 }, gso }
    }
}

impl Merged {
    /// Appends a segment's payload. False when there is no slab for it.
    fn take(&mut self, frame: &PktBuf, next: &Segment, pool: &mut Pool) -> bool {
        if self.run.segments == 1 {
            let Some(mut slab) = pool.take_slab() else { return false };
            slab.offload = self.head.offload;
            if !slab.fill_from(self.head.data()) {
                pool.recycle(slab);
                return false;
            }
            pool.recycle(std::mem::replace(&mut self.head, slab));
        }
        if !self.head.append(&frame.data()[next.headers..]) {
            return false;
        }
        self.run.count(next);
        true
    }

    /// The frame that the run became.
    fn finish(mut self) -> PktBuf {
        if self.run.segments > 1 {
            self.head.offload = self.run.finish(self.head.data_mut());
        }
        self.head
    }
}

/// A length that is far below 2^32.
fn low32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
