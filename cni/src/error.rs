//! [`CniError`]: why a command was not carried out, with the specification's codes.

use std::io;

use ctl::{ClientError, CtlError, ErrorCode};
use hostnet::HostError;
use serde_json::{Value, json};

use crate::SpecVersion;

/// Why a command was not carried out. Whatever it had begun has been undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CniError {
    /// The configuration is of a version that is not spoken.
    #[error("cniVersion {found:?} is not spoken here; use {}", spoken())]
    Version {
        /// Its version.
        found: String,
    },
    /// The configuration's version does not have the command.
    #[error("{command} is there since cniVersion {since}, and the configuration is of {found}")]
    TooOld {
        /// The command.
        command: &'static str,
        /// The version that brought it.
        since: SpecVersion,
        /// The configuration's.
        found: SpecVersion,
    },
    /// The configuration asks for something that the switch does not do.
    #[error("{key} = {value} is not supported; docs/CONTAINERS.md lists what is")]
    Unsupported {
        /// Where it is in the configuration.
        key: String,
        /// What is there.
        value: String,
    },
    /// There is no such container (any more).
    #[error("the container is gone: {0}")]
    NoContainer(HostError),
    /// The container's namespace is the one that the plugin runs in.
    #[error(
        "CNI_NETNS {path} is the namespace that the plugin itself runs in, the host's; give a container's, by a path that \
         others can follow too"
    )]
    OwnNamespace {
        /// Its path.
        path: String,
    },
    /// Variables of the environment are missing, or not valid.
    #[error("the environment is not as the specification has it: {}", .0.join("; "))]
    Environment(Vec<String>),
    /// The configuration could not be read.
    #[error("cannot read the network configuration from standard input: {0}")]
    Stdin(#[from] io::Error),
    /// The configuration is no JSON, or no object.
    #[error("the network configuration cannot be decoded: {0}")]
    Decode(String),
    /// The configuration's values are wrong, or do not fit together.
    #[error("the network configuration is not valid: {0}")]
    Invalid(String),
    /// It may go well another time.
    #[error("{0}; try again later")]
    Busy(String),
    /// ADD cannot be served. Containers that are attached are not worse off.
    #[error("{0}")]
    Unavailable(String),
    /// The switch is not there, and so its containers are cut off.
    #[error("{0}")]
    Down(String),
    /// The kernel refused something in the container.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The interface's name is taken in the container.
    #[error("interface {ifname} exists already in {netns}; choose another name, or DEL it first")]
    InterfaceExists {
        /// Its name.
        ifname: String,
        /// The container's namespace.
        netns: String,
    },
    /// The daemon refused.
    #[error("{}", .0.message)]
    Refused(CtlError),
    /// The daemon says something that makes no sense.
    #[error("{0}")]
    Answer(String),
    /// What CHECK found.
    #[error("{} not as ADD left it: {}", if .0.len() == 1 { "one thing is" } else { "things are" }, .0.join("; "))]
    Differs(Vec<String>),
    /// The plugin for addresses could not be run.
    #[error("cannot run {plugin}: {why}")]
    Delegate {
        /// Which one.
        plugin: String,
        /// Why not.
        why: String,
    },
    /// The plugin for addresses refused; its own code and text.
    #[error("{plugin}: {message}")]
    Delegated {
        /// Which one.
        plugin: String,
        /// Its code.
        code: u32,
        /// What it says.
        message: String,
    },
    /// Several things failed, one after the other.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<CniError>),
}

fn spoken() -> String {
    SpecVersion::ALL.map(|version| version.to_string()).join(", ")
}

impl CniError {
    /// What is wrong with a value of the configuration.
    pub(crate) fn invalid(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("{what}: {why}"))
    }

    /// One error of those that there are, if there are any.
    ///
    /// # Errors
    /// The only one, or [`CniError::Several`].
    pub(crate) fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// The code: 1 to 99 as the specification has them, and from 100 on ours.
    pub fn code(&self) -> u32 {
        match self {
            Self::Version { .. } | Self::TooOld { .. } => 1,
            Self::Unsupported { .. } => 2,
            Self::NoContainer(_) => 3,
            Self::Environment(_) => 4,
            Self::Stdin(_) => 5,
            Self::Decode(_) => 6,
            Self::Invalid(_) => 7,
            Self::OwnNamespace { .. } => 8,
            Self::Busy(_) => 11,
            Self::Unavailable(_) => 50,
            Self::Down(_) => 51,
            Self::Host(_) => 100,
            Self::InterfaceExists { .. } => 101,
            Self::Refused(_) => 102,
            Self::Answer(_) => 103,
            Self::Differs(_) => 104,
            Self::Delegate { .. } => 105,
            Self::Delegated { code, .. } => *code,
            Self::Several(errors) => errors.first().map_or(103, Self::code),
        }
    }

    /// The error as the runtime reads it from standard output.
    pub fn report(&self, version: SpecVersion) -> Value {
        json!({ "cniVersion": version.to_string(), "code": self.code(), "msg": self.to_string() })
    }
}

/// What became of the daemon, in the specification's words. When it is gone, so are the interfaces that it
/// made; when it is there and does not answer us, its workers go on.
impl From<ClientError> for CniError {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Unreachable { .. } | ClientError::Lost(_) => Self::Down(text),
            ClientError::Denied { .. } | ClientError::Silent { .. } => Self::Unavailable(text),
            ClientError::Refused(error) => error.into(),
            // What there may be in later releases is not understood either.
            _ => Self::Answer(text),
        }
    }
}

impl From<CtlError> for CniError {
    fn from(error: CtlError) -> Self {
        match error.code {
            ErrorCode::Invalid | ErrorCode::NotFound => Self::Invalid(error.message),
            ErrorCode::Denied | ErrorCode::Version => Self::Unavailable(error.message),
            ErrorCode::Unavailable => Self::Busy(error.message),
            _ => Self::Refused(error),
        }
    }
}
