//! The builders that are compared, as the command lines that a user would type.

use super::dockerd::Dockerd;
use crate::failure::{At, Result};
use crate::run;
use crate::stave::Stave;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One build, as the rows ask for it.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    /// The directory with the Dockerfile.
    pub(super) context: &'a Path,
    /// Executes every step again.
    pub(super) no_cache: bool,
    /// Writes an OCI archive there, with layers in this compression.
    pub(super) archive: Option<(&'a Path, &'static str)>,
}

/// A builder and where it keeps its things.
pub(super) enum Builder {
    Stave(Stave),
    Buildah {
        name: &'static str,
        binary: PathBuf,
        home: PathBuf,
        registries_conf: PathBuf,
    },
    /// BuildKit inside dockerd.
    Docker(Dockerd),
    Buildctl {
        binary: PathBuf,
    },
}

const TAG: &str = "bench:latest";

impl Builder {
    /// The head of its column.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Stave(_) => "stave",
            Self::Buildah { name, .. } => name,
            Self::Docker(_) => "BuildKit (docker.io)",
            Self::Buildctl { .. } => "BuildKit (BUILDCTL)",
        }
    }

    /// The command for a job, or nothing where this builder has no such output.
    pub(super) fn command(&self, job: Job<'_>) -> Option<Command> {
        let mut command = match self {
            Self::Stave(stave) => stave.command(job.context, ["build", "--progress=plain", "-t", TAG]),
            Self::Buildah { .. } => {
                self.buildah(&["bud", "--layers", "--network=host", "--isolation=oci", "-t", TAG])?
            }
            Self::Docker(dockerd) => dockerd.docker(&["build", "--network=host", "-t", TAG]),
            Self::Buildctl { binary } => return Some(buildctl(binary, job)),
        };
        if job.no_cache {
            command.arg("--no-cache");
        }
        match (self, job.archive) {
            (_, None) => {}
            (Self::Stave(_), Some((file, compression))) => {
                command.arg(format!("--output=type=oci,dest={},compression={compression}", file.display()));
            }
            _ => return None,
        }
        command.arg(job.context);
        Some(command)
    }

    /// A second command that an archive takes, for builders that have no such output of a build.
    pub(super) fn archive_command(&self, file: &Path, compression: &str) -> Option<Command> {
        if compression != "gzip" {
            return None;
        }
        let mut command = self.buildah(&["push", "--quiet", "--format=oci"])?;
        command.arg(TAG).arg(format!("oci-archive:{}", file.display()));
        Some(command)
    }

    fn buildah(&self, args: &[&str]) -> Option<Command> {
        let Self::Buildah { binary, home, registries_conf, .. } = self else { return None };
        let mut command = Command::new(binary);
        command.arg("--root").arg(home.join("root")).arg("--runroot").arg(home.join("run"));
        command.args(["--storage-driver=overlay"]).args(args);
        // crun refuses hosts with version 1 cgroups beside version 2 ones; runc takes both.
        let runtime = std::env::var("BUILDAH_RUNTIME").unwrap_or_else(|_| "runc".to_owned());
        command.env("BUILDAH_RUNTIME", runtime).env("CONTAINERS_REGISTRIES_CONF", registries_conf);
        Some(command)
    }

    /// Forgets every image, layer and cached context, so that the next build is the first one.
    pub(super) fn reset(&self) -> Result {
        match self {
            Self::Stave(stave) => {
                let root = stave.root();
                if root.exists() {
                    fs::remove_dir_all(&root).at("remove", &root)?;
                }
                Ok(())
            }
            Self::Buildah { .. } => match self.buildah(&["rmi", "--all", "--force"]) {
                Some(mut command) => run::quiet(&mut command),
                None => Ok(()),
            },
            Self::Docker(dockerd) => {
                run::quiet(&mut dockerd.docker(&["image", "prune", "--all", "--force"]))?;
                run::quiet(&mut dockerd.docker(&["builder", "prune", "--all", "--force"]))
            }
            Self::Buildctl { binary } => run::quiet(Command::new(binary).args(["prune", "--all"])),
        }
    }
}

fn buildctl(binary: &Path, job: Job<'_>) -> Command {
    let mut command = Command::new(binary);
    command.args(["build", "--progress=plain", "--frontend=dockerfile.v0"]);
    for local in ["context", "dockerfile"] {
        command.arg("--local").arg(format!("{local}={}", job.context.display()));
    }
    if job.no_cache {
        command.arg("--no-cache");
    }
    command.arg("--output").arg(match job.archive {
        None => format!("type=image,name={TAG}"),
        Some((file, compression)) => format!("type=oci,dest={},compression={compression}", file.display()),
    });
    command
}

/// Buildah by path, if there is one.
pub(super) fn buildah(name: &'static str, binary: Option<PathBuf>, home: PathBuf, conf: &Path) -> Option<Builder> {
    Some(Builder::Buildah { name, binary: binary?, home, registries_conf: conf.to_owned() })
}

/// The `buildctl` that the environment names. It finds its daemon by `BUILDKIT_HOST`.
pub(super) fn buildctl_of_environment() -> Option<Builder> {
    std::env::var_os("BUILDCTL").map(|binary| Builder::Buildctl { binary: binary.into() })
}
