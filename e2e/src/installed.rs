//! [`Installed`]: what a system has to have for a container engine to run.

use netlab::Need;

/// The programs of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Installed {
    /// The first of its programs that tells whether it is there, by its path.
    pub program: &'static str,
    /// The package of Debian that has it.
    pub package: &'static str,
}

impl Installed {
    /// Docker.
    pub const DOCKER: Self = Self { program: "/usr/sbin/dockerd", package: "docker.io" };
    /// Podman.
    pub const PODMAN: Self = Self { program: "/usr/bin/podman", package: "podman" };
    /// What runs its containers.
    pub const RUNC: Self = Self { program: "/usr/sbin/runc", package: "runc" };
    /// What makes namespaces and devices by hand.
    pub const IPROUTE: Self = Self { program: "/bin/ip", package: "iproute2" };
    /// What knows the pitfalls of shells.
    pub const SHELLCHECK: Self = Self { program: "/usr/bin/shellcheck", package: "shellcheck" };
    /// What starts daemons.
    pub const SYSTEMD: Self = Self { program: "/usr/bin/systemd-analyze", package: "systemd" };
    /// What images are made of.
    pub const BUSYBOX: Self = Self { program: "/bin/busybox", package: "busybox-static" };

    /// What a test says that needs it.
    pub fn need(self) -> Need {
        Need::Installed { program: self.program, package: self.package }
    }
}
