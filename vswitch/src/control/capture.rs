//! [`Capture`]: frames from the workers' pages into pcapng.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ctl::response::{CaptureInfo, CapturePiece};
use ctl::{CtlError, PortName};
use flows::{DropReason, DropSide, PortIndex, Selection};
use pktio::Csum;
use pktio::offload::Offload;
use pktio::pcap::{Captured, InterfaceId, Pcapng, Statistics, Way};
use serde_json::Value;

use super::compile::rules::match_in_numbers;
use super::feed::Next;
use super::json;
use super::switch::{Switch, stuck};
use crate::worker::{Observer, ObserverId, Page, Pages, Record, Recorder};

/// The longest frame that is kept whole, by what is said of the interfaces; the value that `tcpdump` uses.
const MOST_BYTES: u32 = 262_144;

/// A capture that goes on.
#[derive(Debug)]
pub struct Capture {
    id: ObserverId,
    /// Of each worker.
    pages: Vec<Arc<Pages>>,
    /// Whose turn it is.
    turn: usize,
    /// The time of day at which the daemon's clock was at zero.
    origin: Duration,
    /// How many frames are still wanted.
    left: u64,
    frames: u64,
    missed: u64,
    file: File,
}

/// What is written.
#[derive(Debug)]
struct File {
    section: Pcapng,
    snap_bytes: u32,
    /// By name, with the number of frames.
    interfaces: BTreeMap<String, (InterfaceId, Statistics)>,
    /// What was written and has not been sent.
    bytes: Vec<u8>,
}

impl Switch {
    /// Begins to capture.
    ///
    /// # Errors
    /// [`CtlError`], when there is no such port, or too many captures go on.
    pub(super) fn capture(&mut self, request: &ctl::Capture) -> Result<Capture, CtlError> {
        self.check_feeds()?;
        let names = self.names_captured(&request.ports)?;
        let ports = names.iter().flat_map(|(_, ports)| ports).copied().collect();
        let ports = (!request.ports.is_empty()).then_some(ports);
        let selection = Selection { ports, matches: self.filter(request)? };
        let snap_bytes = request.snaplen.map_or(MOST_BYTES, |bytes| bytes.get().min(MOST_BYTES));
        let mut file = File::begin(snap_bytes);
        names.into_iter().for_each(|(name, _)| _ = file.interface(name));
        let origin = self.clock_origin();
        self.withdraw_shortcuts()?;
        let mut pages = Vec::new();
        let id = self.fleet().observe(|id| {
            let recorder = Recorder::new(id, selection.clone(), request.drops, snap_bytes);
            pages.push(recorder.pages());
            Observer::Recorder(Box::new(recorder))
        });
        let id = id.map_err(stuck)?;
        let left = request.count.map_or(u64::MAX, std::num::NonZeroU64::get);
        Ok(Capture { id, pages, turn: 0, origin, left, frames: 0, missed: 0, file })
    }

    /// The ports and tunnels that are captured, with their numbers.
    fn names_captured(
        &self,
        wanted: &[PortName],
    ) -> Result<Vec<(String, Vec<PortIndex>)>, CtlError> {
        let mut all = self.books_by_name();
        for name in wanted {
            if !all.iter().any(|(own, _)| own == name.as_str()) {
                return Err(self.no_open_port(name));
            }
        }
        let is_wanted = |own: &str| wanted.iter().any(|name| name.as_str() == own);
        all.retain(|(own, _)| wanted.is_empty() || is_wanted(own));
        Ok(all)
    }

    fn filter(&self, request: &ctl::Capture) -> Result<Option<flows::rules::RuleMatch>, CtlError> {
        let Some(filter) = &request.filter else { return Ok(None) };
        if filter.criteria().state.is_some() {
            let message = "a capture sees frames and knows no connections; leave out state=";
            return Err(CtlError::invalid(message.to_owned()));
        }
        let lowered = match_in_numbers(self.config(), self.numbering(), filter);
        lowered.map(Some).ok_or_else(|| {
            CtlError::not_found(format!(
                "nothing matches {filter}: it names a port or bridge that does not exist, or whose device is \
                 waited for; see `port list` and `bridge list`"
            ))
        })
    }

    /// The time of day at which the daemon's clock was at zero.
    fn clock_origin(&self) -> Duration {
        let since = Duration::from_nanos(self.fleet_ref().clock().now().as_nanos());
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        today.saturating_sub(since)
    }

    /// The name by which frames of a port are shown.
    pub(super) fn captured_at(&self, port: PortIndex) -> String {
        let name = self.numbering().port_name(port).map(ToString::to_string);
        let endpoints = &self.numbering().overlay.endpoints;
        let endpoint = || endpoints.iter().find(|(_, own)| **own == port);
        name.or_else(|| endpoint().map(|(at, _)| at.local.to_string()))
            .unwrap_or_else(|| "(removed)".to_owned())
    }
}

impl Capture {
    /// The next piece.
    pub(super) fn next(&mut self, switch: &Switch) -> Next {
        if let Some(piece) = self.file.take() {
            return Next::Piece(piece);
        }
        if self.left == 0 {
            return Next::Enough;
        }
        match self.take_page() {
            Some((worker, page)) => {
                self.write(&page, switch);
                self.pages[worker].give_back(page);
                self.file.take().map_or(Next::Nothing, Next::Piece)
            }
            None => Next::Nothing,
        }
    }

    /// The next page, of each worker in turn.
    fn take_page(&mut self) -> Option<(usize, Page)> {
        let workers = self.pages.len();
        (self.turn..self.turn + workers).find_map(|turn| {
            let worker = turn % workers;
            let page = self.pages[worker].take()?;
            self.turn = worker + 1;
            Some((worker, page))
        })
    }

    /// Writes the frames of a page that are still wanted.
    fn write(&mut self, page: &Page, switch: &Switch) {
        for (record, bytes) in page.frames() {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            self.frames += 1;
            let at = self.origin + Duration::from_nanos(record.at.as_nanos());
            self.file.frame(switch.captured_at(record.port), at, record, bytes);
        }
    }

    /// Ends it: what the workers have still, and what was counted.
    pub(super) fn end(mut self, switch: &mut Switch) -> (Vec<Value>, Result<Value, CtlError>) {
        let observers = switch.fleet().unobserve(self.id);
        let mut pieces = Vec::new();
        while let Next::Piece(piece) = self.next(switch) {
            pieces.push(piece);
        }
        let observers = match observers {
            Ok(observers) => observers,
            Err(error) => return (pieces, Err(stuck(error))),
        };
        for observer in observers {
            let Observer::Recorder(mut recorder) = observer else { continue };
            if let Some(page) = recorder.take_page() {
                self.write(&page, switch);
            }
            for (port, frames) in recorder.missed() {
                self.missed += frames;
                self.file.miss(switch.captured_at(port), frames);
            }
        }
        self.file.end(switch.clock_origin() + now(switch));
        pieces.extend(self.file.take());
        let (frames, missed) = (self.frames, self.missed);
        (pieces, json(CaptureInfo { frames, missed }))
    }
}

fn now(switch: &Switch) -> Duration {
    Duration::from_nanos(switch.fleet_ref().clock().now().as_nanos())
}

impl File {
    fn begin(snap_bytes: u32) -> Self {
        let mut bytes = Vec::new();
        let application = concat!("vswitchd ", env!("CARGO_PKG_VERSION"));
        let section = Pcapng::begin(&mut bytes, application);
        Self { section, snap_bytes, interfaces: BTreeMap::new(), bytes }
    }

    /// The interface of a name, described before it is used.
    fn interface(&mut self, name: String) -> &mut (InterfaceId, Statistics) {
        let Self { section, snap_bytes, interfaces, bytes } = self;
        interfaces.entry(name).or_insert_with_key(|name| {
            (section.interface(bytes, name, *snap_bytes), Statistics::default())
        })
    }

    fn frame(&mut self, name: String, at: Duration, record: &Record, bytes: &[u8]) {
        let (interface, counted) = self.interface(name);
        counted.received += 1;
        let captured = Captured {
            interface: *interface,
            at,
            way: match record.side {
                DropSide::Ingress => Way::Inbound,
                DropSide::Egress => Way::Outbound,
            },
            frame_bytes: record.frame_bytes,
            bytes,
            comment: &comment(record.side, record.reason, record.offload),
        };
        self.section.frame(&mut self.bytes, &captured);
    }

    fn miss(&mut self, name: String, frames: u64) {
        let (_, counted) = self.interface(name);
        counted.received += frames;
        counted.dropped += frames;
    }

    fn end(&mut self, at: Duration) {
        for (interface, counted) in self.interfaces.values() {
            self.section.statistics(&mut self.bytes, *interface, at, *counted);
        }
    }

    /// What was written since the last call.
    fn take(&mut self) -> Option<Value> {
        if self.bytes.is_empty() {
            return None;
        }
        let piece = CapturePiece { pcapng: BASE64_STANDARD.encode(&self.bytes) };
        self.bytes.clear();
        serde_json::to_value(piece).ok()
    }
}

/// What the bytes of a frame do not say.
fn comment(side: DropSide, reason: Option<DropReason>, offload: Offload) -> String {
    let mut text = String::new();
    if let Some(reason) = reason {
        let stage = match side {
            DropSide::Ingress => "on its way in",
            DropSide::Egress => "on its way out",
        };
        let _ = write!(text, "dropped {stage}, {}: {}", reason.name(), reason.explain());
    }
    let mut add = |part: String| {
        let comma = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{comma}{part}");
    };
    if let Some(bytes) = offload.gso.segment_bytes() {
        add(format!("super-frame, of segments with {bytes} bytes of payload"));
    }
    if let Csum::Partial { .. } = offload.csum {
        add("its checksum is partial, and is completed where it leaves".to_owned());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use pktio::Gso;

    #[test]
    fn a_comment_says_why_a_frame_was_lost_and_what_its_bytes_do_not_show() {
        let plain = Offload::NONE;
        assert_eq!(comment(DropSide::Ingress, None, plain), "");
        let lost = comment(DropSide::Ingress, Some(DropReason::NoRoute), plain);
        assert!(lost.starts_with("dropped on its way in, no-route: no route leads"), "{lost}");
        let lost = comment(DropSide::Egress, Some(DropReason::TxQueueFull), plain);
        assert!(lost.starts_with("dropped on its way out, tx-queue-full: "), "{lost}");
        let csum = Csum::Partial { start: 34, offset: 16 };
        let large = Offload { csum, gso: Gso::Tcp4 { mss: 1448 } };
        let text = "super-frame, of segments with 1448 bytes of payload; its checksum is partial, and is completed \
                    where it leaves";
        assert_eq!(comment(DropSide::Ingress, None, large), text);
    }
}
