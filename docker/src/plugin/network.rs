//! Methods of the network driver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ctl::ipam::Span;
use ctl::response::{EndpointInfo, NetworkInfo};
use ctl::{
    BridgeName, IpCidr, MacAddr, Mutation, Named, NetworkCreate, NetworkHandover, NetworkRm,
    NetworkSet, NetworkSettings, PortSet, Prefix,
};
use serde_json::{Value, json};

use super::{EndpointName, Plugin, PluginError, owner, parse, short};
use crate::options::NetworkOptions;
use crate::protocol::Nothing;
use crate::protocol::network::{
    Addresses, Allocated, Capabilities, CreateEndpoint, CreateNetwork, EndpointCreated, EndpointId,
    GwAllocChecked, InterfaceName, IpamData, Join, Joined, NetworkId, OperInfo, Options, PORT_MAP,
    PortBinding, ProgramExternalConnectivity,
};
use crate::publish;

pub(super) const CAPABILITIES: Capabilities =
    Capabilities { scope: "local", connectivity_scope: "local", gw_alloc_checker: false };

/// The label's text where the network was made for Docker, and goes with Docker's.
const OWN: &str = "own";
/// The label's text where the network was there before.
const SHARED: &str = "shared";
/// Docker gives the interface a number after this.
const DST_PREFIX: &str = "eth";

fn label(id: &str) -> String {
    format!("{}{id}", NetworkSettings::DOCKER_LABEL)
}

impl Plugin {
    pub(super) fn allocate_network(&self, _: Value) -> Result<Allocated, PluginError> {
        Ok(Allocated { options: BTreeMap::new() })
    }

    pub(super) fn free_network(&self, _: NetworkId) -> Result<Nothing, PluginError> {
        Ok(Nothing {})
    }

    pub(super) fn check_gateways(&self, _: Value) -> Result<GwAllocChecked, PluginError> {
        Ok(GwAllocChecked::default())
    }

    pub(super) fn create_network(&self, request: CreateNetwork) -> Result<Nothing, PluginError> {
        let id = &request.network_id;
        let options = NetworkOptions::read(&request.options)?;
        let subnets = Subnets::read(request.ipv4_data.iter().chain(&request.ipv6_data))?;
        let name = match &options.network {
            Some(name) => name.clone(),
            None => parse("name", &format!("docker-{}", short("number of a network", id)?))?,
        };
        let present = self.daemon.networks()?.into_iter().find(|network| network.name == name);
        match present {
            Some(network) if !network.settings.labels.contains_key(&label(id)) => {
                subnets.check_among(&network)?;
                check_settings(&options, &network)?;
                self.set_label(name, id, SHARED)?;
            }
            _ => self.make_network(name, id, options, subnets)?,
        }
        Ok(Nothing {})
    }

    fn make_network(
        &self,
        name: BridgeName,
        id: &str,
        options: NetworkOptions,
        subnets: Subnets,
    ) -> Result<(), PluginError> {
        let mut settings = options.settings;
        settings.labels.insert(label(id), OWN.to_owned());
        let create = NetworkCreate {
            settings,
            unnumbered: subnets.subnets.is_empty() && subnets.given_by_others,
            subnets: subnets.subnets.into_iter().collect(),
            gateways: subnets.gateways,
            reserved: subnets.reserved,
            ..NetworkCreate::new(name)
        };
        self.daemon.change(Mutation::NetworkCreate(Box::new(create)))?;
        Ok(())
    }

    fn set_label(&self, name: BridgeName, id: &str, text: &str) -> Result<(), PluginError> {
        let labels = BTreeMap::from([(label(id), text.to_owned())]);
        let set = NetworkSet { labels, ..NetworkSet::new(name) };
        self.daemon.change(Mutation::NetworkSet(Box::new(set)))?;
        Ok(())
    }

    pub(super) fn delete_network(&self, request: NetworkId) -> Result<Nothing, PluginError> {
        let id = &request.network_id;
        let network = match self.network(id) {
            Err(PluginError::NoNetwork { .. }) => return Ok(Nothing {}),
            network => network?,
        };
        if network.settings.labels.get(&label(id)).is_none_or(|text| text != OWN) {
            self.set_label(network.name, id, "")?;
            return Ok(Nothing {});
        }
        if let Some(other) = network.settings.docker_networks().find(|other| *other != id.as_str())
        {
            return Err(PluginError::Different {
                network: network.name.to_string(),
                why: format!("Docker's network {other} is on it too; remove that one first"),
            });
        }
        // Docker's network goes whatever is answered: dockerd only logs why a plugin does not remove it. So what refers to it goes too.
        let rm = NetworkRm { if_exists: true, force: true, ..NetworkRm::new(network.name) };
        let changed = self.daemon.change(Mutation::NetworkRm(rm))?;
        changed.notes.iter().for_each(|note| tracing::warn!("{note}"));
        Ok(Nothing {})
    }

    fn network(&self, id: &str) -> Result<NetworkInfo, PluginError> {
        let networks = self.daemon.networks()?;
        let is_it = |network: &NetworkInfo| network.settings.docker_networks().any(|own| own == id);
        let found = networks.into_iter().find(is_it);
        found.ok_or_else(|| PluginError::NoNetwork { id: id.chars().take(100).collect() })
    }

    fn endpoint(
        &self,
        network_id: &str,
        name: &EndpointName,
    ) -> Result<(NetworkInfo, EndpointInfo), PluginError> {
        let network = self.network(network_id)?;
        let port = name.port()?;
        match network.endpoints.iter().find(|endpoint| endpoint.port == port).cloned() {
            Some(endpoint) => Ok((network, endpoint)),
            None => Err(PluginError::NoEndpoint { port, network: network.name.to_string() }),
        }
    }

    pub(super) fn create_endpoint(
        &self,
        request: CreateEndpoint,
    ) -> Result<EndpointCreated, PluginError> {
        let name = EndpointName::of(&request.endpoint_id)?;
        let network = self.network(&request.network_id)?;
        let given = &request.interface;
        let asked =
            [&given.address, &given.address_ipv6].into_iter().filter(|text| !text.is_empty());
        let ips: Vec<IpAddr> = asked.map(|text| address(text)).collect::<Result<_, _>>()?;
        let mac = Some(given.mac_address.as_str()).filter(|text| !text.is_empty());
        // Docker's client of the address driver is known by its MAC address, before there is an endpoint.
        let owner = owner(mac.unwrap_or(&request.endpoint_id))?;
        let handover = NetworkHandover {
            network: network.name,
            port: name.port()?,
            ifname: name.ifname()?,
            ips,
            mac: mac.map(|text| parse::<MacAddr>("MAC address", text)).transpose()?,
            owner: Some(owner),
        };
        let changed = self.daemon.change(Mutation::NetworkHandover(Box::new(handover)))?;
        let made = changed.endpoint.map(|endpoint| Addresses::of(&endpoint)).unwrap_or_default();
        Ok(EndpointCreated { interface: made.without(given) })
    }

    pub(super) fn endpoint_info(&self, request: EndpointId) -> Result<OperInfo, PluginError> {
        let name = EndpointName::of(&request.endpoint_id)?;
        let (network, endpoint) = self.endpoint(&request.network_id, &name)?;
        let published = publish::published(&self.daemon, &name)?;
        let mut value = Options::new();
        value.insert("vswitch.network".to_owned(), json!(network.name));
        value.insert("vswitch.port".to_owned(), json!(endpoint.port));
        value.insert(PORT_MAP.to_owned(), json!(published));
        Ok(OperInfo { value })
    }

    pub(super) fn delete_endpoint(&self, request: EndpointId) -> Result<Nothing, PluginError> {
        let name = EndpointName::of(&request.endpoint_id)?;
        publish::revoke(&self.daemon, &name)?;
        let named = Named { name: name.port()?, if_exists: true };
        self.daemon.change(Mutation::PortDel(named))?;
        Ok(Nothing {})
    }

    pub(super) fn join(&self, request: Join) -> Result<Joined, PluginError> {
        let name = EndpointName::of(&request.endpoint_id)?;
        let (network, endpoint) = self.endpoint(&request.network_id, &name)?;
        let netns = Some(parse("namespace", &request.sandbox_key)?);
        let set = PortSet { netns, ..PortSet::new(endpoint.port.clone()) };
        self.daemon.change(Mutation::PortSet(set))?;
        let gateway = |ipv4: bool| {
            let mut gateways = endpoint.addresses.iter().filter_map(|address| address.gateway);
            let leads = |gateway: &IpAddr| gateway.is_ipv4() == ipv4 && !network.settings.internal;
            gateways.find(leads).map_or(String::new(), |gateway| gateway.to_string())
        };
        Ok(Joined {
            interface_name: InterfaceName {
                src_name: endpoint.ifname.to_string(),
                dst_prefix: DST_PREFIX,
            },
            gateway: gateway(true),
            gateway_ipv6: gateway(false),
            disable_gateway_service: true,
        })
    }

    /// Docker takes the interface back to where it was made; it goes with its endpoint.
    pub(super) fn leave(&self, request: EndpointId) -> Result<Nothing, PluginError> {
        EndpointName::of(&request.endpoint_id).map(|_| Nothing {})
    }

    pub(super) fn program(
        &self,
        request: ProgramExternalConnectivity,
    ) -> Result<Nothing, PluginError> {
        let name = EndpointName::of(&request.endpoint_id)?;
        let bindings = match request.options.get(PORT_MAP).cloned().unwrap_or_default() {
            Value::Null => Vec::new(),
            map => serde_json::from_value::<Vec<PortBinding>>(map.clone()).map_err(|error| {
                let text = map.to_string().chars().take(100).collect();
                PluginError::Unfit { what: "list of ports", text, why: error.to_string() }
            })?,
        };
        let (network, endpoint) = self.endpoint(&request.network_id, &name)?;
        publish::publish(&self.daemon, &name, (&network, &endpoint), &bindings)?;
        Ok(Nothing {})
    }

    pub(super) fn revoke(&self, request: EndpointId) -> Result<Nothing, PluginError> {
        publish::revoke(&self.daemon, &EndpointName::of(&request.endpoint_id)?)?;
        Ok(Nothing {})
    }
}

/// An address with the length of its subnet's prefix, of which only the address matters: the network knows its subnets.
fn address(text: &str) -> Result<IpAddr, PluginError> {
    Ok(parse::<IpCidr>("address", text)?.addr)
}

/// The subnets of a network, as Docker says them.
#[derive(Debug, Default)]
struct Subnets {
    subnets: BTreeSet<Prefix>,
    gateways: Vec<IpAddr>,
    reserved: Vec<Span>,
    /// Nobody here gives the addresses (`--ipam-driver null`).
    given_by_others: bool,
}

impl Subnets {
    fn read<'a>(data: impl Iterator<Item = &'a IpamData>) -> Result<Self, PluginError> {
        let mut all = Self::default();
        for data in data.filter(|data| !data.pool.is_empty()) {
            let subnet: Prefix = parse("subnet", &data.pool)?;
            // How Docker's driver for no addresses says that it gives none.
            if subnet.prefix_len() == 0 {
                all.given_by_others = true;
                continue;
            }
            all.subnets.insert(subnet);
            if !data.gateway.is_empty() {
                all.gateways.push(address(&data.gateway)?);
            }
            for aux in data.aux_addresses.values() {
                let addr = address(aux)?;
                all.reserved.extend(Span::between(addr, addr));
            }
        }
        Ok(all)
    }

    fn check_among(&self, network: &NetworkInfo) -> Result<(), PluginError> {
        let different =
            |why: String| Err(PluginError::Different { network: network.name.to_string(), why });
        let has = |subnet: &&Prefix| network.subnets.iter().any(|own| own.subnet == **subnet);
        if let Some(subnet) = self.subnets.iter().find(|subnet| !has(subnet)) {
            return different(format!(
                "without subnet {subnet}; leave its addresses to it, with --ipam-driver vswitch --ipam-opt \
                 vswitch.network={}",
                network.name
            ));
        }
        let leads =
            |gateway: &&IpAddr| network.subnets.iter().any(|own| own.gateway == Some(**gateway));
        match self.gateways.iter().find(|gateway| !leads(gateway)) {
            Some(gateway) => different(format!("{gateway} is not its gateway")),
            None => Ok(()),
        }
    }
}

/// That a network which is there already is not asked to be another one.
fn check_settings(options: &NetworkOptions, network: &NetworkInfo) -> Result<(), PluginError> {
    let mut asked = options.settings.clone();
    asked.labels.clone_from(&network.settings.labels);
    if !options.is_particular || asked == network.settings {
        return Ok(());
    }
    Err(PluginError::Different {
        network: network.name.to_string(),
        why:
            "with other settings; leave the options out, or change it with `vswitchctl network set`"
                .to_owned(),
    })
}

impl Addresses {
    fn of(endpoint: &EndpointInfo) -> Self {
        let cidr = |ipv4: bool| {
            let mut all = endpoint.addresses.iter().map(|address| address.address);
            let of_version = all.find(|cidr| cidr.addr.is_ipv4() == ipv4);
            of_version.map_or(String::new(), |cidr| cidr.to_string())
        };
        Self {
            address: cidr(true),
            address_ipv6: cidr(false),
            mac_address: endpoint.mac.map_or(String::new(), |mac| mac.to_string()),
        }
    }

    /// Those that are not given already.
    fn without(self, given: &Self) -> Self {
        let open = |own: String, given: &str| if given.is_empty() { own } else { String::new() };
        Self {
            address: open(self.address, &given.address),
            address_ipv6: open(self.address_ipv6, &given.address_ipv6),
            mac_address: open(self.mac_address, &given.mac_address),
        }
    }
}
