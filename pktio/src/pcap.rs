//! The capture-file port: frames from one file, frames to another (the classic pcap format,
//! `draft-ietf-opsawg-pcap`). For replay and for looking at what a switch does.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, PcapError as FormatError};

use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, Pool};
use crate::offload::Accepts;
use crate::port::{Port, PortFault, Sent};

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

/// Receives the frames of one file once, and writes what is sent to another, which is whole when the port is
/// dropped.
pub struct PcapPort {
    reader: Option<PcapReader<BufReader<File>>>,
    writer: Option<PcapWriter<BufWriter<File>>>,
}

impl PcapPort {
    /// Opens the file to read, and makes the file to write, of those that are given.
    ///
    /// # Errors
    /// [`PcapError`].
    pub fn open(read: Option<&Path>, write: Option<&Path>) -> Result<Self, PcapError> {
        Ok(Self {
            reader: read.map(open_reader).transpose()?,
            writer: write.map(open_writer).transpose()?,
        })
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), FormatError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        writer.write_packet(&PcapPacket::new(now, length, frame)).map(|_| ())
    }
}

fn open_reader(path: &Path) -> Result<PcapReader<BufReader<File>>, PcapError> {
    let file = File::open(path).map_err(|source| file_error("open", path, source))?;
    let format = |why: String| PcapError::Format { path: path.to_owned(), why };
    let reader = PcapReader::new(BufReader::new(file)).map_err(|e| format(e.to_string()))?;
    match reader.header().datalink {
        DataLink::ETHERNET => Ok(reader),
        other => Err(format(format!("its link type is {other:?}"))),
    }
}

fn open_writer(path: &Path) -> Result<PcapWriter<BufWriter<File>>, PcapError> {
    let file = File::create(path).map_err(|source| file_error("make", path, source))?;
    PcapWriter::new(BufWriter::new(file))
        .map_err(|error| file_error("begin", path, io::Error::other(error)))
}

fn file_error(operation: &'static str, path: &Path, source: io::Error) -> PcapError {
    PcapError::File { operation, path: path.to_owned(), source }
}

fn fault(operation: &'static str, error: FormatError) -> PortFault {
    PortFault::Io { operation, source: io::Error::other(error) }
}

impl Port for PcapPort {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let Some(reader) = &mut self.reader else { return Ok(0) };
        let (mut received, mut bytes) = (0, 0);
        while received < BURST_FRAMES && bytes < BURST_BYTES {
            let Some(mut frame) = pool.take_slab() else { break };
            match reader.next_packet() {
                Some(Ok(packet)) if frame.fill_from(&packet.data) => {
                    bytes += frame.len();
                    received += 1;
                    out.push(frame);
                }
                Some(Ok(_)) => pool.recycle(frame),
                Some(Err(error)) => {
                    pool.recycle(frame);
                    return Err(fault("read the capture file", error));
                }
                None => {
                    pool.recycle(frame);
                    self.reader = None;
                    break;
                }
            }
        }
        Ok(received)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let mut sent = Sent::default();
        let mut failed = None;
        for frame in frames.iter() {
            if let Err(error) = self.write(frame.data()) {
                failed = Some(fault("write the capture file", error));
                break;
            }
            sent.frames += 1;
        }
        frames.drain(..sent.frames).for_each(|frame| pool.recycle(frame));
        failed.map_or(Ok(sent), Err)
    }

    fn accepts(&self) -> Accepts {
        Accepts::PLAIN
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
