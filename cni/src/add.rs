//! ADD: gives a container an interface, or leaves nothing.
//!
//! Another plugin that gives addresses is asked before the interface is made, so that it is made whole. One that asks others
//! through the interface (`dhcp`) is asked when it is there.

use ctl::Mutation;
use ctl::response::{EndpointInfo, NetworkInfo};
use hostnet::{HostError, Netlink};
use serde_json::Value;

use crate::switch::Switch;
use crate::wanted::Wanted;
use crate::{Attachment, Call, CniError, Delegate, Outcome, Sandbox, fits, lease};

/// Carries ADD out.
pub(crate) fn add(
    call: &Call,
    attachment: &Attachment,
    sandbox: &Sandbox,
) -> Result<Value, CniError> {
    let wanted = Wanted::new(&call.conf, &call.args)?;
    refuse_existing(attachment, sandbox)?;
    let mut switch = Switch::connect(&call.conf.keys.socket)?;
    let outcome = match call.delegate()? {
        Some(delegate) if call.conf.ipam.asks_through_interface() => {
            attach(&mut switch, &wanted, attachment, sandbox, Some(&delegate))
        }
        Some(delegate) => {
            let given = delegate.add()?;
            let wanted = wanted.with(Some(&given));
            let made = attach(&mut switch, &wanted, attachment, sandbox, None);
            made.inspect_err(|_| delegate.undo())
        }
        None => attach(&mut switch, &wanted, attachment, sandbox, None),
    };
    Ok(outcome?.after(call.conf.previous.as_ref(), call.conf.version))
}

/// The container is there, and its interface is not.
fn refuse_existing(attachment: &Attachment, sandbox: &Sandbox) -> Result<(), CniError> {
    match sandbox.open()?.run(Netlink::open)?.link(attachment.ifname.as_str()) {
        Ok(_) => Err(exists(attachment, sandbox)),
        Err(HostError::NoSuchLink { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn exists(attachment: &Attachment, sandbox: &Sandbox) -> CniError {
    let ifname = attachment.ifname.to_string();
    CniError::InterfaceExists { ifname, netns: sandbox.path.clone() }
}

/// Makes the endpoint, with all that is bound to it; its addresses may be asked for through it.
fn attach(
    switch: &mut Switch,
    wanted: &Wanted,
    attachment: &Attachment,
    sandbox: &Sandbox,
    through: Option<&Delegate>,
) -> Result<Outcome, CniError> {
    let network = network(switch, wanted)?;
    let endpoint = switch.attach(wanted.connect(&network, attachment, sandbox)?)?;
    let endpoint = endpoint.ok_or_else(|| exists(attachment, sandbox))?;
    let bound = bind(switch, wanted, &network, &endpoint);
    let done = bound.and_then(|()| match through {
        Some(delegate) => lease::ask(delegate, wanted, &endpoint, sandbox),
        None => Ok(wanted.outcome(&endpoint, sandbox)),
    });
    done.inspect_err(|_| {
        // What stopped us is reported; whatever is left for the same reason is found by DEL and GC.
        let _ = switch.detach(endpoint.port.clone());
    })
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
    let rules = wanted.publications(network, endpoint, &switch.outside(wanted)?)?;
    let rules = rules.into_iter().map(Mutation::NatAdd);
    switch.change_all(shape.into_iter().chain(rules).collect())
}
