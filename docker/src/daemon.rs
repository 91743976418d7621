//! [`Daemon`]: the way to `vswitchd`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ctl::response::{BridgeInfo, Changed, NatInfo, NetworkInfo, SubnetInfo, UnusedInfo};
use ctl::{BridgeName, Client, ClientError, IpamFilter, Mutation, Named, Query, Request};
use serde::de::DeserializeOwned;

/// How long a daemon that does not listen, or ends before it answers, is waited for: it may be restarting. dockerd waits 30 s for a plugin.
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

    /// Asks until there is an answer. A connection that is lost before it has one is that of a daemon that ends: what was
    /// asked of it is named by its numbers, and may be asked twice.
    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let begun = Instant::now();
        let ask = || Client::connect(&self.socket)?.ask(request.clone());
        loop {
            let answered = ask();
            let may_repeat = match &answered {
                Err(ClientError::Unreachable { .. }) => true,
                Err(ClientError::Lost(_)) => !chooses(request),
                _ => false,
            };
            if !may_repeat || begun.elapsed() >= PATIENCE {
                return answered;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn query<T: DeserializeOwned>(&self, query: Query) -> Result<T, ClientError> {
        self.ask(&Request::Query(query))
    }

    /// Changes something. It may be asked for twice, so it has to be a change that is safe to repeat.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn change(&self, mutation: Mutation) -> Result<Changed, ClientError> {
        self.ask(&Request::Mutation(mutation))
    }

    /// The networks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn networks(&self) -> Result<Vec<NetworkInfo>, ClientError> {
        self.query(Query::NetworkList)
    }

    /// The subnets that are kept for networks to come.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn kept(&self) -> Result<Vec<SubnetInfo>, ClientError> {
        let unused: UnusedInfo = self.query(Query::IpamAudit(IpamFilter::default()))?;
        Ok(unused.pools)
    }

    /// The bridges.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn bridges(&self) -> Result<Vec<BridgeInfo>, ClientError> {
        self.query(Query::BridgeList)
    }

    /// A bridge.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn bridge(&self, name: &BridgeName) -> Result<BridgeInfo, ClientError> {
        self.query(Query::BridgeShow(Named::new(name.clone())))
    }

    /// The rules of address translation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn translations(&self) -> Result<Vec<NatInfo>, ClientError> {
        self.query(Query::NatList)
    }
}

/// Whether the daemon chooses, and would choose anew if it was asked twice.
fn chooses(request: &Request) -> bool {
    matches!(request, Request::Mutation(Mutation::PoolAdd(add)) if add.subnet.is_none())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_lost_before_it_is_answered_is_asked_again() {
        let socket = std::env::temp_dir().join(format!("vswitch-dying-{}", std::process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let dying = std::thread::spawn(move || {
            // One ends with the request unread, the next when it has read it; the third answers.
            drop(listener.accept().unwrap());
            let read = || {
                let (stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                (stream, line)
            };
            let (ended, asked) = read();
            drop(ended);
            let (mut lasting, again) = read();
            lasting.write_all(b"{\"v\":1,\"id\":1,\"ok\":[]}\n").unwrap();
            (asked, again)
        });
        let answer = Daemon::new(socket.clone()).networks();
        let (asked, again) = dying.join().unwrap();
        std::fs::remove_file(socket).unwrap();
        assert_eq!(answer.unwrap(), []);
        assert_eq!(asked, again);
    }
}
