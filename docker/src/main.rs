//! `vswitch-docker`: Docker's network and address plugin, in a process of its own.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use docker::{DEFAULT_PLUGIN_SOCKET, start};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Docker's network and address plugin for vswitchd.
///
/// Runs in the foreground and logs to standard error. It keeps nothing: vswitchd does. Start it before dockerd.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  vswitch-docker
  vswitch-docker --plugin /run/docker/plugins/lab.sock --socket /tmp/v.sock   a driver named `lab`

Then:
  vswitchctl port add world --netdev eth0 --shared     an uplink, for -p
  docker network create -d vswitch --ipam-driver vswitch web
  docker run --network web -p 8080:80 ..."
)]
struct Arguments {
    /// Where to listen for dockerd; the driver is named like the file
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PLUGIN_SOCKET)]
    plugin: PathBuf,

    /// Where vswitchd listens [env: VSWITCH_SOCKET]
    #[arg(long, value_name = "PATH", default_value_os_t = ctl::usual_socket())]
    socket: PathBuf,

    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing_subscriber::filter::LevelFilter,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(arguments.log)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && !no_color)
        .init();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vswitch-docker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let _server = start(&arguments.plugin, arguments.socket.clone())?;
    tracing::info!(socket = %arguments.plugin.display(), "ready");
    signals.forever().next();
    Ok(())
}
