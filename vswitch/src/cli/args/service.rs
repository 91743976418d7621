//! Services, as typed.

use clap::{Args, Subcommand};
use ctl::{
    Affinity, Balance, BridgeName, HealthCheck, Listen, Probe, Service, ServiceName, Target,
};

use super::change;

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Give backends one address; safe to repeat
    #[command(after_help = "\
Sessions to the address are divided among the backends, in turns or by a consistent hash. A client's own address is kept, but
for a client on its backend's own bridge, which is seen as the gateway. Backends that are checked are asked by the gateways of
their bridges; who does not pass is passed over, and keeps the sessions that it has.

Examples:
  vswitchctl service add web 10.96.0.10:80/tcp --backends 10.0.0.2:8080,10.0.0.3:8080
  vswitchctl service add dns [fd00:96::10]:53/udp --backends fd00::2,fd00::3 --affinity client-ip:600
  vswitchctl service add shop 10.96.0.11:443/tcp --backends 10.0.0.2,10.0.0.3 --balance maglev --node-port 30443 --on br0,up
  vswitchctl service add api 10.96.0.12:80/tcp --backends 10.0.0.2:8080,10.0.0.3:8080 --health http:/healthz --health-interval 2")]
    Add(Box<ServiceOptions>),
    /// Remove a service, and end its sessions
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl service del web\n  vswitchctl service del web --if-exists"
    )]
    Del {
        /// Its name
        name: ServiceName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
    },
    /// List all services
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl service list")]
    List,
    /// Show one service, and how its backends do
    #[command(after_help = "Examples:\n  vswitchctl service show web")]
    Show {
        /// Its name
        name: ServiceName,
    },
    /// Change a service; what is not given stays
    #[command(
        group = change(&["balance", "affinity", "no_affinity", "node_port", "no_node_port", "on", "on_all", "max_fails", "fail_timeout", "health", "no_health"]),
        after_help = "\
Examples:
  vswitchctl service set web --balance maglev
  vswitchctl service set web --affinity client-ip --node-port 30080
  vswitchctl service set web --no-affinity --on-all
  vswitchctl service set web --health tcp --health-fall 1"
    )]
    Set(Box<ServiceChanges>),
    /// Change who serves
    #[command(subcommand)]
    Backend(BackendCommand),
}

/// A service to add.
#[derive(Debug, Args)]
pub struct ServiceOptions {
    /// Its name
    pub name: ServiceName,
    /// Its address, which belongs to no bridge: IP:PORT/tcp|udp|sctp
    pub listen: Listen,
    /// Who serves, IP[:PORT] [default port: the service's]
    #[arg(long, value_name = "BACKEND,...", value_delimiter = ',')]
    pub backends: Vec<Target>,
    /// How sessions are divided: round-robin or maglev
    #[arg(long, default_value_t)]
    pub balance: Balance,
    /// Let a client keep its backend: client-ip[:SECONDS] [default seconds: 10800]
    #[arg(long)]
    pub affinity: Option<Affinity>,
    /// A port of the gateways' addresses that leads to the service as well
    #[arg(long, value_name = "PORT")]
    pub node_port: Option<u16>,
    /// The bridges whose stations find it [default: all with a gateway, but internal networks]
    #[arg(long, value_name = "BRIDGE,...", value_delimiter = ',')]
    pub on: Vec<BridgeName>,
    /// The backends' bridge [default: the one whose subnet their addresses are in]
    #[arg(long, value_name = "BRIDGE")]
    pub to: Option<BridgeName>,
    /// Sessions in a row that a backend does not take until it is passed over; 0 for any number
    #[arg(long, value_name = "COUNT", default_value_t = Service::MAX_FAILS)]
    pub max_fails: u32,
    /// For how long it is then passed over
    #[arg(long, value_name = "SECONDS", default_value_t = Service::FAIL_TIMEOUT)]
    pub fail_timeout: u32,
    /// How backends are checked
    #[command(flatten)]
    pub health: HealthOptions,
}

/// How backends are checked.
#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Check the backends: tcp, for a connection, or http:PATH, which is to be answered with a status of 200 to 399
    #[arg(long, value_name = "tcp|http:PATH")]
    pub health: Option<Probe>,
    /// The TCP port that is asked [default: the one that a backend serves at]
    #[arg(long, value_name = "PORT", requires = "health")]
    pub health_port: Option<u16>,
    /// From one check of a backend to the next
    #[arg(long, value_name = "SECONDS", requires = "health", default_value_t = HealthCheck::INTERVAL)]
    pub health_interval: u32,
    /// For the answer to a check
    #[arg(long, value_name = "SECONDS", requires = "health", default_value_t = HealthCheck::TIMEOUT)]
    pub health_timeout: u32,
    /// Checks in a row that a backend does not pass until it is passed over
    #[arg(long, value_name = "COUNT", requires = "health", default_value_t = HealthCheck::FALL)]
    pub health_fall: u32,
    /// Checks in a row that it passes until it gets sessions again
    #[arg(long, value_name = "COUNT", requires = "health", default_value_t = HealthCheck::RISE)]
    pub health_rise: u32,
}

/// What is to change of a service.
#[derive(Debug, Args)]
pub struct ServiceChanges {
    /// Its name
    pub name: ServiceName,
    /// How sessions are divided: round-robin or maglev
    #[arg(long)]
    pub balance: Option<Balance>,
    /// Let a client keep its backend: client-ip[:SECONDS]
    #[arg(long)]
    pub affinity: Option<Affinity>,
    /// Let a client keep none
    #[arg(long, conflicts_with = "affinity")]
    pub no_affinity: bool,
    /// A port of the gateways' addresses that leads to the service as well
    #[arg(long, value_name = "PORT")]
    pub node_port: Option<u16>,
    /// No such port
    #[arg(long, conflicts_with = "node_port")]
    pub no_node_port: bool,
    /// The bridges whose stations find it
    #[arg(long, value_name = "BRIDGE,...", value_delimiter = ',')]
    pub on: Vec<BridgeName>,
    /// All bridges with a gateway, but internal networks
    #[arg(long, conflicts_with = "on")]
    pub on_all: bool,
    /// Sessions in a row that a backend does not take until it is passed over; 0 for any number
    #[arg(long, value_name = "COUNT")]
    pub max_fails: Option<u32>,
    /// For how long it is then passed over
    #[arg(long, value_name = "SECONDS")]
    pub fail_timeout: Option<u32>,
    /// How backends are checked
    #[command(flatten)]
    pub health: HealthOptions,
    /// Check them no more
    #[arg(long, conflicts_with = "health")]
    pub no_health: bool,
}

/// What to do with backends.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// Let them serve, also those that drained; safe to repeat
    #[command(after_help = "Examples:\n  vswitchctl service backend add web 10.0.0.4:8080")]
    Add(BackendOptions),
    /// Give them no more sessions; they keep those that they have
    #[command(after_help = "Examples:\n  vswitchctl service backend drain web 10.0.0.2:8080")]
    Drain(BackendOptions),
    /// Let them serve no more, and end their sessions; safe to repeat
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl service backend del web 10.0.0.2:8080,10.0.0.3:8080"
    )]
    Del(BackendOptions),
}

/// Backends of a service.
#[derive(Debug, Args)]
pub struct BackendOptions {
    /// The service
    pub service: ServiceName,
    /// The backends, IP[:PORT] [default port: the service's]
    #[arg(value_name = "BACKEND,...", value_delimiter = ',', required = true)]
    pub backends: Vec<Target>,
}
