//! `registries.conf`, version 2: which registry a name leads to, its mirrors, and what short names mean.
//!
//! Reference: containers-registries.conf(5).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stave_oci::Reference;
use stave_oci::reference::ReferenceError;

use super::{Environment, read_optional};
use crate::error::RegistryError;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A file is no valid TOML, or a setting has the wrong type.
    #[error("cannot understand `{}`", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A setting makes no sense.
    #[error("`{}` says for `{registry}`: {problem}", path.display())]
    Registry {
        /// The file.
        path: PathBuf,
        /// The registry's prefix or location.
        registry: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A variable is not what it has to be.
    #[error("the variable {variable} is not valid")]
    Sources {
        /// Its name.
        variable: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The format that nobody has written since 2018.
    #[error("`{}` has version 1 of its format (`[registries.search]`), which is not supported: use `[[registry]]`", path.display())]
    VersionOne {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    registry: Vec<RawRegistry>,
    aliases: BTreeMap<String, String>,
    #[serde(flatten)]
    other: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct RawRegistry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<RawMirror>,
    #[serde(flatten)]
    other: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct RawMirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
    #[serde(flatten)]
    other: BTreeMap<String, toml::Value>,
}

/// Which pulls a mirror serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    All,
    Digests,
    Tags,
}

#[derive(Debug, Clone)]
struct Mirror {
    location: String,
    insecure: bool,
    serves: Serves,
}

#[derive(Debug, Clone)]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
    file: PathBuf,
}

/// Settings of `registries.conf` that stave knows and that are no business of its own.
const KNOWN_ELSEWHERE: &[&str] = &["short-name-mode", "credential-helpers", "additional-layer-store-auth-helper"];

/// All `registries.conf` files, joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registries {
    known: Vec<Registry>,
    aliases: BTreeMap<String, String>,
    search: Vec<String>,
    sources: Sources,
    pub(crate) warnings: Vec<String>,
}

/// The variable that says from which registries images may come.
const SOURCES: &str = "BUILD_REGISTRY_SOURCES";

/// From which registries images may come.
///
/// Reference: buildah-build(1), `BUILD_REGISTRY_SOURCES`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sources {
    #[serde(rename = "insecureRegistries")]
    insecure: Vec<String>,
    #[serde(rename = "blockedRegistries")]
    blocked: Vec<String>,
    /// If there are any, images come from no other.
    #[serde(rename = "allowedRegistries")]
    allowed: Vec<String>,
}

impl Sources {
    fn allows(&self, registry: &str) -> bool {
        let among = |list: &[String]| list.iter().any(|name| name == registry);
        !among(&self.blocked) && (self.allowed.is_empty() || among(&self.allowed))
    }
}

/// One place that may have an image: a mirror or the registry itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Host, perhaps with a port.
    pub(crate) host: String,
    /// Path of the repository there.
    pub(crate) repository: String,
    /// Whether certificates may be wrong and TLS may be missing.
    pub(crate) insecure: bool,
    /// Whether it stands in for the registry.
    pub(crate) mirror: bool,
}

impl Registries {
    pub(crate) fn load(environment: &Environment) -> Result<Self, ConfigError> {
        let mut registries = Self::default();
        let user = environment.config_home().map(|home| home.join("containers"));
        let system = environment.etc().join("containers");
        let user_file = user.as_ref().map(|folder| folder.join("registries.conf"));
        if let Some(path) = &environment.registries_conf {
            let missing = || ConfigError::Read { path: path.clone(), source: io::ErrorKind::NotFound.into() };
            registries.read(path)?.then_some(()).ok_or_else(missing)?;
        } else if !user_file.map_or(Ok(false), |path| registries.read(&path))? {
            registries.read(&system.join("registries.conf"))?;
        }
        for folder in [Some(system), user].into_iter().flatten() {
            for path in drop_ins(&folder.join("registries.conf.d"))? {
                registries.read(&path)?;
            }
        }
        if let Some(text) = &environment.registry_sources {
            registries.restrict(text)?;
        }
        Ok(registries)
    }

    fn restrict(&mut self, text: &str) -> Result<(), ConfigError> {
        let sources: Sources =
            serde_json::from_str(text).map_err(|source| ConfigError::Sources { variable: SOURCES, source })?;
        for host in &sources.insecure {
            self.allow_insecure(host);
        }
        self.sources = sources;
        Ok(())
    }

    /// Reads one file over what is known already; returns whether it exists.
    fn read(&mut self, path: &Path) -> Result<bool, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let Some(bytes) = read_optional(path).map_err(read)? else { return Ok(false) };
        let invalid = |error| read(io::Error::new(io::ErrorKind::InvalidData, error));
        let text = String::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
        self.add(path, &text)?;
        Ok(true)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let syntax = |source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) };
        let file: File = toml::from_str(text).map_err(syntax)?;
        if file.other.contains_key("registries") {
            return Err(ConfigError::VersionOne { path: path.to_owned() });
        }
        self.warn(path, "", file.other.keys());
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        self.aliases.extend(file.aliases);
        for raw in file.registry {
            let registry = self.registry(path, raw)?;
            self.known.retain(|other| other.prefix != registry.prefix);
            self.known.push(registry);
        }
        Ok(())
    }

    fn warn<'a>(&mut self, path: &Path, within: &str, keys: impl Iterator<Item = &'a String>) {
        let unknown = keys.filter(|key| !KNOWN_ELSEWHERE.contains(&key.as_str()));
        self.warnings
            .extend(unknown.map(|key| format!("`{}` has the unknown setting `{within}{key}`", path.display())));
    }

    fn registry(&mut self, path: &Path, raw: RawRegistry) -> Result<Registry, ConfigError> {
        let trimmed = |text: &str| text.trim_end_matches('/').to_owned();
        let (mut prefix, location) = (trimmed(&raw.prefix), trimmed(&raw.location));
        if prefix.is_empty() {
            prefix.clone_from(&location);
        }
        let wrong = |problem| ConfigError::Registry { path: path.to_owned(), registry: prefix.clone(), problem };
        self.warn(path, "registry.", raw.other.keys());
        if prefix.is_empty() {
            return Err(wrong("neither `prefix` nor `location` is set"));
        }
        if prefix.starts_with('*') && !prefix.starts_with("*.") {
            return Err(wrong("a wildcard stands for whole parts of a host name, as in `*.example.com`"));
        }
        if !is_location(prefix.trim_start_matches("*.")) || !(location.is_empty() || is_location(&location)) {
            return Err(wrong("a location is a host and a path, without `https://` or `http://`"));
        }
        let mut mirrors = Vec::new();
        for mirror in raw.mirror {
            self.warn(path, "registry.mirror.", mirror.other.keys());
            let location = trimmed(&mirror.location);
            if !is_location(&location) {
                return Err(wrong("a mirror's `location` is a host and a path, without `https://` or `http://`"));
            }
            let serves = match (mirror.pull_from_mirror.as_str(), raw.mirror_by_digest_only) {
                ("", true) | ("digest-only", false) => Serves::Digests,
                ("" | "all", false) => Serves::All,
                ("tag-only", false) => Serves::Tags,
                (_, true) => return Err(wrong("`mirror-by-digest-only` and `pull-from-mirror` exclude each other")),
                _ => return Err(wrong("`pull-from-mirror` is `all`, `digest-only` or `tag-only`")),
            };
            mirrors.push(Mirror { location, insecure: mirror.insecure, serves });
        }
        let (insecure, blocked) = (raw.insecure, raw.blocked);
        Ok(Registry { prefix, location, insecure, blocked, mirrors, file: path.to_owned() })
    }

    /// Returns the places to pull `reference` from, in the order to try them; the registry itself is the last.
    pub(crate) fn places_to_pull(&self, reference: &Reference) -> Result<Vec<Place>, RegistryError> {
        let name = reference.name();
        if !self.sources.allows(&reference.registry) {
            return Err(RegistryError::Blocked { name, file: SOURCES.to_owned() });
        }
        let Some(registry) = self.matching(&whole(reference)) else {
            return Ok(vec![Place::new(&name, false, false)]);
        };
        let own = registry.own_place(&name)?;
        let serves = if reference.digest.is_some() { Serves::Digests } else { Serves::Tags };
        let mirrors = registry.mirrors.iter().filter(|mirror| [Serves::All, serves].contains(&mirror.serves));
        let mut places: Vec<Place> = mirrors
            .map(|mirror| Place::new(&registry.rewritten(&name, &mirror.location), mirror.insecure, true))
            .collect();
        places.push(own);
        Ok(places)
    }

    /// Returns the place to push `reference` to: never a mirror.
    pub(crate) fn place_to_push(&self, reference: &Reference) -> Result<Place, RegistryError> {
        let name = reference.name();
        self.matching(&whole(reference))
            .map_or_else(|| Ok(Place::new(&name, false, false)), |registry| registry.own_place(&name))
    }

    /// Declares `host` (perhaps with a port), and all that is configured below it, insecure.
    pub(crate) fn allow_insecure(&mut self, host: &str) {
        if self.matching(host).is_none() {
            let (prefix, location) = (host.to_owned(), host.to_owned());
            let mirrors = Vec::new();
            let own = Registry { prefix, location, insecure: true, blocked: false, mirrors, file: PathBuf::new() };
            self.known.push(own);
        }
        for registry in &mut self.known {
            registry.insecure |=
                registry.matched(host).is_some() || registry.prefix.split('/').next().is_some_and(|own| own == host);
        }
    }

    /// Whether `host` (perhaps with a port) was declared insecure by itself.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        self.matching(host).is_some_and(|registry| registry.insecure)
            || self
                .known
                .iter()
                .flat_map(|registry| &registry.mirrors)
                .any(|mirror| mirror.insecure && mirror.location.split('/').next() == Some(host))
    }

    fn matching(&self, whole: &str) -> Option<&Registry> {
        let matching = self.known.iter().filter(|registry| registry.matched(whole).is_some());
        matching.max_by_key(|registry| registry.prefix.len())
    }

    /// See [`super::Config::meanings`].
    pub(crate) fn meanings(&self, text: &str) -> Result<Vec<Reference>, ReferenceError> {
        let plain: Reference = text.parse()?;
        let name_end = text.find(['@', ':']).unwrap_or(text.len());
        let (name, suffix) = text.split_at(name_end);
        let first = text.split('/').next().unwrap_or_default();
        let qualified = text.contains('/') && (first.contains(['.', ':']) || first == "localhost");
        if qualified {
            return Ok(vec![plain]);
        }
        if let Some(target) = self.aliases.get(name).filter(|target| !target.is_empty()) {
            return Ok(vec![format!("{target}{suffix}").parse()?]);
        }
        if self.search.is_empty() {
            return Ok(vec![plain]);
        }
        self.search.iter().map(|registry| format!("{}/{text}", registry.trim_end_matches('/')).parse()).collect()
    }
}

/// The whole text that prefixes are compared with.
fn whole(reference: &Reference) -> String {
    match (&reference.digest, reference.effective_tag()) {
        (Some(digest), _) => format!("{}@{digest}", reference.name()),
        (None, Some(tag)) => format!("{}:{tag}", reference.name()),
        (None, None) => reference.name(),
    }
}

impl Registry {
    /// Returns how much of `whole` the prefix covers, if it covers it at all.
    fn matched(&self, whole: &str) -> Option<usize> {
        let length = match self.prefix.strip_prefix('*') {
            Some(suffix) => {
                let host = &whole[..whole.find(['/', ':', '@']).unwrap_or(whole.len())];
                // A wildcard may be followed by a path too: `*.example.com/team`.
                let (host_suffix, path) = suffix.split_at(suffix.find('/').unwrap_or(suffix.len()));
                let covered = host.strip_suffix(host_suffix).filter(|start| !start.is_empty()).map(|_| host.len())?;
                whole[covered..].starts_with(path).then_some(covered + path.len())?
            }
            None => whole.starts_with(&self.prefix).then_some(self.prefix.len())?,
        };
        // After a host alone, `:` begins a port, and that is another registry; after a repository it begins a tag.
        let port = !self.prefix.contains(['/', '*']) && whole.as_bytes().get(length) == Some(&b':');
        (!port && matches!(whole.as_bytes().get(length), None | Some(b'/' | b':' | b'@'))).then_some(length)
    }

    fn rewritten(&self, name: &str, location: &str) -> String {
        if location.is_empty() {
            return name.to_owned();
        }
        // A prefix may cover a tag as well, which is no part of a repository's name.
        let covered = self.matched(name).unwrap_or(name.len());
        format!("{location}{}", &name[covered..])
    }

    fn own_place(&self, name: &str) -> Result<Place, RegistryError> {
        if self.blocked {
            return Err(RegistryError::Blocked { name: name.to_owned(), file: self.file.display().to_string() });
        }
        Ok(Place::new(&self.rewritten(name, &self.location), self.insecure, false))
    }
}

impl Place {
    fn new(name: &str, insecure: bool, mirror: bool) -> Self {
        let (host, repository) = name.split_once('/').unwrap_or((name, ""));
        Self { host: host.to_owned(), repository: repository.to_owned(), insecure, mirror }
    }
}

/// Whether a text can be a host, perhaps with a port and a path. What exactly is valid is found out when it is used.
fn is_location(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/[]@".contains(&byte);
    !text.is_empty() && !text.contains("//") && text.bytes().all(allowed)
}

/// Lists the `.conf` files of a folder in the order of their names.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        let mut registries = Registries::default();
        registries.add(Path::new("registries.conf"), text).expect("the text is valid");
        registries
    }

    fn problem(text: &str) -> String {
        let error = Registries::default().add(Path::new("registries.conf"), text).expect_err("the text is not valid");
        error.to_string()
    }

    fn pulls(text: &str, name: &str) -> Vec<String> {
        let reference: Reference = name.parse().expect("the name is valid");
        let places = registries(text).places_to_pull(&reference);
        places.map_or_else(
            |error| vec![error.to_string()],
            |places| {
                let flags = |place: &Place| {
                    [(place.insecure, " insecure"), (place.mirror, " mirror")]
                        .map(|(set, name)| if set { name } else { "" })
                };
                places
                    .iter()
                    .map(|place| format!("{}/{}{}", place.host, place.repository, flags(place).concat()))
                    .collect()
            },
        )
    }

    /// F030
    #[test]
    fn a_variable_says_from_which_registries_images_may_come() {
        let restricted = |text: &str| {
            let mut registries = Registries::default();
            registries.restrict(text).map(|()| registries)
        };
        let pulled = |text: &str, name: &str| {
            let places = restricted(text).expect("it is valid").places_to_pull(&name.parse().expect("a name"));
            places.map(|places| places[0].insecure).map_err(|error| error.to_string())
        };
        let blocked = Err("`docker.io/library/alpine` is blocked in `BUILD_REGISTRY_SOURCES`".to_owned());
        assert_eq!(pulled(r#"{"blockedRegistries":["docker.io"]}"#, "alpine"), blocked);
        assert_eq!(pulled(r#"{"blockedRegistries":["docker.io"]}"#, "a.io/x"), Ok(false));
        assert_eq!(pulled(r#"{"allowedRegistries":["a.io"]}"#, "alpine"), blocked);
        assert_eq!(pulled(r#"{"allowedRegistries":["a.io"],"insecureRegistries":["a.io"]}"#, "a.io/x"), Ok(true));
        assert_eq!(pulled(r#"{"allowedRegistries":[]}"#, "alpine"), Ok(false));
        let push = restricted(r#"{"blockedRegistries":["docker.io"]}"#).expect("it is valid");
        assert!(push.place_to_push(&"alpine".parse().expect("a name")).is_ok(), "it is about what comes in");
        let error = restricted(r#"{"allowed":["a.io"]}"#).expect_err("the field is not known").to_string();
        assert_eq!(error, "the variable BUILD_REGISTRY_SOURCES is not valid");
    }

    const MIRRORED: &str = r#"
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "127.0.0.1:5000"
        insecure = true
        [[registry.mirror]]
        location = "mirror.example/hub"
    "#;

    #[test]
    fn mirrors_come_before_the_registry() {
        assert_eq!(
            pulls(MIRRORED, "alpine"),
            [
                "127.0.0.1:5000/library/alpine insecure mirror",
                "mirror.example/hub/library/alpine mirror",
                "docker.io/library/alpine"
            ]
        );
        assert_eq!(pulls(MIRRORED, "quay.io/x/y"), ["quay.io/x/y"]);
        assert_eq!(pulls("", "alpine"), ["docker.io/library/alpine"]);
        let push = registries(MIRRORED).place_to_push(&"alpine".parse().expect("valid")).expect("not blocked");
        assert_eq!((push.host.as_str(), push.mirror), ("docker.io", false));
    }

    #[test]
    fn some_mirrors_serve_only_digests_or_only_tags() {
        let text = |registry: &str, mirror: &str| {
            format!("[[registry]]\nlocation=\"a.io\"\n{registry}\n[[registry.mirror]]\nlocation=\"m.io\"\n{mirror}\n")
        };
        let digest = format!("a.io/x@{}", stave_oci::BlobDigest::of(b""));
        for (registry, mirror, tagged, by_digest) in [
            ("mirror-by-digest-only=true", "", 1, 2),
            ("", "pull-from-mirror=\"digest-only\"", 1, 2),
            ("", "pull-from-mirror=\"tag-only\"", 2, 1),
            ("", "pull-from-mirror=\"all\"", 2, 2),
        ] {
            let text = text(registry, mirror);
            assert_eq!(pulls(&text, "a.io/x:1").len(), tagged, "{text}");
            assert_eq!(pulls(&text, &digest).len(), by_digest, "{text}");
        }
        assert!(
            problem(&text("mirror-by-digest-only=true", "pull-from-mirror=\"all\"")).contains("exclude each other")
        );
        assert!(problem(&text("", "pull-from-mirror=\"some\"")).contains("`tag-only`"));
    }

    #[test]
    fn the_longest_prefix_wins_and_ends_at_a_border() {
        let text = r#"
            [[registry]]
            prefix = "a.io/team"
            location = "b.io/t"
            [[registry]]
            prefix = "a.io/team/secret"
            blocked = true
            [[registry]]
            prefix = "*.corp.example"
            location = "proxy.example/corp"
            insecure = true
        "#;
        assert_eq!(pulls(text, "a.io/team/x:1"), ["b.io/t/x"]);
        assert_eq!(pulls(text, "a.io/teamster/x"), ["a.io/teamster/x"]);
        assert_eq!(pulls(text, "a.io/team/secret"), ["`a.io/team/secret` is blocked in `registries.conf`"]);
        assert_eq!(pulls(text, "x.y.corp.example/p/q"), ["proxy.example/corp/p/q insecure"]);
        assert_eq!(pulls(text, "corp.example/p"), ["corp.example/p"]);
        assert_eq!(pulls(text, "corp.example.evil.example/p"), ["corp.example.evil.example/p"]);
        assert_eq!(pulls(text, "evil.example/x.corp.example/p"), ["evil.example/x.corp.example/p"]);
    }

    #[test]
    fn later_files_override_earlier_ones() {
        let mut registries = registries(MIRRORED);
        registries
            .add(Path::new("b.conf"), "[[registry]]\nlocation = \"docker.io\"\nblocked = true\n")
            .expect("the text is valid");
        let error = registries.places_to_pull(&"alpine".parse().expect("valid")).expect_err("it is blocked");
        assert_eq!(error.to_string(), "`docker.io/library/alpine` is blocked in `b.conf`");
    }

    #[test]
    fn insecure_hosts_are_known_by_name() {
        let registries = registries(MIRRORED);
        assert!(registries.is_insecure("127.0.0.1:5000"));
        assert!(!registries.is_insecure("127.0.0.1:5001") && !registries.is_insecure("docker.io"));
        let host = self::registries("[[registry]]\nlocation = \"a.io\"\ninsecure = true\n");
        assert!(host.is_insecure("a.io") && !host.is_insecure("a.io:5000") && !host.is_insecure("b.a.io"));
    }

    #[test]
    fn short_names_have_meanings() {
        let meanings = |text: &str, name: &str| -> Vec<String> {
            let meanings = registries(text).meanings(name).expect("the name is valid");
            meanings.iter().map(Reference::to_string).collect()
        };
        assert_eq!(meanings("", "alpine"), ["docker.io/library/alpine:latest"]);
        assert_eq!(meanings("[aliases]\n\"alpine\" = \"q.io/a/alpine\"", "alpine:3"), ["q.io/a/alpine:3"]);
        let search = "unqualified-search-registries = [\"a.io\", \"docker.io\"]";
        assert_eq!(meanings(search, "x/y"), ["a.io/x/y:latest", "docker.io/x/y:latest"]);
        assert_eq!(meanings(search, "b.io/x"), ["b.io/x:latest"]);
        assert_eq!(meanings(search, "localhost/x"), ["localhost/x:latest"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(problem("[registries.search]\nregistries=[]").contains("version 1"));
        assert!(problem("[[registry]]\ninsecure=true").contains("neither"));
        assert!(problem("[[registry]]\nlocation=\"https://a.io\"").contains("without `https://`"));
        assert!(problem("[[registry]]\nprefix=\"*a.io\"").contains("wildcard"));
        assert!(problem("[[registry]]\nlocation=1").contains("cannot understand"));
        let unknown = registries("x=1\nshort-name-mode=\"enforcing\"\n[[registry]]\nlocation=\"a.io\"\nmirrors=1\n");
        assert_eq!(
            unknown.warnings,
            [
                "`registries.conf` has the unknown setting `x`",
                "`registries.conf` has the unknown setting `registry.mirrors`"
            ]
        );
    }
}
