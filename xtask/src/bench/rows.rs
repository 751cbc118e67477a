//! The rows of the table: what is built, how it is prepared, its limit, and the goal of `guide/product.md`.

use super::Bench;
use super::builder::{Builder, Job};
use super::{limit, scene};
use crate::failure::{At, Result};
use crate::place::copy_files;
use crate::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// What a row builds and how.
pub(super) struct Row {
    /// Its name for `--row`.
    pub(super) name: &'static str,
    /// What is done, in words.
    pub(super) work: &'static str,
    /// What is aimed at.
    pub(super) goal: &'static str,
    /// Makes the context.
    pub(super) scene: fn(&Bench, &Path) -> Result<PathBuf>,
    pub(super) cache: Cache,
    /// Measures the physical limit.
    pub(super) limit: Option<fn(&Bench, &Path) -> Result<Duration>>,
    /// What the limit is.
    pub(super) limit_name: &'static str,
}

/// What a builder may know when its time starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// Base images, nothing of the build: `--no-cache`.
    Bases,
    /// All of it: the same build ran before.
    Everything,
    /// All of it but one file.
    OneFileChanged,
    /// Nothing at all.
    Nothing,
    /// As `Bases`, and the result goes to an OCI archive with layers in this compression.
    Archive(&'static str),
}

/// How long ext4 keeps back the inode of a deleted file whose table is on the disk already, and a second.
const RECENTLY_DELETED: Duration = Duration::from_secs(61);

/// The rows in the order of the table.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "multi",
        work: "the multi-stage file, bases present, `--no-cache`",
        goal: "limit + 3 %",
        scene: link_counter,
        cache: Cache::Bases,
        limit: Some(limit::go_build),
        limit_name: "its `go build` in a chroot",
    },
    Row {
        name: "multi-unchanged",
        work: "the same, nothing changed",
        goal: "10 ms, 7 x faster",
        scene: link_counter,
        cache: Cache::Everything,
        limit: Some(limit::spawn),
        limit_name: "start a process",
    },
    Row {
        name: "run40",
        work: "40 small `RUN` steps, `--no-cache`",
        goal: "10 x faster",
        scene: |_, dir| scene::dockerfile(dir, &scene::steps(40)),
        cache: Cache::Bases,
        limit: Some(limit::forty_shells),
        limit_name: "40 x `sh -c`",
    },
    Row {
        name: "run40-unchanged",
        work: "40 `RUN` steps, nothing changed",
        goal: "10 ms, 9 x faster",
        scene: |_, dir| scene::dockerfile(dir, &scene::steps(40)),
        cache: Cache::Everything,
        limit: Some(limit::spawn),
        limit_name: "start a process",
    },
    Row {
        name: "copy-cold",
        work: "`COPY` of 20,000 files (160 MB), cold",
        goal: "1.2 x `cp -a`",
        scene: |_, dir| scene::many_files(dir),
        cache: Cache::Nothing,
        limit: Some(limit::copy_tree),
        limit_name: "`cp -a` of the tree",
    },
    Row {
        name: "copy-unchanged",
        work: "the same, nothing changed",
        goal: "80 ms, 12 x faster",
        scene: |_, dir| scene::many_files(dir),
        cache: Cache::Everything,
        limit: Some(limit::stat_tree),
        limit_name: "stat of the files",
    },
    Row {
        name: "copy-one-changed",
        work: "the same, one file changed",
        goal: "25 x faster",
        scene: |_, dir| scene::many_files(dir),
        cache: Cache::OneFileChanged,
        limit: Some(limit::stat_tree),
        limit_name: "stat of the files",
    },
    Row {
        name: "parallel",
        work: "8 independent stages of 1 s each",
        goal: "1.05 s",
        scene: |_, dir| scene::dockerfile(dir, &scene::parallel_stages()),
        cache: Cache::Bases,
        limit: Some(limit::one_second),
        limit_name: "`sleep 1`",
    },
    Row {
        name: "unused",
        work: "two unused 5 s stages before the target",
        goal: "6 x faster",
        scene: |_, dir| scene::dockerfile(dir, &scene::unused_stages()),
        cache: Cache::Bases,
        limit: Some(limit::used_stage_alone),
        limit_name: "stave, the target alone",
    },
    Row {
        name: "usr-gzip",
        work: "`COPY --from` of a 650 MB `/usr`, to an OCI tar, gzip",
        goal: "3 x faster",
        scene: |_, dir| scene::dockerfile(dir, scene::COPY_USR),
        cache: Cache::Archive("gzip"),
        limit: None,
        limit_name: "",
    },
    Row {
        name: "usr-zstd",
        work: "the same, zstd",
        goal: "4 x faster",
        scene: |_, dir| scene::dockerfile(dir, scene::COPY_USR),
        cache: Cache::Archive("zstd"),
        limit: None,
        limit_name: "",
    },
    Row {
        name: "pull",
        work: "empty store: pull the large base, run one step",
        goal: "2.5 x faster",
        scene: |_, dir| scene::dockerfile(dir, scene::STEP_ON_BASE),
        cache: Cache::Nothing,
        limit: Some(limit::unpack_base),
        limit_name: "`tar -x` of it, uncompressed",
    },
];

fn link_counter(bench: &Bench, dir: &Path) -> Result<PathBuf> {
    copy_files(&bench.place.example(), dir)?;
    Ok(dir.to_owned())
}

impl Row {
    /// Brings `builder` to the state in which the time starts. `run` counts from 0.
    pub(super) fn prepare(&self, builder: &Builder, context: &Path, run: usize) -> Result {
        match self.cache {
            Cache::Nothing => builder.reset(),
            Cache::OneFileChanged => scene::change_one_file(context, run),
            Cache::Bases | Cache::Everything | Cache::Archive(_) => Ok(()),
        }
    }

    /// Waits until the file system gives out again what [`Self::prepare`] deleted. An ext4 without a journal keeps the inodes
    /// of deleted files back for a minute and steps over each of them for every file that is made: the time of a row that
    /// writes thousands of files would be that of deleting those of the run before.
    ///
    /// Reference: Linux, `fs/ext4/ialloc.c`, `recently_deleted`.
    pub(super) fn let_deleted_files_be_forgotten(&self) {
        if self.cache == Cache::Nothing {
            thread::sleep(RECENTLY_DELETED);
        }
    }

    /// Lets `builder` see everything that it may know once before the first measured run.
    pub(super) fn warm_up(&self, builder: &Builder, context: &Path) -> Result {
        if self.cache == Cache::Nothing {
            return Ok(());
        }
        let job = Job { context, no_cache: false, archive: None };
        builder.command(job).map_or(Ok(()), |mut command| run::quiet(&mut command))
    }

    /// One measured run, or nothing where the builder cannot do it.
    pub(super) fn measure(&self, builder: &Builder, context: &Path, scratch: &Path) -> Result<Option<Duration>> {
        let no_cache = matches!(self.cache, Cache::Bases | Cache::Archive(_));
        let Cache::Archive(compression) = self.cache else {
            let job = Job { context, no_cache, archive: None };
            return builder.command(job).map(|mut command| run::timed(&mut command)).transpose();
        };
        let file = scratch.join("archive.tar");
        let taken = archive(builder, Job { context, no_cache, archive: Some((&file, compression)) })?;
        if file.exists() {
            fs::remove_file(&file).at("remove", &file)?;
        }
        Ok(taken)
    }
}

/// A build into an archive: one command where the builder has that, else a build and a push.
fn archive(builder: &Builder, job: Job<'_>) -> Result<Option<Duration>> {
    if let Some(mut command) = builder.command(job) {
        return run::timed(&mut command).map(Some);
    }
    let Some((file, compression)) = job.archive else { return Ok(None) };
    let Some(mut push) = builder.archive_command(file, compression) else { return Ok(None) };
    let Some(mut build) = builder.command(Job { archive: None, ..job }) else { return Ok(None) };
    Ok(Some(run::timed(&mut build)? + run::timed(&mut push)?))
}
