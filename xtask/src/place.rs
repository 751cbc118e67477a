//! Where things are: the repository, cargo's target directory, what this crate makes below it.

use crate::failure::{At, Failure, Result};
use crate::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directories that the commands work in.
#[derive(Clone)]
pub(crate) struct Place {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory; nothing is written outside it but in temporary directories.
    pub(crate) target: PathBuf,
}

impl Place {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let metadata = cargo_metadata()?;
        let path = |key: &str| metadata[key].as_str().map(PathBuf::from);
        match (path("workspace_root"), path("target_directory")) {
            (Some(root), Some(target)) => Ok(Self { root, target }),
            _ => Err(Failure::new("cargo metadata does not say where the workspace is")),
        }
    }

    /// A directory below the target directory, made if it is absent.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.target.join(name);
        fs::create_dir_all(&dir).at("create", &dir)?;
        Ok(dir)
    }

    /// The project's own example.
    pub(crate) fn example(&self) -> PathBuf {
        self.root.join("examples/link-counter")
    }
}

/// What cargo knows of the workspace, without the dependencies.
pub(crate) fn cargo_metadata() -> Result<serde_json::Value> {
    let text = run::capture(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("cargo metadata is no JSON: {error}")))
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Copies the regular files of one directory into another.
pub(crate) fn copy_files(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to).at("create", to)?;
    for entry in fs::read_dir(from).at("list", from)? {
        let path = entry.at("list", from)?.path();
        if path.is_file() {
            let name = path.file_name().expect("a listed file has a name");
            fs::copy(&path, to.join(name)).at("copy", &path)?;
        }
    }
    Ok(())
}
