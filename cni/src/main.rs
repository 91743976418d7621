//! `vswitch-cni`: container runtimes run it, by the Container Network Interface.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use cni::SpecVersion;

/// The longest network configuration that is read, in bytes: many times what there is, and no threat to memory.
const MOST_INPUT_BYTES: u64 = 16 * 1024 * 1024;

const HELP: &str = "\
vswitch-cni, a plugin of the Container Network Interface: podman, containerd, CRI-O and Multus run it, which then is a client
of vswitchd. By hand there is nothing to be done with it but this help, and --version.

It goes to where the runtime looks for plugins (/opt/cni/bin; Debian's podman: /usr/lib/cni). The network comes on standard
input, the rest by the environment:
  CNI_COMMAND      ADD, DEL, CHECK, GC, STATUS or VERSION
  CNI_CONTAINERID  the container: ADD, DEL, CHECK
  CNI_NETNS        its network namespace, a path: ADD, CHECK
  CNI_IFNAME       its interface: ADD, DEL, CHECK
  CNI_ARGS         IP, MAC, K8S_POD_NAME, IgnoreUnknown; optional
  CNI_PATH         where other plugins are; needed for GC

A network, in /etc/cni/net.d/10-web.conflist:
{ \"cniVersion\": \"1.0.0\", \"name\": \"web\", \"plugins\": [
  { \"type\": \"vswitch-cni\", \"isDefaultGateway\": true, \"ipam\": { \"type\": \"vswitch\", \"subnet\": \"10.1.0.0/24\" },
    \"capabilities\": { \"portMappings\": true, \"ips\": true, \"mac\": true, \"aliases\": true } } ] }

All keys are in docs/CONTAINERS.md.
";

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        None => serve(),
        Some(option) => explain(&option),
    }
}

/// Answers a person: runtimes give no arguments.
fn explain(option: &OsStr) -> ExitCode {
    let text = match option.to_str() {
        Some("--help" | "-h") => HELP.to_owned(),
        Some("--version" | "-V") => {
            let spoken = SpecVersion::ALL.map(|version| version.to_string()).join(", ");
            format!("vswitch-cni {}, CNI {spoken}\n", env!("CARGO_PKG_VERSION"))
        }
        _ => {
            let _ = writeln!(
                io::stderr(),
                "vswitch-cni: there is no {option:?}; --help tells what there is"
            );
            return ExitCode::FAILURE;
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Answers a runtime.
fn serve() -> ExitCode {
    let mut input = Vec::new();
    let read = io::stdin().take(MOST_INPUT_BYTES).read_to_end(&mut input).map(|_| input);
    let answer = cni::answer(|name| std::env::var_os(name), read);
    let code = if answer.is_error { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    match answer.write_to(&mut io::stdout()) {
        Ok(()) => code,
        Err(error) => {
            // There is nobody left to tell.
            let _ = writeln!(io::stderr(), "vswitch-cni: cannot write the result: {error}");
            ExitCode::FAILURE
        }
    }
}
