//! The facts of the machine that a run was made on: without them no figure means anything.

use std::fs;
use std::time::SystemTime;

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// What a machine is, and how busy it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    /// Cores that the run could use.
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Whether it is a virtual machine, as far as the processor says.
    pub(crate) is_virtual: bool,
    /// Tasks that wanted to run, on average over the minute before.
    pub(crate) load_before: f64,
}

impl Machine {
    /// This one, now.
    pub(crate) fn examine() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let kernel = uname();
        Self {
            processor: field(&processors, "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_mib: field(&memory, "MemTotal").and_then(first_number).unwrap_or(0) / 1024,
            kernel: format!(
                "{} {}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy()
            ),
            is_virtual: field(&processors, "flags")
                .is_some_and(|flags| flags.contains("hypervisor")),
            load_before: load
                .split_whitespace()
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0.0),
        }
    }

    /// In which of its facts another one differs, however busy either was.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let other = Self { load_before: self.load_before, ..other.clone() };
        let pairs = self.facts().into_iter().zip(other.facts());
        let differs = pairs.filter(|((_, own), (_, other))| own != other);
        differs.map(|((name, own), (_, other))| format!("{name}: {own} / {other}")).collect()
    }

    /// Its facts by name, for people.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let kind = if self.is_virtual { " (virtual machine)" } else { "" };
        vec![
            ("processor", format!("{}{kind}", self.processor)),
            ("cores", self.cores.to_string()),
            ("memory", format!("{} MiB", self.memory_mib)),
            ("kernel", self.kernel.clone()),
            ("load before", format!("{:.2}", self.load_before)),
        ]
    }
}

/// The date and time in UTC (RFC 3339).
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let text = "processor\t: 0\nmodel name\t: A Chip 9000\nMemTotal:       2048 kB\n";
        assert_eq!(field(text, "model name"), Some("A Chip 9000"));
        assert_eq!(field(text, "MemTotal").and_then(first_number), Some(2048));
        assert_eq!(field(text, "flags"), None);
    }
}
