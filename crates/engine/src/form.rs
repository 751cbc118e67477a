//! How an image is written where others read it: compression, types, remarks, layers.
//!
//! It is what an output asks for. Nothing here knows how it is done.

use std::collections::BTreeMap;

use stave_oci::Platform;
pub use stave_tree::Method as LayerMethod;

use crate::error::EngineError;

/// Level of gzip where none is asked for.
pub const GZIP_LEVEL: u8 = 6;
/// Level of zstd where none is asked for.
pub const ZSTD_LEVEL: u8 = 3;

/// How an image is written where others read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageForm {
    /// Compression of the layers that are made.
    pub layers: LayerMethod,
    /// Whether layers that came from elsewhere, which else keep the bytes that they came in, are compressed so too.
    pub force: bool,
    /// Whether the types are Docker's instead of OCI's.
    pub docker_types: bool,
    /// Whether layers that are not to be distributed keep the types that say so.
    pub keep_foreign: bool,
    /// Remarks on manifests, indexes and their descriptors.
    pub annotations: Annotations,
    /// Whether layers are joined.
    pub regroup: Option<Regroup>,
}

impl Default for ImageForm {
    fn default() -> Self {
        Self {
            layers: LayerMethod::Gzip(GZIP_LEVEL),
            force: false,
            docker_types: false,
            keep_foreign: false,
            annotations: Annotations::default(),
            regroup: None,
        }
    }
}

impl ImageForm {
    /// Returns a form whose layers are tars as they are, for whatever reads archives on this machine.
    #[must_use]
    pub fn plain() -> Self {
        Self { layers: LayerMethod::Plain, ..Self::default() }
    }

    /// Refuses what only an index can have, where `is_index` says that there will be none.
    ///
    /// Errors: a remark on an index that there will not be.
    pub(crate) fn check(&self, is_index: bool) -> Result<(), EngineError> {
        let on_index =
            |entry: &&Annotation| matches!(entry.level, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor);
        match self.annotations.0.iter().find(on_index) {
            Some(entry) if !is_index => Err(EngineError::request(
                format!("the annotation `{}` is for an index, and an image for one platform has none", entry.key),
                Some("Write `annotation-manifest.` (or `manifest:`) instead, or build for several platforms."),
            )),
            _ => Ok(()),
        }
    }
}

/// Which layers are joined into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Regroup {
    /// Those that the build made, into one on top of the base's.
    New,
    /// All of them.
    All,
    /// Those that the build made, as long as together they have no more bytes than this.
    UpTo(u64),
}

/// What an annotation is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnnotationLevel {
    /// The manifest of an image.
    Manifest,
    /// The index of several images.
    Index,
    /// The entry of an image in an index or in a layout's list.
    ManifestDescriptor,
    /// The entry of an index in a layout's list.
    IndexDescriptor,
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What it is written on.
    pub level: AnnotationLevel,
    /// The platform whose image it is about; all if none.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Remarks, the last of each key counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(pub Vec<Annotation>);

impl Annotations {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns those for what `level` says; of an image, those for its platform come after those for all.
    pub(crate) fn of(&self, level: AnnotationLevel, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let at = |entry: &&Annotation| entry.level == level;
        let for_all = self.0.iter().filter(at).filter(|entry| entry.platform.is_none());
        let fits = |entry: &&Annotation| match (&entry.platform, platform) {
            (Some(said), Some(platform)) => said.to_string() == platform.to_string(),
            _ => false,
        };
        let for_one = self.0.iter().filter(at).filter(fits);
        for_all.chain(for_one).map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(level: AnnotationLevel, platform: Option<&str>, value: &str) -> Annotation {
        let platform = platform.map(|text| text.parse().expect("it is a platform"));
        Annotation { level, platform, key: "k".to_owned(), value: value.to_owned() }
    }

    #[test]
    fn what_is_said_of_one_platform_comes_after_what_is_said_of_all() {
        use AnnotationLevel::{Index, Manifest};
        let annotations = Annotations(vec![
            annotation(Manifest, Some("linux/arm64"), "arm"),
            annotation(Manifest, None, "all"),
            annotation(Index, None, "index"),
        ]);
        let of = |level, platform: &str| annotations.of(level, Some(&platform.parse().expect("it is a platform")));
        assert_eq!(of(Manifest, "linux/arm64")["k"], "arm");
        assert_eq!(of(Manifest, "linux/amd64")["k"], "all");
        assert_eq!(annotations.of(Index, None)["k"], "index");
    }

    /// T209
    #[test]
    fn an_annotation_of_an_index_needs_an_index() {
        let annotations = Annotations(vec![annotation(AnnotationLevel::Index, None, "v")]);
        let form = ImageForm { annotations, ..ImageForm::default() };
        assert!(form.check(false).is_err() && form.check(true).is_ok());
    }
}
