//! Builds the `stave` that is tested, measured and shown: one static file.

use crate::failure::{Failure, Result};
use crate::place::{Place, cargo};
use crate::run;
use std::path::PathBuf;
use std::process::Command;

/// How the program is optimised: the name of a profile in `Cargo.toml`.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// As users get it.
    Release,
    /// As tests run it: the same code, less optimised, in much less time.
    Tested,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Tested => "tested",
        }
    }
}

/// Builds it and returns where it is. `STAVE_BIN` names one that is taken instead.
pub(crate) fn build(place: &Place, profile: Profile) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("STAVE_BIN") {
        return Ok(named.into());
    }
    let triple = host_triple()?;
    let variable = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"));
    // Naming the target keeps the flag away from build scripts and procedural macros, which cannot be static.
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", profile.name(), "--package", "stave-cli", "--target", &triple]);
    command.env(variable, "-C target-feature=+crt-static").current_dir(&place.root);
    run::show(&mut command)?;
    Ok(place.target.join(triple).join(profile.name()).join("stave"))
}

/// The target that rustc builds for when none is named.
fn host_triple() -> Result<String> {
    let text = run::capture(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("rustc does not say what it builds for"))
}
