//! What of the caller's the steps may use: files, variables and agents are looked up, before anything is built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use stave_engine::{Entitlement, Grants, SecretSource};

use super::agent::KeyAgent;
use super::variables::Surroundings;
use crate::args::{AllowArg, NetworkMode, SecretArg, SecretPlace, SshArg};
use crate::failure::Failure;

/// Largest secret, in bytes.
///
/// Reference: BuildKit, `session/secrets/secretsprovider`, `MaxSecretSize`.
const SECRET_BYTES_MAX: u64 = 500 * 1024;

/// Returns all that was granted, and the agents that must live as long as the build.
pub(in crate::command) fn grants(
    secrets: Vec<SecretArg>,
    ssh: Vec<SshArg>,
    allowed: &[AllowArg],
    network: NetworkMode,
    surroundings: &Surroundings<'_>,
    notes: &mut Vec<String>,
) -> Result<(Grants, Vec<KeyAgent>), Failure> {
    let mut entitlements: BTreeSet<Entitlement> = allowed.iter().filter_map(AllowArg::of_steps).collect();
    if network == NetworkMode::Host {
        // Who puts all steps into the network of the machine allows it to the single one.
        entitlements.insert(Entitlement::NetworkHost);
    }
    let secrets = self::secrets(secrets, surroundings, notes)?;
    let (ssh, agents) = agents(ssh, surroundings)?;
    Ok((Grants { secrets, ssh, entitlements }, agents))
}

fn secrets(
    given: Vec<SecretArg>,
    surroundings: &Surroundings<'_>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, SecretSource>, Failure> {
    let mut secrets = BTreeMap::new();
    for SecretArg { id, place } in given {
        let source = match place {
            SecretPlace::File(path) => SecretSource::File(checked(&id, &path)?),
            SecretPlace::Anywhere if surroundings.bytes(&id).is_none() => {
                SecretSource::File(checked(&id, Path::new(&id))?)
            }
            SecretPlace::Anywhere => variable(&id, &id, surroundings, notes),
            SecretPlace::Variable(name) => variable(&id, &name, surroundings, notes),
        };
        secrets.insert(id, source);
    }
    Ok(secrets)
}

/// Returns the value of a variable. One that is not set is empty, as in BuildKit, and worth a note.
fn variable(id: &str, name: &str, surroundings: &Surroundings<'_>, notes: &mut Vec<String>) -> SecretSource {
    let value = surroundings.bytes(name);
    if value.is_none() {
        notes.push(format!("the secret `{id}` is empty: the variable `{name}` is not set"));
    }
    SecretSource::Value(value.unwrap_or_default().into_vec())
}

/// Returns the path, made absolute, if a file is there that is small enough.
fn checked(id: &str, path: &Path) -> Result<PathBuf, Failure> {
    let metadata = fs::metadata(path).map_err(|error| {
        Failure::usage(format!("cannot read the secret `{id}` from `{}`: {error}", path.display()))
            .with_hint("Say where it is: `--secret id=ID,src=FILE` or `--secret id=ID,env=VARIABLE`.")
    })?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!("the secret `{id}` is no file: `{}` is a directory", path.display())));
    }
    if metadata.len() > SECRET_BYTES_MAX {
        let (bytes, path) = (metadata.len(), path.display());
        return Err(Failure::usage(format!("the secret `{id}` is too large: `{path}` has {bytes} bytes"))
            .with_hint("A secret has 500 KiB at most; mount larger files with `--build-context`."));
    }
    absolute(path)
}

type Sockets = BTreeMap<String, Vec<PathBuf>>;

/// Returns the sockets by id. Keys get an agent of their own.
fn agents(given: Vec<SshArg>, surroundings: &Surroundings<'_>) -> Result<(Sockets, Vec<KeyAgent>), Failure> {
    let (mut sockets_by_id, mut agents) = (BTreeMap::new(), Vec::new());
    for SshArg { id, paths } in given {
        let paths = if paths.is_empty() {
            let socket = surroundings.bytes("SSH_AUTH_SOCK").ok_or_else(|| {
                Failure::usage(format!("`--ssh {id}` means your SSH agent, and SSH_AUTH_SOCK is not set"))
                    .with_hint("Start an agent, or name keys: `--ssh default=$HOME/.ssh/id_ed25519`.")
            })?;
            vec![PathBuf::from(socket)]
        } else {
            paths
        };
        let mut sockets = 0;
        for path in &paths {
            let metadata = fs::metadata(path).map_err(|error| {
                Failure::usage(format!("cannot use `{}` for `--ssh {id}`: {error}", path.display()))
            })?;
            sockets += usize::from(metadata.file_type().is_socket());
        }
        if sockets > 0 && paths.len() > 1 {
            return Err(Failure::usage(format!("`--ssh {id}` names a socket beside other paths"))
                .with_hint("Name the socket of one agent, or keys only."));
        }
        let socket = if sockets == 0 {
            let agent = KeyAgent::start(&id, &paths, &std::env::temp_dir())?;
            let socket = agent.socket().to_owned();
            agents.push(agent);
            socket
        } else {
            absolute(&paths[0])?
        };
        sockets_by_id.insert(id, vec![socket]);
    }
    Ok((sockets_by_id, agents))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::environment(&error).within("cannot find the current directory"))
}
