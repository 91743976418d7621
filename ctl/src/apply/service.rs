//! Changes of services.

use super::otherwise;
use crate::{
    Backend, Config, CtlError, Named, ServiceAdd, ServiceBackends, ServiceName, ServiceSet,
};

pub(super) fn add(config: &mut Config, add: &ServiceAdd) -> Result<(), CtlError> {
    let ServiceAdd { name, service } = add;
    match config.services.get(name) {
        Some(present) if present != service => {
            Err(otherwise("service", name, "change it with `service set` or `service backend`"))
        }
        _ => {
            config.services.insert(name.clone(), service.clone());
            Ok(())
        }
    }
}

pub(super) fn del(config: &mut Config, named: &Named<ServiceName>) -> Result<(), CtlError> {
    match config.services.remove(&named.name) {
        None if !named.if_exists => Err(no_service(&named.name)),
        _ => Ok(()),
    }
}

pub(super) fn set(config: &mut Config, set: &ServiceSet) -> Result<(), CtlError> {
    let service = config.services.get_mut(&set.name).ok_or_else(|| no_service(&set.name))?;
    service.balance = set.balance.unwrap_or(service.balance);
    service.affinity = set.affinity.unwrap_or(service.affinity);
    service.node_port = set.node_port.unwrap_or(service.node_port);
    service.max_fails = set.max_fails.unwrap_or(service.max_fails);
    service.fail_timeout = set.fail_timeout.unwrap_or(service.fail_timeout);
    if let Some(health) = &set.health {
        service.health.clone_from(health);
    }
    if let Some(on) = &set.on {
        service.on.clone_from(on);
    }
    Ok(())
}

pub(super) fn backends(config: &mut Config, change: &ServiceBackends) -> Result<(), CtlError> {
    let ServiceBackends { name, add, drain, del } = change;
    let service = config.services.get_mut(name).ok_or_else(|| no_service(name))?;
    for at in add.iter().map(|target| service.address_of(*target)).collect::<Vec<_>>() {
        match service.backend_mut(at) {
            Some(present) => present.draining = false,
            None => service.backends.push(Backend { at, draining: false }),
        }
    }
    for at in drain.iter().map(|target| service.address_of(*target)).collect::<Vec<_>>() {
        let missing = || {
            let message =
                format!("service {name} has no backend {at}; `service show {name}` shows them");
            CtlError::not_found(message)
        };
        service.backend_mut(at).ok_or_else(missing)?.draining = true;
    }
    let gone: Vec<_> = del.iter().map(|target| service.address_of(*target)).collect();
    service.backends.retain(|backend| !gone.contains(&backend.at));
    Ok(())
}

fn no_service(name: &ServiceName) -> CtlError {
    let message = format!("service {name} does not exist; `service list` shows those that do");
    CtlError::not_found(message)
}
