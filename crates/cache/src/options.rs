//! What `--cache-from` and `--cache-to` say: fields of text into places, forms and modes.
//!
//! Reference: `docker buildx build --cache-to`, BuildKit's README, "Export cache".

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stave_http::Secret;
use stave_http::url::Url;
use stave_oci::{BlobDigest, Reference};

use crate::backend::azure::AzurePlace;
use crate::backend::gha::{GhaListing, GhaPlace, Service};
use crate::backend::keys::{KeySource, Keys};
use crate::backend::s3::S3Place;
use crate::backend::{LocalPlace, ObjectNames};
use crate::document::Form;
use crate::limits;

/// Looks a variable of the caller's environment up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where a cache is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a registry.
    Registry {
        /// Under which name.
        reference: Reference,
        /// Whether its certificate may be wrong, and TLS missing.
        insecure: bool,
    },
    /// In a directory of this machine.
    Local(LocalPlace),
    /// In the image that is built.
    Inline,
    /// In GitHub's cache; nothing where no workflow runs.
    Gha(Option<GhaPlace>),
    /// In a bucket of S3.
    S3(Box<S3Place>),
    /// In a container of Azure.
    Azure(Box<AzurePlace>),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { reference, .. } => write!(formatter, "{reference}"),
            Self::Local(place) => write!(formatter, "{}", place.directory.display()),
            Self::Inline => formatter.write_str("inline"),
            Self::Gha(None) => formatter.write_str("gha"),
            Self::Gha(Some(place)) => write!(formatter, "gha:{}", place.scope),
            Self::S3(place) => write!(formatter, "s3://{}/{}", place.bucket, place.names.names.join(";")),
            Self::Azure(place) => {
                write!(formatter, "azblob://{}/{}", place.container, place.names.names.join(";"))
            }
        }
    }
}

/// A cache to be read from.
#[derive(Debug, Clone)]
pub struct ImportSpec {
    /// Where it is.
    pub place: Place,
    /// How long a build that needs something waits for it, in all.
    pub wait: Duration,
}

/// Which results go into a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those whose layers are in the image.
    Min,
    /// Those of all steps.
    Max,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// As in images.
    Gzip,
    /// Smaller, and faster to read.
    Zstd,
    /// Not at all.
    Uncompressed,
    /// Gzip that can be read in parts.
    Estargz,
}

/// How the layers of an export are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed {
    /// The method.
    pub kind: LayerKind,
    /// How hard it tries; the method's own middle if nobody says.
    pub level: Option<u8>,
    /// Whether layers that are there in another form are compressed anew.
    pub force: bool,
}

/// A cache to be written to.
#[derive(Debug, Clone)]
pub struct ExportSpec {
    /// Where it is.
    pub place: Place,
    /// What goes there.
    pub mode: Mode,
    /// The documents.
    pub form: Form,
    /// The layers.
    pub compressed: Compressed,
    /// Whether a failure is only told.
    pub ignore_error: bool,
    /// How long all of it may take, where somebody says; GitHub's cache has a time of its own.
    pub timeout: Option<Duration>,
    /// Most bytes that an export leaves in a directory.
    pub bytes_max: u64,
    /// Whether what was in a directory is removed.
    pub reset: bool,
}

/// The fields of one option, each to be taken once.
struct Fields<'a> {
    kind: String,
    left: Vec<(String, String)>,
    lookup: Lookup<'a>,
}

impl Fields<'_> {
    fn take(&mut self, name: &str) -> Option<String> {
        let mut last = None;
        self.left.retain(|(key, value)| {
            let is = key == name;
            if is {
                last = Some(value.clone());
            }
            !is
        });
        last.filter(|value| !value.is_empty())
    }

    /// The same, or else the variable.
    fn take_or(&mut self, name: &str, variable: &str) -> Option<String> {
        self.take(name).or_else(|| (self.lookup)(variable))
    }

    fn needed(&mut self, name: &str) -> Result<String, String> {
        self.take(name).ok_or_else(|| format!("`type={}` needs `{name}=`", self.kind))
    }

    fn truth(&mut self, name: &str, default: bool) -> Result<bool, String> {
        let Some(value) = self.take(name) else { return Ok(default) };
        match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!("`{name}={value}` is neither true nor false")),
        }
    }

    fn end(self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("`type={}` has no field `{key}`", self.kind)),
        }
    }
}

/// Reads the fields of one `--cache-from`; one value without a key is the reference of a registry.
///
/// # Errors
/// A field that the type does not have, that it lacks, or whose value means nothing.
pub fn import(fields: &[(String, String)], lookup: Lookup<'_>) -> Result<ImportSpec, String> {
    let mut fields = start(fields, lookup)?;
    let wait = fields.take("wait").map_or(Ok(limits::IMPORT_WAIT), |text| duration("wait", &text))?;
    let place = match fields.kind.as_str() {
        "registry" => registry(&mut fields)?,
        "local" => Place::Local(LocalPlace {
            directory: PathBuf::from(fields.needed("src")?),
            tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
            digest: fields.take("digest").map(|text| digest(&text)).transpose()?,
        }),
        "inline" => {
            return Err("an inline cache is imported by the image's name: `type=registry,ref=IMAGE`".to_owned());
        }
        "gha" => Place::Gha(gha(&mut fields)?),
        "s3" => Place::S3(Box::new(s3(&mut fields)?)),
        "azblob" => Place::Azure(Box::new(azure(&mut fields)?)),
        other => return Err(unknown(other)),
    };
    fields.end()?;
    Ok(ImportSpec { place, wait })
}

/// Reads the fields of one `--cache-to`; one value without a key is the reference of a registry.
///
/// # Errors
/// A field that the type does not have, that it lacks, or whose value means nothing.
pub fn export(fields: &[(String, String)], lookup: Lookup<'_>) -> Result<ExportSpec, String> {
    let mut fields = start(fields, lookup)?;
    let documents = ["registry", "local"].contains(&fields.kind.as_str());
    let mut spec = ExportSpec {
        place: Place::Inline,
        mode: mode(&mut fields)?,
        form: Form::default(),
        compressed: Compressed { kind: LayerKind::Gzip, level: None, force: false },
        ignore_error: fields.truth("ignore-error", false)?,
        timeout: None,
        bytes_max: limits::LOCAL_BYTES_MAX,
        reset: false,
    };
    if ["registry", "s3", "azblob"].contains(&fields.kind.as_str())
        && let Some(text) = fields.take("timeout")
    {
        spec.timeout = Some(duration("timeout", &text)?);
    }
    if documents {
        spec.form.image_manifest = fields.truth("image-manifest", true)?;
        spec.form.oci_types = fields.truth("oci-mediatypes", true)?;
    }
    if documents {
        spec.compressed = compressed(&mut fields)?;
        if spec.compressed.kind == LayerKind::Zstd && !spec.form.oci_types {
            return Err("`compression=zstd` needs `oci-mediatypes=true`".to_owned());
        }
    }
    spec.place = match fields.kind.as_str() {
        "registry" => registry(&mut fields)?,
        "local" => {
            spec.reset = fields.truth("reset", false)?;
            if let Some(text) = fields.take("max-size") {
                spec.bytes_max = bytes(&text).ok_or_else(|| format!("`max-size={text}` is no size, like `5g`"))?;
            }
            Place::Local(LocalPlace {
                directory: PathBuf::from(fields.needed("dest")?),
                tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
                digest: None,
            })
        }
        "inline" if spec.mode == Mode::Max => {
            return Err("`type=inline` has only the layers of the image: it cannot be `mode=max`".to_owned());
        }
        "inline" => Place::Inline,
        "gha" => Place::Gha(gha(&mut fields)?),
        "s3" => Place::S3(Box::new(s3(&mut fields)?)),
        "azblob" => Place::Azure(Box::new(azure(&mut fields)?)),
        other => return Err(unknown(other)),
    };
    fields.end()?;
    Ok(spec)
}

fn unknown(kind: &str) -> String {
    format!("no cache type is named `{kind}`: expected `registry`, `local`, `inline`, `gha`, `s3` or `azblob`")
}

fn start<'a>(fields: &[(String, String)], lookup: Lookup<'a>) -> Result<Fields<'a>, String> {
    let left: Vec<(String, String)> = fields.to_vec();
    let mut fields = Fields { kind: String::new(), left, lookup };
    fields.kind = fields
        .take("type")
        .ok_or("`type=` is missing: expected `registry`, `local`, `inline`, `gha`, `s3` or `azblob`")?;
    Ok(fields)
}

fn registry(fields: &mut Fields<'_>) -> Result<Place, String> {
    let name = fields.needed("ref")?;
    let reference = name.parse().map_err(|error| format!("`ref={name}`: {error}"))?;
    Ok(Place::Registry { reference, insecure: fields.truth("registry.insecure", false)? })
}

/// Reads what says where GitHub's cache is; nothing where no workflow runs.
fn gha(fields: &mut Fields<'_>) -> Result<Option<GhaPlace>, String> {
    let scope = fields.take("scope").unwrap_or_else(|| "buildkit".to_owned());
    let timeout = fields.take("timeout").map_or(Ok(limits::GHA_TIMEOUT), |text| duration("timeout", &text))?;
    let token = fields.take_or("token", "ACTIONS_RUNTIME_TOKEN");
    let second =
        (fields.lookup)("ACTIONS_CACHE_SERVICE_V2").is_some_and(|text| ["1", "true", "True"].contains(&&*text));
    let (one, two) = (fields.take("url"), fields.take("url_v2"));
    let service = match fields.take("version").as_deref() {
        None if second || (two.is_some() && one.is_none()) => Service::Two,
        Some("2") => Service::Two,
        None | Some("1") => Service::One,
        Some(other) => return Err(format!("`version={other}` is neither 1 nor 2")),
    };
    let url = match service {
        Service::One => one.or_else(|| (fields.lookup)("ACTIONS_CACHE_URL")),
        Service::Two => two.or_else(|| (fields.lookup)("ACTIONS_RESULTS_URL")),
    };
    let listing = listing(fields)?;
    let (Some(token), Some(url)) = (token, url) else { return Ok(None) };
    Ok(Some(GhaPlace { url: address("url", &url)?, service, token: Secret::new(token), scope, timeout, listing }))
}

/// Reads what says where the entries of GitHub's cache are listed.
fn listing(fields: &mut Fields<'_>) -> Result<Option<GhaListing>, String> {
    let repository = fields.take_or("repository", "GITHUB_REPOSITORY");
    let Some(token) = fields.take("ghtoken").filter(|token| !token.is_empty()) else { return Ok(None) };
    let repository = repository.ok_or("`ghtoken=` needs `repository=`, or the variable GITHUB_REPOSITORY")?;
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.bytes().all(|byte| byte == b'.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !repository.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name)) {
        return Err(format!("`repository={repository}` is no `OWNER/NAME`"));
    }
    let api = (fields.lookup)("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".to_owned());
    Ok(Some(GhaListing { api: address("GITHUB_API_URL", &api)?, repository, token: Secret::new(token) }))
}

fn names(fields: &mut Fields<'_>) -> ObjectNames {
    let name = fields.take("name").unwrap_or_else(|| "buildkit".to_owned());
    ObjectNames {
        prefix: fields.take("prefix").unwrap_or_default(),
        blobs: fields.take("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned()),
        manifests: fields.take("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned()),
        names: name.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    }
}

fn s3(fields: &mut Fields<'_>) -> Result<S3Place, String> {
    let missing = |name: &str, variable: &str| format!("`type=s3` needs `{name}=`, or the variable {variable}");
    let bucket = fields.take_or("bucket", "AWS_BUCKET").ok_or_else(|| missing("bucket", "AWS_BUCKET"))?;
    let region = fields.take_or("region", "AWS_REGION").ok_or_else(|| missing("region", "AWS_REGION"))?;
    let keys = s3_keys(fields)?;
    let number = |name: &str, text: Option<String>, default: u32| match text {
        None => Ok(default),
        Some(text) => text
            .parse::<u32>()
            .ok()
            .filter(|count| (1..=64).contains(count))
            .ok_or_else(|| format!("`{name}={text}` is no number from 1 to 64")),
    };
    let endpoint = fields.take("endpoint_url").map(|text| address("endpoint_url", &text)).transpose()?;
    let mode = fields.take("retry_mode");
    if let Some(mode) = mode.filter(|mode| !["standard", "adaptive"].contains(&&**mode)) {
        return Err(format!("`retry_mode={mode}` is neither `standard` nor `adaptive`"));
    }
    // Nothing of ours is signed that a proxy may change, so it need not be left out.
    fields.truth("disable_accept_encoding", false)?;
    let attempts = fields.take("retry_max_attempts");
    let parallel = fields.take("upload_parallelism");
    let touch = fields.take("touch_refresh");
    Ok(S3Place {
        bucket,
        region,
        endpoint,
        path_style: fields.truth("use_path_style", false)?,
        keys,
        touch_after: touch.map_or(Ok(limits::TOUCH_AFTER), |text| duration("touch_refresh", &text))?,
        parallel: number("upload_parallelism", parallel, 4)? as usize,
        retries_max: number("retry_max_attempts", attempts, 6)? - 1,
        names: names(fields),
    })
}

/// Returns the keys that are given, in fields or variables, or who gives them out.
fn s3_keys(fields: &mut Fields<'_>) -> Result<KeySource, String> {
    let token = fields.take("session_token");
    let given = |id: String, secret: String, token: Option<String>| {
        KeySource::Given(Keys { id, secret: Secret::new(secret), token: token.map(Secret::new) })
    };
    let lookup = |name: &str| (fields.lookup)(name);
    let (field_id, field_secret) = (fields.take("access_key_id"), fields.take("secret_access_key"));
    match (field_id, field_secret, lookup("AWS_ACCESS_KEY_ID"), lookup("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret), ..) => Ok(given(id, secret, token.or_else(|| lookup("AWS_SESSION_TOKEN")))),
        (None, None, Some(id), Some(secret)) => Ok(given(id, secret, token.or_else(|| lookup("AWS_SESSION_TOKEN")))),
        (None, None, None, None) => KeySource::of_environment(&lookup)?.ok_or_else(|| {
            "`type=s3` needs `access_key_id=` and `secret_access_key=`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned()
        }),
        (None, None, ..) => Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together".to_owned()),
        _ => Err("`access_key_id=` and `secret_access_key=` go together".to_owned()),
    }
}

fn azure(fields: &mut Fields<'_>) -> Result<AzurePlace, String> {
    let url = fields.take_or("account_url", "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL");
    let url = url.ok_or("`type=azblob` needs `account_url=`, like `https://NAME.blob.core.windows.net`")?;
    let account_url = address("account_url", &url)?;
    let first = account_url.origin().host.split('.').next().unwrap_or_default().to_owned();
    let key = fields.take_or("secret_access_key", "BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY");
    let key =
        key.ok_or("`type=azblob` needs `secret_access_key=`: other ways to log in to Azure are not supported yet")?;
    let key = STANDARD.decode(key.trim()).map_err(|_| "`secret_access_key=` is not base64".to_owned())?;
    Ok(AzurePlace {
        account_url,
        account: fields.take_or("account_name", "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME").unwrap_or(first),
        container: fields
            .take_or("container", "BUILDKIT_AZURE_STORAGE_CONTAINER")
            .unwrap_or_else(|| "buildkit-cache".to_owned()),
        key: Secret::new(key),
        names: names(fields),
    })
}

fn address(name: &str, text: &str) -> Result<Url, String> {
    text.parse().map_err(|error| format!("`{name}=`: {error}"))
}

fn mode(fields: &mut Fields<'_>) -> Result<Mode, String> {
    match fields.take("mode").as_deref() {
        None | Some("min") => Ok(Mode::Min),
        Some("max") => Ok(Mode::Max),
        Some(other) => Err(format!("`mode={other}` is neither `min` nor `max`")),
    }
}

fn compressed(fields: &mut Fields<'_>) -> Result<Compressed, String> {
    let kind = match fields.take("compression").as_deref() {
        None | Some("gzip") => LayerKind::Gzip,
        Some("zstd") => LayerKind::Zstd,
        Some("uncompressed") => LayerKind::Uncompressed,
        Some("estargz") => LayerKind::Estargz,
        Some(other) => {
            return Err(format!("`compression={other}` is none of `gzip`, `zstd`, `uncompressed` and `estargz`"));
        }
    };
    let level = fields.take("compression-level").map(|text| {
        let most = if kind == LayerKind::Zstd { 22 } else { 9 };
        text.parse::<u8>()
            .ok()
            .filter(|level| *level <= most)
            .ok_or_else(|| format!("`compression-level={text}` is no number from 0 to {most}"))
    });
    Ok(Compressed { kind, level: level.transpose()?, force: fields.truth("force-compression", false)? })
}

fn digest(text: &str) -> Result<BlobDigest, String> {
    text.parse().map_err(|error| format!("`digest={text}`: {error}"))
}

/// Reads a time: `100ms`, `10s`, `1m30s`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit =
            rest[digits..].find(|character: char| character.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let milliseconds = match &rest[digits..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            _ => return None,
        };
        total += Duration::from_millis(number.checked_mul(milliseconds)?);
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

fn duration(name: &str, text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{name}={text}` is no time, like `10s`"))
}

/// Reads a size: a number, perhaps with `k`, `m`, `g` or `t`, and `b` or `ib` after it.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let text = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(String, String)> {
        text.split(',')
            .filter_map(|field| field.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn to(text: &str) -> Result<ExportSpec, String> {
        export(&fields(text), &|_| None)
    }

    fn from(text: &str) -> Result<ImportSpec, String> {
        import(&fields(text), &|_| None)
    }

    #[test]
    fn defaults_are_those_of_buildx() {
        let spec = to("type=registry,ref=h.example/c").expect("it is valid");
        assert_eq!((spec.mode, spec.form, spec.ignore_error), (Mode::Min, Form::default(), false));
        assert_eq!(spec.compressed, Compressed { kind: LayerKind::Gzip, level: None, force: false });
        let spec = from("type=local,src=/c").expect("it is valid");
        assert!(matches!(spec.place, Place::Local(place) if place.tag == "latest" && place.digest.is_none()));
        assert_eq!(spec.wait, limits::IMPORT_WAIT);
    }

    #[test]
    fn every_field_is_read_or_refused_by_its_name() {
        let spec =
            to("type=local,dest=d,mode=max,tag=t,image-manifest=false,oci-mediatypes=false,compression=uncompressed,\
                       force-compression=true,ignore-error=true,reset=true,max-size=5g")
            .expect("it is valid");
        assert_eq!((spec.mode, spec.reset, spec.ignore_error, spec.bytes_max), (Mode::Max, true, true, 5 << 30));
        assert_eq!(spec.form, Form { image_manifest: false, oci_types: false });
        let refused = |text: &str| to(text).expect_err("it is refused");
        assert_eq!(refused("type=registry,ref=c,nope=1"), "`type=registry` has no field `nope`");
        assert_eq!(refused("type=registry"), "`type=registry` needs `ref=`");
        assert_eq!(refused("type=local,dest=d,mode=all"), "`mode=all` is neither `min` nor `max`");
        assert!(refused("type=inline,mode=max").contains("inline"));
        assert!(refused("type=nope").contains("`nope`"));
        assert!(refused("type=registry,ref=c,compression=zstd,oci-mediatypes=false").contains("oci-mediatypes"));
        assert!(refused("type=registry,ref=c,compression-level=12").contains("0 to 9"));
        assert!(from("type=local,src=d,digest=x").expect_err("it is refused").contains("digest=x"));
        assert!(from("type=registry,ref=c,wait=soon").expect_err("it is refused").contains("wait=soon"));
    }

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!(duration("x", "1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("x", "250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("x", "10").is_err() && duration("x", "").is_err() && duration("x", "1y").is_err());
        assert_eq!(
            [bytes("5"), bytes("5kb"), bytes("5MiB"), bytes("1T"), bytes("x")],
            [Some(5), Some(5 << 10), Some(5 << 20), Some(1 << 40), None]
        );
    }
}
