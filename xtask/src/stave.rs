//! Runs a `stave` binary with a store and an environment of its own.

use crate::failure::{At, Failure, Result};
use crate::run;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A binary and where it keeps things.
pub(crate) struct Stave {
    binary: PathBuf,
    home: PathBuf,
    registries_conf: PathBuf,
}

impl Stave {
    /// Prepares the directories below `home`, among them one with a `docker` that is a link to `binary`.
    pub(crate) fn new(binary: PathBuf, home: &Path, registries_conf: PathBuf) -> Result<Self> {
        let bin = home.join("bin");
        fs::create_dir_all(&bin).at("create", &bin)?;
        for name in ["docker", "stave"] {
            let link = bin.join(name);
            if fs::symlink_metadata(&link).is_ok() {
                fs::remove_file(&link).at("remove", &link)?;
            }
            symlink(&binary, &link).at("link", &link)?;
        }
        Ok(Self { binary, home: home.to_owned(), registries_conf })
    }

    /// `stave ARGS` in the directory `dir`.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, dir: &Path, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.other(dir, &self.binary);
        command.args(args);
        command
    }

    /// Another program in the same environment, e.g. a script that calls `docker`.
    pub(crate) fn other(&self, dir: &Path, program: &Path) -> Command {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.home.join("bin")).chain(std::env::split_paths(&inherited));
        let mut command = Command::new(program);
        command.current_dir(dir).env("STAVE_ROOT", self.root());
        command.env("CONTAINERS_REGISTRIES_CONF", &self.registries_conf);
        if let Ok(path) = std::env::join_paths(paths) {
            command.env("PATH", path);
        }
        command
    }

    /// The store.
    pub(crate) fn root(&self) -> PathBuf {
        self.home.join("store")
    }

    /// Runs `stave ARGS` and returns what it printed.
    pub(crate) fn capture(&self, dir: &Path, args: &[&str]) -> Result<String> {
        run::capture(&mut self.command(dir, args))
    }

    /// Runs `stave ARGS` and returns how long it took.
    pub(crate) fn timed(&self, dir: &Path, args: &[&str]) -> Result<Duration> {
        run::timed(&mut self.command(dir, args))
    }

    /// What `stave inspect` says of `image`.
    pub(crate) fn inspect(&self, dir: &Path, image: &str) -> Result<serde_json::Value> {
        let text = self.capture(dir, &["inspect", image])?;
        let parsed: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("`stave inspect` printed no JSON: {error}")))?;
        Ok(parsed[0].clone())
    }

    /// Every path of `image` with its type, mode, owner, size and link target, in order, without times.
    pub(crate) fn files(&self, dir: &Path, image: &str) -> Result<Vec<String>> {
        let container = self.capture(dir, &["create", image])?;
        let container = container.trim();
        let tar = dir.join("files.tar");
        let file = fs::File::create(&tar).at("create", &tar)?;
        let copied = run::show(self.command(dir, ["cp", &format!("{container}:/"), "-"]).stdout(file));
        self.capture(dir, &["rm", "-f", container])?;
        copied?;
        let mut list = Command::new("tar");
        list.args(["--numeric-owner", "--full-time", "-tvf"]).arg(&tar);
        let listed = run::capture(&mut list)?;
        let mut lines: Vec<String> = listed.lines().map(without_time).collect();
        lines.sort();
        Ok(lines)
    }
}

/// A line of `tar -tv` without its two words of date and time.
fn without_time(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let kept = words.iter().enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_listing_loses_only_its_time() {
        let line = "-rwxr-xr-x 0/0          123 2026-01-01 12:00:00 ./opt/app";
        assert_eq!(without_time(line), "-rwxr-xr-x 0/0 123 ./opt/app");
    }
}
