//! Removing a network: what keeps it, all of it in one answer, and how each container is taken off.

use std::collections::BTreeMap;

use crate::apply::{changed, host};
use crate::check::{Reference, no_network, references, shown};
use crate::config::short;
use crate::network::{dismantle, protect};
use crate::{
    BridgeName, Config, CtlError, Endpoint, ErrorCode, IfName, NetnsRef, Network, NetworkRm, Owner,
    PortName, Tap,
};

pub(in crate::apply) fn rm(config: &mut Config, request: &NetworkRm) -> Result<(), CtlError> {
    let NetworkRm { name, if_exists, force } = request;
    host::remove(config, name);
    let Some(network) = config.networks.get(name).cloned() else {
        return if *if_exists { Ok(()) } else { Err(no_network(config, name)) };
    };
    if *force && network.endpoints.is_empty() {
        clear(config, name)?;
    }
    check_unused(config, name, &network)?;
    dismantle(config, name, &network);
    config.networks.remove(name);
    Ok(())
}

/// What refers to a bridge and is neither its network's nor goes with the containers on it.
fn strangers(config: &Config, name: &BridgeName) -> Vec<Reference> {
    let network = config.networks.get(name);
    let is_containers = |port: &PortName| network.is_some_and(|it| it.endpoints.contains_key(port));
    let is_its = |reference: &Reference| match reference {
        Reference::Port(port) => is_containers(port),
        Reference::Vxlan(vxlan) => config.network_of_vxlan(vxlan) == Some(name),
        Reference::Nat(rule) => config.nat.get(rule).is_some_and(|rule| {
            config.network_of_rule(rule) == Some(name) || rule.port().is_some_and(is_containers)
        }),
        _ => false,
    };
    references(config, name).into_iter().filter(|reference| !is_its(reference)).collect()
}

impl Config {
    /// What refers to a network and is none of it, for people, with what refers to its VLANs.
    pub fn strangers_on(&self, network: &BridgeName) -> Vec<String> {
        if !self.networks.contains_key(network) {
            return Vec::new();
        }
        let mut all = strangers(self, network);
        for (vlan, _) in self.vlans_of(network) {
            let more: Vec<_> =
                strangers(self, vlan).into_iter().filter(|it| !all.contains(it)).collect();
            all.extend(more);
        }
        all.iter().map(ToString::to_string).collect()
    }
}

/// Takes away what refers to a bridge. What is another network's stays, and so do interfaces that are there by their ports only: these
/// are somebody's.
fn clear(config: &mut Config, name: &BridgeName) -> Result<(), CtlError> {
    for reference in strangers(config, name) {
        if let Reference::Vlan(vlan) = &reference {
            clear(config, vlan)?;
        }
        let is_made_here =
            matches!(&reference, Reference::Port(port) if tap(config, port).is_some());
        let removal = reference.removal();
        if is_made_here || protect(config, &removal).is_err() {
            continue;
        }
        match changed(config, &removal) {
            Ok(next) => *config = next,
            // It went with another one.
            Err(error) if error.code == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// That nobody is on a network, and nothing refers to it.
fn check_unused(config: &Config, name: &BridgeName, network: &Network) -> Result<(), CtlError> {
    let strangers = strangers(config, name);
    let containers = Containers::of(config, network);
    let references = (!strangers.is_empty()).then(|| format!("in use by {}", shown(&strangers)));
    let message = match (containers.remedies(name), references) {
        (remedies, None) if remedies.is_empty() => return Ok(()),
        (remedies, Some(references)) if remedies.is_empty() => {
            format!("network {name} is {references}; remove these first")
        }
        (remedies, references) => {
            let remedies = remedies.join("; ");
            let more = references.map(|used| format!("; it is also {used}, to be removed too"));
            let more = more.unwrap_or_default();
            format!("network {name} has endpoints, to be taken off first: {remedies}{more}")
        }
    };
    Err(CtlError::new(ErrorCode::InUse, message))
}

/// The containers on a network, by who takes them off.
struct Containers<'a> {
    /// Attached by hand: the namespace, and the interface if it has several.
    bare: Vec<(&'a NetnsRef, Option<&'a IfName>)>,
    /// Their engine moved the interface itself.
    handed_over: Vec<&'a PortName>,
    /// Docker's numbers of the network.
    docker: Vec<&'a str>,
    /// By CNI: the engine's network and the container.
    cni: Vec<(&'a str, &'a str)>,
}

impl<'a> Containers<'a> {
    fn of(config: &'a Config, network: &'a Network) -> Self {
        let taps: Vec<_> = network
            .endpoints
            .iter()
            .filter_map(|(port, endpoint)| Some((port, endpoint, tap(config, port)?)))
            .collect();
        let mut interfaces: BTreeMap<_, usize> = BTreeMap::new();
        taps.iter().for_each(|(.., tap)| *interfaces.entry(&tap.netns).or_default() += 1);
        let docker = network.settings.docker_networks().map(short).collect();
        let mut all = Self { bare: Vec::new(), handed_over: Vec::new(), docker, cni: Vec::new() };
        for (port, Endpoint { owner, .. }, tap) in &taps {
            match (by_cni(owner), &tap.netns) {
                (Some(container), _) => all.cni.push(container),
                (None, Some(netns)) if !tap.handover => {
                    let has_others = interfaces.get(&tap.netns).is_some_and(|count| *count > 1);
                    all.bare.push((netns, has_others.then_some(&tap.ifname)));
                }
                (None, _) => all.handed_over.push(port),
            }
        }
        all
    }

    /// What to do, in commands that can be copied as far as the switch knows the names.
    fn remedies(&self, network: &BridgeName) -> Vec<String> {
        let disconnect = |(netns, ifname): &(&NetnsRef, Option<&IfName>)| {
            let ifname = ifname.map_or(String::new(), |ifname| format!(" --ifname {ifname}"));
            let netns = quoted(&netns.to_string());
            format!("`vswitchctl network disconnect {network} {netns}{ifname}`")
        };
        let bare: Vec<_> = self.bare.iter().map(disconnect).collect();
        let podman = |(network, container): &(&str, &str)| {
            format!("`podman network disconnect {network} {}`", short(container))
        };
        let cni: Vec<_> = self.cni.iter().map(podman).collect();
        let mut remedies = Vec::new();
        remedies.extend((!bare.is_empty()).then(|| shown(&bare)));
        remedies.extend((!self.handed_over.is_empty()).then(|| self.by_engine()));
        remedies.extend(
            (!cni.is_empty()).then(|| {
                format!("containers of CNI by their engine, with podman: {}", shown(&cni))
            }),
        );
        remedies
    }

    /// What Docker does with its own. It tells nobody what its containers are called.
    fn by_engine(&self) -> String {
        let ports = shown(&self.handed_over);
        if self.docker.is_empty() {
            return format!("{ports} by the engine that has the interface");
        }
        let filters: Vec<_> =
            self.docker.iter().map(|id| format!("--filter network={id}")).collect();
        let ways =
            self.docker.iter().map(|id| format!("`docker network disconnect {id} CONTAINER`"));
        let ways: Vec<_> = ways.collect();
        format!(
            "Docker's ({ports}), which `docker ps {}` shows, with {} or `docker rm`",
            filters.join(" "),
            ways.join(" or ")
        )
    }
}

fn tap<'a>(config: &'a Config, port: &PortName) -> Option<&'a Tap> {
    config.ports.get(port)?.kind.tap()
}

/// The network and the container of an owner that `vswitch-cni` wrote, `cni/NETWORK/CONTAINER/INTERFACE`.
fn by_cni(owner: &Owner) -> Option<(&str, &str)> {
    let mut parts = owner.as_str().strip_prefix("cni/")?.split('/');
    parts.next().zip(parts.next())
}

/// A word of a command, as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=-".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
