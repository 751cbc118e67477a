//! Installs Debian packages that are missing, or says which ones somebody else has to install.

use crate::failure::{Failure, Result};
use crate::run;
use std::process::Command;

/// A program or file and the Debian package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    /// The program's name, looked for on `PATH` and in `/usr/sbin`.
    pub(crate) program: &'static str,
    /// The package.
    pub(crate) package: &'static str,
}

pub(crate) const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// What the stand-in images are made and served with.
pub(crate) const STANDINS: &[Need] = &[
    need("mmdebstrap", "mmdebstrap"),
    need("docker-registry", "docker-registry"),
    need("skopeo", "skopeo"),
    need("newuidmap", "uidmap"),
    need("cc", "gcc"),
];

/// What the tests compare with, and read back with.
pub(crate) const PEERS: &[Need] = &[
    need("mandoc", "mandoc"),
    need("zsh", "zsh"),
    need("fish", "fish"),
    need("umoci", "umoci"),
    need("buildah", "buildah"),
    need("podman", "podman"),
    need("crun", "crun"),
    need("dockerd", "docker.io"),
    need("xz", "xz-utils"),
    need("bzip2", "bzip2"),
    need("zstd", "zstd"),
    need("qemu-aarch64-static", "qemu-user-static"),
    need("chromium", "chromium"),
];

/// Installs what is missing of `needs` with apt, and says so. Without root or apt it says what is needed and stops.
pub(crate) fn ensure(needs: &[Need]) -> Result {
    let missing: Vec<&str> =
        needs.iter().filter(|need| run::find(need.program).is_none()).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if let Some(message) = refusal(&missing, run::find("apt-get").is_some(), is_root()) {
        return Err(Failure::new(message));
    }
    println!("installing with apt-get: {}", missing.join(" "));
    update()?;
    run::quiet(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&missing))?;
    match needs.iter().find(|need| run::find(need.program).is_none()) {
        None => Ok(()),
        Some(need) => Err(Failure::new(format!(
            "apt-get installed `{}`, but there is still no program `{}`",
            need.package, need.program
        ))),
    }
}

/// Says what somebody else has to do where this process cannot install the packages itself.
fn refusal(missing: &[&str], has_apt: bool, is_root: bool) -> Option<String> {
    let list = missing.join(" ");
    match (has_apt, is_root) {
        (true, true) => None,
        (true, false) => Some(format!(
            "this needs Debian packages that are not installed, and only root can install them. Run this, then the same \
             command again:\n    sudo apt-get update && sudo apt-get install --no-install-recommends {list}"
        )),
        (false, _) => Some(format!(
            "this needs the programs of the Debian packages `{list}`, and there is no apt-get here: \
             install their equivalents and run it again"
        )),
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Brings apt's package lists up to date. Without root it says who has to.
pub(crate) fn update() -> Result {
    if is_root() { run::quiet(apt_get().arg("update")) } else { Err(Failure::new(STALE_LISTS)) }
}

const STALE_LISTS: &str = "apt's package lists are missing or too old, and only root can bring them up to date. Run this, \
                           then the same command again:\n    sudo apt-get update";

/// apt-get without questions; services that packages bring are not started.
pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_install_is_told_all_packages_at_once_and_the_command() {
        let missing = ["mmdebstrap", "uidmap"];
        assert_eq!(refusal(&missing, true, true), None);
        assert_eq!(
            refusal(&missing, true, false).expect("not root"),
            "this needs Debian packages that are not installed, and only root can install them. Run this, then the \
             same command again:\n    sudo apt-get update && sudo apt-get install --no-install-recommends mmdebstrap uidmap"
        );
        for is_root in [true, false] {
            assert_eq!(
                refusal(&missing, false, is_root).expect("no apt"),
                "this needs the programs of the Debian packages `mmdebstrap uidmap`, and there is no apt-get here: \
                 install their equivalents and run it again"
            );
        }
    }
}
