//! [`Resolvers`]: the host's own, which are followed when they change.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use gateway::dns::nameservers;

/// Where the host names its resolvers.
const FILE: &str = "/etc/resolv.conf";
/// How long what was read is taken to be true.
const TRUE_FOR: Duration = Duration::from_secs(1);

/// The resolvers of the host.
#[derive(Debug, Default)]
pub struct Resolvers {
    servers: Vec<SocketAddr>,
    looked: Option<Instant>,
    /// When the file was written that was read.
    written: Option<SystemTime>,
}

impl Resolvers {
    /// Who they are. A host without any has nobody who could be asked.
    pub fn current(&mut self) -> &[SocketAddr] {
        if self.looked.is_none_or(|at| at.elapsed() >= TRUE_FOR) {
            self.looked = Some(Instant::now());
            let written = fs::metadata(FILE).and_then(|file| file.modified()).ok();
            if written.is_none() || written != self.written {
                self.written = written;
                let text = fs::read(FILE).unwrap_or_default();
                self.servers = nameservers(&String::from_utf8_lossy(&text), scope);
            }
        }
        &self.servers
    }
}

/// The number of an interface.
fn scope(interface: &str) -> Option<u32> {
    let path = format!("/sys/class/net/{interface}/ifindex");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
