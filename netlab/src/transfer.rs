//! Transfers that must arrive whole: every byte is compared with what was sent.
//!
//! Both ends make the same pseudo-random bytes from a seed, so the receiver needs no copy, and an error
//! says where the first wrong byte is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{LabError, is_timeout, socket};
use crate::pattern::{Pattern, first_difference};
use crate::tcp::failed;
use crate::{PATIENCE, Path, sys};

/// Bytes that are made and compared at a time. A multiple of eight, as [`Pattern`] wants it.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of a datagram's number.
const NUMBER_BYTES: usize = 8;
/// Datagrams that may be under way, so that no queue overflows on a network that loses nothing.
const MOST_UNDER_WAY: u64 = 64;
/// Bytes that may be under way, for the same reason.
const MOST_BYTES_UNDER_WAY: u64 = 128 * 1024;
/// How long the sender waits for a datagram before it takes it for lost.
const TAKEN_FOR_LOST: Duration = Duration::from_millis(500);

/// Sends this many bytes over a TCP connection, and returns how long it took.
///
/// # Errors
/// [`LabError::Corrupt`] and [`LabError::Length`] when something else arrives; [`LabError::Stalled`];
/// [`LabError::Socket`].
pub fn tcp(path: &Path, bytes: u64, seed: u64) -> Result<Duration, LabError> {
    let (near, far) = path.tcp()?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || send_tcp(near, bytes, seed));
        let received = receive_tcp(far, bytes, seed);
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What the receiver found wrong is the cause of the sender's broken connection.
        received.and(sent)
    })?;
    Ok(start.elapsed())
}

fn send_tcp(mut near: TcpStream, bytes: u64, seed: u64) -> Result<(), LabError> {
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut sent = 0;
    while sent < bytes {
        pattern.fill(&mut chunk);
        let part = part_of(&mut chunk, bytes - sent);
        near.write_all(part).map_err(|error| failed("a TCP transfer", "send", sent, error))?;
        sent += length(part);
    }
    near.shutdown(Shutdown::Write).map_err(socket("end a TCP transfer"))
}

fn receive_tcp(mut far: impl Read, bytes: u64, seed: u64) -> Result<(), LabError> {
    let operation = "a TCP transfer";
    let mut pattern = Pattern::new(seed);
    let (mut expected, mut got) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut arrived = 0;
    while arrived < bytes {
        pattern.fill(&mut expected);
        let expected = part_of(&mut expected, bytes - arrived);
        let got = part_of(&mut got, bytes - arrived);
        let count = read_full(&mut far, got)
            .map_err(|error| failed(operation, "receive by TCP", arrived, error))?;
        compare(operation, arrived, &got[..count], &expected[..count])?;
        arrived += length(&got[..count]);
        if count < got.len() {
            return Err(LabError::Length { operation, arrived, sent: bytes });
        }
    }
    match far.read(&mut got[..1]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(LabError::Length { operation, arrived: arrived + 1, sent: bytes }),
        Err(error) => Err(failed(operation, "receive by TCP", arrived, error)),
    }
}

/// Reads until the buffer is full or the connection ends.
fn read_full(stream: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// How to send datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Datagrams {
    /// How many.
    pub count: u64,
    /// UDP payload of each: 8 to 65507 bytes.
    pub payload_bytes: u16,
    /// How many the sender hands over at once, for the kernel or a device to cut (`UDP_SEGMENT`): 1, or
    /// up to 64 that are together no longer than 65507 bytes and each fit the MTU.
    pub segments: u16,
    /// What is in them.
    pub seed: u64,
}

/// What became of the datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Different ones that arrived, all of them whole.
    pub arrived: u64,
    /// Those that did not.
    pub lost: u64,
    /// Those that arrived once more.
    pub repeated: u64,
    /// Those that arrived after one that was sent later.
    pub late: u64,
}

/// Sends datagrams, no faster than they arrive, and reports how many did.
///
/// # Errors
/// [`LabError::Corrupt`] and [`LabError::Length`] when a datagram is not what was sent;
/// [`LabError::Parameters`]; [`LabError::Socket`].
pub fn udp(path: &Path, datagrams: &Datagrams) -> Result<Delivery, LabError> {
    datagrams.check()?;
    let (near, far) = path.udp()?;
    if datagrams.segments > 1 {
        sys::segment_udp(&near, datagrams.payload_bytes).map_err(socket("set UDP_SEGMENT"))?;
    }
    far.set_read_timeout(Some(TAKEN_FOR_LOST * 2)).map_err(socket("receive UDP"))?;
    let arrived = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_udp(&far, datagrams, &arrived));
        let sent = send_udp(&near, datagrams, &arrived);
        let received = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.and(received)
    })
}

impl Datagrams {
    fn check(&self) -> Result<(), LabError> {
        let bad = |why| Err(LabError::Parameters { operation: "transfer datagrams", why });
        let together = u32::from(self.payload_bytes) * u32::from(self.segments);
        if usize::from(self.payload_bytes) < NUMBER_BYTES {
            return bad("the payload has no room for a number of 8 bytes");
        }
        if self.segments == 0 || self.segments > 64 || together > 65_507 {
            return bad("send 1 to 64 segments of together up to 65507 bytes");
        }
        Ok(())
    }

    /// Writes the datagram of this number.
    fn write(&self, number: u64, datagram: &mut [u8]) {
        let (head, rest) = datagram.split_at_mut(NUMBER_BYTES);
        head.copy_from_slice(&number.to_be_bytes());
        Pattern::new(self.seed ^ number.rotate_left(32)).fill(rest);
    }

    /// Whether there is no room for the next batch beside those that are under way.
    fn must_wait(&self, under_way: u64) -> bool {
        let most = (MOST_BYTES_UNDER_WAY / u64::from(self.payload_bytes)).min(MOST_UNDER_WAY);
        under_way > 0 && under_way + u64::from(self.segments) > most
    }
}

fn send_udp(near: &UdpSocket, datagrams: &Datagrams, arrived: &AtomicU64) -> Result<(), LabError> {
    let size = usize::from(datagrams.payload_bytes);
    let mut super_datagram = vec![0; size * usize::from(datagrams.segments)];
    let mut sent = 0;
    // What was taken for lost no longer counts as under way.
    let mut given_up = 0;
    while sent < datagrams.count {
        let mut batch = 0;
        for datagram in super_datagram.chunks_mut(size) {
            if sent < datagrams.count {
                datagrams.write(sent, datagram);
                sent += 1;
                batch += size;
            }
        }
        near.send(&super_datagram[..batch]).map_err(socket("send UDP"))?;
        let waiting_since = Instant::now();
        loop {
            let arrived = arrived.load(Ordering::Relaxed);
            if waiting_since.elapsed() > TAKEN_FOR_LOST {
                given_up = sent - arrived;
            }
            if !datagrams.must_wait(sent.saturating_sub(arrived + given_up)) {
                break;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    Ok(())
}

fn receive_udp(
    far: &UdpSocket,
    datagrams: &Datagrams,
    arrived: &AtomicU64,
) -> Result<Delivery, LabError> {
    let mut tally = Tally::new(datagrams)?;
    let mut room = vec![0; usize::from(u16::MAX)];
    let end = Instant::now() + PATIENCE * 6;
    while tally.delivery.arrived < datagrams.count && Instant::now() < end {
        match far.recv(&mut room) {
            Ok(count) => {
                tally.note(datagrams, &room[..count])?;
                arrived.store(tally.delivery.arrived, Ordering::Relaxed);
            }
            Err(error) if is_timeout(&error) => break,
            Err(error) => return Err(socket("receive UDP")(error)),
        }
    }
    Ok(Delivery { lost: datagrams.count - tally.delivery.arrived, ..tally.delivery })
}

/// Which datagrams have arrived.
struct Tally {
    delivery: Delivery,
    seen: Vec<bool>,
    highest: u64,
    expected: Vec<u8>,
}

impl Tally {
    fn new(datagrams: &Datagrams) -> Result<Self, LabError> {
        let count = usize::try_from(datagrams.count).map_err(|_| LabError::Parameters {
            operation: "transfer datagrams",
            why: "they are more than this machine can count",
        })?;
        Ok(Self {
            delivery: Delivery::default(),
            seen: vec![false; count],
            highest: 0,
            expected: vec![0; usize::from(datagrams.payload_bytes)],
        })
    }

    fn note(&mut self, datagrams: &Datagrams, got: &[u8]) -> Result<(), LabError> {
        let operation = "a UDP transfer";
        if got.len() != self.expected.len() {
            let (arrived, sent) = (length(got), length(&self.expected));
            return Err(LabError::Length { operation, arrived, sent });
        }
        let number = got.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        datagrams.write(number, &mut self.expected);
        compare(operation, 0, got, &self.expected)?;
        let seen = usize::try_from(number).ok().and_then(|number| self.seen.get_mut(number));
        match seen {
            None => {
                let (got, sent) = (got[0], 0);
                return Err(LabError::Corrupt { operation, offset: 0, got, sent });
            }
            Some(true) => self.delivery.repeated += 1,
            Some(seen) => {
                *seen = true;
                self.delivery.arrived += 1;
                self.delivery.late += u64::from(number < self.highest);
                self.highest = self.highest.max(number);
            }
        }
        Ok(())
    }
}

fn compare(operation: &'static str, at: u64, got: &[u8], sent: &[u8]) -> Result<(), LabError> {
    match first_difference(got, sent) {
        None => Ok(()),
        Some((place, got, sent)) => {
            let offset = at + u64::try_from(place).unwrap_or(0);
            Err(LabError::Corrupt { operation, offset, got, sent })
        }
    }
}

/// The beginning of a chunk, no longer than what is left.
fn part_of(chunk: &mut [u8], left: u64) -> &mut [u8] {
    let bytes = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
    &mut chunk[..bytes]
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAMS: Datagrams = Datagrams { count: 4, payload_bytes: 20, segments: 1, seed: 5 };

    fn stream(bytes: usize) -> Vec<u8> {
        let mut stream = vec![0; bytes];
        Pattern::new(9).fill(&mut stream);
        stream
    }

    fn datagram(number: u64) -> Vec<u8> {
        let mut datagram = vec![0; 20];
        DATAGRAMS.write(number, &mut datagram);
        datagram
    }

    #[test]
    fn a_whole_stream_is_accepted() {
        for bytes in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES - 8] {
            let sent = stream(bytes);
            receive_tcp(&sent[..], u64::try_from(bytes).unwrap(), 9).unwrap();
        }
    }

    #[test]
    fn a_wrong_byte_of_a_stream_is_found() {
        let mut sent = stream(2 * CHUNK_BYTES);
        sent[CHUNK_BYTES + 77] ^= 1;
        let error = receive_tcp(&sent[..], length(&sent), 9).unwrap_err();
        let at = u64::try_from(CHUNK_BYTES + 77).unwrap();
        assert!(matches!(error, LabError::Corrupt { offset, .. } if offset == at), "{error}");
    }

    #[test]
    fn a_stream_that_is_too_short_or_too_long_is_refused() {
        let sent = stream(1000);
        for (promised, arrives) in [(1001, 1000), (999, 1000)] {
            let error = receive_tcp(&sent[..], promised, 9).unwrap_err();
            let LabError::Length { arrived, sent, .. } = error else { panic!("{error}") };
            assert_eq!((arrived, sent), (arrives, promised));
        }
    }

    #[test]
    fn datagrams_are_told_apart() {
        let mut tally = Tally::new(&DATAGRAMS).unwrap();
        for number in [0, 2, 1, 2] {
            tally.note(&DATAGRAMS, &datagram(number)).unwrap();
        }
        let expected = Delivery { arrived: 3, lost: 0, repeated: 1, late: 1 };
        assert_eq!(tally.delivery, expected);
    }

    #[test]
    fn datagrams_that_nobody_sent_are_refused() {
        let mut wrong = datagram(1);
        wrong[13] ^= 0x10;
        for got in [wrong, datagram(1)[..19].to_vec(), datagram(4), Vec::new()] {
            let mut tally = Tally::new(&DATAGRAMS).unwrap();
            assert!(tally.note(&DATAGRAMS, &got).is_err(), "{got:?}");
            assert_eq!(tally.delivery, Delivery::default());
        }
    }

    #[test]
    fn a_batch_waits_for_those_under_way() {
        let many = Datagrams { segments: 64, payload_bytes: 1000, ..DATAGRAMS };
        assert!(!many.must_wait(0) && many.must_wait(1));
        assert!(!DATAGRAMS.must_wait(MOST_UNDER_WAY - 1) && DATAGRAMS.must_wait(MOST_UNDER_WAY));
    }
}
