//! Who watches a worker at work: [`Recorder`]s copy frames for captures, a [`Following`] hears why real packets go
//! where they go.
//!
//! ```text
//!   worker: frame ──► page being filled ──► full pages ──► control thread
//!                          ^                                    │
//!                          └───────── empty pages ◄─────────────┘
//! ```
//!
//! Nobody watching costs one comparison per burst. Watching never makes traffic wait: all memory is there from the
//! start, and what finds no room in it is counted as lost to the watcher.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use flows::{DropReason, DropSide, Followed, Follower, Nanos, PortIndex, Selection, Snapshot};
use pktio::PktBuf;
use pktio::offload::Offload;
use pktio::wake::Notice;

use super::{Event, Worker};

/// Room of a page: for the longest frame, or a burst of ordinary ones.
const PAGE_BYTES: usize = 128 * 1024;
/// Frames of a page.
const PAGE_FRAMES: usize = 1024;
/// Pages of a recorder: 4 MiB, which are not touched before they are needed.
const PAGES: usize = 32;
/// Packets that were followed, and that the control thread has not heard of yet.
const FOLLOWED: usize = 256;
/// Lost frames that are kept for recorders between two looks at them.
const LOST_FRAMES: usize = 512;

/// Identifies who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObserverId(pub u64);

/// From a worker to the control thread: bounded, and announced once until it is looked into.
#[derive(Debug)]
pub struct Outbound<T> {
    queue: ArrayQueue<T>,
    notice: Notice,
}

impl<T> Outbound<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { queue: ArrayQueue::new(most), notice: Notice::default() }
    }

    /// Worker: adds something. Returns whether the control thread must be told.
    pub(super) fn push(&self, item: T) -> Result<bool, T> {
        self.queue.push(item)?;
        Ok(self.notice.put_up())
    }

    /// Control thread: the next one. `None` is final until it is told of more.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop().or_else(|| {
            self.notice.take_down();
            self.queue.pop()
        })
    }
}

/// A captured frame.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// When.
    pub at: Nanos,
    /// By which port.
    pub port: PortIndex,
    /// It came in by it, or was to leave by it.
    pub side: DropSide,
    /// Why it was lost, if it was.
    pub reason: Option<DropReason>,
    /// Its length.
    pub frame_bytes: u32,
    /// Its checksum and segmentation state.
    pub offload: Offload,
    /// Bytes of it that are kept, in the page.
    kept: usize,
}

/// Captured frames of one worker.
#[derive(Debug)]
pub struct Page {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

impl Page {
    fn new() -> Self {
        let (bytes, records) = (Vec::with_capacity(PAGE_BYTES), Vec::with_capacity(PAGE_FRAMES));
        Self { bytes, records }
    }

    /// Whether frames of so many bytes fit beside those that are there.
    fn has_room(&self, bytes: usize) -> bool {
        self.records.len() < PAGE_FRAMES && self.bytes.len() + bytes <= PAGE_BYTES
    }

    /// The frames and what was kept of each, in order.
    pub fn frames(&self) -> impl Iterator<Item = (&Record, &[u8])> + '_ {
        let mut rest = &self.bytes[..];
        self.records.iter().map(move |record| {
            let (own, behind) = rest.split_at(record.kept.min(rest.len()));
            rest = behind;
            (record, own)
        })
    }
}

/// The pages of a recorder.
#[derive(Debug)]
pub struct Pages {
    full: Outbound<Page>,
    empty: ArrayQueue<Page>,
}

impl Pages {
    /// Control thread: the next page with frames.
    pub fn take(&self) -> Option<Page> {
        self.full.pop()
    }

    /// Control thread: gives a page back.
    pub fn give_back(&self, mut page: Page) {
        page.bytes.clear();
        page.records.clear();
        // There are never more than there were at first.
        let _ = self.empty.push(page);
    }
}

/// Copies frames for a capture. Made on the control thread, used by one worker.
#[derive(Debug)]
pub struct Recorder {
    id: ObserverId,
    selection: Selection,
    /// Lost frames, and no others.
    lost_only: bool,
    snap_bytes: usize,
    pages: Arc<Pages>,
    page: Option<Page>,
    /// By port number: frames for which there was no room.
    missed: Vec<u64>,
}

impl Recorder {
    /// Who records the frames that are meant: those that come in and go out, or those that are lost.
    pub fn new(id: ObserverId, selection: Selection, lost_only: bool, snap_bytes: u32) -> Self {
        let empty = ArrayQueue::new(PAGES);
        (0..PAGES).for_each(|_| _ = empty.push(Page::new()));
        let pages = Arc::new(Pages { full: Outbound::new(PAGES), empty });
        let snap_bytes = usize::try_from(snap_bytes).unwrap_or(usize::MAX);
        Self { id, selection, lost_only, snap_bytes, pages, page: None, missed: Vec::new() }
    }

    /// Where its pages go.
    pub fn pages(&self) -> Arc<Pages> {
        Arc::clone(&self.pages)
    }

    /// The page that was being filled.
    pub fn take_page(&mut self) -> Option<Page> {
        self.page.take()
    }

    /// Frames for which there was no room, by port.
    pub fn missed(&self) -> impl Iterator<Item = (PortIndex, u64)> + '_ {
        let missed = (0..=u16::MAX).map(PortIndex).zip(self.missed.iter().copied());
        missed.filter(|(_, frames)| *frames > 0)
    }

    /// Records a frame if it is meant. Returns whether the control thread must be told.
    fn record(&mut self, sight: Sight, frame: &PktBuf, snapshot: &Snapshot) -> bool {
        let Sight { at, port, side, reason } = sight;
        if !self.selection.takes((port, side), frame.data(), snapshot) {
            return false;
        }
        let kept = frame.len().min(self.snap_bytes).min(PAGE_BYTES);
        let tell = match &self.page {
            Some(page) if page.has_room(kept) => false,
            _ => self.turn_page(),
        };
        let Some(page) = &mut self.page else {
            self.miss(port);
            return tell;
        };
        page.bytes.extend_from_slice(&frame.data()[..kept]);
        let frame_bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let offload = frame.offload;
        page.records.push(Record { at, port, side, reason, frame_bytes, offload, kept });
        tell
    }

    #[cold]
    fn miss(&mut self, port: PortIndex) {
        if self.missed.len() <= port.slot() {
            self.missed.resize(port.slot() + 1, 0);
        }
        self.missed[port.slot()] += 1;
    }

    /// Hands the page over and begins another one, if there is one.
    fn turn_page(&mut self) -> bool {
        let tell = self.hand_over();
        self.page = self.pages.empty.pop();
        tell
    }

    fn hand_over(&mut self) -> bool {
        // There is room for all the pages that there are.
        self.page.take().is_some_and(|page| self.pages.full.push(page).unwrap_or(false))
    }

    /// After a turn: hands over what there is if nobody has anything to do otherwise. While the control
    /// thread has pages to go through, they may as well be full ones.
    fn rest(&mut self, is_idle: bool) -> bool {
        let has_frames = self.page.as_ref().is_some_and(|page| !page.records.is_empty());
        has_frames && (is_idle || self.pages.full.queue.is_empty()) && self.hand_over()
    }
}

/// Where a frame was seen.
#[derive(Debug, Clone, Copy)]
struct Sight {
    at: Nanos,
    port: PortIndex,
    side: DropSide,
    reason: Option<DropReason>,
}

/// Follows packets, and tells the control thread of them.
#[derive(Debug)]
pub struct Following {
    id: ObserverId,
    /// In the pipeline while the worker has this.
    follower: Option<Box<Follower>>,
    told: Arc<Outbound<Followed>>,
    missed: u64,
}

impl Following {
    /// Who follows packets as `follower` says.
    pub fn new(id: ObserverId, follower: Follower) -> Self {
        let told = Arc::new(Outbound::new(FOLLOWED));
        Self { id, follower: Some(Box::new(follower)), told, missed: 0 }
    }

    /// Where the packets are told of.
    pub fn told(&self) -> Arc<Outbound<Followed>> {
        Arc::clone(&self.told)
    }

    /// Packets that were followed and could not be told of.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// Somebody who watches a worker.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few, and on their way behind a box")]
pub enum Observer {
    /// For a capture.
    Recorder(Box<Recorder>),
    /// For a live trace.
    Following(Following),
}

impl Observer {
    /// Who it is.
    pub fn id(&self) -> ObserverId {
        match self {
            Self::Recorder(recorder) => recorder.id,
            Self::Following(following) => following.id,
        }
    }
}

/// Everybody who watches a worker.
#[derive(Debug, Default)]
pub(super) struct Observers {
    recorders: Vec<Recorder>,
    following: Option<Following>,
    /// The control thread must be told of something.
    tell: bool,
}

impl Observers {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.recorders.is_empty() && self.following.is_none()
    }

    /// Shows a frame to those who record frames of its kind.
    fn show(&mut self, sight: Sight, frame: &PktBuf, snapshot: &Snapshot) {
        let is_lost = sight.reason.is_some();
        for recorder in self.recorders.iter_mut().filter(|own| own.lost_only == is_lost) {
            self.tell |= recorder.record(sight, frame, snapshot);
        }
    }
}

impl Worker {
    /// Somebody watches from now on. No more than one at a time follows packets.
    pub(super) fn observe(&mut self, observer: Observer) {
        self.lane().report(Event::Observed(observer.id()));
        match observer {
            Observer::Recorder(recorder) => self.observers.recorders.push(*recorder),
            Observer::Following(mut following) => {
                self.pipeline.follow(following.follower.take());
                self.observers.following = Some(following);
            }
        }
        self.keep_lost_frames();
    }

    /// Somebody does not watch any more.
    pub(super) fn unobserve(&mut self, id: ObserverId) {
        let recorders = &mut self.observers.recorders;
        if let Some(at) = recorders.iter().position(|recorder| recorder.id == id) {
            let recorder = recorders.remove(at);
            self.dismiss(Observer::Recorder(Box::new(recorder)));
        } else if let Some(mut following) = self.observers.following.take_if(|own| own.id == id) {
            following.follower = self.pipeline.follow(None);
            self.dismiss(Observer::Following(following));
        }
        self.keep_lost_frames();
    }

    fn dismiss(&self, observer: Observer) {
        self.lane().report(Event::Dismissed(observer));
    }

    fn keep_lost_frames(&mut self) {
        let wanted = self.observers.recorders.iter().any(|recorder| recorder.lost_only);
        self.ledger.keep(if wanted { LOST_FRAMES } else { 0 });
    }

    /// A port's number will be used for another.
    pub(super) fn unobserve_port(&mut self, port: PortIndex) {
        for recorder in &mut self.observers.recorders {
            recorder.selection.forget(port);
        }
        if let Some(follower) = self.pipeline.follower() {
            follower.forget(port);
        }
    }

    /// Shows what has come in by a port.
    #[cold]
    pub(super) fn show_received(&mut self, port: PortIndex, now: Nanos) {
        let sight = Sight { at: now, port, side: DropSide::Ingress, reason: None };
        for frame in self.received.iter() {
            self.observers.show(sight, frame, &self.plane.snapshot);
        }
    }

    /// Shows what is about to leave by a port.
    #[cold]
    pub(super) fn show_sent(&mut self, port: PortIndex, now: Nanos) {
        let sight = Sight { at: now, port, side: DropSide::Egress, reason: None };
        for frame in self.outboxes.of(port).iter() {
            self.observers.show(sight, frame, &self.plane.snapshot);
        }
    }

    /// Shows what was lost, and tells of the packets that were followed.
    #[cold]
    pub(super) fn show_decided(&mut self, now: Nanos) {
        for lost in self.ledger.take_kept() {
            let (port, side, reason) = (lost.port, lost.side, Some(lost.reason));
            let sight = Sight { at: now, port, side, reason };
            self.observers.show(sight, &lost.frame, &self.plane.snapshot);
            self.pool.recycle(lost.frame);
        }
        let Some((following, follower)) =
            self.observers.following.as_mut().zip(self.pipeline.follower())
        else {
            return;
        };
        for followed in follower.take_followed() {
            match following.told.push(followed) {
                Ok(tell) => self.observers.tell |= tell,
                Err(_) => following.missed += 1,
            }
        }
    }

    /// At the end of a turn: what there is goes to the control thread.
    #[cold]
    pub(super) fn show_turn(&mut self, is_idle: bool, now: Nanos) {
        self.show_decided(now);
        for recorder in &mut self.observers.recorders {
            self.observers.tell |= recorder.rest(is_idle);
        }
        if std::mem::take(&mut self.observers.tell) {
            self.lane().call();
        }
    }
}

#[cfg(test)]
mod tests;
