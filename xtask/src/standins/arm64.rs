//! A base for another processor: the same busybox, made for arm64. Nothing of it is run to make it.

use super::alpine::{applets, busybox_config};
use super::{Recipe, apt_sources, short_digest};
use crate::failure::{At, Result};
use crate::run;
use stave_testkit::Rootfs;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Raise when the way it is made changes.
const VERSION: u32 = 1;
const SUITE: &str = "bookworm";
/// The name of the program among the stand-ins.
const PROGRAM: &str = "busybox-arm64";

/// How it is made and named.
pub(super) fn recipe() -> Recipe {
    let (key, config, make) = (key(), busybox_config as _, make as _);
    let architecture = Some("arm64");
    Recipe { name: "library/busybox:arm64", tar: "busybox-arm64.tar", key, config, make, format: "oci", architecture }
}

fn key() -> String {
    format!("busybox arm64 {VERSION} {SUITE}")
}

/// Takes `busybox` for arm64 out of Debian's package; `shared` keeps it for the next set.
pub(super) fn fetch(shared: &Path, set: &Path) -> Result {
    let kept = shared.join(format!("{PROGRAM}-{}", short_digest(&key())));
    if !kept.is_file() {
        println!("taking busybox for arm64 out of its Debian package");
        let temporary = tempfile::tempdir_in(shared).at("create", shared)?;
        let tar = temporary.path().join("packages.tar");
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=extract", "--architectures=arm64", "--include=busybox-static"]);
        command.args(["--format=tar", SUITE]).arg(&tar).args(apt_sources()?);
        run::quiet(&mut command)?;
        run::quiet(Command::new("tar").arg("-xf").arg(&tar).arg("./bin/busybox").current_dir(temporary.path()))?;
        let program = temporary.path().join("bin/busybox");
        fs::rename(&program, &kept).at("rename", &program)?;
    }
    let program = set.join(PROGRAM);
    if program.is_file() { Ok(()) } else { fs::hard_link(&kept, &program).at("link", &kept) }
}

fn make(set: &Path, tar: &Path) -> Result {
    let path = set.join(PROGRAM);
    let rootfs = Rootfs::of_busybox(fs::read(&path).at("read", &path)?, &applets(set)?);
    fs::write(tar, rootfs.tar()).at("write", tar)
}
