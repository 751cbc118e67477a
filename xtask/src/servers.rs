//! What tests need of package registries: servers of services that caches are kept in (moto speaks S3, Azurite speaks Azure),
//! and what drives a browser.
//!
//! They are installed once below `target/servers`, in the versions named here or locked beside the tests.

use crate::failure::{At, Result};
use crate::packages::{self, Need};
use crate::place::Place;
use crate::run;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the Python package index.
const MOTO: &str = "moto[server]==5.2.5";

/// Of the npm registry.
const AZURITE: &str = "azurite@3.35.0";

/// What drives a browser, with its versions and their digests.
const BROWSER: &str = "crates/report/tests/browser";

/// What installs them and what they run in.
pub(crate) const NEEDS: &[Need] =
    &[packages::need("python3", "python3"), packages::need("npm", "npm"), packages::need("node", "nodejs")];

/// Installs what is missing, and returns the directory with `moto`, `azurite` and `browser`.
pub(crate) fn install(place: &Place) -> Result<PathBuf> {
    let dir = place.dir("servers")?;
    let lock = File::create(dir.join("lock")).at("create", &dir)?;
    lock.lock().at("lock", &dir)?;
    once(&dir, MOTO, "moto", &|into| {
        if run::quiet(Command::new("python3").args(["-m", "venv"]).arg(into)).is_err() {
            // Debian has the module apart.
            run::quiet(packages::apt_get().args(["install", "--yes", "--no-install-recommends", "python3-venv"]))?;
            run::quiet(Command::new("python3").args(["-m", "venv"]).arg(into))?;
        }
        run::quiet(Command::new(into.join("bin/pip")).args(["install", "--quiet", "--no-compile", MOTO]))
    })?;
    once(&dir, AZURITE, "azurite", &|into| {
        fs::create_dir_all(into).at("create", into)?;
        let npm = ["install", "--no-audit", "--no-fund", "--loglevel=error", AZURITE];
        run::quiet(Command::new("npm").args(npm).arg("--prefix").arg(into))
    })?;
    let lock = place.root.join(BROWSER).join("package-lock.json");
    let locked = fs::read_to_string(&lock).at("read", &lock)?;
    once(&dir, &locked, "browser", &|into| {
        fs::create_dir_all(into).at("create", into)?;
        for name in ["package.json", "package-lock.json"] {
            let from = place.root.join(BROWSER).join(name);
            fs::copy(&from, into.join(name)).at("copy", &from)?;
        }
        let npm = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        run::quiet(Command::new("npm").args(npm).current_dir(into))
    })?;
    Ok(dir)
}

/// Installs one, unless this version is there.
fn once(dir: &Path, version: &str, name: &str, make: &dyn Fn(&Path) -> Result) -> Result {
    let (into, complete) = (dir.join(name), dir.join(format!("{name}.complete")));
    if fs::read_to_string(&complete).is_ok_and(|there| there == version) {
        return Ok(());
    }
    packages::ensure(NEEDS)?;
    println!("installing {}", if version.contains('\n') { name } else { version });
    if into.exists() {
        fs::remove_dir_all(&into).at("remove", &into)?;
    }
    make(&into)?;
    fs::write(&complete, version).at("write", &complete)
}
