//! [`Docker`]: dockerd and its containerd on a host, started by hand: with directories of their own, without iptables
//! and without a bridge, so that what works is the plugin's doing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::process::{Process, eventually, say};
use crate::{Host, Outcome, image};

/// The client of the same package as the engine, which speaks its version.
const CLIENT: &str = "/usr/bin/docker";

/// A running Docker.
#[derive(Debug)]
pub struct Docker {
    dockerd: Process,
    _containerd: Process,
    directory: PathBuf,
}

impl Docker {
    /// Starts one on a host, with the image [`image::NAME`].
    ///
    /// # Errors
    /// That it does not serve.
    pub fn start(host: &Host) -> Outcome<Self> {
        let directory = host.directory().join("docker");
        fs::create_dir_all(&directory)?;
        let containerd = containerd(host, &directory)?;
        let dockerd = dockerd(host, &directory)?;
        let docker = Self { dockerd, _containerd: containerd, directory };
        docker.import()?;
        Ok(docker)
    }

    /// Ends dockerd, and starts it again. Containers that ran are then stopped.
    ///
    /// # Errors
    /// That it does not serve.
    pub fn restart(&mut self, host: &Host, signal: Signal) -> Outcome<()> {
        self.dockerd.end(signal)?;
        self.dockerd = dockerd(host, &self.directory)?;
        Ok(())
    }

    /// Kills dockerd, whatever it is doing; [`Docker::restart`] has it back.
    ///
    /// # Errors
    /// That it is gone already.
    pub fn kill(&self) -> Outcome<()> {
        self.dockerd.kill()
    }

    /// The client's call without its command, words separated by spaces.
    pub fn client_words(&self) -> String {
        format!("{CLIENT} --host unix://{}", self.directory.join("docker.sock").display())
    }

    /// Runs a command of the client, words separated by spaces, and returns what it says.
    ///
    /// # Errors
    /// [`crate::ProcessError::Failed`], with what it says about that.
    pub fn run(&self, words: &str) -> Outcome<String> {
        say(client(&self.directory).args(words.split_whitespace()))
    }

    /// Runs a script of the shell in a container.
    ///
    /// # Errors
    /// [`crate::ProcessError::Failed`], with what it says about that.
    pub fn shell(&self, container: &str, script: &str) -> Outcome<String> {
        say(client(&self.directory).args(["exec", container, "sh", "-c", script]))
    }

    /// Starts a container that does nothing, with these options. It ends by itself some time.
    ///
    /// # Errors
    /// [`crate::ProcessError::Failed`], with what the client says about that.
    pub fn container(&self, name: &str, options: &str) -> Outcome<String> {
        self.run(&format!("run --detach --name {name} {options} {} sleep 900", image::NAME))
    }

    /// Gives a container a page at `/` of its port 80.
    ///
    /// # Errors
    /// [`crate::ProcessError::Failed`], with what the client says about that.
    pub fn serve_page(&self, container: &str, page: &str) -> Outcome<String> {
        self.shell(container, &format!("mkdir -p /www; echo {page} >/www/index.html"))?;
        // It goes to the background when it listens, and says nothing of clients then.
        self.shell(container, "httpd -p 80 -h /www")
    }

    fn import(&self) -> Outcome<()> {
        image::import(&self.directory.join("image"), client(&self.directory))
    }
}

impl Drop for Docker {
    /// Containers have processes of their own, which do not end with the engine's.
    fn drop(&mut self) {
        if let Ok(containers) = self.run("ps --quiet") {
            for container in containers.lines() {
                let _ = self.run(&format!("kill {container}"));
            }
        }
        let _ = self.dockerd.end(Signal::TERM);
    }
}

fn client(directory: &Path) -> Command {
    let mut client = Command::new(CLIENT);
    client.arg("--host").arg(format!("unix://{}", directory.join("docker.sock").display()));
    client.env("DOCKER_CONFIG", directory);
    client
}

fn containerd(host: &Host, directory: &Path) -> Outcome<Process> {
    let inside = |name: &str| directory.join(name);
    let configuration = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
        inside("containerd-root"),
        inside("containerd-state"),
        inside("containerd.sock"),
    );
    fs::write(inside("containerd.toml"), configuration)?;
    let mut command = Command::new("containerd");
    command.arg("--config").arg(inside("containerd.toml"));
    let process = Process::start(&host.namespace, &mut command, &inside("containerd.log"))?;
    let socket = inside("containerd.sock");
    eventually("containerd serves", || std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
    Ok(process)
}

fn dockerd(host: &Host, directory: &Path) -> Outcome<Process> {
    let inside = |name: &str| directory.join(name);
    let _ = fs::remove_file(inside("docker.pid"));
    let mut command = Command::new("dockerd");
    command.arg("--containerd").arg(inside("containerd.sock"));
    command.arg("--data-root").arg(inside("data")).arg("--exec-root").arg(inside("exec"));
    command.arg("--pidfile").arg(inside("docker.pid"));
    command.arg("--host").arg(format!("unix://{}", inside("docker.sock").display()));
    command.args([
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ]);
    command.args(["--bridge=none", "--userland-proxy=false", "--storage-driver=vfs"]);
    let process = Process::start(&host.namespace, &mut command, &inside("dockerd.log"))?;
    eventually("dockerd serves", || say(client(directory).arg("version")).is_ok())?;
    Ok(process)
}
