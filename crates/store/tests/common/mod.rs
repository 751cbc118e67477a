//! A store in a temporary directory, with a clock that tests move.
#![allow(dead_code, unreachable_pub, reason = "every test file includes this and uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stave_oci::{BlobDigest, Compression, DiffId, ImageId, media_type};
use stave_store::{
    CacheRecord, CheckOptions, CheckReport, ImageLayer, LayerForm, LayerId, Lease, NewImage, Store, StoreError,
    StoreOptions, Tag,
};

pub struct Bench {
    directory: tempfile::TempDir,
    /// In nanoseconds since 1970.
    clock: Arc<AtomicU64>,
}

impl Bench {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        Self { directory, clock: Arc::new(AtomicU64::new(1_000_000_000_000_000)) }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub fn advance(&self, seconds: u64) {
        self.advance_by(Duration::from_secs(seconds));
    }

    pub fn advance_by(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).expect("a few centuries");
        self.clock.fetch_add(nanos, Ordering::Relaxed);
    }

    pub fn options(&self, boot: &str) -> StoreOptions {
        let clock = Arc::clone(&self.clock);
        StoreOptions::new(boot, Arc::new(move || Duration::from_nanos(clock.load(Ordering::Relaxed))))
    }

    pub fn open(&self) -> Store {
        self.try_open("boot-1").expect("the store opens")
    }

    pub fn try_open(&self, boot: &str) -> Result<Store, StoreError> {
        Store::open(&self.root(), self.options(boot))
    }
}

pub fn options() -> StoreOptions {
    StoreOptions::new("boot-1", Arc::new(|| Duration::from_secs(1_000_000)))
}

/// Publishes a layer with one file.
pub fn layer(lease: &Lease, text: &str) -> LayerId {
    let work = lease.work_dir().expect("a work directory is made");
    std::fs::write(lease.store().path_of(&work.diff_rel_path()).join("file"), text).expect("the file is written");
    lease.publish_layer(work, None).expect("the layer is published")
}

pub trait PathOf {
    fn path_of(&self, relative: &str) -> PathBuf;
}

impl PathOf for Store {
    fn path_of(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }
}

/// Stores an image whose only layer is a blob, and whose identity is `text`.
pub fn image(lease: &Lease, text: &str, tags: &[&str]) -> ImageId {
    let diff_id = DiffId::of(text.as_bytes());
    let bytes = format!("layer of {text}");
    let digest = lease.put_blob(bytes.as_bytes()).expect("the blob is stored");
    let form = LayerForm {
        diff_id,
        compression: Compression::Gzip,
        parameters: "original".to_owned(),
        digest,
        size: bytes.len() as u64,
        media_type: media_type::OCI_LAYER_GZIP.to_owned(),
    };
    lease.set_layer_form(&form).expect("the form is recorded");
    let config = format!("{{\"config\":\"{text}\"}}");
    let new = NewImage {
        config: config.as_bytes(),
        created: None,
        size: 1,
        layers: vec![ImageLayer { diff_id, layer: None }],
        manifest: None,
    };
    let tags: Vec<Tag> = tags.iter().map(|text| tag(text)).collect();
    lease.put_image(&new, &tags).expect("the image is stored")
}

pub fn tag(text: &str) -> Tag {
    Tag::new(&text.parse().expect("it is a reference"), None)
}

pub fn record(key: u8, snapshot: &[LayerId]) -> CacheRecord {
    CacheRecord {
        key: [key; 32],
        op: [7; 32],
        inputs: vec![snapshot[..snapshot.len() - 1].to_vec()],
        selection: None,
        snapshot: snapshot.to_vec(),
        title: format!("RUN {key}"),
        took: None,
        created: 0,
        last_used: 0,
    }
}

/// Everything that can be checked without packing layers.
pub fn check(store: &Store) -> CheckReport {
    let options = CheckOptions { read_blobs: true, ..CheckOptions::default() };
    store.check(&options).expect("the check runs")
}

pub fn assert_clean(store: &Store) {
    assert_eq!(check(store).problems, []);
}

/// The names in a directory.
pub fn list(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it is read").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub fn digest(text: &str) -> BlobDigest {
    BlobDigest::of(text.as_bytes())
}
