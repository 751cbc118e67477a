//! Has the kernel read files that are about to be packed, where the disk turns out to be what is waited for.
//!
//! Asking costs as much as packing a file that is in memory, so nothing is asked for until several files were slow.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::dir::{Dir, Entry, Kind};
use crate::pool;

/// A file that takes longer was not in memory.
const SLOW: Duration = Duration::from_micros(300);
/// Files that have to be slow before the disk is taken for the cause.
const SLOW_FILES_MIN: u32 = 4;
/// Of so many files one has to be slow: where fewer are, it was a thread that waited for its turn.
const FILES_PER_SLOW_MAX: u32 = 8;
/// Largest file of which a slow read says anything, and the most that is read ahead of one file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Decides whether to read ahead.
#[derive(Default)]
pub(super) struct Ahead {
    files: u32,
    slow: u32,
    needed: bool,
}

impl Ahead {
    /// Takes note of how long a file took. Returns whether it is the one that decides.
    pub(super) fn read(&mut self, bytes: u64, took: Duration) -> bool {
        if bytes > FILE_BYTES_MAX || self.needed {
            return false;
        }
        self.files = self.files.saturating_add(1);
        self.slow += u32::from(took >= SLOW);
        self.needed = self.slow >= SLOW_FILES_MIN && self.slow.saturating_mul(FILES_PER_SLOW_MAX) >= self.files;
        self.needed
    }

    /// Whether the disk is what is waited for.
    pub(super) fn is_needed(&self) -> bool {
        self.needed
    }

    /// Has the files among `entries` of `dir` read, beside the caller. A file that cannot be is left to the caller, who
    /// will say what is wrong with it.
    pub(super) fn start(dir: &Dir, entries: &[Entry]) {
        let files = entries.iter().filter(|entry| entry.metadata.kind == Kind::File && entry.metadata.size > 0);
        let names: Vec<Vec<u8>> = files.map(|entry| entry.name.clone()).collect();
        let Ok(dir) = dir.try_clone() else { return };
        pool::beside(move || {
            for name in names {
                let Ok(file) = dir.open_file_here(&name) else { continue };
                // A file system that takes no advice is as slow as it was.
                if fadvise(&file, 0, NonZeroU64::new(FILE_BYTES_MAX), Advice::WillNeed).is_err() {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_slow_files_are_needed_and_large_ones_say_nothing() {
        let mut ahead = Ahead::default();
        let slow = Duration::from_millis(1);
        assert!(!ahead.read(FILE_BYTES_MAX + 1, slow));
        for _ in 1..SLOW_FILES_MIN {
            assert!(!ahead.read(1, slow));
            assert!(!ahead.read(1, Duration::ZERO));
        }
        let mut busy = Ahead::default();
        for _ in 0..10 * SLOW_FILES_MIN {
            assert!(!busy.read(1, slow));
            assert!((1..2 * FILES_PER_SLOW_MAX).all(|_| !busy.read(1, Duration::ZERO)), "one in many says nothing");
        }
        assert!(ahead.read(1, slow), "the last one decides");
        assert!(!ahead.read(1, slow), "and only that one");
        assert!(ahead.is_needed());
    }
}
