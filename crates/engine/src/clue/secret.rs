//! A secret that a step asks for and does not find.

use stave_graph::{Exec, MountKind};

use super::access::candidates;
use super::said;

/// A secret that was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSecret {
    /// Its name.
    pub id: String,
    /// The path or the variable at which the step expects it.
    pub place: String,
}

/// Returns the secret of which a line says that it is not there. One that was given is there.
pub(super) fn find(exec: &Exec, line: &str) -> Option<NoSecret> {
    let lower = line.to_ascii_lowercase();
    let no_file = lower.contains("no such file or directory");
    let no_variable = ["parameter not set", "unbound variable", "parameter null or not set"];
    let no_variable = no_variable.iter().any(|words| lower.contains(words));
    let paths = if no_file { said::paths(line) } else { Vec::new() };
    exec.mounts.iter().find_map(|mount| {
        let MountKind::Secret { id, env, file, .. } = &mount.kind else { return None };
        let is_path = |word: &String| candidates(exec, word).contains(&mount.target);
        if *file && paths.iter().any(is_path) {
            return Some(NoSecret { id: id.clone(), place: mount.target.clone() });
        }
        let name = env.as_ref().filter(|_| no_variable)?;
        let is_named = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == name);
        is_named.then(|| NoSecret { id: id.clone(), place: format!("${name}") })
    })
}
