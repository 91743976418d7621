//! ADD: gives a container an interface, or leaves nothing.

use ctl::Mutation;
use ctl::response::{EndpointInfo, NetworkInfo};
use hostnet::{HostError, Netlink, Netns};
use serde_json::Value;

use crate::switch::Switch;
use crate::wanted::Wanted;
use crate::{Attachment, Call, CniError, Sandbox, fits};

/// Carries ADD out.
pub(crate) fn add(
    call: &Call,
    attachment: &Attachment,
    sandbox: &Sandbox,
) -> Result<Value, CniError> {
    let wanted = Wanted::new(&call.conf, &call.args)?;
    refuse_existing(attachment, sandbox)?;
    let mut switch = Switch::connect(&call.conf.keys.socket)?;
    let delegate = call.delegate()?;
    let given = delegate.as_ref().map(|delegate| delegate.add()).transpose()?;
    let wanted = wanted.with(given.as_ref());
    let made = attach(&mut switch, &wanted, attachment, sandbox);
    let endpoint = made.inspect_err(|_| delegate.iter().for_each(|delegate| delegate.undo()))?;
    let outcome = wanted.outcome(&endpoint, sandbox);
    Ok(outcome.after(call.conf.previous.as_ref(), call.conf.version))
}

/// The container is there, and its interface is not.
fn refuse_existing(attachment: &Attachment, sandbox: &Sandbox) -> Result<(), CniError> {
    let absent = |error: HostError| match error.is_absence() {
        true => CniError::NoContainer(error),
        false => error.into(),
    };
    let namespace = Netns::open(&sandbox.netns).map_err(absent)?;
    let ifname = attachment.ifname.as_str();
    match Netlink::open_in(&namespace).map_err(absent)?.link(ifname) {
        Ok(_) => Err(CniError::InterfaceExists {
            ifname: ifname.to_owned(),
            netns: sandbox.path.clone(),
        }),
        Err(HostError::NoSuchLink { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the endpoint, with all that is bound to it.
fn attach(
    switch: &mut Switch,
    wanted: &Wanted,
    attachment: &Attachment,
    sandbox: &Sandbox,
) -> Result<EndpointInfo, CniError> {
    let network = network(switch, wanted)?;
    let endpoint = switch.attach(wanted.connect(&network, attachment, sandbox)?)?;
    let bound = bind(switch, wanted, &network, &endpoint);
    bound.inspect_err(|_| {
        // What stopped us is reported; whatever is left for the same reason is found by DEL and GC.
        let _ = switch.detach(endpoint.port.clone());
    })?;
    Ok(endpoint)
}

/// The network, which the first container on it makes. Two that make it at once make the same.
fn network(switch: &mut Switch, wanted: &Wanted) -> Result<NetworkInfo, CniError> {
    match switch.networks()?.into_iter().find(|network| network.name == *wanted.network()) {
        Some(network) => fits::check(wanted, &network).map(|()| network),
        None => switch.create(wanted.create()?),
    }
}

fn bind(
    switch: &mut Switch,
    wanted: &Wanted,
    network: &NetworkInfo,
    endpoint: &EndpointInfo,
) -> Result<(), CniError> {
    let shape = wanted.shape(endpoint).map(Mutation::PortSet);
    let rules = wanted.publications(network, endpoint)?.into_iter().map(Mutation::NatAdd);
    switch.change_all(shape.into_iter().chain(rules).collect())
}
