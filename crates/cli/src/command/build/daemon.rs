//! Finds the daemon of Docker or Podman that `--load` is about.
//!
//! Reference: docker/cli, `cli/context/store`, `cli/command/cli.go`, "resolveContextName".

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stave_oci::BlobDigest;

use super::variables::Surroundings;
use crate::failure::Failure;

/// The variable that says where `--load` goes, before all others: `store`, or the address of a daemon.
const STAVE_LOAD: &str = "STAVE_LOAD";

/// Fails if the variable says nothing that `--load` could follow, be it asked for or not.
pub(super) fn check_variable(surroundings: &Surroundings<'_>) -> Result<(), Failure> {
    match surroundings.text(STAVE_LOAD).as_deref() {
        None | Some("store") => Ok(()),
        Some(address) => of_address(address, "the variable STAVE_LOAD").map(drop),
    }
}

/// Returns the socket of the daemon that `context`, a variable or Docker's configuration names, else of one that runs where
/// daemons of Docker and Podman do; nothing if there is none, and the image stays in the store.
///
/// Errors: what was named is no daemon on this machine.
pub(in crate::command) fn socket(
    context: Option<&str>,
    surroundings: &Surroundings<'_>,
) -> Result<Option<PathBuf>, Failure> {
    if let Some(context) = context {
        return of_context(context, "`context=`", surroundings);
    }
    match surroundings.text(STAVE_LOAD).as_deref() {
        Some("store") => return Ok(None),
        Some(address) => return of_address(address, "the variable STAVE_LOAD").map(Some),
        None => {}
    }
    for variable in ["DOCKER_HOST", "CONTAINER_HOST"] {
        if let Some(address) = surroundings.text(variable) {
            return of_address(&address, &format!("the variable {variable}")).map(Some);
        }
    }
    if let Some(context) = surroundings.text("DOCKER_CONTEXT") {
        return of_context(&context, "the variable DOCKER_CONTEXT", surroundings);
    }
    let config = surroundings.docker_directory().map(|directory| directory.join("config.json"));
    if let Some(bytes) = config.and_then(|path| std::fs::read(path).ok())
        && let Ok(config) = serde_json::from_slice::<Value>(&bytes)
        && let Some(context) = config["currentContext"].as_str().filter(|context| !context.is_empty())
    {
        return of_context(context, "the current context of Docker's configuration", surroundings);
    }
    Ok(usual(surroundings))
}

/// Returns the first socket of those that daemons use on which one listens.
fn usual(surroundings: &Surroundings<'_>) -> Option<PathBuf> {
    let runtime = surroundings.text("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = |name: &str| runtime.as_ref().map(|runtime| runtime.join(name));
    let places = [
        Some("/var/run/docker.sock".into()),
        own("docker.sock"),
        Some("/run/podman/podman.sock".into()),
        own("podman/podman.sock"),
    ];
    places.into_iter().flatten().find(|path| UnixStream::connect(path).is_ok())
}

fn of_address(address: &str, source: &str) -> Result<PathBuf, Failure> {
    match address.strip_prefix("unix://").or(Some(address).filter(|address| address.starts_with('/'))) {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(Failure::usage(format!(
            "{source} is `{address}`, and images are loaded through a socket of this machine"
        ))
        .with_hint("Write `unix:///PATH`, or send an archive: `-o type=docker,dest=- | docker load`.")),
    }
}

fn of_context(name: &str, source: &str, surroundings: &Surroundings<'_>) -> Result<Option<PathBuf>, Failure> {
    if name == "default" {
        return match surroundings.text("DOCKER_HOST") {
            Some(address) => of_address(&address, "the variable DOCKER_HOST").map(Some),
            None => Ok(usual(surroundings)),
        };
    }
    let unknown = || {
        Failure::usage(format!("{source} is `{name}`, and Docker's configuration has no such context"))
            .with_hint("`docker context ls` lists those that there are.")
    };
    let id = BlobDigest::of(name.as_bytes()).hex();
    let directory = surroundings.docker_directory().ok_or_else(unknown)?;
    let file = directory.join(Path::new("contexts/meta")).join(id).join("meta.json");
    let bytes = std::fs::read(file).map_err(|_| unknown())?;
    let meta: Value = serde_json::from_slice(&bytes).map_err(|_| unknown())?;
    let address = meta["Endpoints"]["docker"]["Host"].as_str().ok_or_else(unknown)?;
    of_address(address, &format!("the context `{name}`")).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_daemons() {
        assert_eq!(of_address("unix:///run/x.sock", "it").ok(), Some("/run/x.sock".into()));
        assert_eq!(of_address("/run/x.sock", "it").ok(), Some("/run/x.sock".into()));
        for text in ["tcp://1.2.3.4:2375", "ssh://host", "unix://x", "x"] {
            assert!(of_address(text, "it").is_err(), "{text}");
        }
    }
}
