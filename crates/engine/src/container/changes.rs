//! What a container has changed: listed, made into an image, or written out with everything below it; and the way back,
//! an image of the files of an archive.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use stave_dockerfile::parse;
use stave_dockerfile::plan::{Base, BaseRequest, Facts, Plan, plan};
use stave_oci::{Compression, DiffId, History, ImageConfig, ImageId, Platform, Reference, media_type};
use stave_store::{BlobExpectation, ContainerRecord, ImageLayer, LayerForm, Lease, NewImage, Tag};
use stave_tree::Times;
use stave_tree::pack::{pack_layer, pack_live_tree};

use super::without::Without;
use super::{Config, is_alive};
use crate::compose::Composed;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;

/// The name of the base in the text that changes are read from. Nobody asks a registry for it.
const BASE: &str = "stave.invalid/base";
/// What an image may be told in `--change`.
const CHANGES: [&str; 12] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// One path that a container has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened to it.
    pub kind: ChangeKind,
    /// Its absolute path in the container; bytes that are no text are replaced.
    pub path: String,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It, or something in it, is another.
    Changed,
    /// It is gone.
    Deleted,
}

/// What an image that is made from files says about itself.
#[derive(Debug, Clone, Default)]
pub struct ImageChanges {
    /// Its name.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: Option<String>,
    /// A remark.
    pub message: Option<String>,
    /// Instructions of a Dockerfile.
    pub instructions: Vec<String>,
}

impl Engine {
    /// Returns the paths that a container has changed, sorted. What is in its volumes is no change.
    pub fn container_changes(&self, name: &str) -> Result<Vec<Change>, EngineError> {
        let record = self.store.resolve_container(name)?;
        let volumes = Config::read(&record)?.settings.volumes;
        let layers: Vec<PathBuf> = record
            .snapshot
            .iter()
            .rev()
            .map(|layer| self.store.root().join(self.store.layer_rel_path(*layer)))
            .collect();
        let upper = self.store.root().join(self.store.container_diff_rel_path(&record.id));
        let mut changes = Vec::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(directory) = waiting.pop() {
            let path = upper.join(&directory);
            let entries = std::fs::read_dir(&path).map_err(|source| EngineError::io("list", &path, source))?;
            for entry in entries.filter_map(Result::ok) {
                let inside = directory.join(entry.file_name());
                let Ok(metadata) = entry.path().symlink_metadata() else { continue };
                let shown = format!("/{}", inside.to_string_lossy());
                if volumes.contains(&shown) {
                    continue;
                }
                let kind = match (is_whiteout(&metadata), is_below(&layers, &inside)) {
                    (true, true) => ChangeKind::Deleted,
                    (true, false) => continue,
                    (false, true) => ChangeKind::Changed,
                    (false, false) => ChangeKind::Added,
                };
                changes.push(Change { kind, path: shown });
                if metadata.is_dir() {
                    waiting.push(inside);
                }
            }
        }
        changes.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(changes)
    }

    /// Makes an image of a container that does not run, or, if `running` says so, of one that may change meanwhile.
    pub fn commit(&self, name: &str, changes: &ImageChanges, running: bool) -> Result<ImageId, EngineError> {
        let lease = self.lease()?;
        let record = self.store.resolve_container(name)?;
        if is_alive(record.state) && !running {
            let message = format!("container `{}` is running, and stave cannot pause it", record.name);
            let hint = "Stop it first, or say `--pause=false` to take its files as they are while they may change.";
            return Err(EngineError::request(message, Some(hint)));
        }
        let base = lease.resolve_image(&record.image.to_string())?;
        let settings = Config::read(&record)?;
        let mut config = self.image_config(&base.id)?;
        settings.apply_to(&mut config);
        let before = config.config.clone();
        let mut config = Self::changed(config, &changes.instructions)?;
        if config.config.cmd.is_none() && before.cmd.is_some() && config.config.entrypoint == before.entrypoint {
            config.config.cmd = before.cmd;
        }
        let (diff_id, bytes) = self.changes_blob(&lease, &record, &settings)?;
        let mut layers = base.layers.clone();
        layers.push(ImageLayer { diff_id, layer: None });
        let by = settings.args().join(" ");
        self.put(&lease, config, changes, (&layers, base.size + bytes), by)
    }

    /// Keeps what a container has changed as the tar of a layer.
    fn changes_blob(
        &self,
        lease: &Lease,
        record: &ContainerRecord,
        config: &Config,
    ) -> Result<(DiffId, u64), EngineError> {
        let upper = self.store_dir(&self.store.container_diff_rel_path(&record.id))?;
        let writer = lease.blob_writer(BlobExpectation::none())?;
        let mut without = Without::new(writer, &config.settings.volumes);
        pack_layer(&upper, self.format(), Times::Real, &mut without).map_err(|source| {
            EngineError::tree(format!("cannot pack the files of container `{}`", record.name), source)
        })?;
        keep_layer(lease, without.into_inner())
    }

    /// Writes all files that a container sees as one archive, without what is in its volumes.
    pub fn export(&self, name: &str, out: &mut dyn Write) -> Result<(), EngineError> {
        let lease = self.lease()?;
        let record = self.store.resolve_container(name)?;
        lease.pin_layers(&record.snapshot)?;
        let volumes = Config::read(&record)?.settings.volumes;
        let view = self.files_of(&record)?;
        let mut without = Without::new(out, &volumes);
        pack_live_tree(&view, b"/", b"", &mut without).map_err(|source| {
            EngineError::tree(format!("cannot pack the files of container `{}`", record.name), source)
        })?;
        Ok(())
    }

    /// Makes an image of one layer: the files of an archive, compressed or not.
    pub fn import(
        &self,
        input: Box<dyn Read + Send>,
        changes: &ImageChanges,
        platform: Option<&Platform>,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<ImageId, EngineError> {
        let lease = self.lease()?;
        let cannot = |source| EngineError::tree("cannot read the archive", source);
        let mut tar = stave_tree::decompress(input).map_err(cannot)?;
        let mut writer = lease.blob_writer(BlobExpectation::none())?;
        std::io::copy(&mut tar, &mut writer).map_err(|source| EngineError::io("read", "the archive", source))?;
        let (diff_id, bytes) = keep_layer(&lease, writer)?;
        // That it is an archive shows when it is unpacked, as does what is wrong with it.
        let layer = self.unpack_known(&lease, diff_id, &[], events)?;
        let platform = Self::platform(platform);
        let mut config: ImageConfig = serde_json::from_str("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}")
            .map_err(|source| EngineError::tree("cannot make a configuration", source))?;
        (config.os, config.architecture, config.variant) =
            (platform.os.clone(), platform.architecture.clone(), platform.variant.clone());
        let config = Self::changed(config, &changes.instructions)?;
        let layers = [ImageLayer { diff_id, layer: Some(layer) }];
        self.put(&lease, config, changes, (&layers, bytes), String::new())
    }

    /// The same with the file at an address, which is fetched as those of `ADD` are.
    ///
    /// Errors: as of [`Self::import`], and the file cannot be fetched.
    pub fn import_from(
        &self,
        url: &str,
        changes: &ImageChanges,
        platform: Option<&Platform>,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<ImageId, EngineError> {
        let lease = self.lease()?;
        let file = self.fetch_file(&lease, url, None, &crate::request::Grants::default(), events)?;
        let input = self.store.open_blob(&file.digest)?;
        let from = format!("Imported from {}", crate::remote::shown(url));
        let message = changes.message.clone().or(Some(from));
        self.import(Box::new(input), &ImageChanges { message, ..changes.clone() }, platform, events)
    }

    /// Returns a configuration after instructions of a Dockerfile.
    fn changed(config: ImageConfig, instructions: &[String]) -> Result<ImageConfig, EngineError> {
        for instruction in instructions {
            let word = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if !CHANGES.contains(&word.as_str()) {
                let hint = format!("There are: {}.", CHANGES.join(", "));
                return Err(EngineError::request(
                    format!("`{instruction}` is no instruction that `--change` takes"),
                    Some(&hint),
                ));
            }
        }
        if instructions.is_empty() {
            return Ok(config);
        }
        let parsed = parse(&format!("FROM {BASE}\n{}\n", instructions.join("\n")));
        let wrong = |message: &str| EngineError::request(format!("in `--change`: {message}"), None);
        if let Some(found) = parsed.diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
            return Err(wrong(&found.message));
        }
        let file = parsed.file;
        let options = stave_dockerfile::plan::PlanOptions {
            target: None,
            build_args: std::collections::BTreeMap::new(),
            labels: Vec::new(),
            platform: config.platform(),
            build_platform: Platform::host(),
            network: stave_graph::Network::None,
            run: stave_dockerfile::plan::RunDefaults::default(),
            contexts: std::collections::BTreeMap::new(),
        };
        let mut facts = Facts::default();
        // Triggers of the base are for builds.
        let base = ImageConfig {
            config: stave_oci::RunConfig { on_build: Vec::new(), ..config.config.clone() },
            ..config.clone()
        };
        loop {
            let (planned, diagnostics) = plan(&file, &options, &facts);
            if let Some(found) = diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
                return Err(wrong(&found.message));
            }
            match planned {
                Plan::Ready(ready) => {
                    return Ok(ImageConfig { rootfs: config.rootfs, history: config.history, ..ready.config });
                }
                Plan::Invalid => return Err(EngineError::request("`--change` makes no sense", None)),
                Plan::Need(requests) => {
                    for (request, _) in requests {
                        let known = Base { id: ImageId::of(b""), config: base.clone() };
                        facts.bases.insert(BaseRequest::clone(&request), known);
                    }
                }
            }
        }
    }

    /// Stores an image whose last layer is new.
    fn put(
        &self,
        lease: &Lease,
        mut config: ImageConfig,
        changes: &ImageChanges,
        (layers, size): (&[ImageLayer], u64),
        by: String,
    ) -> Result<ImageId, EngineError> {
        let now = self.now();
        let created = jiff::Timestamp::from_second(now).map(|time| time.to_string()).ok();
        config.created.clone_from(&created);
        if changes.author.is_some() {
            config.author.clone_from(&changes.author);
        }
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        config.history.push(History {
            created,
            created_by: Some(by).filter(|by| !by.is_empty()),
            author: changes.author.clone(),
            comment: changes.message.clone(),
            empty_layer: false,
        });
        let composed = Composed::new(config);
        let image =
            NewImage { config: &composed.bytes, created: Some(now), size, layers: layers.to_vec(), manifest: None };
        let tags: Vec<Tag> = changes.name.iter().map(|name| Tag::new(name, None)).collect();
        lease.put_image(&image, &tags)?;
        self.store.settle()?;
        Ok(composed.id)
    }
}

/// Publishes the tar of a layer as a blob.
fn keep_layer(lease: &Lease, writer: stave_store::BlobWriter) -> Result<(DiffId, u64), EngineError> {
    let (digest, size) = writer.commit()?;
    let diff_id = DiffId::from(*digest.as_bytes());
    lease.set_layer_form(&LayerForm {
        diff_id,
        compression: Compression::None,
        parameters: "original".to_owned(),
        digest,
        size,
        media_type: media_type::OCI_LAYER.to_owned(),
    })?;
    Ok((diff_id, size))
}

/// Reference: overlayfs: a whiteout is a character device 0:0.
fn is_whiteout(metadata: &std::fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Whether a path is in layers, the highest first.
fn is_below(layers: &[PathBuf], path: &Path) -> bool {
    for layer in layers {
        match layer.join(path).symlink_metadata() {
            Ok(metadata) => return !is_whiteout(&metadata),
            Err(_) if hides(layer, path) => return false,
            Err(_) => {}
        }
    }
    false
}

/// Whether a layer has something on the way to a path through which what is below does not show.
fn hides(layer: &Path, path: &Path) -> bool {
    path.ancestors().skip(1).any(|ancestor| {
        let place = layer.join(ancestor);
        let Ok(metadata) = place.symlink_metadata() else { return false };
        let opaque = |name: &str| {
            let mut value = [0; 1];
            matches!(rustix::fs::lgetxattr(&place, name, &mut value), Ok(1) if value == *b"y")
        };
        !metadata.is_dir() || opaque("trusted.overlay.opaque") || opaque("user.overlay.opaque")
    })
}
