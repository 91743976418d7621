//! DEL and GC: take away what ADD made. Both find it by its label, whatever has become of the container, and
//! both are content when there is nothing.

use std::collections::HashSet;

use crate::switch::Switch;
use crate::{Attachment, Call, CniError, Label};

/// Carries DEL out. Addresses are given back only when nobody has them any more, unless it takes the interface to give
/// them back.
pub(crate) fn del(call: &Call, attachment: &Attachment) -> Result<(), CniError> {
    let label = Label::new(&call.conf.keys.name, attachment);
    if call.conf.ipam.asks_through_interface() {
        let passed = pass(call, "DEL");
        let mut errors = remove(call, |other| *other == label).unwrap_or_else(|error| vec![error]);
        errors.extend(passed.err());
        return CniError::all(errors);
    }
    let mut errors = remove(call, |other| *other == label)?;
    if errors.is_empty() {
        errors.extend(pass(call, "DEL").err());
    }
    CniError::all(errors)
}

/// Carries GC out: removes what it can, and reports what it cannot.
pub(crate) fn gc(call: &Call) -> Result<(), CniError> {
    let Some(valid) = &call.conf.valid else {
        // Not to be told what is in use is not to be told that nothing is.
        let why = "it is missing, so nobody knows what is in use; nothing was removed";
        return Err(CniError::invalid("cni.dev/valid-attachments", why));
    };
    let valid: HashSet<_> =
        valid.iter().map(|v| (v.container.as_str(), v.ifname.as_str())).collect();
    let is_stale = |label: &Label| {
        label.network == call.conf.keys.name && !valid.contains(&(label.container, label.ifname))
    };
    let mut errors = remove(call, is_stale).unwrap_or_else(|error| vec![error]);
    errors.extend(pass(call, "GC").err());
    CniError::all(errors)
}

/// Removes endpoints, and tells which could not be removed.
fn remove(call: &Call, is_meant: impl Fn(&Label) -> bool) -> Result<Vec<CniError>, CniError> {
    let mut switch = Switch::connect(&call.conf.keys.socket)?;
    let endpoints = switch.endpoints(is_meant)?;
    Ok(endpoints.into_iter().filter_map(|endpoint| switch.detach(endpoint.port).err()).collect())
}

/// Passes a command on to the plugin that gives the addresses, if another one does.
pub(crate) fn pass(call: &Call, command: &str) -> Result<(), CniError> {
    call.delegate()?.map_or(Ok(()), |delegate| delegate.pass(command))
}
