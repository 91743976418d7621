//! [`NetworkOptions`]: what a network may be told with `-o`, `--internal` and `--ipv6`.

use std::net::IpAddr;

use ctl::{BridgeName, Mtu, NetworkSettings, Overlay, Vni};
use serde_json::Value;

use crate::protocol::network::{GENERIC, Options};

/// The network's name in `vswitchd`; one that is there already is used as it is. It is the name of the setting of the
/// address driver too.
pub const NETWORK: &str = "vswitch.network";
const ISOLATED: &str = "vswitch.isolated";
const SHAPE: &str = "vswitch.shape";
const MASQUERADE: &str = "vswitch.masquerade";
const VNI: &str = "vswitch.vni";
const LOCAL: &str = "vswitch.local";
const VIA: &str = "vswitch.via";
const REMOTES: &str = "vswitch.remotes";
const MTU: &str = "com.docker.network.driver.mtu";
/// What Docker's own bridge driver calls these.
const BRIDGE_ICC: &str = "com.docker.network.bridge.enable_icc";
const BRIDGE_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const INTERNAL: &str = "com.docker.network.internal";

const KNOWN: [&str; 11] = [
    NETWORK,
    ISOLATED,
    SHAPE,
    MASQUERADE,
    VNI,
    LOCAL,
    VIA,
    REMOTES,
    MTU,
    BRIDGE_ICC,
    BRIDGE_MASQUERADE,
];

/// An option that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// There is none of this name.
    #[error("option {name:?} is not known; known are {}", KNOWN.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// There is none of this name for addresses.
    #[error("address option {name:?} (--ipam-opt) is not known; known is {NETWORK}")]
    UnknownOfAddresses {
        /// The name.
        name: String,
    },
    /// It is not what it should be.
    #[error("option {name}={value}: {why}")]
    Value {
        /// The name.
        name: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two belong together.
    #[error("option {given} needs {missing} as well")]
    Incomplete {
        /// The one that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
}

/// What Docker's own options begin with.
const DOCKERS: &str = "com.docker.network.";

/// That the address driver is told nothing that it does not know (`--ipam-opt`), but by Docker itself.
///
/// # Errors
/// [`OptionError::UnknownOfAddresses`].
pub fn check_address_options<'a>(
    mut names: impl Iterator<Item = &'a String>,
) -> Result<(), OptionError> {
    match names.find(|name| *name != NETWORK && !name.starts_with(DOCKERS)) {
        Some(name) => Err(OptionError::UnknownOfAddresses { name: name.clone() }),
        None => Ok(()),
    }
}

/// What a network is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkOptions {
    /// Its name in `vswitchd`.
    pub network: Option<BridgeName>,
    /// What it is made of.
    pub settings: NetworkSettings,
    /// The settings are not all what they are without options.
    pub is_particular: bool,
}

impl NetworkOptions {
    /// Reads the settings of a network.
    ///
    /// # Errors
    /// [`OptionError`]; an option that is not known is one that was misspelled.
    pub fn read(all: &Options) -> Result<Self, OptionError> {
        let given = Given(all.get(GENERIC).and_then(Value::as_object));
        given.check_names()?;
        let settings = NetworkSettings {
            internal: all.get(INTERNAL).and_then(Value::as_bool).unwrap_or_default(),
            isolated: given
                .value(ISOLATED)?
                .or(given.value(BRIDGE_ICC)?.map(|icc: bool| !icc))
                .unwrap_or_default(),
            shape: given.value(SHAPE)?.unwrap_or_default(),
            masquerade: given
                .value(MASQUERADE)?
                .or(given.value(BRIDGE_MASQUERADE)?)
                .unwrap_or(true),
            mtu: given.value(MTU)?.unwrap_or(Mtu::ETHERNET),
            vxlan: given.overlay()?,
            ..NetworkSettings::default()
        };
        let is_particular = settings != NetworkSettings::default();
        Ok(Self { network: given.value(NETWORK)?, settings, is_particular })
    }
}

/// The options that a person gave.
struct Given<'a>(Option<&'a Options>);

impl Given<'_> {
    fn check_names(&self) -> Result<(), OptionError> {
        let mut names = self.0.into_iter().flat_map(|given| given.keys());
        match names.find(|name| !KNOWN.contains(&name.as_str())) {
            Some(name) => Err(OptionError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(match self.0?.get(name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    fn value<T>(&self, name: &'static str) -> Result<Option<T>, OptionError>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let Some(value) = self.text(name) else { return Ok(None) };
        match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(error) => Err(OptionError::Value { name, why: error.to_string(), value }),
        }
    }

    fn overlay(&self) -> Result<Option<Overlay>, OptionError> {
        let vni: Option<Vni> = self.value(VNI)?;
        let local: Option<IpAddr> = self.value(LOCAL)?;
        let via: Option<BridgeName> = self.value(VIA)?;
        let remotes = self.text(REMOTES);
        let given = [(local.is_some(), LOCAL), (via.is_some(), VIA), (remotes.is_some(), REMOTES)];
        match (vni, given.iter().find(|(is_given, _)| *is_given)) {
            (Some(vni), _) => {
                let remotes = addresses(remotes.unwrap_or_default())?;
                Ok(Some(Overlay { vni, local, via, remotes }))
            }
            (None, Some((_, given))) => Err(OptionError::Incomplete { given, missing: VNI }),
            (None, None) => Ok(None),
        }
    }
}

fn addresses(value: String) -> Result<Vec<IpAddr>, OptionError> {
    let parts = value.split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.trim().parse()).collect::<Result<_, _>>().map_err(
        |error: std::net::AddrParseError| OptionError::Value {
            name: REMOTES,
            why: format!("{error}; give addresses, separated by commas"),
            value: value.clone(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<NetworkOptions, OptionError> {
        NetworkOptions::read(value.as_object().unwrap())
    }

    fn given(options: Value) -> Result<NetworkOptions, OptionError> {
        read(json!({ GENERIC: options, "com.docker.network.enable_ipv6": false }))
    }

    #[test]
    fn a_network_without_options_is_one_with_nothing_particular() {
        for options in [
            json!({}),
            json!({ GENERIC: null }),
            json!({ GENERIC: {}, "com.docker.network.internal": false }),
        ] {
            assert_eq!(read(options).unwrap(), NetworkOptions::default());
        }
    }

    #[test]
    fn every_option_sets_what_its_name_says() {
        let options = given(json!({
            "vswitch.network": "web", "vswitch.isolated": "true", "vswitch.masquerade": "false",
            "vswitch.shape": "direct",
            "vswitch.vni": "7", "vswitch.local": "192.0.2.1", "vswitch.remotes": "192.0.2.2, 192.0.2.3",
            "vswitch.via": "up",
            "com.docker.network.driver.mtu": "9000",
        })).unwrap();
        let settings = &options.settings;
        assert_eq!(options.network, Some("web".parse().unwrap()));
        assert_eq!(
            (settings.isolated, settings.masquerade, settings.mtu.bytes()),
            (true, false, 9000)
        );
        assert_eq!(settings.shape, ctl::Shape::Direct);
        let overlay = settings.vxlan.as_ref().unwrap();
        assert_eq!(overlay.remotes.len(), 2);
        assert_eq!(overlay.via, Some("up".parse().unwrap()));
        assert!(options.is_particular && !settings.internal);
        let internal = read(json!({ "com.docker.network.internal": true })).unwrap();
        assert!(internal.settings.internal && internal.is_particular);
    }

    #[test]
    fn options_of_dockers_bridge_driver_mean_the_same_here() {
        let icc = given(json!({ "com.docker.network.bridge.enable_icc": "false" })).unwrap();
        assert!(icc.settings.isolated);
        let masquerade =
            given(json!({ "com.docker.network.bridge.enable_ip_masquerade": "false" })).unwrap();
        assert!(!masquerade.settings.masquerade);
    }

    #[test]
    fn an_option_for_addresses_is_known_or_dockers_own() {
        let check = |name: &str| check_address_options([name.to_owned()].iter());
        assert_eq!(check(NETWORK), Ok(()));
        assert_eq!(check("com.docker.network.ipam.serial"), Ok(()));
        let error = check("vswitch.netwrk").unwrap_err().to_string();
        assert!(error.contains("vswitch.netwrk") && error.contains(NETWORK), "{error}");
    }

    #[test]
    fn an_option_that_is_misspelled_or_wrong_is_refused_by_its_name() {
        let cases = [
            (json!({ "vswitch.isolatd": "true" }), "vswitch.isolatd"),
            (json!({ "vswitch.isolated": "maybe" }), "vswitch.isolated=maybe"),
            (json!({ "vswitch.shape": "round" }), "vswitch.shape=round"),
            (json!({ "com.docker.network.driver.mtu": "9" }), "driver.mtu=9"),
            (json!({ "vswitch.network": "-" }), "vswitch.network=-"),
            (json!({ "vswitch.local": "192.0.2.1" }), "needs vswitch.vni"),
            (json!({ "vswitch.remotes": "192.0.2.1" }), "needs vswitch.vni"),
            (json!({ "vswitch.via": "up" }), "needs vswitch.vni"),
            (
                json!({ "vswitch.vni": "7", "vswitch.local": "192.0.2.1", "vswitch.remotes": "here" }),
                "remotes=here",
            ),
        ];
        for (options, said) in cases {
            let error = given(options).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
