//! Why an experiment failed.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hostnet::HostError;

/// Why an experiment failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The containers or their interfaces cannot be made.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A socket refused.
    #[error("cannot {operation}: {source}")]
    Socket {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// Traffic does not flow (any more).
    #[error("{operation} stalled after {bytes} bytes: nothing moved for {}", seconds(*.waited))]
    Stalled {
        /// What was under way.
        operation: &'static str,
        /// What had arrived until then.
        bytes: u64,
        /// How long nothing moved.
        waited: Duration,
    },
    /// What was waited for did not happen.
    #[error("it did not come true within {} that {what}", seconds(*.waited))]
    Late {
        /// What.
        what: String,
        /// For how long it was waited for.
        waited: Duration,
    },
    /// No answer to an echo request.
    #[error("{target} does not answer: {attempts} echo requests within {}", seconds(*.waited))]
    Unreachable {
        /// Who was asked.
        target: IpAddr,
        /// How often.
        attempts: u32,
        /// For how long.
        waited: Duration,
    },
    /// What arrived is not what was sent.
    #[error("{operation}: byte {offset} arrived as {got:#04x}, but was sent as {sent:#04x}")]
    Corrupt {
        /// What was under way.
        operation: &'static str,
        /// Where the first difference is, from the start of the transfer (TCP) or datagram (UDP).
        offset: u64,
        /// What arrived.
        got: u8,
        /// What was sent.
        sent: u8,
    },
    /// More or less arrived than was sent.
    #[error("{operation}: {arrived} bytes arrived of {sent}")]
    Length {
        /// What was under way.
        operation: &'static str,
        /// Bytes that arrived.
        arrived: u64,
        /// Bytes that were sent.
        sent: u64,
    },
    /// The parameters of an experiment make no sense.
    #[error("cannot {operation}: {why}")]
    Parameters {
        /// What was asked for.
        operation: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Says what was attempted when a socket refuses.
pub(crate) fn socket(operation: &'static str) -> impl Fn(io::Error) -> LabError {
    move |source| LabError::Socket { operation, source }
}

/// Whether a socket's error says that its time is up.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
