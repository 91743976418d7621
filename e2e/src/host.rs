//! [`Host`]: where the engine and the switch run, and the world beyond its uplink.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netlab::{Container, LabError, topology};

use crate::Outcome;

/// How long a published port may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A host with an interface `up0`, behind which is the world.
#[derive(Debug)]
pub struct Host {
    /// The host's namespace.
    pub namespace: Container,
    /// The world's: [`Host::WORLD`] and [`Host::WORLD_IPV6`], at the end of the uplink.
    pub world: Container,
    directory: PathBuf,
    name: String,
}

impl Host {
    /// The switch's address on the uplink, with its prefix.
    pub const OUTSIDE: &str = "198.51.100.1/24";
    /// The same of IPv6.
    pub const OUTSIDE_IPV6: &str = "2001:db8::1/64";
    /// The world's address.
    pub const WORLD: &str = "198.51.100.9";
    /// The same of IPv6.
    pub const WORLD_IPV6: &str = "2001:db8::9";

    /// A fresh host.
    ///
    /// # Errors
    /// That namespaces cannot be made.
    pub fn new() -> Outcome<Self> {
        let (namespace, world) = (Container::new()?, Container::new()?);
        topology::veth(&namespace, "up0", &world, "eth0")?;
        let addresses = [format!("{}/24", Self::WORLD), format!("{}/64", Self::WORLD_IPV6)];
        world.address("eth0", &[&addresses[0], &addresses[1]])?;
        // Its name is that of Docker's driver on this host: plugins of all hosts are in one directory.
        let name = format!("vswitch{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = PathBuf::from("/run").join(&name);
        fs::create_dir_all(&directory)?;
        Ok(Self { namespace, world, directory, name })
    }

    /// Where its programs keep what they keep.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A name that no other host has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The page at a port of the switch's outside, fetched from the world, and the address that asked for it.
    ///
    /// # Errors
    /// That nobody serves one there within ten seconds.
    pub fn fetch(&self, from: &str) -> Outcome<(String, SocketAddr)> {
        fetch(&self.world, from)
    }

    /// The same, by a program of the host.
    ///
    /// # Errors
    /// That nobody serves one there within ten seconds.
    pub fn fetch_by_itself(&self, from: &str) -> Outcome<String> {
        Ok(fetch(&self.namespace, from)?.0)
    }
}

fn fetch(by: &Container, from: &str) -> Outcome<(String, SocketAddr)> {
    let from: SocketAddr = from.parse()?;
    let failed = |source| LabError::Socket { operation: "connect to a published port", source };
    let mut stream = by.run(|| TcpStream::connect_timeout(&from, PATIENCE).map_err(failed))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok((page, stream.local_addr()?))
}
