//! Two unprivileged users for the tests: one with ranges of ids, one without.

use super::shared::Share;
use crate::failure::{At, Failure, Result};
use crate::run;
use std::fs;
use std::path::Path;
use std::process::Command;

const RANGES: &str = "stave-test-ranges";
const SINGLE: &str = "stave-test-single";
/// The range of the first one, where no user that a system made by itself has one.
const RANGE: &str = "1000000000-1000065535";

/// Beside this the users are locked, wherever the temporary files of a run are: they are the machine's.
const LOCK: &str = "/run/stave-test-users";

/// The users, removed again when the last one who needs them is dropped, in this process or another.
pub(super) struct Users {
    /// Nothing where they could not be made.
    share: Option<Share>,
}

impl Users {
    /// Makes them if this is root and they are not there.
    pub(super) fn create() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("not root: the tests that run as other users are left out");
            return Ok(Self { share: None });
        }
        Share::join(Path::new(LOCK), make).map(|share| Self { share: Some(share) })
    }

    /// The value of the variable by which tests find them.
    pub(super) fn variable(&self) -> String {
        if self.share.is_some() { format!("ranges={RANGES},single={SINGLE}") } else { String::new() }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        if let Some(Err(failure)) = self.share.take().map(|share| share.leave(remove)) {
            println!("test users are still there: {failure}");
        }
    }
}

fn make() -> Result {
    for name in [RANGES, SINGLE] {
        if !listed("/etc/passwd", name)? {
            println!("creating the user {name} for the tests; it is removed afterwards");
            // A system user gets no ranges by itself.
            let args = ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--user-group"];
            run::quiet(Command::new("useradd").args(args).args(["--shell", "/bin/sh", name]))?;
        }
    }
    if !listed("/etc/subuid", RANGES)? {
        run::quiet(Command::new("usermod").args(["--add-subuids", RANGE, "--add-subgids", RANGE, RANGES]))?;
    }
    if listed("/etc/subuid", SINGLE)? {
        return Err(Failure::new(format!("the test user {SINGLE} must have no line in /etc/subuid")));
    }
    Ok(())
}

fn remove() -> Result {
    let outcomes = [RANGES, SINGLE].map(|name| run::quiet(Command::new("userdel").arg(name)));
    outcomes.into_iter().collect()
}

fn listed(file: &str, name: &str) -> Result<bool> {
    let path = Path::new(file);
    if !path.exists() {
        return Ok(false);
    }
    let text = fs::read_to_string(path).at("read", path)?;
    Ok(text.lines().any(|line| line.split(':').next() == Some(name)))
}
