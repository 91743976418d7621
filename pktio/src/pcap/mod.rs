//! The capture-file port: frames from one file, frames to another. For replay, and for looking at what a
//! switch does with any of the usual tools.
//!
//! * It reads the classic format (`draft-ietf-opsawg-pcap`, micro- or nanoseconds, either byte order) and
//!   pcapng (`draft-ietf-opsawg-pcapng`). Time stamps are ignored: the next frame is there at once.
//! * It writes the classic format with nanoseconds. Every `tx_burst` is one write to the file, and what
//!   cannot be written whole is taken out of it again: the file is valid at any moment, also after a
//!   crash or on a full disk.
//!
//! [`Pcapng`] writes captures of what a switch does: several interfaces, directions, comments.
//!
//! A file holds neither offload state nor super-frames, so the port accepts only plain frames.

mod pcapng;
mod reader;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap_file::pcap::PcapHeader;
use pcap_file::{Endianness, TsResolution};

use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, Pool};
use crate::offload::Accepts;
use crate::port::{Port, PortFault, Sent};
use reader::Reader;

pub use pcapng::{Captured, InterfaceId, Pcapng, Statistics, Way};

/// The longest frame that the files we write may hold, by their header; the value that `tcpdump` uses.
const MOST_BYTES: u32 = 262_144;

/// Why there is no capture-file port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapError {
    /// A file cannot be opened or made.
    #[error("cannot {operation} capture file {path}: {source}", path = .path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is no capture file, or not of Ethernet.
    #[error("{path} is no capture file of Ethernet frames: {why}", path = .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Receives the frames of one file once, and writes what is sent to another.
pub struct PcapPort {
    reader: Option<Reader>,
    writer: Option<Writer>,
}

impl PcapPort {
    /// Opens the file to read, and makes the file to write, of those that are given.
    ///
    /// # Errors
    /// [`PcapError`].
    pub fn open(read: Option<&Path>, write: Option<&Path>) -> Result<Self, PcapError> {
        Ok(Self {
            reader: read.map(Reader::open).transpose()?,
            writer: write.map(Writer::create).transpose()?,
        })
    }
}

/// The file that is written.
struct Writer {
    file: File,
    path: PathBuf,
    /// Bytes of the file that are whole records.
    whole_bytes: u64,
    /// Records of the burst that is being sent.
    records: Vec<u8>,
}

impl Writer {
    fn create(path: &Path) -> Result<Self, PcapError> {
        let mut file = File::create(path).map_err(|source| file_error("make", path, source))?;
        let header = PcapHeader {
            snaplen: MOST_BYTES,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::native(),
            ..PcapHeader::default()
        };
        let written = header.write_to(&mut file);
        let written = written
            .map_err(|error| file_error("write the header of", path, io::Error::other(error)))?;
        Ok(Self { file, path: path.to_owned(), whole_bytes: written as u64, records: Vec::new() })
    }

    /// Writes the frames, all of them or none.
    fn write(&mut self, frames: &Burst) -> Result<(), PortFault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.records.clear();
        for frame in frames.iter() {
            append_record(&mut self.records, now, frame.data());
        }
        if let Err(error) = self.file.write_all(&self.records) {
            // Best effort: the fault that follows is about the file in any case.
            let _ = self.file.set_len(self.whole_bytes);
            let source = io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
            return Err(PortFault::Io { operation: "writing a capture file", source });
        }
        self.whole_bytes += self.records.len() as u64;
        Ok(())
    }
}

/// Appends a frame with its record header (`draft-ietf-opsawg-pcap`, section 5). The format counts
/// seconds in 32 bits.
fn append_record(records: &mut Vec<u8>, time: Duration, frame: &[u8]) {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    for field in [seconds, time.subsec_nanos(), length, length] {
        records.extend_from_slice(&field.to_ne_bytes());
    }
    records.extend_from_slice(frame);
}

fn file_error(operation: &'static str, path: &Path, source: io::Error) -> PcapError {
    PcapError::File { operation, path: path.to_owned(), source }
}

impl Port for PcapPort {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let Some(reader) = &mut self.reader else { return Ok(0) };
        let (mut received, mut bytes) = (0, 0);
        while received < BURST_FRAMES && bytes < BURST_BYTES {
            let next = match reader.peek() {
                Ok(Some(next)) => next,
                Ok(None) => break,
                // What came before the damage is handed out first; it is found again next time.
                Err(_) if received > 0 => break,
                Err(fault) => return Err(fault),
            };
            let Some(frame) = pool.frame_from(next) else { break };
            bytes += frame.len();
            received += 1;
            out.push(frame);
            reader.advance();
        }
        Ok(received)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        if let Some(writer) = &mut self.writer {
            writer.write(frames)?;
        }
        let sent = Sent { frames: frames.len(), refused: 0 };
        pool.recycle_all(frames);
        Ok(sent)
    }

    fn accepts(&self) -> Accepts {
        Accepts::PLAIN
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
