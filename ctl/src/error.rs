//! [`CtlError`]: what goes wrong with a request, as it crosses the socket.

use serde::{Deserialize, Serialize};

/// What kind of thing went wrong. Stable; each has an exit code of `vswitchctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed, or a value is out of range.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// What it would make exists already.
    Exists,
    /// What it would remove is in use.
    InUse,
    /// The caller may not.
    Denied,
    /// The kernel refused; the message says what and why.
    Host,
    /// The request is longer than a request may be.
    TooLarge,
    /// The request speaks another version of the protocol.
    Version,
    /// Nothing is free of what it asks for, or the daemon cannot serve it now.
    Unavailable,
    /// A bug in the switch.
    Internal,
}

impl ErrorCode {
    /// The exit code with which `vswitchctl` reports that there is no daemon to answer.
    pub(crate) const NO_DAEMON: u8 = 6;

    /// The exit code with which `vswitchctl` reports it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid | Self::TooLarge | Self::Version => 2,
            Self::NotFound => 3,
            Self::Exists | Self::InUse => 4,
            Self::Host => 5,
            Self::Denied => 7,
            Self::Unavailable => 8,
            Self::Internal => 1,
        }
    }
}

/// Why a request was not carried out. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CtlError {
    /// What kind of thing went wrong.
    pub code: ErrorCode,
    /// What was attempted, why it failed, and what to do.
    pub message: String,
}

impl CtlError {
    /// What the changes of a batch are called.
    const CHANGE: &str = "change";

    /// An error.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The same error, told of a part of the whole.
    pub(crate) fn within(self, what: &str, name: impl std::fmt::Display) -> Self {
        Self { message: format!("{what} {name}: {}", self.message), ..self }
    }

    /// The same error, told of one of so many changes, which are counted from 1.
    #[must_use]
    pub fn of_change(self, number: usize, many: usize) -> Self {
        if many > 1 { self.within(Self::CHANGE, number) } else { self }
    }

    /// Which of so many changes it is told of, and what is wrong with that.
    pub fn change(&self, many: usize) -> Option<(usize, &str)> {
        if many == 1 {
            return Some((1, &self.message));
        }
        let told = self.message.strip_prefix(Self::CHANGE)?.strip_prefix(' ')?;
        let (number, wrong) = told.split_once(": ")?;
        let number = number.parse().ok().filter(|number| (1..=many).contains(number))?;
        Some((number, wrong))
    }

    /// [`ErrorCode::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// [`ErrorCode::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }
}
