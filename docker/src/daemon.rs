//! [`Daemon`]: the way to `vswitchd`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ctl::response::{BridgeInfo, Changed, NatInfo, NetworkInfo};
use ctl::{BridgeName, Client, ClientError, Mutation, Named, Query, Request};
use serde::de::DeserializeOwned;

/// How long a daemon that does not listen is waited for: it may be restarting. dockerd waits 30 s for a plugin.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long until it is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// The way to `vswitchd`: a connection for each request, so that a restart is nothing to recover from.
#[derive(Debug, Clone)]
pub struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// The daemon behind a control socket. It need not be there yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    fn connect(&self) -> Result<Client, ClientError> {
        let begun = Instant::now();
        loop {
            match Client::connect(&self.socket) {
                Err(ClientError::Unreachable { .. }) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                connected => return connected,
            }
        }
    }

    fn ask<T: DeserializeOwned>(&self, query: Query) -> Result<T, ClientError> {
        self.connect()?.ask(Request::Query(query))
    }

    /// Changes something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn change(&self, mutation: Mutation) -> Result<Changed, ClientError> {
        self.connect()?.ask(Request::Mutation(mutation))
    }

    /// The networks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn networks(&self) -> Result<Vec<NetworkInfo>, ClientError> {
        self.ask(Query::NetworkList)
    }

    /// A bridge.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn bridge(&self, name: &BridgeName) -> Result<BridgeInfo, ClientError> {
        self.ask(Query::BridgeShow(Named::new(name.clone())))
    }

    /// The rules of address translation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn translations(&self) -> Result<Vec<NatInfo>, ClientError> {
        self.ask(Query::NatList)
    }
}
