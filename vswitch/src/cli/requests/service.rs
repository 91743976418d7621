//! Services.

use ctl::{
    Backend, HealthCheck, Mutation, Named, Query, Request, Service, ServiceAdd, ServiceBackends,
    ServiceSet,
};

use super::instead;
use crate::cli::args::{
    BackendCommand, HealthOptions, ServiceChanges, ServiceCommand, ServiceOptions,
};

pub(super) fn request(command: &ServiceCommand) -> Request {
    match command {
        ServiceCommand::Add(options) => {
            let (name, service) = (options.name.clone(), new_service(options));
            Request::Mutation(Mutation::ServiceAdd(Box::new(ServiceAdd { name, service })))
        }
        ServiceCommand::Del { name, if_exists } => {
            let named = Named { name: name.clone(), if_exists: *if_exists };
            Request::Mutation(Mutation::ServiceDel(named))
        }
        ServiceCommand::List => Request::Query(Query::ServiceList),
        ServiceCommand::Show { name } => {
            Request::Query(Query::ServiceShow(Named::new(name.clone())))
        }
        ServiceCommand::Set(changes) => Request::Mutation(Mutation::ServiceSet(set(changes))),
        ServiceCommand::Backend(command) => {
            Request::Mutation(Mutation::ServiceBackends(backends(command)))
        }
    }
}

fn new_service(options: &ServiceOptions) -> Service {
    let plain = Service {
        balance: options.balance,
        affinity: options.affinity,
        node_port: options.node_port,
        on: options.on.iter().cloned().collect(),
        to: options.to.clone(),
        max_fails: options.max_fails,
        fail_timeout: options.fail_timeout,
        health: health(&options.health),
        ..Service::new(options.listen)
    };
    let backends = options.backends.iter().map(|target| plain.address_of(*target));
    let backends = backends.map(|at| Backend { at, draining: false }).collect();
    Service { backends, ..plain }
}

fn set(changes: &ServiceChanges) -> ServiceSet {
    let on = instead(&changes.on, changes.on_all);
    ServiceSet {
        name: changes.name.clone(),
        balance: changes.balance,
        affinity: changes.no_affinity.then_some(None).or(changes.affinity.map(Some)),
        node_port: changes.no_node_port.then_some(None).or(changes.node_port.map(Some)),
        on: on.map(|on| on.into_iter().collect()),
        max_fails: changes.max_fails,
        fail_timeout: changes.fail_timeout,
        health: changes.no_health.then_some(None).or(health(&changes.health).map(Some)),
    }
}

fn health(options: &HealthOptions) -> Option<HealthCheck> {
    Some(HealthCheck {
        probe: options.health.clone()?,
        port: options.health_port,
        interval: options.health_interval,
        timeout: options.health_timeout,
        fall: options.health_fall,
        rise: options.health_rise,
    })
}

fn backends(command: &BackendCommand) -> ServiceBackends {
    let (BackendCommand::Add(options)
    | BackendCommand::Drain(options)
    | BackendCommand::Del(options)) = command;
    let (add, drain, del) = (Vec::new(), Vec::new(), Vec::new());
    let none = ServiceBackends { name: options.service.clone(), add, drain, del };
    let meant = options.backends.clone();
    match command {
        BackendCommand::Add(_) => ServiceBackends { add: meant, ..none },
        BackendCommand::Drain(_) => ServiceBackends { drain: meant, ..none },
        BackendCommand::Del(_) => ServiceBackends { del: meant, ..none },
    }
}
