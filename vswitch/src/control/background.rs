//! A daemon on a thread of this process: the same daemon, driven by its socket like any other, for the
//! demonstration and the benchmarks. It ends when it is dropped.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use flows::TableSizes;
use pktio::PoolConfig;

use super::{Offload, Options, run};
use crate::fleet::{FleetOptions, default_cores};
use crate::worker::{PollMode, doorbell, ring};

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
#[error("the switch does not start: {0}")]
pub struct BackgroundError(String);

/// A daemon that serves. Dropping it ends it.
#[derive(Debug)]
pub struct Background {
    thread: Option<JoinHandle<()>>,
    stop: Arc<OwnedFd>,
}

impl Background {
    /// Starts a daemon with one worker on the default core, and returns when it serves. It keeps its state in the
    /// directory `state`, if one is given.
    ///
    /// # Errors
    /// [`BackgroundError`], which says why it does not.
    pub fn start(
        socket: PathBuf,
        mode: PollMode,
        state: Option<PathBuf>,
    ) -> Result<Self, BackgroundError> {
        Self::start_on(socket, mode, state, default_cores())
    }

    /// As [`Background::start`], without state; the kernel carries what it can.
    ///
    /// # Errors
    /// [`BackgroundError`], which says why it does not.
    pub fn start_offloaded(
        socket: PathBuf,
        mode: PollMode,
        offload: Offload,
    ) -> Result<Self, BackgroundError> {
        Self::begin(socket, mode, None, default_cores(), Some(offload))
    }

    /// As [`Background::start`], with a worker on each of these cores.
    ///
    /// # Errors
    /// [`BackgroundError`], which says why it does not.
    pub fn start_on(
        socket: PathBuf,
        mode: PollMode,
        state: Option<PathBuf>,
        cores: Vec<usize>,
    ) -> Result<Self, BackgroundError> {
        Self::begin(socket, mode, state, cores, None)
    }

    fn begin(
        socket: PathBuf,
        mode: PollMode,
        state: Option<PathBuf>,
        cores: Vec<usize>,
        offload: Option<Offload>,
    ) -> Result<Self, BackgroundError> {
        let stop = Arc::new(doorbell().map_err(|error| BackgroundError(error.to_string()))?);
        let fleet = FleetOptions {
            cores,
            mode,
            pool: PoolConfig::default(),
            tables: TableSizes::default(),
        };
        let bell = Arc::clone(&stop);
        let options = Options { socket, socket_group: None, state, fleet, offload, stop: bell };
        let (tell, told) = mpsc::channel();
        let ready = tell.clone();
        let thread = std::thread::spawn(move || {
            if let Err(error) = run(options, move || _ = ready.send(Ok(()))) {
                let _ = tell.send(Err(error.to_string()));
            }
        });
        match told.recv() {
            Ok(Ok(())) => Ok(Self { thread: Some(thread), stop }),
            Ok(Err(why)) => Err(BackgroundError(why)),
            Err(_) => Err(BackgroundError("it ended without a word".to_owned())),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        ring(&self.stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
