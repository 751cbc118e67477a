//! What the store remembers, as values: the rows of its database.

use std::time::Duration;

use stave_oci::{BlobDigest, Compression, DiffId, ImageId, TreeDigest};

use crate::id::{BuildId, ContainerId, LayerId};

/// A place in the tars of layers that begin alike, from which the digest of one can be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarMark {
    /// What stands for all that comes before it.
    pub prefix: [u8; 32],
    /// Bytes of the tar before it.
    pub bytes: u64,
    /// The digest's state there.
    pub state: Vec<u8>,
}

/// One way in which a layer's tar exists as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerForm {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// How the tar is compressed.
    pub compression: Compression,
    /// What else decides the bytes: `level=6` of our own, `original` of a blob from a registry or an archive.
    pub parameters: String,
    /// The blob.
    pub digest: BlobDigest,
    /// The blob's bytes.
    pub size: u64,
    /// The blob's media type where it came from, or the one that it was made for.
    pub media_type: String,
}

/// One layer of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLayer {
    /// Digest of the uncompressed tar, as in the image's configuration.
    pub diff_id: DiffId,
    /// The directory that has its files, if it was unpacked or built here.
    pub layer: Option<LayerId>,
}

/// The manifest that an image was pulled or loaded with, so that pushing it again uploads the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// The manifest's bytes, as a blob.
    pub digest: BlobDigest,
    /// Its media type as it was served.
    pub media_type: String,
    /// Where it came from: `docker.io/library/alpine`; empty for an archive.
    pub source: String,
}

/// An image to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage<'a> {
    /// The configuration's bytes; their digest is the image's id.
    pub config: &'a [u8],
    /// When the image says that it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// Bytes of all layers' uncompressed tars, as far as they are known: what `images` shows.
    pub size: u64,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The manifest that it came with.
    pub manifest: Option<ImageManifest>,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Digest of the configuration.
    pub id: ImageId,
    /// When the image says that it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// When it came into this store, in seconds since 1970.
    pub stored: i64,
    /// Bytes of all layers' uncompressed tars.
    pub size: u64,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The manifest that it came with.
    pub manifest: Option<ImageManifest>,
    /// Its names, sorted.
    pub tags: Vec<Tag>,
}

impl ImageRecord {
    /// Returns the directories of all layers, lowest first, or nothing if one is not unpacked.
    #[must_use]
    pub fn snapshot(&self) -> Option<Vec<LayerId>> {
        self.layers.iter().map(|layer| layer.layer).collect()
    }

    /// Returns the digests of all layers, lowest first.
    #[must_use]
    pub fn diff_ids(&self) -> Vec<DiffId> {
        self.layers.iter().map(|layer| layer.diff_id).collect()
    }
}

/// Several images, one for each platform, that are to have one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewIndex<'a> {
    /// Digest of the document that lists them.
    pub digest: BlobDigest,
    /// What the name means where nobody asks for a platform; one of the images.
    pub default: ImageId,
    /// The images, in the order of the document, with their platforms as text: `linux/arm64`.
    pub images: &'a [(String, ImageId)],
}

/// Several images under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRecord {
    /// The name, or the digest of what has none.
    pub reference: String,
    /// Digest of the document that lists the images.
    pub digest: BlobDigest,
    /// What the name means where nobody asks for a platform.
    pub default: ImageId,
    /// The images with their platforms.
    pub images: Vec<(String, ImageId)>,
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// The normalised reference: `docker.io/library/alpine:latest`, or `name@sha256:...` without a tag.
    pub reference: String,
    /// Digest of the manifest under which a registry has it.
    pub repo_digest: Option<BlobDigest>,
}

/// What removing an image did, in Docker's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedImage {
    /// References that no longer name anything.
    pub untagged: Vec<String>,
    /// The image, if it was deleted.
    pub deleted: Option<ImageId>,
    /// The images for other platforms that were deleted with it.
    pub parts: Vec<ImageId>,
}

/// The result of a step, under the key of everything that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The cache key.
    pub key: [u8; 32],
    /// Identity of the instruction without its inputs.
    pub op: [u8; 32],
    /// The snapshots that the step read, in the order of its inputs.
    pub inputs: Vec<Vec<LayerId>>,
    /// Digest of the context files that it read.
    pub selection: Option<TreeDigest>,
    /// The snapshot that it made, lowest first.
    pub snapshot: Vec<LayerId>,
    /// The instruction, for people.
    pub title: String,
    /// How long the step ran, to the millisecond, if it ran on this machine.
    pub took: Option<Duration>,
    /// When it was recorded, in seconds since 1970. Set by the store.
    pub created: i64,
    /// When it was last a hit, to the hour, in seconds since 1970. Set by the store.
    pub last_used: i64,
}

/// What is known under a cache key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheLookup {
    /// The result; its layers are pinned by the lease.
    Hit(CacheRecord),
    /// Nothing, ever.
    Miss,
    /// There was a result, and its files are gone.
    Evicted {
        /// The instruction, for people.
        title: String,
        /// Why the files are gone.
        reason: Eviction,
    },
}

/// Why a cache record's layers are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Somebody had them removed by `prune`.
    Pruned,
    /// They were removed because something else needed the room.
    Room,
    /// The machine stopped before they were on the disk.
    NotDurable,
    /// `check` found them missing or damaged.
    Damaged,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Started.
    Running {
        /// Its first process, in the pid namespace of the stave that started it.
        pid: u32,
        /// Field 22 of `/proc/<pid>/stat`: tells that process from a later one with the same number.
        start_time: u64,
    },
    /// Ended.
    Exited {
        /// The exit code.
        code: i32,
    },
}

/// A container to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContainer<'a> {
    /// Its name; none makes one up.
    pub name: Option<&'a str>,
    /// The image that it is made from.
    pub image: ImageId,
    /// What the user called that image.
    pub image_name: &'a str,
    /// The layers below its own, lowest first.
    pub snapshot: &'a [LayerId],
    /// Its settings, as JSON text that the store does not read.
    pub config: &'a str,
}

/// A container in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: ContainerId,
    /// Its unique name.
    pub name: String,
    /// The image that it was made from.
    pub image: ImageId,
    /// What the user called that image.
    pub image_name: String,
    /// The layers below its own, lowest first.
    pub snapshot: Vec<LayerId>,
    /// Its settings, as JSON text that the store does not read.
    pub config: String,
    /// What it is doing.
    pub state: ContainerState,
    /// When it was made, since 1970.
    pub created: Duration,
    /// When it was last started, since 1970.
    pub started: Option<Duration>,
    /// When it last ended, since 1970.
    pub finished: Option<Duration>,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildState {
    /// It has not.
    Running,
    /// With an image or another output.
    Done,
    /// With an error.
    Failed,
    /// By a signal, or its process is gone.
    Interrupted,
}

/// A build in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRecord {
    /// Its number.
    pub id: BuildId,
    /// What was built, for people.
    pub title: String,
    /// How it ended.
    pub state: BuildState,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// When it ended, in seconds since 1970.
    pub finished: Option<i64>,
    /// The image that it made.
    pub image: Option<ImageId>,
}

/// Something that was in the store when the machine stopped and was not on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// `image` or `container`.
    pub kind: String,
    /// Its names, or its id.
    pub name: String,
    /// When that was noticed, in seconds since 1970.
    pub noticed: i64,
}
