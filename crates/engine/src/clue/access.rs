//! A file that the step's user may not use, or a file system that cannot be written: who, what, and whose it is.

use stave_graph::{Exec, MountKind};
use stave_oci::user::{USER_FILE_BYTES_MAX, identity};
use stave_tree::{Kind, Layers, Metadata};

/// What was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Who the step's user is: a name, or a number.
    pub user: String,
    /// The user's number.
    pub uid: Option<u32>,
    /// Whether it was to be executed.
    pub to_execute: bool,
    /// The file or directory that was in the way, if it is known.
    pub place: Option<DeniedPlace>,
}

/// A file or directory with its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedPlace {
    /// Its absolute path in the image.
    pub path: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Its owner, by name where the image has one.
    pub owner: String,
    /// Its group, likewise.
    pub group: String,
    /// Its permissions.
    pub mode: u32,
}

/// A file system that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnly {
    /// What was to be written, if it is known.
    pub path: Option<String>,
    /// The target of the mount that it is in, if it is one of the step's.
    pub mount: Option<String>,
    /// Whether that could be made writable by an option of its own.
    pub takes_rw: bool,
}

/// Finds the first of `words` that is a file of the image, or lies in a directory of it, and says whose that is.
pub(super) fn denied(files: &Layers, exec: &Exec, words: &[String], to_execute: bool) -> Denied {
    let passwd = files.read_file(b"etc/passwd", USER_FILE_BYTES_MAX).unwrap_or_default();
    let group = files.read_file(b"etc/group", USER_FILE_BYTES_MAX).unwrap_or_default();
    let uid = identity(&exec.user, &passwd, &group).ok().map(|identity| identity.uid);
    let name = |id: u32, table: &[u8]| named(id, table).unwrap_or_else(|| id.to_string());
    let user = match uid {
        Some(uid) => name(uid, &passwd),
        None => exec.user.clone(),
    };
    let place = words.iter().find_map(|word| {
        let (path, metadata) = nearest_existing(files, &exec.cwd, word)?;
        Some(DeniedPlace {
            path,
            is_directory: metadata.kind == Kind::Directory,
            owner: name(metadata.uid, &passwd),
            group: name(metadata.gid, &group),
            mode: metadata.mode & 0o7777,
        })
    });
    Denied { user, uid, to_execute, place }
}

/// The name of a number in `/etc/passwd` or `/etc/group`.
fn named(id: u32, table: &[u8]) -> Option<String> {
    String::from_utf8_lossy(table).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

/// What there is at a path, or the directory in which it would be.
fn nearest_existing(files: &Layers, cwd: &str, word: &str) -> Option<(String, Metadata)> {
    let mut path = absolute(cwd, word);
    loop {
        let found = files.resolve(path.as_bytes()).ok().and_then(|resolved| {
            let metadata = files.metadata(resolved.strip_prefix(b"/").unwrap_or(&resolved)).ok()??;
            Some((format!("/{}", String::from_utf8_lossy(&resolved).trim_start_matches('/')), metadata))
        });
        match found {
            Some((found, metadata)) if found != "/" || path == "/" => return Some((found, metadata)),
            Some(found) => return Some(found),
            None => path = path.rsplit_once('/').filter(|(above, _)| !above.is_empty())?.0.to_owned(),
        }
    }
}

/// A path as a command in `cwd` means it.
pub(super) fn absolute(cwd: &str, word: &str) -> String {
    let joined = if word.starts_with('/') { word.to_owned() } else { format!("{cwd}/{word}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Says in which of a step's mounts a path is that cannot be written.
pub(super) fn read_only(exec: &Exec, path: Option<&str>) -> ReadOnly {
    let path = path.map(|path| absolute(&exec.cwd, path));
    let holds = |target: &str| {
        path.as_ref()
            .is_some_and(|path| path == target || path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/')))
    };
    // The innermost of them.
    let mounts = exec.mounts.iter().filter(|mount| holds(&absolute(&exec.cwd, &mount.target)));
    let mount = mounts.max_by_key(|mount| mount.target.len());
    let takes_rw = mount.is_some_and(|mount| matches!(mount.kind, MountKind::Bind { .. } | MountKind::Cache { .. }));
    ReadOnly { path, mount: mount.map(|mount| mount.target.clone()), takes_rw }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_command() {
        assert_eq!(absolute("/work", "./a/../b"), "/work/b");
        assert_eq!(absolute("/", "/x//y/"), "/x/y");
        assert_eq!(absolute("/", "../.."), "/");
        assert_eq!(named(7, b"root:x:0:0::/:/bin/sh\nme:x:7:8::/:/bin/sh\n").as_deref(), Some("me"));
    }
}
