//! The merged files of images, as a tar or as files of a directory.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use stave_oci::{BlobDigest, Platform};
use stave_store::{Lease, WorkDir};
use stave_tree::pack::pack_trees;
use stave_tree::{Dir, Kind, Times};

use crate::attest::subjects;
use crate::copy_files;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::finish::{Built, BuiltImage};
use crate::request::FileTimes;

/// What is written of each image.
pub(super) struct Plan<'a> {
    built: &'a Built,
    split: bool,
    times: FileTimes,
    /// Before the names of files with statements.
    prefix: &'a str,
}

/// A tree of files, the directory that it goes to, and the times that they get.
type View = (Dir, String, Times);

impl<'a> Plan<'a> {
    /// Returns the plan for an output; `split`, `times` and the prefix of statements as the output says them.
    pub(super) fn new(built: &'a Built, split: Option<bool>, times: FileTimes, prefix: &'a str) -> Self {
        Self { built, split: split.unwrap_or(built.is_index()), times, prefix }
    }

    fn times_of(&self, image: &BuiltImage) -> Times {
        match self.times {
            FileTimes::OfBuild => image.image.files,
            FileTimes::Kept => Times::Real,
            FileTimes::UpTo(seconds) => Times::Clamped(seconds),
        }
    }

    /// Returns the files of each image and the directory that they are in.
    fn views(&self, engine: &Engine) -> Result<Vec<View>, EngineError> {
        let mut views = Vec::new();
        for image in &self.built.images {
            let view = engine.view(&image.image.layer_ids()?)?;
            let name = if self.split { directory_of(&image.platform) } else { String::new() };
            views.push((view, name, self.times_of(image)));
        }
        if !self.split && views.len() > 1 {
            self.refuse_conflicts(&views)?;
        }
        Ok(views)
    }

    /// Returns the statements about the images as files, which are there as long as the directories that hold them.
    ///
    /// Reference: BuildKit, `exporter/local/fs.go`: where platforms share a directory, a name has the platform in it.
    fn statements(&self, engine: &Engine, lease: &Lease, views: &[View]) -> Result<Vec<(WorkDir, View)>, EngineError> {
        let mut all = Vec::new();
        for (image, (view, directory, times)) in self.built.images.iter().zip(views) {
            let work = lease.work_dir()?;
            let into = engine.store_dir(&work.diff_rel_path())?;
            let mut written = 0;
            for statement in &image.statements {
                let Some(name) = &statement.file_name else { continue };
                let mut name = format!("{}{name}", self.prefix);
                if !self.split && self.built.is_index() {
                    let platform = directory_of(&image.platform);
                    name = match name.split_once('.') {
                        Some((first, rest)) => format!("{first}.{platform}.{rest}"),
                        None => format!("{name}.{platform}"),
                    };
                }
                let failed = |source| EngineError::tree(format!("cannot write `{name}`"), source);
                if view.exists(name.as_bytes()).map_err(failed)? {
                    let hint = "Give it another name with `attestation-prefix=` of the output.";
                    return Err(EngineError::request(format!("the image has a file `/{name}` of its own"), Some(hint)));
                }
                let subjects = subjects(&self.built.names, &image.platform);
                let bytes = statement.about(&BlobDigest::from(image.image.composed.id), &subjects);
                into.replace_file(name.as_bytes(), &bytes, 0o644).map_err(failed)?;
                written += 1;
            }
            if written > 0 {
                all.push((work, (into, directory.clone(), *times)));
            }
        }
        Ok(all)
    }

    /// Refuses to merge files of which two platforms have one each.
    fn refuse_conflicts(&self, views: &[View]) -> Result<(), EngineError> {
        let mut owners: BTreeMap<Vec<u8>, &Platform> = BTreeMap::new();
        for ((view, _, _), image) in views.iter().zip(&self.built.images) {
            let mut files = Vec::new();
            list_files(view, b"", &mut files)?;
            for file in files {
                let shown = String::from_utf8_lossy(&file).into_owned();
                if let Some(first) = owners.insert(file, &image.platform) {
                    let message =
                        format!("{first} and {} both have `/{shown}`, and only one can be written", image.platform);
                    let hint = "Leave `platform-split=false` out: each platform then has a directory of its own.";
                    return Err(EngineError::request(message, Some(hint)));
                }
            }
        }
        Ok(())
    }

    /// Writes the files as a tar.
    ///
    /// Errors: they cannot be read or written; two platforms have the same file, and both go to one place.
    pub(super) fn tar(&self, engine: &Engine, lease: &Lease, out: &mut dyn Write) -> Result<(), EngineError> {
        let views = self.views(engine)?;
        let statements = self.statements(engine, lease, &views)?;
        let trees: Vec<_> = views
            .iter()
            .chain(statements.iter().map(|(_, view)| view))
            .map(|(view, name, times)| (view, name.as_bytes(), *times))
            .collect();
        pack_trees(&trees, out).map_err(|source| EngineError::tree("cannot write the files", source))?;
        Ok(())
    }

    /// Copies the files into a directory of the user, which is made if it is missing. With `delete`, what else is in it is
    /// removed first.
    ///
    /// Errors: as of [`Self::tar`].
    pub(super) fn local(&self, engine: &Engine, lease: &Lease, path: &Path, delete: bool) -> Result<(), EngineError> {
        let views = self.views(engine)?;
        let statements = self.statements(engine, lease, &views)?;
        std::fs::create_dir_all(path).map_err(|source| EngineError::io("create", path, source))?;
        if delete {
            empty(path)?;
        }
        for (view, name, times) in views.iter().chain(statements.iter().map(|(_, view)| view)) {
            let path = path.join(name);
            std::fs::create_dir_all(&path).map_err(|source| EngineError::io("create", &path, source))?;
            let into = open_user_dir(&path)?;
            copy_files::copy_contents(engine, view, *times, &into)?;
        }
        Ok(())
    }
}

/// Returns the directory of a platform: `linux_arm_v7`.
fn directory_of(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

fn list_files(view: &Dir, path: &[u8], files: &mut Vec<Vec<u8>>) -> Result<(), EngineError> {
    let entries = view.list(path).map_err(|source| EngineError::tree("cannot read the files", source))?;
    for entry in entries {
        let child = if path.is_empty() { entry.name } else { [path, &entry.name].join(&b'/') };
        match entry.metadata.kind {
            Kind::Directory => list_files(view, &child, files)?,
            _ => files.push(child),
        }
    }
    Ok(())
}

/// Removes everything in a directory of the user, and not the directory.
fn empty(path: &Path) -> Result<(), EngineError> {
    let entries = std::fs::read_dir(path).map_err(|source| EngineError::io("read", path, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| EngineError::io("read", path, source))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_dir { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        removed.map_err(|source| EngineError::io("remove", entry.path(), source))?;
    }
    Ok(())
}
