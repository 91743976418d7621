//! [`Environment`]: what the runtime asks for by the variables of the plugin's environment.
//!
//! Which variables a command needs is the specification's, section 2, "CNI operations"; so is what may be in
//! them. Every variable that is missing or wrong is named at once, as error code 4 wants it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ctl::{IfName, NetnsRef};
use hostnet::Netns;

use crate::{Args, CniError};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Gives a container an interface.
    Add(Attachment, Sandbox),
    /// Takes it away. It is found without its namespace, which may be gone already.
    Del(Attachment),
    /// Looks whether it is as ADD left it.
    Check(Attachment, Sandbox),
    /// Takes away whatever belongs to no container any more.
    Gc,
    /// Whether ADD would succeed.
    Status,
    /// Which versions of the specification are spoken.
    Version,
}

/// The identity of what ADD makes, within a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment {
    /// The container.
    pub container: ContainerId,
    /// The interface in it.
    pub ifname: IfName,
}

/// The container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// As the runtime names it, and wants to see it again.
    pub path: String,
    /// The same, for the daemon.
    pub netns: NetnsRef,
}

/// What the runtime calls a container: letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

/// What the runtime asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// What is to be done.
    pub command: Command,
    /// What the user says beyond it.
    pub args: Args,
    /// Where other plugins are.
    pub path: Vec<PathBuf>,
}

impl Environment {
    /// Reads the environment by `variable`, which looks one up.
    ///
    /// # Errors
    /// [`CniError::Environment`], which names all variables that are missing or not valid.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, CniError> {
        let mut reader = Reader { variable, wrong: Vec::new() };
        let command = reader.command();
        let path = reader.optional("CNI_PATH").unwrap_or_default();
        let path = std::env::split_paths(&path).filter(|path| path.is_absolute()).collect();
        let args = reader.parsed("CNI_ARGS", false).unwrap_or_default();
        match command {
            Some(command) if reader.wrong.is_empty() => Ok(Self { command, args, path }),
            _ => Err(CniError::Environment(reader.wrong)),
        }
    }
}

/// Reads variables, and remembers what is wrong with them.
struct Reader<F> {
    variable: F,
    wrong: Vec<String>,
}

impl<F: Fn(&str) -> Option<OsString>> Reader<F> {
    /// The command, with what it cannot do without.
    fn command(&mut self) -> Option<Command> {
        match self.required("CNI_COMMAND")?.as_str() {
            "ADD" => self.within_sandbox().map(|(what, sandbox)| Command::Add(what, sandbox)),
            "CHECK" => self.within_sandbox().map(|(what, sandbox)| Command::Check(what, sandbox)),
            "DEL" => self.attachment().map(Command::Del),
            "GC" => self.required("CNI_PATH").map(|_| Command::Gc),
            "STATUS" => Some(Command::Status),
            "VERSION" => Some(Command::Version),
            other => {
                let all = "ADD, DEL, CHECK, GC, STATUS and VERSION";
                self.wrong.push(format!("CNI_COMMAND is {other:?}; there are {all}"));
                None
            }
        }
    }

    fn within_sandbox(&mut self) -> Option<(Attachment, Sandbox)> {
        // Both are looked at, so that all that is wrong is said.
        let (attachment, sandbox) = (self.attachment(), self.parsed("CNI_NETNS", true));
        attachment.zip(sandbox)
    }

    fn attachment(&mut self) -> Option<Attachment> {
        let container = self.parsed("CNI_CONTAINERID", true);
        let ifname = self.parsed("CNI_IFNAME", true);
        container.zip(ifname).map(|(container, ifname)| Attachment { container, ifname })
    }

    fn parsed<T: FromStr>(&mut self, name: &str, required: bool) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let text = if required { self.required(name) } else { self.optional(name) };
        match text?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong.push(format!("{name} is not valid: {error}"));
                None
            }
        }
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let before = self.wrong.len();
        let found = self.optional(name);
        if found.is_none() && self.wrong.len() == before {
            self.wrong.push(format!("{name} is missing"));
        }
        found
    }

    /// A variable; an empty one is as good as none.
    fn optional(&mut self, name: &str) -> Option<String> {
        let value = (self.variable)(name).filter(|value| !value.is_empty())?;
        value.into_string().map_err(|_| self.wrong.push(format!("{name} is no UTF-8"))).ok()
    }
}

impl ContainerId {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let rule = "letters, digits, '_', '.' and '-', beginning with a letter or digit";
        Err(format!("{text:?} is no container identity; use {rule}"))
    }
}

impl Sandbox {
    /// Opens the namespace. Do not hold it longer than a call takes.
    ///
    /// # Errors
    /// [`CniError::NoContainer`] when it is gone, [`CniError::OwnNamespace`] when it is the one that the runtime itself is in:
    /// that of the host, or a path that means another one to everybody who follows it.
    pub fn open(&self) -> Result<Netns, CniError> {
        let namespace = match Netns::open(&self.netns) {
            Err(error) if error.is_absence() => return Err(CniError::NoContainer(error)),
            namespace => namespace?,
        };
        if namespace.id()? == Netns::current()?.id()? {
            return Err(CniError::OwnNamespace { path: self.path.clone() });
        }
        Ok(namespace)
    }
}

impl FromStr for Sandbox {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("{text:?} is no absolute path of a network namespace"));
        }
        let netns = text.parse().map_err(|error: ctl::BadName| error.to_string())?;
        Ok(Self { path: text.to_owned(), netns })
    }
}
