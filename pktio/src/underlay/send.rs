//! Sending: from frames to datagrams. The kernel cuts them from longer messages where it can, which costs it
//! little more than one datagram: super-frames, and frames of one length that leave by one source port.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::control::Control;
use super::socket::Source;
use super::sys::{Batch, Name, Owner};
use super::{Mark, TUNNEL, TUNNEL_BYTES, Underlay};
use crate::buffer::{Burst, PktBuf, Pool};
use crate::offload::{Cut, Finish, Gso, checksum};

/// The most segments that one message is cut into (`UDP_MAX_SEGMENTS` of all kernels).
const MOST_SEGMENTS: usize = 64;
/// The longest message: what an IPv4 packet holds.
const MOST_BYTES: usize = 65507;
/// Pieces of all messages of one system call: headers and payload of four full ones.
pub(super) const PIECES: usize = 2 * MOST_SEGMENTS * 4;
/// Room for the headers of all segments of one system call.
pub(super) const HEADER_BYTES: usize = 32 * 1024;

/// What became of frames that were to be sent. Each frame counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Taken by the kernel.
    pub sent: usize,
    /// Longer than what reaches the remote; [`mtu_towards`](super::mtu_towards) says how long that is.
    pub too_long: usize,
    /// There is no route to the remote, it does not answer to its neighbours, or a firewall forbids it.
    pub unreachable: usize,
    /// The send buffer was full.
    pub no_room: usize,
    /// The frame's state contradicts its headers, or the kernel will not have it.
    pub refused: usize,
    /// Bytes of the frames that were taken, without their tunnel headers.
    pub sent_bytes: usize,
}

/// What is to be done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Sent as it is.
    Whole,
    /// A super-frame, cut by the kernel.
    Cut,
    /// Sent, or lost.
    Over,
}

impl Underlay {
    /// Sends all frames, which have the tunnel header in front, to a remote endpoint; each is marked by the
    /// mark at its position, and refused when there is none. `frames` is empty afterwards.
    pub fn tx_burst(
        &mut self,
        pool: &mut Pool,
        frames: &mut Burst,
        marks: &[Mark],
        remote: IpAddr,
    ) -> Tally {
        self.steps.clear();
        self.steps.extend(frames.iter_mut().map(prepare));
        self.steps.iter_mut().skip(marks.len()).for_each(|step| *step = Step::Over);
        let mut tally = Tally::default();
        for (frame, step) in frames.iter().zip(&self.steps) {
            match step {
                Step::Over => tally.refused += 1,
                _ => tally.sent_bytes += frame.len() - TUNNEL_BYTES,
            }
        }
        let to = Name::of(SocketAddr::new(remote, self.config.local.port()));
        for number in 0..self.sources.len() {
            let mut sender = Sender {
                frames,
                marks,
                steps: &mut self.steps,
                sources: &self.sources,
                number,
                is_v4: remote.is_ipv4(),
                tally: &mut tally,
                cursor: Cursor::default(),
            };
            while sender.find().is_some() {
                let batch = self.outbound.batch(to);
                sender.send_some(batch, &mut self.headers);
            }
        }
        let lost = tally.too_long + tally.unreachable + tally.no_room + tally.refused;
        tally.sent = frames.len() - lost;
        pool.recycle_all(frames);
        tally
    }
}

/// Makes a frame ready, as far as it is done in place.
fn prepare(frame: &mut PktBuf) -> Step {
    if frame.len() < TUNNEL_BYTES {
        return Step::Over;
    }
    if frame.offload.gso == Gso::None {
        let is_ready = checksum::complete_behind(frame, TUNNEL_BYTES);
        return if is_ready { Step::Whole } else { Step::Over };
    }
    let is_ready = cut_of(frame).is_some_and(|cut| {
        let header_bytes = TUNNEL_BYTES + cut.header_bytes();
        header_bytes <= HEADER_BYTES && header_bytes + cut.segment_bytes() <= MOST_BYTES
    });
    if is_ready { Step::Cut } else { Step::Over }
}

/// How the super-frame behind the tunnel header is cut.
fn cut_of(frame: &PktBuf) -> Option<Cut<'_>> {
    let mut offload = frame.offload;
    offload.shift_left(TUNNEL);
    Cut::of(frame.data().get(TUNNEL_BYTES..)?, offload).ok()
}

/// Where in a burst the sender is.
#[derive(Clone, Copy, Default)]
struct Cursor {
    frame: usize,
    segment: usize,
}

/// The frames of a burst that leave by one source port.
struct Sender<'a> {
    frames: &'a [PktBuf],
    marks: &'a [Mark],
    steps: &'a mut [Step],
    sources: &'a [Source],
    /// The source port's position.
    number: usize,
    is_v4: bool,
    tally: &'a mut Tally,
    cursor: Cursor,
}

impl<'a> Sender<'a> {
    /// What is to be done with the next frame that leaves by this source port.
    fn find(&mut self) -> Option<Step> {
        loop {
            let at = self.cursor.frame;
            let step = *self.steps.get(at)?;
            if step != Step::Over && self.source_of(self.marks.get(at)?) == self.number {
                return Some(step);
            }
            self.cursor = Cursor { frame: at + 1, segment: 0 };
        }
    }

    /// Position of the source port that a frame leaves by.
    fn source_of(&self, mark: &Mark) -> usize {
        (usize::from(mark.entropy) * self.sources.len()) >> u16::BITS
    }

    /// Whether the kernel is to cut the next message.
    fn next_is_cut(&mut self) -> Option<bool> {
        match self.find()? {
            Step::Whole => {
                let first = self.cursor;
                self.cursor.frame += 1;
                let has_like = self.find_like(first.frame);
                self.cursor = first;
                Some(has_like)
            }
            _ => Some(true),
        }
    }

    /// Whether the next frame can be in one message with frame `first`.
    fn find_like(&mut self, first: usize) -> bool {
        if self.find() != Some(Step::Whole) {
            return false;
        }
        let [a, b] = [first, self.cursor.frame].map(|at| (self.frames[at].len(), self.marks[at]));
        a.0 == b.0 && (a.1.tos, a.1.ttl) == (b.1.tos, b.1.ttl)
    }

    /// Sends as many frames as one system call takes on one socket.
    fn send_some<'d>(&mut self, mut batch: Batch<'_, 'd>, mut headers: &'d mut [u8])
    where
        'a: 'd,
    {
        let Some(cuts) = self.next_is_cut() else { return };
        while self.next_is_cut() == Some(cuts) {
            let is_added = match self.find() {
                Some(Step::Cut) => self.add_segments(&mut batch, &mut headers),
                _ => self.add_whole(&mut batch, cuts),
            };
            if !is_added {
                break;
            }
        }
        self.deliver(batch, cuts);
    }

    /// Adds a message for a frame, or for as many of its length as follow. False when there is no room.
    fn add_whole<'d>(&mut self, batch: &mut Batch<'_, 'd>, cuts: bool) -> bool
    where
        'a: 'd,
    {
        let first = self.cursor.frame;
        let unit = self.frames[first].len();
        let most = if cuts { MOST_SEGMENTS.min(MOST_BYTES / unit).max(1) } else { 1 };
        if !batch.has_room(most) {
            return false;
        }
        let control = self.control(if cuts { u16::try_from(unit).ok() } else { None });
        let mut frames = 0;
        loop {
            batch.push(self.frames[self.cursor.frame].data());
            self.cursor.frame += 1;
            frames += 1;
            if frames == most || !self.find_like(first) {
                break;
            }
        }
        batch.message(control, Owner { frame: first, frames });
        true
    }

    /// Adds a message for as many segments of a super-frame as one takes. False when there is no room.
    fn add_segments<'d>(&mut self, batch: &mut Batch<'_, 'd>, headers: &mut &'d mut [u8]) -> bool
    where
        'a: 'd,
    {
        let frame = &self.frames[self.cursor.frame];
        let (Some(cut), Some(tunnel)) = (cut_of(frame), frame.data().get(..TUNNEL_BYTES)) else {
            // `prepare` has seen that there are both.
            self.steps[self.cursor.frame] = Step::Over;
            return true;
        };
        let header_bytes = TUNNEL_BYTES + cut.header_bytes();
        let unit = header_bytes + cut.segment_bytes();
        let first = self.cursor.segment;
        let most = MOST_SEGMENTS.min(MOST_BYTES / unit).min(HEADER_BYTES / header_bytes);
        let count = most.min(cut.count() - first);
        if !batch.has_room(2 * count) || headers.len() < count * header_bytes {
            return false;
        }
        for number in first..first + count {
            let (own, rest) = std::mem::take(headers).split_at_mut(header_bytes);
            *headers = rest;
            own[..TUNNEL_BYTES].copy_from_slice(tunnel);
            cut.write_headers(number, &mut own[TUNNEL_BYTES..], Finish::All);
            batch.push(own);
            batch.push(cut.payload(number));
        }
        let control = self.control(u16::try_from(unit).ok());
        batch.message(control, Owner { frame: self.cursor.frame, frames: 1 });
        self.cursor.segment += count;
        if self.cursor.segment == cut.count() {
            self.cursor = Cursor { frame: self.cursor.frame + 1, segment: 0 };
        }
        true
    }

    /// What the current frame's mark says, and what length its message is cut into.
    fn control(&self, unit: Option<u16>) -> Control {
        let mark = self.marks[self.cursor.frame];
        Control::of(self.is_v4, mark.tos, mark.ttl, unit)
    }

    /// Gives all messages to the kernel. What it refuses is lost, with all of its frame that is still to
    /// come.
    fn deliver(&mut self, mut batch: Batch<'_, '_>, cuts: bool) {
        let fd = self.sources[self.number].fd(cuts);
        let mut from = 0;
        while from < batch.len() {
            match batch.send(fd, from) {
                Ok(sent) => from += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let owner = batch.owner(from);
                    self.tally.count(&error, owner.frames);
                    // All frames of a message have the length of the first.
                    let bytes = self.frames[owner.frame].len() - TUNNEL_BYTES;
                    self.tally.sent_bytes -= bytes * owner.frames;
                    self.steps[owner.frame] = Step::Over;
                    while from < batch.len() && batch.owner(from).frame == owner.frame {
                        from += 1;
                    }
                }
            }
        }
    }
}

impl Tally {
    /// Counts frames that the kernel refused.
    fn count(&mut self, error: &io::Error, frames: usize) {
        let counter = match error.raw_os_error() {
            Some(libc::EMSGSIZE) => &mut self.too_long,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => &mut self.no_room,
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::EPERM
                | libc::EACCES,
            ) => &mut self.unreachable,
            _ => &mut self.refused,
        };
        *counter += frames;
    }
}
