//! The directories on the way to the last entry, kept open.
//!
//! Turns the name of a directory into the open directory with one lookup for each component that the last name did not
//! have: the entries of an archive come directory by directory. It knows only directories that were reached without any
//! link; everything else is left to a walk from the root.

use std::rc::Rc;

use crate::dir::{Dir, PathError, components};

/// How many directories are kept open at most; what is deeper is walked to from the root.
const DEPTH_MAX: usize = 64;

/// Open directories, each in the one before it and the first in the root.
#[derive(Default)]
pub(super) struct Trail(Vec<(Vec<u8>, Rc<Dir>)>);

impl Trail {
    /// Returns the directory `path` of `root` if every component of it is a directory and no link. `path` is clean.
    ///
    /// # Errors
    /// If a component cannot be opened for another reason than what it is.
    pub(super) fn follow(&mut self, root: &Dir, path: &[u8]) -> Result<Option<Rc<Dir>>, PathError> {
        if path.is_empty() {
            return Ok(None);
        }
        let known = self.0.iter().zip(components(path)).take_while(|((name, _), part)| name == part).count();
        self.0.truncate(known);
        for part in components(path).skip(known) {
            let at = self.0.last().map_or(root, |(_, dir)| dir);
            if self.0.len() == DEPTH_MAX {
                return Ok(None);
            }
            match at.open_dir_no_links(part) {
                Ok(dir) => self.0.push((part.to_vec(), Rc::new(dir))),
                Err(error) if error.is_no_directory() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(self.0.last().map(|(_, dir)| Rc::clone(dir)))
    }

    /// Forgets the directory `path` and all in it: something else is about to be there.
    pub(super) fn forget(&mut self, path: &[u8]) {
        let depth = components(path).count();
        let leads_there =
            self.0.len() >= depth && self.0.iter().zip(components(path)).all(|((name, _), part)| name == part);
        if leads_there {
            self.0.truncate(depth.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir().expect("a directory can be made");
        std::fs::create_dir_all(place.path().join("a/b/c")).expect("directories");
        std::fs::create_dir(place.path().join("a/d")).expect("a directory");
        std::os::unix::fs::symlink("a", place.path().join("link")).expect("a link");
        std::fs::write(place.path().join("file"), "").expect("a file");
        let root = Dir::open_ambient(place.path()).expect("it can be opened");
        (place, root)
    }

    fn inode(dir: &Dir) -> u64 {
        dir.own_metadata().expect("it is open").inode
    }

    #[test]
    fn each_directory_is_the_one_that_its_path_names() {
        let (_place, root) = tree();
        let mut trail = Trail::default();
        for path in ["a/b/c", "a/b", "a/d", "a", "a/b/c"] {
            let found = trail.follow(&root, path.as_bytes()).expect("no error").expect("it is there");
            let expected = root.open_dir_no_links(path.as_bytes()).expect("it is there");
            assert_eq!(inode(&found), inode(&expected), "{path}");
        }
    }

    #[test]
    fn links_files_and_what_is_missing_are_left_to_others() {
        let (_place, root) = tree();
        let mut trail = Trail::default();
        for path in ["", "link", "link/b", "file", "file/x", "missing", "a/missing/x"] {
            assert!(trail.follow(&root, path.as_bytes()).expect("no error").is_none(), "{path}");
        }
    }

    #[test]
    fn what_was_replaced_is_looked_up_again() {
        let (place, root) = tree();
        let mut trail = Trail::default();
        trail.follow(&root, b"a/b/c").expect("no error").expect("it is there");
        trail.forget(b"a/d");
        assert_eq!(trail.0.len(), 3);
        trail.forget(b"a/b");
        std::fs::remove_dir_all(place.path().join("a/b")).expect("it can be removed");
        std::os::unix::fs::symlink("d", place.path().join("a/b")).expect("a link");
        assert!(trail.follow(&root, b"a/b").expect("no error").is_none());
        assert!(trail.follow(&root, b"a/b/c").expect("no error").is_none());
    }
}
