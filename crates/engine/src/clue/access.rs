//! A file that the step's user may not use, or a file system that cannot be written: who, what, and whose it is.

use stave_graph::{Exec, MountKind};
use stave_oci::user::{USER_FILE_BYTES_MAX, identity};
use stave_tree::{Kind, Layers, Metadata};

use super::view::{View, mount_of};

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
    /// The mount that has it, if it is one of the step's.
    pub mount: Option<DeniedMount>,
}

/// A mount that has an owner and rights of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedMount {
    /// What it is, for people: `secret`, `cache`.
    pub name: &'static str,
    /// Where it is.
    pub target: String,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
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

/// Finds the first of `words` that is a file of the image, or lies in a directory of it, and says whose that is. Nothing is
/// known about what the user owns and may use, and about files of other file systems.
pub(super) fn denied(view: &View<'_, '_>, exec: &Exec, words: &[String], to_execute: bool) -> Option<Denied> {
    let files = view.files();
    let passwd = files.read_file(b"etc/passwd", USER_FILE_BYTES_MAX).unwrap_or_default();
    let group = files.read_file(b"etc/group", USER_FILE_BYTES_MAX).unwrap_or_default();
    let uid = identity(&exec.user, &passwd, &group).ok().map(|identity| identity.uid);
    let name = |id: u32, table: &[u8]| named(id, table).unwrap_or_else(|| id.to_string());
    let user = match uid {
        Some(uid) => name(uid, &passwd),
        None => exec.user.clone(),
    };
    let found = Denied { user, uid, to_execute, place: None, mount: None };
    for word in words {
        let paths = candidates(exec, word);
        if let Some((_, mount)) = paths.iter().find_map(|path| mount_of(exec, path)) {
            let (name, mode, uid, gid) = match &mount.kind {
                MountKind::Secret { mode, uid, gid, .. } => ("secret", *mode, *uid, *gid),
                MountKind::Ssh { mode, uid, gid, .. } => ("SSH agent", *mode, *uid, *gid),
                MountKind::Cache { mode, uid, gid, .. } => ("cache", *mode, *uid, *gid),
                MountKind::Bind { .. } | MountKind::Tmpfs { .. } | MountKind::Inline { .. } => return None,
            };
            let mount = DeniedMount { name, target: mount.target.clone(), mode, uid, gid };
            return (found.uid != Some(uid)).then_some(Denied { mount: Some(mount), ..found });
        }
        let Some((path, metadata)) = nearest_existing(files, &exec.cwd, word) else { continue };
        let wanted = if to_execute { 0o100 } else { 0o200 };
        if uid == Some(metadata.uid) && uid != Some(0) && metadata.mode & wanted != 0 {
            return None;
        }
        let place = DeniedPlace {
            path,
            is_directory: metadata.kind == Kind::Directory,
            owner: name(metadata.uid, &passwd),
            group: name(metadata.gid, &group),
            mode: metadata.mode & 0o7777,
        };
        return Some(Denied { place: Some(place), ..found });
    }
    Some(found)
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
            Some(found) => return Some(found),
            None if path == "/" => return None,
            None => {
                let above = path.rsplit_once('/').map_or("", |(above, _)| above);
                path = if above.is_empty() { "/".to_owned() } else { above.to_owned() };
            }
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

/// Says in which of a step's mounts the first of `words` is that cannot be written.
pub(super) fn read_only(exec: &Exec, words: &[String]) -> Option<ReadOnly> {
    let paths = words.iter().flat_map(|word| candidates(exec, word));
    paths.into_iter().find_map(|path| {
        let mount = mount_of(exec, &path).map(|(_, mount)| mount);
        let is_machines = ["/proc", "/sys"].iter().any(|place| is_below(&path, place));
        let takes_rw =
            mount.is_some_and(|mount| matches!(mount.kind, MountKind::Bind { .. } | MountKind::Cache { .. }));
        let mount = mount.map(|mount| mount.target.clone());
        (mount.is_some() || is_machines).then_some(ReadOnly { path: Some(path), mount, takes_rw })
    })
}

/// Whether an absolute path is `place` or below it.
pub(super) fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a path may mean that a command names: from the step's directory, and from those that its text goes to.
pub(super) fn candidates(exec: &Exec, word: &str) -> Vec<String> {
    if word.starts_with('/') {
        return vec![absolute("/", word)];
    }
    let mut at = exec.cwd.clone();
    let mut found = vec![absolute(&at, word)];
    for directory in directories(exec) {
        at = absolute(&at, directory);
        found.push(absolute(&at, word));
    }
    found
}

/// Whether a command goes to another directory than its own before it does something.
pub(super) fn wanders(exec: &Exec) -> bool {
    directories(exec).next().is_some()
}

/// The words behind each `cd` of a command.
fn directories(exec: &Exec) -> impl Iterator<Item = &str> {
    let separators = |character: char| character.is_whitespace() || ";&|()".contains(character);
    exec.args.iter().flat_map(move |text| {
        let words = text.split(separators).filter(|word| !word.is_empty());
        let pairs = words.clone().zip(words.skip(1));
        let gone = pairs.filter(|(word, _)| matches!(*word, "cd" | "pushd"));
        gone.map(|(_, directory)| directory.trim_matches(['\'', '"']))
    })
}

#[cfg(test)]
mod tests {
    use stave_graph::{Graph, Op, Origin};

    use super::*;

    #[test]
    fn a_path_may_be_meant_from_where_the_command_goes() {
        let mut graph = Graph::new();
        let mut exec = Exec::new(graph.add(Op::Scratch, Origin(0)), Vec::new());
        exec.cwd = "/work".to_owned();
        exec.args = ["sh", "-c", "cd src&& make; (cd '/opt' ; ./x)"].map(str::to_owned).to_vec();
        assert_eq!(candidates(&exec, "./x"), ["/work/x", "/work/src/x", "/opt/x"]);
        assert_eq!(candidates(&exec, "/y/./x"), ["/y/x"]);
        assert!(wanders(&exec) && is_below("/a/b", "/a") && is_below("/a", "/") && !is_below("/ab", "/a"));
    }

    #[test]
    fn paths_are_those_of_the_command() {
        assert_eq!(absolute("/work", "./a/../b"), "/work/b");
        assert_eq!(absolute("/", "/x//y/"), "/x/y");
        assert_eq!(absolute("/", "../.."), "/");
        assert_eq!(named(7, b"root:x:0:0::/:/bin/sh\nme:x:7:8::/:/bin/sh\n").as_deref(), Some("me"));
    }
}
