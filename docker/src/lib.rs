//! Docker's network and address plugin: what dockerd asks of libnetwork's remote drivers, said to `vswitchd`.
//!
//! * [`http`]: as much of HTTP as that takes; [`server`]: the socket, and a thread for each connection.
//! * [`protocol`]: the messages, by their names in Docker's documents.
//! * [`plugin`]: what becomes of each method; [`options`]: what a network may be told with `-o`; [`publish`]: published
//!   ports; [`daemon`]: the way to `vswitchd`.
//!
//! The plugin keeps nothing. Docker's number of a network is a label of the daemon's network, and its number of an
//! endpoint is the name of a port; so it does not matter which of dockerd, the plugin and `vswitchd` is restarted, or
//! how many plugins there are. A method that finds `vswitchd` absent waits for it for a while.
//!
//! Source: libnetwork's `docs/remote.md` and `docs/ipam.md`, and `drivers/remote/api`, `ipams/remote/api` of moby.

#![forbid(unsafe_code)]

pub mod daemon;
pub mod http;
pub mod options;
pub mod plugin;
pub mod protocol;
pub mod publish;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use plugin::Plugin;
pub use server::{Server, ServerError};

/// Where dockerd looks for a plugin named `vswitch`.
pub const DEFAULT_PLUGIN_SOCKET: &str = "/run/docker/plugins/vswitch.sock";

/// Binds the plugin's socket at `path`, and serves it on threads of its own for as long as the result lives. The daemon
/// behind `control` need not be there yet.
///
/// # Errors
/// [`ServerError`].
pub fn start(path: &Path, control: PathBuf) -> Result<Server, ServerError> {
    let server = Server::bind(path)?;
    let plugin = Plugin::new(control);
    let handler: Arc<server::Handler> = Arc::new(move |path, body| plugin.answer(path, body));
    server.start(handler)?;
    Ok(server)
}
