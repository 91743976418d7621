//! [`Podman`]: podman on a host, with networks by the Container Network Interface and directories of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{on, ours};
use crate::{Host, Outcome, Switch, image};

/// A podman, which is no daemon.
#[derive(Debug)]
pub struct Podman<'a> {
    host: &'a Host,
    directory: PathBuf,
}

impl<'a> Podman<'a> {
    /// Sets one up on a host, with the image [`image::NAME`] and our plugin beside Debian's.
    ///
    /// # Errors
    /// What it says about that.
    pub fn new(host: &'a Host) -> Outcome<Self> {
        let directory = host.directory().join("podman");
        for name in ["net.d", "bin", "tmp"] {
            fs::create_dir_all(directory.join(name))?;
        }
        symlink(ours("vswitch-cni")?, directory.join("bin/vswitch-cni"))?;
        fs::write(directory.join("containers.conf"), configuration(&directory))?;
        let podman = Self { host, directory };
        image::import(&podman.directory.join("image"), podman.command())?;
        Ok(podman)
    }

    /// Describes a network to it: a list with our plugin alone, with these keys beside the necessary ones.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn network(&self, switch: &Switch, name: &str, keys: &str) -> Outcome<()> {
        let list = format!(
            r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"vswitch-cni","socket":{:?},{keys},
            "capabilities":{{"portMappings":true,"ips":true,"mac":true,"aliases":true}}}}]}}"#,
            switch.socket(),
        );
        fs::write(self.directory.join(format!("net.d/{name}.conflist")), list)?;
        Ok(())
    }

    /// Runs a command, words separated by spaces, and returns what it says.
    ///
    /// # Errors
    /// [`crate::ProcessError::Failed`], with what it says about that.
    pub fn run(&self, words: &str) -> Outcome<String> {
        self.say(words.split_whitespace())
    }

    /// Runs a script of the shell in a container.
    ///
    /// # Errors
    /// [`crate::ProcessError::Failed`], with what it says about that.
    pub fn shell(&self, container: &str, script: &str) -> Outcome<String> {
        self.say(["exec", container, "sh", "-c", script])
    }

    /// Starts a container that does nothing, with these options. It ends by itself some time.
    ///
    /// # Errors
    /// [`crate::ProcessError::Failed`], with what it says about that.
    pub fn container(&self, name: &str, options: &str) -> Outcome<String> {
        self.run(&format!("run --detach --name {name} {options} {} sleep 900", image::NAME))
    }

    fn say<'b>(&self, words: impl IntoIterator<Item = &'b str>) -> Outcome<String> {
        let mut command = self.command();
        command.args(words);
        on(&self.host.namespace, &mut command)
    }

    /// The client's call without its command, words separated by spaces.
    pub fn client_words(&self) -> String {
        let directory = self.directory.display();
        format!(
            "env CONTAINERS_CONF={directory}/containers.conf podman --root {directory}/root \
             --runroot {directory}/run --tmpdir {directory}/tmp --storage-driver vfs"
        )
    }

    fn command(&self) -> Command {
        let words = self.client_words();
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

impl Drop for Podman<'_> {
    /// Containers have processes of their own, which nobody else ends.
    fn drop(&mut self) {
        let _ = self.run("rm --force --all --time 0");
    }
}

/// Limits cannot be raised everywhere, so none is asked for that is higher than what there is; runc takes cgroups of
/// both versions side by side, which crun does not. Locks in shared memory would be one set for all that are set up on this machine,
/// and whoever makes it last fails.
fn configuration(directory: &Path) -> String {
    format!(
        r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
[network]
network_backend = "cni"
network_config_dir = {:?}
cni_plugin_dirs = [{:?}, "/usr/lib/cni"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
"#,
        directory.join("net.d"),
        directory.join("bin"),
    )
}
