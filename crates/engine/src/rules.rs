//! What is said beforehand about the sources of a build: source policies, and the lock.
//!
//! Turns a source as the Dockerfile names it into the one that is used, or into an objection. It finds nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use stave_dockerfile::plan::{BaseRequest, codes};
use stave_dockerfile::{Diagnostic, Span};
use stave_graph::remote::{AddressPlace, is_http, parse_git, redacted, without_credentials};
use stave_graph::{Git, GitSource, Http, Op};
use stave_oci::{BlobDigest, ImageId, Reference};
use stave_policy::{
    Environment, FileEntry, GitEntry, ImageEntry, ImagePin, Input, Lock, Policy, Refusal, RegoError, RegoPolicy,
    Source, TrustedRoot, evaluate,
};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::judge::{By, http_input};
use crate::policy_log::PolicyLog;
use crate::request::{ContextSource, DockerfileSource, NamedContextSource};

/// What is said beforehand about the sources of a build.
#[derive(Debug, Clone, Default)]
pub struct SourceRules {
    /// Policies, in the order in which they are asked.
    pub policies: Vec<Policy>,
    /// Policies in Rego, all of which have to allow what those before make of a source.
    pub rego: Vec<RegoPolicy>,
    /// What policies in Rego are told of the command line.
    pub environment: Environment,
    /// Who may say who signed an image; without it policies that ask are an error.
    pub trusted_root: Option<Arc<TrustedRoot>>,
    /// What policies in Rego print, and how much of it is told.
    pub log: PolicyLog,
    /// What each source has to be. Without one, each is what it is now.
    pub lock: Option<Lock>,
}

/// Why a source is not used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// A policy denies it, or changes it without an end.
    Refused(Refusal),
    /// A policy makes something of it that it cannot be.
    Unusable { from: String, to: String, why: String },
    /// The lock does not have it.
    NotLocked { what: String },
    /// A policy in Rego does not allow it, and says why.
    Denied { policy: String, identifier: String, messages: Vec<String> },
    /// A policy in Rego has no answer.
    Unanswered(RegoError),
    /// It cannot be found out who signed it.
    Unverified { identifier: String, problem: String },
    /// A policy in Rego asks for what is not known before the source is fetched.
    Undetailed { policy: String, identifier: String },
}

/// Which image is meant by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The one with this name.
    Name(String),
    /// The one with this digest, which is part of the name.
    Digest(String),
    /// An image of the store.
    Stored(ImageId),
}

const LOCK_HINT: &str = "Run `stave lock` with the same file, arguments and platforms, and build again.";

impl Objection {
    /// Returns what it is in words.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.to_string(),
            Self::Unusable { from, to, why } => {
                format!("the source policies make `{}` of `{from}`, {why}", redacted(to))
            }
            Self::NotLocked { what } => format!("{what} is not in the lock"),
            Self::Denied { policy, identifier, messages } if messages.is_empty() => {
                format!("the policy `{policy}` does not allow `{identifier}`")
            }
            Self::Denied { policy, identifier, messages } => {
                format!("the policy `{policy}` does not allow `{identifier}`: {}", messages.join("; "))
            }
            Self::Unanswered(error) => error.to_string(),
            Self::Unverified { identifier, problem } => {
                format!("it is not known who signed `{identifier}`: {problem}")
            }
            Self::Undetailed { policy, identifier } => {
                format!("the policy `{policy}` asks what of `{identifier}` is only known once it is fetched")
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        matches!(self, Self::NotLocked { .. }).then_some(LOCK_HINT)
    }

    /// Returns it as a mistake at the words that name the source.
    pub(crate) fn at(&self, span: Span) -> Diagnostic {
        let code = if matches!(self, Self::NotLocked { .. }) { codes::NOT_LOCKED } else { codes::POLICY };
        let diagnostic = Diagnostic::error(code, span, self.text());
        match self.hint() {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}

impl From<Objection> for EngineError {
    fn from(objection: Objection) -> Self {
        Self::request(objection.text(), objection.hint())
    }
}

/// What of a source is neither its identifier nor known here is kept as it was.
pub(crate) fn unusable(from: &str, to: &str, why: impl Into<String>) -> Objection {
    Objection::Unusable { from: from.to_owned(), to: to.to_owned(), why: why.into() }
}

impl SourceRules {
    fn evaluated(&self, source: &Source) -> Result<Source, Objection> {
        evaluate(&self.policies, source).map_err(Objection::Refused)
    }

    /// Returns the image that `request` means.
    pub(crate) fn image(&self, request: &BaseRequest) -> Result<Meant, Objection> {
        // A name that is none is told by who looks for it.
        let Ok(reference) = request.reference.parse::<Reference>() else {
            return Ok(Meant::Name(request.reference.clone()));
        };
        let before = Source::new(format!("docker-image://{reference}"));
        let after = self.evaluated(&before)?;
        // As it was written: a short name may mean several registries.
        let mut name = request.reference.clone();
        let mut meant = reference;
        if after.identifier != before.identifier {
            let changed = |why: &str| unusable(&before.identifier, &after.identifier, why);
            let text = after.identifier.strip_prefix("docker-image://").ok_or_else(|| changed("which is no image"))?;
            meant = text.parse().map_err(|_| changed("which is no name of an image"))?;
            text.clone_into(&mut name);
        }
        let Some(lock) = &self.lock else { return Ok(Meant::Name(name)) };
        if meant.digest.is_some() {
            return Ok(Meant::Digest(name));
        }
        let entry = ImageEntry { name: meant.to_string(), platform: request.platform.to_string() };
        match lock.images.get(&entry) {
            Some(ImagePin::Manifest(digest)) => Ok(Meant::Digest(format!("{}@{digest}", meant.name()))),
            Some(ImagePin::Local(id)) => Ok(Meant::Stored(*id)),
            None => {
                let what = format!("the image `{}` for {}", entry.name, entry.platform);
                Err(Objection::NotLocked { what })
            }
        }
    }

    /// Returns what is done in place of an operation that reads the network; others are left as they are.
    pub(crate) fn operation(&self, operation: &Op) -> Result<Op, Objection> {
        match operation {
            Op::Http(http) => {
                let (url, checksum) = self.file(&http.url, http.checksum)?;
                let checksum = match (&self.lock, checksum) {
                    (Some(lock), None) => Some(locked_file(lock, &url)?),
                    (_, checksum) => checksum,
                };
                Ok(Op::Http(Http { url, name: http.name.clone(), checksum }))
            }
            Op::Git(git) => {
                let mut source = self.repository(&git.source)?;
                if let Some(lock) = &self.lock
                    && pinned(&source).is_none()
                {
                    let (entry, shown) = repository_entry(&source);
                    let commit = lock.repositories.get(&entry);
                    let commit =
                        commit.ok_or_else(|| Objection::NotLocked { what: format!("the repository {shown}") })?;
                    source.checksum = Some(commit.clone());
                    source.fetch_by_commit = true;
                }
                Ok(Op::Git(Git { source }))
            }
            other => Ok(other.clone()),
        }
    }

    fn file(&self, url: &str, checksum: Option<BlobDigest>) -> Result<(String, Option<BlobDigest>), Objection> {
        const CHECKSUM: &str = "http.checksum";
        let mut before = Source::new(without_credentials(url));
        if let Some(checksum) = &checksum {
            before = before.with(CHECKSUM, checksum.to_string());
        }
        let after = self.evaluated(&before)?;
        let changed = |why: &str| unusable(&before.identifier, &after.identifier, why);
        let url = match &after.identifier {
            same if *same == before.identifier => url.to_owned(),
            other if is_http(other) => other.clone(),
            _ => return Err(changed("which is no address of a file")),
        };
        let checksum = match after.attributes.get(CHECKSUM) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| changed("with a checksum that is none"))?),
        };
        Ok((url, checksum))
    }

    /// Returns the address that a step's request is made for in the place of `url`, which has no credentials, and the
    /// checksum that its content must have. What the lock says of a build's own sources does not count.
    pub(crate) fn request(&self, url: &str) -> Result<(String, Option<BlobDigest>), Objection> {
        let (url, checksum) = self.file(url, None)?;
        if !self.rego.is_empty() {
            self.judge_unfetched(&without_credentials(&url), http_input(&url, checksum))?;
        }
        Ok((url, checksum))
    }

    fn repository(&self, source: &GitSource) -> Result<GitSource, Objection> {
        const CHECKSUM: &str = "git.checksum";
        const FULL: &str = "git.fullurl";
        let plain = without_credentials(&source.url);
        let mut before = Source::new(git_identifier(source)).with(FULL, plain.clone());
        if let Some(checksum) = &source.checksum {
            before = before.with(CHECKSUM, checksum.clone());
        }
        let after = self.evaluated(&before)?;
        let mut used = source.clone();
        let changed = |why: &str| unusable(&before.identifier, &after.identifier, why);
        let full = after.attributes.get(FULL).filter(|full| **full != plain);
        if after.identifier != before.identifier || full.is_some() {
            let fragment = after.identifier.split_once('#').map_or("", |(_, fragment)| fragment);
            let place = after.identifier.split('#').next().unwrap_or_default();
            let address = match (full, place.strip_prefix("git://")) {
                (Some(full), _) => full.clone(),
                (None, Some(rest)) => format!("https://{rest}"),
                (None, None) => place.to_owned(),
            };
            let parsed = parse_git(&format!("{address}#{fragment}"), AddressPlace::Context);
            let parsed = parsed.and_then(Result::ok).ok_or_else(|| changed("which is no address of a repository"))?;
            let parsed = parsed.into_source();
            (used.url, used.reference, used.subdir) = (parsed.url, parsed.reference, parsed.subdir);
        }
        if let Some(checksum) =
            after.attributes.get(CHECKSUM).filter(|checksum| Some(*checksum) != source.checksum.as_ref())
        {
            if !is_commit(checksum) {
                return Err(changed("with a checksum that is no whole commit"));
            }
            used.checksum = Some(checksum.clone());
            used.fetch_by_commit = true;
        }
        Ok(used)
    }

    fn dockerfile(&self, dockerfile: &DockerfileSource) -> Result<(), EngineError> {
        match dockerfile {
            DockerfileSource::Default | DockerfileSource::Path(_) => self.local("dockerfile")?,
            DockerfileSource::Stream(_) => {}
            DockerfileSource::Url(url) => {
                let (used, _) = self.file(url, None)?;
                if used != *url {
                    return Err(unusable(url, &used, "and a Dockerfile is read from where it is given").into());
                }
                self.judge_unfetched(&without_credentials(url), http_input(url, None))?;
            }
            DockerfileSource::Several(files) => return files.iter().try_for_each(|file| self.dockerfile(file)),
        }
        Ok(())
    }

    /// Asks the policies about what the caller gives: the contexts and the Dockerfile. What is on the network may be
    /// changed, what is on this machine only denied.
    pub(crate) fn given(
        &self,
        (engine, by): (&Engine, By<'_>),
        context: &mut ContextSource,
        contexts: &BTreeMap<String, NamedContextSource>,
        dockerfile: &DockerfileSource,
    ) -> Result<(), EngineError> {
        if self.policies.is_empty() && self.rego.is_empty() {
            return Ok(());
        }
        match context {
            ContextSource::Directory(_) => self.local("context")?,
            ContextSource::Stream(_) => {}
            ContextSource::Git(source) => {
                *source = self.repository(source)?;
                self.judge_context(engine, by, source)?;
            }
            ContextSource::Url(url) => {
                let (used, checksum) = self.file(url, None)?;
                if checksum.is_some() {
                    let why = "with a checksum, which a context cannot have";
                    return Err(unusable(&without_credentials(url), &used, why).into());
                }
                *url = used;
                self.judge_unfetched(&without_credentials(url), http_input(url, None))?;
            }
        }
        self.dockerfile(dockerfile)?;
        for (name, source) in contexts {
            if matches!(source, NamedContextSource::Directory(_)) {
                self.local(name)?;
            }
        }
        Ok(())
    }

    fn local(&self, name: &str) -> Result<(), Objection> {
        let before = Source::new(format!("local://{name}"));
        let after = self.evaluated(&before)?;
        if after.identifier == before.identifier {
            return self.judge_unfetched(&before.identifier, Input::local(name));
        }
        Err(unusable(&before.identifier, &after.identifier, "and what is on this machine cannot be exchanged"))
    }
}

fn locked_file(lock: &Lock, url: &str) -> Result<BlobDigest, Objection> {
    let entry = file_entry(url);
    let found = lock.files.get(&entry).copied();
    found.ok_or_else(|| Objection::NotLocked { what: format!("the file {}", redacted(&entry.url)) })
}

/// Returns how the lock calls a file.
pub(crate) fn file_entry(url: &str) -> FileEntry {
    FileEntry { url: without_credentials(url) }
}

/// Returns how the lock calls a repository, and how people do.
pub(crate) fn repository_entry(source: &GitSource) -> (GitEntry, String) {
    let entry = GitEntry { url: without_credentials(&source.url), reference: source.reference.clone() };
    let shown = entry.reference.as_ref().map_or_else(|| entry.url.clone(), |name| format!("{}#{name}", entry.url));
    (entry, shown)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Returns the commit that a source names by itself.
pub(crate) fn pinned(source: &GitSource) -> Option<&str> {
    [&source.checksum, &source.reference].into_iter().flatten().map(String::as_str).find(|text| is_commit(text))
}

/// Returns the name of a repository as policies know it: `git://host/path#reference:directory`.
pub(crate) fn git_identifier(source: &GitSource) -> String {
    let plain = without_credentials(&source.url);
    let place = match plain.split_once("://") {
        Some((_, rest)) => rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned(),
        None => plain.rsplit_once('@').map_or(plain.as_str(), |(_, host)| host).replacen(':', "/", 1),
    };
    let reference = source.reference.as_deref().unwrap_or_default();
    match &source.subdir {
        Some(subdir) => format!("git://{place}#{reference}:{subdir}"),
        None if reference.is_empty() => format!("git://{place}"),
        None => format!("git://{place}#{reference}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &str, lock: Option<Lock>) -> SourceRules {
        let policy = Policy::parse("p", &format!(r#"{{"rules":[{rules}]}}"#)).expect("a policy");
        SourceRules { policies: vec![policy], lock, ..SourceRules::default() }
    }

    fn image(name: &str) -> BaseRequest {
        BaseRequest { reference: name.to_owned(), platform: "linux/amd64".parse().expect("a platform") }
    }

    fn git(address: &str) -> GitSource {
        parse_git(address, AddressPlace::Instruction).expect("git").expect("valid").into_source()
    }

    #[test]
    fn an_image_is_locked_by_its_name_and_platform() {
        let digest = BlobDigest::of(b"x");
        let mut lock = Lock::default();
        let entry = |name: &str| ImageEntry { name: name.to_owned(), platform: "linux/amd64".to_owned() };
        lock.images.insert(entry("docker.io/library/a:1"), ImagePin::Manifest(digest));
        lock.images.insert(entry("docker.io/library/b:latest"), ImagePin::Local(ImageId::of(b"b")));
        let rules = rules("", Some(lock));
        assert_eq!(rules.image(&image("a:1")), Ok(Meant::Digest(format!("docker.io/library/a@{digest}"))));
        assert_eq!(rules.image(&image("b")), Ok(Meant::Stored(ImageId::of(b"b"))));
        let pinned = format!("c@{digest}");
        assert_eq!(rules.image(&image(&pinned)), Ok(Meant::Digest(pinned)));
        assert!(matches!(rules.image(&image("a:2")), Err(Objection::NotLocked { .. })));
    }

    #[test]
    fn a_repository_is_known_by_host_and_path() {
        assert_eq!(git_identifier(&git("https://me:pw@h/a.git#v1:sub")), "git://h/a.git#v1:sub");
        assert_eq!(git_identifier(&git("git@h:a.git")), "git://h/a.git");
        assert_eq!(git_identifier(&git("https://h/a.git#v1")), "git://h/a.git#v1");
    }

    #[test]
    fn a_policy_pins_files_and_repositories() {
        let digest = BlobDigest::of(b"x");
        let commit = "0a".repeat(20);
        let convert = |identifier: &str, attribute: &str, value: &str| {
            format!(
                r#"{{"action":"CONVERT","selector":{{"identifier":"{identifier}"}},"updates":{{"attrs":{{"{attribute}":"{value}"}}}}}}"#
            )
        };
        let file = convert("https://h/*", "http.checksum", &digest.to_string());
        let rules = rules(&format!("{file},{}", convert("git://*", "git.checksum", &commit)), None);
        let http = Op::Http(Http { url: "https://h/x".into(), name: "x".into(), checksum: None });
        let Ok(Op::Http(http)) = rules.operation(&http) else { panic!("it is converted") };
        assert_eq!(http.checksum, Some(digest));
        let Ok(Op::Git(found)) = rules.operation(&Op::Git(Git { source: git("https://h/a.git#v1") })) else {
            panic!("it is converted")
        };
        assert_eq!((found.source.checksum, found.source.fetch_by_commit), (Some(commit), true));
    }

    #[test]
    fn what_is_no_image_cannot_take_the_place_of_one() {
        let rule = r#"{"action":"CONVERT","selector":{"identifier":"docker-image://*"},"updates":{"identifier":"https://h/x"}}"#;
        let objection = rules(rule, None).image(&image("a")).expect_err("it is no image");
        assert!(objection.text().contains("which is no image"), "{}", objection.text());
    }
}
