//! Services.

use std::collections::HashMap;
use std::net::SocketAddr;

use ctl::ServiceName;
use ctl::response::{BackendInfo, BackendState, Checks, Fault, ServiceInfo};
use flows::service::{Backend, Checked, Service};

use crate::control::switch::Switch;

/// Sessions by service and backend.
type Sessions = HashMap<(u32, SocketAddr), u64>;

impl Switch {
    /// All services.
    pub fn services(&self) -> Vec<ServiceInfo> {
        let sessions = self.sessions_of_services();
        let all = self.snapshot().translation().services.iter();
        let mut all: Vec<_> =
            all.filter_map(|service| self.service_info(service, &sessions)).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// One service.
    pub fn service(&self, name: &ServiceName) -> Option<ServiceInfo> {
        self.config().services.get(name)?;
        let is_it =
            |service: &&Service| self.numbering().services.name_of(&service.usage) == Some(name);
        let service = self.snapshot().translation().services.iter().find(is_it)?;
        self.service_info(service, &self.sessions_of_services())
    }

    fn sessions_of_services(&self) -> Sessions {
        let mut sessions = Sessions::new();
        let translation = self.snapshot().translation();
        if translation.services.is_empty() {
            return sessions;
        }
        for session in self.fleet_ref().tables().sessions.iter(self.now()) {
            if let Some((service, backend)) = translation.served_by(&session) {
                *sessions.entry((service.usage.rule(), address(backend))).or_default() += 1;
            }
        }
        sessions
    }

    fn service_info(&self, service: &Service, sessions: &Sessions) -> Option<ServiceInfo> {
        let name = self.numbering().services.name_of(&service.usage)?;
        let now = self.now();
        let backends = service.backends.iter().map(|backend| {
            let health = &backend.health;
            let own = (service.usage.rule(), address(backend));
            BackendInfo {
                at: address(backend),
                bridge: self.numbering().bridge_name(backend.bridge).cloned(),
                state: self.state_of(backend),
                for_seconds: health.since(now).map(|since| now.0.saturating_sub(since.0)),
                fault: health.fault().map(fault),
                checks: service.is_checked.then(|| checks(health.checked())),
                sessions: sessions.get(&own).copied().unwrap_or(0),
                begun: health.begun(),
                failed: health.failed(),
            }
        });
        let backends: Vec<_> = backends.collect();
        Some(ServiceInfo {
            name: name.clone(),
            service: self.config().services.get(name)?.clone(),
            sessions: backends.iter().map(|backend| backend.sessions).sum(),
            begun: service.usage.begun(),
            backends,
        })
    }

    fn state_of(&self, backend: &Backend) -> BackendState {
        let now = self.now();
        match (backend.is_draining, backend.health.is_up(now)) {
            (true, _) => BackendState::Draining,
            (_, true) => BackendState::Up,
            _ if backend.health.checked() == Checked::Failing => {
                BackendState::Down { seconds: None }
            }
            _ => BackendState::Down { seconds: Some(backend.health.rests_seconds(now)) },
        }
    }
}

fn fault(fault: flows::service::Fault) -> Fault {
    use flows::service::Fault as Seen;
    match fault {
        Seen::Refused => Fault::Refused,
        Seen::Silent => Fault::Silent,
        Seen::Absent => Fault::Absent,
        Seen::Hanging => Fault::Hanging,
        Seen::Closed => Fault::Closed,
        Seen::NotHttp => Fault::NotHttp,
        Seen::Status(status) => Fault::Status(status),
    }
}

fn checks(checked: Checked) -> Checks {
    match checked {
        Checked::Unknown => Checks::Pending,
        Checked::Passing => Checks::Passing,
        Checked::Failing => Checks::Failing,
        Checked::Impossible => Checks::Impossible,
    }
}

fn address(backend: &Backend) -> SocketAddr {
    SocketAddr::new(backend.endpoint.ip, backend.endpoint.port)
}
