//! `-o`: in which form the result goes where.

use std::path::PathBuf;
use std::str::FromStr;

use stave_engine::{Annotations, FileTimes, GZIP_LEVEL, ImageForm, LayerMethod, Regroup, ZSTD_LEVEL};
use stave_oci::Reference;

use super::value::{self, truth};
use super::{annotation, csv};

/// What `-o` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Oci,
    Docker,
    Tar,
    Local,
    /// An image of the store.
    Image,
    /// Nothing: only the cache is filled.
    CacheOnly,
}

/// How layers are compressed, as far as it was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CompressionArg {
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) level: Option<u8>,
    pub(crate) force: Option<bool>,
}

/// A compression by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Uncompressed,
    Gzip,
    Estargz,
    Zstd,
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "uncompressed" => Ok(Self::Uncompressed),
            "gzip" => Ok(Self::Gzip),
            "estargz" => Ok(Self::Estargz),
            "zstd" => Ok(Self::Zstd),
            "zstd:chunked" => {
                Err("`zstd:chunked` is not written by stave: `estargz` can be read in parts, too".to_owned())
            }
            "nydus" => Err("`nydus` is not written by stave: `estargz` can be read in parts, too".to_owned()),
            _ => Err(format!("no compression is named `{text}`: expected `gzip`, `zstd`, `estargz` or `uncompressed`")),
        }
    }
}

impl CompressionArg {
    /// Returns how layers are compressed; `otherwise`, if nothing was said.
    ///
    /// Errors: the compression has no such level.
    pub(crate) fn method(self, otherwise: Algorithm) -> Result<LayerMethod, String> {
        let algorithm = match (self.algorithm, self.level) {
            (Some(algorithm), _) => algorithm,
            // A level says that there is to be compression.
            (None, Some(_)) if otherwise == Algorithm::Uncompressed => Algorithm::Gzip,
            (None, _) => otherwise,
        };
        let (name, most) = match algorithm {
            Algorithm::Uncompressed if self.level.is_some() => {
                return Err("`compression=uncompressed` has no levels: leave `compression-level` out".to_owned());
            }
            Algorithm::Uncompressed => return Ok(LayerMethod::Plain),
            Algorithm::Gzip => ("gzip", 9),
            Algorithm::Estargz => ("estargz", 9),
            Algorithm::Zstd => ("zstd", 22),
        };
        if let Some(level) = self.level.filter(|level| *level > most) {
            return Err(format!("`compression-level={level}`: {name} has the levels 0 to {most}"));
        }
        Ok(match algorithm {
            Algorithm::Uncompressed => LayerMethod::Plain,
            Algorithm::Gzip => LayerMethod::Gzip(self.level.unwrap_or(GZIP_LEVEL)),
            Algorithm::Estargz => LayerMethod::Estargz(self.level.unwrap_or(GZIP_LEVEL)),
            // 0 is the library's word for its default.
            Algorithm::Zstd => LayerMethod::Zstd(self.level.filter(|level| *level > 0).unwrap_or(ZSTD_LEVEL)),
        })
    }

    /// Returns this, and `others` where it says nothing.
    pub(crate) fn or(self, others: Self) -> Self {
        Self {
            algorithm: self.algorithm.or(others.algorithm),
            level: self.level.or(if self.algorithm.is_some() { None } else { others.level }),
            force: self.force.or(others.force),
        }
    }
}

/// Names of one output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamesArg {
    /// Those that were written.
    pub(crate) names: Vec<Reference>,
    /// Whether `*` adds those of `--tag`.
    pub(crate) with_tags: bool,
    /// Before the digest of an image, as a name by which the store has it, too.
    pub(crate) dangling: Option<Reference>,
    /// Whether that is only for an image without names.
    pub(crate) dangling_only: bool,
    /// Whether the store has the image by name and digest, too.
    pub(crate) canonical: bool,
}

/// One `-o`. `None` as destination of `docker` means a daemon, or the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each field that is a switch, with its name")]
pub(crate) struct OutputArg {
    pub(crate) kind: OutputKind,
    /// `-` is standard output.
    pub(crate) dest: Option<PathBuf>,
    /// Its names.
    pub(crate) names: NamesArg,
    /// Whether the image is sent to its registry.
    pub(crate) push: bool,
    /// Whether it is sent there without a tag.
    pub(crate) by_digest: bool,
    /// Whether the registry's certificate may be wrong, and TLS missing.
    pub(crate) insecure: bool,
    /// Whether the store keeps the image, if that is said.
    pub(crate) store: Option<bool>,
    /// How layers are compressed.
    pub(crate) compression: CompressionArg,
    /// Whether the types are Docker's.
    pub(crate) docker_types: bool,
    /// Whether the types of layers that are not to be distributed are kept.
    pub(crate) keep_foreign: bool,
    pub(crate) annotations: Annotations,
    pub(crate) regroup: Option<Regroup>,
    /// Whether the image goes into one file.
    pub(crate) tar: bool,
    /// Whether each platform has a directory.
    pub(crate) split: Option<bool>,
    /// Whether what else is in the directory is removed.
    pub(crate) delete: bool,
    /// The times of files.
    pub(crate) times: FileTimes,
    /// Before the names of the files that say something about the image.
    pub(crate) prefix: String,
    /// The epoch of an image; empty for the one that it has where nobody says.
    pub(crate) epoch: Option<String>,
    /// Whether the files of an image have its time.
    pub(crate) rewrite: Option<bool>,
    /// The context of Docker's whose daemon gets the image.
    pub(crate) context: Option<String>,
}

/// Types whose images have layers and manifests.
const IMAGES: &[&str] = &["oci", "docker", "image", "registry"];
/// Types whose images are in the store or in a registry.
const KEPT: &[&str] = &["image", "registry"];

/// Attributes whose one value is what stave does anyway, with the types that they belong to. Table.
const SO_ANYWAY: &[(&str, &str, &[&str])] = &[
    ("attestation-inline", "false", IMAGES),
    ("oci-artifact", "true", IMAGES),
    ("unpack", "true", &["image"]),
    ("unpack", "false", KEPT),
];

/// Attributes that stave does not have, and why. Table.
const REFUSED: &[(&str, &str)] = &[
    (
        "attestation-inline",
        "what is said about an image is part of its index with `--provenance=inline=true` and `--sbom=inline=true`",
    ),
    (
        "oci-artifact",
        "what is said about an image refers to it; it is part of its index with `--provenance=inline=true` and `--sbom=inline=true`",
    ),
    ("attestation-prefix", "it is about outputs of files, and may have no `/`"),
    ("compatibility-version", "what stave writes does not depend on another builder's version"),
    ("buildinfo", "BuildKit has removed it; `--provenance` says how an image was made"),
    ("buildinfo-attrs", "BuildKit has removed it; `--provenance` says how an image was made"),
    ("encryption-key", "layers are not encrypted; encrypt the archive, or use `skopeo copy --encryption-key`"),
    ("sign-by", "images are not signed; use a signing tool with the digest in `--metadata-file`"),
    ("cw", "images for confidential machines are not made"),
    ("unpack", "an image of the store is unpacked already"),
];

impl OutputArg {
    pub(crate) fn new(kind: OutputKind, dest: Option<PathBuf>) -> Self {
        Self {
            kind,
            dest,
            names: NamesArg::default(),
            push: false,
            by_digest: false,
            insecure: false,
            store: None,
            compression: CompressionArg::default(),
            docker_types: false,
            keep_foreign: false,
            annotations: Annotations::default(),
            regroup: None,
            tar: true,
            split: None,
            delete: false,
            times: FileTimes::OfBuild,
            prefix: String::new(),
            epoch: None,
            rewrite: None,
            context: None,
        }
    }

    /// Returns how the image is written, with what the options `others` say of all outputs.
    ///
    /// Errors: what was asked for contradicts itself.
    pub(crate) fn form(&self, others: CompressionArg, annotations: &Annotations) -> Result<ImageForm, String> {
        let compression = self.compression.or(others);
        let otherwise = if self.kind == OutputKind::Docker { Algorithm::Uncompressed } else { Algorithm::Gzip };
        let layers = compression.method(otherwise)?;
        let annotations = Annotations(annotations.0.iter().chain(&self.annotations.0).cloned().collect());
        if self.docker_types {
            let what = match layers {
                LayerMethod::Zstd(_) => Some("`compression=zstd`"),
                LayerMethod::Estargz(_) => Some("`compression=estargz`"),
                _ if !annotations.is_empty() => Some("an annotation"),
                _ => None,
            };
            if let Some(what) = what {
                return Err(format!("{what} needs OCI's types: leave `oci-mediatypes=false` out"));
            }
        }
        Ok(ImageForm {
            layers,
            force: compression.force.unwrap_or(false),
            docker_types: self.docker_types,
            keep_foreign: self.keep_foreign,
            annotations,
            regroup: self.regroup,
        })
    }
}

/// Reads an epoch in seconds since 1970; nothing if it is a name, or empty.
///
/// Errors: it is neither, or no calendar has it.
pub(crate) fn epoch_seconds(text: &str) -> Result<Option<i64>, &'static str> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().ok().filter(|seconds| jiff::Timestamp::from_second(*seconds).is_ok());
        return seconds.map(Some).ok_or("this is after the year 9999 or before -9999; it is in seconds since 1970");
    }
    let is_number = !text.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number || text.contains(char::is_whitespace) {
        return Err(
            "expected a number of seconds since 1970, or what has a time: `context`, a named context or a stage",
        );
    }
    Ok(None)
}

impl FromStr for OutputArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = csv::fields(text)?;
        if let [only] = fields.as_slice()
            && !only.contains('=')
        {
            return match only.as_str() {
                "" => Err("an empty output: expected a directory, `-` or `type=...`".to_owned()),
                "-" => Ok(Self::new(OutputKind::Tar, Some("-".into()))),
                path => Ok(Self::new(OutputKind::Local, Some(path.into()))),
            };
        }
        let pairs = fields.iter().map(|field| csv::pair(field)).collect::<Result<Vec<_>, _>>()?;
        let kind = pairs.iter().rfind(|(key, _)| key == "type").map(|(_, value)| *value);
        let kind = kind.ok_or("`type=` is missing: expected `oci`, `docker`, `tar`, `local`, `image` or `registry`")?;
        let mut output = Self::new(output_kind(kind)?, None);
        output.push = kind == "registry";
        for (field, (key, value)) in fields.iter().zip(&pairs) {
            if IMAGES.contains(&kind)
                && let Some(annotation) = annotation::field(field)?
            {
                output.annotations.0.push(annotation);
                continue;
            }
            let known = output.place(key, value)?
                || IMAGES.contains(&kind) && output.image(key, value)?
                || KEPT.contains(&kind) && output.kept(key, value)?;
            if !known {
                answer(kind, key, value)?;
            }
        }
        output.checked()
    }
}

impl OutputArg {
    /// Takes a field that says where it goes. Returns whether it was one.
    fn place(&mut self, key: &str, value: &str) -> Result<bool, String> {
        use OutputKind as Kind;
        match (key, self.kind) {
            ("type", _) => {}
            ("dest", Kind::Oci | Kind::Docker | Kind::Tar | Kind::Local) if !value.is_empty() => {
                self.dest = Some(value.into());
            }
            ("dest", Kind::Oci | Kind::Docker | Kind::Tar | Kind::Local) => {
                return Err("`dest=` has no value: expected a path, or `-` for standard output".to_owned());
            }
            ("tar", Kind::Oci | Kind::Docker) => self.tar = switch(key, value)?,
            ("context", Kind::Docker) if !value.is_empty() => self.context = Some(value.to_owned()),
            ("platform-split", Kind::Local | Kind::Tar) => self.split = Some(switch(key, value)?),
            ("attestation-prefix", Kind::Local | Kind::Tar) if !value.contains(['/', '\0']) => {
                value.clone_into(&mut self.prefix);
            }
            ("mode", Kind::Local) => {
                self.delete = match value {
                    "copy" => false,
                    "delete" => true,
                    _ => return Err(format!("`mode={value}`: expected `copy` or `delete`")),
                };
            }
            ("source-date-epoch", Kind::Local | Kind::Tar) => {
                self.times = match epoch_seconds(value).map_err(|why| format!("`source-date-epoch={value}`: {why}"))? {
                    _ if value.is_empty() => FileTimes::Kept,
                    Some(seconds) => FileTimes::UpTo(seconds),
                    // What it names is found out for the whole build.
                    None => {
                        self.epoch = Some(value.to_owned());
                        FileTimes::OfBuild
                    }
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a field of outputs that are images. Returns whether it was one.
    fn image(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    if name == "*" {
                        self.names.with_tags = true;
                    } else {
                        let parsed = Reference::of_new_name(name).map_err(|error| format!("`name={name}`: {error}"))?;
                        self.names.names.push(parsed);
                    }
                }
            }
            "source-date-epoch" => self.epoch = Some(value.to_owned()),
            "rewrite-timestamp" => self.rewrite = Some(switch(key, value)?),
            "compression" => self.compression.algorithm = Some(value.parse()?),
            "compression-level" => {
                let level = value.parse().map_err(|_| format!("`compression-level={value}`: expected a number"))?;
                self.compression.level = Some(level);
            }
            "force-compression" => self.compression.force = Some(switch(key, value)?),
            "oci-mediatypes" => self.docker_types = !switch(key, value)?,
            "prefer-nondist-layers" => self.keep_foreign = switch(key, value)?,
            "squash" => {
                self.regroup = match value {
                    "new" | "true" | "1" => Some(Regroup::New),
                    "all" => Some(Regroup::All),
                    "false" | "0" => None,
                    _ => return Err(format!("`squash={value}`: expected `new`, `all` or `false`")),
                };
            }
            "layer-max-size" => {
                let bytes = value::bytes(value).map_err(|error| format!("`layer-max-size={value}`: {error}"))?;
                self.regroup = Some(Regroup::UpTo(bytes));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a field of images in the store or in registries. Returns whether it was one.
    fn kept(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "push" => self.push = switch(key, value)?,
            "push-by-digest" => self.by_digest = switch(key, value)?,
            "registry.insecure" => self.insecure = switch(key, value)?,
            "store" => self.store = Some(switch(key, value)?),
            "name-canonical" => self.names.canonical = switch(key, value)?,
            "dangling-name-prefix" => {
                let name = value.parse().map_err(|error| format!("`dangling-name-prefix={value}`: {error}"))?;
                self.names.dangling = Some(name);
            }
            // The first is how BuildKit spells it.
            "danging-name-empty-only" | "dangling-name-empty-only" => self.names.dangling_only = switch(key, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn checked(mut self) -> Result<Self, String> {
        let to_stdout = self.dest.as_deref().is_some_and(|dest| dest.as_os_str() == "-");
        match self.kind {
            OutputKind::Local if self.dest.is_none() || to_stdout => {
                return Err("`type=local` needs `dest=DIRECTORY`".to_owned());
            }
            OutputKind::Docker if !self.tar => {
                return Err("`tar=false` of `type=docker`: `docker load` reads a tar; write `type=oci`".to_owned());
            }
            OutputKind::Docker if self.dest.is_some() && self.context.is_some() => {
                return Err("`context=` of `type=docker` is a daemon, and `dest=` a file: give one of them".to_owned());
            }
            OutputKind::Oci if !self.tar && (self.dest.is_none() || to_stdout) => {
                return Err("`tar=false` of `type=oci` needs `dest=DIRECTORY`".to_owned());
            }
            OutputKind::Oci | OutputKind::Tar if self.dest.is_none() => self.dest = Some("-".into()),
            OutputKind::Image if self.insecure && !self.push => {
                return Err("`registry.insecure=true` says how to push: add `push=true`".to_owned());
            }
            OutputKind::Image if self.by_digest && !self.push => {
                return Err("`push-by-digest=true` says how to push: add `push=true`".to_owned());
            }
            OutputKind::Image if self.regroup.is_some() && !self.push => {
                return Err("layers in the store are joined by `--squash`, not by `type=image`".to_owned());
            }
            _ => {}
        }
        // What contradicts itself is refused whatever other options say.
        if !matches!(self.kind, OutputKind::Tar | OutputKind::Local | OutputKind::CacheOnly) {
            self.form(CompressionArg::default(), &Annotations::default())?;
        }
        Ok(self)
    }
}

/// Answers a field that is not carried out.
fn answer(kind: &str, key: &str, value: &str) -> Result<(), String> {
    let truths = |text: &str| truth(text).map_or(text.to_owned(), |truth| truth.to_string());
    let so =
        |(known, so, kinds): &&(&str, &str, &[&str])| *known == key && *so == truths(value) && kinds.contains(&kind);
    if SO_ANYWAY.iter().any(|row| so(&row)) {
        return Ok(());
    }
    match REFUSED.iter().find(|(known, _)| *known == key) {
        Some((_, why)) => Err(format!("`{key}={value}` of `type={kind}`: {why}")),
        None => Err(format!("`type={kind}` has no field `{key}`")),
    }
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    truth(value).ok_or_else(|| format!("`{key}={value}` is neither true nor false"))
}

fn output_kind(text: &str) -> Result<OutputKind, String> {
    match text {
        "oci" => Ok(OutputKind::Oci),
        "docker" => Ok(OutputKind::Docker),
        "tar" => Ok(OutputKind::Tar),
        "local" => Ok(OutputKind::Local),
        "image" | "registry" => Ok(OutputKind::Image),
        "cacheonly" => Ok(OutputKind::CacheOnly),
        _ => Err(format!(
            "no output type is named `{text}`: expected `oci`, `docker`, `tar`, `local`, `image`, `registry` or \
             `cacheonly`"
        )),
    }
}
