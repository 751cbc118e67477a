//! The stand-in for `golang:1.7.3`: Debian with its Go compiler and the sources of `golang.org/x/net`.

use super::{Recipe, apt_sources, label};
use crate::failure::{Failure, Result};
use crate::{packages, run};
use std::fs;
use std::path::Path;
use std::process::Command;

const SUITE: &str = "bookworm";
const PACKAGES: &str = "golang-go,golang-golang-x-net-dev,ca-certificates,git";
/// Raise when the way it is made changes.
const VERSION: u32 = 1;

/// How it is made and named.
pub(super) fn recipe() -> Recipe {
    Recipe {
        name: "library/golang:1.7.3",
        tar: "golang.tar",
        key: format!("{VERSION} {SUITE} {PACKAGES} {:?}", config().env),
        config,
        make,
        format: "v2s2",
        architecture: None,
    }
}

/// Without modules, and with Debian's sources on the search path, so that `go get` finds them offline.
fn config() -> stave_oci::RunConfig {
    let mut config = stave_oci::RunConfig {
        env: [
            "PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "GO111MODULE=off",
            "GOPATH=/go:/usr/share/gocode",
        ]
        .map(str::to_owned)
        .to_vec(),
        cmd: Some(vec!["bash".to_owned()]),
        working_dir: "/go".to_owned(),
        ..stave_oci::RunConfig::default()
    };
    label(&mut config, "golang:1.7.3");
    config
}

fn make(_set: &Path, tar: &Path) -> Result {
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", &format!("--include={PACKAGES}")]);
    command.args(["--customize-hook=mkdir -p \"$1/go/src\" \"$1/go/bin\"", "--format=tar"]);
    command.arg(SUITE).arg(tar).args(apt_sources()?);
    // The same times in every layer that is made from the same packages.
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    if let Some(message) = refusal(&Caller::find()) {
        return Err(Failure::new(message));
    }
    run::quiet(&mut command).map_err(|failure| {
        Failure::new(format!(
            "{failure}\nmmdebstrap takes the packages of Debian `{SUITE}` from this machine's apt sources, which must \
             be reachable and list that suite."
        ))
    })
}

/// What of the one who runs this decides whether mmdebstrap can work.
struct Caller {
    is_root: bool,
    name: String,
    has_ranges: bool,
    has_fakechroot: bool,
}

impl Caller {
    fn find() -> Self {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let named = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()));
        let name = named.and_then(|line| line.split(':').next()).unwrap_or(&uid).to_owned();
        let listed = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().any(|line| line.split(':').next().is_some_and(|owner| owner == name || owner == uid))
        };
        let has_ranges = listed("/etc/subuid") && listed("/etc/subgid");
        let has_fakechroot = run::find("fakechroot").is_some() && run::find("fakeroot").is_some();
        Self { is_root: packages::is_root(), has_ranges, has_fakechroot, name }
    }
}

/// Says what is missing for somebody for whom mmdebstrap cannot make a root file system in any of its ways.
fn refusal(caller: &Caller) -> Option<String> {
    if caller.is_root || caller.has_ranges || caller.has_fakechroot {
        return None;
    }
    let name = &caller.name;
    Some(format!(
        "making the stand-in images without root needs ranges of user and group ids for `{name}`. Root can give them, \
         after which the same command works:\n    \
         sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}\n\
         Without such ranges it works, more slowly, with two more packages:\n    \
         sudo apt-get install --no-install-recommends fakechroot fakeroot"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_neither_root_nor_ranges_is_told_how_to_get_them() {
        let caller = |is_root, has_ranges, has_fakechroot| Caller {
            is_root,
            has_ranges,
            has_fakechroot,
            name: "ann".to_owned(),
        };
        for able in [caller(true, false, false), caller(false, true, false), caller(false, false, true)] {
            assert_eq!(refusal(&able), None);
        }
        assert_eq!(
            refusal(&caller(false, false, false)).expect("no way"),
            "making the stand-in images without root needs ranges of user and group ids for `ann`. Root can give them, \
             after which the same command works:\n    \
             sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann\n\
             Without such ranges it works, more slowly, with two more packages:\n    \
             sudo apt-get install --no-install-recommends fakechroot fakeroot"
        );
    }
}
