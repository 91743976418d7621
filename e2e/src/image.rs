//! The image of all containers, made of busybox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Outcome;

/// Its name.
pub const NAME: &str = "busybox";
/// Those of its programs that the tests call.
const APPLETS: [&str; 15] = [
    "cat",
    "dd",
    "httpd",
    "ip",
    "mkdir",
    "nc",
    "nslookup",
    "ping",
    "ping6",
    "sh",
    "sha256sum",
    "sleep",
    "timeout",
    "true",
    "wget",
];

/// Makes its files in a directory, and starts a program that writes their archive to its output.
///
/// # Errors
/// That they cannot be made.
pub fn archive(root: &Path) -> Outcome<Child> {
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("tmp"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root).args(["-c", "."]).stdout(Stdio::piped());
    Ok(tar.spawn()?)
}
