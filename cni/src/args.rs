//! [`Args`]: what `CNI_ARGS` says. The specification calls it deprecated; runtimes still use it.

use std::net::IpAddr;
use std::str::FromStr;

use ctl::{HostName, MacAddr};

/// Pairs of key and value, `IP=10.0.0.7;MAC=02:00:00:00:00:07`. A key that is not known is an error, unless
/// `IgnoreUnknown` is true, as the reference plugins have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Args {
    /// `IP`: addresses to have, separated by commas.
    pub ips: Vec<IpAddr>,
    /// `MAC`: the address of the interface.
    pub mac: Option<MacAddr>,
    /// `K8S_POD_NAME`: what people call the container, in podman too. One that is no name of a host is none.
    pub pod: Option<HostName>,
}

impl FromStr for Args {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut args = Self::default();
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} is no pair; write KEY=VALUE;KEY=VALUE"))?;
            match key {
                "IP" => args.ips = value.split(',').map(parsed).collect::<Result<_, _>>()?,
                "MAC" => args.mac = Some(parsed(value)?),
                "K8S_POD_NAME" => args.pod = value.parse().ok(),
                "IgnoreUnknown" => ignore_unknown = truth(value)?,
                _ => unknown.push(key),
            }
        }
        match unknown.as_slice() {
            [] => Ok(args),
            _ if ignore_unknown => Ok(args),
            keys => {
                let keys = keys.join(", ");
                Err(format!("{keys} not known; use IP and MAC, or add IgnoreUnknown=1"))
            }
        }
    }
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// What Go's `strconv.ParseBool` takes, which the reference plugins read it with.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("IgnoreUnknown is {text:?}; use 1 or 0")),
    }
}
