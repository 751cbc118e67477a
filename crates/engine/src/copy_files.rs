//! Copies files between two directories that paths cannot leave: `cp`, and outputs of type `local`.
//!
//! One side packs, the other unpacks, with a pipe between them; so links, owners and special files are treated in one
//! place, the archive code, and both sides resolve every name inside their own root.
//!
//! Reference: `docker container cp`, for what a destination means.

use std::io::{self, Read, Write};
use std::thread;

use stave_tree::Times;
use stave_tree::pack::{PackError, Packed, pack_live_tree, pack_tree};
use stave_tree::{Dir, Follow, Kind, Limits, PathError, extract_archive};

use crate::engine::Engine;
use crate::error::EngineError;

/// A file or directory to copy.
pub(crate) struct CopyFrom<'a> {
    /// What its path is resolved in.
    pub(crate) root: &'a Dir,
    /// Its path.
    pub(crate) path: &'a [u8],
    /// What the user calls it.
    pub(crate) shown: &'a str,
}

/// Where to copy it to.
pub(crate) struct CopyTo<'a> {
    /// What the path is resolved in.
    pub(crate) root: &'a Dir,
    /// The path.
    pub(crate) path: &'a [u8],
    /// What the user calls it.
    pub(crate) shown: &'a str,
}

/// Which directory receives the files, and what the source is called there.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    directory: Vec<u8>,
    /// Empty where the contents of the source go into the directory.
    name: Vec<u8>,
}

/// What stands at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    File,
    Directory,
}

/// Returns where a source goes, by Docker's rules.
fn place(source: &[u8], source_is_dir: bool, dest: &[u8], there: There) -> Result<Place, &'static str> {
    let contents = source_is_dir && (source.ends_with(b"/.") || source == b".");
    let (parent, name) = split(dest);
    match (source_is_dir, there) {
        (_, There::Directory) if contents => Ok(Place { directory: dest.to_vec(), name: Vec::new() }),
        (_, There::Directory) => Ok(Place { directory: dest.to_vec(), name: split(source).1.to_vec() }),
        (true, There::File) => Err("cannot copy a directory to a file"),
        (false, There::Nothing) if dest.ends_with(b"/") => Err("the destination directory does not exist"),
        (false, There::File) if dest.ends_with(b"/") => Err("the destination is not a directory"),
        (false, There::File | There::Nothing) | (true, There::Nothing) => {
            Ok(Place { directory: parent.to_vec(), name: name.to_vec() })
        }
    }
}

/// Splits a path into its directory and its last name; trailing slashes and `/.` don't count.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let mut path = path;
    while let Some(shorter) = path.strip_suffix(b"/").or_else(|| path.strip_suffix(b"/.")) {
        path = shorter;
    }
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..=slash], &path[slash + 1..]),
        None => (b".", path),
    }
}

/// Copies `from` to `to`. With `follow`, a link at the source is followed; `keep_owners` keeps the numbers of users and
/// groups, otherwise everything belongs to root.
pub(crate) fn copy(
    engine: &Engine,
    from: &CopyFrom<'_>,
    to: &CopyTo<'_>,
    follow: bool,
    keep_owners: bool,
) -> Result<(), EngineError> {
    let source = find_source(from, follow)?;
    let there = match to.root.metadata(to.path, Follow::Yes) {
        Ok(metadata) if metadata.kind == Kind::Directory => There::Directory,
        Ok(_) => There::File,
        Err(error) if error.is_not_found() => There::Nothing,
        Err(error) => return Err(EngineError::tree(format!("cannot copy to `{}`", to.shown), error)),
    };
    let refuse =
        |why: &str| EngineError::request(format!("cannot copy `{}` to `{}`: {why}", from.shown, to.shown), None);
    let place = place(from.path, source.is_dir(), to.path, there).map_err(refuse)?;
    let into = to.root.open_dir(&place.directory).map_err(|error| {
        if error.is_not_found() {
            refuse("the directory of the destination does not exist")
        } else {
            EngineError::tree(format!("cannot copy to `{}`", to.shown), error)
        }
    })?;
    transfer(engine, |out| source.pack(&place.name, out), &into, keep_owners)
}

/// What is copied: a directory that is open, so that it is one whatever its name leads to by now, or a path to something else.
enum Source<'a> {
    Directory(Dir),
    Other { root: &'a Dir, path: Vec<u8> },
}

impl Source<'_> {
    fn is_dir(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// Packs it as `name`; if that is empty, what is in the directory.
    fn pack(&self, name: &[u8], out: &mut dyn Write) -> Result<Packed, PackError> {
        match self {
            Self::Directory(dir) => pack_live_tree(dir, b"", name, out),
            Self::Other { root, path } => pack_live_tree(root, path, name, out),
        }
    }
}

/// Finds what to pack. A slash at the end of the path follows a link.
fn find_source<'a>(from: &CopyFrom<'a>, follow: bool) -> Result<Source<'a>, EngineError> {
    let fail = |error: PathError| {
        if error.is_not_found() {
            EngineError::request(format!("`{}` does not exist", from.shown), None)
        } else {
            EngineError::tree(format!("cannot copy `{}`", from.shown), error)
        }
    };
    let follow = follow || from.path.ends_with(b"/") || from.path.ends_with(b"/.");
    let path = if follow { from.root.resolve(from.path).map_err(fail)? } else { from.path.to_vec() };
    let metadata = from.root.metadata(&path, Follow::No).map_err(fail)?;
    if metadata.kind == Kind::Directory {
        return from.root.open_dir_nofollow_last(&path).map(Source::Directory).map_err(fail);
    }
    // As docker: a slash says that it is a directory.
    if from.path.ends_with(b"/") || from.path.ends_with(b"/.") {
        return Err(EngineError::request(format!("`{}` is not a directory", from.shown), None));
    }
    Ok(Source::Other { root: from.root, path })
}

/// Copies all that is in `from` into `into`; everything belongs to whoever runs this.
pub(crate) fn copy_contents(engine: &Engine, from: &Dir, times: Times, into: &Dir) -> Result<(), EngineError> {
    transfer(engine, |out| pack_tree(from, b"", b"", times, out), into, false)
}

fn transfer(
    engine: &Engine,
    pack: impl FnOnce(&mut dyn Write) -> Result<Packed, PackError> + Send,
    into: &Dir,
    keep_owners: bool,
) -> Result<(), EngineError> {
    let failed = |source: io::Error| EngineError::tree("cannot copy files", source);
    let (reader, mut writer) = io::pipe().map_err(failed)?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let packed = pack(&mut writer);
            drop(writer);
            packed
        });
        let unpacked = unpack(reader, into, keep_owners);
        let packed = sender.join().expect("the packer does not panic");
        engine.go_on()?;
        // An unpacker that fails breaks the packer's pipe, so its error is the cause.
        unpacked.and(packed.map(drop).map_err(|source| EngineError::tree("cannot read the files", source)))
    })
}

/// Unpacks a tar into a directory.
pub(crate) fn unpack(tar: impl Read, into: &Dir, keep_owners: bool) -> Result<(), EngineError> {
    let mut tar = io::BufReader::with_capacity(256 * 1024, tar);
    let owner = if keep_owners { None } else { Some((0, 0)) };
    extract_archive(&mut tar, into, owner, &Limits::default())
        .map_err(|source| EngineError::tree("cannot write the files", source))?;
    io::copy(&mut tar, &mut io::sink()).map_err(|source| EngineError::io("read", "the archive", source))?;
    Ok(())
}

/// Counts what is written, and keeps nothing of it.
#[derive(Default)]
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the bytes of the archive that a copy of `from` goes through: a little more than it takes.
pub(crate) fn weight(from: &CopyFrom<'_>, follow: bool) -> Result<u64, EngineError> {
    let mut count = Count::default();
    pack(from, follow, &mut count)?;
    Ok(count.0)
}

/// Packs a file or a directory under its own name.
pub(crate) fn pack(from: &CopyFrom<'_>, follow: bool, out: &mut dyn Write) -> Result<(), EngineError> {
    let source = find_source(from, follow)?;
    let name = if from.path.ends_with(b"/.") { Vec::new() } else { split(from.path).1.to_vec() };
    source.pack(&name, out).map_err(|source| EngineError::tree(format!("cannot copy `{}`", from.shown), source))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes(source: &str, is_dir: bool, dest: &str, there: There) -> Result<(String, String), &'static str> {
        place(source.as_bytes(), is_dir, dest.as_bytes(), there).map(|place| {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the test has text only");
            (text(place.directory), text(place.name))
        })
    }

    fn at(directory: &str, name: &str) -> (String, String) {
        (directory.to_owned(), name.to_owned())
    }

    #[test]
    fn a_file_goes_where_docker_puts_it() {
        assert_eq!(goes("/a/f", false, "x/g", There::Nothing), Ok(at("x/", "g")));
        assert_eq!(goes("/a/f", false, "g", There::File), Ok(at(".", "g")));
        assert_eq!(goes("/a/f", false, "x", There::Directory), Ok(at("x", "f")));
        assert!(goes("/a/f", false, "x/", There::Nothing).is_err());
    }

    #[test]
    fn a_directory_goes_where_docker_puts_it() {
        assert_eq!(goes("/a/d", true, "x/new", There::Nothing), Ok(at("x/", "new")));
        assert_eq!(goes("/a/d/.", true, "new", There::Nothing), Ok(at(".", "new")));
        assert_eq!(goes("/a/d", true, "x", There::Directory), Ok(at("x", "d")));
        assert_eq!(goes("/a/d/", true, "x", There::Directory), Ok(at("x", "d")));
        assert_eq!(goes("/a/d/.", true, "x", There::Directory), Ok(at("x", "")));
        assert!(goes("/a/d", true, "x", There::File).is_err());
    }
}
