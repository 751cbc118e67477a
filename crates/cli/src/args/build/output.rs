//! `-o`: in which form the result goes where.

use std::path::PathBuf;
use std::str::FromStr;

use stave_oci::Reference;

use super::csv;
use super::value::truth;

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

/// One `-o`. `None` as destination of `docker` means the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputArg {
    pub(crate) kind: OutputKind,
    /// `-` is standard output.
    pub(crate) dest: Option<PathBuf>,
    /// Further names for the image.
    pub(crate) names: Vec<Reference>,
    /// Whether the image is sent to its registry.
    pub(crate) push: bool,
}

/// Attributes whose one value is what stave does anyway, with the types that they belong to. Table.
const SO_ANYWAY: &[(&str, &str, &[&str])] = &[
    ("compression", "gzip", &["oci", "image", "registry"]),
    ("compression", "uncompressed", &["docker"]),
    ("force-compression", "false", &["oci", "docker", "image", "registry"]),
    ("mode", "copy", &["local"]),
    ("oci-mediatypes", "true", &["oci", "image", "registry"]),
    ("platform-split", "false", &["local", "tar"]),
    ("push-by-digest", "false", &["image", "registry"]),
    ("rewrite-timestamp", "true", &["oci", "docker", "image", "registry"]),
    ("store", "true", &["image", "registry"]),
    ("tar", "true", &["oci", "docker"]),
    ("unpack", "true", &["image"]),
    ("unpack", "false", &["image", "registry"]),
];

impl OutputArg {
    fn new(kind: OutputKind, dest: Option<PathBuf>) -> Self {
        Self { kind, dest, names: Vec::new(), push: false }
    }
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
        for (key, value) in &pairs {
            output.attribute(kind, key, value)?;
        }
        output.checked()
    }
}

impl OutputArg {
    fn attribute(&mut self, kind: &str, key: &str, value: &str) -> Result<(), String> {
        use OutputKind as Kind;
        match (key, self.kind) {
            ("type", _) => {}
            ("dest", Kind::Oci | Kind::Docker | Kind::Tar | Kind::Local) if !value.is_empty() => {
                self.dest = Some(value.into());
            }
            ("name", Kind::Oci | Kind::Docker | Kind::Image) => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    self.names.push(name.parse().map_err(|error| format!("`name={name}`: {error}"))?);
                }
            }
            ("push", Kind::Image) => {
                self.push = truth(value).ok_or_else(|| format!("`push={value}` is neither true nor false"))?;
            }
            _ => {
                let truths = |text: &str| truth(text).map_or(text.to_owned(), |truth| truth.to_string());
                let so = SO_ANYWAY
                    .iter()
                    .any(|(known, so, kinds)| *known == key && *so == truths(value) && kinds.contains(&kind));
                if !so {
                    return Err(format!("`{key}={value}` of `type={kind}` is not supported by stave yet"));
                }
            }
        }
        Ok(())
    }

    fn checked(mut self) -> Result<Self, String> {
        let to_stdout = self.dest.as_deref().is_some_and(|dest| dest.as_os_str() == "-");
        match self.kind {
            OutputKind::Local if self.dest.is_none() || to_stdout => {
                return Err("`type=local` needs `dest=DIRECTORY`".to_owned());
            }
            OutputKind::Oci | OutputKind::Tar if self.dest.is_none() => self.dest = Some("-".into()),
            _ => {}
        }
        Ok(self)
    }
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
