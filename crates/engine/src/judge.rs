//! Asks policies in Rego about sources, and finds out first what they want to know of them.
//!
//! What was found out is what is used: a file or a repository of which a policy was told the digest is pinned to that, and
//! an image is the one whose configuration it was told.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use stave_dockerfile::plan::BaseRequest;
use stave_fetch::Objects;
use stave_graph::remote::{AddressPlace, is_http, parse_git, redacted, without_credentials};
use stave_graph::{Git, GitSource, Http, Op};
use stave_oci::{BlobDigest, Platform, Reference};
use stave_policy::{GitAsked, ImageSignature, Input, OpenContent, ReadFile, SignatureError, TrustedRoot};
use stave_store::Lease;
use stave_tree::Dir;

use crate::base::KnownBase;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::imagetools::SLSA;
use crate::outcome::BuildFailure;
use crate::planning::Planning;
use crate::policy_log::shown_words;
use crate::registries::Registries;
use crate::remote::Wanted;
use crate::request::{Grants, PullPolicy};
use crate::rules::{Meant, Objection, SourceRules, git_identifier, unusable};
use crate::told::causes;

/// Largest file that a policy may import or load, in bytes.
const POLICY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An image that the policies in Rego have no objection to so far.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) image: Meant,
    /// Whether some of them want to know what the image itself says.
    wants_details: bool,
}

/// The type of a statement about how an image was built, and what it states.
type Provenance = (String, serde_json::Value);

/// What was found out about an image.
pub(crate) struct Found<'a> {
    base: &'a KnownBase,
    provenance: Said,
    /// What is kept beside it; nothing if nobody wants to know.
    signatures: Option<Vec<ImageSignature>>,
}

/// What is said of how an image was built.
enum Said {
    /// Nobody wants to know.
    Unasked,
    Nothing,
    So(Provenance),
}

/// What policies in Rego say of a source.
enum Verdict {
    /// All allow it; some may say which digest it must have.
    Allowed(Option<BlobDigest>),
    /// None of those that need only its name denies it; some want to know more.
    WantsDetails,
}

/// Whether it is asked who signed an image, and whom to believe.
#[derive(Debug, Clone, Copy, Default)]
pub struct SignersAsked<'a> {
    /// Whether it is asked.
    pub wanted: bool,
    /// Whom to believe; without it only functions that verify with keys have use for signatures.
    pub root: Option<&'a TrustedRoot>,
}

/// Who asks for what is on the network: what keeps it, what proves who asks, and who is told.
pub(crate) type By<'a> = (&'a Lease, &'a Grants, Report<'a>);

/// A source that a policy is to be asked about, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A directory of this machine, by the name that builds give it.
    Local(String),
    /// An image.
    Image(Reference),
    /// A file on the network.
    Http(String),
    /// A Git repository.
    Git(GitSource),
}

/// Returns a function that reads files of a directory, and nothing outside of it whatever links say.
///
/// # Errors
/// If the directory cannot be opened.
pub fn policy_files(directory: &Path) -> Result<ReadFile, EngineError> {
    let root = Dir::open_ambient(directory)
        .map_err(|error| EngineError::tree(format!("cannot open `{}`", directory.display()), error))?;
    let root = Arc::new(root);
    Ok(Arc::new(move |name| root.read_file(name.as_bytes(), POLICY_BYTES_MAX).map_err(|error| error.to_string())))
}

/// Returns what a policy is told of a file before it is fetched.
pub(crate) fn http_input(url: &str, checksum: Option<BlobDigest>) -> Input {
    let plain = without_credentials(url);
    Input::http(&plain, plain != url, checksum)
}

/// Returns what a policy is told of a repository before it is fetched.
pub(crate) fn git_input(source: &GitSource) -> Input {
    let commit = source.checksum.as_deref().filter(|_| source.fetch_by_commit);
    Input::git(&GitAsked {
        url: &without_credentials(&source.url),
        reference: source.reference.as_deref(),
        subdir: source.subdir.as_deref(),
        checksum: source.checksum.as_deref(),
        commit,
    })
}

/// A file of the store, read from its beginning, whoever else reads it.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl PolicySource {
    /// Reads `docker-image://NAME`, an address of a file or a repository, a directory that is there (the context), or
    /// the name of an image.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        let unusable = |error| EngineError::tree(format!("cannot use the source `{}`", redacted(text)), error);
        if let Some(name) = text.strip_prefix("docker-image://") {
            return name.parse().map(Self::Image).map_err(unusable);
        }
        if let Some(name) = text.strip_prefix("local://") {
            return Ok(Self::Local(name.to_owned()));
        }
        if Path::new(text).is_dir() {
            return Ok(Self::Local("context".to_owned()));
        }
        if let Some(address) = parse_git(text, AddressPlace::Context) {
            let wrong = |error| EngineError::tree(format!("cannot use the address `{}`", redacted(text)), error);
            return address.map(|address| Self::Git(address.into_source())).map_err(wrong);
        }
        if is_http(text) {
            return Ok(Self::Http(text.to_owned()));
        }
        text.parse().map(Self::Image).map_err(unusable)
    }

    /// Returns how policies call it, without credentials.
    #[must_use]
    pub fn identifier(&self) -> String {
        match self {
            Self::Local(name) => format!("local://{name}"),
            Self::Image(reference) => format!("docker-image://{reference}"),
            Self::Http(url) => without_credentials(url),
            Self::Git(source) => git_identifier(source),
        }
    }

    /// Returns what its name says of it.
    #[must_use]
    pub fn input(&self, platform: &Platform) -> Input {
        match self {
            Self::Local(name) => Input::local(name),
            Self::Image(reference) => Input::image(reference, platform),
            Self::Http(url) => http_input(url, None),
            Self::Git(source) => git_input(source),
        }
    }
}

impl Engine {
    /// Returns all that a policy can be told of a source: images are looked up, files fetched, repositories asked.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn policy_input(
        &self,
        source: &PolicySource,
        platform: &Platform,
        signers: SignersAsked<'_>,
        events: Report<'_>,
    ) -> Result<Input, EngineError> {
        let lease = self.lease()?;
        let grants = Grants::default();
        Ok(match source {
            PolicySource::Local(name) => Input::local(name),
            PolicySource::Image(reference) => {
                let request = BaseRequest { reference: reference.to_string(), platform: platform.clone() };
                let base = self.find_base(&lease, &request, PullPolicy::Missing, events)?;
                let provenance = self.provenance_of(reference, platform, &base)?;
                let provenance = provenance.as_ref().map(|(kind, predicate)| (kind.as_str(), predicate));
                let input = Input::image(reference, platform).with_image(&base.config, base.digest());
                let input = input.with_provenance(provenance);
                if !signers.wanted {
                    return Ok(input);
                }
                let signatures = self.signatures_of(reference, &base)?;
                let unverified = |error: SignatureError| Objection::Unverified {
                    identifier: source.identifier(),
                    problem: causes(&error),
                };
                input.with_signatures(signatures, signers.root).map_err(unverified)?
            }
            PolicySource::Http(url) => {
                let digest = self.examine_file(&lease, url, &grants, events)?.digest;
                http_input(url, Some(digest)).with_content(self.content((&lease, &grants, events), url, digest)?)
            }
            PolicySource::Git(source) => {
                let source = self.pinned_source((&lease, &grants, events), true, source)?;
                self.with_git_objects((&lease, &grants, events), true, &source, git_input(&source))?
            }
        })
    }

    /// Returns what is said of how an image was built: by its registry, if it has one, else by the store.
    fn provenance_of(
        &self,
        reference: &Reference,
        platform: &Platform,
        base: &KnownBase,
    ) -> Result<Option<Provenance>, EngineError> {
        let Some(digest) = base.digest() else {
            let all = self.attestations(&base.id.to_string(), None)?;
            return Ok(all.into_iter().find(|(kind, _)| kind.starts_with(SLSA)));
        };
        let name = base.remote_name().unwrap_or(reference).clone();
        let registries = Registries::open(&self.settings.registries, &self.settings.cancel)?;
        registries.provenance(&Reference { tag: None, digest: Some(digest), ..name }, platform)
    }

    /// Returns what the image's registry keeps beside it.
    fn signatures_of(&self, reference: &Reference, base: &KnownBase) -> Result<Vec<ImageSignature>, EngineError> {
        let Some(digest) = base.digest() else {
            let message = format!("it is not known who signed `{reference}`: no registry has it");
            return Err(EngineError::request(message, Some("Push it, or name it with its registry.")));
        };
        let name = base.remote_name().unwrap_or(reference).clone();
        let registries = Registries::open(&self.settings.registries, &self.settings.cancel)?;
        registries.signatures(&Reference { tag: None, digest: Some(digest), ..name }, base)
    }

    /// Returns the source, pinned to the commit that it is now.
    fn pinned_source(
        &self,
        (lease, grants, events): By<'_>,
        by_caller: bool,
        source: &GitSource,
    ) -> Result<GitSource, EngineError> {
        let wanted = Wanted { source, grants, by_caller };
        let commit = self.resolve_commit(lease, wanted, events)?.commit;
        Ok(GitSource { checksum: Some(commit), fetch_by_commit: true, ..source.clone() })
    }

    /// Has the store have a file that was examined, and returns what opens it.
    fn content(
        &self,
        (lease, grants, events): By<'_>,
        url: &str,
        digest: BlobDigest,
    ) -> Result<OpenContent, EngineError> {
        self.fetch_file(lease, url, Some(digest), grants, events)?;
        let file = Arc::new(self.store.open_blob(&digest)?);
        Ok(Arc::new(move || Ok(Box::new(FromStart { file: Arc::clone(&file), at: 0 }))))
    }

    /// Adds what the commit of a pinned source says itself, and the tag that it names.
    fn with_git_objects(
        &self,
        (lease, grants, events): By<'_>,
        by_caller: bool,
        source: &GitSource,
        input: Input,
    ) -> Result<Input, EngineError> {
        let Objects { commit, tag } = self.commit_objects(lease, Wanted { source, grants, by_caller }, events)?;
        let tag = tag.as_ref().map(|tag| (tag.digest.as_str(), tag.bytes.as_slice()));
        let unusable =
            |error| EngineError::tree(format!("cannot use the repository `{}`", git_identifier(source)), error);
        input.with_git_objects(&commit, tag).map_err(unusable)
    }
}

impl SourceRules {
    /// Asks all policies in Rego. Those that need only the name of a source come first, so that what they deny is not
    /// asked for.
    fn verdict(&self, identifier: &str, input: Input) -> Result<Verdict, Objection> {
        let input = input.within(&self.environment);
        let (mut pin, mut wants_details) = (None, false);
        for policy in &self.rego {
            if policy.wants_details(&input) {
                wants_details = true;
                continue;
            }
            let decision = policy.decide(&input).map_err(Objection::Unanswered)?;
            self.log.note(policy.name(), (identifier, &input), &decision);
            let (policy, identifier) = (policy.name().to_owned(), identifier.to_owned());
            if !decision.allow {
                let messages = shown_words(&decision.messages, &input);
                return Err(Objection::Denied { policy, identifier, messages });
            }
            match (pin, decision.pin) {
                (Some(one), Some(other)) if one != other => {
                    let why = format!("and another policy pins it to {one}");
                    return Err(unusable(&identifier, &other.to_string(), why));
                }
                (before, new) => pin = new.or(before),
            }
        }
        Ok(if wants_details { Verdict::WantsDetails } else { Verdict::Allowed(pin) })
    }

    fn wants_content(&self, input: &Input) -> bool {
        self.rego.iter().any(|policy| policy.wants_content(input))
    }

    fn wants_git_objects(&self, input: &Input) -> bool {
        self.rego.iter().any(|policy| policy.wants_git_objects(input))
    }

    fn wants_provenance(&self, input: &Input) -> bool {
        self.rego.iter().any(|policy| policy.wants_provenance(input))
    }

    fn wants_signatures(&self, input: &Input) -> bool {
        self.rego.iter().any(|policy| policy.wants_signatures(input))
    }

    /// Asks about a source of which nothing more is found out.
    pub(crate) fn judge_unfetched(&self, identifier: &str, input: Input) -> Result<(), Objection> {
        match self.verdict(identifier, input.clone())? {
            Verdict::Allowed(_) => Ok(()),
            Verdict::WantsDetails => {
                let input = input.within(&self.environment);
                let policy = self.rego.iter().find(|policy| policy.wants_details(&input));
                let policy = policy.map(|policy| policy.name().to_owned()).unwrap_or_default();
                Err(Objection::Undetailed { policy, identifier: identifier.to_owned() })
            }
        }
    }

    /// Asks about a repository that the caller gives. If policies want to know more of it than its name, it is pinned to
    /// what they were told.
    pub(crate) fn judge_context(&self, engine: &Engine, by: By<'_>, source: &mut GitSource) -> Result<(), EngineError> {
        if let Verdict::Allowed(_) = self.verdict(&git_identifier(source), git_input(source))? {
            return Ok(());
        }
        let pinned = engine.pinned_source(by, true, source)?;
        let mut input = git_input(&pinned);
        if self.wants_git_objects(&input) {
            input = engine.with_git_objects(by, true, &pinned, input)?;
        }
        self.judge_unfetched(&git_identifier(&pinned), input)?;
        *source = pinned;
        Ok(())
    }

    /// Asks about an image; `known` is what it turned out to be. A policy may pin it to a digest.
    pub(crate) fn judge_image(
        &self,
        request: &BaseRequest,
        image: Meant,
        known: Option<&Found<'_>>,
    ) -> Result<Judged, Objection> {
        let name = match &image {
            Meant::Name(name) | Meant::Digest(name) => name,
            Meant::Stored(_) => &request.reference,
        };
        // What has no name, like an OCI layout, is asked about by no rule.
        let (false, Ok(reference)) = (self.rego.is_empty(), name.parse::<Reference>()) else {
            return Ok(Judged { image, wants_details: false });
        };
        let identifier = format!("docker-image://{reference}");
        let mut input = Input::image(&reference, &request.platform);
        if let Some(found) = known {
            input = input.with_image(&found.base.config, found.base.digest());
            input = match &found.provenance {
                Said::Unasked => input,
                Said::Nothing => input.with_provenance(None),
                Said::So((kind, predicate)) => input.with_provenance(Some((kind, predicate))),
            };
            if let Some(signatures) = &found.signatures {
                let verified = input.with_signatures(signatures.clone(), self.trusted_root.as_deref());
                input = verified.map_err(|error| Objection::Unverified {
                    identifier: identifier.clone(),
                    problem: causes(&error),
                })?;
            }
        }
        let pin = match self.verdict(&identifier, input)? {
            Verdict::WantsDetails => return Ok(Judged { image, wants_details: true }),
            Verdict::Allowed(pin) => pin,
        };
        let image = match (pin, reference.digest) {
            (None, _) => image,
            (Some(pin), Some(named)) if pin == named => image,
            (Some(pin), Some(_)) => {
                return Err(unusable(&identifier, &format!("{}@{pin}", reference.name()), "and its digest is another"));
            }
            (Some(pin), None) => Meant::Digest(format!("{}@{pin}", reference.name())),
        };
        Ok(Judged { image, wants_details: false })
    }
}

impl Planning<'_> {
    /// Tells policies what an image is, if they want to know. Returns it, or what they pin it to.
    pub(crate) fn told(
        &self,
        request: &BaseRequest,
        judged: Judged,
        base: KnownBase,
        pull: PullPolicy,
    ) -> Result<Result<KnownBase, Objection>, EngineError> {
        if !judged.wants_details {
            return Ok(Ok(base));
        }
        let before = judged.image.clone();
        let provenance = match request.reference.parse::<Reference>() {
            Ok(name) if self.rules.wants_provenance(&Input::image(&name, &request.platform)) => {
                self.engine.provenance_of(&name, &request.platform, &base)?.map_or(Said::Nothing, Said::So)
            }
            _ => Said::Unasked,
        };
        let signatures = match request.reference.parse::<Reference>() {
            Ok(name) if self.rules.wants_signatures(&Input::image(&name, &request.platform)) => {
                Some(self.engine.signatures_of(&name, &base)?)
            }
            _ => None,
        };
        let found = Found { base: &base, provenance, signatures };
        let image = match self.rules.judge_image(request, judged.image, Some(&found)) {
            Ok(judged) => judged.image,
            Err(objection) => return Ok(Err(objection)),
        };
        let is_it = |name: &str| {
            name.parse::<Reference>()
                .is_ok_and(|reference| reference.digest.is_some() && reference.digest == base.digest())
        };
        if image == before || matches!(&image, Meant::Digest(name) if is_it(name)) {
            return Ok(Ok(base));
        }
        let named = &self.source.named;
        named.find_meant(self.engine, self.lease, (request, image), pull, self.events).map(Ok)
    }

    /// Returns what is done in place of an operation that reads the network, or why it is not done.
    pub(crate) fn judged(&self, operation: &Op) -> Result<Result<Op, Objection>, BuildFailure> {
        let operation = match self.rules.operation(operation) {
            Ok(operation) if !self.rules.rego.is_empty() => operation,
            other => return Ok(other),
        };
        let told = match &operation {
            Op::Http(http) => Some((without_credentials(&http.url), http_input(&http.url, http.checksum))),
            Op::Git(git) => Some((git_identifier(&git.source), git_input(&git.source))),
            _ => None,
        };
        let Some((identifier, input)) = told else { return Ok(Ok(operation)) };
        match self.rules.verdict(&identifier, input) {
            Ok(Verdict::Allowed(_)) => return Ok(Ok(operation)),
            Ok(Verdict::WantsDetails) => {}
            Err(objection) => return Ok(Err(objection)),
        }
        let by = (self.lease, self.grants, self.events);
        let (pinned, identifier, input) = match operation {
            Op::Http(http) => {
                let file = self.engine.examine_file(by.0, &http.url, by.1, by.2)?;
                let mut input = http_input(&http.url, Some(file.digest));
                if self.rules.wants_content(&input) {
                    input = input.with_content(self.engine.content(by, &http.url, file.digest)?);
                }
                (Op::Http(Http { checksum: Some(file.digest), ..http }), identifier, input)
            }
            Op::Git(git) => {
                let source = self.engine.pinned_source(by, false, &git.source)?;
                let mut input = git_input(&source);
                if self.rules.wants_git_objects(&input) {
                    input = self.engine.with_git_objects(by, false, &source, input)?;
                }
                (Op::Git(Git { source: source.clone() }), git_identifier(&source), input)
            }
            other => return Ok(Ok(other)),
        };
        Ok(self.rules.judge_unfetched(&identifier, input).map(|()| pinned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_people_name_it() {
        let identifier = |text: &str| PolicySource::parse(text).expect("a source").identifier();
        assert_eq!(identifier("alpine"), "docker-image://docker.io/library/alpine:latest");
        assert_eq!(identifier("docker-image://me/a:1"), "docker-image://docker.io/me/a:1");
        assert_eq!(identifier("docker-image://h.io/a:1"), "docker-image://h.io/a:1");
        assert_eq!(identifier("https://me:pw@h/x.tar"), "https://h/x.tar");
        assert_eq!(identifier("https://h/a.git#v1"), "git://h/a.git#v1");
        assert_eq!(identifier("."), "local://context");
        assert_eq!(identifier("local://dockerfile"), "local://dockerfile");
        assert!(PolicySource::parse("NOT A NAME").is_err());
    }
}
