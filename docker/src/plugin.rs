//! [`Plugin`]: what becomes of each method of the protocol.
//!
//! Every method is safe to repeat, and one that undoes something succeeds when there is nothing to undo: dockerd may
//! have been killed before it learned that it was done.

mod ipam;
mod network;

use std::path::PathBuf;

use ctl::{ClientError, CtlError, ErrorCode, IfName, Owner, PortName, RuleName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::daemon::Daemon;
use crate::http::Status;
use crate::options::OptionError;
use crate::protocol::{Activated, Nothing};

/// Bytes of Docker's numbers that it shows to people, and that names are made of.
const SHORT: usize = 12;

/// Why a method is not carried out. Docker shows the text to who gave the command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The daemon does not answer, or refuses.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// A network's option is not understood.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Something that Docker says is not understood.
    #[error("{what} {text:?} is not understood: {why}")]
    Unfit {
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no network of this number.
    #[error(
        "vswitchd has no network for Docker's network {id}; `vswitchctl network list` shows those that it has"
    )]
    NoNetwork {
        /// Docker's number.
        id: String,
    },
    /// There is no endpoint of this number.
    #[error("vswitchd has no endpoint {port} on network {network}; was its port removed by hand?")]
    NoEndpoint {
        /// The port that it should have.
        port: PortName,
        /// The network.
        network: String,
    },
    /// A network that is there already is another one.
    #[error("vswitchd has network {network}, but {why}")]
    Different {
        /// The network.
        network: String,
        /// In what it is another one.
        why: String,
    },
    /// A port cannot be published.
    #[error("cannot publish {what}: {why}")]
    Publish {
        /// The port.
        what: String,
        /// Why not.
        why: String,
    },
}

impl PluginError {
    /// What the daemon says is wrong, if it refused.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Daemon(ClientError::Refused(CtlError { code, .. })) => Some(*code),
            _ => None,
        }
    }
}

/// Something that Docker writes as text.
fn parse<T>(what: &'static str, text: &str) -> Result<T, PluginError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let unfit = |error: T::Err| {
        let (text, why) = (text.chars().take(100).collect(), error.to_string());
        PluginError::Unfit { what, text, why }
    };
    text.parse().map_err(unfit)
}

/// What the things of an endpoint are called, after Docker's number of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointName {
    short: String,
}

impl EndpointName {
    fn of(id: &str) -> Result<Self, PluginError> {
        Ok(Self { short: short("number of an endpoint", id)? })
    }

    /// Its port.
    pub(crate) fn port(&self) -> Result<PortName, PluginError> {
        parse("name of a port", &format!("docker-{}", self.short))
    }

    /// Its interface, until Docker moves it: 15 bytes, as long as the kernel allows.
    fn ifname(&self) -> Result<IfName, PluginError> {
        parse("name of an interface", &format!("vsw{}", self.short))
    }

    /// One of its published ports.
    pub(crate) fn rule(&self, number: usize) -> Result<RuleName, PluginError> {
        parse("name of a rule", &format!("{}{number}", self.rule_prefix()))
    }

    /// What the names of all its published ports begin with.
    pub(crate) fn rule_prefix(&self) -> String {
        format!("docker-{}-", self.short)
    }
}

/// The beginning of one of Docker's numbers: 64 hexadecimal digits.
fn short(what: &'static str, id: &str) -> Result<String, PluginError> {
    let is_number = id.len() >= SHORT && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match id.get(..SHORT).filter(|_| is_number) {
        Some(short) => Ok(short.to_owned()),
        None => Err(PluginError::Unfit {
            what,
            text: id.chars().take(100).collect(),
            why: format!("it has {SHORT} or more letters and digits"),
        }),
    }
}

/// Whose the address is that an address driver's client with this MAC address has.
fn owner(of: &str) -> Result<Owner, PluginError> {
    parse("owner", &format!("docker:{}", of.to_ascii_lowercase()))
}

/// The plugin.
#[derive(Debug, Clone)]
pub struct Plugin {
    daemon: Daemon,
}

impl Plugin {
    /// A plugin for the daemon behind this control socket, which need not be there yet.
    pub fn new(control: PathBuf) -> Self {
        Self { daemon: Daemon::new(control) }
    }

    /// Carries out a method: its path and arguments to a status and an answer. What is understood and fails has
    /// status 200 and an error in its body, so that Docker passes on the text alone.
    pub fn answer(&self, path: &str, body: &[u8]) -> (Status, Vec<u8>) {
        if path == "/Plugin.Activate" {
            return encode(&Activated { implements: ["NetworkDriver", "IpamDriver"] });
        }
        let answered = match path.split_once('.') {
            Some(("/NetworkDriver", method)) => self.network_method(method, body),
            Some(("/IpamDriver", method)) => self.ipam_method(method, body),
            _ => None,
        };
        let done = answered.unwrap_or_else(|| {
            let text = format!("there is no method {}", path.escape_debug());
            (Status::NotFound, error("Err", &text))
        });
        tracing::debug!(path, body = %String::from_utf8_lossy(body), answer = %String::from_utf8_lossy(&done.1), "method");
        done
    }

    fn network_method(&self, method: &str, body: &[u8]) -> Option<(Status, Vec<u8>)> {
        let call = Call { body, error: "Err" };
        Some(match method {
            "GetCapabilities" => encode(&network::CAPABILITIES),
            "AllocateNetwork" => call.carry_out(|request| self.allocate_network(request)),
            "FreeNetwork" => call.carry_out(|request| self.free_network(request)),
            "GwAllocCheck" => call.carry_out(|request| self.check_gateways(request)),
            "CreateNetwork" => call.carry_out(|request| self.create_network(request)),
            "DeleteNetwork" => call.carry_out(|request| self.delete_network(request)),
            "CreateEndpoint" => call.carry_out(|request| self.create_endpoint(request)),
            "EndpointOperInfo" => call.carry_out(|request| self.endpoint_info(request)),
            "DeleteEndpoint" => call.carry_out(|request| self.delete_endpoint(request)),
            "Join" => call.carry_out(|request| self.join(request)),
            "Leave" => call.carry_out(|request| self.leave(request)),
            "ProgramExternalConnectivity" => call.carry_out(|request| self.program(request)),
            "RevokeExternalConnectivity" => call.carry_out(|request| self.revoke(request)),
            // Of other hosts there is nothing to learn: tunnels know theirs.
            "DiscoverNew" | "DiscoverDelete" => {
                call.carry_out(|_: serde_json::Value| Ok(Nothing {}))
            }
            _ => return None,
        })
    }

    fn ipam_method(&self, method: &str, body: &[u8]) -> Option<(Status, Vec<u8>)> {
        let call = Call { body, error: "Error" };
        Some(match method {
            "GetCapabilities" => encode(&ipam::CAPABILITIES),
            "GetDefaultAddressSpaces" => encode(&ipam::ADDRESS_SPACES),
            "RequestPool" => call.carry_out(|request| self.request_pool(request)),
            "ReleasePool" => call.carry_out(|request| self.release_pool(request)),
            "RequestAddress" => call.carry_out(|request| self.request_address(request)),
            "ReleaseAddress" => call.carry_out(|request| self.release_address(request)),
            _ => return None,
        })
    }
}

/// What is said where a method has no arguments that should have some.
const NO_ARGUMENTS: &str = "the request has no body: Docker repeats one so whose answer was lost when the plugin ended; \
                            give the command again";

/// The arguments of a method, and under which name its driver tells errors.
struct Call<'a> {
    body: &'a [u8],
    error: &'static str,
}

impl Call<'_> {
    fn carry_out<Q: DeserializeOwned, A: Serialize>(
        &self,
        work: impl FnOnce(Q) -> Result<A, PluginError>,
    ) -> (Status, Vec<u8>) {
        let request = match serde_json::from_slice(self.body) {
            Ok(request) => request,
            Err(_) if self.body.is_empty() => {
                return (Status::BadRequest, error(self.error, NO_ARGUMENTS));
            }
            Err(why) => return (Status::BadRequest, error(self.error, &why.to_string())),
        };
        match work(request) {
            Ok(answer) => encode(&answer),
            Err(why) => {
                tracing::warn!(%why, "a method failed");
                (Status::Ok, error(self.error, &why.to_string()))
            }
        }
    }
}

fn error(name: &str, text: &str) -> Vec<u8> {
    json!({ name: text }).to_string().into_bytes()
}

/// Nothing that is answered cannot be written as JSON.
fn encode(answer: &impl Serialize) -> (Status, Vec<u8>) {
    (Status::Ok, serde_json::to_vec(answer).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_without_the_arguments_that_it_needs_says_so() {
        let plugin = Plugin::new(PathBuf::from("none"));
        for (path, name) in
            [("/NetworkDriver.Join", "Err"), ("/IpamDriver.RequestAddress", "Error")]
        {
            let (status, body) = plugin.answer(path, b"");
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((status, body[name].as_str()), (Status::BadRequest, Some(NO_ARGUMENTS)));
        }
    }
}
