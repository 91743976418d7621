//! The image of all containers, made of busybox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

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

/// Makes its files in a directory, and has a command of an engine make the image of their archive, which it reads.
///
/// # Errors
/// What the command says, or that the files cannot be made.
pub fn import(root: &Path, mut command: Command) -> Outcome<()> {
    make(root)?;
    let mut tar = Command::new("tar");
    let mut tar = tar.arg("-C").arg(root).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
    let archive = tar.stdout.take().ok_or("no archive")?;
    let imported =
        command.args(["import", "-c", "ENV PATH=/bin", "-", NAME]).stdin(archive).output();
    // Whoever failed did not read to the end. The archive ends when nobody is left who could.
    drop(command);
    tar.wait()?;
    let imported = imported?;
    match imported.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&imported.stderr).into_owned().into()),
    }
}

fn make(root: &Path) -> Outcome<()> {
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("tmp"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    Ok(())
}
