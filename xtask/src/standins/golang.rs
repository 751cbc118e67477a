//! The stand-in for `golang:1.7.3`: Debian with its Go compiler and the sources of `golang.org/x/net`.

use super::{Recipe, apt_sources, label};
use crate::failure::{Failure, Result};
use crate::run;
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
    run::quiet(&mut command).map_err(|failure| {
        Failure::new(format!(
            "{failure}\nmmdebstrap takes the packages of Debian `{SUITE}` from this machine's apt sources. \
             Without root it also needs ranges of ids in /etc/subuid and /etc/subgid."
        ))
    })
}
