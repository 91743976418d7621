//! Ports that the kernel gives to nobody who does not ask for them, since the switch takes what comes to them.
//!
//! The kernel has one list (`ip_local_reserved_ports`, Documentation/networking/ip-sysctl.rst), which may be the host's for
//! other reasons, too: what it had before stays in it, and what is ours goes with the daemon. One that is killed leaves
//! its own behind; the next one takes out what the configuration that was kept reserves.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use ctl::PortRange;

const LIST: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// More than every other port by itself takes. The kernel gives the list by one read, or what fits of it.
const LIST_BYTES: usize = 1 << 18;

/// Why the kernel's list is not as it is to be.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the ports that the host reserves, in {path}: {source}")]
pub(super) struct ReservationError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What is reserved on the host for as long as the daemon runs.
#[derive(Debug)]
pub(super) struct Reservation {
    path: PathBuf,
    ours: Vec<PortRange>,
    /// What was reserved before.
    before: Vec<PortRange>,
    /// What a daemon before us may have left behind that was killed.
    left_behind: Vec<PortRange>,
}

impl Default for Reservation {
    fn default() -> Self {
        Self::of(PathBuf::from(LIST))
    }
}

impl Reservation {
    fn of(path: PathBuf) -> Self {
        Self { path, ours: Vec::new(), before: Vec::new(), left_behind: Vec::new() }
    }

    /// Takes these, where they are reserved already, for left behind by a daemon that was killed.
    pub(super) fn inherit(&mut self, ranges: Vec<PortRange>) {
        self.left_behind = ranges;
    }

    /// Reserves these ranges, beside what was reserved before, and no others.
    pub(super) fn put(&mut self, ranges: Vec<PortRange>) -> Result<(), ReservationError> {
        if self.ours == ranges {
            return Ok(());
        }
        if self.ours.is_empty() {
            let present = self.present().map_err(|source| self.failed("read", source))?;
            self.before = PortRange::without(&present, &self.left_behind);
        }
        let all = PortRange::joined([&self.before[..], &ranges].concat());
        let text = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        // An empty list is written as an empty line.
        let written = std::fs::write(&self.path, text + "\n");
        written.map_err(|source| self.failed("write", source))?;
        self.ours = ranges;
        self.left_behind.clear();
        Ok(())
    }

    fn present(&self) -> io::Result<Vec<PortRange>> {
        let mut list = vec![0; LIST_BYTES];
        let bytes = File::open(&self.path)?.read(&mut list)?;
        let text = String::from_utf8_lossy(&list[..bytes]);
        // Port 0, which the kernel takes too, is nobody's.
        let words = text.trim().split(',').filter(|word| !word.is_empty() && *word != "0");
        let ranges = words.map(|word| match word.strip_prefix("0-") {
            Some(last) => format!("1-{last}").parse(),
            None => word.parse(),
        });
        ranges.map(|range| range.map_err(io::Error::other)).collect()
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> ReservationError {
        ReservationError { operation, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(PathBuf);

    impl List {
        fn of(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn reservation(&self) -> Reservation {
            Reservation::of(self.0.clone())
        }

        fn text(&self) -> String {
            std::fs::read_to_string(&self.0).unwrap()
        }
    }

    impl Drop for List {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn ranges(text: &str) -> Vec<PortRange> {
        text.split(',').map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_reserved_before_stays_so_and_what_we_reserve_does_not() {
        let list = List::of("reserved", "4000-4010\n");
        let mut reservation = list.reservation();
        reservation.put(vec![PortRange::ABOVE_EPHEMERAL]).unwrap();
        assert_eq!(list.text(), "4000-4010,61000-65535\n");
        reservation.put(ranges("4011,50000")).unwrap();
        assert_eq!(list.text(), "4000-4011,50000\n");
        reservation.put(Vec::new()).unwrap();
        assert_eq!(list.text(), "4000-4010\n");
    }

    #[test]
    fn what_a_killed_daemon_left_is_not_the_hosts_however_the_kernel_writes_it() {
        let list = List::of("left", "4000-4010,8079-8082,61000-65535\n");
        let ours = ranges("8080,8081,61000-65535");
        let mut next = list.reservation();
        next.inherit(ours.clone());
        next.put(ours).unwrap();
        assert_eq!(list.text(), "4000-4010,8079-8082,61000-65535\n");
        next.put(Vec::new()).unwrap();
        assert_eq!(list.text(), "4000-4010,8079,8082\n");
    }

    #[test]
    fn a_long_list_is_read_whole() {
        let every_other: Vec<_> =
            (1..=65_535).step_by(2).map(|port: u32| port.to_string()).collect();
        let before = every_other.join(",") + "\n";
        let list = List::of("long", &before);
        let mut reservation = list.reservation();
        reservation.put(ranges("2")).unwrap();
        assert!(list.text().starts_with("1-3,5,7,"));
        reservation.put(Vec::new()).unwrap();
        assert_eq!(list.text(), before);
    }
}
