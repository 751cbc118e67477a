//! The stand-in for `alpine:latest`: a static busybox, its links, and an `apk` that knows one package.

use super::{Recipe, label};
use crate::failure::{At, Failure, Result};
use crate::{packages, run};
use stave_testkit::Rootfs;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Raise when the way it is made changes.
const VERSION: u32 = 1;
const APK: &str = include_str!("apk.sh");
const BUNDLE: &str = "usr/share/stand-in/ca-certificates.crt";

/// How it is made and named.
pub(super) fn recipe() -> Recipe {
    let key = format!("alpine {VERSION} {APK}");
    Recipe { name: "library/alpine:latest", tar: "alpine.tar", key, config, make, format: "oci", architecture: None }
}

/// A yet smaller one, for tests that need no more than a shell.
pub(super) fn busybox_recipe() -> Recipe {
    let key = format!("busybox {VERSION}");
    let (name, config, make) = ("library/busybox:latest", busybox_config as _, make_busybox as _);
    Recipe { name, tar: "busybox.tar", key, config, make, format: "oci", architecture: None }
}

fn config() -> stave_oci::RunConfig {
    shell_config("alpine:latest", "/bin/sh")
}

pub(super) fn busybox_config() -> stave_oci::RunConfig {
    shell_config("busybox:latest", "sh")
}

fn shell_config(of: &str, shell: &str) -> stave_oci::RunConfig {
    let mut config = stave_oci::RunConfig {
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        cmd: Some(vec![shell.to_owned()]),
        ..stave_oci::RunConfig::default()
    };
    label(&mut config, of);
    config
}

/// Takes `busybox` and the certificates out of Debian's packages, without installing them.
pub(super) fn fetch_packages(set: &Path) -> Result {
    let dir = set.join("packages");
    if dir.join("bin/busybox").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&dir).at("create", &dir)?;
    let download = || {
        let mut command = packages::apt_get();
        run::quiet(command.args(["download", "busybox-static", "ca-certificates"]).current_dir(&dir))
    };
    if download().is_err() {
        // A fresh machine has no package lists. Without root this fails, with apt's own words.
        packages::update()?;
        download()?;
    }
    for entry in fs::read_dir(&dir).at("list", &dir)? {
        let path = entry.at("list", &dir)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run::quiet(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&dir))?;
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    let from = dir.join("bin/busybox");
    fs::copy(&from, set.join("busybox")).at("copy", &from).map(drop)
}

fn make(set: &Path, tar: &Path) -> Result {
    let mut rootfs = busybox_rootfs(set)?;
    let certificates = set.join("packages/usr/share/ca-certificates/mozilla");
    rootfs.dir("usr/share", 0o755).dir("usr/share/stand-in", 0o755).file(BUNDLE, 0o644, bundle(&certificates)?);
    rootfs.file("sbin/apk", 0o755, APK).dir("etc/ssl", 0o755).dir("etc/ssl/certs", 0o755);
    rootfs.file("etc/os-release", 0o644, "ID=stand-in\nPRETTY_NAME=\"stand-in for alpine\"\n");
    rootfs.dir("lib", 0o755).dir("opt", 0o755).dir("run", 0o755).dir("srv", 0o755).dir("mnt", 0o755);
    fs::write(tar, rootfs.tar()).at("write", tar)
}

fn make_busybox(set: &Path, tar: &Path) -> Result {
    fs::write(tar, busybox_rootfs(set)?.tar()).at("write", tar)
}

fn busybox_rootfs(set: &Path) -> Result<Rootfs> {
    let path = set.join("busybox");
    Ok(Rootfs::of_busybox(fs::read(&path).at("read", &path)?, &applets(set)?))
}

/// The names by which `busybox` is called.
pub(super) fn applets(set: &Path) -> Result<Vec<String>> {
    let listed = run::capture(Command::new(set.join("busybox")).arg("--list"))?;
    Ok(listed.lines().filter(|name| *name != "busybox").map(str::to_owned).collect())
}

/// All certificates, one after the other, in the order of their names.
fn bundle(dir: &Path) -> Result<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).at("list", dir)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut bundle = Vec::new();
    for path in &paths {
        bundle.extend(fs::read(path).at("read", path)?);
        bundle.push(b'\n');
    }
    if bundle.is_empty() { Err(Failure::new("the package ca-certificates has no certificates")) } else { Ok(bundle) }
}
