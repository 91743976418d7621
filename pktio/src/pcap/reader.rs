//! Capture files to read, of either format.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError as FormatError};

use super::{PcapError, file_error};
use crate::buffer::SLAB_BYTES;
use crate::port::PortFault;

/// The type of a pcapng file's first block, the same in either byte order.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

enum Format {
    Classic(PcapReader<BufReader<File>>),
    NextGeneration(PcapNgReader<BufReader<File>>),
}

/// A capture file, and the frame that is to be handed out next.
pub(super) struct Reader {
    format: Format,
    path: PathBuf,
    frame: Vec<u8>,
    has_frame: bool,
}

impl Reader {
    /// Opens a file and finds out its format.
    pub(super) fn open(path: &Path) -> Result<Self, PcapError> {
        let failed = |source| file_error("open", path, source);
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let is_next_generation = file.fill_buf().map_err(failed)?.starts_with(&SECTION_HEADER);
        let format = if is_next_generation {
            PcapNgReader::new(file).map(Format::NextGeneration)
        } else {
            PcapReader::new(file).map(Format::Classic)
        };
        let unusable = |why| PcapError::Format { path: path.to_owned(), why };
        let format = format.map_err(|error| unusable(error.to_string()))?;
        if let Format::Classic(reader) = &format {
            check_link(reader.header().datalink).map_err(unusable)?;
        }
        Ok(Self { format, path: path.to_owned(), frame: Vec::new(), has_frame: false })
    }

    /// The next frame, the same one until [`Reader::advance`]. `None` at the file's end.
    pub(super) fn peek(&mut self) -> Result<Option<&[u8]>, PortFault> {
        if !self.has_frame {
            self.has_frame = self.read().map_err(|why| PortFault::Io {
                operation: "reading a capture file",
                source: io::Error::other(format!("{}: {why}", self.path.display())),
            })?;
        }
        Ok(self.has_frame.then_some(&self.frame))
    }

    /// Goes on to the next frame.
    pub(super) fn advance(&mut self) {
        self.has_frame = false;
    }

    /// Reads the next frame. False at the file's end. After an error it stays where it was.
    fn read(&mut self) -> Result<bool, String> {
        let found = match &mut self.format {
            Format::Classic(reader) => read_classic(reader, &mut self.frame),
            Format::NextGeneration(reader) => read_next_generation(reader, &mut self.frame),
        }?;
        match self.frame.len() {
            bytes if found && bytes > SLAB_BYTES => {
                Err(format!("a frame of {bytes} bytes; {SLAB_BYTES} are the most"))
            }
            _ => Ok(found),
        }
    }
}

fn read_classic(
    reader: &mut PcapReader<BufReader<File>>,
    frame: &mut Vec<u8>,
) -> Result<bool, String> {
    // Raw, because a frame that was longer than what was kept of it is no error here.
    let Some(packet) = reader.next_raw_packet() else { return Ok(false) };
    replace(frame, &packet.map_err(explain)?.data);
    Ok(true)
}

fn read_next_generation(
    reader: &mut PcapNgReader<BufReader<File>>,
    frame: &mut Vec<u8>,
) -> Result<bool, String> {
    while let Some(block) = reader.next_block() {
        let interface = match block.map_err(explain)? {
            Block::EnhancedPacket(packet) => {
                replace(frame, &packet.data);
                packet.interface_id
            }
            Block::Packet(packet) => {
                replace(frame, &packet.data);
                u32::from(packet.interface_id)
            }
            Block::SimplePacket(packet) => {
                // Its data is padded, and has no length of its own.
                let bytes = usize::try_from(packet.original_len).unwrap_or(usize::MAX);
                replace(frame, &packet.data[..bytes.min(packet.data.len())]);
                0
            }
            _ => continue,
        };
        let described = reader.interfaces().get(interface as usize);
        let described = described.ok_or("a frame of an interface that is not described")?;
        check_link(described.linktype)?;
        return Ok(true);
    }
    Ok(false)
}

fn replace(frame: &mut Vec<u8>, bytes: &[u8]) {
    frame.clear();
    frame.extend_from_slice(bytes);
}

fn check_link(link: DataLink) -> Result<(), String> {
    match link {
        DataLink::ETHERNET => Ok(()),
        other => Err(format!("its link type is {other:?}, not Ethernet")),
    }
}

/// What is wrong, in words that say more than "error reading bytes".
fn explain(error: FormatError) -> String {
    match error {
        FormatError::IoError(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
            "the file ends in the middle of a frame".to_owned()
        }
        FormatError::IoError(source) => source.to_string(),
        other => other.to_string(),
    }
}
