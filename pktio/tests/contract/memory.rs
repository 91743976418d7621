//! The ports that need no kernel.

use std::path::PathBuf;

use netlab::TestResult;
use pktio::mem::{self, MemPort};
use pktio::null::NullPort;
use pktio::pcap::PcapPort;
use pktio::{Accepts, Burst, Pool, PoolConfig, Port};

use crate::suite::{self, MEMORY, Outcome, Rig};

struct Mem {
    near: MemPort,
    far: MemPort,
    pool: Pool,
}

impl Rig for Mem {
    fn port(&mut self) -> &mut dyn Port {
        &mut self.near
    }

    fn inject(&mut self, frames: &[Vec<u8>]) -> Outcome<bool> {
        let mut burst = Burst::new();
        burst.extend(frames.iter().filter_map(|frame| self.pool.frame_from(frame)));
        assert_eq!(self.far.tx_burst(&mut self.pool, &mut burst)?.frames, frames.len());
        Ok(true)
    }

    fn sent(&mut self) -> Outcome<Option<Vec<u8>>> {
        let mut burst = Burst::new();
        // One at a time: the others are put back into a list of their own by the port.
        self.far.rx_burst(&mut self.pool, &mut burst)?;
        let first = burst.first().map(|frame| frame.data().to_vec());
        Ok(first.filter(|_| burst.len() == 1))
    }
}

pub fn mem_keeps_the_contract() -> TestResult {
    suite::run(|_| {
        let (near, far) = mem::pair(1024, Accepts::ALL);
        Ok(Mem { near, far, pool: Pool::new(PoolConfig { small: 300, slabs: 8 })? })
    })?;
    a_full_link_leaves_the_rest()?;
    Ok(())
}

fn a_full_link_leaves_the_rest() -> Outcome {
    let (mut near, _far) = mem::pair(3, Accepts::ALL);
    let mut pool = Pool::new(MEMORY)?;
    let mut burst = Burst::new();
    burst.extend(suite::frames(&[60; 5]).iter().filter_map(|frame| pool.frame_from(frame)));
    let sent = near.tx_burst(&mut pool, &mut burst)?;
    assert_eq!((sent.frames, burst.len(), burst[0].data()[14]), (3, 2, 3));
    Ok(())
}

struct Null(NullPort);

impl Rig for Null {
    fn port(&mut self) -> &mut dyn Port {
        &mut self.0
    }

    fn inject(&mut self, frames: &[Vec<u8>]) -> Outcome<bool> {
        self.0 = NullPort::source(frames);
        Ok(false)
    }

    fn sent(&mut self) -> Outcome<Option<Vec<u8>>> {
        Ok(None)
    }
}

pub fn null_keeps_the_contract() -> TestResult {
    suite::run(|_| Ok(Null(NullPort::sink())))?;
    let mut source = NullPort::source(suite::frames(&[60, 70]));
    let mut pool = Pool::new(MEMORY)?;
    let mut burst = Burst::new();
    source.rx_burst(&mut pool, &mut burst)?;
    let lengths: Vec<_> = burst.iter().take(4).map(|frame| frame.len()).collect();
    assert_eq!((lengths, burst.len()), (vec![60, 70, 60, 70], 64));
    Ok(())
}

struct Pcap {
    port: Option<PcapPort>,
    written: PathBuf,
    read_back: Option<PcapPort>,
    directory: PathBuf,
}

impl Pcap {
    fn new(number: usize) -> Outcome<Self> {
        let directory = PathBuf::from(format!("/run/pcap-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let written = directory.join("written.pcap");
        let port = PcapPort::open(None, Some(&written))?;
        Ok(Self { port: Some(port), written, read_back: None, directory })
    }
}

impl Rig for Pcap {
    fn port(&mut self) -> &mut dyn Port {
        self.port.get_or_insert_with(|| PcapPort::open(None, None).expect("no file is opened"))
    }

    fn inject(&mut self, frames: &[Vec<u8>]) -> Outcome<bool> {
        let path = self.directory.join("read.pcap");
        let mut writer = PcapPort::open(None, Some(&path))?;
        let mut pool = Pool::new(PoolConfig { small: 300, slabs: 8 })?;
        let mut burst = Burst::new();
        burst.extend(frames.iter().filter_map(|frame| pool.frame_from(frame)));
        writer.tx_burst(&mut pool, &mut burst)?;
        drop(writer);
        self.port = Some(PcapPort::open(Some(&path), None)?);
        Ok(true)
    }

    fn sent(&mut self) -> Outcome<Option<Vec<u8>>> {
        // The file is whole when the port is dropped.
        self.port = None;
        let mut pool = Pool::new(MEMORY)?;
        if self.read_back.is_none() {
            self.read_back = Some(PcapPort::open(Some(&self.written), None)?);
            let mut burst = Burst::new();
            let reader = self.read_back.as_mut().ok_or("no reader")?;
            reader.rx_burst(&mut pool, &mut burst)?;
            let lengths: Vec<_> = burst.iter().map(|frame| frame.len()).collect();
            assert_eq!(lengths, [60, 61, 64, 128, 1000, 1514, 60, 60]);
            assert_eq!(burst[7].data()[14], 7);
        }
        Ok(None)
    }
}

pub fn pcap_keeps_the_contract() -> TestResult {
    let mut number = 0;
    suite::run(|_| {
        number += 1;
        Pcap::new(number)
    })?;
    let garbage = PathBuf::from(format!("/run/garbage-{}", std::process::id()));
    std::fs::write(&garbage, b"this is no capture file at all")?;
    let error = PcapPort::open(Some(&garbage), None).err().ok_or("it was taken")?;
    assert!(error.to_string().contains("/run/garbage"), "{error}");
    Ok(())
}
