//! Something of the machine that several runs of this program use at once: the first makes it, the last removes it.
//!
//! Two files are locked, each in one way only, for a lock that is changed from exclusive to shared is let go in between:
//! `NAME.turn` exclusively, by who makes or removes the thing; `NAME.users` shared, by everyone as long as it is used.
//! The kernel lets go of the locks of a run that was killed.

use crate::failure::{At, Result};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// The right to use the thing, until it is handed back with [`Share::leave`] or dropped.
pub(super) struct Share {
    base: PathBuf,
    /// Locked, shared.
    users: File,
}

impl Share {
    /// Joins the users of the thing, whose locks are beside `base`. `make` makes it if it is not there.
    pub(super) fn join(base: &Path, make: impl FnOnce() -> Result) -> Result<Self> {
        let _turn = turn(base)?;
        let path = base.with_extension("users");
        let users = open(&path)?;
        users.lock_shared().at("lock", &path)?;
        make()?;
        Ok(Self { base: base.to_owned(), users })
    }

    /// Leaves them. The last one removes the thing with `remove`.
    pub(super) fn leave(self, remove: impl FnOnce() -> Result) -> Result {
        let _turn = turn(&self.base)?;
        drop(self.users);
        let path = self.base.with_extension("users");
        match open(&path)?.try_lock() {
            Ok(()) => remove(),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error).at("lock", &path),
        }
    }
}

/// Waits until nobody else makes or removes the thing; as long as the file is open, nobody does.
fn turn(base: &Path) -> Result<File> {
    let path = base.with_extension("turn");
    let file = open(&path)?;
    file.lock().at("lock", &path)?;
    Ok(file)
}

fn open(path: &Path) -> Result<File> {
    File::options().create(true).truncate(false).write(true).open(path).at("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins and leaves many times; `thing` is a file.
    fn come_and_go(base: &Path, thing: &Path) {
        for _ in 0..200 {
            let create = || if thing.exists() { Ok(()) } else { std::fs::write(thing, "").at("create", thing) };
            let share = Share::join(base, create).expect("joined");
            assert!(thing.exists(), "somebody removed it");
            std::thread::yield_now();
            assert!(thing.exists(), "somebody removed it");
            share.leave(|| std::fs::remove_file(thing).at("remove", thing)).expect("left");
        }
    }

    #[test]
    fn the_thing_is_there_as_long_as_anybody_uses_it_and_not_longer() {
        let place = tempfile::tempdir().expect("a directory");
        let (base, thing) = (place.path().join("lock"), place.path().join("thing"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| come_and_go(&base, &thing));
            }
        });
        assert!(!thing.exists());
    }

    #[test]
    fn what_could_not_be_made_is_used_by_nobody() {
        let place = tempfile::tempdir().expect("a directory");
        let base = place.path().join("lock");
        assert!(Share::join(&base, || Err(crate::failure::Failure::new("no"))).is_err());
        let mut removed = false;
        let share = Share::join(&base, || Ok(())).expect("joined");
        share
            .leave(|| {
                removed = true;
                Ok(())
            })
            .expect("left");
        assert!(removed, "the failed one does not count");
    }
}
